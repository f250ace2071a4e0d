from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils import watch
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.watch import Picture, Source

from .fake_api import FakeApi, unreachable

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(watch, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(watch, "LONGEST_PAUSE", 0.02)
    return FakeApi()


def put(api: FakeApi, name: str, **fields: Any) -> None:
    api.put(f"{PODS}/{name}", {"metadata": {"name": name}, **fields})


def see(picture: Picture, condition: Callable[[dict[str, Any]], bool], seconds: float = 5) -> dict[str, Any]:
    for _tick in picture.updates(time.monotonic() + seconds, tick=0.05):
        if condition(picture.objects["pods"]):
            return picture.objects["pods"]
    raise AssertionError(f"not seen: {picture.objects}, trouble: {picture.trouble}")


def watching(api: FakeApi, **source: Any) -> Picture:
    return Picture(api, {"pods": Source(PODS, **source)})


def test_lists_then_follows(api: FakeApi) -> None:
    put(api, "a")
    with watching(api) as picture:
        see(picture, lambda pods: set(pods) == {"a"})
        assert picture.known == {"pods"}
        wait_for_watch(api)
        put(api, "b")
        put(api, "a", phase="Running")
        see(picture, lambda pods: set(pods) == {"a", "b"} and pods["a"].get("phase") == "Running")
        api.drop(f"{PODS}/a")
        see(picture, lambda pods: set(pods) == {"b"})
    assert [verb for verb, _path in api.calls] == ["get", "watch"]


def wait_for_watch(api: FakeApi, count: int = 1) -> None:
    end = time.monotonic() + 5
    while [verb for verb, _path in api.calls].count("watch") < count:
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(
    "how",
    [
        unreachable(),
        ApiError(410, "Expired", "too old"),
        json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "old"}}),
        json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 500, "reason": "x", "message": "broken"}}),
        '{"type": "MODIFI',
    ],
    ids=["broken connection", "410", "410 in the stream", "500 in the stream", "half an object"],
)
def test_mends_itself_with_a_new_list(api: FakeApi, how: Any) -> None:
    put(api, "a")
    put(api, "b")
    with watching(api) as picture:
        see(picture, lambda pods: set(pods) == {"a", "b"})
        wait_for_watch(api)
        # What happens while nobody watches is seen by the LIST.
        with api._lock:
            if isinstance(how, ApiError):
                api.failures[PODS] = [how]
                api.break_watches(PODS)
            else:
                api.break_watches(PODS, how)
            api.drop(f"{PODS}/a")
            put(api, "c")
        see(picture, lambda pods: set(pods) == {"b", "c"})
    assert [verb for verb, _path in api.calls].count("get") == 2


def test_a_watch_that_ends_in_order_goes_on_without_a_list(api: FakeApi) -> None:
    put(api, "a")
    with watching(api) as picture:
        see(picture, lambda pods: set(pods) == {"a"})
        wait_for_watch(api)
        api.break_watches(PODS)
        wait_for_watch(api, 2)
        put(api, "b")
        see(picture, lambda pods: set(pods) == {"a", "b"})
    assert [verb for verb, _path in api.calls] == ["get", "watch", "watch"]


def test_outlives_an_api_server_that_is_away(api: FakeApi) -> None:
    put(api, "a")
    with watching(api) as picture:
        see(picture, lambda pods: set(pods) == {"a"})
        wait_for_watch(api)
        with api._lock:
            api.failures[PODS] = [unreachable() for _ in range(5)] + [ApiError(503, "ServiceUnavailable", "starting")]
            api.break_watches(PODS, unreachable())
            put(api, "b")
        for _tick in picture.updates(time.monotonic() + 5, tick=0.05):
            if picture.trouble:
                break
        assert "Connection refused" in picture.trouble["pods"] or "starting" in picture.trouble["pods"]
        see(picture, lambda pods: set(pods) == {"a", "b"})
        assert picture.trouble == {}


def test_a_server_that_has_not_read_its_rules_yet_is_borne_with(api: FakeApi) -> None:
    put(api, "a")
    with watching(api) as picture:
        see(picture, lambda pods: set(pods) == {"a"})
        wait_for_watch(api)
        with api._lock:
            api.failures[PODS] = [ApiError(403, "Forbidden", "no rules yet"), ApiError(401, "Unauthorized", "no keys")]
            api.break_watches(PODS, unreachable())
            put(api, "b")
        see(picture, lambda pods: set(pods) == {"a", "b"})


def test_rights_that_are_taken_away_are_an_error_in_the_end(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RESTART_SECONDS", 0.2)
    with watching(api) as picture, pytest.raises(ApiError, match="not any more"):
        wait_for_watch(api)
        api.failures[PODS] = [ApiError(403, "Forbidden", "not any more") for _ in range(999)]
        api.break_watches(PODS, unreachable())
        see(picture, lambda pods: False)


def test_a_server_says_when_to_come_again(api: FakeApi) -> None:
    api.failures[PODS] = [ApiError(429, "TooManyRequests", "too many requests", retry_after=0.5)]
    put(api, "a")
    begin = time.monotonic()
    with watching(api) as picture:
        see(picture, lambda pods: set(pods) == {"a"})
    assert time.monotonic() - begin >= 0.5


def test_a_forbidden_source_is_an_error(api: FakeApi) -> None:
    api.failures[PODS] = [ApiError(403, "Forbidden", "pods is forbidden")]
    with watching(api) as picture, pytest.raises(ApiError, match="forbidden"):
        see(picture, lambda pods: False)


def test_a_forbidden_optional_source_is_skipped(api: FakeApi) -> None:
    api.failures[PODS] = [ApiError(403, "Forbidden", "pods is forbidden")]
    with watching(api, optional=True) as picture:
        for _tick in picture.updates(time.monotonic() + 5, tick=0.05):
            if picture.skipped:
                break
        assert picture.skipped == {"pods": "pods is forbidden"}
        assert picture.known == {"pods"}


def test_an_error_of_our_own_is_not_swallowed(api: FakeApi) -> None:
    with watching(api) as picture:
        wait_for_watch(api)
        api.break_watches(PODS, '{"type": "ADDED", "object": {}}')
        with pytest.raises(KeyError):
            see(picture, lambda pods: False)


def test_a_change_is_seen_at_once_and_the_deadline_is_kept(api: FakeApi) -> None:
    with watching(api) as picture:
        wait_for_watch(api)
        timer = threading.Timer(0.1, put, (api, "a"))
        begin = time.monotonic()
        timer.start()
        see(picture, lambda pods: "a" in pods)
        assert time.monotonic() - begin < 0.4
        begin = time.monotonic()
        ticks = sum(1 for _tick in picture.updates(begin + 0.3, tick=0.1))
        assert 0.25 < time.monotonic() - begin < 0.6
        assert ticks >= 2
