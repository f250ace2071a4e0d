# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Volcano's own kind of job: tasks with names of the user's choice, policies that end it, and plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    FAILED,
    PENDING,
    RESTARTING,
    RUNNING,
    SUCCEEDED,
    SUSPENDED,
    Gang,
    JobKind,
    Replica,
    as_dict,
    as_list,
    given,
    metadata,
    pod_spec,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json, KubeApi, object_path

JOB_API = "batch.volcano.sh/v1alpha1"
COMMAND_API = "bus.volcano.sh/v1alpha1"
SCHEDULER = "volcano"
# What a job has that names no queue.
DEFAULT_QUEUE = "default"
TASK_COMPLETED, COMPLETE_JOB = "TaskCompleted", "CompleteJob"
# The names of tasks that lead others, and of those that work for them.
LEADERS = ("chief", "master")
WORKER = "worker"

_ABORTING, _ABORTED = "Aborting", "Aborted"
_STATES = {
    "Pending": PENDING,
    "Running": RUNNING,
    "Restarting": RESTARTING,
    "Completing": RUNNING,
    "Completed": SUCCEEDED,
    _ABORTING: RUNNING,
    _ABORTED: SUSPENDED,
    "Terminating": RUNNING,
    "Terminated": FAILED,
    "Failed": FAILED,
}


