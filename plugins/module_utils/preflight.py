# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What can be known to be wrong before a job is created, asked of the API server without a trace left behind."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    JobKind,
    as_dict,
    as_list,
    replica_specs_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    core_path,
    pods_path,
)

_NOUNS = {"persistentvolumeclaims": "PersistentVolumeClaim", "configmaps": "ConfigMap", "secrets": "Secret"}


def problems_in_cluster(api: KubeApi, kind: JobKind, job: Json) -> list[str]:
    """Objects that the pods need and that are not there, and pods that the API server would not admit.

    Questions that the user may not ask are passed over: the job then shows the answer.
    """
    namespace = job["metadata"]["namespace"]
    problems = []
    for plural, name, roles in _references(kind, job):
        try:
            api.get(core_path(namespace, plural, name))
        except ApiError as error:
            if error.is_object_missing:
                noun = _NOUNS[plural]
                problems.append(
                    f"{noun} {name!r}, which {', '.join(roles)} refers to, does not exist in namespace {namespace!r}; "
                    "create it or correct the name."
                )
            elif error.status != 403:
                raise
    # Without its objects a pod would be refused for a reason that is already told.
    return problems or list(_refused_pods(api, kind, job, namespace))


def _refused_pods(api: KubeApi, kind: JobKind, job: Json, namespace: str) -> Iterator[str]:
    """The operator's own schema does not look into pods: it would take the job and fail to make them."""
    for role, spec in replica_specs_of(kind, job).items():
        template = as_dict(spec.get("template"))
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **{
                    key: value
                    for key, value in as_dict(template.get("metadata")).items()
                    if key in ("labels", "annotations")
                },
                "name": f"{job['metadata']['name']}-{role.lower()}-0",
            },
            "spec": {**as_dict(template.get("spec")), "restartPolicy": "Never"},
        }
        try:
            api.create(pods_path(namespace), pod, dry_run=True)
        except ApiError as error:
            if not _says_nothing(error):
                yield f"The API server would refuse the pods of {role}: {error.message}"


def _says_nothing(error: ApiError) -> bool:
    """Answers that are about the user's rights or the moment, not about the pod."""
    return (
        error.status == 409
        or error.is_transient
        or 'cannot create resource "pods"' in error.message
        or "exceeded quota" in error.message
        # A namespace's own account comes a moment after the namespace.
        or 'serviceaccount "default" not found' in error.message
    )


def _references(kind: JobKind, job: Json) -> list[tuple[str, str, list[str]]]:
    """(plural, name, roles) of every object that a pod of the job needs in order to start."""
    found: dict[tuple[str, str], list[str]] = {}
    for role, spec in replica_specs_of(kind, job).items():
        for reference in _pod_references(as_dict(as_dict(spec.get("template")).get("spec"))):
            roles = found.setdefault(reference, [])
            if role not in roles:
                roles.append(role)
    return [(plural, name, roles) for (plural, name), roles in found.items()]


def _pod_references(pod: Json) -> Iterator[tuple[str, str]]:
    for volume in map(as_dict, as_list(pod.get("volumes"))):
        yield from _reference("persistentvolumeclaims", volume.get("persistentVolumeClaim"), "claimName")
        yield from _reference("configmaps", volume.get("configMap"), "name")
        yield from _reference("secrets", volume.get("secret"), "secretName")
    for container in map(as_dict, as_list(pod.get("initContainers")) + as_list(pod.get("containers"))):
        for source in map(as_dict, as_list(container.get("envFrom"))):
            yield from _reference("configmaps", source.get("configMapRef"), "name")
            yield from _reference("secrets", source.get("secretRef"), "name")
        for entry in map(as_dict, as_list(container.get("env"))):
            value_from = as_dict(entry.get("valueFrom"))
            yield from _reference("configmaps", value_from.get("configMapKeyRef"), "name")
            yield from _reference("secrets", value_from.get("secretKeyRef"), "name")


def _reference(plural: str, source: object, key: str) -> Iterator[tuple[str, str]]:
    source = as_dict(source)
    if source.get(key) and not source.get("optional"):
        yield plural, str(source[key])
