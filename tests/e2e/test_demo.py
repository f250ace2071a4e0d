"""The demo: real trainings on real containers, twice, and while programs are killed."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from .conftest import HOME, Run, finish, kubectl, playbook, processes_of, start_playbook, wait_for


def phase(pod: str) -> str:
    return kubectl("get", "pod", pod, "--ignore-not-found", "-o", "jsonpath={.status.phase}")


def test_first_run_trains_and_verifies(stack: Run) -> None:
    assert "TFJob mnist-tensorflow: 4 replicas took part" in stack.output
    assert "PyTorchJob mnist-pytorch: 3 replicas took part" in stack.output
    assert "and the home survived a restart" in stack.words
    volume = HOME / "local_cluster/mlstack-test/volumes/training"
    assert list(volume.glob("mnist-tensorflow/**/saved_model.pb"))
    assert list(volume.glob("mnist-pytorch/**/*.pt"))
    for kind in ("tfjob", "pytorchjob"):
        selector = f"training.kubeflow.org/operator-name={kind}-controller"
        nodes = kubectl("get", "pods", "-l", selector, "-o", "jsonpath={.items[*].spec.nodeName}").split()
        assert set(nodes) == {"mlstack-test-node-1", "mlstack-test-node-2"}


def test_second_run_changes_nothing(stack: Run) -> None:
    run = playbook("playbooks/ai.yaml")
    assert run.status == 0
    assert run.changed == []
    assert run.recap["changed"] == 0
    # What Kubernetes writes when it did not remember who applied an object first: the second run changes that object.
    # Of other tests on this cluster one may have been the second run.
    assert "before-first-apply" not in kubectl("get", "namespaces", "-o", "yaml", "--show-managed-fields")


def test_check_mode_passes(stack: Run) -> None:
    run = playbook("playbooks/ai.yaml", "--check", "--diff")
    assert (run.status, run.changed) == (0, [])


@pytest.mark.parametrize("program", ["kube-apiserver", "kubelet"])
def test_training_survives_the_end_of(stack: Run, program: str) -> None:
    kubectl("delete", "tfjob", "mnist-tensorflow", "--wait")
    run = start_playbook("playbooks/ai.yaml", "--tags", "train")
    wait_for(lambda: phase("mnist-tensorflow-chief-0") == "Running", 120)
    # Its log's writer and its supervisor have its name in their arguments, too.
    before = processes_of(f"/{program} --", "mlstack-test")
    os.kill(before[0], signal.SIGKILL)
    assert finish(run).status == 0
    after = processes_of(f"/{program} --", "mlstack-test")
    assert len(after) == len(before)
    assert before[0] not in after


def test_end_of_a_worker_is_told_and_a_second_run_completes(stack: Run) -> None:
    kubectl("delete", "pytorchjob", "mnist-pytorch", "--wait")
    run = start_playbook("playbooks/ai.yaml", "--tags", "train")
    wait_for(lambda: "rank=1" in logs("mnist-pytorch-worker-0"), 120)
    os.kill(processes_of("python3 /examples/pytorch/mnist_ddp.py")[0], signal.SIGKILL)
    ended = finish(run)
    assert ended.status != 0
    assert "137" in ended.output
    assert playbook("playbooks/ai.yaml", "--tags", "train").status == 0


def logs(pod: str) -> str:
    result = subprocess.run(
        [
            HOME / "local_cluster/mlstack-test/bin/kubectl",
            f"--kubeconfig={HOME / 'local_cluster/mlstack-test/admin.kubeconfig'}",
            "logs",
            pod,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )
    return result.stdout


def test_the_operator_can_be_removed_and_installed_anew(stack: Run) -> None:
    assert playbook("playbooks/remove.yaml", "--tags", "training_operator").status == 0
    assert "kubeflow.org" not in kubectl("get", "crds,validatingwebhookconfigurations,namespaces", "-o", "name")
    tags = ("playbooks/ai.yaml", "--tags", "training_operator")
    assert playbook(*tags).changed
    # The operator has filled in its certificates meanwhile, which is none of our change.
    again = playbook(*tags)
    assert (again.status, again.changed) == (0, [])
