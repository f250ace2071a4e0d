# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The kinds of jobs: what they are, from parameters to a manifest, and whether two jobs are the same."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json, KubeApi, object_path

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

# The states of a job, by the names of the training operator's conditions.
PENDING = "Pending"
CREATED = "Created"
RUNNING = "Running"
RESTARTING = "Restarting"
SUSPENDED = "Suspended"
SUCCEEDED = "Succeeded"
FAILED = "Failed"
STATES = (PENDING, CREATED, RUNNING, RESTARTING, SUSPENDED, SUCCEEDED, FAILED)


@dataclass(frozen=True)
class Replica:
    """One pod that a job is to have."""

    role: str
    index: int
    pod: str

    @property
    def name(self) -> str:
        return f"{self.role.lower()}-{self.index}"


@dataclass(frozen=True)
class Gang:
    """What a job tells the scheduler that starts its pods all together."""

    queue: str = ""
    priority_class: str = ""
    # The fields that hold these, for messages.
    queue_field: str = ""
    priority_class_field: str = ""
    # Resources that the job reserves besides those of its pods, and where it says so.
    resources: Json | None = None
    resources_field: str = ""
    # How many pods must start at once; None for all.
    least: int | None = None
    # The name of the PodGroup that its operator makes.
    group: str = ""


@dataclass(frozen=True)
class JobKind(ABC):
    """All that differs between the kinds of jobs."""

    # As people call it; `kind` is the API's own word.
    name: str
    kind: str
    api_version: str
    plural: str
    # Who makes the pods.
    operator: str
    # The label of pods that holds the name of their job.
    pod_label: str
    # Of the container that trains; where it is empty, that is a pod's first one.
    container: str
    # Others have to be made before they can be suspended.
    can_be_made_suspended: bool
    # That jobs may have; empty where users name them as they like.
    roles: tuple[str, ...]

    def path(self, namespace: str, name: str = "") -> str:
        """An empty namespace stands for all of them."""
        return object_path(self.api_version, namespace, self.plural, name)

    def role_named(self, name: str) -> str | None:
        """The role of that name, which may be in lower case; None where jobs of this kind never have it."""
        if not self.roles:
            return name
        return next((role for role in self.roles if role.lower() == name.lower()), None)

    @abstractmethod
    def replica_specs(self, job: Json) -> dict[str, Json]:
        """`replicas` and `template` by role, in the order in which the replicas are told of."""

    @abstractmethod
    def deciding(self, job: Json, replicas: Sequence[Replica]) -> list[Replica]:
        """Those of the `replicas` whose success is the job's success."""

    @abstractmethod
    def build(self, params: Mapping[str, Any]) -> Json:
        """The manifest for the modules' parameters, with nothing in it that was not asked for."""

    @abstractmethod
    def condition(self, job: Json) -> Json | None:
        """`type` (one of STATES), `reason` and `message` of the job's state; None while nobody has taken notice."""

    @abstractmethod
    def times(self, job: Json) -> tuple[Any, Any]:
        """When the job began and when it ended, as the API writes times."""

    @abstractmethod
    def conditions(self, job: Json) -> list[Json]:
        """What the job has been through: `type`, `status`, `reason`, `message`, and `since`."""

    @abstractmethod
    def is_suspended(self, job: Json) -> bool:
        """Whether the job is, or is to be, without pods for now."""

    @abstractmethod
    def with_suspend(self, job: Json, suspend: bool) -> Json:
        """The manifest of a job that is made without pods, or with them."""

    @abstractmethod
    def suspend(self, api: KubeApi, job: Json, suspend: bool, dry_run: bool) -> Json:
        """Takes the job off its nodes or lets it run again; returns it as it is then."""

    @abstractmethod
    def gang(self, job: Json) -> Gang: ...


