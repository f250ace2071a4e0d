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

T = TypeVar("T")
R = TypeVar("R")


def steadily(request: Callable[[], R]) -> R:
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


def for_each(items: Iterable[T], request: Callable[[T], R]) -> list[R]:
    """What `request` returns for each of the items, in their order; the first error is raised after all have ended."""
    items = list(items)
    if len(items) < 2:
        return [request(item) for item in items]
    with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(items))) as executor:
        return list(executor.map(request, items))
