# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What can be wrong in a job of the training operator.

Its admission webhook knows only some of it. The rest the API server accepts, and then the operator does something
unexpected, or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    CLEAN_POD_POLICIES,
    PYTORCHJOB,
    RESTART_POLICIES,
    RUN_POLICY_FIELDS,
    TFJOB,
    OperatorKind,
    as_dict,
    as_list,
    count_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.manifest_problems import (
    EVALUATOR_WITH_PS,
    EXIT_CODE_WITH_BACKOFF_LIMIT,
    INT32,
    INT64,
    SUCCESS_POLICY_WITH_CHIEF,
    Doubt,
    Problem,
    as_number,
    asks_for_device,
    mapping_in,
    name_length_problems,
    number_problems,
    pod_of,
    pod_problems,
    quantity_problems,
    quoted,
    tag_problems,
)

MANAGERS = ("kubeflow.org/training-operator", "kueue.x-k8s.io/multikueue")
RENDEZVOUS_BACKENDS = ("c10d", "etcd", "etcd-v2")


def spec_problems(kind: OperatorKind, job: Json, spec: Json) -> Iterator[Problem]:
    for field in RUN_POLICY_FIELDS:
        if field in spec:
            yield f"spec.{field}", f"belongs in runPolicy and has no effect here; move it to spec.runPolicy.{field}."
    specs, path = spec.get(kind.specs_field), f"spec.{kind.specs_field}"
    if not isinstance(specs, dict) or not specs:
        yield path, f"{quoted(specs)} names no role; give at least one of {', '.join(kind.roles)}."
        return
    policy = yield from mapping_in(spec, "runPolicy", "spec")
    for role, role_spec in specs.items():
        if role not in kind.roles:
            meant = kind.role_named(str(role))
            cure = f"write {meant}" if meant else f"use one of {', '.join(kind.roles)}"
            yield f"{path}.{role}", f"{quoted(role)} is not a role of a {kind.name}; {cure}."
        elif not isinstance(role_spec, dict):
            yield f"{path}.{role}", f"{quoted(role_spec)} is not a mapping; give `replicas` and `template`."
        else:
            yield from _role_problems(kind, job, role, role_spec, f"{path}.{role}")
            yield from _restart_problems(kind, specs, role, policy.get("backoffLimit"), f"{path}.{role}")
    yield from _combination_problems(kind, specs, path)
    counts = {role: count_of(role_spec) for role, role_spec in kind.replica_specs(job).items() if role in kind.roles}
    yield from name_length_problems(job, counts)
    elastic = spec.get("elasticPolicy") if kind is PYTORCHJOB else None
    if kind is TFJOB:
        yield from _success_problems(spec.get("successPolicy"), _leaders(kind, specs))
    else:
        yield from _processes_problems(spec, specs, path)
        yield from _elastic_problems((yield from mapping_in(spec, "elasticPolicy", "spec")), specs)
    total = sum(count_of(as_dict(role_spec)) for role_spec in specs.values())
    yield from _run_policy_problems(policy, max(total, as_number(as_dict(elastic).get("maxReplicas"))))


def _combination_problems(kind: OperatorKind, specs: Json, path: str) -> Iterator[Problem]:
    leaders = _leaders(kind, specs)
    if len(leaders) > 1:
        yield path, f"has {' and '.join(leaders)}, which are two names for one role; keep {leaders[0]}."
    if not leaders and "Worker" not in specs:
        rest = ", ".join(str(role) for role in specs)
        yield path, f"{rest!r} has nobody whose end would end the job; add {kind.leaders[0]} or Worker."
    if "Evaluator" in specs and "PS" in specs:
        yield (
            f"{path}.Evaluator",
            Doubt(
                EVALUATOR_WITH_PS,
                "goes with PS into one cluster, where training then waits for it forever; evaluate in the chief, "
                "or make the evaluator a job of its own.",
            ),
        )


def _success_problems(policy: object, leaders: list[str]) -> Iterator[Problem]:
    if policy not in (None, "", "AllWorkers"):
        yield "spec.successPolicy", f"{quoted(policy)} is unknown; write AllWorkers or leave it out."
    elif policy and leaders:
        yield (
            "spec.successPolicy",
            Doubt(
                SUCCESS_POLICY_WITH_CHIEF,
                f"{policy!r} has no effect, as the end of {leaders[0]} is the job's end; leave out one of the two.",
            ),
        )


def _run_policy_problems(policy: Json, total: int) -> Iterator[Problem]:
    path = "spec.runPolicy"
    clean, manager, suspend = policy.get("cleanPodPolicy"), policy.get("managedBy"), policy.get("suspend")
    if clean not in (None, "", *CLEAN_POD_POLICIES):
        yield f"{path}.cleanPodPolicy", f"{quoted(clean)} is unknown; use one of {', '.join(CLEAN_POD_POLICIES)}."
    if manager is not None and manager not in MANAGERS:
        yield f"{path}.managedBy", f"{quoted(manager)} is unknown; use one of {', '.join(MANAGERS)} or leave it out."
    if suspend is not None and not isinstance(suspend, bool):
        yield f"{path}.suspend", f"{quoted(suspend)} is neither true nor false; write one of them, without quotes."
    yield from number_problems(policy, "ttlSecondsAfterFinished", path, 0)
    yield from number_problems(policy, "backoffLimit", path, 0)
    yield from number_problems(policy, "activeDeadlineSeconds", path, 1, INT64)
    scheduling = yield from mapping_in(policy, "schedulingPolicy", path)
    path += ".schedulingPolicy"
    for field in ("queue", "priorityClass"):
        if not isinstance(scheduling.get(field, ""), str):
            yield f"{path}.{field}", f"{quoted(scheduling[field])} is not a name; write it in quotes."
    yield from number_problems(scheduling, "scheduleTimeoutSeconds", path, 0)
    yield from number_problems(scheduling, "minAvailable", path, 1)
    if (available := as_number(scheduling.get("minAvailable"))) > total:
        yield (
            f"{path}.minAvailable",
            f"{available} is more than the job's {total} replicas, so it would never start; write at most {total}.",
        )
    for resource, quantity in (yield from mapping_in(scheduling, "minResources", path)).items():
        yield from quantity_problems(str(resource), quantity, f"{path}.minResources.{resource}")


