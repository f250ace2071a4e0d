from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    PYTORCHJOB,
    SPEC_HASH,
    TFJOB,
    deciding_replicas,
    is_unchanged,
    replicas_of,
    spec_hash,
    with_hash,
)

from .builders import manifest, tf_job, tf_params


def test_builds_the_whole_manifest() -> None:
    params = {
        "name": "mnist",
        "namespace": "research",
        "image": "registry.example.com:5000/team/trainer:1.0",
        "command": ["python3", "train.py"],
        "args": ["--epochs", "3"],
        "env": {"VERBOSE": True, "STEPS": 10, "TOKEN": {"valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}},
        "node_selector": {"gpu": "yes"},
        "image_pull_secrets": ["login"],
        "labels": {"team": "vision"},
        "replicas": {
            "chief": {"count": 1, "resources": {"requests": {"cpu": "250m"}}},
            "ps": {"count": 1, "command": ["python3", "ps.py"], "env": {"STEPS": 1}},
            "worker": {"count": 2, "restart_policy": "OnFailure"},
            "evaluator": None,
        },
        "volumes": [
            {"name": "work", "claim": "training", "mount_path": "/work"},
            {"name": "work", "claim": "training", "mount_path": "/logs", "sub_path": "logs"},
            {"name": "code", "config_map": "my-code", "mount_path": "/code", "read_only": True},
            {"name": "shm", "empty_dir": {}, "mount_path": "/dev/shm"},
        ],
        "run_policy": {
            "clean_pod_policy": "Running",
            "backoff_limit": 0,
            "ttl_seconds_after_finished": None,
            "scheduling_policy": {"min_available": 4, "queue": None},
        },
        "success_policy": "AllWorkers",
    }
    job = TFJOB.build(params)
    assert job == manifest("tfjob-from-parameters")


def test_builds_a_pytorch_job() -> None:
    job = PYTORCHJOB.build({"name": "ddp", "image": "t:1", "nproc_per_node": "1", "replicas": {"master": {"count": 1}}})
    assert job["spec"]["nprocPerNode"] == "1"
    assert job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"] == [
        {"name": "pytorch", "image": "t:1"}
    ]


# -- replicas


def test_lists_replicas() -> None:
    assert [replica.pod for replica in replicas_of(TFJOB, tf_job())] == [
        "mnist-chief-0",
        "mnist-worker-0",
        "mnist-worker-1",
        "mnist-ps-0",
    ]


@pytest.mark.parametrize(
    ("replicas", "more", "deciding"),
    [
        ({"chief": {}, "worker": {"count": 2}}, {}, ["chief-0"]),
        ({"ps": {}, "worker": {"count": 2}}, {}, ["worker-0"]),
        ({"worker": {"count": 2}}, {"success_policy": "AllWorkers"}, ["worker-0", "worker-1"]),
    ],
)
def test_knows_who_decides(replicas: Any, more: Any, deciding: list[str]) -> None:
    job = tf_job(replicas=replicas, **more)
    assert [replica.name for replica in deciding_replicas(TFJOB, job)] == deciding


def test_all_pytorch_workers_decide_without_a_master() -> None:
    job = PYTORCHJOB.build({"name": "ddp", "image": "t:1", "replicas": {"worker": {"count": 2}}})
    assert [replica.name for replica in deciding_replicas(PYTORCHJOB, job)] == ["worker-0", "worker-1"]


# -- comparing


def live_copy(job: Any) -> Any:
    """What the API server makes of a job."""
    live = copy.deepcopy(with_hash(job))
    live["metadata"].update(uid="u", generation=1)
    live["spec"].setdefault("runPolicy", {})["suspend"] = False
    live["status"] = {"conditions": []}
    return live


def test_the_same_job_is_unchanged() -> None:
    job = TFJOB.build(tf_params())
    assert is_unchanged(live_copy(job), job)


def test_a_null_is_as_good_as_nothing() -> None:
    job = TFJOB.build(tf_params())
    job["spec"]["runPolicy"] = {"ttlSecondsAfterFinished": None, "suspend": False}
    assert is_unchanged(live_copy(job), job)


@pytest.mark.parametrize(
    "params",
    [
        {"image": "other:1"},
        {"env": {"A": 1}},
        {"labels": {"a": "b"}},
        {"replicas": {"chief": {}, "worker": {"count": 3}}},
    ],
)
def test_a_change_is_seen(params: dict[str, Any]) -> None:
    assert not is_unchanged(live_copy(TFJOB.build(tf_params())), TFJOB.build(tf_params(**params)))


def test_what_was_left_out_is_seen() -> None:
    before, after = TFJOB.build(tf_params(working_dir="/x")), TFJOB.build(tf_params())
    assert not is_unchanged(live_copy(before), after)


def test_an_edit_in_the_cluster_is_seen() -> None:
    job = TFJOB.build(tf_params())
    live = live_copy(job)
    live["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] = 5
    assert not is_unchanged(live, job)


def test_a_job_without_a_hash_is_compared() -> None:
    job = TFJOB.build(tf_params())
    live = live_copy(job)
    del live["metadata"]["annotations"][SPEC_HASH]
    assert is_unchanged(live, job)
    live["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] = 5
    assert not is_unchanged(live, job)


def test_the_hash_does_not_hang_on_order_or_status() -> None:
    job = TFJOB.build(tf_params())
    turned = {key: job[key] for key in reversed(job)}
    turned["status"] = {"conditions": []}
    assert spec_hash(turned) == spec_hash(job) == spec_hash(with_hash(job))
