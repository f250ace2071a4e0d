# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Why a job cannot go on: one message for people, one structure for programs."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import JobKind, as_dict, replicas_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import container_statuses, state_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import (
    CRASH_LOOP,
    IMAGE_REASONS,
    MASTER_WAIT,
    MOUNT_REASONS,
    POD_REFUSED,
    UNSCHEDULABLE,
    Stuck,
)

LOG_LINES = 20
# One broken replica often takes all others with it; the first few tell the story.
PODS_SHOWN = 3
EVENTS_SHOWN = 5

_CURES = {
    **dict.fromkeys(
        IMAGE_REASONS, "Check the image's name and tag, and that the nodes reach its registry and may pull from it."
    ),
    **dict.fromkeys(MOUNT_REASONS, "Check that the volume's source exists and can be mounted on the pod's node."),
    "InvalidImageName": "Correct the image's name: registry/name:tag, the name in lower case.",
    "CreateContainerConfigError": "Create the ConfigMap or Secret that the container refers to, or its missing key.",
    "CreateContainerError": "Check the container's command, working directory and mounts against the image.",
    "RunContainerError": "Check the container's command against the image.",
    CRASH_LOOP: "See the log for the cause, and set `restart_policy: Never` or a `backoff_limit` to stop sooner.",
    MASTER_WAIT: "Check the cluster's DNS from that pod: it must resolve the name of the job's master.",
    POD_REFUSED: "Change the job to what the cluster admits, or ask for a larger quota.",
    "OOMKilled": "Raise the memory limit, or lower the batch size.",
}

_GANG_CURE = (
    "All pods of the gang must fit at once, on the nodes and into the queue: wait until others end, ask for less, or "
    "give the queue or the cluster more."
)


def explain_exit(code: int, reason: str = "") -> str:
    """What an exit code tells, in words."""
    if reason == "OOMKilled":
        return f"exit code {code}: killed because it used more memory than its limit"
    if code == 137:
        return "exit code 137: killed by SIGKILL (node out of memory, pod deleted, or killed by hand)"
    if code > 128:
        try:
            return f"exit code {code}: ended by {signal.Signals(code - 128).name}"
        except ValueError:
            return f"exit code {code}"
    known = {
        126: "the command is not executable",
        127: "the command was not found in the image",
        128: "the container could not be started",
    }
    return f"exit code {code}: {known[code]}" if code in known else f"exit code {code}"


def tail_of_log(api: KubeApi, namespace: str, pod: str, container: str, previous: bool = False) -> list[str]:
    """The last lines of a container's log; none where it cannot be read (any more)."""
    query = {"container": container, "tailLines": str(LOG_LINES)}
    if previous:
        query["previous"] = "true"
    try:
        lines = api.lines(f"{pods_path(namespace, pod)}/log", query, 10.0)
        try:
            return list(lines)[-LOG_LINES:]
        finally:
            lines.close()
    except (ApiError, UnreachableError):
        return []


def failed_containers(pod: Json) -> list[Json]:
    """The containers of a pod that have ended badly, now or before their last restart."""
    failed = []
    for status in container_statuses(pod):
        for state in ("state", "lastState"):
            terminated = as_dict(as_dict(status.get(state)).get("terminated"))
            if terminated.get("exitCode"):
                failed.append({"name": status["name"], "previous": state == "lastState", **terminated})
                break
    return failed


def tail_of_failure(api: KubeApi, namespace: str, name: str, pod: Json) -> list[str] | None:
    """The last words of the container of a pod that has ended badly; None where none has."""
    failed = failed_containers(pod)
    if not failed:
        return None
    return tail_of_log(api, namespace, name, failed[-1]["name"], failed[-1]["previous"])


def diagnose(
    kind: JobKind,
    job: Json,
    pods: Mapping[str, Json],
    events: Iterable[Json],
    logs: Mapping[str, list[str]],
    troubles: Iterable[Stuck] = (),
    pod_group: Json | None = None,
) -> Json:
    """Everything that bears on the failure, the likeliest cause first.

    `logs` holds the tails of the failed containers' logs by the pod's name; `pod_group` is that of a gang that waits.
    """
    replicas = {replica.pod: replica.name for replica in replicas_of(kind, job)}
    culprits = [
        _culprit(replicas.get(name, name), name, pod, failed, logs)
        for name, pod in pods.items()
        for failed in failed_containers(pod)
    ]
    culprits.sort(key=lambda culprit: culprit["finished"] or "")
    for trouble in troubles:
        replica = replicas.get(trouble.subject)
        culprits.append(
            {
                "replica": replica,
                "pod": trouble.subject if replica else None,
                "node": as_dict(pods.get(trouble.subject, {}).get("spec")).get("nodeName"),
                "container": trouble.container or None,
                "reason": trouble.reason,
                "message": trouble.message,
                "exit_code": None,
                "finished": None,
                "log": [],
            }
        )
    condition = kind.condition(job) or {}
    return {
        "state": state_of(kind, job),
        "condition": {key: condition.get(key) for key in ("type", "reason", "message")} if condition else None,
        "causes": culprits,
        "events": fold_events(job, pods, events),
        "pod_group": pod_group,
        "cure": next((cure for cure in map(_cure_of, culprits) if cure), _GANG_CURE if pod_group else None),
    }


