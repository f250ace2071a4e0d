# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Requests that outlive a restart of the API server, one at a time or many at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError

# How long a request is repeated while an API server, or the operator's webhook, restarts.
RESTART_SECONDS = 20.0
# As many requests as an API server answers side by side without pushing back; more are not faster.
REQUESTS_AT_ONCE = 8
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 2.0
# A server may ask for more, but not for any time.
LONGEST_WISH = 10.0

T = TypeVar("T")
R = TypeVar("R")


class Persistence:
    """Repeats requests while the server is away. Those that are made at the same time give up together."""

    def __init__(self, seconds: float = 0.0, is_known: bool = True) -> None:
        """`seconds` is for a server that is away or busy, where it is more than a restart takes.

        One that is not known to be there is waited for when it has once answered.
        """
        self._seconds = seconds
        self._is_known = is_known
        # Why, and until when nobody tries it.
        self._given_up: tuple[Exception, float] | None = None

    def steadily(self, request: Callable[[], R]) -> R:
        begin = time.monotonic()
        pause = FIRST_PAUSE
        while True:
            if self._given_up and time.monotonic() < self._given_up[1]:
                raise self._given_up[0]
            try:
                answer = request()
            except UnreachableError as error:
                if not self._is_known:
                    raise
                self._bear(error, begin, max(self._seconds, RESTART_SECONDS), pause)
            except ApiError as error:
                self._is_known = True
                if not error.is_transient:
                    raise
                borne = max(self._seconds, RESTART_SECONDS) if error.is_busy else RESTART_SECONDS
                self._bear(error, begin, borne, max(pause, min(error.retry_after, LONGEST_WISH)))
            else:
                self._is_known, self._given_up = True, None
                return answer
            pause = min(pause * 2, LONGEST_PAUSE)

    def _bear(self, error: Exception, begin: float, seconds: float, pause: float) -> None:
        if time.monotonic() + pause > begin + seconds:
            self._given_up = error, time.monotonic() + RESTART_SECONDS
            raise error
        time.sleep(pause)


def steadily(request: Callable[[], R]) -> R:
    """Repeats one request while the server restarts. It has answered before, so it is known to be there."""
    return Persistence().steadily(request)


def for_each(items: Iterable[T], request: Callable[[T], R]) -> list[R]:
    """What `request` returns for each of the items, in their order; the first error is raised after all have ended."""
    items = list(items)
    if len(items) < 2:
        return [request(item) for item in items]
    with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(items))) as executor:
        return list(executor.map(request, items))
