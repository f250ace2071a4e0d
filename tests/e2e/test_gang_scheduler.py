"""Volcano beside the training operator: its proof, a training through it, its second run, what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import yaml

from .conftest import CHECKOUT, Run, kubectl, playbook

TAGS = ("--tags", "volcano")
# The demo's, which the registry has.
IMAGE = {
    "ansible.builtin.include_role": {"name": "mlstack.kubernetes.registry", "tasks_from": "build.yml"},
    "vars": {
        "registry_build_images": [
            {"name": "trainer-tensorflow", "files": [{"source": str(CHECKOUT / "examples"), "target": "examples"}]}
        ],
    },
}
TRAINING = {
    "name": "mnist-volcano",
    "image": "{{ registry_built['trainer-tensorflow'].image }}",
    "command": ["python3", "/examples/tensorflow/mnist_parameter_server.py"],
    "args": ["--model-directory", "/models/mnist-volcano"],
    "plugins": {"tensorflow": []},
    # Without requests Volcano would not hold them back together.
    "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}},
    "replicas": {"chief": {}, "ps": {}, "worker": {"count": 2}},
    "volumes": [{"name": "work", "claim": "training", "mount_path": "/models"}],
    # The job ends with its last pod, so that Volcano deletes none of them and all logs can be read.
    "policies": [{"event": "PodFailed", "action": "TerminateJob"}],
    "metrics": {"test_accuracy": r"\btest_accuracy=(?P<value>\S+)"},
    "wait_timeout": 300,
}
PROOF = {
    "kind": "VolcanoJob",
    "name": "mnist-volcano",
    "evidence": {"chief": r"epoch=\d+ step=\d+", "worker": r"worker=\d+ step=\d+"},
    "metrics": [
        {"name": "loss", "pattern": r"epoch=(?P<epoch>\d+) .*\bloss=(?P<value>\S+)", "falls": True},
        {"name": "test_accuracy", "pattern": r"\btest_accuracy=(?P<value>\S+)", "final_above": 0.90},
    ],
}


def training(directory: Path) -> str:
    play = {
        "hosts": "kubernetes_api",
        "gather_facts": False,
        "module_defaults": {"group/mlstack.kubernetes.k8s": {"kubeconfig": "{{ mlstack_kubeconfig }}"}},
        "tasks": [
            IMAGE,
            {"mlstack.kubernetes.volcano_job": TRAINING},
            {"mlstack.kubernetes.training_job_verify": PROOF},
        ],
    }
    path = directory / "training.yaml"
    path.write_text(yaml.safe_dump([play]))
    return str(path)


def test_volcano_proves_itself_and_leaves_nothing(stack: Run, tmp_path: Path) -> None:
    # The tests of the modules may have left it.
    assert playbook("playbooks/remove.yaml", *TAGS).status == 0
    checked = playbook("playbooks/ai.yaml", *TAGS, "--check")
    assert checked.status == 0
    assert "volcano.sh" not in kubectl("get", "crds", "-o", "name")
    first = playbook("playbooks/ai.yaml", *TAGS)
    assert first.status == 0
    assert first.changed
    again = playbook("playbooks/ai.yaml", *TAGS)
    assert (again.status, again.changed) == (0, [])

    play = training(tmp_path)
    assert playbook(play).status == 0
    assert playbook(play).changed == []
    kubectl("delete", "jobs.batch.volcano.sh", "mnist-volcano", "--wait")

    assert playbook("playbooks/remove.yaml", *TAGS).status == 0
    left = kubectl(
        "get",
        "crds,validatingwebhookconfigurations,mutatingwebhookconfigurations,clusterroles,priorityclasses",
        "-o",
        "name",
    )
    assert "volcano" not in left
