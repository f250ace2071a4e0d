# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The logs of running replicas, read while they are written: kept in files, shown, and searched for metrics."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ansible_collections.mlstack.kubernetes.plugins.module_utils.course import Course
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import deciding_replicas, replicas_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    has_started,
    training_container,
    training_container_name,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import Series, collect
from ansible_collections.mlstack.kubernetes.plugins.module_utils.redaction import redactor, secrets_of

# Each stream is a connection to the API server and from there to a kubelet.
STREAMS_AT_ONCE = 128
SILENCE_SECONDS = 3600.0
PAUSE = 0.5
# How long the end of a job waits for the last lines of its replicas.
LAST_LINES_SECONDS = 10.0


class LogStream(threading.Thread):
    """One container's log from its first line to its last, whatever breaks in between."""

    def __init__(self, api: KubeApi, namespace: str, pod: str, container: str, sink: Callable[[str], None]) -> None:
        super().__init__(name=f"log of {pod}", daemon=True)
        self._api = api
        self._path = f"{pods_path(namespace, pod)}/log"
        self._container = container
        self._sink = sink
        # What has been read is known by the kubelet's time stamps.
        self._last_stamp = ""
        self.is_over = threading.Event()
        self.last_line = time.monotonic()

    def run(self) -> None:
        while True:
            was_over = self.is_over.is_set()
            try:
                self._read(follow=not was_over)
            except ApiError as error:
                if not error.is_transient:
                    return
            except UnreachableError:
                pass
            # A stream also ends with the API server. Only after the container's end is the log known to be complete.
            if was_over:
                return
            self.is_over.wait(PAUSE)

    def _read(self, follow: bool) -> None:
        query = {"container": self._container, "timestamps": "true"}
        if follow:
            query["follow"] = "true"
        if self._last_stamp:
            query["sinceTime"] = self._last_stamp
        lines = self._api.lines(self._path, query, SILENCE_SECONDS if follow else LAST_LINES_SECONDS)
        seen = self._last_stamp
        try:
            for line in lines:
                stamp, _space, text = line.partition(" ")
                # Stamps of one log have one form, so that they compare as texts.
                if not seen or stamp > seen:
                    self._last_stamp = stamp
                    self.last_line = time.monotonic()
                    self._sink(text)
        finally:
            lines.close()


class JobLogs:
    """The streams of all jobs of a call."""

    def __init__(
        self,
        api: KubeApi,
        directory: str | None,
        metrics: Mapping[str, re.Pattern[str]],
        show: Callable[[str], None] | None,
    ) -> None:
        self._api = api
        self._directory = Path(directory) if directory else None
        self._metrics = metrics
        self._show = show
        self._streams: dict[tuple[str, str, int], LogStream] = {}
        self._of_course: dict[Course, list[LogStream]] = {}

    @property
    def is_needed(self) -> bool:
        return bool(self._directory or self._metrics or self._show)

    def take_in(self, course: Course) -> None:
        """Opens the streams of containers that have started, and lets go of those that have ended."""
        if not self.is_needed:
            return
        leader = next((replica.pod for replica in deciding_replicas(course.kind, course.job)), None)
        for replica in replicas_of(course.kind, course.job):
            pod = course.pods.get(replica.pod)
            if pod is None or not (self._directory or replica.pod == leader):
                continue
            status = training_container(course.kind, pod)
            key = (course.namespace, str(pod["metadata"].get("uid")), int(status.get("restartCount") or 0))
            has_ended = "terminated" in (status.get("state") or {}) or replica.pod not in course.present_pods
            if key not in self._streams and has_started(course.kind, pod) and self._has_room(has_ended):
                self._open(course, replica.name, pod, key, is_leader=replica.pod == leader)
            if has_ended and key in self._streams:
                self._streams[key].is_over.set()

    def _has_room(self, has_ended: bool) -> bool:
        # One that has ended is soon read.
        return has_ended or sum(stream.is_alive() for stream in self._streams.values()) < STREAMS_AT_ONCE

    def _open(self, course: Course, replica: str, pod: Json, key: tuple[str, str, int], is_leader: bool) -> None:
        sinks: list[Callable[[str], None]] = []
        if self._directory:
            sinks.append(self._file(self._directory, course, replica, is_restart=key[2] > 0))
        if is_leader:
            sinks.extend(self._collector(course, name, pattern) for name, pattern in self._metrics.items())
            if self._show:
                sinks.append(self._shower(self._show, course, replica))

        def sink(line: str) -> None:
            for one in sinks:
                one(line)

        container = training_container_name(course.kind, pod)
        stream = LogStream(self._api, course.namespace, pod["metadata"]["name"], container, sink)
        self._streams[key] = stream
        self._of_course.setdefault(course, []).append(stream)
        stream.start()

    @staticmethod
    def _file(directory: Path, course: Course, replica: str, is_restart: bool) -> Callable[[str], None]:
        path = directory / course.namespace / course.name / f"{replica}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not is_restart:
            path.write_text("", encoding="utf-8")
        if str(path) not in course.log_files:
            course.log_files.append(str(path))

        # Closed with the process, as the stream itself; each line is on disk at once.
        stream = path.open("a", encoding="utf-8", buffering=1)
        return lambda line: print(line, file=stream)

    @staticmethod
    def _collector(course: Course, name: str, pattern: re.Pattern[str]) -> Callable[[str], None]:
        series = course.metrics.setdefault(name, Series())
        return lambda line: collect(series, pattern, line)

    @staticmethod
    def _shower(show: Callable[[str], None], course: Course, replica: str) -> Callable[[str], None]:
        clean = redactor(secrets_of(course.kind, course.job))
        return lambda line: show(f"{course.name} {replica} | {clean(line)}")

    def last_line(self, course: Course) -> float:
        """time.monotonic() of the latest line that any stream of the job has brought."""
        return max((stream.last_line for stream in self._of_course.get(course, [])), default=0.0)

    def finish(self, courses: Sequence[Course]) -> None:
        """Waits for the last lines of jobs that have ended."""
        streams = [stream for course in courses for stream in self._of_course.get(course, [])]
        for stream in streams:
            stream.is_over.set()
        deadline = time.monotonic() + LAST_LINES_SECONDS
        for stream in streams:
            stream.join(max(0.0, deadline - time.monotonic()))


def has_logged_since(api: KubeApi, namespace: str, pod: str, container: str, seconds: float) -> bool:
    """Also where the server cannot be reached: that is no silence of the container's."""
    query = {"container": container, "tailLines": "1", "sinceSeconds": str(max(1, int(seconds)))}
    try:
        lines = api.lines(f"{pods_path(namespace, pod)}/log", query, LAST_LINES_SECONDS)
        try:
            return any(True for _line in lines)
        finally:
            lines.close()
    except UnreachableError:
        return True
    except ApiError as error:
        return error.is_transient
