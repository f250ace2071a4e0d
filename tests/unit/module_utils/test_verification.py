from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils import verification
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB, InvalidJobError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import Check
from ansible_collections.mlstack.kubernetes.plugins.module_utils.verification import verify, wanted_proof
from hypothesis import given
from hypothesis import strategies as st

from .builders import ended, event, pod, running, tf_job
from .fake_api import FakeApi

PODS = "/api/v1/namespaces/default/pods"
EVENTS = "/api/v1/namespaces/default/events"
EVIDENCE = {"worker": r"worker=\d+ step=\d+", "ps": r"ps=\d+ variables=\d+"}


def metric(**options: Any) -> dict[str, Any]:
    return {
        "name": "loss",
        "pattern": r"\bloss=(?P<value>\S+)",
        **dict.fromkeys(("replica", "role", "replicas")),
        **dict.fromkeys(("falls", "rises", "monotone"), False),
        **dict.fromkeys(("final_above", "final_below", "best_above", "best_below")),
        "min_values": 1,
        "finite": True,
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
    job = job or tf_job(conditions=("Succeeded",))
    (verdict,) = verify(api, TFJOB, [job], wanted_proof(TFJOB, params))
    assert verdict.unmet == [
        str(Check(**expectation)) for expectation in verdict.seen["expectations"] if not expectation["met"]
    ]
    return verdict.seen, verdict.unmet


class LateApi(FakeApi):
    """A cluster on which the parameter server ends before the third look at it."""

    looks = 0

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        if path == PODS:
            self.looks += 1
            if self.looks == 3:
                self.put(f"{PODS}/mnist-ps-0", pod("mnist-ps-0", ended(), phase="Succeeded"))
        return super().get(path, query)


@pytest.mark.parametrize(
    ("condition", "seconds", "looks"), [("Succeeded", 60, 3), ("Succeeded", 0, 1), ("Running", 60, 1)]
)
def test_replicas_of_a_job_that_is_over_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, condition: str, seconds: int, looks: int
) -> None:
    monkeypatch.setattr(verification, "WAIT_PAUSE", 0)
    api = LateApi()
    for replica in ("chief-0", "worker-0", "worker-1"):
        api.put(f"{PODS}/mnist-{replica}", pod(f"mnist-{replica}", ended(), phase="Succeeded"))
    api.put(f"{PODS}/mnist-ps-0", pod("mnist-ps-0", running()))
    job = tf_job(conditions=(condition,))
    (verdict,) = verify(api, TFJOB, [job], wanted_proof(TFJOB, {"state": "Running"}), wait_seconds=seconds)
    assert api.looks == looks
    (server,) = [row for row in verdict.seen["replicas"] if row["replica"] == "ps-0"]
    assert server["exit_code"] == (0 if looks == 3 else None)


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
    loss = {"values": [2.5, 0.5], "first": 2.5, "final": 0.5, "lowest": 0.5, "highest": 2.5, "not_finite": 0}
    series = {"replicas": ["chief-0"], **loss}
    assert seen["metrics"]["loss"] == {"replica": "chief-0", "series": [series], "bounds": {}, **series}
    assert seen["metrics"]["test_accuracy"]["final"] == 0.95
    assert seen["diagnosis"] is None


def test_every_unmet_expectation_is_named(api: FakeApi) -> None:
    api.logs["mnist-worker-1"] = ["started"]
    api.logs["mnist-chief-0"] = ["loss=1", "loss=2"]
    job = tf_job(conditions=("Running",))
    _seen, problems = check(api, job, evidence=EVIDENCE, metrics=[metric(falls=True, final_below=0.1)])
    assert problems == [
        "state: wanted Succeeded, saw Running: It is Running.",
        r"worker-1: wanted 'worker=\d+ step=\d+' in its log, saw no match in its 1 lines.",
        "loss: wanted it to fall, saw 1 as the mean of the first 1 of 2 values and 2 as that of the last.",
        "loss: wanted the final value below 0.1, saw 2.",
    ]


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (ended(1), "saw 1 (Error)."),
        (
            {"waiting": {"reason": "ImagePullBackOff"}},
            "saw that its training container never started: ImagePullBackOff.",
        ),
        (None, "saw that its training container never started: Running."),
    ],
)
def test_a_replica_that_did_not_take_part(api: FakeApi, state: Any, problem: str) -> None:
    api.put(f"{PODS}/mnist-worker-0", pod("mnist-worker-0", state))
    assert check(api)[1] == [f"worker-0: wanted it to run, and exit code 0 if it ends, {problem}"]