@dataclass(frozen=True)
class OperatorKind(JobKind):
    """A kind of the Kubeflow training operator."""

    specs_field: str
    # The replicas reach each other at this port of the container; the operator adds it where it is not given.
    port_name: str
    port: int
    # Of a role that says nothing.
    restart_policy: str
    # Roles of which the job has at most one replica, and whose end is the job's end.
    leaders: tuple[str, ...]

    def replica_specs(self, job: Json) -> dict[str, Json]:
        specs = as_dict(as_dict(job.get("spec")).get(self.specs_field))
        ordered = [role for role in self.roles if role in specs]
        return {role: as_dict(specs[role]) for role in [*ordered, *(role for role in specs if role not in ordered)]}

    def deciding(self, job: Json, replicas: Sequence[Replica]) -> list[Replica]:
        leading = [replica for replica in replicas if replica.role in self.leaders]
        if leading:
            return leading
        workers = [replica for replica in replicas if replica.role == "Worker"]
        all_workers = self is PYTORCHJOB or as_dict(job.get("spec")).get("successPolicy") == "AllWorkers"
        return workers if all_workers else workers[:1]

    def build(self, params: Mapping[str, Any]) -> Json:
        roles = {
            self.role_named(lower) or lower: {
                "replicas": role.get("count", 1),
                "restartPolicy": _either(params, role, "restart_policy") or "Never",
                "template": {"spec": pod_spec(self.container, params, role)},
            }
            for lower, role in (params.get("replicas") or {}).items()
            if role is not None
        }
        spec: Json = {self.specs_field: roles}
        if run_policy := _run_policy(params.get("run_policy") or {}):
            spec["runPolicy"] = run_policy
        if params.get("success_policy") is not None:
            spec["successPolicy"] = params["success_policy"]
        if params.get("nproc_per_node") is not None:
            spec["nprocPerNode"] = str(params["nproc_per_node"])
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata(params), "spec": spec}

    def condition(self, job: Json) -> Json | None:
        # Their order in the status says nothing; a job that has failed stays failed.
        strongest_first = (FAILED, SUCCEEDED, SUSPENDED, RESTARTING, RUNNING, CREATED)
        return next((conditions_of(job)[kind] for kind in strongest_first if has_condition(job, kind)), None)

    def times(self, job: Json) -> tuple[Any, Any]:
        status = as_dict(job.get("status"))
        return status.get("startTime"), status.get("completionTime")

    def conditions(self, job: Json) -> list[Json]:
        return [
            {
                **{key: condition.get(key) for key in ("type", "status", "reason", "message")},
                "since": condition.get("lastTransitionTime"),
            }
            for condition in map(as_dict, as_list(as_dict(job.get("status")).get("conditions")))
        ]

    def is_suspended(self, job: Json) -> bool:
        return self._run_policy(job).get("suspend") is True

    def with_suspend(self, job: Json, suspend: bool) -> Json:
        policy = {**self._run_policy(job), "suspend": suspend}
        if not suspend:
            del policy["suspend"]
        spec = {**job["spec"], "runPolicy": policy}
        if not policy:
            del spec["runPolicy"]
        return {**job, "spec": spec}

    def suspend(self, api: KubeApi, job: Json, suspend: bool, dry_run: bool) -> Json:
        path = self.path(job["metadata"]["namespace"], job["metadata"]["name"])
        return api.patch(path, {"spec": {"runPolicy": {"suspend": suspend}}}, dry_run)

    def gang(self, job: Json) -> Gang:
        policy, field = as_dict(self._run_policy(job).get("schedulingPolicy")), "spec.runPolicy.schedulingPolicy"
        # An elastic job says itself that fewer will do.
        least = 1 if as_dict(job.get("spec")).get("elasticPolicy") else policy.get("minAvailable")
        return Gang(
            queue=str(policy.get("queue") or ""),
            priority_class=str(policy.get("priorityClass") or ""),
            queue_field=f"{field}.queue",
            priority_class_field=f"{field}.priorityClass",
            resources=as_dict(policy.get("minResources")) or None,
            resources_field=f"{field}.minResources",
            least=least if isinstance(least, int) else None,
            group=str(job["metadata"]["name"]),
        )

    @staticmethod
    def _run_policy(job: Json) -> Json:
        return as_dict(as_dict(job.get("spec")).get("runPolicy"))


_OF_TRAINING_OPERATOR: dict[str, Any] = {
    "api_version": API_VERSION,
    "operator": "the training operator",
    "pod_label": "training.kubeflow.org/job-name",
    "can_be_made_suspended": True,
}
TFJOB = OperatorKind(
    name="TFJob",
    kind="TFJob",
    plural="tfjobs",
    container="tensorflow",
    specs_field="tfReplicaSpecs",
    port_name="tfjob-port",
    port=2222,
    restart_policy="Never",
    roles=("Chief", "Master", "Worker", "PS", "Evaluator"),
    leaders=("Chief", "Master"),
    **_OF_TRAINING_OPERATOR,
)
PYTORCHJOB = OperatorKind(
    name="PyTorchJob",
    kind="PyTorchJob",
    plural="pytorchjobs",
    container="pytorch",
    specs_field="pytorchReplicaSpecs",
    port_name="pytorchjob-port",
    port=23456,
    restart_policy="OnFailure",
    roles=("Master", "Worker"),
    leaders=("Master",),
    **_OF_TRAINING_OPERATOR,
)
OPERATOR_KINDS = {kind.name: kind for kind in (TFJOB, PYTORCHJOB)}


