# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a job's conditions and pods say: the state of the job, and a table of its replicas."""

from __future__ import annotations

import calendar
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    FAILED,
    PENDING,
    SUCCEEDED,
    SUSPENDED,
    JobKind,
    Replica,
    as_dict,
    as_list,
    replicas_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json


def state_of(kind: JobKind, job: Json) -> str:
    """Pending as long as the operator has said nothing."""
    condition = kind.condition(job)
    return str(condition["type"]) if condition else PENDING


def is_finished(kind: JobKind, job: Json) -> bool:
    return state_of(kind, job) in (SUCCEEDED, FAILED)


def is_at_rest(kind: JobKind, job: Json) -> bool:
    """Finished, or suspended as it is wanted: nothing more will happen by itself."""
    return is_finished(kind, job) or (kind.is_suspended(job) and state_of(kind, job) == SUSPENDED)


def duration_of(kind: JobKind, job: Json) -> float | None:
    """Seconds from the operator's start to the job's end; both have a resolution of one second."""
    start, end = map(parse_time, kind.times(job))
    return None if start is None or end is None else end - start


def parse_time(text: object) -> float | None:
    """Seconds since the epoch of a time as the API writes it."""
    try:
        return float(calendar.timegm(time.strptime(str(text)[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


def own_pods(job: Json, pods: Mapping[str, Json]) -> dict[str, Json]:
    """Those pods that belong to this very job, not to a deleted one of the same name."""
    uid = job["metadata"].get("uid")
    return {
        name: pod
        for name, pod in pods.items()
        if any(as_dict(owner).get("uid") == uid for owner in as_list(pod["metadata"].get("ownerReferences")))
    }


def container_statuses(pod: Json) -> list[Json]:
    """Init containers first, as they come first."""
    status = as_dict(pod.get("status"))
    return [
        as_dict(entry) for part in ("initContainerStatuses", "containerStatuses") for entry in as_list(status.get(part))
    ]


def training_container(kind: JobKind, pod: Json) -> Json:
    """The status of the container that trains; empty until there is one."""
    statuses = map(as_dict, as_list(as_dict(pod.get("status")).get("containerStatuses")))
    name = training_container_name(kind, pod)
    return next((status for status in statuses if status.get("name") == name), {})


def training_container_name(kind: JobKind, pod: Json) -> str:
    """`pod` is a pod or a template of one."""
    containers = map(as_dict, as_list(as_dict(pod.get("spec")).get("containers")))
    return kind.container or str(next(containers, {}).get("name") or "")


def has_started(kind: JobKind, pod: Json) -> bool:
    """Whether the training container runs or has run, now or before a restart."""
    status = training_container(kind, pod)
    states = (as_dict(status.get("state")), as_dict(status.get("lastState")))
    return any("running" in state or as_dict(state.get("terminated")).get("startedAt") for state in states)


def replica_table(kind: JobKind, job: Json, pods: Mapping[str, Json]) -> list[Json]:
    """One row for each replica of the spec, whether or not it has a pod."""
    return [_row(kind, replica, pods.get(replica.pod)) for replica in replicas_of(kind, job)]


def _row(kind: JobKind, replica: Replica, pod: Json | None) -> Json:
    row: dict[str, Any] = {
        "replica": replica.name,
        "role": replica.role.lower(),
        "index": replica.index,
        "pod": replica.pod,
    }
    pod = pod or {}
    status = training_container(kind, pod)
    state = as_dict(status.get("state"))
    terminated = as_dict(state.get("terminated"))
    running = as_dict(state.get("running"))
    row.update(
        phase=as_dict(pod.get("status")).get("phase"),
        node=as_dict(pod.get("spec")).get("nodeName"),
        started=terminated.get("startedAt") or running.get("startedAt"),
        finished=terminated.get("finishedAt"),
        exit_code=terminated.get("exitCode"),
        reason=terminated.get("reason") or as_dict(state.get("waiting")).get("reason"),
        restarts=status.get("restartCount", 0),
    )
    return row
