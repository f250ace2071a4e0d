# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The life of one job: made, waited for, made anew, taken away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ansible_collections.mlstack.kubernetes.plugins.module_utils.diagnosis import (
    diagnose,
    failed_containers,
    message_of,
    tail_of_log,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    InvalidJobError,
    JobKind,
    deciding_replicas,
    desired_part,
    is_unchanged,
    live_part,
    replicas_of,
    spec_hash,
    with_hash,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    FAILED,
    JOB_NAME_LABEL,
    PENDING,
    duration_of,
    has_started,
    is_at_rest,
    own_pods,
    replica_table,
    state_of,
    training_container,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    events_path,
    jobs_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.preflight import problems_in_cluster
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import (
    UNSCHEDULABLE,
    Patience,
    Stuck,
    could_ever_fit,
    find_stuck,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.watch import Picture, Source

# How long single requests are repeated while an API server, or the operator's webhook, restarts.
RESTART_SECONDS = 20.0
# How long the pods' streams may lag behind the job's.
SETTLE_SECONDS = 0.3
# How long a call that has failed waits for its half-made job to be gone.
CLEAN_UP_SECONDS = 5.0

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    wait: bool = True
    wait_timeout: float = 600
    grace: float = 12
    on_change: str = "fail"
    on_failed: str = "fail"
    on_stuck: str = "delete"
    check_mode: bool = False


class JobError(Exception):
    """The job is not what was asked for; carries what is known about it."""

    def __init__(self, message: str, result: Json | None = None) -> None:
        super().__init__(message)
        self.result = result or {}


class NotServedError(JobError):
    """The API server does not know the kind."""


@dataclass
class _Course:
    """What one wait has seen."""

    job: Json
    created: bool
    begin: float
    pods: dict[str, Json] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    first_container: float | None = None
    finished: float | None = None
    all_started: bool = False


class Lifecycle:
    """Brings one job to the wanted state."""

    def __init__(
        self, api: KubeApi, kind: JobKind, namespace: str, name: str, options: Options, warn: Callable[[str], None]
    ) -> None:
        self._api = api
        self._kind = kind
        self._namespace = namespace
        self._name = name
        self._options = options
        self._warn = warn
        self._path = jobs_path(namespace, kind.plural, name)
        self._title = f"{kind.kind} {namespace}/{name}"

    # -- the states

    def present(self, wanted: Json) -> Json:
        try:
            live = self._read()
        except NotServedError as error:
            if not self._options.check_mode:
                raise
            # An earlier task of the same run, which was only checked too, may be the one that installs the operator.
            self._warn(f"{error} The job could not be checked further.")
            return {"changed": True, "job": wanted, **_diff({}, wanted)}
        if live is None:
            return self._make(wanted, replaced=None)
        if live["metadata"].get("deletionTimestamp"):
            return self._make(wanted, replaced=live)
        if not is_unchanged(live, wanted):
            if self._options.on_change == "fail":
                raise JobError(
                    f"{self._title} exists with another spec, and the operator does not bring running pods to a new "
                    "one. Say `on_change: recreate` to have it deleted and made anew, or delete it first with "
                    "`state: absent`.",
                    {"job": _shown(live), "state": state_of(live), **_diff(live_part(live), wanted)},
                )
            return self._make(wanted, replaced=live)
        if state_of(live) == FAILED and self._options.on_failed == "recreate":
            return self._make(wanted, replaced=live)
        return {"changed": False, **_diff(live_part(live), live), **self._follow(live, created=False)}

    def absent(self) -> Json:
        try:
            live = self._read()
        except NotServedError:
            live = None
        if live is None:
            return {"changed": False, "state": "Absent", "job": None}
        changed = not live["metadata"].get("deletionTimestamp")
        self._remove(live, self._options.wait_timeout if self._options.wait else 0)
        return {"changed": changed, "state": "Absent", "job": None, **_diff(live_part(live), None)}

    # -- the steps

    def _make(self, wanted: Json, replaced: Json | None) -> Json:
        before = live_part(replaced) if replaced else {}
        problems = problems_in_cluster(self._api, self._kind, wanted)
        if problems and not self._options.check_mode:
            raise InvalidJobError(problems)
        for problem in problems:
            self._warn(f"{problem} (Not an error in check mode: an earlier task may be to make it.)")
        if replaced:
            # The old job is given up only for one that the API server will take.
            self._rehearse(wanted)
        if self._options.check_mode:
            job = wanted if replaced else self._submit(wanted, dry_run=True)
            return {"changed": True, "job": _shown(job), "state": PENDING, "replicas": [], **_diff(before, wanted)}
        if replaced:
            self._remove(replaced, self._options.wait_timeout)
        begin = time.monotonic()
        job = self._submit(wanted)
        submit = time.monotonic() - begin
        result = {"changed": True, **_diff(before, wanted), **self._follow(job, created=True)}
        result["timings"]["submit"] = round(submit, 3)
        return result

    def _rehearse(self, wanted: Json) -> None:
        """A dry run under another name, as the wanted one is taken."""
        probe = "dry-run-" + spec_hash(wanted)[-8:]
        rehearsed = {**wanted, "metadata": {**wanted["metadata"], "name": probe}}
        try:
            self._steadily(lambda: self._api.create(self._collection, rehearsed, dry_run=True))
        except ApiError as error:
            raise self._refused(error, error.message.replace(probe, self._name)) from error

    def _submit(self, wanted: Json, dry_run: bool = False) -> Json:
        def attempt() -> Json:
            try:
                return self._api.create(self._collection, with_hash(wanted), dry_run=dry_run)
            except ApiError as error:
                # It may be ours: sent before, made, and the answer lost with the connection.
                if error.status == 409 and error.reason == "AlreadyExists":
                    live = self._read()
                    if live is not None and is_unchanged(live, wanted):
                        return live
                raise

        try:
            return self._steadily(attempt)
        except ApiError as error:
            if dry_run and error.is_object_missing:
                self._warn(f"{error.message}: the job could not be checked further.")
                return wanted
            raise self._refused(error, error.message) from error

    def _refused(self, error: ApiError, message: str) -> JobError:
        return JobError(f"The API server refused {self._title}: {message}")

    def _remove(self, live: Json, timeout: float) -> None:
        """Deletes this very job, and with a timeout waits until its pods are gone, too."""
        uid = live["metadata"]["uid"]
        try:
            self._steadily(lambda: self._api.delete(self._path, uid, dry_run=self._options.check_mode))
        except ApiError as error:
            # Gone, or another job of that name has taken its place.
            if error.status not in (404, 409):
                raise
        if self._options.check_mode or not timeout:
            return
        left = ""
        with Picture(self._api, {key: self._sources()[key] for key in ("job", "pods")}) as picture:
            for _tick in picture.updates(time.monotonic() + timeout):
                if len(picture.known) < 2:
                    continue
                job = picture.objects["job"].get(self._name)
                pods = own_pods(live, picture.objects["pods"])
                if not pods and (job is None or job["metadata"]["uid"] != uid):
                    return
                left = f"pods {', '.join(sorted(pods))}" if pods else "the job itself"
        raise JobError(
            f"{self._title} was not gone {timeout:.0f} seconds after its deletion; left: {left or 'unknown'}."
        )

    # -- waiting

    def _sources(self) -> dict[str, Source]:
        return {
            "job": Source(
                jobs_path(self._namespace, self._kind.plural), {"fieldSelector": f"metadata.name={self._name}"}
            ),
            "pods": Source(
                pods_path(self._namespace), {"labelSelector": f"{JOB_NAME_LABEL}={self._name}"}, optional=True
            ),
            "events": Source(events_path(self._namespace), {"fieldSelector": "type=Warning"}, optional=True),
        }

    def _follow(self, job: Json, created: bool) -> Json:
        """The job's result: at once, or with `wait` when nothing more will happen to it."""
        course = _Course(job, created, time.monotonic())
        if not self._options.wait or self._options.check_mode or is_at_rest(job):
            self._look_once(course)
        else:
            self._watch(course)
        if self._options.wait and state_of(course.job) == FAILED:
            raise self._failure(course, f"{self._title} failed" + ("." if course.finished else " earlier."))
        return self._result(course)

    def _look_once(self, course: _Course) -> None:
        """What is to be seen of a job that is not waited for, with the causes where it has failed."""
        if course.created:
            return
        sources = self._sources()
        course.pods = {pod["metadata"]["name"]: pod for pod in self._list(sources["pods"])}
        course.pods = own_pods(course.job, course.pods)
        if state_of(course.job) == FAILED:
            course.events = self._list(sources["events"])
            self._save_logs(course)

    def _list(self, source: Source) -> list[Json]:
        try:
            items: list[Json] = self._steadily(lambda: self._api.get(source.path, source.selector)).get("items") or []
        except ApiError:
            return []
        return items

    def _watch(self, course: _Course) -> None:
        deadline = course.begin + self._options.wait_timeout
        uid = course.job["metadata"]["uid"]
        patience = Patience(self._options.grace)
        with Picture(self._api, self._sources()) as picture:
            for _tick in picture.updates(deadline):
                if "job" not in picture.known:
                    continue
                job = picture.objects["job"].get(self._name)
                if job is None or job["metadata"]["uid"] != uid:
                    raise self._failure(course, f"{self._title} was deleted while it was waited for.")
                course.job = job
                self._take_in(course, picture)
                if is_at_rest(job):
                    course.finished = time.monotonic()
                    self._settle(course, picture, deadline)
                    return
                now = time.monotonic()
                lost = patience.lost_with(find_stuck(self._kind, job, course.pods, course.events), now)
                for trouble in [trouble for trouble in lost if self._may_pass(trouble, course)]:
                    patience.renew(trouble, now)
                    lost.remove(trouble)
                if lost:
                    raise self._stuck(course, lost)
            raise self._timeout(course, picture)

    def _take_in(self, course: _Course, picture: Picture) -> None:
        pods = own_pods(course.job, picture.objects["pods"])
        # Pods that are cleaned away at the end stay in the table as they were last seen.
        course.pods.update(pods)
        course.events = list(picture.objects["events"].values())
        started = [has_started(self._kind, pod) for pod in pods.values()]
        if any(started) and course.first_container is None:
            course.first_container = time.monotonic()
        course.all_started = course.all_started or (
            all(started) and len(pods) == len(replicas_of(self._kind, course.job))
        )
        self._save_logs(course)

    def _settle(self, course: _Course, picture: Picture, deadline: float) -> None:
        """The operator has seen the pods end; wait until we have, too."""
        deciding = [replica.pod for replica in deciding_replicas(self._kind, course.job)]
        for _tick in picture.updates(min(deadline, time.monotonic() + SETTLE_SECONDS), tick=0.05):
            self._take_in(course, picture)
            containers = [training_container(self._kind, course.pods.get(pod, {})) for pod in deciding]
            if "pods" in picture.skipped or all("terminated" in status.get("state", {}) for status in containers):
                return

    def _save_logs(self, course: _Course) -> None:
        """Tails of logs are read when a container fails: later its pod may be gone."""
        for name, pod in course.pods.items():
            failed = failed_containers(pod)
            if failed and name not in course.logs:
                course.logs[name] = tail_of_log(
                    self._api, self._namespace, name, failed[-1]["name"], failed[-1]["previous"]
                )

    def _may_pass(self, trouble: Stuck, course: _Course) -> bool:
        """A pod that only waits for its turn on a busy cluster is not stuck."""
        if trouble.reason != UNSCHEDULABLE or "persistentvolumeclaim" in trouble.message:
            return False
        try:
            nodes = self._api.get("/api/v1/nodes")["items"]
        except (ApiError, UnreachableError):
            # Who may not see the nodes cannot tell, and waiting does no harm.
            return True
        return could_ever_fit(course.pods[trouble.subject], nodes)

    # -- the ends

    def _result(self, course: _Course) -> Json:
        now = time.monotonic()

        def since(begin: float | None, end: float | None) -> float | None:
            return None if begin is None or end is None else round(end - begin, 3)

        return {
            "job": _shown(course.job),
            "state": state_of(course.job),
            "replicas": replica_table(self._kind, course.job, course.pods),
            "duration": duration_of(course.job),
            "timings": {
                "submit": None,
                "first_container": since(course.begin, course.first_container) if course.created else None,
                "finished": since(course.begin, course.finished),
                "after_finish": since(course.finished, now),
            },
        }

    def _failure(self, course: _Course, headline: str, troubles: list[Stuck] | None = None) -> JobError:
        diagnosis = diagnose(self._kind, course.job, course.pods, course.events, course.logs, troubles or [])
        condition = diagnosis["condition"]
        if condition and condition["type"] == FAILED and condition["message"]:
            headline += f" {condition['message']}"
        result = {"changed": course.created, **self._result(course), "diagnosis": diagnosis}
        return JobError(message_of(headline, diagnosis), result)

    def _stuck(self, course: _Course, lost: list[Stuck]) -> JobError:
        failure = self._failure(course, f"{self._title} cannot go on.", lost)
        if not (course.created and self._options.on_stuck == "delete" and not course.all_started):
            return failure
        try:
            # First the pods: a kubelet does not shorten a stop that has begun with the usual grace period.
            for name, pod in course.pods.items():
                self._hurry(name, pod["metadata"]["uid"])
            self._remove(course.job, CLEAN_UP_SECONDS)
            ending = "It was deleted again."
        except (JobError, ApiError, UnreachableError) as error:
            ending = f"It is being deleted again: {error}"
        return JobError(f"{failure}\n{ending}", {**failure.result, "changed": False})

    def _hurry(self, pod: str, uid: str) -> None:
        """Ends a pod that has done nothing yet that would be worth an orderly end."""
        # Where it may not be deleted directly, it takes its time.
        with contextlib.suppress(ApiError):
            self._api.delete(pods_path(self._namespace, pod), uid, grace=1)

    def _timeout(self, course: _Course, picture: Picture) -> JobError:
        state = state_of(course.job)
        headline = f"{self._title} has not finished within {self._options.wait_timeout:.0f} seconds; it is {state}"
        if picture.trouble:
            headline += f". The API server is not answering: {next(iter(picture.trouble.values()))}"
        elif state == PENDING:
            headline += ", which means that the training operator has not taken notice of it: is it running?"
        else:
            headline += " and goes on."
        troubles = list(find_stuck(self._kind, course.job, course.pods, course.events))
        return self._failure(course, headline, troubles)

    # -- requests

    @property
    def _collection(self) -> str:
        return jobs_path(self._namespace, self._kind.plural)

    def _read(self) -> Json | None:
        try:
            return self._api.get(self._path)
        except ApiError as error:
            if error.is_object_missing:
                return None
            if error.status == 404:
                raise NotServedError(
                    f"The cluster does not serve {self._kind.kind} (kubeflow.org/v1): install the training operator."
                ) from error
            raise

    def _steadily(self, request: Callable[[], T]) -> T:
        """Repeats a request while the server is away. It has answered before, so it is known to be there."""
        deadline = time.monotonic() + RESTART_SECONDS
        pause = 0.2
        while True:
            try:
                return request()
            except (ApiError, UnreachableError) as error:
                if (isinstance(error, ApiError) and not error.is_transient) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 2.0)


def _shown(job: Json) -> Json:
    """The job without the bookkeeping of server-side apply."""
    metadata = {key: value for key, value in job["metadata"].items() if key != "managedFields"}
    return {**job, "metadata": metadata}


def _diff(before: Mapping[str, object], after: Json | None) -> Json:
    return {"diff": {"before": before, "after": desired_part(after) if after else {}}}
