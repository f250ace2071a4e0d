# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A live picture of some objects: one LIST, then one watch stream each, mended when it breaks."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.steady import LONGEST_WISH, RESTART_SECONDS

# A server ends a watch after this time; its bookmarks come about once a minute, so longer silence means a dead line.
WATCH_SECONDS = 300
SILENCE_SECONDS = 90.0
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0


class _ExpiredError(Exception):
    """The server no longer has the history since our resourceVersion."""


@dataclass
class Source:
    """What one stream watches."""

    path: str
    selector: Mapping[str, str] = field(default_factory=dict)
    # An optional source that may not be read is left out of the picture.
    optional: bool = False
    # Parts of an object that nobody looks at, as paths; thousands of objects are held in memory.
    drop: tuple[tuple[str, ...], ...] = (("metadata", "managedFields"),)


@dataclass
class _Report:
    source: str
    # The whole picture after a LIST; else one object and how it changed.
    items: list[Json] | None = None
    change: str = ""
    item: Json = field(default_factory=dict)
    error: Exception | None = None
    # Nothing more will come from this source; what that means.
    is_fatal: bool = False
    is_skipped: bool = False


class Change(NamedTuple):
    """An object that came, changed or went, which then is None."""

    source: str
    name: str
    item: Json | None


class Picture:
    """The objects of every source by name, kept current while `updates` is iterated over."""

    def __init__(self, api: KubeApi, sources: Mapping[str, Source]) -> None:
        self.objects: dict[str, dict[str, Json]] = {name: {} for name in sources}
        # Sources whose first LIST has come.
        self.known: set[str] = set()
        # Sources that are cut off at the moment, with the reason.
        self.trouble: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self._reports: queue.Queue[_Report] = queue.Queue()
        self._streams = [_Stream(api, name, source, self._reports) for name, source in sources.items()]

    def __enter__(self) -> Picture:
        for stream in self._streams:
            stream.start()
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.stop()

    def updates(self, deadline: float, tick: float = 1.0) -> Iterator[list[Change]]:
        """Yields what has changed, at least once in `tick` seconds, until time.monotonic() reaches `deadline`."""
        while (left := deadline - time.monotonic()) > 0:
            yield self.next_changes(min(left, tick))

    def next_changes(self, seconds: float) -> list[Change]:
        """Waits for a change, but no longer than `seconds`."""
        changes: list[Change] = []
        try:
            changes.extend(self._take(self._reports.get(timeout=seconds)))
            # What has come meanwhile belongs to the same moment.
            while True:
                changes.extend(self._take(self._reports.get_nowait()))
        except queue.Empty:
            return changes

    def _take(self, report: _Report) -> list[Change]:
        source, objects = report.source, self.objects[report.source]
        if report.error is not None:
            if report.is_fatal:
                raise report.error
            if report.is_skipped:
                self.skipped[source] = str(report.error)
                self.known.add(source)
            else:
                self.trouble[source] = str(report.error)
            return []
        self.trouble.pop(source, None)
        if report.items is not None:
            listed = {item["metadata"]["name"]: item for item in report.items}
            gone = [Change(source, name, None) for name in objects if name not in listed]
            objects.clear()
            objects.update(listed)
            self.known.add(source)
            return gone + [Change(source, name, item) for name, item in listed.items()]
        name = report.item["metadata"]["name"]
        if report.change == "DELETED":
            objects.pop(name, None)
            return [Change(source, name, None)]
        objects[name] = report.item
        return [Change(source, name, report.item)]


class _Stream(threading.Thread):
    def __init__(self, api: KubeApi, name: str, source: Source, reports: queue.Queue[_Report]) -> None:
        super().__init__(name=f"watch {name}", daemon=True)
        self._api = api
        self._source_name = name
        self._source = source
        self._reports = reports
        self._stopped = threading.Event()
        # Whether it was once allowed to watch, and since when it is refused that.
        self._is_known = False
        self._refused: float | None = None

    def stop(self) -> None:
        # The thread may sit in a read, and it is a daemon: nobody has to wait for it.
        self._stopped.set()

    def run(self) -> None:
        pause = FIRST_PAUSE
        version = ""
        while not self._stopped.is_set():
            wish = 0.0
            try:
                if not version:
                    version = self._list()
                begin = time.monotonic()
                version = self._watch(version)
                if time.monotonic() - begin > LONGEST_PAUSE:
                    pause = FIRST_PAUSE
                    continue
                # A server that ends streams at once is going down: wait, then go on from `version`.
                self._stopped.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            except _ExpiredError:
                version = ""
                continue
            except ApiError as error:
                if not error.is_transient and not self._may_be_restarting(error):
                    self._report(error=error, is_fatal=not self._source.optional, is_skipped=self._source.optional)
                    return
                self._report(error=error)
                wish = min(error.retry_after, LONGEST_WISH)
            except UnreachableError as error:
                self._report(error=error)
            except Exception as error:  # Nobody else would see it.
                self._report(error=error, is_fatal=True)
                return
            # After a break nothing is sure: the server may have been restored from a backup.
            version = ""
            self._stopped.wait(max(pause, wish))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _may_be_restarting(self, error: ApiError) -> bool:
        """A server that has just begun may answer before it has read who may do what."""
        if not error.is_identity or not self._is_known:
            return False
        self._refused = self._refused or time.monotonic()
        return time.monotonic() - self._refused < RESTART_SECONDS

    def _list(self) -> str:
        answer = self._api.get(self._source.path, self._source.selector)
        self._report(items=[self._slim(item) for item in answer.get("items") or []])
        return str(answer["metadata"]["resourceVersion"])

    def _watch(self, version: str) -> str:
        """Reports changes since `version` until the server ends the stream; returns where to go on."""
        query = {
            **self._source.selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        try:
            lines = self._api.lines(self._source.path, query, SILENCE_SECONDS)
        except ApiError as error:
            if error.status == 410:
                raise _ExpiredError from error
            raise
        self._is_known, self._refused = True, None
        try:
            for line in lines:
                if self._stopped.is_set():
                    break
                event = json.loads(line)
                change, item = event["type"], event["object"]
                if change == "ERROR":
                    if item.get("code") == 410:
                        raise _ExpiredError
                    raise ApiError(int(item.get("code") or 500), str(item.get("reason")), str(item.get("message")))
                version = item["metadata"]["resourceVersion"]
                if change != "BOOKMARK":
                    self._report(change=change, item=self._slim(item))
        except json.JSONDecodeError as error:
            raise UnreachableError("The API server's stream broke in the middle of an object.") from error
        finally:
            lines.close()
        return version

    def _slim(self, item: Json) -> Json:
        for *parents, last in self._source.drop:
            part = item
            for parent in parents:
                part = part.get(parent) or {}
            part.pop(last, None)
        return item

    def _report(
        self,
        items: list[Json] | None = None,
        change: str = "",
        item: Json | None = None,
        error: Exception | None = None,
        is_fatal: bool = False,
        is_skipped: bool = False,
    ) -> None:
        self._reports.put(_Report(self._source_name, items, change, item or {}, error, is_fatal, is_skipped))
