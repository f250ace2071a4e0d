"""Many jobs in one task, and the states besides being there and not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import SIMULATED, wait_for
from .jobs import KINDS, Kind

TF = KINDS[0]
COUNT = 100


def manifests(namespace: str, count: int) -> str:
    """As many suspended TFJobs as one file."""
    return "\n---\n".join(
        json.dumps(
            {
                "apiVersion": "kubeflow.org/v1",
                "kind": "TFJob",
                "metadata": {"name": f"job-{number}", "namespace": namespace},
                "spec": {
                    "runPolicy": {"suspend": True},
                    "tfReplicaSpecs": {
                        "Worker": {
                            "replicas": 1,
                            "template": {
                                "spec": {"containers": [{"name": "tensorflow", "image": "example.com/trainer:1"}]}
                            },
                        }
                    },
                },
            }
        )
        for number in range(count)
    )


def names(custom: Any, namespace: str) -> set[str]:
    found = custom.list_namespaced_custom_object("kubeflow.org", "v1", namespace, "tfjobs")["items"]
    return {job["metadata"]["name"] for job in found}


def test_a_file_of_jobs(namespace: str, start: Any, tmp_path: Path, custom: Any) -> None:
    source = tmp_path / "jobs.yml"
    source.write_text(manifests(namespace, COUNT))
    task = {"mlstack.kubernetes.tfjob": {"src": str(source), "wait": False}}
    absent = {"mlstack.kubernetes.tfjob": {"src": str(source), "state": "absent"}}
    check = {**task, "check_mode": True}
    checked, made, again = start(check, task, task).finish()
    assert (checked["changed"], made["changed"], again["changed"]) == (True, True, False)
    assert len(made["jobs"]) == len(made["diff"]) == COUNT
    assert again["diff"] == []
    assert names(custom, namespace) == {f"job-{number}" for number in range(COUNT)}
    removed, removed_again = start(absent, absent).finish()
    assert (removed["changed"], removed_again["changed"]) == (True, False)
    assert names(custom, namespace) == set()


def test_jobs_with_something_in_common(namespace: str, start: Any, kubelet: Any, tmp_path: Path) -> None:
    task = {
        "mlstack.kubernetes.tfjob": {
            "namespace": namespace,
            "image": "example.com/trainer:1",
            "replicas": {"worker": {"count": 1}},
            **SIMULATED,
            "jobs": [
                {"name": "one"},
                {"name": "two", "replicas": {"worker": {"count": 2}}},
                {"name": "three", "replicas": {"chief": {}}},
            ],
            "max_parallel": 2,
            "progress_file": str(tmp_path / "progress"),
        }
    }
    playbook = start(task)
    kubelet.wait_until_running("one", 1)
    kubelet.wait_until_running("two", 2)
    # There is no room for it yet.
    assert kubelet.pods("three") == {}
    kubelet.end("one-worker-0", 1)
    kubelet.wait_until_running("three", 2)
    kubelet.end("two-worker-0")
    kubelet.end("two-worker-1")
    kubelet.end("three-chief-0")
    (done,) = playbook.finish()
    assert done.failed
    assert "1 of 3 TFJobs came to no good end." in done["msg"]
    assert [row["state"] for row in done["jobs"]] == ["Failed", "Succeeded", "Succeeded"]
    assert done["jobs"][0]["diagnosis"]["causes"][0]["replica"] == "worker-0"
    progress = (tmp_path / "progress").read_text()
    assert "3 TFJobs: " in progress
    assert "1 Failed, 2 Succeeded" in progress


def test_nothing_is_made_where_one_is_wrong(namespace: str, start: Any, custom: Any) -> None:
    jobs = [{"name": "good"}, {"name": "Bad_Name"}, {"name": "good"}, {"name": "odd", "replicas": {"boss": {}}}]
    task = {"mlstack.kubernetes.tfjob": {"namespace": namespace, "image": "example.com/trainer:1", "jobs": jobs}}
    task["mlstack.kubernetes.tfjob"]["replicas"] = {"worker": {}}
    (done,) = start(task).finish()
    assert done.failed
    for problem in ("jobs[1].name: 'Bad_Name'", "jobs[2].name: 'good' is given to two jobs", "jobs[3]", "boss"):
        assert problem in done["msg"]
    assert names(custom, namespace) == set()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
def test_suspended_resumed_restarted(kind: Kind, namespace: str, start: Any, kubelet: Any, core: Any) -> None:
    def state(name: str, **options: Any) -> dict[str, Any]:
        module = f"mlstack.kubernetes.{kind.module}"
        return {module: {"name": "moving", "namespace": namespace, "state": name, **options}}

    (made,) = start(kind.task("moving", namespace, wait=False)).finish()
    kubelet.wait_until_running("moving", 3)
    suspended, again, checked = start(
        state("suspended"), state("suspended"), {**state("resumed"), "check_mode": True}
    ).finish()
    assert (suspended["changed"], suspended["state"]) == (True, "Suspended")
    assert (again["changed"], checked["changed"]) == (False, True)
    wait_for(lambda: not core.list_namespaced_pod(namespace).items)
    (resumed,) = start(state("resumed", wait=False)).finish()
    assert resumed["changed"]
    assert resumed["job"]["metadata"]["uid"] == made["job"]["metadata"]["uid"]
    kubelet.wait_until_running("moving", 3)
    restarted, unchanged = start(state("restarted", wait=False), kind.task("moving", namespace, wait=False)).finish()
    assert restarted["changed"]
    assert restarted["job"]["metadata"]["uid"] != made["job"]["metadata"]["uid"]
    # It has the spec that the first task asked for.
    assert not unchanged["changed"]
    kubelet.wait_until_running("moving", 3)