def test_a_replica_that_crashes_again_and_again_does_not_take_part(api: FakeApi) -> None:
    crashing = pod("mnist-worker-0", {"waiting": {"reason": "CrashLoopBackOff"}}, last_state=ended(1), restarts=7)
    api.put(f"{PODS}/mnist-worker-0", crashing)
    seen, problems = check(api, max_restarts=6)
    assert [problem.partition(", saw ")[2] for problem in problems] == [
        "that its training container does not run: CrashLoopBackOff.",
        "7.",
    ]
    assert seen["replicas"][1]["previous_exit_code"] == 1


def test_the_deciding_replica_must_have_ended(api: FakeApi) -> None:
    api.put(f"{PODS}/mnist-chief-0", pod("mnist-chief-0", running()))
    assert check(api)[1] == ["chief-0: wanted exit code 0, saw it running."]


def test_a_job_may_still_train_where_that_is_wanted(api: FakeApi) -> None:
    api.put(f"{PODS}/mnist-chief-0", pod("mnist-chief-0", running()))
    wanted = {"wanted_state": "Running", "metrics": [metric(falls=True)]}
    seen, problems = check(api, tf_job(conditions=("Running",)), **wanted)
    assert problems == []
    assert seen["metrics"]["loss"]["values"] == [2.5, 0.5]
    assert "wanted Running, saw Failed" in check(api, tf_job(conditions=("Failed",)), **wanted)[1][0]
    # One that has succeeded by now must have done so wholly.
    assert check(api, **wanted)[1] == ["chief-0: wanted exit code 0, saw it running."]


def test_a_pod_that_is_gone_proves_nothing(api: FakeApi) -> None:
    api.drop(f"{PODS}/mnist-worker-0")
    problems = check(api, max_restarts=3)[1]
    assert [problem.partition(", saw ")[2] for problem in problems] == [
        "that its pod mnist-worker-0 is gone, so nothing proves that it ran.",
        "0, and cannot know those of worker-0 whose pods are gone.",
    ]


@pytest.mark.parametrize(("when", "proves"), [("2026-01-02T03:05:00Z", True), ("2026-01-01T00:00:00Z", False)])
def test_an_event_proves_that_a_cleaned_replica_ran(api: FakeApi, when: str, proves: bool) -> None:
    api.drop(f"{PODS}/mnist-worker-0")
    happened = {**event("Started", "Started container", "uid-x"), "firstTimestamp": when}
    api.put(f"{EVENTS}/e", happened)
    assert (check(api)[1] == []) is proves


def test_a_log_that_is_gone_proves_nothing(api: FakeApi) -> None:
    del api.logs["mnist-worker-0"], api.logs["mnist-chief-0"]
    _seen, problems = check(api, evidence={"worker": "step"}, ranks={"pattern": "(?P<rank>x)"}, metrics=[metric()])
    assert [problem.split(":")[0] for problem in problems] == ["worker-0", "ranks", "loss"]
    assert all("cannot be read" in problem for problem in problems)


def test_pods_of_a_former_job_prove_nothing(api: FakeApi) -> None:
    job = tf_job(uid="uid-2", conditions=("Succeeded",))
    assert len(check(api, job)[1]) == 4


@pytest.mark.parametrize(
    ("bounds", "problems"),
    [
        ({"duration_above": 59, "duration_below": 61}, []),
        ({"duration_below": 60}, ["duration: wanted below 60 seconds, saw 60 seconds."]),
        ({"duration_above": 60}, ["duration: wanted above 60 seconds, saw 60 seconds."]),
        ({"max_restarts": 0}, []),
    ],
)
def test_bounds_of_time_and_restarts(api: FakeApi, bounds: dict[str, Any], problems: list[str]) -> None:
    job = tf_job(conditions=("Succeeded",))
    job["status"].update(startTime="2026-01-02T03:04:00Z", completionTime="2026-01-02T03:05:00Z")
    assert check(api, job, **bounds)[1] == problems


def test_the_duration_of_a_job_that_goes_on_is_not_known(api: FakeApi) -> None:
    running_job = tf_job(conditions=("Running",))
    problems = check(api, running_job, wanted_state="Running", duration_below=1e9)[1]
    assert problems == ["duration: wanted below 1e+09 seconds, saw no end yet."]


# -- where metrics come from


