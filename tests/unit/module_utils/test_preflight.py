from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.preflight import problems_in_cluster

from .builders import tf_job
from .fake_api import FakeApi

NAMESPACE = "/api/v1/namespaces/default"


def job_with(**params: Any) -> Json:
    return tf_job(replicas={"chief": {}, "worker": {}}, **params)


def test_a_job_without_references_needs_nothing() -> None:
    assert problems_in_cluster(FakeApi(), TFJOB, job_with()) == []


def test_names_every_missing_object_once() -> None:
    job = job_with(
        volumes=[
            {"name": "work", "claim": "training", "mount_path": "/work"},
            {"name": "code", "config_map": "code", "mount_path": "/code"},
            {"name": "key", "secret": "key", "mount_path": "/key"},
        ],
        env={"TOKEN": {"valueFrom": {"secretKeyRef": {"name": "token", "key": "k"}}}},
    )
    api = FakeApi()
    api.put(f"{NAMESPACE}/configmaps/code", {"metadata": {"name": "code"}})
    problems = problems_in_cluster(api, TFJOB, job)
    assert problems == [
        "PersistentVolumeClaim 'training', which Chief, Worker refers to, does not exist in namespace 'default'; "
        "create it or correct the name.",
        "Secret 'key', which Chief, Worker refers to, does not exist in namespace 'default'; "
        "create it or correct the name.",
        "Secret 'token', which Chief, Worker refers to, does not exist in namespace 'default'; "
        "create it or correct the name.",
    ]


def test_what_is_optional_may_be_missing() -> None:
    env = {"TOKEN": {"valueFrom": {"secretKeyRef": {"name": "token", "key": "k", "optional": True}}}}
    assert problems_in_cluster(FakeApi(), TFJOB, job_with(env=env)) == []


def test_what_may_not_be_asked_is_passed_over() -> None:
    api = FakeApi()
    api.failures[f"{NAMESPACE}/configmaps/code"] = [ApiError(403, "Forbidden", "may not")]
    job = job_with(volumes=[{"name": "code", "config_map": "code", "mount_path": "/code"}])
    assert problems_in_cluster(api, TFJOB, job) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ApiError(422, "Invalid", 'Pod "mnist-chief-0" is invalid: spec.containers[0].env[0].name'), True),
        (ApiError(403, "Forbidden", 'violates PodSecurity "restricted:latest"'), True),
        (ApiError(403, "Forbidden", 'User "x" cannot create resource "pods" in API group ""'), False),
        (ApiError(403, "Forbidden", "exceeded quota: small"), False),
        (ApiError(403, "Forbidden", 'error looking up service account: serviceaccount "default" not found'), False),
        (ApiError(409, "AlreadyExists", "already exists"), False),
        (ApiError(503, "ServiceUnavailable", "starting"), False),
    ],
)
def test_pods_are_tried(error: ApiError, told: bool) -> None:
    tried = []

    def refuse(path: str, body: Json) -> None:
        tried.append((path, body["metadata"]["name"]))
        raise error

    api = FakeApi()
    api.on_dry_run = refuse
    problems = problems_in_cluster(api, TFJOB, job_with())
    assert tried == [(f"{NAMESPACE}/pods", "mnist-chief-0"), (f"{NAMESPACE}/pods", "mnist-worker-0")]
    assert bool(problems) is told
    if told:
        assert error.message in problems[0]
        assert "Chief" in problems[0]
