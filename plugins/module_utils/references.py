# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The objects that a pod names and that must be there before it can start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import as_dict, as_list
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json

CLAIM = "PersistentVolumeClaim"
CONFIG_MAP = "ConfigMap"
SECRET = "Secret"
SERVICE_ACCOUNT = "ServiceAccount"
RUNTIME_CLASS = "RuntimeClass"
PRIORITY_CLASS = "PriorityClass"


@dataclass(frozen=True)
class Reference:
    """One place where a pod names an object, or a key of it."""

    noun: str
    name: str
    field: str
    keys: tuple[str, ...] = ()
    # Without it the pod starts all the same.
    dispensable: bool = False


def references_of(pod_spec: Json) -> Iterator[Reference]:
    """All that is not marked as optional."""
    for index, volume in enumerate(map(as_dict, as_list(pod_spec.get("volumes")))):
        yield from _volume_references(volume, f"volumes[{index}]")
    for group in ("initContainers", "containers"):
        for index, container in enumerate(map(as_dict, as_list(pod_spec.get(group)))):
            yield from _container_references(container, f"{group}[{index}]")
    for index, secret in enumerate(as_list(pod_spec.get("imagePullSecrets"))):
        name = as_dict(secret).get("name")
        if name:
            yield Reference(SECRET, str(name), f"imagePullSecrets[{index}]", dispensable=True)
    for noun, field in (
        (SERVICE_ACCOUNT, "serviceAccountName"),
        (RUNTIME_CLASS, "runtimeClassName"),
        (PRIORITY_CLASS, "priorityClassName"),
    ):
        if pod_spec.get(field):
            yield Reference(noun, str(pod_spec[field]), field)


def _volume_references(volume: Json, field: str) -> Iterator[Reference]:
    yield from _reference(CLAIM, volume, "persistentVolumeClaim", field, "claimName")
    yield from _reference(CONFIG_MAP, volume, "configMap", field)
    yield from _reference(SECRET, volume, "secret", field, "secretName")
    yield from _reference(SECRET, as_dict(volume.get("csi")), "nodePublishSecretRef", f"{field}.csi")
    for index, source in enumerate(map(as_dict, as_list(as_dict(volume.get("projected")).get("sources")))):
        path = f"{field}.projected.sources[{index}]"
        yield from _reference(CONFIG_MAP, source, "configMap", path)
        yield from _reference(SECRET, source, "secret", path)


def _container_references(container: Json, field: str) -> Iterator[Reference]:
    for index, source in enumerate(map(as_dict, as_list(container.get("envFrom")))):
        yield from _reference(CONFIG_MAP, source, "configMapRef", f"{field}.envFrom[{index}]")
        yield from _reference(SECRET, source, "secretRef", f"{field}.envFrom[{index}]")
    for index, entry in enumerate(map(as_dict, as_list(container.get("env")))):
        value_from = as_dict(entry.get("valueFrom"))
        yield from _reference(CONFIG_MAP, value_from, "configMapKeyRef", f"{field}.env[{index}].valueFrom")
        yield from _reference(SECRET, value_from, "secretKeyRef", f"{field}.env[{index}].valueFrom")


def _reference(noun: str, holder: Json, kind: str, field: str, name: str = "name") -> Iterator[Reference]:
    source = as_dict(holder.get(kind))
    if source.get(name) and not source.get("optional"):
        items = [as_dict(item).get("key") for item in as_list(source.get("items"))]
        keys = tuple(str(key) for key in [source.get("key"), *items] if key)
        yield Reference(noun, str(source[name]), f"{field}.{kind}", keys)