def test_a_metric_can_be_read_from_any_replica(api: FakeApi) -> None:
    api.logs["mnist-worker-1"] = ["loss=3"]
    assert check(api, metrics=[metric(replica="worker-1")])[0]["metrics"]["loss"]["values"] == [3]
    assert check(api, metrics=[metric(replica="worker-9")])[1] == [
        "loss: wanted to read it from 'worker-9', saw that the job has no such replica."
    ]


def test_every_replica_of_a_role_must_meet_what_is_expected(api: FakeApi) -> None:
    api.logs["mnist-worker-0"] = ["epoch=1 loss=3", "epoch=2 loss=1"]
    api.logs["mnist-worker-1"] = ["epoch=1 loss=2", "epoch=2 loss=2.5"]
    by_epoch = r"epoch=(?P<epoch>\d+) loss=(?P<value>\S+)"
    seen, problems = check(api, metrics=[metric(role="Worker", falls=True, pattern=by_epoch)])
    assert problems == [
        "loss (worker-1): wanted it to fall, saw 2 as the mean of the first 1 of 2 values and 2.5 as that of the last."
    ]
    assert [series["values"] for series in seen["metrics"]["loss"]["series"]] == [[3, 1], [2, 2.5]]
    assert seen["metrics"]["loss"]["values"] == []

    seen, problems = check(api, metrics=[metric(replicas=["worker"], falls=True, pattern=by_epoch)])
    assert problems == []
    assert seen["metrics"]["loss"]["values"] == [2.5, 1.75]
    assert seen["metrics"]["loss"]["epochs"] == ["1", "2"]
    assert seen["metrics"]["loss"]["replicas"] == ["worker-0", "worker-1"]

    # Nothing to align them by.
    _seen, problems = check(api, metrics=[metric(replicas=["worker-0", "worker-1", "worker-2"], falls=True)])
    assert [problem.split(":")[0] for problem in problems] == ["loss", "loss (worker-1)"]


# -- ranks

RANKS = {"pattern": r"rank=(?P<rank>\S+)(?: of (?P<world_size>\S+))?"}


@pytest.mark.parametrize(
    ("logged", "world_size", "problems"),
    [
        (["rank=0", "rank=1", "rank=2", "rank=3"], None, []),
        (["rank=0 of 4", "rank=1 of 4", "rank=2 of 4", "rank=3 of 4"], None, []),
        (["rank=0 rank=1", "rank=2", "rank=3", "rank=4"], 5, []),
        (["rank=0", "rank=1", "rank=2", "nothing"], None, ["nothing of rank 3"]),
        (["rank=0", "rank=1", "rank=2", "rank=4"], None, ["nothing of rank 3; rank 4, too"]),
        (["rank=0", "rank=1", "rank=2", "rank=3 rank=x"], None, ["rank x, too"]),
        (["rank=0", "rank=1", "rank=1", "rank=2"], 3, ["rank 1 in the logs of worker-0, worker-1"]),
        # Each for itself.
        (["rank=0 of 1"] * 4, None, ["rank 0 in the logs of chief-0, worker-0, worker-1, ps-0"]),
        (["rank=0 of 2", "rank=1 of 2", "rank=0 of 3", ""], 2, ["2, 3", "rank 0 in the logs of chief-0, worker-1"]),
        (["rank=0 of many"] * 4, None, ["many", "rank 0 in the logs of chief-0, worker-0, worker-1, ps-0"]),
    ],
)
def test_ranks(api: FakeApi, logged: list[str], world_size: int | None, problems: list[str]) -> None:
    for replica, line in zip(("chief-0", "worker-0", "worker-1", "ps-0"), logged, strict=True):
        api.logs[f"mnist-{replica}"] = [line]
    unmet = check(api, ranks={**RANKS, "world_size": world_size})[1]
    assert [problem.partition(", saw ")[2].rstrip(".") for problem in unmet] == problems


@given(st.lists(st.lists(st.text("0123x٣", max_size=12), max_size=3), min_size=4, max_size=4))
def test_ranks_pass_only_where_each_is_there_once(logged: list[list[str]]) -> None:
    api = FakeApi()
    for number, replica in enumerate(("chief-0", "worker-0", "worker-1", "ps-0")):
        api.put(f"{PODS}/mnist-{replica}", pod(f"mnist-{replica}", ended()))
        api.logs[f"mnist-{replica}"] = [f"rank={rank} of 3" for rank in logged[number]]
    is_met = check(api, ranks=RANKS)[1] == []
    once = [rank for ranks in logged for rank in set(ranks)]
    assert is_met == (sorted(once) == ["0", "1", "2"])


# -- several jobs


