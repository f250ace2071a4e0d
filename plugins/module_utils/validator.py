# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a task asks for, and everything that can be known to be wrong in it without a cluster.

The operator's admission webhook knows only some of it. The rest the API server accepts, and then the operator does
something unexpected, or nothing.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    API_VERSION,
    CLEAN_POD_POLICIES,
    JOB_PARAMETERS,
    PYTORCHJOB,
    RESTART_POLICIES,
    RUN_POLICY_FIELDS,
    TFJOB,
    InvalidJobError,
    JobKind,
    as_dict,
    as_list,
    build,
    count_of,
    replica_specs_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.quantities import parse_quantity

# A pod and its Service have the same name, which must be a DNS label.
LABEL_LENGTH = 63
PORT_NAME_LENGTH = 15
INT32 = 2**31 - 1
INT64 = 2**63 - 1
MEBIBYTE = 2**20
MANAGERS = ("kubeflow.org/training-operator", "kueue.x-k8s.io/multikueue")
RENDEZVOUS_BACKENDS = ("c10d", "etcd", "etcd-v2")

_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_DOMAIN = re.compile(rf"{_DNS_1123.pattern}(\.{_DNS_1123.pattern})*")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_ENV_NAME = re.compile(r"[ -<>-~]+")
# registry[:port]/path/name[:tag][@digest]; only the path must be lower case.
_IMAGE = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d+)?/)?"
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,})?"
)

Problem = tuple[str, str]


# -- what a task asks for


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


# -- the whole job


def validate(kind: JobKind, job: Json, from_parameters: bool = False) -> None:
    """Raises InvalidJobError with every problem; with `from_parameters` they name the modules' parameters."""
    name_of = _parameter_name if from_parameters else _field_name
    # One parameter may have become several fields, with the same problem in each.
    problems = dict.fromkeys(f"{name_of(kind, field)}: {text}" for field, text in problems_of(kind, job))
    if problems:
        raise InvalidJobError(list(problems))


def problems_of(kind: JobKind, job: Any) -> Iterator[Problem]:
    """(path of the field, what is wrong and its cure) of every problem; never an error of its own."""
    if not isinstance(job, dict):
        yield "manifest", f"{_shown(job)} is not a mapping; give a {kind.kind}."
    elif job.get("kind") != kind.kind:
        yield "kind", f"{_shown(job.get('kind'))} is not {kind.kind}; use the module for that kind."
    elif job.get("apiVersion") != API_VERSION:
        version = _shown(job.get("apiVersion"))
        yield "apiVersion", f"{version} is not served by the training operator; write {API_VERSION}."
    else:
        yield from _metadata_problems((yield from _mapping(job, "metadata", "")))
        yield from _spec_problems(kind, job, (yield from _mapping(job, "spec", "")))


def _metadata_problems(metadata: Json) -> Iterator[Problem]:
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if name in (None, ""):
        yield "metadata.name", "is missing; give the job a name."
    elif not isinstance(name, str) or not _DNS_1035.fullmatch(name):
        yield (
            "metadata.name",
            f"{_shown(name)} is not a DNS label; use lower-case letters, digits and `-`, a letter first, no `-` last.",
        )
    if namespace is not None and not _is_label(namespace):
        yield "metadata.namespace", f"{_shown(namespace)} is not a namespace; use lower-case letters, digits and `-`."
    yield from _tag_problems(metadata, "metadata")


