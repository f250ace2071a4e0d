"""A claim that every node is to share: the pods that are made, and what is told of each node."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volume_proof import NoVolumeError, Plan, prove

from .fake_api import FakeApi

PLAN = Plan(
    namespace="default", claim="training", image="python:3", program="print()", run_as_user=1000, wait_timeout=0.3
)
CORE = "/api/v1/namespaces/default"
CLAIM = f"{CORE}/persistentvolumeclaims/training"


def node(name: str, ready: str = "True") -> Json:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": ready, "message": "no kubelet"}]},
    }


def claim(phase: str = "Bound", modes: tuple[str, ...] = ("ReadWriteMany",), **spec: Any) -> Json:
    return {
        "metadata": {"name": "training", "namespace": "default"},
        "spec": {"accessModes": list(modes), **spec},
        "status": {"phase": phase},
    }


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    for name in ("one", "two", "three"):
        api.put(f"/api/v1/nodes/{name}", node(name))
    api.put(CLAIM, claim())
    return api


def answers(api: FakeApi, **by_node: Json) -> list[Json]:
    """Have each pod end at once with what its node says; the pods that were made."""
    made: list[Json] = []

    def on_create(path: str, body: Json) -> None:
        if path == f"{CORE}/pods":
            made.append(body)
            action = body["spec"]["containers"][0]["command"][3]
            said = {"sync_milliseconds": [1.0, 2.0, 9.0]} if action == "write" else {}
            said |= by_node.get(body["spec"]["nodeName"], {})
            body["status"] = {"phase": "Succeeded", "containerStatuses": [{"state": {}}]}
            api.logs[body["metadata"]["name"]] = [json.dumps(said)]

    api.on_create = on_create
    return made


def test_written_on_one_node_and_read_on_all_others(api: FakeApi) -> None:
    made = answers(api)
    verdict = prove(api, PLAN)
    assert verdict.problems == []
    assert verdict.sync == 2.0
    assert verdict.table() == ["one: writes, 2 ms until it is on the server's disk", "three: reads", "two: reads"]
    steps = [(pod["spec"]["containers"][0]["command"][3], pod["spec"]["nodeName"]) for pod in made]
    assert sorted(steps) == [("delete", "one"), ("read", "three"), ("read", "two"), ("write", "one")]
    assert {pod["spec"]["securityContext"]["runAsUser"] for pod in made} == {1000}
    # All of them tell of one file.
    assert len({pod["spec"]["containers"][0]["command"][4] for pod in made}) == 1
    assert not [path for path in api.objects if "volume-proof" in path]


def test_the_node_that_fails_is_named(api: FakeApi) -> None:
    answers(api, two={"problem": "user 1000 cannot read: [Errno 13] Permission denied"})
    verdict = prove(api, PLAN)
    assert verdict.problems == ["two: user 1000 cannot read: [Errno 13] Permission denied"]
    assert "two: FAILED, user 1000 cannot read: [Errno 13] Permission denied" in verdict.table()


def test_nobody_reads_what_could_not_be_written(api: FakeApi) -> None:
    made = answers(api, one={"problem": "user 1000 cannot write: [Errno 30] Read-only file system"})
    assert prove(api, PLAN).problems == ["one: user 1000 cannot write: [Errno 30] Read-only file system"]
    assert len(made) == 1


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("mount: /v: bad option; for several filesystems you might need a helper program.", "nfs-common"),
        ("mount.nfs: access denied by server while mounting 192.0.2.1:/srv", "clients of the export"),
        ("mount.nfs: No such device", "kernel has no NFS client"),
        ("mount.nfs: Connection refused", "no NFS server listens there"),
    ],
)
def test_why_a_volume_cannot_be_mounted_and_what_helps(api: FakeApi, said: str, cure: str) -> None:
    api.put(
        f"{CORE}/events/e1",
        {
            "metadata": {"name": "e1"},
            "involvedObject": {"name": "volume-proof-write-0"},
            "reason": "FailedMount",
            "message": f"MountVolume.SetUp failed: exit status 32\nMounting command: mount\nOutput: {said}",
        },
    )
    api.on_create = lambda path, body: None
    [problem] = prove(api, PLAN).problems
    assert problem.startswith(f"one: the volume cannot be mounted: {said}")
    assert cure in problem


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "the claim default/training does not exist"),
        (claim(modes=("ReadWriteOnce",)), "has the access modes ReadWriteOnce; ReadWriteMany is needed"),
        (claim(phase="Pending"), "is Pending: no volume fits it"),
    ],
)
def test_a_claim_that_cannot_be_shared_is_told(api: FakeApi, found: Json | None, message: str) -> None:
    api.drop(CLAIM)
    if found:
        api.put(CLAIM, found)
    with pytest.raises(NoVolumeError, match=message):
        prove(api, PLAN)


def test_a_class_that_binds_late_gets_its_first_pod(api: FakeApi) -> None:
    api.put(CLAIM, claim(phase="Pending", storageClassName="late"))
    api.put(
        "/apis/storage.k8s.io/v1/storageclasses/late", {"metadata": {}, "volumeBindingMode": "WaitForFirstConsumer"}
    )
    answers(api)
    assert prove(api, PLAN).problems == []


def test_a_node_that_is_not_ready_is_a_failure(api: FakeApi) -> None:
    api.put("/api/v1/nodes/dead", node("dead", ready="Unknown"))
    answers(api)
    assert prove(api, PLAN).problems == ["dead: the node is not ready (no kubelet)"]
