# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Lines about what is going on while a module waits, for people who wait with it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence

from ansible_collections.mlstack.kubernetes.plugins.module_utils.course import Course
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import replicas_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import training_container

# A table of many jobs changes all the time.
BETWEEN_TABLES = 1.0
# A metric that is logged at every step would be all that is seen.
BETWEEN_METRICS = 2.0


class Progress:
    """Appends a line to a file whenever something has changed; with no file it is silent."""

    def __init__(self, path: str | None) -> None:
        self._file = -1
        if path:
            # Others may read along, but not foist a file of theirs on us.
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        self._begin = time.monotonic()
        self._last = ""
        self._last_time = 0.0
        self._trouble = ""

    @property
    def is_silent(self) -> bool:
        return self._file < 0

    def say(self, line: str) -> None:
        if not self.is_silent:
            os.write(self._file, (line + "\n").encode(errors="replace"))

    def tell(self, courses: Sequence[Course], is_over: bool = False) -> None:
        """Says how the jobs stand, where that has changed since it was last said."""
        now = time.monotonic()
        is_one = len(courses) == 1
        is_early = now - self._last_time < (BETWEEN_METRICS if is_one else BETWEEN_TABLES) and not is_over
        if self.is_silent or (is_early and not is_one):
            return
        status, fleeting = _one(courses[0]) if is_one else (_many(courses), "")
        is_news = not self._last.startswith(status)
        if status + fleeting == self._last or (is_early and not is_news):
            return
        self._last, self._last_time = status + fleeting, now
        self.say(f"{status}{fleeting}, {now - self._begin:.0f} s")

    def tell_of_server(self, trouble: str) -> None:
        """Says that the API server is away, and that it is back."""
        if bool(trouble) != bool(self._trouble):
            self.say(trouble if trouble else "The API server answers again.")
        self._trouble = trouble

    def close(self) -> None:
        if not self.is_silent:
            os.close(self._file)
            self._file = -1


def _one(course: Course) -> tuple[str, str]:
    """The state of a job, and what of it changes so often that it alone is no news."""
    wanted = len(replicas_of(course.kind, course.job))
    states = Counter(_stand(course, pod) for pod in course.present_pods)
    pods = ", ".join(f"{count} {stand}" for stand, count in sorted(states.items()) if stand != "running")
    status = f"{course.title}: {course.state}, pods {states['running']}/{wanted} running" + (
        f", {pods}" if pods else ""
    )
    numbers = [f", {name} {series.values[-1]:g}" for name, series in course.metrics.items() if series.values]
    return status, "".join(numbers)


def _stand(course: Course, name: str) -> str:
    state = training_container(course.kind, course.pods[name]).get("state") or {}
    if "running" in state:
        return "running"
    if "terminated" in state:
        return "failed" if state["terminated"].get("exitCode") else "done"
    return str(state.get("waiting", {}).get("reason") or "pending")


def _many(courses: Sequence[Course]) -> str:
    states = Counter("not started" if course.live is None else course.state for course in courses)
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{len(courses)} {courses[0].kind.name}s: {told}"
