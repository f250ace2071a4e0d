# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""States of a job from which it will not come free by itself, and how long to bear with each."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    JobKind,
    as_dict,
    as_list,
    conditions_of,
    deciding_replicas,
    has_condition,
    replicas_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import container_statuses, has_started
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    events_path,
)

UNSCHEDULABLE = "Unschedulable"
CRASH_LOOP = "CrashLoopBackOff"
# The kubelet alternates between these reasons; count them as one.
IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable")
CONTAINER_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "InvalidImageName")
MOUNT_REASONS = ("FailedMount", "FailedAttachVolume")
# What a container waits for while volumes are mounted, and still while its image is pulled.
BEFORE_IMAGES = ("ContainerCreating", "PodInitializing")
POD_REFUSED = "FailedCreatePod"
# A queue has not let the gang in. By itself that is no trouble: others are there first.
NOT_ENQUEUED = "NotEnqueued"
# The container by which the operator has PyTorch workers wait until the master's name resolves.
MASTER_WAIT_CONTAINER = "init-pytorch"
MASTER_WAIT = "InitContainerWaiting"
# By these the kubelet tells that it is with the images; its status tells so only when they are there.
IMAGE_EVENTS = ("Pulling", "Pulled")
# Seconds for reasons that need other ones than the rest: a name of the cluster's DNS may take a minute to be known.
GRACE = {"InvalidImageName": 0.0, MASTER_WAIT: 120.0}
# Seconds that are borne with at least: a kubelet that does not know a volume or a ConfigMap yet tries again after 15.
LEAST_GRACE = dict.fromkeys((*MOUNT_REASONS, "CreateContainerConfigError"), 30.0)
# The first restarts are often a race between the replicas of a job that is starting.
CRASHES = 5


@dataclass(frozen=True)
class Stuck:
    """Why one pod (or the job, which then has no pod) cannot go on."""

    subject: str
    reason: str
    message: str
    container: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.subject, "image" if self.reason in IMAGE_REASONS else self.reason


def find_stuck(
    kind: JobKind,
    job: Json,
    pods: Mapping[str, Json],
    events: Iterable[Json],
    crashes: int = CRASHES,
    mounted: Container[str] = (),
) -> Iterator[Stuck]:
    """Every sign of trouble in the present picture.

    `events` are the warnings of the namespace; a container that has crashed `crashes` times is given up. `mounted` are
    the uids of pods whose volumes are known to be mounted, whatever the warnings say.
    """
    by_object: dict[str, list[Json]] = {}
    for event in events:
        by_object.setdefault(str(as_dict(event.get("involvedObject")).get("uid")), []).append(event)
    if any(replica.pod not in pods for replica in replicas_of(kind, job)):
        for event in by_object.get(str(job["metadata"].get("uid")), []):
            if event.get("reason") == POD_REFUSED:
                yield Stuck(job["metadata"]["name"], POD_REFUSED, str(event.get("message")))
    leaders = [replica.pod for replica in deciding_replicas(kind, job)]
    is_led = any(has_started(kind, pods[name]) for name in leaders if name in pods)
    for name, pod in pods.items():
        uid = str(pod["metadata"].get("uid"))
        yield from _find_in_pod(name, pod, by_object.get(uid, []), crashes, uid in mounted)
        if is_led:
            yield from _find_waiting(name, pod)


def _find_waiting(name: str, pod: Json) -> Iterator[Stuck]:
    for status in map(as_dict, as_list(as_dict(pod.get("status")).get("initContainerStatuses"))):
        if status.get("name") == MASTER_WAIT_CONTAINER and "running" in as_dict(status.get("state")):
            message = "it waits for the master's name although the master runs"
            yield Stuck(name, MASTER_WAIT, message, MASTER_WAIT_CONTAINER)


def _find_in_pod(name: str, pod: Json, events: list[Json], crashes: int, is_mounted: bool) -> Iterator[Stuck]:
    status = as_dict(pod.get("status"))
    if status.get("phase") in ("Succeeded", "Failed") or pod["metadata"].get("deletionTimestamp"):
        return
    scheduled = conditions_of(pod).get("PodScheduled", {})
    if scheduled.get("reason") == UNSCHEDULABLE:
        yield Stuck(name, UNSCHEDULABLE, str(scheduled.get("message")))
    for container in container_statuses(pod):
        waiting = as_dict(as_dict(container.get("state")).get("waiting"))
        reason = str(waiting.get("reason"))
        is_loop = reason == CRASH_LOOP and container.get("restartCount", 0) >= crashes
        if reason in IMAGE_REASONS or reason in CONTAINER_REASONS or is_loop:
            yield Stuck(name, reason, str(waiting.get("message") or ""), str(container.get("name")))
    if not (is_mounted or _has_volumes(pod)):
        for event in events:
            if event.get("reason") in MOUNT_REASONS:
                yield Stuck(name, str(event["reason"]), str(event.get("message")))


def _has_volumes(pod: Json) -> bool:
    """Whether all volumes are mounted, which comes before all else: the event of a first attempt that failed stays."""
    if has_condition(pod, "PodReadyToStartContainers"):
        return True
    states = [as_dict(container.get("state")) for container in container_statuses(pod)]
    return any(as_dict(state.get("waiting")).get("reason") not in BEFORE_IMAGES for state in states)


def has_come_to_images(api: KubeApi, pod: Json) -> bool | None:
    """Whether the pod's volumes are mounted, whatever a first attempt's warning says; None where nobody can say."""
    uid = pod["metadata"]["uid"]
    query = {"fieldSelector": f"involvedObject.uid={uid},type=Normal"}
    try:
        events = as_list(api.get(events_path(pod["metadata"]["namespace"]), query).get("items"))
    except (ApiError, UnreachableError):
        return None
    told = {event.get("reason") for event in events if as_dict(event.get("involvedObject")).get("uid") == uid}
    return not told.isdisjoint(IMAGE_EVENTS)


class Patience:
    """Remembers since when each trouble has lasted without a break."""

    def __init__(self, grace: float, grace_for: Mapping[str, float] | None = None) -> None:
        """`grace_for` are seconds by reason, where these differ from `grace`."""
        self._grace = grace
        self._grace_for = {**GRACE, **(grace_for or {})}
        self._since: dict[tuple[str, str], float] = {}

    def lost_with(self, troubles: Iterable[Stuck], now: float) -> list[Stuck]:
        """Those of the present `troubles` that have outlasted the grace."""
        present = {trouble.key: trouble for trouble in troubles}
        self._since = {key: self._since.get(key, now) for key in present}
        return [trouble for key, trouble in present.items() if now - self._since[key] >= self._grace_of(trouble.reason)]

    def _grace_of(self, reason: str) -> float:
        return self._grace_for.get(reason, max(self._grace, LEAST_GRACE.get(reason, 0.0)))

    def renew(self, trouble: Stuck, now: float) -> None:
        self._since[trouble.key] = now