def _spec_problems(kind: JobKind, job: Json, spec: Json) -> Iterator[Problem]:
    for field in RUN_POLICY_FIELDS:
        if field in spec:
            yield f"spec.{field}", f"belongs in runPolicy and has no effect here; move it to spec.runPolicy.{field}."
    specs, path = spec.get(kind.replica_specs), f"spec.{kind.replica_specs}"
    if not isinstance(specs, dict) or not specs:
        yield path, f"{_shown(specs)} names no role; give at least one of {', '.join(kind.roles)}."
        return
    policy = yield from _mapping(spec, "runPolicy", "spec")
    for role, role_spec in specs.items():
        if role not in kind.roles:
            meant = kind.role_named(str(role))
            cure = f"write {meant}" if meant else f"use one of {', '.join(kind.roles)}"
            yield f"{path}.{role}", f"{_shown(role)} is not a role of a {kind.kind}; {cure}."
        elif not isinstance(role_spec, dict):
            yield f"{path}.{role}", f"{_shown(role_spec)} is not a mapping; give `replicas` and `template`."
        else:
            yield from _role_problems(kind, job, role, role_spec, f"{path}.{role}")
            yield from _restart_problems(kind, specs, role, policy.get("backoffLimit"), f"{path}.{role}")
    yield from _combination_problems(kind, specs, path)
    yield from _name_length_problems(kind, job)
    elastic = spec.get("elasticPolicy") if kind is PYTORCHJOB else None
    if kind is TFJOB:
        yield from _success_problems(spec.get("successPolicy"), _leaders(kind, specs))
    else:
        yield from _processes_problems(spec, specs, path)
        yield from _elastic_problems((yield from _mapping(spec, "elasticPolicy", "spec")), specs)
    total = sum(count_of(as_dict(role_spec)) for role_spec in specs.values())
    yield from _run_policy_problems(policy, max(total, _number(as_dict(elastic).get("maxReplicas"))))


def _combination_problems(kind: JobKind, specs: Json, path: str) -> Iterator[Problem]:
    leaders = _leaders(kind, specs)
    if len(leaders) > 1:
        yield path, f"has {' and '.join(leaders)}, which are two names for one role; keep {leaders[0]}."
    if not leaders and "Worker" not in specs:
        rest = ", ".join(str(role) for role in specs)
        yield path, f"{rest!r} has nobody whose end would end the job; add {kind.leaders[0]} or Worker."
    if "Evaluator" in specs and "PS" in specs:
        yield (
            f"{path}.Evaluator",
            "goes with PS into one cluster, where training then waits for it forever; evaluate in the chief, "
            "or make the evaluator a job of its own.",
        )


def _name_length_problems(kind: JobKind, job: Json) -> Iterator[Problem]:
    name = as_dict(job.get("metadata")).get("name")
    if not isinstance(name, str) or not name:
        return
    pods = [
        f"{name}-{role.lower()}-{max(count_of(spec) - 1, 0)}"
        for role, spec in replica_specs_of(kind, job).items()
        if role in kind.roles
    ]
    longest = max(pods, key=len, default=name)
    excess = len(longest) - LABEL_LENGTH
    if excess > 0:
        yield (
            "metadata.name",
            f"{_shown(name)} is too long: the pod {_shown(longest)} would have {len(longest)} characters of at most "
            f"{LABEL_LENGTH}; shorten it by {excess}.",
        )


def _success_problems(policy: object, leaders: list[str]) -> Iterator[Problem]:
    if policy not in (None, "", "AllWorkers"):
        yield "spec.successPolicy", f"{_shown(policy)} is unknown; write AllWorkers or leave it out."
    elif policy and leaders:
        yield (
            "spec.successPolicy",
            f"{policy!r} has no effect, as the end of {leaders[0]} is the job's end; leave out one of the two.",
        )


def _run_policy_problems(policy: Json, total: int) -> Iterator[Problem]:
    path = "spec.runPolicy"
    clean, manager, suspend = policy.get("cleanPodPolicy"), policy.get("managedBy"), policy.get("suspend")
    if clean not in (None, "", *CLEAN_POD_POLICIES):
        yield f"{path}.cleanPodPolicy", f"{_shown(clean)} is unknown; use one of {', '.join(CLEAN_POD_POLICIES)}."
    if manager is not None and manager not in MANAGERS:
        yield f"{path}.managedBy", f"{_shown(manager)} is unknown; use one of {', '.join(MANAGERS)} or leave it out."
    if suspend is not None and not isinstance(suspend, bool):
        yield f"{path}.suspend", f"{_shown(suspend)} is neither true nor false; write one of them, without quotes."
    yield from _number_problems(policy, "ttlSecondsAfterFinished", path, 0)
    yield from _number_problems(policy, "backoffLimit", path, 0)
    yield from _number_problems(policy, "activeDeadlineSeconds", path, 1, INT64)
    scheduling = yield from _mapping(policy, "schedulingPolicy", path)
    path += ".schedulingPolicy"
    for field in ("queue", "priorityClass"):
        if not isinstance(scheduling.get(field, ""), str):
            yield f"{path}.{field}", f"{_shown(scheduling[field])} is not a name; write it in quotes."
    yield from _number_problems(scheduling, "scheduleTimeoutSeconds", path, 0)
    yield from _number_problems(scheduling, "minAvailable", path, 1)
    if (available := _number(scheduling.get("minAvailable"))) > total:
        yield (
            f"{path}.minAvailable",
            f"{available} is more than the job's {total} replicas, so it would never start; write at most {total}.",
        )
    for resource, quantity in (yield from _mapping(scheduling, "minResources", path)).items():
        yield from _quantity_problems(str(resource), quantity, f"{path}.minResources.{resource}")


