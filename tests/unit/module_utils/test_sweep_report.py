from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import compile_pattern
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pages import as_json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.sweep import Run, assess, runs_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.sweep_report import (
    curves_of,
    document_of,
    report_html,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from .test_report import TEXT, Page
from .test_sweep import ACCURACY, row

PATTERNS = {"accuracy": compile_pattern(r"step=(?P<step>\d+) accuracy=(?P<value>\S+)")}
GRID = {"rate": [0.01, 0.1, 1.0], "optimizer": ["sgd", "adam"]}


def document(grid: Any = GRID, values: tuple[float | None, ...] = (0.5, 0.6, 0.9, None, 0.7, 0.8)) -> Json:
    runs = runs_of("lr", grid)
    rows = [
        row(run.name, value) if value is not None else {"name": run.name, "state": "Failed", "msg": "exit code 137"}
        for run, value in zip(runs, values, strict=False)
    ]
    curves = {"accuracy": [{"run": run.name, "values": [0.1, 0.5], "epochs": [], "steps": ["1", "2"]} for run in runs]}
    return document_of("lr", ACCURACY, assess(runs, rows, ACCURACY), curves, {"matplotlib": "3"})


def test_the_page_tells_all() -> None:
    page = Page(report_html(document()))
    assert page.tags.count("h1") == 1
    # The objective over each parameter, and the curves.
    assert len(page.images) == 2
    for text in (
        "✗ failed",
        "lr-3 (rate=0.1, optimizer=sgd)",
        "★ lr-3",
        "maximize the final accuracy",
        "6, of which 1 failed",
        "lr-4 (rate=0.1, optimizer=adam)",
        "exit code 137",
    ):
        assert text in page.text
    assert page.text.count("★") == 1
    assert document()["best"]["parameters"] == {"rate": 0.1, "optimizer": "sgd"}


def test_without_pictures_the_page_has_all_else() -> None:
    page = Page(report_html(document(), with_pictures=False))
    assert page.images == []
    assert "★ lr-3" in page.text


def test_without_metrics_there_is_no_picture_and_no_best() -> None:
    runs = runs_of("lr", GRID)
    assessed = assess(runs, [row(run.name) for run in runs], ACCURACY)
    seen = document_of("lr", ACCURACY, assessed, {}, {})
    page = Page(report_html(seen))
    assert (seen["best"], seen["passed"], page.images) == (None, True, [])
    assert "none has a value" in page.text
    assert "lr-6" in page.text


def test_equal_documents_give_equal_bytes() -> None:
    assert report_html(document()) == report_html(document())
    assert as_json(document()) == as_json(document())


@settings(max_examples=6, deadline=None)
@given(TEXT, TEXT, TEXT)
def test_what_others_have_written_stays_text(name: str, value: str, message: str) -> None:
    strange = document({name: [value, value + "x"]}, (0.5, None))
    strange["runs"][-1]["msg"] = message
    page = Page(report_html(strange))
    assert set(page.tags) <= set(Page(report_html(document())).tags)
    assert not {attribute for attribute, _value in page.attributes if attribute.startswith("on")}
    assert json.loads(as_json(strange)) == strange


@settings(max_examples=10, deadline=None)
@example([0, 5e-324, sys.float_info.max], [-sys.float_info.max, 0, sys.float_info.max])
@example([1e-300, 1, 1e300], [1, 1, 1])
@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3), min_size=2, max_size=9, unique_by=str
    ),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=9, max_size=9),
)
def test_any_runs_can_be_drawn(parameters: list[Any], values: list[float]) -> None:
    count = min(len(parameters), len(values))
    assert len(Page(report_html(document({"p": parameters[:count]}, tuple(values[:count])))).images) == 2


def test_a_secret_in_a_message_is_hidden() -> None:
    rows = [{"name": "lr-1", "state": "Failed", "msg": "last lines of its log:\n  API_TOKEN=abcdef123456"}]
    seen = document_of("lr", ACCURACY, assess([Run("lr-1", {"a": 1})], rows, ACCURACY), {}, {})
    assert "abcdef123456" not in as_json(seen) + report_html(seen)


# -- the curves


def logs(directory: Path, run: str, **replicas: str) -> list[str]:
    paths = []
    for replica, text in replicas.items():
        path = directory / run / f"{replica.replace('_', '-')}.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        paths.append(str(path))
    return paths


def test_curves_come_from_the_replica_that_decides(tmp_path: Path) -> None:
    files = logs(tmp_path, "lr-1", ps_0="step=1 accuracy=7\n", chief_0="step=1 accuracy=0.5\nstep=2 accuracy=0.75\n")
    rows = [row("lr-1", 0.75, log_files=files), row("lr-2", 0.5)]
    assessed = assess([Run("lr-1", {"a": 1}), Run("lr-2", {"a": 2})], rows, ACCURACY)
    assert curves_of(assessed, rows, PATTERNS) == {
        "accuracy": [{"run": "lr-1", "values": [0.5, 0.75], "epochs": [None, None], "steps": ["1", "2"]}]
    }


def test_curves_are_those_of_the_best_runs(tmp_path: Path) -> None:
    runs = runs_of("lr", {"a": list(range(20))})
    rows = [
        row(run.name, float(number), log_files=logs(tmp_path, run.name, master_0="step=1 accuracy=1\n"))
        for number, run in enumerate(runs)
    ]
    curves = curves_of(assess(runs, rows, ACCURACY), rows, PATTERNS)
    assert [series["run"] for series in curves["accuracy"]] == [f"lr-{number}" for number in range(20, 8, -1)]


def test_a_log_without_the_metric_has_no_curve(tmp_path: Path) -> None:
    rows = [row("lr-1", log_files=logs(tmp_path, "lr-1", worker_0="\x00\nnothing\n"))]
    assert curves_of(assess([Run("lr-1", {"a": 1})], rows, ACCURACY), rows, PATTERNS) == {}


def test_a_log_that_is_elsewhere_is_told() -> None:
    rows = [row("lr-1", log_files=["/nowhere/worker-0.log"])]
    with pytest.raises(FileNotFoundError, match=r"/nowhere/worker-0\.log"):
        curves_of(assess([Run("lr-1", {"a": 1})], rows, ACCURACY), rows, PATTERNS)