class InvalidJobError(ValueError):
    """What was asked for cannot be a job; carries every problem found."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def replicas_of(kind: JobKind, job: Json) -> list[Replica]:
    """Every replica that the spec asks for, role by role."""
    name = str(job["metadata"]["name"])
    return [
        Replica(role, index, f"{name}-{role.lower()}-{index}")
        for role, spec in kind.replica_specs(job).items()
        if kind.role_named(role) == role
        for index in range(count_of(spec))
    ]


def count_of(replica_spec: Json) -> int:
    """The number of pods of one role; 0 where it is not even a number."""
    replicas = replica_spec.get("replicas")
    return 1 if replicas is None else replicas if isinstance(replicas, int) else 0


def deciding_replicas(kind: JobKind, job: Json) -> list[Replica]:
    """The replicas whose success is the job's success, by its operator's rules."""
    return kind.deciding(job, replicas_of(kind, job))


def as_dict(value: object) -> Json:
    """`value`, or an empty mapping where a manifest has something else or nothing in its place."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def conditions_of(item: Json) -> dict[Any, Json]:
    """The conditions in an object's status, by their types."""
    found = map(as_dict, as_list(as_dict(item.get("status")).get("conditions")))
    return {condition.get("type"): condition for condition in found}


def has_condition(item: Json, name: str) -> bool:
    """Whether the object's status says that the condition of this type is true."""
    return conditions_of(item).get(name, {}).get("status") == "True"


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
    "plugins",
    "policies",
    "labels",
    "annotations",
)


def metadata(params: Mapping[str, Any]) -> Json:
    return given(**{name: params.get(name) for name in ("name", "namespace", "labels", "annotations")})


def pod_spec(container_name: str, params: Mapping[str, Any], role: Mapping[str, Any]) -> Json:
    """The pod of one role: what the job says for all, and the role anew for its own."""

    def pick(option: str) -> Any:
        return _either(params, role, option)

    mounts, volumes = _volumes(params.get("volumes") or [])
    container = given(
        name=container_name,
        image=pick("image") or "",
        imagePullPolicy=pick("image_pull_policy"),
        command=pick("command"),
        args=pick("args"),
        workingDir=pick("working_dir"),
        env=list({entry["name"]: entry for source in (params, role) for entry in _env(source.get("env"))}.values()),
        resources=pick("resources"),
        volumeMounts=mounts,
    )
    pod = given(
        nodeSelector=pick("node_selector"),
        tolerations=pick("tolerations"),
        serviceAccountName=pick("service_account_name"),
        securityContext=pick("security_context"),
        imagePullSecrets=[{"name": name} for name in pick("image_pull_secrets") or []],
        volumes=volumes,
    )
    return {"containers": [container], **pod}


def _either(params: Mapping[str, Any], role: Mapping[str, Any], option: str) -> Any:
    return params.get(option) if role.get(option) is None else role[option]


def given(**fields: Any) -> Json:
    """The fields that say something."""
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
        sources = given(
            persistentVolumeClaim={"claimName": volume["claim"]} if volume.get("claim") else None,
            configMap={"name": volume["config_map"]} if volume.get("config_map") else None,
            secret={"secretName": volume["secret"]} if volume.get("secret") else None,
        )
        if volume.get("empty_dir") is not None:
            sources["emptyDir"] = volume["empty_dir"]
        mounts.append(
            given(
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
    policy["schedulingPolicy"] = given(**{_camel(name): value for name, value in scheduling.items()})
    return given(**policy)


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
    about = as_dict(job.get("metadata"))
    annotations = {key: value for key, value in as_dict(about.get("annotations")).items() if key != SPEC_HASH}
    part = {"metadata": given(labels=about.get("labels"), annotations=annotations), "spec": job.get("spec")}
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
