"""Create, re-create, modify, re-modify, delete, delete what is absent: each in check mode and for real."""

from __future__ import annotations

from typing import Any

import pytest

from .jobs import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
def test_twelve_steps(kind: Kind, namespace: str, start: Any, custom: Any, core: Any) -> None:
    created = {"wait": False, "env": {"STEP": "1"}}
    modified = {"wait": False, "env": {"STEP": "2"}, "on_change": "recreate"}
    tasks = []
    for options in (created, created, modified, modified):
        for check_mode in (True, False):
            tasks.append(kind.task("steps", namespace, check_mode=check_mode, **options))
    for check_mode in (True, False, True, False):
        tasks.append(kind.removal("steps", namespace, check_mode=check_mode))

    done = start(*tasks).finish()
    assert len(done) == 12
    assert [task["msg"] for task in done if task.failed] == []
    print("\n".join(f"{task.seconds:.1f} s: {task.name}" for task in done))
    assert [task["changed"] for task in done] == [
        *(True, True),  # create
        *(False, False),  # re-create
        *(True, True),  # modify
        *(False, False),  # re-modify
        *(True, True),  # delete
        *(False, False),  # delete what is absent
    ]
    uids = [task["job"]["metadata"].get("uid") for task in done[:8]]
    # Check mode has made nothing, and an unchanged job is the same object in the same generation.
    assert uids[0] != uids[1] == uids[2] == uids[3]
    assert uids[3] != uids[5] == uids[6] == uids[7]
    assert done[1]["job"]["metadata"]["generation"] == done[3]["job"]["metadata"]["generation"] == 1
    assert done[0]["diff"]["before"] == {}
    assert done[2]["diff"]["before"] == done[2]["diff"]["after"]
    step = "{'name': 'STEP', 'value': '%s'}"
    for task in done[4:6]:
        assert step % 1 in str(task["diff"]["before"])
        assert step % 2 in str(task["diff"]["after"])
    left = custom.list_namespaced_custom_object(*kind.api, namespace, kind.plural)["items"]
    assert left == []
    assert core.list_namespaced_pod(namespace).items == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
def test_another_spec_is_an_error_unless_it_may_be_made_anew(kind: Kind, namespace: str, start: Any) -> None:
    done = start(
        kind.task("other", namespace, wait=False),
        kind.task("other", namespace, wait=False, image="example.com/trainer:2"),
    ).finish()
    assert done[1].failed
    assert "exists with another spec" in done[1]["msg"]
    assert "on_change: recreate" in done[1]["msg"]


def test_a_manifest_is_taken_as_it_is(namespace: str, start: Any, tmp_path: Any, custom: Any) -> None:
    manifest = tmp_path / "job.yml"
    manifest.write_text(
        f"""
apiVersion: kubeflow.org/v1
kind: TFJob
metadata: {{name: manifest, namespace: {namespace}}}
spec:
  runPolicy: {{suspend: true}}
  tfReplicaSpecs:
    Worker:
      template:
        spec:
          containers:
            - {{name: tensorflow, image: example.com/trainer:1, ports: [{{containerPort: 2222, name: tfjob-port}}]}}
"""
    )
    task = {"mlstack.kubernetes.tfjob": {"src": str(manifest)}}
    unknown = manifest.read_text().replace("Worker:", "Worker:\n      replica: 2")
    wrong = {"mlstack.kubernetes.tfjob": {"definition": unknown, "on_change": "recreate"}}
    done = start(task, task, wrong).finish()
    assert [task["changed"] for task in done] == [True, False, False]
    assert [task.result.get("state") for task in done[:2]] == ["Suspended", "Suspended"]
    # The old job was not given up for one that the API server refuses.
    assert 'unknown field "spec.tfReplicaSpecs.Worker.replica"' in done[2]["msg"]
    assert custom.get_namespaced_custom_object("kubeflow.org", "v1", namespace, "tfjobs", "manifest")