# -- PyTorch's launcher


def _processes_problems(spec: Json, specs: Json, path: str) -> Iterator[Problem]:
    processes = spec.get("nprocPerNode")
    if processes is None:
        return
    if isinstance(processes, int) and not isinstance(processes, bool) and processes > 0:
        yield "spec.nprocPerNode", f'{processes} is a number where the API takes text; write "{processes}" in quotes.'
    elif not isinstance(processes, str) or not re.fullmatch(r"auto|cpu|gpu|[1-9]\d*", processes):
        shown = _shown(processes)
        yield "spec.nprocPerNode", f"{shown} is not a number of processes; use auto, cpu, gpu or a number from 1."
    if as_dict(spec.get("elasticPolicy")).get("nProcPerNode") is not None:
        yield "spec.elasticPolicy.nProcPerNode", "says the same as spec.nprocPerNode; leave this older one out."
    if processes == "gpu":
        for role, role_spec in specs.items():
            containers = map(as_dict, as_list(_pod(role_spec).get("containers")))
            if not any(
                container.get("name") == PYTORCHJOB.container and _asks_for_device(container)
                for container in containers
            ):
                yield (
                    f"{path}.{role}",
                    "asks for no GPU, which nprocPerNode gpu needs; give limits such as nvidia.com/gpu: 1, or write "
                    "auto.",
                )


def _elastic_problems(policy: Json, specs: Json) -> Iterator[Problem]:
    path = "spec.elasticPolicy"
    if not policy:
        return
    if "Worker" not in specs:
        yield path, "needs the role Worker, which it scales; add it, or leave elasticPolicy out."
    for field, least in (("minReplicas", 1), ("maxReplicas", 1), ("maxRestarts", 0), ("nProcPerNode", 1)):
        yield from _number_problems(policy, field, path, least)
    yield from _number_problems(policy, "rdzvPort", path, 1, 65535)
    if policy.get("rdzvBackend") not in (None, *RENDEZVOUS_BACKENDS):
        yield (
            f"{path}.rdzvBackend",
            f"{_shown(policy['rdzvBackend'])} is unknown; use one of {', '.join(RENDEZVOUS_BACKENDS)}.",
        )
    if policy.get("rdzvConf") == []:
        yield f"{path}.rdzvConf", "is empty, at which the operator stumbles; leave it out."
    yield from _rendezvous_problems(policy, specs, path)


def _rendezvous_problems(policy: Json, specs: Json, path: str) -> Iterator[Problem]:
    """Every replica, a Master too, comes to the rendezvous, which takes no more and no fewer than it was told."""
    if policy.get("standalone") is True or policy.get("metrics"):
        # Nobody meets, or an autoscaler brings the Workers to the right number.
        return
    workers = count_of(as_dict(specs.get("Worker")))
    present = workers + ("Master" in specs)
    least, most = policy.get("minReplicas"), policy.get("maxReplicas")
    # What is not given the operator takes from the other, or from the number of workers.
    least, most = (_number(first, _number(other, workers)) for first, other in ((least, most), (most, least)))
    if least > most:
        yield f"{path}.minReplicas", f"{least} is more than maxReplicas {most}; lower the one or raise the other."
    elif present < least:
        yield (
            f"{path}.minReplicas",
            f"{least} is more than the job's {present} replicas, which would wait for others forever; "
            f"write at most {present}.",
        )
    elif present > most:
        yield (
            f"{path}.maxReplicas",
            f"{most} is less than the job's {present} replicas, of which some could never join; "
            f"write at least {present}" + (", as the Master counts too." if "Master" in specs else "."),
        )


# -- one role