# -- PyTorch's launcher


def _processes_problems(spec: Json, specs: Json, path: str) -> Iterator[Problem]:
    processes = spec.get("nprocPerNode")
    if processes is None:
        return
    if isinstance(processes, int) and not isinstance(processes, bool) and processes > 0:
        yield "spec.nprocPerNode", f'{processes} is a number where the API takes text; write "{processes}" in quotes.'
    elif not isinstance(processes, str) or not re.fullmatch(r"auto|cpu|gpu|[1-9]\d*", processes):
        shown = quoted(processes)
        yield "spec.nprocPerNode", f"{shown} is not a number of processes; use auto, cpu, gpu or a number from 1."
    if as_dict(spec.get("elasticPolicy")).get("nProcPerNode") is not None:
        yield "spec.elasticPolicy.nProcPerNode", "says the same as spec.nprocPerNode; leave this older one out."
    if processes == "gpu":
        for role, role_spec in specs.items():
            containers = map(as_dict, as_list(pod_of(role_spec).get("containers")))
            if not any(
                container.get("name") == PYTORCHJOB.container and asks_for_device(container) for container in containers
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
        yield from number_problems(policy, field, path, least)
    yield from number_problems(policy, "rdzvPort", path, 1, 65535)
    if policy.get("rdzvBackend") not in (None, *RENDEZVOUS_BACKENDS):
        yield (
            f"{path}.rdzvBackend",
            f"{quoted(policy['rdzvBackend'])} is unknown; use one of {', '.join(RENDEZVOUS_BACKENDS)}.",
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
    least, most = (as_number(first, as_number(other, workers)) for first, other in ((least, most), (most, least)))
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


def _role_problems(kind: OperatorKind, job: Json, role: str, spec: Json, path: str) -> Iterator[Problem]:
    replicas = spec.get("replicas")
    if replicas is None:
        if kind is PYTORCHJOB and role in kind.leaders:
            yield f"{path}.replicas", f"is missing, and the operator has no default for {role}; write 1."
    elif not isinstance(replicas, int) or isinstance(replicas, bool) or replicas > INT32:
        yield f"{path}.replicas", f"{quoted(replicas)} is not a whole number; write one from 1."
    elif replicas < 1:
        yield f"{path}.replicas", f"{replicas} is less than 1, yet the operator would make a pod; leave the role out."
    elif role in kind.leaders and replicas != 1:
        yield f"{path}.replicas", f"{replicas} is too many: a job has one {role}; write 1 and add Workers."
    template = yield from mapping_in(spec, "template", path)
    yield from tag_problems(
        (yield from mapping_in(template, "metadata", f"{path}.template")), f"{path}.template.metadata"
    )
    pod = yield from mapping_in(template, "spec", f"{path}.template")
    yield from pod_problems(pod, f"{path}.template.spec", _set_by_operator(kind, job), kind)


def _restart_problems(
    kind: OperatorKind, specs: Json, role: str, backoff_limit: object, path: str
) -> Iterator[Problem]:
    """What becomes of the restarts that the role, its pod and the job as a whole ask for."""
    policy = specs[role].get("restartPolicy")
    if policy not in (None, "", *RESTART_POLICIES):
        shown = quoted(policy)
        yield f"{path}.restartPolicy", f"{shown} is not a restart policy; use one of {', '.join(RESTART_POLICIES)}."
        return
    deciding = role in (_leaders(kind, specs) or ["Worker"])
    if policy == "Always" and deciding:
        yield (
            f"{path}.restartPolicy",
            f"'Always' restarts training that has ended, so that {role} would never end the job; write OnFailure.",
        )
    if policy == "ExitCode" and as_number(backoff_limit) > 0:
        yield (
            f"{path}.restartPolicy",
            Doubt(
                EXIT_CODE_WITH_BACKOFF_LIMIT,
                "'ExitCode' makes new pods, whose restarts backoffLimit does not count, and may go on forever; "
                "write OnFailure, or leave backoffLimit out.",
            ),
        )
    policy, own = policy or kind.restart_policy, pod_of(specs[role]).get("restartPolicy")
    if own is not None and own != policy:
        yield (
            f"{path}.template.spec.restartPolicy",
            f"{quoted(own)} is overridden by {policy}, which holds for {role}; write it as {path}.restartPolicy.",
        )


def _set_by_operator(kind: OperatorKind, job: Json) -> set[str]:
    """Variables that the operator gives the containers, after those of the manifest, so that its own hold."""
    spec, specs = as_dict(job.get("spec")), kind.replica_specs(job)
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


def _leaders(kind: OperatorKind, specs: Json) -> list[str]:
    return [role for role in kind.leaders if role in specs]
