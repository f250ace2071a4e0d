from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    duration_of,
    has_started,
    is_at_rest,
    own_pods,
    parse_time,
    replica_table,
    state_of,
)

from .builders import NOW, ended, pod, running, tf_job, waiting


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ((), "Pending"),
        (("Created",), "Created"),
        (("Created", "Running"), "Running"),
        (("Running", "Created"), "Running"),
        (("Created", "Restarting"), "Restarting"),
        (("Succeeded", "Created"), "Succeeded"),
        (("Created", "Succeeded", "Failed"), "Failed"),
    ],
)
def test_the_strongest_condition_is_the_state(conditions: tuple[str, ...], state: str) -> None:
    assert state_of(TFJOB, tf_job(conditions=conditions)) == state


def test_only_a_true_condition_counts() -> None:
    job = tf_job(conditions=("Created", "Running"))
    job["status"]["conditions"][1]["status"] = "False"
    assert state_of(TFJOB, job) == "Created"


@pytest.mark.parametrize("status", [None, {}, {"conditions": None}, {"conditions": ["odd"]}, []])
def test_an_odd_status_is_pending(status: Any) -> None:
    job = tf_job()
    job["status"] = status
    assert state_of(TFJOB, job) == "Pending"


@pytest.mark.parametrize(
    ("conditions", "suspend", "rests"),
    [
        (("Succeeded",), False, True),
        (("Failed",), False, True),
        (("Running",), False, False),
        (("Suspended",), True, True),
        # Resumed, but the operator has not got to it.
        (("Suspended",), False, False),
    ],
)
def test_knows_when_nothing_more_happens(conditions: tuple[str, ...], suspend: bool, rests: bool) -> None:
    assert is_at_rest(TFJOB, tf_job(conditions=conditions, run_policy={"suspend": suspend})) is rests


def test_duration() -> None:
    job = tf_job()
    assert duration_of(TFJOB, job) is None
    job["status"] = {"startTime": "2026-01-02T23:59:30Z", "completionTime": "2026-01-03T00:01:00Z"}
    assert duration_of(TFJOB, job) == 90


def test_times() -> None:
    assert parse_time("1970-01-02T00:00:00Z") == 86400
    assert parse_time("2026-01-02T03:04:05.123456Z") == parse_time(NOW)
    assert parse_time(None) is None


def test_pods_of_a_former_job_are_not_ours() -> None:
    pods = {"a": pod("a"), "b": pod("b", owner="uid-0"), "c": {"metadata": {"name": "c"}}}
    assert list(own_pods(tf_job(), pods)) == ["a"]


@pytest.mark.parametrize(
    ("state", "last_state", "started"),
    [
        (running(), {}, True),
        (ended(1), {}, True),
        (waiting("ContainerCreating"), {}, False),
        (waiting("CrashLoopBackOff"), ended(1), True),
        # An image whose command does not exist never started.
        ({"terminated": {"exitCode": 128, "reason": "StartError"}}, {}, False),
    ],
)
def test_started(state: Any, last_state: Any, started: bool) -> None:
    assert has_started(TFJOB, pod("p", state, last_state=last_state)) is started


def test_table_has_a_row_for_each_replica() -> None:
    pods = {
        "mnist-chief-0": pod("mnist-chief-0", ended(0), phase="Succeeded"),
        "mnist-ps-0": pod("mnist-ps-0", running()),
        "mnist-worker-0": pod("mnist-worker-0", waiting("ImagePullBackOff"), phase="Pending", restarts=1),
    }
    rows = {row["replica"]: row for row in replica_table(TFJOB, tf_job(), pods)}
    assert list(rows) == ["chief-0", "worker-0", "worker-1", "ps-0"]
    assert rows["chief-0"] == {
        "replica": "chief-0",
        "role": "chief",
        "index": 0,
        "pod": "mnist-chief-0",
        "phase": "Succeeded",
        "node": "node-1",
        "started": NOW,
        "finished": NOW,
        "exit_code": 0,
        "reason": "Completed",
        "restarts": 0,
    }
    assert (rows["ps-0"]["phase"], rows["ps-0"]["started"], rows["ps-0"]["exit_code"]) == ("Running", NOW, None)
    assert (rows["worker-0"]["reason"], rows["worker-0"]["restarts"]) == ("ImagePullBackOff", 1)
    assert (rows["worker-1"]["phase"], rows["worker-1"]["pod"]) == (None, "mnist-worker-1")