def _role_problems(kind: JobKind, job: Json, role: str, spec: Json, path: str) -> Iterator[Problem]:
    replicas = spec.get("replicas")
    if replicas is None:
        if kind is PYTORCHJOB and role in kind.leaders:
            yield f"{path}.replicas", f"is missing, and the operator has no default for {role}; write 1."
    elif not isinstance(replicas, int) or isinstance(replicas, bool) or replicas > INT32:
        yield f"{path}.replicas", f"{_shown(replicas)} is not a whole number; write one from 1."
    elif replicas < 1:
        yield f"{path}.replicas", f"{replicas} is less than 1, yet the operator would make a pod; leave the role out."
    elif role in kind.leaders and replicas != 1:
        yield f"{path}.replicas", f"{replicas} is too many: a job has one {role}; write 1 and add Workers."
    template = yield from _mapping(spec, "template", path)
    yield from _tag_problems(
        (yield from _mapping(template, "metadata", f"{path}.template")), f"{path}.template.metadata"
    )
    pod = yield from _mapping(template, "spec", f"{path}.template")
    yield from _pod_problems(kind, pod, _set_by_operator(kind, job), f"{path}.template.spec")


def _restart_problems(kind: JobKind, specs: Json, role: str, backoff_limit: object, path: str) -> Iterator[Problem]:
    """What becomes of the restarts that the role, its pod and the job as a whole ask for."""
    policy = specs[role].get("restartPolicy")
    if policy not in (None, "", *RESTART_POLICIES):
        shown = _shown(policy)
        yield f"{path}.restartPolicy", f"{shown} is not a restart policy; use one of {', '.join(RESTART_POLICIES)}."
        return
    deciding = role in (_leaders(kind, specs) or ["Worker"])
    if policy == "Always" and deciding:
        yield (
            f"{path}.restartPolicy",
            f"'Always' restarts training that has ended, so that {role} would never end the job; write OnFailure.",
        )
    if policy == "ExitCode" and _number(backoff_limit) > 0:
        yield (
            f"{path}.restartPolicy",
            "'ExitCode' makes new pods, whose restarts backoffLimit does not count, and may go on forever; "
            "write OnFailure, or leave backoffLimit out.",
        )
    policy, own = policy or kind.restart_policy, _pod(specs[role]).get("restartPolicy")
    if own is not None and own != policy:
        yield (
            f"{path}.template.spec.restartPolicy",
            f"{_shown(own)} is overridden by {policy}, which holds for {role}; write it as {path}.restartPolicy.",
        )


def _pod_problems(kind: JobKind, pod: Json, set_by_operator: set[str], path: str) -> Iterator[Problem]:
    volumes = yield from _mappings(pod, "volumes", path)
    for index, volume in volumes:
        yield from _volume_problems(volume, index)
    yield from _doubled((volume.get("name") for _index, volume in volumes), f"{path}.volumes", "volumes")
    selector = yield from _mapping(pod, "nodeSelector", path)
    yield from _label_problems(selector, f"{path}.nodeSelector")
    containers = yield from _mappings(pod, "containers", path)
    if not containers:
        yield f"{path}.containers", f"is empty; give one container named {kind.container}."
        return
    if not any(container.get("name") == kind.container for _index, container in containers):
        names = ", ".join(str(container.get("name")) for _index, container in containers)
        yield (
            f"{path}.containers",
            f"{_shown(names)} has none named {kind.container}, which the operator gives the cluster's addresses; "
            "name it so.",
        )
    helpers = yield from _mappings(pod, "initContainers", path)
    names_of_volumes = {volume["name"] for _index, volume in volumes if isinstance(volume.get("name"), str)}
    for index, container in [*containers, *helpers]:
        yield from _container_problems(container, index)
        yield from _mount_problems(container, names_of_volumes, index)
        yield from _port_problems(kind if container.get("name") == kind.container else None, container, index)
        yield from _env_problems(container, index)
    for index, container in containers:
        if kind is PYTORCHJOB or container.get("name") == kind.container:
            yield from _overridden_problems(container, set_by_operator, index)
    containers += helpers
    yield from _doubled((container.get("name") for _index, container in containers), f"{path}.containers", "containers")


def _volume_problems(volume: Json, path: str) -> Iterator[Problem]:
    if not _is_label(volume.get("name")):
        yield (
            f"{path}.name",
            f"{_shown(volume.get('name'))} is not a DNS label; use lower-case letters, digits and `-`.",
        )
    sources = [str(key) for key, value in volume.items() if key != "name" and value is not None]
    if len(sources) > 1:
        yield path, f"has several sources, {', '.join(sources)}; keep one, and make other volumes of the rest."


