from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.diagnosis import (
    diagnose,
    explain_exit,
    fold_events,
    message_of,
    tail_of_log,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import Stuck

from .builders import ended, event, pod, running, tf_job
from .fake_api import FakeApi


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (1, "Error", "exit code 1"),
        (127, "Error", "not found in the image"),
        (137, "OOMKilled", "more memory than its limit"),
        (137, "Error", "SIGKILL"),
        (139, "Error", "SIGSEGV"),
        (143, "Error", "SIGTERM"),
        (255, "Error", "exit code 255"),
    ],
)
def test_explains_exit_codes(code: int, reason: str, words: str) -> None:
    assert words in explain_exit(code, reason)


def failed_job() -> tuple[Any, dict[str, Any]]:
    late = ended(1)
    late["terminated"]["finishedAt"] = "2026-01-02T03:05:00Z"
    pods = {
        "mnist-worker-1": pod("mnist-worker-1", late, phase="Failed"),
        "mnist-worker-0": pod("mnist-worker-0", ended(137, "OOMKilled"), phase="Failed"),
        "mnist-ps-0": pod("mnist-ps-0", running()),
    }
    return tf_job(conditions=("Created", "Failed")), pods


def test_the_first_failure_comes_first() -> None:
    job, pods = failed_job()
    diagnosis = diagnose(TFJOB, job, pods, [], {"mnist-worker-0": ["step 1", "step 2"]})
    assert [cause["replica"] for cause in diagnosis["causes"]] == ["worker-0", "worker-1"]
    assert diagnosis["causes"][0] == {
        "replica": "worker-0",
        "pod": "mnist-worker-0",
        "node": "node-1",
        "container": "tensorflow",
        "reason": "OOMKilled",
        "message": "exit code 137: killed because it used more memory than its limit",
        "exit_code": 137,
        "finished": "2026-01-02T03:04:05Z",
        "log": ["step 1", "step 2"],
    }
    assert diagnosis["state"] == "Failed"
    assert diagnosis["condition"] == {"type": "Failed", "reason": "TFJobFailed", "message": "It is Failed."}
    assert diagnosis["cure"] == "Raise the memory limit, or lower the batch size."


def test_one_readable_message() -> None:
    job, pods = failed_job()
    events = [event("BackOff", "restarting", "pod-mnist-worker-0", "mnist-worker-0", count=3)]
    diagnosis = diagnose(TFJOB, job, pods, events, {"mnist-worker-0": ["step 1", "step 2"]})
    assert message_of("TFJob default/mnist failed.", diagnosis).splitlines() == [
        "TFJob default/mnist failed.",
        "worker-0 (pod mnist-worker-0 on node-1): OOMKilled: exit code 137: killed because it used more memory than"
        " its limit",
        "  last lines of its log (container tensorflow):",
        "    step 1",
        "    step 2",
        "worker-1 (pod mnist-worker-1 on node-1): Error: exit code 1",
        "  its log is empty or gone.",
        "Events:",
        "  BackOff (mnist-worker-0, 3 times): restarting",
        "What to do: Raise the memory limit, or lower the batch size.",
    ]


def test_a_former_run_of_a_restarted_container_counts() -> None:
    pods = {"mnist-chief-0": pod("mnist-chief-0", running(), last_state=ended(2), restarts=1)}
    causes = diagnose(TFJOB, tf_job(), pods, [], {})["causes"]
    assert [(cause["replica"], cause["exit_code"]) for cause in causes] == [("chief-0", 2)]


@pytest.mark.parametrize(
    ("trouble", "cure"),
    [
        (Stuck("mnist-chief-0", "ImagePullBackOff", "x", "tensorflow"), "Check the image's name"),
        (Stuck("mnist-chief-0", "Unschedulable", "0/2 nodes are available: 2 Insufficient cpu."), "Lower the requests"),
        (
            Stuck("mnist-chief-0", "Unschedulable", '0/2 nodes are available: persistentvolumeclaim "x" not found.'),
            "Create the PersistentVolumeClaim",
        ),
        (Stuck("mnist", "FailedCreatePod", "forbidden"), "what the cluster admits"),
    ],
)
def test_every_trouble_has_a_cure(trouble: Stuck, cure: str) -> None:
    diagnosis = diagnose(TFJOB, tf_job(), {}, [], {}, [trouble])
    assert cure in diagnosis["cure"]
    assert trouble.message in message_of("It is stuck.", diagnosis)


def test_events_are_folded_and_only_ours() -> None:
    pods = {name: pod(name) for name in ("mnist-chief-0", "mnist-ps-0")}
    events = [
        event("FailedScheduling", "no room", "pod-mnist-chief-0", count=2),
        event("FailedScheduling", "no room", "pod-mnist-ps-0", "mnist-ps-0"),
        event("FailedCreatePod", "forbidden", "uid-1", "mnist"),
        event("FailedScheduling", "no room", "another"),
    ]
    events[2]["lastTimestamp"] = "2026-01-02T04:00:00Z"
    folded = fold_events(tf_job(), pods, events)
    assert [(entry["reason"], entry["objects"], entry["count"]) for entry in folded] == [
        ("FailedCreatePod", ["mnist"], 1),
        ("FailedScheduling", ["mnist-chief-0", "mnist-ps-0"], 3),
    ]


def test_only_the_end_of_a_log_is_kept() -> None:
    api = FakeApi()
    api.logs["p"] = [str(number) for number in range(50)]
    assert tail_of_log(api, "default", "p", "tensorflow") == [str(number) for number in range(30, 50)]
    assert tail_of_log(api, "default", "gone", "tensorflow") == []
