"""playbooks/sweep.yaml, whose jobs run on simulated nodes: these have states and durations, but no logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import CHECKOUT, SIMULATED, Playbook, Task, wait_for
from .jobs import KINDS, Kind

Sweep = Callable[..., Playbook]


@pytest.fixture
def sweep(tmp_path: Path, kubeconfig: str, namespace: str) -> Sweep:
    """Starts the playbook with variables of a small sweep, or others."""

    def sweep(kind: Kind, *arguments: str, **others: Any) -> Playbook:
        variables = {
            "mlstack_kubeconfig": kubeconfig,
            "sweep_name": "rates",
            "sweep_kind": kind.kind,
            "sweep_namespace": namespace,
            "sweep_job": {"image": "example.com/trainer:1", "replicas": {kind.leader: {}}, **SIMULATED},
            "sweep_parameters": {"learning-rate": [0.01, 0.1, 1]},
            "sweep_metrics": {"accuracy": r"accuracy=(?P<value>\S+)"},
            "sweep_objective": {"metric": "accuracy", "goal": "maximize"},
            "sweep_report_directory": str(tmp_path / "report"),
            **others,
        }
        path = tmp_path / "variables.json"
        path.write_text(json.dumps(variables))
        inventory = CHECKOUT / "inventories/test/hosts.ini"
        return Playbook(tmp_path, "-i", inventory, CHECKOUT / "playbooks/sweep.yaml", "-e", f"@{path}", *arguments)

    return sweep


def named(tasks: list[Task], name: str) -> Task:
    return next(task for task in tasks if task.name == name)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
def test_runs_are_made_in_turn_and_compared(
    kind: Kind, sweep: Sweep, kubelet: Any, custom: Any, namespace: str
) -> None:
    playbook = sweep(kind)
    kubelet.wait_until_running("rates-1", 1)
    kubelet.wait_until_running("rates-2", 1)
    # Two at a time.
    assert kubelet.pods("rates-3") == {}
    (pod,) = kubelet.pods("rates-2").values()
    assert pod.spec.containers[0].args == ["--learning-rate=0.1"]
    kubelet.end(pod.metadata.name, 1)
    kubelet.wait_until_running("rates-3", 1)
    for job in ("rates-1", "rates-3"):
        kubelet.end(f"{job}-{kind.leader}-0")
    tasks = playbook.finish()

    # One has failed, which is told last and keeps no other out of the report.
    compared = named(tasks, "Compare the runs")
    assert [row["name"] for row in compared["failed_runs"]] == ["rates-2"]
    assert [line.split()[:3] for line in compared["table"][1:]] == [
        ["rates-1", "0.01", "Succeeded"],
        ["rates-2", "0.1", "Failed"],
        ["rates-3", "1", "Succeeded"],
    ]
    assert compared["best"] is None
    assert "rates-2 (learning-rate=0.1)" in Path(compared["report"]["html"]).read_text()
    assert [task.name for task in tasks if task.failed] == ["Check that no run failed"]
    assert "1 of 3 runs failed: rates-2." in tasks[-1]["msg"]

    again = sweep(kind, sweep_on_failed="fail").finish()
    runs = named(again, f"Run the {kind.kind}s")
    assert not runs["changed"]
    assert named(again, "Compare the runs")["table"] == compared["table"]

    # What failed can be run again, alone.
    playbook = sweep(kind, sweep_on_failed="recreate")
    wait_for(lambda: [pod.status.phase for pod in kubelet.pods("rates-2").values()] == ["Running"], 60)
    kubelet.end(f"rates-2-{kind.leader}-0")
    mended = playbook.finish()
    assert not any(task.failed for task in mended)
    assert [row["changed"] for row in named(mended, f"Run the {kind.kind}s")["jobs"]] == [False, True, False]

    removed = sweep(kind, sweep_state="absent").finish()
    assert not any(task.failed for task in removed)
    assert custom.list_namespaced_custom_object(*kind.api, namespace, kind.plural)["items"] == []


def test_check_mode_makes_nothing(sweep: Sweep, custom: Any, namespace: str, tmp_path: Path) -> None:
    tasks = sweep(KINDS[0], "--check").finish()
    assert not any(task.failed for task in tasks)
    assert named(tasks, "Run the TFJobs")["changed"]
    assert custom.list_namespaced_custom_object("kubeflow.org", "v1", namespace, "tfjobs")["items"] == []
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sweep_kind": "Job"}, "sweep_kind"),
        ({"sweep_objective": {"metric": "accuracy"}}, "goal"),
        ({"sweep_objective": {"metric": "loss", "goal": "minimize"}}, "'loss' is not in sweep_metrics (accuracy)"),
        ({"sweep_parameters": {"learning-rate": 0.1}}, "parameters.learning-rate: 0.1 is no list of values"),
        ({"sweep_job": {"image": "x", "replicas": {"worker": {}}, "imgae": "y"}}, "imgae"),
        ({"sweep_metrics": {"accuracy": "x"}}, "metrics.accuracy: 'x' has no group named value"),
    ],
)
def test_wrong_variables_end_at_once(
    sweep: Sweep, wrong: dict[str, Any], message: str, custom: Any, namespace: str
) -> None:
    tasks = sweep(KINDS[0], **wrong).finish()
    assert tasks[-1].failed
    assert message in yaml.safe_dump(tasks[-1].result, width=1000).replace("''", "'")
    assert custom.list_namespaced_custom_object("kubeflow.org", "v1", namespace, "tfjobs")["items"] == []
