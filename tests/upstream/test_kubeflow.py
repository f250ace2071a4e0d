"""Kubeflow's real manifests, as far as they go without its containers: applied, left alone by a second run, removed.

MLSTACK_TEST_MANIFESTS names a Git repository that has them. Without it they come from where the role takes them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.conftest import HOME, Run, kubectl, playbook

from .test_charts import MIRROR, Component, objects, written

REPOSITORY = os.environ.get("MLSTACK_TEST_MANIFESTS")
KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
# Whom the API server would ask, and nobody would answer: what answers cannot run on simulated nodes.
NO_WEBHOOKS = [
    {"target": {"kind": kind}, "patch": json.dumps({"$patch": "delete", "kind": kind, "metadata": {"name": "ignored"}})}
    for kind in KINDS
]
# Its DaemonSets take any node otherwise.
ON_SIMULATED = {
    "target": {"kind": "DaemonSet"},
    "patch": json.dumps([{"op": "add", "path": "/spec/template/spec/nodeSelector", "value": {"type": "kwok"}}]),
}
# All but trainer, whose manifests name a file that is no part of any repository.
COMPONENTS = ["dashboard", "profiles", "notebooks", "volumes", "tensorboards", "katib", "kserve", "pipelines", "spark"]
KUBEFLOW = Component(
    "kubeflow",
    "kubeflow",
    "kubeflow",
    ("preflight", "render", "install"),
    {
        "kubeflow_user": "ada@example.org",
        "kubeflow_password_file": str(HOME / "kubeflow/password"),
        "kubeflow_components": COMPONENTS,
        "kubeflow_patches": [*NO_WEBHOOKS, ON_SIMULATED],
        "kubeflow_wait_timeout": 300,
        "mlstack_supply": "upstream",
        "mlstack_image_registry_mirror": MIRROR,
        **({"kubeflow_repository": REPOSITORY} if REPOSITORY else {}),
    },
)
VARIABLES = ("--extra-vars", json.dumps(KUBEFLOW.variables))


def volume(name: str) -> dict[str, object]:
    spec = {
        "capacity": {"storage": "20Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": "/nowhere"},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def volumes(simulated: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the databases of Katib and the pipelines are kept on; nothing makes volumes on this cluster."""
    file = tmp_path_factory.mktemp("volumes") / "volumes.json"
    names = [f"mlstack-test-kubeflow-{number}" for number in range(3)]
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [volume(name) for name in names]}))
    kubectl("apply", f"--filename={file}")
    yield
    kubectl("delete", "persistentvolumes", *names)


@pytest.fixture(scope="module")
def refused(simulated: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run before there are volumes."""
    return playbook(*written(KUBEFLOW, tmp_path_factory.mktemp("play")), *VARIABLES)


@pytest.fixture(scope="module")
def before(refused: Run, volumes: None) -> set[str]:
    return objects()


def remove() -> Run:
    given = json.dumps({**KUBEFLOW.variables, "kubeflow_delete_profiles": True})
    return playbook("playbooks/remove.yaml", "--tags", "kubeflow", "--extra-vars", given)


@pytest.fixture(scope="module")
def installed(before: set[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    yield playbook(*written(KUBEFLOW, tmp_path_factory.mktemp("play")), *VARIABLES)
    remove()


def test_databases_without_volumes_are_told_before_anything_is_applied(refused: Run) -> None:
    assert refused.status != 0
    assert "kubeflow_components: katib, pipelines needs volumes" in refused.words
    assert "apply the namespaces" not in refused.output


def test_all_of_it_is_applied_and_available(installed: Run) -> None:
    assert installed.status == 0
    found = json.loads(kubectl("get", "deployments", "--namespace=kubeflow", "--output=json"))["items"]
    names = {item["metadata"]["name"] for item in found}
    assert {"centraldashboard", "notebook-controller-deployment", "katib-controller", "ml-pipeline"} <= names
    assert all(item["status"]["availableReplicas"] for item in found)


def test_every_image_comes_from_the_mirror(installed: Run) -> None:
    # Its namespace is the training operator's, too.
    own = "--selector=mlstack.kubernetes/part-of=kubeflow"
    template = "--output=jsonpath={range .items[*]}{.spec.template.spec.initContainers[*].image} "
    template += "{.spec.template.spec.containers[*].image} {end}"
    spaces = ("kubeflow", "istio-system", "cert-manager", "auth", "oauth2-proxy", "knative-serving")
    images = {
        image for space in spaces for image in kubectl("get", "deployments", f"-n={space}", own, template).split()
    }
    assert len(images) > 10
    assert [image for image in sorted(images) if not image.startswith(f"{MIRROR}/") and image != "auto"] == []


def test_no_password_is_told(installed: Run) -> None:
    password = Path(KUBEFLOW.variables["kubeflow_password_file"]).read_text().strip()
    assert len(password) == 20
    assert password not in installed.output


def test_a_second_run_changes_nothing(installed: Run, tmp_path: Path) -> None:
    run = playbook(*written(KUBEFLOW, tmp_path), *VARIABLES)
    assert (run.status, run.changed) == (0, [])


def test_the_removal_leaves_nothing(installed: Run, before: set[str]) -> None:
    assert remove().status == 0
    assert sorted(objects() - before) == []
