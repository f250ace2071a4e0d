"""The proof of GPUs on a real cluster whose node only claims to have them: what is offered, run, and told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import NODE, Run, kubectl, playbook

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def claimed(stack: Run) -> Iterator[None]:
    """Two GPUs in the status of a node. The kubelet keeps what it does not know."""
    patch_status('{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "2"}')
    try:
        yield
    finally:
        patch_status('{"op": "remove", "path": "/status/capacity/nvidia.com~1gpu"}')


def patch_status(change: str) -> None:
    kubectl("patch", "node", NODE, "--subresource=status", "--type=json", f"--patch=[{change}]")


def verify(directory: Path, **variables: Any) -> Run:
    """The role's proof alone; its chart's images cannot be had."""
    play = [
        {
            "name": "Prove the GPUs",
            "hosts": "kubernetes_api",
            "gather_facts": False,
            "tasks": [
                {
                    "name": "Prove them",
                    "ansible.builtin.include_role": {
                        "name": "mlstack.kubernetes.nvidia_device_plugin",
                        "tasks_from": "verify.yml",
                    },
                    "vars": {f"nvidia_device_plugin_{name}": value for name, value in variables.items()},
                }
            ],
        }
    ]
    file = directory / "verify.json"
    file.write_text(json.dumps(play))
    return playbook(str(file))


def image() -> str:
    """What the trainings run in: it has a shell and is there."""
    found = kubectl("get", "tfjob/mnist-tensorflow", "-o", "jsonpath={.spec..containers[0].image}")
    return found.split()[0]


def test_gpus_are_counted_and_a_program_runs_with_one(claimed: None, tmp_path: Path) -> None:
    run = verify(
        tmp_path,
        nodes=[{"name": NODE, "gpus": 2}],
        verify_image=image(),
        verify_command=["python3", "-c", "print('Test PASSED')"],
        wait_timeout=60,
    )
    assert (run.status, run.changed) == (0, [])
    assert f"{NODE}: 2 offered; the program ran: Test PASSED" in run.words
    assert kubectl("get", "pods", "-A", "-l", "mlstack.kubernetes/proof=gpu", "-o", "name") == ""


def test_fewer_gpus_than_expected_are_told(claimed: None, tmp_path: Path) -> None:
    run = verify(tmp_path, nodes=[{"name": NODE, "gpus": 8}], verify_image=image(), wait_timeout=5)
    assert run.status != 0
    assert f"{NODE}: it offers 2 nvidia.com/gpu, and 8 are expected" in run.words


def test_a_cluster_without_gpus_is_told(stack: Run, tmp_path: Path) -> None:
    # Its simulated nodes have GPUs, but nobody shares them by time slicing.
    run = verify(tmp_path, nodes=[], resource="nvidia.com/gpu.shared", verify_image=image(), wait_timeout=5)
    assert run.status == 0
    assert "no GPU nodes" in run.words


def test_there_are_no_packages_of_it(stack: Run) -> None:
    run = playbook("playbooks/ai.yaml", "--tags", "nvidia_device_plugin", "-e", "mlstack_supply=packages")
    assert run.status != 0
    assert "there are no packages of NVIDIA's device plugin" in run.words
