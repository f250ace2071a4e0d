"""What a TensorBoard says, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.tensorboard import (
    TensorBoard,
    TensorBoardError,
    Wanted,
    wait_for_scalars,
)

SERVICE = "/api/v1/namespaces/ml/services/tensorboard:6006/proxy"
TAGS = "/data/plugin/scalars/tags"
POINTS = "/data/plugin/scalars/scalars"
LOSS = Wanted("mnist/logs", "loss", falls=True)


class Proxy:
    """An API server that leads to a TensorBoard, whose answers become others with every second."""

    def __init__(self, *moments: dict[str, Any], prefix: str = "") -> None:
        self._moments = list(moments)
        self._path = SERVICE + prefix
        self.now = 0.0

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        assert path.startswith(self._path), path
        answers = self._moments[min(int(self.now), len(self._moments) - 1)]
        answer = answers[path.removeprefix(self._path)]
        if isinstance(answer, Exception):
            raise answer
        return answer.get((query["run"], query["tag"]), []) if query else answer

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"only get is called, not {name}")


def shown(*values: object, run: str = "mnist/logs", tag: str = "loss") -> dict[str, Any]:
    points = [[1795633599.7, step, value] for step, value in enumerate(values, 1)]
    return {TAGS: {run: {tag: {"displayName": ""}}}, POINTS: {(run, tag): points}}


def ask(proxy: Proxy, *wanted: Wanted, timeout: float = 3, prefix: str = "") -> Any:
    def sleep(seconds: float) -> None:
        proxy.now += seconds

    board = TensorBoard(proxy, "ml", "tensorboard", "6006", prefix)
    return wait_for_scalars(board, wanted, timeout, clock=lambda: proxy.now, sleep=sleep)


def test_a_falling_loss_is_found() -> None:
    tags, [scalar] = ask(Proxy(shown(0.9, 0.5, 0.1)), LOSS)
    assert tags == {"mnist/logs": ["loss"]}
    assert (scalar.steps, scalar.values) == ([1, 2, 3], [0.9, 0.5, 0.1])
    assert {key: scalar.summary()[key] for key in ("points", "first", "last")} == {
        "points": 3,
        "first": 0.9,
        "last": 0.1,
    }


def test_a_path_prefix_leads_the_path() -> None:
    assert ask(Proxy(shown(0.9, 0.1), prefix="/tensorboard"), LOSS, prefix="/tensorboard/")


def test_nothing_wanted_is_found_where_there_are_no_runs() -> None:
    assert ask(Proxy({TAGS: {}})) == ({}, [])


@pytest.mark.parametrize(
    "earlier",
    [
        {TAGS: UnreachableError("no answer in time.")},
        {TAGS: ApiError(503, "ServiceUnavailable", 'no endpoints available for service "tensorboard:6006"')},
        {TAGS: {}},
        shown(0.9, 0.1, tag="accuracy"),
        shown(0.9, 0.5),
        {**shown(0.9), POINTS: ApiError(404, "Not Found", "No scalar data")},
    ],
)
def test_what_is_yet_to_come_is_waited_for(earlier: dict[str, Any]) -> None:
    proxy = Proxy(earlier, earlier, shown(0.9, 0.5, 0.1))
    assert ask(proxy, Wanted("mnist/logs", "loss", last=0.1))[1][0].values == [0.9, 0.5, 0.1]
    assert proxy.now == 2


@pytest.mark.parametrize(
    ("answers", "wanted", "message"),
    [
        (shown(0.1, 0.9), LOSS, "wanted it to fall, saw 0.1 as the mean of the first 1 of 2 values and 0.9"),
        (shown(0.1), LOSS, "wanted it to fall, saw a single value"),
        (shown(0.9, 0.1), Wanted("mnist/logs", "loss", rises=True), "wanted it to rise"),
        (shown(0.9, 0.1), Wanted("mnist/logs", "loss", last=0.2), "ends with 0.1, and the training with 0.2."),
        (shown(0.9, "NaN"), LOSS, "has 1 values that are no finite numbers"),
        (shown(), LOSS, "has no points"),
        (
            shown(0.9),
            Wanted("mnist/logs", "accuracy"),
            "'accuracy' of the run 'mnist/logs' is not there; that run has",
        ),
        (shown(0.9), Wanted("digits", "loss"), "the runs are mnist/logs."),
        ({TAGS: {}}, LOSS, "the runs are none."),
    ],
)
def test_what_does_not_come_is_told(answers: dict[str, Any], wanted: Wanted, message: str) -> None:
    with pytest.raises(TensorBoardError) as told:
        ask(Proxy(answers), wanted)
    assert str(told.value).startswith("the Service ml/tensorboard did not show what is wanted within 3 s: ")
    assert message in str(told.value)


def test_many_runs_are_counted() -> None:
    with pytest.raises(TensorBoardError, match=r"r0, r1, .* and 4 more"):
        ask(Proxy({TAGS: {f"r{number}": {} for number in range(12)}}), LOSS)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ApiError(404, "NotFound", 'services "tensorboard" not found'), 'cannot be used: services "tensorboard"'),
        (ApiError(403, "Forbidden", "services/proxy is forbidden"), "cannot be used: services/proxy is forbidden"),
        (ValueError("no JSON"), "is no TensorBoard: what it answers is no JSON"),
        (["loss"], "is no TensorBoard: it answers /data/plugin/scalars/tags with ['loss']"),
    ],
)
def test_what_waiting_does_not_help_is_told_at_once(answer: Any, message: str) -> None:
    proxy = Proxy({TAGS: answer})
    with pytest.raises(TensorBoardError) as told:
        ask(proxy, LOSS)
    assert message in str(told.value)
    assert proxy.now == 0


def test_values_of_single_precision_are_the_ones_in_the_log() -> None:
    assert ask(Proxy(shown(2.0, 0.03124999)), Wanted("mnist/logs", "loss", last=0.0312))