# -- one container


def _container_problems(container: Json, path: str) -> Iterator[Problem]:
    if not _is_label(container.get("name")):
        shown = _shown(container.get("name"))
        yield f"{path}.name", f"{shown} is not a DNS label; use lower-case letters, digits and `-`."
    image = container.get("image")
    if not image:
        yield f"{path}.image", "is missing; name the image that holds the training code."
    elif not isinstance(image, str) or not _IMAGE.fullmatch(image):
        yield f"{path}.image", f"{_shown(image)} is not an image name; write registry/name:tag, the name in lower case."
    for field in ("command", "args"):
        words = container.get(field)
        if words is not None and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            yield f"{path}.{field}", f"{_shown(words)} is not a list of texts; write one, with numbers in quotes."
    resources = yield from _mapping(container, "resources", path)
    requests = yield from _mapping(resources, "requests", f"{path}.resources")
    limits = yield from _mapping(resources, "limits", f"{path}.resources")
    for group, quantities in (("requests", requests), ("limits", limits)):
        for resource, quantity in quantities.items():
            yield from _quantity_problems(str(resource), quantity, f"{path}.resources.{group}.{resource}")
    for resource, request in requests.items():
        yield from _request_problems(str(resource), request, limits.get(resource), f"{path}.resources.requests")


def _quantity_problems(resource: str, quantity: object, path: str) -> Iterator[Problem]:
    amount = _amount(quantity)
    if amount is None:
        yield path, f"{_shown(quantity)} is not a quantity; write one like 500m, 2 or 1Gi."
    elif amount < 0:
        yield path, f"{_shown(quantity)} is negative; write 0 or more."
    elif resource in ("memory", "ephemeral-storage") and 0 < amount < MEBIBYTE:
        number = str(quantity).rstrip("m")
        meaning = "thousandths of a byte" if str(quantity).endswith("m") else "less than 1 MiB"
        yield path, f"{_shown(quantity)} is {meaning}; write {number}Mi or {number}Gi."
    elif _is_device(resource) and amount != amount.to_integral_value():
        yield path, f"{_shown(quantity)} is not a whole number, and {resource} cannot be divided; write one from 1."
    elif "/" not in resource and not re.fullmatch(r"cpu|memory|ephemeral-storage|hugepages-\w+", resource):
        yield path, f"{resource!r} is no resource that containers have; GPUs have names such as nvidia.com/gpu."


def _request_problems(resource: str, request: object, limit: object, path: str) -> Iterator[Problem]:
    requested, limited = _amount(request), _amount(limit)
    if requested is None or (limit is not None and limited is None):
        return
    if _is_device(resource) and requested != (limited or 0):
        yield (
            f"{path}.{resource}",
            f"{_shown(request)} is not the limit {_shown(limit)}, and {resource} cannot be overcommitted; "
            "give the limit alone, which is the request too.",
        )
    elif limited is not None and requested > limited:
        yield (
            f"{path}.{resource}",
            f"{_shown(request)} is above the limit {_shown(limit)}; raise the limit or lower the request.",
        )


def _port_problems(training: JobKind | None, container: Json, path: str) -> Iterator[Problem]:
    """`training` is the kind for the container of which the operator makes a Service with all the ports."""
    ports = yield from _mappings(container, "ports", path)
    for index, port in ports:
        yield from _number_problems(port, "containerPort", index, 1, 65535, required=True)
        name = port.get("name")
        if name is not None and not (
            isinstance(name, str) and _PORT_NAME.fullmatch(name) and len(name) <= PORT_NAME_LENGTH
        ):
            yield (
                f"{index}.name",
                f"{_shown(name)} is not a port's name; use at most {PORT_NAME_LENGTH} lower-case letters, digits and "
                "`-`, with a letter.",
            )
        if training and not name:
            yield (
                f"{index}.name",
                f"is missing, without which the pod gets no Service; name the port {training.port_name} if the "
                "replicas talk to each other on it.",
            )
    yield from _doubled((port.get("name") for _index, port in ports), f"{path}.ports", "ports")
    if training:
        numbers = [port.get("containerPort") for _index, port in ports]
        if training.port_name not in (port.get("name") for _index, port in ports):
            numbers.append(training.port)
        for number in _repeated(numbers):
            yield (
                f"{path}.ports",
                f"{number} comes twice, where {training.port} is {training.port_name} unless you give one of that "
                "name; keep one.",
            )


