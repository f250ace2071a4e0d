# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Questions to the API server beside other work, so that a server that is slow, or hangs, does not hold that up."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

ASKED_AT_ONCE = 4

T = TypeVar("T")


class Questions:
    """Each has a key, and is not asked twice at the same time. No answer is known as None."""

    def __init__(self) -> None:
        self._to_ask: queue.SimpleQueue[tuple[Hashable, Callable[[], Any]]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open: set[Hashable] = set()
        # When it came, and what it is.
        self._answers: dict[Hashable, tuple[float, Any]] = {}
        self._has_come = threading.Condition()
        self._last_answer = 0.0
        self._last_silence = -1.0

    def latest(self, key: Hashable, question: Callable[[], T], age: float) -> T | None:
        """The latest answer, at once; it is asked for anew where it is older than `age` seconds."""
        with self._has_come:
            came, answer = self._answers.get(key, (None, None))
            if came is None or time.monotonic() - came >= age:
                self._ask(key, question)
        told: T | None = _told(answer)
        return told

    def fresh(self, key: Hashable, question: Callable[[], T], seconds: float, age: float = 0.0) -> T | None:
        """One no older than `age`, for which that many seconds are waited; not again while the server is silent."""
        begin = time.monotonic() - age
        with self._has_come:
            if not self._is_younger(key, begin):
                if self._last_silence > self._last_answer:
                    return None
                self._ask(key, question)
                if not self._has_come.wait_for(lambda: self._is_younger(key, begin), seconds):
                    self._last_silence = time.monotonic()
                    return None
            answer: T | None = _told(self._answers[key][1])
            return answer

    def _is_younger(self, key: Hashable, begin: float) -> bool:
        return key in self._answers and self._answers[key][0] >= begin

    def _ask(self, key: Hashable, question: Callable[[], Any]) -> None:
        if key in self._open:
            return
        self._open.add(key)
        self._to_ask.put((key, question))
        if len(self._threads) < min(ASKED_AT_ONCE, len(self._open)):
            # Nobody waits in the end for an answer that nobody wants any more.
            self._threads.append(threading.Thread(name="questions", target=self._work, daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        while True:
            key, question = self._to_ask.get()
            answer: Any
            try:
                answer = question()
            except Exception as error:  # Nobody else would see it.
                answer = error
            with self._has_come:
                self._last_answer = time.monotonic()
                self._answers[key] = self._last_answer, answer
                self._open.discard(key)
                self._has_come.notify_all()


def _told(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer
