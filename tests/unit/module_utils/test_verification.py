from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB, InvalidJobError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.verification import verify, wanted_proof

from .builders import ended, pod, running, tf_job
from .fake_api import FakeApi

PODS = "/api/v1/namespaces/default/pods"
EVENTS = "/api/v1/namespaces/default/events"
EVIDENCE = {"worker": r"worker=\d+ step=\d+", "ps": r"ps=\d+ variables=\d+"}


def metric(**options: Any) -> dict[str, Any]:
    return {
        "name": "loss",
        "pattern": r"\bloss=(?P<value>\S+)",
        "replica": None,
        "falls": False,
        "rises": False,
        "monotone": False,
        "final_above": None,
        "final_below": None,
        **options,
    }


@pytest.fixture
def api() -> FakeApi:
    """A cluster after a training as it should be."""
    api = FakeApi()
    states = {"chief-0": ended(), "ps-0": running(), "worker-0": ended(), "worker-1": ended()}
    for replica, state in states.items():
        api.put(f"{PODS}/mnist-{replica}", pod(f"mnist-{replica}", state))
    api.logs = {
        "mnist-chief-0": ["start", "epoch=1 loss=2.5", "epoch=2 loss=0.5", "test_accuracy=0.95"],
        "mnist-ps-0": ["ps=0 variables=8"],
        "mnist-worker-0": ["worker=0 step=1"],
        "mnist-worker-1": ["worker=1 step=1"],
    }
    return api


def check(api: FakeApi, job: Json | None = None, **params: Any) -> tuple[Json, list[str]]:
    return verify(api, TFJOB, job or tf_job(conditions=("Succeeded",)), wanted_proof(TFJOB, params))


def test_a_real_training_passes(api: FakeApi) -> None:
    accuracy = metric(name="test_accuracy", pattern=r"test_accuracy=(?P<value>\S+)", final_above=0.9)
    seen, problems = check(api, evidence=EVIDENCE, metrics=[metric(falls=True, monotone=True), accuracy])
    assert problems == []
    assert seen["state"] == "Succeeded"
    assert seen["evidence"] == {
        "worker-0": "worker=0 step=1",
        "worker-1": "worker=1 step=1",
        "ps-0": "ps=0 variables=8",
    }
    assert seen["metrics"]["loss"] == {"replica": "chief-0", "values": [2.5, 0.5], "first": 2.5, "final": 0.5}
    assert seen["metrics"]["test_accuracy"]["final"] == 0.95


def test_every_unmet_expectation_is_named(api: FakeApi) -> None:
    api.logs["mnist-worker-1"] = ["started"]
    api.logs["mnist-chief-0"] = ["loss=1", "loss=2"]
    job = tf_job(conditions=("Running",))
    _seen, problems = check(api, job, evidence=EVIDENCE, metrics=[metric(falls=True, final_below=0.1)])
    assert problems == [
        "state: wanted Succeeded, saw Running: It is Running.",
        r"worker-1: wanted 'worker=\d+ step=\d+' in its log, but none of its 1 lines matches.",
        "loss: wanted it to fall, but the mean of the last 1 of 2 values is 2 and that of the first 1 is 1.",
        "loss: wanted the final value below 0.1, saw 2.",
    ]


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (ended(1), "worker-0: wanted exit code 0, saw 1 (Error)."),
        ({"waiting": {"reason": "ImagePullBackOff"}}, "worker-0: its training container never started"),
    ],
)
def test_a_replica_that_did_not_take_part(api: FakeApi, state: Any, problem: str) -> None:
    api.put(f"{PODS}/mnist-worker-0", pod("mnist-worker-0", state))
    _seen, problems = check(api)
    assert len(problems) == 1
    assert problem in problems[0]


def test_the_deciding_replica_must_have_ended(api: FakeApi) -> None:
    api.put(f"{PODS}/mnist-chief-0", pod("mnist-chief-0", running()))
    assert check(api)[1] == ["chief-0: wanted it to have ended, but it has not."]


def test_a_pod_that_is_gone_proves_nothing(api: FakeApi) -> None:
    api.drop(f"{PODS}/mnist-worker-0")
    assert check(api)[1] == ["worker-0: its pod mnist-worker-0 is gone, so nothing proves that it ran."]


@pytest.mark.parametrize(("when", "proves"), [("2026-01-02T03:05:00Z", True), ("2026-01-01T00:00:00Z", False)])
def test_an_event_proves_that_a_cleaned_replica_ran(api: FakeApi, when: str, proves: bool) -> None:
    api.drop(f"{PODS}/mnist-worker-0")
    api.put(f"{EVENTS}/e", {"metadata": {"name": "e"}, "reason": "Started", "firstTimestamp": when})
    assert (check(api)[1] == []) is proves


def test_a_log_that_is_gone_proves_nothing(api: FakeApi) -> None:
    del api.logs["mnist-worker-0"], api.logs["mnist-chief-0"]
    _seen, problems = check(api, evidence={"worker": "step"}, metrics=[metric()])
    assert [problem.split(":")[0] for problem in problems] == ["worker-0", "loss"]
    assert all("cannot be read" in problem for problem in problems)


def test_pods_of_a_former_job_prove_nothing(api: FakeApi) -> None:
    job = tf_job(uid="uid-2", conditions=("Succeeded",))
    assert len(check(api, job)[1]) == 4


def test_a_metric_can_be_read_from_any_replica(api: FakeApi) -> None:
    api.logs["mnist-worker-1"] = ["loss=3"]
    assert check(api, metrics=[metric(replica="worker-1")])[0]["metrics"]["loss"]["values"] == [3]
    assert check(api, metrics=[metric(replica="worker-9")])[1] == [
        "loss: the job has no replica 'worker-9' to read it from."
    ]


def test_evidence_of_a_role_that_is_not_there(api: FakeApi) -> None:
    assert check(api, evidence={"evaluator": "x"})[1] == ["evidence.evaluator: the job has no replica of this role."]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"evidence": {"boss": "x"}}, "evidence.boss: 'boss' is not a role of a TFJob; use one of chief"),
        ({"evidence": {"worker": "("}}, "evidence.worker: '(' is not a regular expression"),
        ({"metrics": [metric(pattern="x")]}, "metrics.loss.pattern: 'x' has no group named value"),
        ({"metrics": [metric(falls=True, rises=True)]}, "metrics.loss: cannot both fall and rise"),
        ({"metrics": [metric(monotone=True)]}, "metrics.loss.monotone: says nothing by itself"),
        ({"metrics": [metric(), metric()]}, "metrics.loss: is named twice"),
    ],
)
def test_what_cannot_be_wanted(params: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidJobError) as caught:
        wanted_proof(TFJOB, params)
    assert expected in str(caught.value)
