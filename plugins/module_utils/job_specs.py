# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""TFJob and PyTorchJob: what the two kinds are, from parameters to a manifest, and what must be right in one."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.quantities import parse_quantity

API_VERSION = "kubeflow.org/v1"
SPEC_HASH = "mlstack.kubernetes/spec-hash"
# A pod and its Service have the same name, which must be a DNS label.
LABEL_LENGTH = 63
RESTART_POLICIES = ("Always", "OnFailure", "Never", "ExitCode")
CLEAN_POD_POLICIES = ("None", "Running", "All")

_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
# registry[:port]/path/name[:tag][@digest]; only the path must be lower case.
_IMAGE = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d+)?/)?"
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,})?"
)


@dataclass(frozen=True)
class JobKind:
    """All that differs between the kinds of training jobs."""

    kind: str
    plural: str
    replica_specs: str
    container: str
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
    ("Chief", "Master", "Worker", "PS", "Evaluator"),
    ("Chief", "Master"),
)
PYTORCHJOB = JobKind("PyTorchJob", "pytorchjobs", "pytorchReplicaSpecs", "pytorch", ("Master", "Worker"), ("Master",))
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
        for index in range(_count(specs[role]))
    ]


def replica_specs_of(kind: JobKind, job: Json) -> dict[str, Json]:
    return {role: as_dict(spec) for role, spec in as_dict(as_dict(job.get("spec")).get(kind.replica_specs)).items()}


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


def wanted_job(kind: JobKind, params: Mapping[str, Any], documents: list[Any] | None) -> Json:
    """The job that a task asks for; `documents` is the content of `definition` or `src`, where given."""
    given = [name for name in JOB_PARAMETERS if params.get(name) is not None]
    if documents is None:
        job = build(kind, params)
        validate(kind, _in_namespace(job, params), from_parameters=True)
        return job
    source = "definition" if params.get("definition") is not None else "src"
    if given:
        raise InvalidJobError(
            [f"{', '.join(given)}: cannot go with `{source}`, which is taken as it is; use one of them."]
        )
    job = _only_document(kind, source, documents)
    metadata = job.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise InvalidJobError([f"metadata: {metadata!r} is not a mapping; give at least `name`."])
    for name in ("name", "namespace"):
        if params.get(name) is not None and metadata.setdefault(name, params[name]) != params[name]:
            raise InvalidJobError(
                [f"{name}: {params[name]!r} is not metadata.{name} {metadata[name]!r} of `{source}`; leave one out."]
            )
    validate(kind, _in_namespace(job, params))
    return job


def _only_document(kind: JobKind, source: str, documents: list[Any]) -> Json:
    if len(documents) != 1:
        raise InvalidJobError([f"{source}: holds {len(documents)} documents; give one {kind.kind}."])
    if not isinstance(documents[0], dict):
        raise InvalidJobError([f"{source}: {documents[0]!r} is not a mapping; give a {kind.kind} manifest."])
    return copy.deepcopy(documents[0])


def _in_namespace(job: Json, params: Mapping[str, Any]) -> Json:
    job["metadata"].setdefault("namespace", params.get("namespace") or "default")
    return job


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


# -- what must be right in a manifest


def validate(kind: JobKind, job: Json, from_parameters: bool = False) -> None:
    """Raises InvalidJobError with every problem that can be known without a cluster.

    The admission webhook knows only some of them, and the operator then does something unexpected.
    """
    problems = [
        f"{_parameter_name(kind, field) if from_parameters else field}: {text}" for field, text in _problems(kind, job)
    ]
    if problems:
        raise InvalidJobError(problems)


