"""What nodes offer, what is expected of them, and what is run on which."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.gpu_proof import Plan, prove
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json

from .fake_api import FakeApi

PODS = "/api/v1/namespaces/default/pods"


def node(name: str, gpus: str | None, ready: str = "True", **metadata: Any) -> Json:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}, **metadata},
        "spec": {},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "message": "no kubelet"}],
            "allocatable": {"cpu": "2", **({"nvidia.com/gpu": gpus} if gpus is not None else {})},
        },
    }


@pytest.fixture
def api() -> FakeApi:
    """Two nodes with GPUs, a simulated one, and one without."""
    api = FakeApi()
    api.put("/api/v1/nodes/one", node("one", "8"))
    api.put("/api/v1/nodes/two", node("two", "1"))
    api.put("/api/v1/nodes/three", node("three", None))
    api.put("/api/v1/nodes/kwok", node("kwok", "4", annotations={"kwok.x-k8s.io/node": "fake"}))
    return api


def plan(**expected: int | None) -> Plan:
    return Plan(
        namespace="default", image="vectoradd", command=[], expected=expected, run_as_user=1000, wait_timeout=0.3
    )


def runs(api: FakeApi, phase: str = "Succeeded", log: str = "Test PASSED") -> list[Json]:
    made: list[Json] = []

    def on_create(path: str, body: Json) -> None:
        made.append(body)
        body["status"] = {"phase": phase, "containerStatuses": [{"state": {}}]}
        api.logs[body["metadata"]["name"]] = ["[Vector addition]", log]

    api.on_create = on_create
    return made


def test_every_node_that_offers_gpus_runs_the_program(api: FakeApi) -> None:
    made = runs(api)
    verdict = prove(api, plan(one=8, two=None))
    assert verdict.problems == []
    assert verdict.table() == [
        "kwok: 4 offered; nothing was run, since the node is simulated",
        "one: 8 offered; the program ran: Test PASSED",
        "two: 1 offered; the program ran: Test PASSED",
    ]
    assert sorted(pod["spec"]["nodeName"] for pod in made) == ["one", "two"]
    limits = [pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] for pod in made]
    assert limits == ["1", "1"]
    assert not [path for path in api.objects if path.startswith(PODS)]


def test_a_cluster_without_gpus_is_not_called_good(api: FakeApi) -> None:
    for name in ("one", "two", "kwok"):
        api.drop(f"/api/v1/nodes/{name}")
    made = runs(api)
    verdict = prove(api, plan())
    assert (verdict.problems, verdict.table(), made) == ([], ["no GPU nodes"], [])


@pytest.mark.parametrize(
    ("expected", "problem"),
    [
        ({"one": 4}, "one: it offers 8 nvidia.com/gpu, and 4 are expected"),
        ({"three": None}, "three: it offers no nvidia.com/gpu (look at the device plugin's log on that node"),
        ({"three": 2}, "three: it offers no nvidia.com/gpu"),
        ({"four": 1}, "four: the cluster has no such node; give the names that kubectl get nodes shows"),
    ],
)
def test_what_a_node_does_not_offer_is_told(api: FakeApi, expected: dict[str, int | None], problem: str) -> None:
    made = runs(api)
    [found] = prove(api, plan(**expected)).problems
    assert found.startswith(problem)
    # The others are proved all the same.
    assert {pod["spec"]["nodeName"] for pod in made} == {"one", "two"} - expected.keys()


def test_gpus_that_come_late_are_waited_for(api: FakeApi) -> None:
    runs(api)
    api.put("/api/v1/nodes/three", node("three", "0"))
    waiting = Plan(namespace="default", image="v", command=[], expected={"three": 2}, wait_timeout=20)
    threading.Timer(0.2, lambda: api.put("/api/v1/nodes/three", node("three", "2"))).start()
    runs(api)
    assert prove(api, waiting).problems == []


def test_a_program_that_fails_is_told(api: FakeApi) -> None:
    runs(api, "Failed", "CUDA driver version is insufficient for CUDA runtime version")
    assert (
        "two: the probe failed (CUDA driver version is insufficient for CUDA runtime version)"
        in prove(api, plan(one=8)).problems
    )


def test_a_node_that_is_not_ready_is_a_failure(api: FakeApi) -> None:
    api.put("/api/v1/nodes/two", node("two", "1", ready="Unknown"))
    runs(api)
    assert prove(api, plan()).problems == ["two: the node is not ready (no kubelet)"]
