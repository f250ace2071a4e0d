"""Many jobs at once while the API server is killed: none is lost, none is made twice."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from .conftest import Run, finish, kubectl, playbook, processes_of, start_playbook, wait_for

COUNT = 300
PLAY = """
- hosts: kubernetes_api
  gather_facts: false
  module_defaults: {{group/mlstack.kubernetes.k8s: {{kubeconfig: "{{{{ mlstack_kubeconfig }}}}"}}}}
  tasks:
    - mlstack.kubernetes.tfjob: {{src: {source}, wait: {wait}, state: "{{{{ state | default('present') }}}}"}}
"""


def manifest(number: int) -> str:
    container = {"name": "tensorflow", "image": "example.com/trainer:1"}
    spec = {
        # Without pods, so that all is a matter of the API server.
        "runPolicy": {"suspend": True},
        "tfReplicaSpecs": {"Worker": {"replicas": 1, "template": {"spec": {"containers": [container]}}}},
    }
    job = {"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "metadata": {"name": f"many-{number}"}, "spec": spec}
    return json.dumps(job)


def play(directory: Path, wait: bool) -> str:
    source = directory / "jobs.yaml"
    source.write_text("\n---\n".join(map(manifest, range(COUNT))))
    path = directory / f"play-{wait}.yaml"
    path.write_text(PLAY.format(source=source, wait=wait))
    return str(path)


def uids() -> dict[str, str]:
    jobs = json.loads(kubectl("get", "tfjobs", "-o", "json"))["items"]
    return {
        job["metadata"]["name"]: job["metadata"]["uid"] for job in jobs if job["metadata"]["name"].startswith("many-")
    }


def test_none_is_lost_and_none_is_made_twice(stack: Run, tmp_path: Path) -> None:
    run = start_playbook(play(tmp_path, wait=False))
    wait_for(lambda: len(uids()) > COUNT / 10, 60)
    os.kill(processes_of("/kube-apiserver --", "mlstack-test")[0], signal.SIGKILL)
    assert finish(run).status == 0
    made = uids()
    assert len(made) == COUNT
    # They are waited for until the operator has suspended them.
    again = playbook(play(tmp_path, wait=True))
    assert (again.status, again.changed) == (0, [])
    assert uids() == made


def test_a_run_that_is_killed_is_completed_by_the_next(stack: Run, tmp_path: Path) -> None:
    absent = (play(tmp_path, wait=True), "-e", "state=absent")
    assert playbook(*absent).status == 0
    assert uids() == {}
    run = start_playbook(play(tmp_path, wait=False))
    wait_for(uids, 60)
    run.kill()
    run.communicate()
    assert playbook(play(tmp_path, wait=False)).status == 0
    assert len(uids()) == COUNT
    assert playbook(*absent).status == 0
    assert uids() == {}
