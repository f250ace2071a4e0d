"""The parts of the benchmarks that need no cluster: arguments, counting, reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import report, stack
from benchmarks.__main__ import Results, case, chosen
from benchmarks.cluster import Requests
from benchmarks.jobs import Jobs, described, manifest
from benchmarks.tools import PING, TFJOB

METRICS = """\
# HELP apiserver_request_total Counter of requests
apiserver_request_total{code="200",dry_run="",resource="tfjobs",verb="LIST"} 3
apiserver_request_total{code="201",dry_run="",resource="tfjobs",verb="POST"} 20
apiserver_request_total{code="409",dry_run="",resource="tfjobs",verb="POST"} 1
apiserver_request_total{code="201",dry_run="All",resource="pods",verb="POST"} 2
apiserver_request_total{code="200",dry_run="",resource="leases",verb="PUT"} 1.2e+01
apiserver_request_duration_seconds_count{resource="tfjobs",verb="POST"} 99
"""


def runs(first: float, **second: Any) -> list[dict[str, Any]]:
    return [{"first": first + offset, **second} for offset in (0.5, 0.0, -0.1)]


@pytest.fixture
def results() -> dict[str, dict[str, Any]]:
    unchanged = {"second": 1.5, "requests": {"LIST": 1}, "dry_runs": 0, "all_requests": 12}
    polled = {"second": 9.0, "requests": {"GET": 500, "PATCH": 500}, "dry_runs": 0, "all_requests": 1020}
    return {
        "machine": {"facts": {"Processor": "2 cores", "Kubernetes": "v1"}, "commands": {"SDK": "python sdk.py"}},
        "start": {case(PING, 20): [1.5], case(PING, 500): [1.0, 1.1, 1.2], "idle": 2.5},
        "submit": {
            case("raw client", 500): runs(1.0),
            case("k8s (list)", 500): runs(11.0, **polled),
            case("k8s (loop)", 20): runs(14.0, **polled),
            case(TFJOB, 20): runs(1.4, **unchanged),
            case(TFJOB, 500): runs(3.0, **unchanged),
        },
        "notice": {
            case("tfjob", "Succeeded"): [{"answer": 0.15, "exit": 0.3}],
            case("tfjob", "Failed"): [{"answer": 0.35, "exit": 0.5}],
            case("kubectl wait", "Succeeded"): [{"answer": 0.02, "exit": 0.02}],
            case("kubectl wait", "Failed"): [{"answer": None, "exit": None}],
        },
        "memory": {case(TFJOB, 500): 2048 * 100},
        "follow": {"1000": {"looks": [1024 * 90, 1024 * 90, 1024 * 91, 1024 * 91, 1024 * 91], "peak": 1024 * 92}},
    }


def test_arguments_are_parsed() -> None:
    choice = chosen(["--kubeconfig", "/x/admin.kubeconfig", "--jobs", "20,100", "--only", "submit,memory"])
    assert (choice.jobs, choice.only) == ((20, 100), ("submit", "memory"))
    assert choice.kubectl == Path("/x/bin/kubectl")


@pytest.mark.parametrize("option", [["--only", "sbumit"], ["--tools", "helm"], ["--jobs", "many"]])
def test_arguments_that_are_wrong_are_named(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        chosen(["--kubeconfig", "x", *option])
    assert option[0] in capsys.readouterr().err


def test_requests_are_counted_by_resource_and_verb() -> None:
    requests = Requests.read(METRICS)
    assert requests.by_verb("tfjobs") == {"LIST": 3, "POST": 21}
    assert requests.by_verb("pods") == {"POST (dry run)": 2}
    later = Requests.read(METRICS.replace('verb="LIST"} 3', 'verb="LIST"} 4'))
    assert later.since(requests) == {("tfjobs", "LIST"): 1}


def test_goals_are_judged_by_their_own_numbers(results: dict[str, dict[str, Any]]) -> None:
    judged = {line.split(" | ")[0].strip("| "): line for line in report.goals(results).splitlines()[2:]}
    missed = [goal for goal, line in judged.items() if "missed" in line]
    assert len(judged) == 8
    assert missed == [
        "500 jobs by `src`, to raw client and Ansible's start",
        "Failed to the answer, s",
        "500 jobs: times as fast as k8s (list)",
    ]
    assert "1.43" in judged[missed[0]]


def test_report_contains_losses_and_missed_states(results: dict[str, dict[str, Any]]) -> None:
    text = report.text(results, "images/plot.svg")
    assert "- N = 500: raw client (3.0 times)" in text
    assert "- N = 20: nobody" in text
    assert "| kubectl wait | 0.02 | 0.02 | never | never |" in text
    assert "| 1000 | 90 | 90 | 91 | 91 | 91 | 92 |" in text
    widths = [
        {line.count(" | ") for line in block.splitlines() if line.startswith("|")} for block in text.split("\n\n")
    ]
    assert all(len(width) <= 1 for width in widths)


def test_report_of_a_part_contains_that_part_only(results: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    report.write({"follow": results["follow"]}, path)
    assert [line for line in path.read_text().splitlines() if line.startswith("## ")] == [
        "## Memory while jobs are followed"
    ]
    assert not (tmp_path / "images").exists()


def test_plot_is_reproducible(results: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        report.draw(results, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_results_are_kept_and_replaced_one_by_one(tmp_path: Path) -> None:
    first = Results(tmp_path / "results.json")
    first.keep("memory", "a | 1", 5)
    first.keep("memory", "b | 1", 6)
    second = Results(tmp_path / "results.json")
    second.keep("memory", "a | 1", 7)
    assert Results(tmp_path / "results.json") == {"memory": {"a | 1": 7, "b | 1": 6}}


def test_jobs_have_the_same_names_in_every_form(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, "space", [manifest("space", number) for number in range(3)])
    names = [one["metadata"]["name"] for one in yaml.safe_load_all(jobs.yaml.read_text())]
    assert names == [one["metadata"]["name"] for one in map(yaml.safe_load, jobs.lines.read_text().splitlines())]
    assert names == [one["name"] for one in described(3)["jobs"]]


PROFILE = """\
localhost                  : ok=5    changed=0    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0

TASKS RECAP ********************************************************************
Saturday 28 November 2026  22:00:06 +0000 (0:00:00.013)       0:00:00.706 *****
===============================================================================
mlstack.kubernetes.supply : Ask whether upstream answers -- 0.61s
registry : Verify | an image - any - is pulled on every node, as a pod would have it pulled --- 2.50s
Train with TensorFlow --------------------------------------------------- 0.39s
Playbook run took 0 days, 0 hours, 0 minutes, 0 seconds
"""


def test_stack_report_shows_time_by_role_and_task() -> None:
    tasks = stack.tasks_of(PROFILE)
    assert tasks == [
        stack.Task("supply", "Ask whether upstream answers", 0.61),
        stack.Task("registry", "Verify | an image - any - is pulled on every node, as a pod would have it pulled", 2.5),
        stack.Task(stack.PLAYBOOK, "Train with TensorFlow", 0.39),
    ]
    runs = [stack.Measured(wall, tasks) for wall in (70.0, 59.0, 40.0)]
    page = stack.report(stack.Measured(300.0, []), runs)
    assert "| unchanged, median of 3 | 59.0 | 60: met |" in page
    assert page.index("| registry | 1 | 2.5 | 71% |") < page.index("| supply | 1 | 0.6 | 17% |")
    assert r"| registry | Verify \| an image - any -" in page
    assert "60: **missed**" in stack.report(runs[0], runs[:1])
