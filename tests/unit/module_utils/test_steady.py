from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils import steady
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.steady import Persistence, for_each, steadily

AWAY = UnreachableError("nobody there")
BUSY = ApiError(429, "TooManyRequests", "too many requests")
BROKEN = ApiError(500, "InternalError", "the webhook is not there")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "RESTART_SECONDS", 0.3)


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def request() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return request


def failing_for(seconds: float, error: Exception) -> Callable[[], str]:
    end = time.monotonic() + seconds

    def request() -> str:
        if time.monotonic() < end:
            raise error
        return "answer"

    return request


@pytest.mark.parametrize("error", [AWAY, BUSY, BROKEN])
def test_bears_with_what_passes(error: Exception) -> None:
    assert steadily(failing(error)) == "answer"


def test_does_not_repeat_what_was_refused() -> None:
    with pytest.raises(ApiError, match="no such thing"):
        steadily(failing(ApiError(422, "Invalid", "no such thing")))


def test_waits_as_long_as_the_server_asks_for() -> None:
    begin = time.monotonic()
    steadily(failing(ApiError(429, "TooManyRequests", "later", retry_after=0.25)))
    assert time.monotonic() - begin >= 0.25


def test_is_not_put_off_for_ever_by_a_server() -> None:
    with pytest.raises(ApiError):
        steadily(failing(ApiError(429, "TooManyRequests", "tomorrow", retry_after=86400)))


@pytest.mark.parametrize("error", [AWAY, BUSY, ApiError(503, "ServiceUnavailable", "shutting down")])
def test_a_server_that_is_away_or_busy_is_waited_for_as_long_as_the_jobs(error: Exception) -> None:
    assert Persistence(3.0).steadily(failing_for(0.6, error)) == "answer"
    with pytest.raises(type(error)):
        steadily(failing_for(0.6, error))


def test_a_server_that_is_there_and_fails_is_not() -> None:
    with pytest.raises(ApiError, match="webhook"):
        Persistence(3.0).steadily(failing_for(0.6, BROKEN))


def counting(calls: list[float], error: Exception) -> Callable[[int], None]:
    def request(_item: int) -> None:
        calls.append(time.monotonic())
        raise error

    return request


def told(persistence: Persistence, items: Iterable[int], request: Callable[[int], None]) -> list[str]:
    def attempt(item: int) -> str:
        try:
            persistence.steadily(lambda: request(item))
        except (ApiError, UnreachableError) as error:
            return str(error)
        return ""

    return for_each(items, attempt)


@pytest.mark.parametrize("error", [AWAY, BUSY])
def test_many_requests_give_up_together(error: Exception) -> None:
    calls: list[float] = []
    begin = time.monotonic()
    assert told(Persistence(0.5), range(100), counting(calls, error)) == [str(error)] * 100
    assert time.monotonic() - begin < 2


def test_a_server_that_has_never_answered_is_not_waited_for() -> None:
    persistence = Persistence(9, is_known=False)
    with pytest.raises(UnreachableError):
        persistence.steadily(failing(AWAY))
    assert persistence.steadily(failing(BUSY, AWAY)) == "answer"


def test_a_server_that_was_given_up_is_tried_again_later() -> None:
    persistence = Persistence(0.2)
    with pytest.raises(UnreachableError):
        persistence.steadily(failing_for(9, AWAY))
    with pytest.raises(UnreachableError):
        persistence.steadily(lambda: "nobody asks")
    time.sleep(0.35)
    assert persistence.steadily(lambda: "answer") == "answer"