def _env_problems(container: Json, path: str) -> Iterator[Problem]:
    entries = yield from _mappings(container, "env", path)
    for index, entry in entries:
        name, value = entry.get("name"), entry.get("value")
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            yield f"{index}.name", f"{_shown(name)} is not a variable's name; use letters, digits and `_`."
        if value is not None and not isinstance(value, str):
            yield f"{index}.value", f"{_shown(value)} is not text; write it in quotes."
        if value and entry.get("valueFrom") is not None:
            yield index, f"{_shown(name)} has both value and valueFrom; keep one."
    yield from _doubled((entry.get("name") for _index, entry in entries), f"{path}.env", "variables")


def _overridden_problems(container: Json, set_by_operator: set[str], path: str) -> Iterator[Problem]:
    for index, entry in enumerate(as_list(container.get("env"))):
        name = as_dict(entry).get("name")
        if isinstance(name, str) and name in set_by_operator:
            yield f"{path}.env[{index}].name", f"{name!r} is set by the operator, which overrides this; leave it out."


def _mount_problems(container: Json, volumes: set[str], path: str) -> Iterator[Problem]:
    mounts = yield from _mappings(container, "volumeMounts", path)
    for index, mount in mounts:
        name, place, part = mount.get("name"), mount.get("mountPath"), mount.get("subPath")
        if not isinstance(name, str) or name not in volumes:
            yield f"{index}.name", f"{_shown(name)} is none of the pod's volumes; define it there, or correct the name."
        if not isinstance(place, str) or not place.startswith("/"):
            yield f"{index}.mountPath", f"{_shown(place)} is not an absolute path; begin it with `/`."
        if part is not None and (not isinstance(part, str) or part.startswith("/") or ".." in part.split("/")):
            yield (
                f"{index}.subPath",
                f"{_shown(part)} is not a path inside the volume; leave out a leading `/` and `..`.",
            )
    places = (place.rstrip("/") for _index, mount in mounts if isinstance(place := mount.get("mountPath"), str))
    yield from _doubled(places, f"{path}.volumeMounts", "mount paths")


def _set_by_operator(kind: JobKind, job: Json) -> set[str]:
    """Variables that the operator gives the containers, after those of the manifest, so that its own hold."""
    spec, specs = as_dict(job.get("spec")), replica_specs_of(kind, job)
    if kind is TFJOB:
        # A program that is alone gets none, and may be told about a cluster elsewhere.
        return set() if sum(map(count_of, specs.values())) == 1 else {"TF_CONFIG"}
    names = {"PET_NNODES", "PET_NPROC_PER_NODE"}
    if "Master" in specs:
        names |= {"MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"}
        names |= {"PET_MASTER_ADDR", "PET_MASTER_PORT", "PET_NODE_RANK"}
    if spec.get("elasticPolicy"):
        names |= {"PET_RDZV_BACKEND", "PET_RDZV_ENDPOINT"}
    return names


# -- labels and annotations


def _tag_problems(metadata: Json, path: str) -> Iterator[Problem]:
    yield from _label_problems((yield from _mapping(metadata, "labels", path)), f"{path}.labels")
    annotations = yield from _mapping(metadata, "annotations", path)
    yield from _key_problems(annotations, f"{path}.annotations")
    for key, value in annotations.items():
        if not isinstance(value, str):
            yield f"{path}.annotations", f"{_shown(key)} has the value {_shown(value)}, which is not text; quote it."


def _label_problems(labels: Json, path: str) -> Iterator[Problem]:
    yield from _key_problems(labels, path)
    for key, value in labels.items():
        if not isinstance(value, str):
            yield path, f"{_shown(key)} has the value {_shown(value)}, which is not text; quote it."
        elif value and not (_LABEL.fullmatch(value) and len(value) <= LABEL_LENGTH):
            yield (
                path,
                f"{_shown(key)} has the value {_shown(value)}, which is not a label's; use at most {LABEL_LENGTH} "
                "letters, digits, `-`, `_` and `.`, a letter or digit first and last.",
            )


