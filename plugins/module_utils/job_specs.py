# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""TFJob and PyTorchJob: what the two kinds are, from parameters to a manifest, and whether two are the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json

API_VERSION = "kubeflow.org/v1"
SPEC_HASH = "mlstack.kubernetes/spec-hash"
RESTART_POLICIES = ("Always", "OnFailure", "Never", "ExitCode")
CLEAN_POD_POLICIES = ("None", "Running", "All")
# What early versions of the API had directly in the spec, and what is often put there by mistake.
RUN_POLICY_FIELDS = (
    "cleanPodPolicy",
    "ttlSecondsAfterFinished",
    "activeDeadlineSeconds",
    "backoffLimit",
    "schedulingPolicy",
    "suspend",
    "managedBy",
)


@dataclass(frozen=True)
class JobKind:
    """All that differs between the kinds of training jobs."""

    kind: str
    plural: str
    replica_specs: str
    container: str
    # The replicas reach each other at this port of the container; the operator adds it where it is not given.
    port_name: str
    port: int
    # Of a role that says nothing.
    restart_policy: str
    roles: tuple[str, ...]
    # Roles of which the job has at most one replica, and whose end is the job's end.
    leaders: tuple[str, ...]

    def role_named(self, lower: str) -> str | None:
        return next((role for role in self.roles if role.lower() == lower.lower()), None)


TFJOB = JobKind(
    "TFJob",
    "tfjobs",
    "tfReplicaSpecs",
    "tensorflow",
    "tfjob-port",
    2222,
    "Never",
    ("Chief", "Master", "Worker", "PS", "Evaluator"),
    ("Chief", "Master"),
)
PYTORCHJOB = JobKind(
    "PyTorchJob",
    "pytorchjobs",
    "pytorchReplicaSpecs",
    "pytorch",
    "pytorchjob-port",
    23456,
    "OnFailure",
    ("Master", "Worker"),
    ("Master",),
)
KINDS = {kind.kind: kind for kind in (TFJOB, PYTORCHJOB)}


class InvalidJobError(ValueError):
    """What was asked for cannot be a job; carries every problem found."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Replica:
    """One pod that a job is to have."""

    role: str
    index: int
    pod: str

    @property
    def name(self) -> str:
        return f"{self.role.lower()}-{self.index}"


def replicas_of(kind: JobKind, job: Json) -> list[Replica]:
    """Every replica that the spec asks for, in the order of the kind's roles."""
    name = str(job["metadata"]["name"])
    specs = replica_specs_of(kind, job)
    return [
        Replica(role, index, f"{name}-{role.lower()}-{index}")
        for role in kind.roles
        if role in specs
        for index in range(count_of(specs[role]))
    ]


def replica_specs_of(kind: JobKind, job: Json) -> dict[str, Json]:
    return {role: as_dict(spec) for role, spec in as_dict(as_dict(job.get("spec")).get(kind.replica_specs)).items()}


def count_of(replica_spec: Json) -> int:
    """The number of pods of one role; 0 where it is not even a number."""
    replicas = replica_spec.get("replicas")
    return 1 if replicas is None else replicas if isinstance(replicas, int) else 0


def deciding_replicas(kind: JobKind, job: Json) -> list[Replica]:
    """The replicas whose success is the job's success, by the operator's rules."""
    replicas = replicas_of(kind, job)
    leading = [replica for replica in replicas if replica.role in kind.leaders]
    if leading:
        return leading
    workers = [replica for replica in replicas if replica.role == "Worker"]
    all_workers = kind is PYTORCHJOB or as_dict(job.get("spec")).get("successPolicy") == "AllWorkers"
    return workers if all_workers else workers[:1]


def as_dict(value: object) -> Json:
    """`value`, or an empty mapping where a manifest has something else or nothing in its place."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


# -- from parameters to a manifest

# Parameters that say what a job is; `definition` and `src` say the same in another way.
POD_PARAMETERS = (
    "image",
    "image_pull_policy",
    "image_pull_secrets",
    "command",
    "args",
    "working_dir",
    "env",
    "resources",
    "restart_policy",
    "node_selector",
    "tolerations",
    "service_account_name",
    "security_context",
)
JOB_PARAMETERS = (
    *POD_PARAMETERS,
    "replicas",
    "volumes",
    "run_policy",
    "success_policy",
    "nproc_per_node",
    "labels",
    "annotations",
)


def build(kind: JobKind, params: Mapping[str, Any]) -> Json:
    """The manifest for the modules' parameters, with nothing in it that was not asked for."""
    roles: Json = {}
    for lower, role_params in (params.get("replicas") or {}).items():
        if role_params is not None:
            roles[kind.role_named(lower) or lower] = _replica_spec(kind, params, role_params)
    spec: Json = {kind.replica_specs: roles}
    if run_policy := _run_policy(params.get("run_policy") or {}):
        spec["runPolicy"] = run_policy
    if params.get("success_policy") is not None:
        spec["successPolicy"] = params["success_policy"]
    if params.get("nproc_per_node") is not None:
        spec["nprocPerNode"] = str(params["nproc_per_node"])
    metadata = _given(
        name=params.get("name"),
        namespace=params.get("namespace"),
        labels=params.get("labels"),
        annotations=params.get("annotations"),
    )
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata, "spec": spec}


