# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Waiting for any number of jobs by one watch of each kind of object."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ansible_collections.mlstack.kubernetes.plugins.module_utils.capacity import could_ever_fit
from ansible_collections.mlstack.kubernetes.plugins.module_utils.course import Course
from ansible_collections.mlstack.kubernetes.plugins.module_utils.diagnosis import failed_containers, tail_of_failure
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_logs import JobLogs, has_logged_since
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    FAILED,
    PENDING,
    JobKind,
    as_dict,
    deciding_replicas,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    is_at_rest,
    own_pods,
    training_container,
    training_container_name,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    events_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pod_group import waiting_group
from ansible_collections.mlstack.kubernetes.plugins.module_utils.progress import Progress
from ansible_collections.mlstack.kubernetes.plugins.module_utils.questions import Questions
from ansible_collections.mlstack.kubernetes.plugins.module_utils.steady import REQUESTS_AT_ONCE
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import (
    CRASHES,
    MOUNT_REASONS,
    NOT_ENQUEUED,
    UNSCHEDULABLE,
    Patience,
    Stuck,
    find_stuck,
    has_come_to_images,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.watch import Change, Picture, Source

# How long the pods' streams may lag behind the job's.
SETTLE_SECONDS = 0.3
# Troubles are known by how long they last, so jobs are looked at without a change, too.
LOOK_SECONDS = 1.0
# The pause between looks at jobs that have ended and whose pods are to follow.
SETTLE_TICK = 0.05
# After this time a job that no stream has shown is asked for.
UNSEEN_SECONDS = 3.0
# After this time what was found out of the nodes, or of a gang that waits, is asked for anew.
REMEMBERED_SECONDS = 5.0
# How long the end of a wait is put off by a question to the API server.
ANSWER_SECONDS = 3.0
# How long the diagnosis waits for the last lines of a failed container.
TAIL_SECONDS = 5.0
# A selector that names all jobs must fit into a URL.
NAMES_IN_SELECTOR = 30
# Nobody looks at these, and there may be thousands of pods.
POD_BALLAST = (("metadata", "managedFields"), ("spec", "volumes"), ("metadata", "annotations"))


@dataclass(frozen=True)
class Limits:
    """How long to wait, and how long to bear with what."""

    # Seconds for each job from its submission, or from the begin of the wait.
    wait_timeout: float = 600
    # Seconds without any news of a job, which is neither a change nor a line of log; 0 for no such limit.
    stall_timeout: float = 0
    grace: float = 12
    # Seconds by reason, where these differ from `grace`.
    grace_for: Mapping[str, float] = field(default_factory=dict)
    # How often a container may crash.
    crashes: int = CRASHES


def sources(kind: JobKind, courses: Sequence[Course]) -> dict[str, Source]:
    """What to watch for these jobs: one stream for jobs, pods and warnings in each of their namespaces."""
    found = {}
    for namespace in {course.namespace for course in courses}:
        names = sorted({course.name for course in courses if course.namespace == namespace})
        fields = {"fieldSelector": f"metadata.name={names[0]}"} if len(names) == 1 else {}
        if len(names) == 1:
            label = f"{kind.pod_label}={names[0]}"
        elif len(names) <= NAMES_IN_SELECTOR:
            label = f"{kind.pod_label} in ({','.join(names)})"
        else:
            label = kind.pod_label
        found[f"jobs {namespace}"] = Source(kind.path(namespace), fields)
        found[f"pods {namespace}"] = Source(
            pods_path(namespace), {"labelSelector": label}, optional=True, drop=POD_BALLAST
        )
        found[f"events {namespace}"] = Source(events_path(namespace), {"fieldSelector": "type=Warning"}, optional=True)
    return found


@dataclass
class _Watched:
    """What the wait itself has to remember of a job."""

    patience: Patience
    last_news: float


class Wait:
    """Follows jobs until each has come to rest, failed, or outlasted what is borne with."""

    def __init__(
        self,
        api: KubeApi,
        kind: JobKind,
        limits: Limits,
        logs: JobLogs,
        progress: Progress,
        on_stuck: Callable[[Course], None],
    ) -> None:
        """`on_stuck` is called once for each job that cannot go on, while others are still waited for."""
        self._api = api
        self._kind = kind
        self._limits = limits
        self._logs = logs
        self._progress = progress
        self._on_stuck = on_stuck
        self._open: dict[Course, _Watched] = {}
        # Those that have ended, and whose pods' last news is still to come.
        self._settling: set[Course] = set()
        self._by_name: dict[tuple[str, str], Course] = {}
        # Of jobs and of pods, which events refer to.
        self._by_uid: dict[str, Course] = {}
        self._by_pod: dict[tuple[str, str], Course] = {}
        self._early_events: dict[str, dict[str, Json]] = {}
        # The uids of pods whose volumes are known to be mounted, whatever the warnings say.
        self._mounted: set[str] = set()
        self._executor = ThreadPoolExecutor(REQUESTS_AT_ONCE)
        self._questions = Questions()
        self._tails: dict[tuple[Course, str], Future[list[str] | None]] = {}

    def follow(self, courses: Sequence[Course], start: Callable[[Course], None], at_once: int) -> None:
        """Until all have ended; the error of one that came to no good end is left in it.

        `start` brings a job on its way, and no more than `at_once` are on their way at a time.
        """
        queue = deque(courses)
        last_look = 0.0
        with self._executor, Picture(self._api, sources(self._kind, courses)) as picture:
            while queue or self._open:
                while queue and len(self._open) < at_once:
                    self._enter(queue.popleft(), start, picture)
                touched = self._take_in(picture.next_changes(self._pause()))
                now = time.monotonic()
                if now - last_look >= LOOK_SECONDS:
                    last_look = now
                    touched = set(self._open)
                for course in touched | self._settling:
                    if self._is_over(course, picture, now):
                        del self._open[course]
                        self._settling.discard(course)
                self._progress.tell(courses)
                self._progress.tell_of_server(next(iter(picture.trouble.values()), ""))
            self._logs.finish(courses)
            self._progress.tell(courses, is_over=True)

    def _pause(self) -> float:
        if not self._open:
            return 0.0
        return SETTLE_TICK if self._settling else LOOK_SECONDS

    def _enter(self, course: Course, start: Callable[[Course], None], picture: Picture) -> None:
        start(course)
        if course.error or course.live is None:
            return
        self._open[course] = _Watched(Patience(self._limits.grace, self._limits.grace_for), time.monotonic())
        self._by_name[course.namespace, course.name] = course
        self._by_uid[course.live["metadata"]["uid"]] = course
        # The streams may have brought it before it was known here; a pod belongs to a job that is known.
        jobs = f"jobs {course.namespace}"
        if item := picture.objects[jobs].get(course.name):
            self._take_in([Change(jobs, course.name, item)])
        pods = f"pods {course.namespace}"
        self._take_in(
            [
                Change(pods, name, item)
                for name, item in picture.objects[pods].items()
                if as_dict(item["metadata"].get("labels")).get(self._kind.pod_label) == course.name
            ]
        )

    # -- what the streams tell

    def _take_in(self, changes: Iterable[Change]) -> set[Course]:
        """Returns the jobs that the changes are about."""
        touched = set()
        for source, name, item in changes:
            kind, _space, namespace = source.partition(" ")
            if kind == "jobs":
                course = self._take_in_job(namespace, name, item)
            elif kind == "pods":
                course = self._take_in_pod(namespace, name, item)
            else:
                course = self._take_in_event(item)
            if course in self._open:
                touched.add(course)
                self._open[course].last_news = time.monotonic()
        return touched

    def _take_in_job(self, namespace: str, name: str, item: Json | None) -> Course | None:
        course = self._by_name.get((namespace, name))
        if course is None or course.live is None:
            return None
        if item is not None and item["metadata"]["uid"] == course.live["metadata"]["uid"]:
            course.live, course.is_seen = item, True
        elif course.is_seen:
            # Before it was seen, this is the end of another one that had its name.
            course.is_gone = True
        return course

    def _take_in_pod(self, namespace: str, name: str, item: Json | None) -> Course | None:
        if item is None:
            course = self._by_pod.get((namespace, name))
        else:
            job = as_dict(item["metadata"].get("labels")).get(self._kind.pod_label)
            course = self._by_name.get((namespace, str(job)))
            if course is None or course.live is None or not own_pods(course.live, {name: item}):
                return None
            uid = item["metadata"]["uid"]
            self._by_pod[namespace, name] = self._by_uid[uid] = course
            course.events.update(self._early_events.pop(uid, {}))
        if course is not None:
            course.take_in_pod(name, item)
            self._fetch_tails(course)
            self._logs.take_in(course)
        return course

    def _take_in_event(self, item: Json | None) -> Course | None:
        if item is None:
            # Events expire; what they told remains true.
            return None
        uid = str(as_dict(item.get("involvedObject")).get("uid"))
        course = self._by_uid.get(uid)
        # By its name, as one event is told again and again while its count grows.
        events = self._early_events.setdefault(uid, {}) if course is None else course.events
        events[item["metadata"]["name"]] = item
        return course

    def _fetch_tails(self, course: Course) -> None:
        """Tails of logs are read when a container fails: later its pod may be gone."""
        for name in course.present_pods:
            pod = course.pods[name]
            if (course, name) not in self._tails and failed_containers(pod):
                self._tails[course, name] = self._executor.submit(
                    tail_of_failure, self._api, course.namespace, name, pod
                )

    # -- whether there is something to wait for

    def _is_over(self, course: Course, picture: Picture, now: float) -> bool:
        if course.live is None or f"jobs {course.namespace}" not in picture.known:
            return self._is_late(course, picture, now)
        if not course.is_seen and now - course.begin > UNSEEN_SECONDS:
            self._look_for(course)
        if course.is_gone:
            self._fail(course, f"{course.title} was deleted while it was waited for.")
            return True
        if is_at_rest(self._kind, course.live):
            return self._is_settled(course, picture, now)
        return self._is_lost(course, now) or self._is_late(course, picture, now)

    def _look_for(self, course: Course) -> None:
        """The stream may have begun after the job's end."""
        found = self._questions.latest(("job", course), lambda: self._ask_for(course), UNSEEN_SECONDS)
        if found:
            self._take_in_job(course.namespace, course.name, found)
        elif found is not None:
            course.is_gone = True

    def _is_answering(self, course: Course) -> bool:
        try:
            self._api.get(self._kind.path(course.namespace, course.name))
        except (ApiError, UnreachableError) as error:
            return isinstance(error, ApiError) and not error.is_transient
        return True

    def _ask_for(self, course: Course) -> Json | None:
        """The job; empty where it is not there, None where nobody can say."""
        try:
            return self._api.get(self._kind.path(course.namespace, course.name))
        except ApiError as error:
            return {} if error.is_object_missing else None
        except UnreachableError:
            return None

    def _is_settled(self, course: Course, picture: Picture, now: float) -> bool:
        """The operator has seen the pods end; wait until we have, too."""
        course.finished = course.finished or now
        self._settling.add(course)
        state = course.state
        if state == FAILED:
            has_settled = any(failed_containers(pod) for pod in course.pods.values())
        else:
            deciding = [replica.pod for replica in deciding_replicas(self._kind, course.job)]
            containers = [training_container(self._kind, course.pods.get(pod, {})) for pod in deciding]
            has_settled = all("terminated" in status.get("state", {}) for status in containers)
        if (
            not has_settled
            and f"pods {course.namespace}" not in picture.skipped
            and now - course.finished < SETTLE_SECONDS
        ):
            return False
        if state == FAILED:
            self._fail(course, f"{course.title} failed.")
        return True

    def _is_lost(self, course: Course, now: float) -> bool:
        patience = self._open[course].patience
        lost = []
        for trouble in patience.lost_with(self._troubles(course), now):
            may_pass = self._may_pass(trouble, course)
            if may_pass:
                patience.renew(trouble, now)
            elif may_pass is not None:
                lost.append(trouble)
        if lost:
            self._fail(course, f"{course.title} cannot go on.", lost)
            self._executor.submit(self._on_stuck, course)
        return bool(lost)

    def _troubles(self, course: Course) -> Iterator[Stuck]:
        present = {name: course.pods[name] for name in course.present_pods}
        events = course.events.values()
        yield from find_stuck(self._kind, course.job, present, events, self._limits.crashes, self._mounted)
        # Asked for only where somebody wants to know.
        if present or NOT_ENQUEUED not in self._limits.grace_for:
            return
        if group := self._questions.latest(("gang", course), lambda: self._gang(course), REMEMBERED_SECONDS):
            yield Stuck(course.name, NOT_ENQUEUED, f"the queue {group['queue']['name']} has not let it in")

    def _may_pass(self, trouble: Stuck, course: Course) -> bool | None:
        """Whether it is no trouble yet, as that of a pod that only waits for its turn; None while that is not known."""
        if trouble.reason in MOUNT_REASONS:
            return self._is_mounted(course.pods[trouble.subject])
        if trouble.reason != UNSCHEDULABLE or "persistentvolumeclaim" in trouble.message:
            return False
        nodes = self._questions.latest("nodes", self._ask_for_nodes, REMEMBERED_SECONDS)
        # Who may not see the nodes cannot tell, and waiting does no harm.
        return (
            None
            if nodes is None
            else "items" not in nodes or could_ever_fit(course.pods[trouble.subject], nodes["items"])
        )

    def _is_mounted(self, pod: Json) -> bool | None:
        uid = pod["metadata"]["uid"]
        is_mounted = self._questions.latest(
            ("images", uid), lambda: has_come_to_images(self._api, pod), REMEMBERED_SECONDS
        )
        if is_mounted:
            self._mounted.add(uid)
        return is_mounted

    def _ask_for_nodes(self) -> Json:
        try:
            return self._api.get("/api/v1/nodes")
        except (ApiError, UnreachableError):
            return {}

    def _is_late(self, course: Course, picture: Picture, now: float) -> bool:
        if now - course.begin >= self._limits.wait_timeout:
            headline = f"{course.title} has not finished within {self._limits.wait_timeout:.0f} seconds; "
            headline += self._standing(course, picture)
        elif self._has_stalled(course, now) and not picture.trouble:
            headline = (
                f"{course.title} has stalled: no change and no line of log for "
                f"{self._limits.stall_timeout:.0f} seconds; {self._standing(course, picture)}"
            )
        else:
            return False
        self._fail(course, headline, list(self._troubles(course)))
        return True

    def _has_stalled(self, course: Course, now: float) -> bool:
        watched, limit = self._open[course], self._limits.stall_timeout
        watched.last_news = max(watched.last_news, self._logs.last_line(course))
        if not limit or now - watched.last_news < limit:
            return False
        running = [name for name in course.present_pods if course.pods[name]["status"].get("phase") == "Running"]
        containers = {name: training_container_name(self._kind, course.pods[name]) for name in running}

        def has_logged() -> bool:
            return any(has_logged_since(self._api, course.namespace, *one, limit) for one in containers.items())

        # Of this silence, not of an earlier one.
        answer = self._questions.latest(("log", course, watched.last_news), has_logged, limit)
        if answer:
            watched.last_news = now
        return answer is False

    def _standing(self, course: Course, picture: Picture) -> str:
        if picture.trouble:
            return f"the API server is not answering: {next(iter(picture.trouble.values()))}"
        if not self._questions.fresh("server", lambda: self._is_answering(course), ANSWER_SECONDS, LOOK_SECONDS):
            return "the API server is not answering."
        if course.state == PENDING:
            return "it is Pending, which means that the training operator has not taken notice of it: is it running?"
        return f"it is {course.state} and goes on."

    def _fail(self, course: Course, headline: str, troubles: list[Stuck] | None = None) -> None:
        for name in course.pods:
            if (course, name) in self._tails:
                with contextlib.suppress(TimeoutError):
                    course.logs[name] = self._tails[course, name].result(TAIL_SECONDS) or []
        group = None
        if not course.all_started:
            group = self._questions.fresh(("gang", course), lambda: self._gang(course), ANSWER_SECONDS)
        course.error = course.failure(headline, troubles, group or None)

    def _gang(self, course: Course) -> Json:
        return (waiting_group(self._api, self._kind, course.live) if course.live else None) or {}
