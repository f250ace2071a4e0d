"""Trainer v2 beside the operator: its proof, a TrainJob that computes with PyTorch, what is wrong, and its removal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run, kubectl, playbook, wait_for

pytestmark = pytest.mark.extended

TAGS = ("playbooks/ai.yaml", "--tags", "kubeflow_trainer")
JOB = "trainjobs.trainer.kubeflow.org/all-reduce"
# Each of two processes, on nodes of their own, adds its rank and one: 1 + 2.
PROGRAM = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
value = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(value)
print(f"rank {dist.get_rank()} of {dist.get_world_size()}: {value.item()}", flush=True)
"""


@pytest.fixture(scope="module")
def trainer(stack: Run) -> Run:
    assert playbook(*TAGS, "--check", "--diff").status == 0
    assert "kubeflow-system" not in kubectl("get", "namespaces", "-o", "name")
    return playbook(*TAGS)


def train_job() -> dict[str, Any]:
    # Debian's torchrun does not work with Debian's Python.
    settings = "MASTER_ADDR=$PET_MASTER_ADDR MASTER_PORT=$PET_MASTER_PORT RANK=$PET_NODE_RANK WORLD_SIZE=$PET_NNODES"
    script = f"cat >/tmp/program.py <<'END'\n{PROGRAM}END\nexport {settings}; exec python3 /tmp/program.py"
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "all-reduce", "namespace": "default"},
        "spec": {
            "runtimeRef": {"name": "torch-distributed"},
            "trainer": {"numNodes": 2, "numProcPerNode": 1, "command": ["sh", "-c", script]},
        },
    }


def test_it_proves_itself_and_a_second_run_changes_nothing(trainer: Run) -> None:
    assert trainer.status == 0
    assert "a TrainJob of two nodes ran, and each found the other" in trainer.words
    again = playbook(*TAGS)
    assert (again.status, again.changed) == (0, [])
    proof = playbook("playbooks/verify.yaml", "--tags", "kubeflow_trainer")
    assert (proof.status, proof.changed) == (0, [])


def test_pytorch_computes_on_two_nodes(trainer: Run, tmp_path: Path) -> None:
    manifest = tmp_path / "job.json"
    manifest.write_text(json.dumps(train_job()))
    kubectl("apply", f"--filename={manifest}")
    try:
        condition = "--output=jsonpath={.status.conditions[?(@.type=='Complete')].status}"
        wait_for(lambda: kubectl("get", JOB, condition) == "True", 120)
        logs = [
            kubectl("logs", pod)
            for pod in kubectl("get", "pods", "-l", "jobset.sigs.k8s.io/jobset-name=all-reduce", "-o", "name").split()
        ]
        assert len(logs) == 2
        assert sorted(line for log in logs for line in log.splitlines() if line.startswith("rank ")) == [
            "rank 0 of 2: 3.0",
            "rank 1 of 2: 3.0",
        ]
    finally:
        kubectl("delete", JOB, "--wait")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"kubeflow_trainer_runtimes": ["jax-distributed"]},
            "kubeflow_trainer_runtimes: there is no image for jax-distributed in the supply 'packages'",
        ),
        (
            {"kubeflow_trainer_runtimes": ["tf"], "kubeflow_trainer_runtime_images": {"tf": "127.0.0.1:9/nothing:1"}},
            "kubeflow_trainer_runtimes: tf is no runtime of Trainer v2.3.0; choose among",
        ),
    ],
)
def test_what_is_wrong_is_told(trainer: Run, variables: dict[str, Any], message: str) -> None:
    run = playbook(*TAGS, "-e", json.dumps(variables))
    assert run.status != 0
    assert message in run.words


def test_the_removal_leaves_nothing_and_another_jobset_alone(trainer: Run, tmp_path: Path) -> None:
    run = playbook("playbooks/remove.yaml", "--tags", "kubeflow_trainer")
    assert run.status == 0
    kinds = "customresourcedefinitions,clusterroles,clusterrolebindings,namespaces"
    kinds += ",validatingwebhookconfigurations,mutatingwebhookconfigurations"
    left = kubectl("get", kinds, "-o", "name")
    assert [line for line in left.split() if "trainer" in line or "jobset" in line or "kubeflow-system" in line] == []
    again = playbook("playbooks/remove.yaml", "--tags", "kubeflow_trainer")
    assert (again.status, again.changed) == (0, [])
    # Somebody else's.
    foreign = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "jobsets.jobset.x-k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},
        },
        "spec": {
            "group": "jobset.x-k8s.io",
            "scope": "Namespaced",
            "names": {"kind": "JobSet", "plural": "jobsets"},
            "versions": [
                {
                    "name": "v1alpha2",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }
    manifest = tmp_path / "foreign.json"
    manifest.write_text(json.dumps(foreign))
    kubectl("create", f"--filename={manifest}")
    try:
        refused = playbook(*TAGS)
        assert refused.status != 0
        assert "kubeflow_trainer_jobset: this cluster has a JobSet that this role did not install" in refused.words
    finally:
        kubectl("delete", "customresourcedefinition", "jobsets.jobset.x-k8s.io")
