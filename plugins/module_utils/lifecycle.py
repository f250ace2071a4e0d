# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The life of jobs, one or a thousand: made, suspended, resumed, run anew, waited for, taken away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from re import Pattern

from ansible_collections.mlstack.kubernetes.plugins.module_utils.course import Course, JobError, decided
from ansible_collections.mlstack.kubernetes.plugins.module_utils.diagnosis import tail_of_failure
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_logs import JobLogs
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    FAILED,
    JobKind,
    as_dict,
    is_unchanged,
    live_part,
    spec_hash,
    with_hash,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    is_at_rest,
    is_finished,
    own_pods,
    state_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    events_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.preflight import Findings, Preflight
from ansible_collections.mlstack.kubernetes.plugins.module_utils.progress import Progress
from ansible_collections.mlstack.kubernetes.plugins.module_utils.steady import Persistence, for_each
from ansible_collections.mlstack.kubernetes.plugins.module_utils.waiting import Limits, Wait, sources
from ansible_collections.mlstack.kubernetes.plugins.module_utils.watch import Picture, Source

# How long a call that has failed waits for its half-made jobs to be gone.
CLEAN_UP_SECONDS = 5.0
# How long a job may take to take notice of being suspended.
SUSPEND_SECONDS = 15.0
# The messages of so many failed jobs are given in full.
MESSAGES_SHOWN = 3


@dataclass(frozen=True)
class Options:
    wait: bool = True
    limits: Limits = field(default_factory=Limits)
    on_change: str = "fail"
    on_failed: str = "fail"
    on_stuck: str = "delete"
    preflight: bool = True
    # How many jobs are on their way at a time; 0 for all.
    at_once: int = 0
    metrics: Mapping[str, Pattern[str]] = field(default_factory=dict)
    log_directory: str | None = None
    show_log: bool = False
    check_mode: bool = False


class NotServedError(JobError):
    """The API server does not know the kind."""