@dataclass(frozen=True)
class VolcanoKind(JobKind):
    def replica_specs(self, job: Json) -> dict[str, Json]:
        """The pods as Volcano makes them, with what the job says for all of them."""
        spec = as_dict(job.get("spec"))
        return {
            name_of(task, index): {"replicas": task.get("replicas") or 0, "template": _template(spec, task)}
            for index, task in enumerate(tasks_of(job))
        }

    def deciding(self, job: Json, replicas: Sequence[Replica]) -> list[Replica]:
        """The task whose end is the job's end; else the job ends with the last of its replicas."""
        ending = [name_of(task, index) for index, task in enumerate(tasks_of(job)) if _ends_job(task)]
        return [replica for replica in replicas if replica.role in ending[:1]] or list(replicas)

    def build(self, params: Mapping[str, Any]) -> Json:
        roles = {name: role for name, role in (params.get("replicas") or {}).items() if role is not None}
        policy = params.get("run_policy") or {}
        scheduling = policy.get("scheduling_policy") or {}
        restarts = policy.get("backoff_limit") or 0
        spec = given(
            schedulerName=SCHEDULER,
            minAvailable=scheduling.get("min_available"),
            queue=scheduling.get("queue"),
            priorityClassName=scheduling.get("priority_class"),
            ttlSecondsAfterFinished=policy.get("ttl_seconds_after_finished"),
            # Volcano counts the end that it does not restart, too.
            maxRetry=restarts + 1 if restarts else None,
            policies=params["policies"] if params.get("policies") is not None else _policies(restarts),
        )
        if params.get("plugins"):
            spec["plugins"] = {name: arguments or [] for name, arguments in params["plugins"].items()}
        ending = _ending_role(roles)
        spec["tasks"] = [_task(params, name, role, name == ending) for name, role in roles.items()]
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata(params), "spec": spec}

    def condition(self, job: Json) -> Json | None:
        status = as_dict(job.get("status"))
        state = as_dict(status.get("state"))
        phase = state.get("phase")
        if not phase:
            return None
        shown = _STATES.get(str(phase), str(phase))
        # A policy of the job can abort it, too, when a pod has failed.
        if phase == _ABORTED and status.get("failed"):
            shown = FAILED
        message = str(state.get("message") or "")
        if shown == FAILED and not message:
            total = sum(status.get(part) or 0 for part in ("failed", "succeeded"))
            message = f"Volcano's phase is {phase}: {status.get('failed') or 0} of {total} ended pods failed."
        return {"type": shown, "reason": str(state.get("reason") or phase), "message": message}

    def times(self, job: Json) -> tuple[Any, Any]:
        status = as_dict(job.get("status"))
        begun = None
        for condition in map(as_dict, as_list(status.get("conditions"))):
            if condition.get("status") == RUNNING:
                begun = begun or condition.get("lastTransitionTime")
            elif condition.get("status") == RESTARTING:
                begun = None
        state = as_dict(status.get("state"))
        is_over = _STATES.get(str(state.get("phase"))) in (SUCCEEDED, FAILED)
        return begun, state.get("lastTransitionTime") if is_over else None

    def conditions(self, job: Json) -> list[Json]:
        phase = as_dict(as_dict(job.get("status")).get("state")).get("phase")
        return [
            {
                "type": condition.get("status"),
                "status": str(condition.get("status") == phase),
                "reason": None,
                "message": None,
                "since": condition.get("lastTransitionTime"),
            }
            for condition in map(as_dict, as_list(as_dict(job.get("status")).get("conditions")))
        ]

    def is_suspended(self, job: Json) -> bool:
        phase = as_dict(as_dict(job.get("status")).get("state")).get("phase")
        return phase == _ABORTING or (self.condition(job) or {}).get("type") == SUSPENDED

    def with_suspend(self, job: Json, suspend: bool) -> Json:
        return job

    def suspend(self, api: KubeApi, job: Json, suspend: bool, dry_run: bool) -> Json:
        """By a Command, which Volcano takes and deletes; the job shows the effect a moment later."""
        about = job["metadata"]
        owner = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": about["name"],
            "uid": about["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        action = "AbortJob" if suspend else "ResumeJob"
        command = {
            "apiVersion": COMMAND_API,
            "kind": "Command",
            "metadata": {"generateName": f"{about['name']}-{action.lower()}-", "ownerReferences": [owner]},
            "action": action,
            "target": owner,
        }
        api.create(object_path(COMMAND_API, about["namespace"], "commands"), command, dry_run=dry_run)
        return job

    def gang(self, job: Json) -> Gang:
        spec = as_dict(job.get("spec"))
        least = spec.get("minAvailable")
        about = job["metadata"]
        return Gang(
            queue=str(spec.get("queue") or DEFAULT_QUEUE),
            priority_class=str(spec.get("priorityClassName") or ""),
            queue_field="spec.queue",
            priority_class_field="spec.priorityClassName",
            least=least if isinstance(least, int) and least else None,
            group=f"{about['name']}-{about.get('uid')}",
        )


VOLCANO_JOB = VolcanoKind(
    name="VolcanoJob",
    kind="Job",
    api_version=JOB_API,
    plural="jobs",
    operator="Volcano",
    pod_label="volcano.sh/job-name",
    container="",
    can_be_made_suspended=False,
    roles=(),
)


def tasks_of(job: Json) -> list[Json]:
    return [as_dict(task) for task in as_list(as_dict(job.get("spec")).get("tasks"))]


def name_of(task: Json, index: int) -> str:
    """Volcano gives a name to tasks that have none."""
    return str(task.get("name") or f"default{index}")


def _template(spec: Json, task: Json) -> Json:
    template = as_dict(task.get("template"))
    pod = {**as_dict(template.get("spec"))}
    pod.setdefault("schedulerName", spec.get("schedulerName") or SCHEDULER)
    if spec.get("priorityClassName"):
        pod.setdefault("priorityClassName", spec["priorityClassName"])
    claims = [
        volume["volumeClaimName"]
        for volume in map(as_dict, as_list(spec.get("volumes")))
        if volume.get("volumeClaimName")
    ]
    if claims:
        shared = [
            {"name": f"job-{index}", "persistentVolumeClaim": {"claimName": claim}}
            for index, claim in enumerate(claims)
        ]
        pod["volumes"] = [*as_list(pod.get("volumes")), *shared]
    return {**template, "spec": pod}


def _ends_job(task: Json) -> bool:
    return any(
        policy.get("action") == COMPLETE_JOB and TASK_COMPLETED in [policy.get("event"), *as_list(policy.get("events"))]
        for policy in map(as_dict, as_list(task.get("policies")))
    )


# -- from parameters to a manifest


def _ending_role(roles: Mapping[str, Any]) -> str | None:
    """The task whose end ends the job, as for the training operator: parameter servers never end by themselves."""
    if len(roles) == 1:
        return None
    return next((name for name in (*LEADERS, WORKER) if name in roles), None)


def _policies(restarts: int) -> list[Json]:
    """A failed pod fails the job at once, as the others would wait for it; or it runs anew as often as allowed."""
    return [
        {"event": "PodFailed", "action": "RestartJob" if restarts else "TerminateJob"},
        {"event": "PodEvicted", "action": "RestartJob"},
    ]


def _task(params: Mapping[str, Any], name: str, role: Mapping[str, Any], ends_job: bool) -> Json:
    restart_policy = params.get("restart_policy") if role.get("restart_policy") is None else role["restart_policy"]
    policies = role.get("policies")
    if policies is None and ends_job and params.get("policies") is None:
        policies = [{"event": TASK_COMPLETED, "action": COMPLETE_JOB}]
    pod = {**pod_spec(name, params, role), "restartPolicy": restart_policy or "Never"}
    return given(name=name, replicas=role.get("count", 1), policies=policies, template={"spec": pod})
