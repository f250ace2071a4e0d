"""sweep_report from its options to its files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.modules import sweep_report
from module_utils.test_report import Page
from module_utils.test_sweep import row
from module_utils.test_sweep_report import logs

from .conftest import Call

PARAMETERS = {"rate": [0.01, 0.1]}


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    text = "step=1 accuracy=0.5\nstep=2 accuracy=0.75\n"
    return {
        "name": "lr",
        "parameters": PARAMETERS,
        "jobs": [
            row("lr-1", 0.5, log_files=logs(tmp_path, "lr-1", worker_0=text)),
            row("lr-2", 0.75, log_files=logs(tmp_path, "lr-2", worker_0=text)),
        ],
        "objective": {"metric": "accuracy", "goal": "maximize"},
        "metrics": {"accuracy": r"step=(?P<step>\d+) accuracy=(?P<value>\S+)"},
        "directory": str(tmp_path / "report"),
    }


def test_the_report_is_written_once(call: Call, options: dict[str, Any], tmp_path: Path) -> None:
    checked = call(sweep_report, check_mode=True, **options)
    assert not (tmp_path / "report").exists()
    made, again = (call(sweep_report, **options) for _time in range(2))
    assert [result["changed"] for result in (checked, made, again)] == [True, True, False]
    assert made["best"]["name"] == "lr-2"
    assert made["best"]["parameters"] == {"rate": 0.1}
    assert made["failed_runs"] == []
    assert made["table"][1].startswith("lr-2  0.1   Succeeded  0.75")
    assert len(Page(Path(made["report"]["html"]).read_text()).images) == 2
    document = json.loads(Path(made["report"]["json"]).read_text())
    assert document["best"] == made["best"]
    assert document["curves"]["accuracy"][0]["values"] == [0.5, 0.75]


def test_failed_runs_are_told(call: Call, options: dict[str, Any]) -> None:
    options["jobs"][1] = {"name": "lr-2", "state": "Failed", "msg": "exit code 137"}
    result = call(sweep_report, **options)
    assert "failed" not in result
    assert result["best"]["name"] == "lr-1"
    (failed,) = result["failed_runs"]
    assert failed == {"name": "lr-2", "parameters": {"rate": 0.1}, "state": "Failed", "msg": "exit code 137"}


def test_without_the_drawing_library_there_are_no_pictures(
    call: Call, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = call(sweep_report, **options)
    assert Page(Path(result["report"]["html"]).read_text()).images == []
    (warning,) = result["warnings"]
    assert "The report has no pictures: " in warning
    assert "pip install matplotlib" in warning


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"parameters": {"rate": [1, 2, 3]}}, "missing: lr-3, unknown: none"),
        ({"parameters": {"rate": 1}}, "parameters.rate: 1 is no list of values"),
        ({"metrics": {"accuracy": "("}}, "metrics.accuracy: '(' is not a regular expression"),
        ({"metrics": {"accuracy": "x"}}, "metrics.accuracy: 'x' has no group named value"),
        ({"directory": "/dev/null/report"}, "directory: cannot be written to '/dev/null/report'"),
        ({"jobs": [row("lr-1", log_files=["/nowhere/worker-0.log"]), row("lr-2")]}, "/nowhere/worker-0.log"),
        ({"objective": {"metric": "accuracy", "goal": "up"}}, "minimize, maximize"),
    ],
)
def test_wrong_options_are_told(call: Call, options: dict[str, Any], wrong: dict[str, Any], message: str) -> None:
    result = call(sweep_report, **{**options, **wrong})
    assert result["failed"]
    assert message in result["msg"]
