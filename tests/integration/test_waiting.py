"""A task ends when its job does, at once and with the reason."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from kubernetes import watch

from .jobs import KINDS, Kind

# From the API server's knowledge to the controller's result: the goal is 0.5 s on an idle machine, and the rest is
# for one that is busy with the rest of the cluster.
AT_ONCE = 2.0


class Witness(threading.Thread):
    """Notes when the API server first tells that a job has finished."""

    def __init__(self, custom: Any, namespace: str, kind: Kind, name: str) -> None:
        super().__init__(daemon=True)
        self._list = (custom.list_namespaced_custom_object, *kind.api, namespace, kind.plural)
        self._version = custom.list_namespaced_custom_object(*self._list[1:])["metadata"]["resourceVersion"]
        self._name = name
        self.time = 0.0
        self.start()

    def run(self) -> None:
        for event in watch.Watch().stream(*self._list, resource_version=self._version, timeout_seconds=120):
            status = event["object"].get("status", {})
            over = {one["type"] for one in status.get("conditions", []) if one["status"] == "True" and "type" in one}
            over.add(status.get("state", {}).get("phase"))
            is_over = over & {"Succeeded", "Failed", "Completed", "Terminated"}
            if event["object"]["metadata"]["name"] == self._name and is_over:
                self.time = time.time()
                return


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
def test_returns_at_once_when_the_job_succeeds(
    kind: Kind, namespace: str, start: Any, kubelet: Any, custom: Any
) -> None:
    witness = Witness(custom, namespace, kind, "good")
    playbook = start(kind.task("good", namespace, wait_timeout=90), kind.task("good", namespace))
    kubelet.wait_until_running("good", 3)
    for replica in ("worker-0", "worker-1", f"{kind.leader}-0"):
        kubelet.end(f"good-{replica}")
    first, *others = playbook.finish()
    assert not first.failed, first["msg"]
    (second,) = others
    assert (first["changed"], first["state"]) == (True, "Succeeded")
    assert {row["replica"]: row["exit_code"] for row in first["replicas"]} == {
        f"{kind.leader}-0": 0,
        "worker-0": 0,
        "worker-1": 0,
    }
    assert 0 < first["timings"]["first_container"] <= first["timings"]["finished"]
    assert first["timings"]["after_finish"] < 0.5
    delay = first.end - witness.time
    print(f"from the API server's knowledge to the result: {delay:.2f} s")
    assert delay < AT_ONCE
    # A job that has succeeded is left alone.
    assert (second["changed"], second["state"]) == (False, "Succeeded")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
def test_fails_at_once_with_the_cause(kind: Kind, namespace: str, start: Any, kubelet: Any, custom: Any) -> None:
    witness = Witness(custom, namespace, kind, "bad")
    playbook = start(kind.task("bad", namespace, wait_timeout=90))
    kubelet.wait_until_running("bad", 3)
    kubelet.end("bad-worker-1", 137, "OOMKilled")
    (task,) = playbook.finish()
    assert task.failed
    assert task["state"] == "Failed"
    assert f"{kind.kind} {namespace}/bad failed" in task["msg"]
    assert "worker-1 (pod bad-worker-1 on" in task["msg"]
    assert "exit code 137: killed because it used more memory than its limit" in task["msg"]
    assert "Raise the memory limit" in task["diagnosis"]["cure"]
    assert task["diagnosis"]["causes"][0]["exit_code"] == 137
    assert task.end - witness.time < AT_ONCE + 1


def test_gives_up_in_time_and_leaves_the_job(namespace: str, start: Any, kubelet: Any) -> None:
    (task,) = start(KINDS[0].task("long", namespace, wait_timeout=8)).finish()
    assert task.failed
    assert "has not finished within 8 seconds" in task["msg"]
    assert task["state"] in ("Created", "Running")
    assert task.seconds < 20
    assert len(kubelet.pods("long")) == 3


def test_verify_does_not_pass_without_logs(namespace: str, start: Any, kubelet: Any) -> None:
    kind = KINDS[0]
    verify = {
        "mlstack.kubernetes.training_job_verify": {
            "kind": "TFJob",
            "name": "quiet",
            "namespace": namespace,
            "evidence": {"worker": "step"},
            "metrics": [{"name": "loss", "pattern": "loss=(?P<value>.+)", "falls": True}],
        }
    }
    playbook = start(kind.task("quiet", namespace), verify)
    kubelet.wait_until_running("quiet", 3)
    kubelet.end("quiet-worker-0")
    kubelet.end("quiet-worker-1", 3)
    kubelet.end("quiet-chief-0")
    tasks = playbook.finish()
    verdict = tasks[-1]
    assert verdict.failed
    if len(tasks) == 2:
        assert "worker-1: wanted exit code 0, saw 3" in verdict["msg"]
        assert len([problem for problem in verdict["unmet"] if "cannot be read" in problem]) == 3