def _problems(kind: JobKind, job: Json) -> Iterator[tuple[str, str]]:
    if job.get("kind") != kind.kind:
        yield "kind", f"{job.get('kind')!r} is not {kind.kind}; use the module for that kind."
        return
    if job.get("apiVersion") != API_VERSION:
        yield "apiVersion", f"{job.get('apiVersion')!r} is not served by the training operator; write {API_VERSION}."
        return
    yield from _metadata_problems(as_dict(job.get("metadata")))
    specs = as_dict(job.get("spec")).get(kind.replica_specs)
    path = f"spec.{kind.replica_specs}"
    if not isinstance(specs, dict) or not specs:
        yield path, f"{specs!r} names no role; give at least one of {', '.join(kind.roles)}."
        return
    for role, spec in specs.items():
        if role not in kind.roles:
            meant = kind.role_named(str(role))
            cure = f"write {meant}" if meant else f"use one of {', '.join(kind.roles)}"
            yield f"{path}.{role}", f"{role!r} is not a role of a {kind.kind}; {cure}."
        elif not isinstance(spec, dict):
            yield f"{path}.{role}", f"{spec!r} is not a mapping; give `replicas` and `template`."
        else:
            yield from _role_problems(kind, role, spec, f"{path}.{role}")
    yield from _combination_problems(kind, specs, path)
    yield from _name_length_problems(kind, job)
    total = sum(_count(as_dict(spec)) for spec in specs.values())
    yield from _run_policy_problems(as_dict(job["spec"]).get("runPolicy"), total)
    nproc = job["spec"].get("nprocPerNode")
    if nproc is not None and not re.fullmatch(r"auto|cpu|gpu|[1-9]\d*", str(nproc)):
        yield "spec.nprocPerNode", f"{nproc!r} is not a number of processes; use auto, cpu, gpu or a number from 1."


def _metadata_problems(metadata: Json) -> Iterator[tuple[str, str]]:
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not name:
        yield "metadata.name", "is missing; give the job a name."
    elif not _DNS_1035.fullmatch(str(name)):
        yield (
            "metadata.name",
            f"{name!r} is not a DNS label; use lower-case letters, digits and `-`, a letter first, no `-` last.",
        )
    if namespace is not None and (not _DNS_1123.fullmatch(str(namespace)) or len(str(namespace)) > LABEL_LENGTH):
        yield "metadata.namespace", f"{namespace!r} is not a namespace; use lower-case letters, digits and `-`."


def _role_problems(kind: JobKind, role: str, spec: Json, path: str) -> Iterator[tuple[str, str]]:
    replicas = spec.get("replicas")
    if replicas is None:
        if kind is PYTORCHJOB and role in kind.leaders:
            yield f"{path}.replicas", f"is missing, and the operator has no default for {role}; write 1."
    elif not isinstance(replicas, int) or isinstance(replicas, bool):
        yield f"{path}.replicas", f"{replicas!r} is not a whole number; write one from 1."
    elif replicas < 1:
        yield f"{path}.replicas", f"{replicas} is less than 1, yet the operator would make a pod; leave the role out."
    elif role in kind.leaders and replicas != 1:
        yield f"{path}.replicas", f"{replicas} is too many: a job has one {role}; write 1 and add Workers."
    policy = spec.get("restartPolicy")
    if policy not in (None, "", *RESTART_POLICIES):
        yield f"{path}.restartPolicy", f"{policy!r} is not a restart policy; use one of {', '.join(RESTART_POLICIES)}."
    pod_path = f"{path}.template.spec"
    containers = as_dict(as_dict(spec.get("template")).get("spec")).get("containers")
    if not isinstance(containers, list) or not containers:
        yield f"{pod_path}.containers", f"is empty; give one container named {kind.container}."
        return
    if not any(as_dict(container).get("name") == kind.container for container in containers):
        names = ", ".join(str(as_dict(container).get("name")) for container in containers)
        yield (
            f"{pod_path}.containers",
            f"{names!r} has none named {kind.container}, which the operator gives the cluster's addresses; name it so.",
        )
    for index, container in enumerate(containers):
        yield from _container_problems(as_dict(container), f"{pod_path}.containers[{index}]")


def _container_problems(container: Json, path: str) -> Iterator[tuple[str, str]]:
    image = container.get("image")
    if not image:
        yield f"{path}.image", "is missing; name the image that holds the training code."
    elif not _IMAGE.fullmatch(str(image)):
        yield f"{path}.image", f"{image!r} is not an image name; write registry/name:tag, the name in lower case."
    resources = as_dict(container.get("resources"))
    amounts = {}
    for group in ("requests", "limits"):
        for resource, quantity in as_dict(resources.get(group)).items():
            try:
                amount = amounts[group, resource] = parse_quantity(quantity)
            except ValueError:
                yield (
                    f"{path}.resources.{group}.{resource}",
                    f"{quantity!r} is not a quantity; write one like 500m, 2 or 1Gi.",
                )
                continue
            if amount < 0:
                yield f"{path}.resources.{group}.{resource}", f"{quantity!r} is negative; write 0 or more."
    for (group, resource), amount in amounts.items():
        limit = amounts.get(("limits", resource))
        if group == "requests" and limit is not None and amount > limit:
            yield (
                f"{path}.resources.requests.{resource}",
                f"{resources['requests'][resource]!r} is above the limit {resources['limits'][resource]!r}; "
                "raise the limit or lower the request.",
            )


