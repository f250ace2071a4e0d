# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What Volcano's scheduler says of a gang that does not run: its PodGroup, and the queue that it waits in."""

from __future__ import annotations

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import JobKind, as_dict, conditions_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    object_path,
)

SCHEDULING_API = "scheduling.volcano.sh/v1beta1"
# The queue has not let the gang in, so that nobody has looked for nodes yet.
NOT_ENQUEUED = "Pending"
_AT_WORK = ("Running", "Completed")


def waiting_group(api: KubeApi, kind: JobKind, job: Json) -> Json | None:
    """`name`, `phase`, `message` and `queue` of a gang that waits; None where it runs, is none, or cannot be seen."""
    namespace = job["metadata"]["namespace"]
    group = _get(api, object_path(SCHEDULING_API, namespace, "podgroups", kind.gang(job).group))
    phase = as_dict(group.get("status")).get("phase")
    if not group or phase in _AT_WORK:
        return None
    unschedulable = conditions_of(group).get("Unschedulable", {})
    queue = str(as_dict(group.get("spec")).get("queue") or "default")
    found = _get(api, object_path(SCHEDULING_API, "", "queues", queue))
    return {
        "name": group["metadata"]["name"],
        "phase": phase or NOT_ENQUEUED,
        "message": str(unschedulable.get("message") or ""),
        "queue": {
            "name": queue,
            "state": as_dict(found.get("status")).get("state"),
            "allocated": as_dict(found.get("status")).get("allocated") or {},
            "capability": as_dict(found.get("spec")).get("capability") or {},
        },
    }


def _get(api: KubeApi, path: str) -> Json:
    """Empty where it is not there, or may not be seen."""
    try:
        return api.get(path)
    except (ApiError, UnreachableError):
        return {}