def _key_problems(mapping: Json, path: str) -> Iterator[Problem]:
    for key in mapping:
        prefix, slash, name = str(key).rpartition("/")
        right = isinstance(key, str) and _LABEL.fullmatch(name) and len(name) <= LABEL_LENGTH
        if not right or (slash and not _DNS_DOMAIN.fullmatch(prefix)):
            yield path, f"{_shown(key)} is not a key; write a name, or domain/name."


# -- parts of a manifest, whatever stands in their place


def _mapping(parent: Json, key: str, path: str) -> Generator[Problem, None, Json]:
    """The mapping at `key`; an empty one where it is missing, or told to be something else."""
    value = parent.get(key)
    if value is not None and not isinstance(value, dict):
        yield _join(path, key), f"{_shown(value)} is not a mapping; write one, or leave it out."
    return as_dict(value)


def _mappings(parent: Json, key: str, path: str) -> Generator[Problem, None, list[tuple[str, Json]]]:
    """The mappings of the list at `key`, each with its path."""
    value, path = parent.get(key), _join(path, key)
    if value is not None and not isinstance(value, list):
        yield path, f"{_shown(value)} is not a list; write one, or leave it out."
    found = []
    for index, item in enumerate(as_list(value)):
        if isinstance(item, dict):
            found.append((f"{path}[{index}]", item))
        else:
            yield f"{path}[{index}]", f"{_shown(item)} is not a mapping; write one, or leave it out."
    return found


def _number_problems(
    parent: Json, key: str, path: str, least: int, most: int = INT32, required: bool = False
) -> Iterator[Problem]:
    value = parent.get(key)
    if value is None and not required:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        span = f"from {least} to {most}" if most < INT32 else f"from {least}"
        cure = "write one" if required else "write one or leave it out"
        yield f"{path}.{key}", f"{_shown(value)} is not a whole number {span}; {cure}."


def _doubled(names: Iterable[object], path: str, noun: str) -> Iterator[Problem]:
    for name in _repeated(names):
        yield path, f"{_shown(name)} names several {noun}; keep one, or rename the others."


def _repeated(values: Iterable[object]) -> list[object]:
    # Others than texts and numbers are told of elsewhere, and not all of them can be counted.
    counted = Counter(value for value in values if isinstance(value, str | int))
    return [value for value, count in counted.items() if count > 1]


def _pod(role_spec: object) -> Json:
    return as_dict(as_dict(as_dict(role_spec).get("template")).get("spec"))


def _leaders(kind: JobKind, specs: Json) -> list[str]:
    return [role for role in kind.leaders if role in specs]


def _is_label(value: object) -> bool:
    return isinstance(value, str) and bool(_DNS_1123.fullmatch(value)) and len(value) <= LABEL_LENGTH


def _number(value: object, otherwise: int = 0) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _amount(quantity: object) -> Decimal | None:
    try:
        return parse_quantity(quantity)
    except (ValueError, ArithmeticError):
        return None


def _is_device(resource: str) -> bool:
    """Whether a node has it from a device plugin: GPUs and the like."""
    domain, slash, _name = resource.partition("/")
    return bool(slash) and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io")


def _asks_for_device(container: Json) -> bool:
    resources = as_dict(container.get("resources"))
    quantities = {**as_dict(resources.get("requests")), **as_dict(resources.get("limits"))}
    return bool(resources.get("claims")) or any(
        _is_device(str(resource)) and (_amount(quantity) or 0) > 0 for resource, quantity in quantities.items()
    )


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shown(value: object) -> str:
    """As Python writes it; a long value only by its ends."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]}…{text[-20:]}"


# -- names of fields


def _field_name(_kind: JobKind, field: str) -> str:
    return field


def _parameter_name(kind: JobKind, field: str) -> str:
    """The name of the module's parameter that a field of the manifest was built from."""
    if match := re.match(rf"spec\.{kind.replica_specs}(?:\.(\w+)(?:\.(.*))?)?$", field):
        role, rest = match.groups()
        if role is None:
            return "replicas"
        rest = re.sub(r"^template\.spec\.(containers\[0\]\.?)?", "", rest or "")
        if rest.startswith("volume"):
            # They are given once, for all roles.
            return _snake(rest.replace("volumeMounts", "volumes"))
        rest = _snake("count" if rest == "replicas" else rest)
        return ".".join(part for part in ("replicas", role.lower(), rest) if part)
    return _snake(re.sub(r"^(metadata|spec)\.", "", field))


def _snake(field: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda letter: "_" + letter.group().lower(), field)