def _combination_problems(kind: JobKind, specs: Json, path: str) -> Iterator[tuple[str, str]]:
    leaders = [role for role in kind.leaders if role in specs]
    if len(leaders) > 1:
        yield path, f"has {' and '.join(leaders)}, which are two names for one role; keep {leaders[0]}."
    if not leaders and "Worker" not in specs:
        rest = ", ".join(str(role) for role in specs)
        yield path, f"{rest!r} has nobody whose end would end the job; add {kind.leaders[0]} or Worker."


def _name_length_problems(kind: JobKind, job: Json) -> Iterator[tuple[str, str]]:
    name = as_dict(job.get("metadata")).get("name")
    if not name:
        return
    longest = max((replica.pod for replica in replicas_of(kind, job)), key=len, default=str(name))
    excess = len(longest) - LABEL_LENGTH
    if excess > 0:
        yield (
            "metadata.name",
            f"{name!r} is too long: the pod {longest!r} would have {len(longest)} characters of at most "
            f"{LABEL_LENGTH}; shorten it by {excess}.",
        )


def _run_policy_problems(policy: object, total: int) -> Iterator[tuple[str, str]]:
    path = "spec.runPolicy"
    if policy is None:
        return
    if not isinstance(policy, dict):
        yield path, f"{policy!r} is not a mapping; give fields like cleanPodPolicy."
        return
    clean = policy.get("cleanPodPolicy")
    if clean not in (None, "", *CLEAN_POD_POLICIES):
        yield f"{path}.cleanPodPolicy", f"{clean!r} is unknown; use one of {', '.join(CLEAN_POD_POLICIES)}."
    for field, least in (("ttlSecondsAfterFinished", 0), ("backoffLimit", 0), ("activeDeadlineSeconds", 1)):
        value = policy.get(field)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            yield f"{path}.{field}", f"{value!r} is not a whole number from {least}; write one or leave it out."
    available = as_dict(policy.get("schedulingPolicy")).get("minAvailable")
    if isinstance(available, int) and available > total:
        yield (
            f"{path}.schedulingPolicy.minAvailable",
            f"{available} is more than the job's {total} replicas, so it would never start; write at most {total}.",
        )


def _count(spec: Json) -> int:
    replicas = spec.get("replicas")
    return 1 if replicas is None else replicas if isinstance(replicas, int) else 0


def _parameter_name(kind: JobKind, field: str) -> str:
    """The name of the module's parameter that a field of the manifest was built from."""
    if match := re.match(rf"spec\.{kind.replica_specs}(?:\.(\w+)(?:\.(.*))?)?$", field):
        role, rest = match.groups()
        if role is None:
            return "replicas"
        rest = re.sub(r"^template\.spec\.(containers\[0\]\.?)?", "", rest or "")
        rest = {"replicas": "count", "restartPolicy": "restart_policy"}.get(rest, rest)
        return ".".join(part for part in ("replicas", role.lower(), rest) if part)
    field = re.sub(r"^(metadata|spec)\.", "", field)
    return re.sub(r"(?<=[a-z])([A-Z])", lambda letter: "_" + letter.group().lower(), field)


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
    hashed = copy.deepcopy(job)
    annotations = hashed["metadata"].get("annotations") or {}
    hashed["metadata"]["annotations"] = {**annotations, SPEC_HASH: spec_hash(job)}
    return hashed


def desired_part(job: Json) -> Json:
    """Labels, annotations and spec, without nulls: what a user decides, and what a diff shows."""
    metadata = as_dict(job.get("metadata"))
    annotations = {key: value for key, value in as_dict(metadata.get("annotations")).items() if key != SPEC_HASH}
    part = {"metadata": _given(labels=metadata.get("labels"), annotations=annotations), "spec": job.get("spec")}
    cleaned: Json = _without_nulls(part)
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


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