def _culprit(replica: str, name: str, pod: Json, failed: Json, logs: Mapping[str, list[str]]) -> Json:
    return {
        "replica": replica,
        "pod": name,
        "node": as_dict(pod.get("spec")).get("nodeName"),
        "container": failed["name"],
        "reason": failed.get("reason"),
        "message": failed.get("message") or explain_exit(failed["exitCode"], str(failed.get("reason"))),
        "exit_code": failed["exitCode"],
        "finished": failed.get("finishedAt"),
        "log": logs.get(name, []),
    }


def _cure_of(culprit: Json) -> str | None:
    if culprit["reason"] == UNSCHEDULABLE:
        if "persistentvolumeclaim" in culprit["message"]:
            return "Create the PersistentVolumeClaim, or make it one that can be bound."
        return "Lower the requests, or give the cluster a node that is large enough and that the pod may go to."
    if culprit["reason"] in _CURES:
        return _CURES[culprit["reason"]]
    if culprit["exit_code"] is not None:
        return "The log of the replica that failed first tells the cause." if culprit["log"] else None
    return None


def fold_events(job: Json, pods: Mapping[str, Json], events: Iterable[Json]) -> list[Json]:
    """The warnings about the job and its pods, the latest first, equal ones as one."""
    uids = {job["metadata"].get("uid"), *(pod["metadata"].get("uid") for pod in pods.values())}
    folded: dict[tuple[str, str], Json] = {}
    for event in sorted(events, key=_event_time):
        about = as_dict(event.get("involvedObject"))
        if about.get("uid") in uids:
            entry = folded.setdefault(
                (str(event.get("reason")), str(event.get("message"))),
                {"reason": event.get("reason"), "message": event.get("message"), "objects": [], "count": 0},
            )
            if about.get("name") not in entry["objects"]:
                entry["objects"].append(about.get("name"))
            entry["count"] += event.get("count") or 1
            entry["last"] = _event_time(event)
    return list(folded.values())[::-1]


def _event_time(event: Json) -> str:
    series = as_dict(event.get("series"))
    times = (event.get("lastTimestamp"), series.get("lastObservedTime"), event.get("eventTime"))
    return str(next((time for time in times if time), ""))


def message_of(headline: str, diagnosis: Json) -> str:
    """The diagnosis as text: what happened, why, the last words of the log, and what to do."""
    lines = [headline]
    for cause in diagnosis["causes"][:PODS_SHOWN]:
        where = f"{cause['replica']} (pod {cause['pod']}" if cause["pod"] else "The job"
        if cause["pod"]:
            where += f" on {cause['node']})" if cause["node"] else ")"
        reason = cause["reason"] or "failed"
        message = cause["message"].strip()
        lines.append(f"{where}: {reason}: {message}" if message else f"{where}: {reason}")
        if cause["log"]:
            lines.append(f"  last lines of its log (container {cause['container']}):")
            lines.extend(f"    {line}" for line in cause["log"])
        elif cause["exit_code"] is not None:
            lines.append("  its log is empty or gone.")
    hidden = len(diagnosis["causes"]) - PODS_SHOWN
    if hidden > 0:
        lines.append(f"... and {hidden} more.")
    if diagnosis["pod_group"]:
        lines.append(_about_gang(diagnosis["pod_group"]))
    told = " ".join(lines)
    reasons = [cause["message"].strip() for cause in diagnosis["causes"] if cause["message"]]
    events = [
        event
        for event in diagnosis["events"]
        if event["message"] not in told and not any(reason in event["message"] for reason in reasons)
    ][:EVENTS_SHOWN]
    if events:
        lines.append("Events:")
        lines.extend(
            f"  {event['reason']} ({', '.join(event['objects'])}{_times(event['count'])}): {event['message']}"
            for event in events
        )
    if diagnosis["cure"]:
        lines.append(f"What to do: {diagnosis['cure']}")
    return "\n".join(lines)


def _about_gang(group: Json) -> str:
    queue = group["queue"]
    amounts = [
        f"{title} {', '.join(f'{name} {amount}' for name, amount in sorted(queue[part].items()))}"
        for part, title in (("allocated", "has given out"), ("capability", "may give out"))
        if queue[part]
    ]
    told = "; ".join([f"{queue['name']} ({queue['state'] or 'not there'})", *amounts])
    message = f": {group['message'].strip()}" if group["message"] else ""
    return f"Its PodGroup {group['name']} is {group['phase']}{message}\n  queue {told}"


def _times(count: int) -> str:
    return f", {count} times" if count > 1 else ""