class Lifecycle:
    """Brings jobs of one kind to the wanted state; what has become of each is left in its course."""

    def __init__(
        self,
        api: KubeApi,
        kind: JobKind,
        options: Options,
        warn: Callable[[str], None],
        progress: Progress | None = None,
    ) -> None:
        self._api = api
        self._kind = kind
        self._options = options
        self._warn = warn
        self._progress = progress or Progress(None)
        # Whoever waits for the jobs also waits for the server.
        patience = options.limits.wait_timeout if options.wait else 0
        self._steadily = Persistence(patience, is_known=False).steadily

    # -- the states

    def present(self, courses: Sequence[Course]) -> None:
        """Makes the jobs that are not there as wanted, and with `wait` follows all to their end."""
        try:
            self._read(courses)
        except NotServedError as error:
            if not self._options.check_mode:
                raise
            # An earlier task of the same run, which was only checked too, may be the one that installs the operator.
            self._warn(f"{error} The jobs could not be checked further.")
            for course in courses:
                course.changed, course.after = True, decided(course.wanted)
            return
        self._make([course for course in courses if self._is_to_be_made(course)], courses)

    def restarted(self, courses: Sequence[Course]) -> None:
        """Runs jobs anew, with the spec that they have where no other is wanted."""
        self._read(courses)
        for course in courses:
            if course.wanted is None and course.live is not None:
                course.wanted = self._as_made(course.live)
            self._need_a_job(course)
        self._make(courses, courses)

    def suspended(self, courses: Sequence[Course]) -> None:
        """Takes jobs off their nodes; they keep their specs."""
        self._suspend(courses, True)

    def resumed(self, courses: Sequence[Course]) -> None:
        self._suspend(courses, False)

    def absent(self, courses: Sequence[Course]) -> None:
        with contextlib.suppress(NotServedError):
            self._read(courses)
        there = [course for course in courses if course.live is not None]
        for course in there:
            course.changed = course.is_there
            course.before = live_part(course.job)
        self._remove(there, self._options.limits.wait_timeout if self._options.wait else 0)
        for course in courses:
            if not course.error:
                course.live = course.wanted = None

    # -- what there is

    def _read(self, courses: Sequence[Course]) -> None:
        """One GET for one job, one LIST for each namespace of several."""
        if len(courses) == 1:
            courses[0].live = self._get(courses[0])
            return
        for namespace in {course.namespace for course in courses}:
            try:
                listed = self._list_jobs(namespace)
            except ApiError as error:
                raise (self._not_served() if error.status == 404 else error) from error
            lives = {item["metadata"]["name"]: item for item in listed}
            for course in courses:
                if course.namespace == namespace:
                    course.live = self._typed(lives.get(course.name))

    def _list_jobs(self, namespace: str) -> list[Json]:
        found: list[Json] = self._steadily(lambda: self._api.get(self._kind.path(namespace), {}))["items"]
        return found

    def _get(self, course: Course) -> Json | None:
        try:
            return self._steadily(lambda: self._api.get(self._path(course)))
        except ApiError as error:
            if error.is_object_missing:
                return None
            raise (self._not_served() if error.status == 404 else error) from error

    def _not_served(self) -> NotServedError:
        return NotServedError(
            f"The cluster does not serve {self._kind.name} ({self._kind.api_version}): install {self._kind.operator}."
        )

    def _typed(self, item: Json | None) -> Json | None:
        """A list's items go without the fields that all of them share."""
        return None if item is None else {"apiVersion": self._kind.api_version, "kind": self._kind.kind, **item}

    # -- what is to be done

    def _is_to_be_made(self, course: Course) -> bool:
        if not course.is_there:
            return True
        live, wanted = course.the_live(), course.the_wanted()
        if not is_unchanged(live, wanted) and self._options.on_change != "ignore":
            if self._options.on_change == "recreate":
                return True
            course.before, course.after = live_part(live), decided(wanted)
            course.error = JobError(
                f"{course.title} exists with another spec, and the operator does not bring running pods to a new "
                "one. Say `on_change: recreate` to have it deleted and made anew, `on_change: ignore` to go on with "
                "the one that is there, or delete it first with `state: absent`.",
                course.result(),
            )
            return False
        course.before = course.after = live_part(live)
        return state_of(self._kind, live) == FAILED and self._options.on_failed == "recreate"

    @staticmethod
    def _need_a_job(course: Course) -> None:
        if course.live is None and course.wanted is None:
            course.error = JobError(
                f"{course.title} does not exist, and nothing says what it would be; describe it, or correct its name."
            )

    def _as_made(self, live: Json) -> Json:
        """A job as it would be made again."""
        metadata = {"name": live["metadata"]["name"], "namespace": live["metadata"]["namespace"]}
        part = live_part(live)
        return {
            "apiVersion": live["apiVersion"],
            "kind": live["kind"],
            "metadata": {**metadata, **part["metadata"]},
            "spec": self._kind.with_suspend(part, False)["spec"],
        }

    # -- doing it

    def _suspend(self, courses: Sequence[Course], suspend: bool) -> None:
        self._read(courses)
        to_make = []
        for course in courses:
            self._need_a_job(course)
            if course.wanted is not None and course.live is not None:
                # Whether the job runs at the moment does not make it another one.
                course.wanted = self._kind.with_suspend(course.wanted, self._kind.is_suspended(course.live))
            if not course.error and (not course.is_there or (course.wanted and self._is_to_be_made(course))):
                to_make.append(course)
        for course in to_make:
            if suspend and not self._kind.can_be_made_suspended:
                course.error = JobError(
                    f"{course.title} would have to be made, and a {self._kind.name} can only be suspended once it is "
                    "there. Make it with `state: present` and `wait: false` first."
                )
            else:
                course.wanted = self._kind.with_suspend(course.the_wanted(), suspend)
        to_patch = [course for course in courses if course not in to_make and not course.error]
        if any(course.error for course in courses):
            return
        for_each(to_patch, lambda course: self._set_suspend(course, suspend))
        self._make(to_make, courses)

    def _make(self, to_make: Sequence[Course], courses: Sequence[Course]) -> None:
        """Makes some of the jobs and follows all. Before the first is made, all have been found to be right."""
        if any(course.error for course in courses):
            return
        for course in to_make:
            course.before = live_part(course.live) if course.live else {}
            course.after = decided(course.wanted)
        if self._options.preflight:
            self._look_ahead(to_make)
        replaced = [course for course in to_make if course.live is not None]
        # The old job is given up only for one that the API server will take.
        for_each(replaced, self._rehearse)
        if any(course.error for course in courses):
            return
        for course in to_make:
            course.changed = True
        if self._options.check_mode:
            for_each([course for course in to_make if course.live is None], self._submit)
            for course in replaced:
                course.live = None
            self._look_once([course for course in courses if course not in to_make], self._logs())
            return
        self._remove(replaced, self._options.limits.wait_timeout)
        for course in to_make:
            course.live, course.created = None, True
        if any(course.error for course in courses):
            return
        self._follow(courses, set(to_make))

    def _look_ahead(self, courses: Sequence[Course]) -> None:
        preflight = Preflight(self._api)

        def check(course: Course) -> Findings:
            return self._steadily(lambda: preflight.check(self._kind, course.the_wanted()))

        warnings: dict[str, list[str]] = {}
        for course, findings in zip(courses, for_each(courses, check), strict=True):
            for warning in findings.warnings:
                warnings.setdefault(warning, []).append(course.title)
            if self._options.check_mode:
                for problem in findings.problems:
                    text = f"{problem} (Not an error in check mode: an earlier task may be to make it.)"
                    warnings.setdefault(text, []).append(course.title)
            elif findings.problems:
                course.error = JobError(
                    "\n".join([f"{course.title} cannot be made:", *(f"- {problem}" for problem in findings.problems)])
                )
        for warning, titles in warnings.items():
            others = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
            self._warn(f"{titles[0]}{others}: {warning}")

    def _rehearse(self, course: Course) -> None:
        """A dry run under another name, as the wanted one is taken."""
        wanted = course.the_wanted()
        probe = "dry-run-" + spec_hash(wanted)[-8:]
        rehearsed = {**wanted, "metadata": {**wanted["metadata"], "name": probe}}
        try:
            self._steadily(lambda: self._api.create(self._collection(course), rehearsed, dry_run=True))
        except ApiError as error:
            self._refuse(course, error.message.replace(probe, course.name))

    def _submit(self, course: Course) -> None:
        """Makes the job, or in check mode has it made in a dry run."""
        wanted, dry_run = course.the_wanted(), self._options.check_mode

        def attempt() -> Json:
            # Its time does not begin before the server takes it.
            course.begin = time.monotonic()
            try:
                return self._api.create(self._collection(course), with_hash(wanted), dry_run=dry_run)
            except ApiError as error:
                # It may be ours: sent before, made, and the answer lost with the connection.
                if error.status == 409 and error.reason == "AlreadyExists":
                    live = self._api.get(self._path(course))
                    if live is not None and is_unchanged(live, wanted):
                        return live
                raise

        try:
            made = self._steadily(attempt)
        except UnreachableError as error:
            course.changed = False
            course.error = JobError(
                f"{course.title} could not be made: {error} The task can be run again: it makes what is missing."
            )
            return
        except ApiError as error:
            if dry_run and error.is_object_missing:
                self._warn(f"{error.message}: {course.title} could not be checked further.")
            else:
                course.changed = False
                self._refuse(course, error.message)
            return
        if dry_run:
            course.wanted = made
        else:
            course.live = made
            course.submit = time.monotonic() - course.begin

    @staticmethod
    def _refuse(course: Course, message: str) -> None:
        course.error = JobError(f"The API server refused {course.title}: {message}")

    def _set_suspend(self, course: Course, suspend: bool) -> None:
        live = course.the_live()
        course.before = live_part(live)
        if self._kind.is_suspended(live) != suspend and not is_finished(self._kind, live):
            course.live = self._steadily(lambda: self._kind.suspend(self._api, live, suspend, self._options.check_mode))
            course.changed = True
            if not self._options.check_mode:
                self._see_suspend(course, suspend)
        course.after = live_part(course.live or live)

    def _see_suspend(self, course: Course, suspend: bool) -> None:
        """Waits until the job shows what was asked for; it does so at once where that is part of its spec."""
        if self._kind.is_suspended(course.the_live()) == suspend:
            return
        watched = {"job": Source(self._kind.path(course.namespace), {"fieldSelector": f"metadata.name={course.name}"})}
        with Picture(self._api, watched) as picture:
            for _changes in picture.updates(time.monotonic() + SUSPEND_SECONDS):
                live = picture.objects["job"].get(course.name)
                if live is not None and self._kind.is_suspended(live) == suspend:
                    course.live = live
                    return
        course.error = JobError(
            f"{course.title} did not take notice within {SUSPEND_SECONDS:.0f} seconds; see whether "
            f"{self._kind.operator} runs."
        )

    def _remove(self, courses: Sequence[Course], timeout: float) -> None:
        """Deletes these very jobs, and with a timeout waits until their pods are gone, too."""
        for_each(courses, self._delete)
        if self._options.check_mode or not timeout or not courses:
            return
        # The pods of one that was deleted at once are still there.
        left: dict[Course, str] = dict.fromkeys(courses, "unknown")
        watched = {key: one for key, one in sources(self._kind, courses).items() if not key.startswith("events")}
        with Picture(self._api, watched) as picture:
            for _changes in picture.updates(time.monotonic() + timeout):
                if len(picture.known) < len(watched):
                    continue
                left = {course: rest for course in left if (rest := self._left_of(course, picture))}
                if not left:
                    return
        for course, rest in left.items():
            course.error = JobError(
                f"{course.title} was not gone {timeout:.0f} seconds after its deletion; left: {rest}."
            )

    def _delete(self, course: Course) -> None:
        uid = course.the_live()["metadata"]["uid"]
        try:
            self._steadily(lambda: self._api.delete(self._path(course), uid, dry_run=self._options.check_mode))
        except ApiError as error:
            # Gone, or another job of that name has taken its place.
            if error.status not in (404, 409):
                raise

    @staticmethod
    def _left_of(course: Course, picture: Picture) -> str:
        live = course.the_live()
        pods = {
            name: pod
            for name, pod in picture.objects[f"pods {course.namespace}"].items()
            if as_dict(pod["metadata"].get("labels")).get(course.kind.pod_label) == course.name
        }
        if own := own_pods(live, pods):
            return f"pods {', '.join(sorted(own))}"
        job = picture.objects[f"jobs {course.namespace}"].get(course.name)
        is_there = job is not None and job["metadata"]["uid"] == live["metadata"]["uid"]
        return "the job itself" if is_there else ""

    # -- following

    def _follow(self, courses: Sequence[Course], to_make: set[Course]) -> None:
        """Submits what is to be made; with `wait` returns when nothing more will happen to any of the jobs."""
        logs = self._logs()
        moving = [course for course in courses if course in to_make or not is_at_rest(self._kind, course.job)]
        resting = [course for course in courses if course not in moving]
        if self._options.wait and moving:
            self._wait(moving, to_make, logs)
        else:
            for_each([course for course in moving if course in to_make], self._submit)
            resting = [course for course in courses if course not in to_make]
        self._look_once(resting, logs)

    def _logs(self) -> JobLogs:
        show = self._progress.say if self._options.show_log and not self._progress.is_silent else None
        directory = None if self._options.check_mode else self._options.log_directory
        return JobLogs(self._api, directory, self._options.metrics, show)

    def _wait(self, courses: Sequence[Course], to_make: set[Course], logs: JobLogs) -> None:
        stuck: list[Course] = []

        def discard(course: Course) -> None:
            if course.created and self._options.on_stuck == "delete" and not course.all_started:
                # First the pods: a kubelet does not shorten a stop that has begun with the usual grace period.
                for name in course.present_pods:
                    self._hurry(course, name)
                stuck.append(course)
                with contextlib.suppress(ApiError, UnreachableError):
                    self._delete(course)

        def start(course: Course) -> None:
            if course in to_make and course.live is None and not course.error:
                self._submit(course)
            course.begin = course.begin or time.monotonic()

        if not self._options.at_once:
            for_each([course for course in courses if course in to_make], self._submit)
        wait = Wait(self._api, self._kind, self._options.limits, logs, self._progress, discard)
        wait.follow(courses, start, self._options.at_once or len(courses))
        self._clean_up(stuck)

    def _clean_up(self, stuck: Sequence[Course]) -> None:
        """Waits for a while until the jobs that never started are gone."""
        told = {course: course.error for course in stuck}
        for course in stuck:
            course.error = None
        try:
            self._remove(stuck, CLEAN_UP_SECONDS)
            trouble = ""
        except (ApiError, UnreachableError) as error:
            trouble = str(error)
        for course, failure in told.items():
            rest = course.error or trouble
            ending = f"It is being deleted again: {rest}" if rest else "It was deleted again."
            course.changed = False
            course.error = JobError(f"{failure}\n{ending}", {**(failure.result if failure else {}), "changed": False})

    def _hurry(self, course: Course, pod: str) -> None:
        """Ends a pod that has done nothing yet that would be worth an orderly end."""
        # Where it may not be deleted directly, it takes its time.
        with contextlib.suppress(ApiError, UnreachableError):
            self._api.delete(pods_path(course.namespace, pod), course.pods[pod]["metadata"]["uid"], grace=1)

    def _look_once(self, courses: Sequence[Course], logs: JobLogs) -> None:
        """What is to be seen of jobs that are not waited for, with the causes where one has failed."""
        failed = [course for course in courses if course.state == FAILED]
        # The pods of many jobs that rest are nobody's question.
        for course in courses if len(courses) == 1 or logs.is_needed else failed:
            for name, pod in self._pods_of(course).items():
                course.take_in_pod(name, pod)
            logs.take_in(course)
        logs.finish(courses)
        to_explain = failed if self._options.wait else []
        warnings = {
            namespace: self._list(events_path(namespace), {"fieldSelector": "type=Warning"})
            for namespace in {course.namespace for course in to_explain}
        }
        for course in to_explain:
            course.events = {event["metadata"]["name"]: event for event in warnings[course.namespace]}
            for name, pod in course.pods.items():
                tail = tail_of_failure(self._api, course.namespace, name, pod)
                if tail is not None:
                    course.logs[name] = tail
            course.error = course.failure(f"{course.title} failed earlier.")

    def _pods_of(self, course: Course) -> dict[str, Json]:
        found = self._list(pods_path(course.namespace), {"labelSelector": f"{self._kind.pod_label}={course.name}"})
        return own_pods(course.job, {pod["metadata"]["name"]: pod for pod in found})

    def _list(self, path: str, selector: Mapping[str, str]) -> list[Json]:
        try:
            items: list[Json] = self._steadily(lambda: self._api.get(path, selector)).get("items") or []
        except ApiError:
            return []
        return items

    # -- paths

    def _path(self, course: Course) -> str:
        return self._kind.path(course.namespace, course.name)

    def _collection(self, course: Course) -> str:
        return self._kind.path(course.namespace)


def outcome(courses: Sequence[Course], is_batch: bool) -> Json:
    """The result of a call; JobError where a job has come to no good end."""
    failed = [course for course in courses if course.error]
    if not is_batch:
        if error := courses[0].error:
            raise error
        return courses[0].result()
    result = {
        "changed": any(course.changed for course in courses),
        "jobs": [course.row() for course in courses],
        "diff": [
            {
                "before_header": course.title,
                "after_header": course.title,
                "before": course.before,
                "after": course.after,
            }
            for course in courses
            if course.before != course.after
        ],
    }
    if not failed:
        return result
    shown = [str(course.error) for course in failed[:MESSAGES_SHOWN]]
    rest = [course.name for course in failed[MESSAGES_SHOWN:]]
    if rest:
        shown.append(f"And as many as {len(rest)} more, see `jobs`: {', '.join(rest[:20])}{' ...' * (len(rest) > 20)}")
    raise JobError(
        "\n".join([f"{len(failed)} of {len(courses)} {courses[0].kind.name}s came to no good end.", *shown]), result
    )