def test_many_jobs_take_one_request_for_their_pods() -> None:
    api = FakeApi()
    jobs = []
    for number in range(20):
        jobs.append(tf_job(uid=f"uid-{number}", name=f"job-{number}", conditions=("Succeeded",)))
        for replica in ("chief-0", "ps-0", "worker-0", "worker-1"):
            name = f"job-{number}-{replica}"
            api.put(f"{PODS}/{name}", pod(name, ended(), owner=f"uid-{number}"))
            api.logs[name] = [f"loss={number}"]
    verdicts = verify(api, TFJOB, jobs, wanted_proof(TFJOB, {"metrics": [metric(final_below=19)]}))
    assert api.calls == [("get", PODS)]
    assert [verdict.seen["metrics"]["loss"]["final"] for verdict in verdicts] == list(range(20))
    assert [verdict.name for verdict in verdicts if verdict.unmet] == ["job-19"]


def test_no_job_needs_no_request() -> None:
    api = FakeApi()
    assert verify(api, TFJOB, [], wanted_proof(TFJOB, {})) == []
    assert api.calls == []


def test_a_failed_job_is_explained(api: FakeApi) -> None:
    api.put(f"{PODS}/mnist-worker-1", pod("mnist-worker-1", ended(137, "OOMKilled")))
    api.logs["mnist-worker-1"] = ["allocating"]
    seen, problems = check(api, tf_job(conditions=("Failed",)))
    assert [problem.partition(":")[0] for problem in problems] == ["state", "worker-1"]
    assert seen["diagnosis"]["causes"][0]["log"] == ["allocating"]
    assert "memory" in seen["diagnosis"]["cure"]


def test_secrets_are_hidden(api: FakeApi) -> None:
    job = tf_job(conditions=("Succeeded",), env={"HUB_TOKEN": "hf_abcdef", "EPOCHS": "tenten"})
    api.logs["mnist-worker-0"] = ["worker=0 step=1 with hf_abcdef for tenten at https://me:hunter22@hub"]
    api.logs["mnist-worker-1"] = ["worker=1 step=1 api-key-of-ansible password=abc tokens=12345 token=0.5"]
    wanted = wanted_proof(TFJOB, {"evidence": EVIDENCE})
    (verdict,) = verify(api, TFJOB, [job], wanted, ["api-key-of-ansible"])
    assert verdict.seen["evidence"]["worker-0"] == "worker=0 step=1 with ******** for tenten at https://me:********@hub"
    assert verdict.seen["evidence"]["worker-1"] == "worker=1 step=1 ******** password=******** tokens=12345 token=0.5"
    assert "hf_abcdef" not in str(verdict)


def test_evidence_of_a_role_that_is_not_there(api: FakeApi) -> None:
    assert check(api, evidence={"evaluator": "x"})[1] == [
        "evidence.evaluator: wanted 'x' in its log, saw that the job has no replica of this role."
    ]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"evidence": {"boss": "x"}}, "evidence.boss: 'boss' is not a role of a TFJob; use one of chief"),
        ({"evidence": {"worker": "("}}, "evidence.worker: '(' is not a regular expression"),
        ({"ranks": {"pattern": "x"}}, "ranks.pattern: 'x' has no group named rank"),
        ({"ranks": {"pattern": "(?P<rank>x)", "world_size": 0}}, "ranks.world_size: 0 is no number of processes"),
        ({"metrics": [metric(pattern="x")]}, "metrics.loss.pattern: 'x' has no group named value"),
        ({"metrics": [metric(falls=True, rises=True)]}, "metrics.loss: cannot both fall and rise"),
        ({"metrics": [metric(monotone=True)]}, "metrics.loss.monotone: says nothing by itself"),
        ({"metrics": [metric(), metric()]}, "metrics.loss: is named twice"),
        ({"metrics": [metric(min_values=0)]}, "metrics.loss.min_values: 0 proves nothing; use 1 or more"),
        ({"metrics": [metric(best_below=float("nan"))]}, "metrics.loss.best_below: nan is no bound"),
        ({"metrics": [metric(role="boss")]}, "metrics.loss.role: 'boss' is not a role of a TFJob"),
        ({"duration_above": 9, "duration_below": 5}, "duration_above: 9 is not below duration_below, 5"),
        ({"max_restarts": -1}, "max_restarts: -1 is negative; use 0 for none"),
    ],
)
def test_what_cannot_be_wanted(params: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidJobError) as caught:
        wanted_proof(TFJOB, params)
    assert expected in str(caught.value)