def _replica_spec(kind: JobKind, params: Mapping[str, Any], role: Mapping[str, Any]) -> Json:
    def pick(option: str) -> Any:
        return params.get(option) if role.get(option) is None else role[option]

    mounts, volumes = _volumes(params.get("volumes") or [])
    container = _given(
        name=kind.container,
        image=pick("image") or "",
        imagePullPolicy=pick("image_pull_policy"),
        command=pick("command"),
        args=pick("args"),
        workingDir=pick("working_dir"),
        env=list({entry["name"]: entry for source in (params, role) for entry in _env(source.get("env"))}.values()),
        resources=pick("resources"),
        volumeMounts=mounts,
    )
    pod = _given(
        nodeSelector=pick("node_selector"),
        tolerations=pick("tolerations"),
        serviceAccountName=pick("service_account_name"),
        securityContext=pick("security_context"),
        imagePullSecrets=[{"name": name} for name in pick("image_pull_secrets") or []],
        volumes=volumes,
    )
    return {
        "replicas": role.get("count", 1),
        "restartPolicy": pick("restart_policy") or "Never",
        "template": {"spec": {"containers": [container], **pod}},
    }


def _given(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def _env(env: object) -> list[Json]:
    if not env:
        return []
    if isinstance(env, list):
        if not all(isinstance(entry, dict) and entry.get("name") for entry in env):
            raise InvalidJobError([f"env: {env!r} is not a list of Kubernetes env entries; each needs a `name`."])
        return env
    if not isinstance(env, dict):
        raise InvalidJobError(
            [f"env: {env!r} is neither a mapping of names to values nor a list; write `env: {{NAME: value}}`."]
        )
    entries = []
    for name, value in env.items():
        if isinstance(value, dict):
            entries.append({"name": name, **value})
        elif isinstance(value, bool):
            entries.append({"name": name, "value": str(value).lower()})
        else:
            entries.append({"name": name, "value": "" if value is None else str(value)})
    return entries


def _volumes(params: list[Mapping[str, Any]]) -> tuple[list[Json], list[Json]]:
    mounts: list[Json] = []
    volumes: list[Json] = []
    for volume in params:
        name = volume["name"]
        sources = _given(
            persistentVolumeClaim={"claimName": volume["claim"]} if volume.get("claim") else None,
            configMap={"name": volume["config_map"]} if volume.get("config_map") else None,
            secret={"secretName": volume["secret"]} if volume.get("secret") else None,
        )
        if volume.get("empty_dir") is not None:
            sources["emptyDir"] = volume["empty_dir"]
        mounts.append(
            _given(
                name=name,
                mountPath=volume["mount_path"],
                subPath=volume.get("sub_path"),
                readOnly=volume.get("read_only") or None,
            )
        )
        if not any(known["name"] == name for known in volumes):
            volumes.append({"name": name, **sources})
    return mounts, volumes


def _run_policy(params: Mapping[str, Any]) -> Json:
    scheduling = params.get("scheduling_policy") or {}
    policy = {_camel(name): value for name, value in params.items() if name != "scheduling_policy"}
    policy["schedulingPolicy"] = _given(**{_camel(name): value for name, value in scheduling.items()})
    return _given(**policy)


def _camel(snake: str) -> str:
    first, *others = snake.split("_")
    return first + "".join(word.capitalize() for word in others)


# -- comparing


def spec_hash(job: Json) -> str:
    """A digest of all that the user decides about a job, but whether it runs at the moment."""
    part = desired_part(job)
    policy = as_dict(as_dict(part["spec"]).get("runPolicy"))
    policy.pop("suspend", None)
    if not policy:
        as_dict(part["spec"]).pop("runPolicy", None)
    text = json.dumps(part, sort_keys=True, separators=(",", ":"), default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def with_hash(job: Json) -> Json:
    annotations = {**as_dict(job["metadata"].get("annotations")), SPEC_HASH: spec_hash(job)}
    return {**job, "metadata": {**job["metadata"], "annotations": annotations}}


def desired_part(job: Json) -> Json:
    """Labels, annotations and spec, without nulls: what a user decides, and what a diff shows."""
    metadata = as_dict(job.get("metadata"))
    annotations = {key: value for key, value in as_dict(metadata.get("annotations")).items() if key != SPEC_HASH}
    part = {"metadata": _given(labels=metadata.get("labels"), annotations=annotations), "spec": job.get("spec")}
    cleaned: Json = without_nulls(part)
    return cleaned


def is_unchanged(live: Json, wanted: Json) -> bool:
    """Whether the cluster's job is the wanted one.

    Two questions, since either answer alone can mislead: the hash shows what was left out since, and the
    comparison what others have edited in the cluster. A job without a hash was not made by these modules.
    """
    known = as_dict(live["metadata"].get("annotations")).get(SPEC_HASH)
    return known in (None, spec_hash(wanted)) and _contains(live_part(live), desired_part(wanted))


def live_part(live: Json) -> Json:
    """The desired part of a job as read from the API server, without the defaults that the server adds."""
    part = desired_part(live)
    part["metadata"].get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    part["metadata"] = {key: value for key, value in part["metadata"].items() if value}
    run_policy = as_dict(as_dict(part.get("spec")).get("runPolicy"))
    if run_policy.get("suspend") is False:
        del run_policy["suspend"]
        if not run_policy:
            del part["spec"]["runPolicy"]
    return part


def _contains(live: Any, wanted: Any) -> bool:
    """Whether `live` has all that is `wanted`; the server's own defaults may come on top."""
    if isinstance(wanted, dict):
        return all(
            _contains(live.get(key) if isinstance(live, dict) else None, value)
            for key, value in wanted.items()
            if not _is_default(key, value)
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(_contains, live, wanted))
    return bool(live == wanted)


def _is_default(key: str, value: object) -> bool:
    return value == {} or (key == "suspend" and value is False)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
