"""Which nodes pull an image, by what the kubelet says of a pod on each."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pull_proof import Plan, prove

from .fake_api import FakeApi

PODS = "/api/v1/namespaces/default/pods"
PLAN = Plan(namespace="default", image="registry.example/probe:1", pull_secrets=["mlstack-registry"], wait_timeout=0.3)


def node(name: str, ready: str = "True", **annotations: str) -> Json:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}, "annotations": annotations},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": ready, "message": "no kubelet"}]},
    }


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    api.put("/api/v1/nodes/one", node("one"))
    api.put("/api/v1/nodes/two", node("two"))
    api.put("/api/v1/nodes/kwok", node("kwok", **{"kwok.x-k8s.io/node": "fake"}))
    return api


def says(api: FakeApi, **containers: dict[str, Any]) -> list[Json]:
    """Pods get a container status by their node."""
    made: list[Json] = []

    def on_create(path: str, body: Json) -> None:
        made.append(body)
        body["status"] = {"phase": "Pending", "containerStatuses": [containers[body["spec"]["nodeName"]]]}

    api.on_create = on_create
    return made


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


@pytest.mark.parametrize(
    "status",
    [
        {"state": {"terminated": {"exitCode": 0}}, "imageID": "sha256:1"},
        {"state": {"running": {}}, "imageID": "sha256:1"},
        # What becomes of the program is not the question.
        waiting("CrashLoopBackOff"),
        waiting("CreateContainerError", "no command specified"),
    ],
)
def test_a_node_that_makes_a_container_has_pulled(api: FakeApi, status: dict[str, Any]) -> None:
    made = says(api, one=status, two=status)
    verdict = prove(api, PLAN)
    assert verdict.problems == []
    assert verdict.table() == ["one: pulled", "two: pulled", "kwok: not asked, simulated"]
    assert {pod["spec"]["nodeName"] for pod in made} == {"one", "two"}
    assert all(pod["spec"]["containers"][0]["imagePullPolicy"] == "Always" for pod in made)
    assert all(pod["spec"]["imagePullSecrets"] == [{"name": "mlstack-registry"}] for pod in made)
    assert not [path for path in api.objects if path.startswith(PODS)]


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (waiting("ImagePullBackOff", "401 Unauthorized"), "two: ImagePullBackOff: 401 Unauthorized"),
        (waiting("InvalidImageName"), "two: InvalidImageName"),
        (waiting("ContainerCreating"), "two: it has not pulled within 0.3 s (ContainerCreating)"),
    ],
)
def test_a_node_that_does_not_pull_is_told(api: FakeApi, status: dict[str, Any], problem: str) -> None:
    says(api, one={"state": {"running": {}}, "imageID": "sha256:1"}, two=status)
    assert prove(api, PLAN).problems == [problem]
    assert not [path for path in api.objects if path.startswith(PODS)]


def test_a_node_that_is_not_ready_is_a_failure(api: FakeApi) -> None:
    api.put("/api/v1/nodes/two", node("two", ready="False"))
    says(api, one={"state": {"running": {}}, "imageID": "sha256:1"})
    assert prove(api, PLAN).problems == ["two: the node is not ready (no kubelet)"]
