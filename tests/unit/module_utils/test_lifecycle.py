from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils import steady, watch
from ansible_collections.mlstack.kubernetes.plugins.module_utils import waiting as waiting_module
from ansible_collections.mlstack.kubernetes.plugins.module_utils.course import Course, JobError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.lifecycle import Lifecycle, Options, outcome
from ansible_collections.mlstack.kubernetes.plugins.module_utils.waiting import Limits

from .builders import ended, event, pod, running, tf_params, waiting
from .fake_api import FakeApi, unreachable

JOBS = "/apis/kubeflow.org/v1/namespaces/default/tfjobs"
PODS = "/api/v1/namespaces/default/pods"
EVENTS = "/api/v1/namespaces/default/events"
JOB = f"{JOBS}/mnist"
LIMITS = ("wait_timeout", "grace", "grace_for", "stall_timeout")
SMALL = {"chief": {"count": 1}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(watch, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(steady, "RESTART_SECONDS", 1.0)


class Cluster:
    """A fake API with an operator that obeys the test."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.warnings: list[str] = []
        self._workers: list[threading.Thread] = []
        self._over = False

    def bring(self, state: str, options: dict[str, Any], wanted: Json | None = None) -> Json:
        limits = {"wait_timeout": 5, "grace": 0.2}
        limits.update({key: options.pop(key) for key in LIMITS if key in options})
        lifecycle = Lifecycle(self.api, TFJOB, Options(limits=Limits(**limits), **options), self.warnings.append)
        course = Course(TFJOB, "default", "mnist", wanted)
        getattr(lifecycle, state)([course])
        return outcome([course], is_batch=False)

    def present(self, options: dict[str, Any] | None = None, **params: Any) -> Json:
        return self.bring("present", {**(options or {})}, TFJOB.build(tf_params(**{"replicas": SMALL, **params})))

    def absent(self, **options: Any) -> Json:
        return self.bring("absent", options)

    def later(self, *steps: Callable[[], object], pause: float = 0.05) -> None:
        """Does the steps one after another while the code under test waits, as soon as there is a job."""

        def work() -> None:
            end = time.monotonic() + 5
            while JOB not in self.api.objects and not self._over and time.monotonic() < end:
                time.sleep(0.005)
            for step in steps:
                time.sleep(pause)
                if not self._over:
                    step()

        thread = threading.Thread(target=work)
        self._workers.append(thread)
        thread.start()

    def condition(self, *kinds: str) -> None:
        job = self.api.objects[JOB]
        conditions = [{"type": kind, "status": "True", "reason": kind, "message": f"{kind}!"} for kind in kinds]
        self.api.put(JOB, {**job, "status": {"conditions": conditions}})

    def pod(self, state: Any, name: str = "mnist-chief-0", **extra: Any) -> None:
        uid = self.api.objects[JOB]["metadata"]["uid"]
        self.api.put(f"{PODS}/{name}", pod(name, state, owner=uid, **extra))

    def drop_pods(self) -> None:
        for path in [path for path in self.api.objects if path.startswith(PODS)]:
            self.api.drop(path)

    def stop(self) -> None:
        self._over = True
        for worker in self._workers:
            worker.join()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.stop()


NO_WAIT = {"wait": False}
CHECK = {"check_mode": True}


def failure(cluster: Cluster, options: dict[str, Any] | None = None, **params: Any) -> JobError:
    with pytest.raises(JobError) as caught:
        cluster.present(options, **params)
    return caught.value


def run_to_success(cluster: Cluster) -> Json:
    cluster.later(
        lambda: cluster.pod(running()),
        lambda: cluster.condition("Created", "Running"),
        lambda: cluster.pod(ended(0), phase="Succeeded"),
        lambda: cluster.condition("Created", "Succeeded"),
    )
    return cluster.present()


def test_makes_waits_and_returns_at_the_end(cluster: Cluster) -> None:
    result = run_to_success(cluster)
    assert (result["changed"], result["state"]) == (True, "Succeeded")
    assert result["replicas"][0]["exit_code"] == 0
    timings = result["timings"]
    assert 0 < timings["first_container"] < timings["finished"] < 2
    assert timings["after_finish"] < 0.2
    assert result["diff"]["before"] == {}
    assert result["diff"]["after"]["spec"]["tfReplicaSpecs"]["Chief"]["replicas"] == 1


def test_a_second_run_writes_nothing_and_returns_at_once(cluster: Cluster) -> None:
    run_to_success(cluster)
    cluster.api.calls.clear()
    result = cluster.present()
    assert (result["changed"], result["state"]) == (False, "Succeeded")
    assert result["diff"]["before"] == result["diff"]["after"]
    assert cluster.api.calls == [("get", JOB), ("get", PODS)]


def test_an_existing_job_is_waited_for(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.later(lambda: cluster.pod(ended(0)), lambda: cluster.condition("Succeeded"))
    result = cluster.present()
    assert (result["changed"], result["state"]) == (False, "Succeeded")
    assert result["timings"]["first_container"] is None


def test_without_wait_it_only_makes(cluster: Cluster) -> None:
    result = cluster.present(NO_WAIT)
    assert (result["changed"], result["state"]) == (True, "Pending")
    assert cluster.api.writes == [("create", JOBS)]


def test_a_suspended_job_is_not_waited_for(cluster: Cluster) -> None:
    cluster.later(lambda: cluster.condition("Created", "Suspended"))
    assert cluster.present(run_policy={"suspend": True})["state"] == "Suspended"


def test_fails_with_the_cause(cluster: Cluster) -> None:
    cluster.api.logs["mnist-chief-0"] = ["Traceback", "ValueError: no data"]
    cluster.later(
        lambda: cluster.pod(ended(1), phase="Failed"),
        # The pod is cleaned away before the job's state says so.
        cluster.drop_pods,
        lambda: cluster.condition("Failed"),
    )
    error = failure(cluster)
    assert "TFJob default/mnist failed. Failed!" in str(error)
    assert "ValueError: no data" in str(error)
    assert error.result["diagnosis"]["causes"][0]["exit_code"] == 1
    assert error.result["replicas"][0]["exit_code"] == 1
    assert JOB in cluster.api.objects


def test_a_job_that_failed_earlier_is_a_failure_with_its_cause(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.pod(ended(1), phase="Failed")
    cluster.condition("Failed")
    cluster.api.logs["mnist-chief-0"] = ["ValueError: no data"]
    error = failure(cluster)
    assert "failed earlier" in str(error)
    assert "ValueError: no data" in str(error)
    assert cluster.present(NO_WAIT)["state"] == "Failed"


def test_a_job_that_failed_earlier_can_be_run_again(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.condition("Failed")
    result = cluster.present({"wait": False, "on_failed": "recreate"})
    assert (result["changed"], result["state"]) == (True, "Pending")


def test_another_spec_is_refused_or_made_anew(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.pod(running())
    error = failure(cluster, image="other:1")
    assert "exists with another spec" in str(error)
    assert error.result["diff"]["before"] != error.result["diff"]["after"]
    assert cluster.api.writes == [("create", JOBS)]

    uid = cluster.api.objects[JOB]["metadata"]["uid"]
    cluster.api.on_delete = lambda path: threading.Timer(0.05, cluster.drop_pods).start()
    result = cluster.present({"wait": False, "on_change": "recreate"}, image="other:1")
    assert result["changed"]
    assert cluster.api.objects[JOB]["metadata"]["uid"] != uid
    assert cluster.api.writes == [("create", JOBS), ("delete", JOB), ("create", JOBS)]


def test_the_old_job_is_kept_when_the_new_one_is_refused(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)

    def refuse(path: str, body: Json) -> None:
        if path == JOBS:
            raise ApiError(422, "Invalid", f"{body['metadata']['name']}: unknown field")

    cluster.api.on_dry_run = refuse
    error = failure(cluster, {"on_change": "recreate"}, image="other:1")
    assert "refused TFJob default/mnist: mnist: unknown field" in str(error)
    assert cluster.api.writes == [("create", JOBS)]


# -- stuck


def test_a_job_that_never_starts_is_taken_back(cluster: Cluster) -> None:
    cluster.api.on_delete = lambda path: cluster.drop_pods()
    cluster.later(lambda: cluster.pod(waiting("ImagePullBackOff", "no such image"), phase="Pending"))
    error = failure(cluster)
    assert "cannot go on" in str(error)
    assert "ImagePullBackOff: no such image" in str(error)
    assert "What to do: Check the image's name" in str(error)
    assert str(error).endswith("It was deleted again.")
    assert error.result["changed"] is False
    assert JOB not in cluster.api.objects


def test_it_can_be_kept(cluster: Cluster) -> None:
    cluster.later(lambda: cluster.pod(waiting("ImagePullBackOff"), phase="Pending"))
    assert failure(cluster, {"on_stuck": "keep"}).result["changed"] is True
    assert JOB in cluster.api.objects


def test_a_job_that_others_made_is_never_deleted(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.pod(waiting("ImagePullBackOff"), phase="Pending")
    failure(cluster)
    assert JOB in cluster.api.objects


def test_a_job_that_has_run_is_never_deleted(cluster: Cluster) -> None:
    cluster.later(
        lambda: cluster.pod(running()), lambda: cluster.pod(waiting("ImagePullBackOff"), phase="Pending"), pause=0.1
    )
    failure(cluster)
    assert JOB in cluster.api.objects


UNSCHEDULABLE = {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": "Insufficient cpu."}]}


def put_node(cluster: Cluster, cpu: str) -> None:
    cluster.api.put(
        "/api/v1/nodes/n", {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi"}}}
    )


def test_a_pod_for_which_there_is_no_node_is_stuck(cluster: Cluster) -> None:
    put_node(cluster, "2")
    cluster.api.on_delete = lambda path: cluster.drop_pods()
    spec = {"containers": [{"resources": {"requests": {"cpu": "100"}}}]}
    cluster.later(lambda: cluster.pod(None, phase="Pending", status=UNSCHEDULABLE, spec=spec))
    assert "Unschedulable: Insufficient cpu." in str(failure(cluster))


def test_a_pod_that_waits_for_its_turn_is_not(cluster: Cluster) -> None:
    put_node(cluster, "200")
    spec = {"containers": [{"resources": {"requests": {"cpu": "100"}}}]}
    cluster.later(lambda: cluster.pod(None, phase="Pending", status=UNSCHEDULABLE, spec=spec))
    error = failure(cluster, {"wait_timeout": 1})
    assert "has not finished within 1 seconds" in str(error)
    assert JOB in cluster.api.objects


def put_event(cluster: Cluster, reason: str, message: str) -> None:
    warning = event(reason, message, cluster.api.objects[f"{PODS}/mnist-chief-0"]["metadata"]["uid"])
    cluster.api.put(f"{EVENTS}/{warning['metadata']['name']}", warning)


SOON = {"grace_for": {"FailedMount": 0.2}, "wait_timeout": 2}


def test_a_volume_that_cannot_be_mounted(cluster: Cluster) -> None:
    cluster.api.on_delete = lambda path: cluster.drop_pods()
    cluster.later(
        lambda: cluster.pod(waiting("ContainerCreating"), phase="Pending"),
        lambda: put_event(cluster, "FailedMount", "no such volume"),
    )
    assert "FailedMount: no such volume" in str(failure(cluster, {**SOON}))


def test_a_volume_that_was_mounted_after_all_while_the_image_is_pulled(cluster: Cluster) -> None:
    """The kubelet's status does not tell so before the image is there, and the warning stays."""
    cluster.later(
        lambda: cluster.pod(waiting("ContainerCreating"), phase="Pending"),
        lambda: put_event(cluster, "FailedMount", "no relationship found between node 'n' and this object"),
        lambda: put_event(cluster, "Pulling", "Pulling image"),
    )
    error = failure(cluster, {**SOON})
    assert "has not finished within 2 seconds" in str(error)
    assert not error.result["diagnosis"]["causes"]
    assert JOB in cluster.api.objects


def test_refused_pods_are_told(cluster: Cluster) -> None:
    def refuse() -> None:
        uid = cluster.api.objects[JOB]["metadata"]["uid"]
        warning = event("FailedCreatePod", "violates PodSecurity", uid, "mnist")
        cluster.api.put(f"{EVENTS}/mnist.1", {**warning, "metadata": {"name": "mnist.1"}})

    cluster.later(refuse)
    assert "FailedCreatePod: violates PodSecurity" in str(failure(cluster))


# -- time and trouble


def test_a_job_that_nobody_takes_notice_of(cluster: Cluster) -> None:
    error = failure(cluster, {"wait_timeout": 0.3})
    assert "the training operator has not taken notice" in str(error)


def test_an_api_server_that_restarts_during_the_wait(cluster: Cluster) -> None:
    def restart() -> None:
        with cluster.api._lock:
            for path in (JOBS, PODS, EVENTS):
                cluster.api.failures[path] = [unreachable() for _ in range(3)]
                cluster.api.break_watches(path, unreachable())
            cluster.pod(ended(0), phase="Succeeded")
            cluster.condition("Succeeded")

    cluster.later(lambda: cluster.pod(running()), restart, pause=0.1)
    assert cluster.present()["state"] == "Succeeded"


def test_an_api_server_that_pushes_back_at_the_begin(cluster: Cluster) -> None:
    cluster.api.failures[JOB] = [
        ApiError(429, "TooManyRequests", "too many requests"),
        ApiError(503, "ServiceUnavailable", "starting"),
    ]
    assert run_to_success(cluster)["state"] == "Succeeded"


def test_the_time_of_a_job_begins_when_it_is_made(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "RESTART_SECONDS", 5.0)
    away_until = time.monotonic() + 1.5

    def refuse(_path: str, _body: Json) -> None:
        if time.monotonic() < away_until:
            raise unreachable()

    cluster.api.on_create = refuse
    cluster.later(lambda: cluster.condition("Succeeded"), pause=0.8)
    result = cluster.present({"wait_timeout": 1})
    assert result["state"] == "Succeeded"
    assert result["timings"]["submit"] < 0.5


def test_an_api_server_that_is_not_there_is_told_at_once(cluster: Cluster) -> None:
    cluster.api.failures[JOB] = [unreachable() for _ in range(9)]
    begin = time.monotonic()
    with pytest.raises(UnreachableError, match="Connection refused"):
        cluster.present()
    assert time.monotonic() - begin < 0.5


def test_an_api_server_that_hangs_does_not_hold_up_the_deadline(cluster: Cluster) -> None:
    cluster.later(lambda: cluster.pod(waiting("ContainerCreating")), cluster.api.answers.clear)
    begin = time.monotonic()
    error = failure(cluster, {"wait_timeout": 1})
    assert time.monotonic() - begin < 1 + waiting_module.ANSWER_SECONDS + 2
    assert "has not finished within 1 seconds; the API server is not answering" in str(error)
    cluster.api.answers.set()


def test_an_api_server_that_hangs_while_nobody_has_seen_the_job(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "UNSEEN_SECONDS", 0.1)
    cluster.api.on_create = lambda _path, _body: cluster.api.answers.clear()
    begin = time.monotonic()
    error = failure(cluster, {"wait_timeout": 1})
    assert time.monotonic() - begin < 1 + waiting_module.ANSWER_SECONDS + 2
    assert "the API server is not answering" in str(error)
    cluster.api.answers.set()


def test_a_lost_answer_does_not_make_two_jobs(cluster: Cluster) -> None:
    def make_and_lose(path: str, body: Json) -> None:
        cluster.api.on_create = lambda path, body: None
        cluster.api.create(path, body)
        raise unreachable()

    cluster.api.on_create = make_and_lose
    assert cluster.present(NO_WAIT)["changed"]
    assert JOB in cluster.api.objects


def test_a_job_of_others_that_came_between_is_an_error(cluster: Cluster) -> None:
    def overtake(path: str, body: Json) -> None:
        cluster.api.on_create = lambda path, body: None
        cluster.api.create(path, TFJOB.build(tf_params(image="other:1")))

    cluster.api.on_create = overtake
    assert "already exists" in str(failure(cluster, NO_WAIT))


def test_a_webhook_that_starts_is_waited_for(cluster: Cluster) -> None:
    errors = [ApiError(500, "InternalError", "failed calling webhook: connection refused")]

    def refuse(path: str, body: Json) -> None:
        if errors:
            raise errors.pop()

    cluster.api.on_create = refuse
    assert cluster.present(NO_WAIT)["changed"]


def test_a_job_that_is_deleted_during_the_wait(cluster: Cluster) -> None:
    cluster.later(lambda: cluster.condition("Running"), lambda: cluster.api.drop(JOB))
    assert "was deleted while it was waited for" in str(failure(cluster))


def test_a_kind_that_is_not_served(cluster: Cluster) -> None:
    error = ApiError(404, "Not Found", "404 page not found")
    cluster.api.failures[JOB] = [error, error, error]
    assert "does not serve TFJob" in str(failure(cluster))
    assert cluster.present(CHECK)["changed"]
    assert "does not serve TFJob" in cluster.warnings[0]
    assert cluster.absent()["changed"] is False


# -- check mode


def test_check_mode_writes_nothing(cluster: Cluster) -> None:
    assert cluster.present(CHECK)["changed"]
    assert cluster.absent(check_mode=True)["changed"] is False
    cluster.present(NO_WAIT)
    cluster.api.calls.clear()
    assert cluster.present(CHECK)["changed"] is False
    assert cluster.present({**CHECK, "on_change": "recreate"}, image="other:1")["changed"]
    assert cluster.absent(check_mode=True)["changed"]
    assert cluster.api.writes == []


def test_check_mode_asks_the_server(cluster: Cluster) -> None:
    def refuse(path: str, body: Json) -> None:
        if path == JOBS:
            raise ApiError(400, "BadRequest", "strict decoding error: unknown field")

    cluster.api.on_dry_run = refuse
    assert "strict decoding error" in str(failure(cluster, CHECK))


VOLUMES = [{"name": "work", "claim": "training", "mount_path": "/work"}]


def test_what_an_earlier_task_may_make_is_a_warning_in_check_mode(cluster: Cluster) -> None:
    with pytest.raises(JobError, match="PersistentVolumeClaim 'training'"):
        cluster.present(volumes=VOLUMES)
    assert cluster.present(CHECK, volumes=VOLUMES)["changed"]
    assert "PersistentVolumeClaim 'training'" in cluster.warnings[0]
    assert cluster.api.writes == []


# -- absent


def test_absent_waits_until_the_pods_are_gone(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.pod(running())
    cluster.api.on_delete = lambda path: threading.Timer(0.05, cluster.drop_pods).start()
    assert cluster.absent()["changed"]
    assert cluster.api.objects == {}
    again = cluster.absent()
    assert (again["changed"], again["state"], again["job"]) == (False, "Absent", None)


def test_absent_says_what_is_left(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.pod(running())
    with pytest.raises(JobError, match=r"was not gone .* left: pods mnist-chief-0"):
        cluster.absent(wait_timeout=0.3)


def test_absent_without_wait(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.pod(running())
    assert cluster.absent(wait=False)["changed"]
    assert JOB not in cluster.api.objects


# -- the other states


def test_a_job_is_suspended_and_resumed(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.condition("Running")
    cluster.later(lambda: cluster.condition("Suspended"))
    suspended = cluster.bring("suspended", {})
    assert (suspended["changed"], suspended["state"]) == (True, "Suspended")
    assert suspended["diff"]["after"]["spec"]["runPolicy"] == {"suspend": True}
    assert cluster.bring("suspended", {})["changed"] is False
    # Whether it runs at the moment is no part of what it is.
    assert cluster.present(NO_WAIT)["changed"] is False
    resumed = cluster.bring("resumed", NO_WAIT)
    assert (resumed["changed"], resumed["job"]["spec"]["runPolicy"]) == (True, {"suspend": False})
    assert [verb for verb, _path in cluster.api.writes] == ["create", "patch", "patch"]


def test_a_job_that_has_finished_is_not_suspended(cluster: Cluster) -> None:
    run_to_success(cluster)
    assert cluster.bring("suspended", {})["changed"] is False


def test_a_job_is_made_suspended(cluster: Cluster) -> None:
    wanted = TFJOB.build(tf_params(replicas=SMALL))
    result = cluster.bring("suspended", NO_WAIT, wanted)
    assert result["job"]["spec"]["runPolicy"] == {"suspend": True}
    # The same job when it is to run is not another one.
    assert cluster.bring("resumed", NO_WAIT, wanted)["changed"]
    assert cluster.api.objects[JOB]["spec"]["runPolicy"] == {"suspend": False}


def test_a_running_job_is_suspended_by_its_description(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    cluster.condition("Running")
    wanted = TFJOB.build(tf_params(replicas=SMALL))
    assert cluster.bring("suspended", NO_WAIT, wanted)["changed"]
    assert cluster.api.objects[JOB]["spec"]["runPolicy"] == {"suspend": True}
    other = TFJOB.build(tf_params(replicas=SMALL, image="other:1"))
    with pytest.raises(JobError, match="exists with another spec"):
        cluster.bring("resumed", NO_WAIT, other)


@pytest.mark.parametrize("state", ["suspended", "resumed", "restarted"])
def test_a_job_that_is_not_there(cluster: Cluster, state: str) -> None:
    with pytest.raises(JobError, match=r"TFJob default/mnist does not exist, .* describe it"):
        cluster.bring(state, {})


def test_a_job_is_run_anew(cluster: Cluster) -> None:
    run_to_success(cluster)
    old = cluster.api.objects[JOB]
    cluster.api.on_delete = lambda path: cluster.drop_pods()
    assert cluster.bring("restarted", NO_WAIT)["changed"]
    new = cluster.api.objects[JOB]
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert new["spec"] == old["spec"]
    assert "status" not in new


def test_another_spec_can_be_ignored(cluster: Cluster) -> None:
    cluster.present(NO_WAIT)
    assert cluster.present({"wait": False, "on_change": "ignore"}, image="other:1")["changed"] is False
    assert cluster.api.writes == [("create", JOBS)]


# -- patience


def test_a_stalled_job(cluster: Cluster) -> None:
    cluster.later(lambda: cluster.pod(running()), lambda: cluster.condition("Running"))
    error = failure(cluster, {"stall_timeout": 0.3})
    assert "has stalled: no change and no line of log" in str(error)
    assert JOB in cluster.api.objects


def test_a_job_that_logs_has_not_stalled(cluster: Cluster) -> None:
    cluster.api.logs["mnist-chief-0"] = ["step 1"]
    cluster.later(lambda: cluster.pod(running()), lambda: cluster.condition("Running"))
    assert "has not finished within" in str(failure(cluster, {"stall_timeout": 0.3, "wait_timeout": 1}))


def test_metrics_and_logs_are_read_while_it_runs(cluster: Cluster, tmp_path: Path) -> None:
    cluster.api.logs["mnist-chief-0"] = ["2026-01-02T03:04:05.1Z loss=3", "2026-01-02T03:04:05.2Z loss=1"]
    cluster.later(
        lambda: cluster.pod(running()),
        lambda: cluster.pod(ended(0), phase="Succeeded"),
        # Its log is known before it is cleaned away.
        cluster.drop_pods,
        lambda: cluster.condition("Succeeded"),
        pause=0.1,
    )
    pattern = re.compile(r"loss=(?P<value>\S+)")
    result = cluster.present({"metrics": {"loss": pattern}, "log_directory": str(tmp_path)})
    assert result["metrics"]["loss"] == {"count": 2, "first": 3, "final": 1, "lowest": 1, "highest": 3}
    assert result["log_files"] == [str(tmp_path / "default/mnist/chief-0.log")]
    assert Path(result["log_files"][0]).read_text() == "loss=3\nloss=1\n"


# -- many at once


class Fleet(Cluster):
    """A fake API with an operator that runs every job as soon as it is made."""

    def __init__(self, fails: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.api.on_create = self._begin
        self.running: set[str] = set()
        self.most_running = 0
        self._fails = fails

    def _begin(self, path: str, body: Json) -> None:
        if path == JOBS:
            name = body["metadata"]["name"]
            self.running.add(name)
            self.most_running = max(self.most_running, len(self.running))
            threading.Timer(0.05, self._end, (name,)).start()

    def _end(self, name: str) -> None:
        path = f"{JOBS}/{name}"
        # It is told of a job before it is there, and on a busy machine long before.
        end = time.monotonic() + 10
        while path not in self.api.objects:
            if time.monotonic() > end:
                return
            time.sleep(0.005)
        job = self.api.objects[path]
        code = 3 if name in self._fails else 0
        self.api.put(f"{PODS}/{name}-chief-0", pod(f"{name}-chief-0", ended(code), owner=job["metadata"]["uid"]))
        kind = "Failed" if code else "Succeeded"
        self.running.discard(name)
        self.api.put(path, {**job, "status": {"conditions": [{"type": kind, "status": "True", "message": "!"}]}})

    def bring_all(self, count: int, state: str = "present", **options: Any) -> Json:
        courses = [
            Course(TFJOB, "default", name, TFJOB.build(tf_params(name=name, replicas=SMALL)))
            for name in (f"job-{number}" for number in range(count))
        ]
        limited = Options(**{"limits": Limits(wait_timeout=60), **options})
        getattr(Lifecycle(self.api, TFJOB, limited, self.warnings.append), state)(courses)
        return outcome(courses, is_batch=True)

    def requests(self, verb: str) -> list[str]:
        return [path for called, path in self.api.calls if called == verb]


def test_many_jobs_take_one_list_and_one_watch_each() -> None:
    fleet = Fleet()
    result = fleet.bring_all(50)
    assert result["changed"]
    assert [row["state"] for row in result["jobs"]] == ["Succeeded"] * 50
    assert len(fleet.requests("create")) == 50
    assert len(fleet.requests("watch")) == 3
    fleet.api.calls.clear()
    again = fleet.bring_all(50)
    assert (again["changed"], again["diff"]) == (False, [])
    assert fleet.api.calls == [("get", JOBS)]


def test_no_more_than_so_many_run_at_a_time() -> None:
    fleet = Fleet()
    assert len(fleet.bring_all(9, at_once=2)["jobs"]) == 9
    assert fleet.most_running == 2


def test_the_failure_of_some_is_told_and_the_others_go_on() -> None:
    fleet = Fleet(fails=("job-1", "job-3"))
    with pytest.raises(JobError) as caught:
        fleet.bring_all(5)
    assert "2 of 5 TFJobs came to no good end." in str(caught.value)
    assert "chief-0 (pod job-3-chief-0 on node-1)" in str(caught.value)
    assert [row["state"] for row in caught.value.result["jobs"]].count("Succeeded") == 3
    assert caught.value.result["jobs"][3]["diagnosis"]["causes"][0]["exit_code"] == 3


def test_nothing_is_made_where_one_is_wrong() -> None:
    fleet = Fleet()
    fleet.api.put(f"{JOBS}/job-2", TFJOB.build(tf_params(name="job-2", image="other:1")))
    with pytest.raises(JobError, match=r"1 of 5 TFJobs .*\n.*job-2 exists with another spec"):
        fleet.bring_all(5)
    assert fleet.api.writes == []


def test_jobs_that_could_not_be_made_are_told_beside_those_that_were() -> None:
    fleet = Fleet()
    made = []

    def lose_the_server(path: str, body: Json) -> None:
        if len(made) >= 20:
            raise unreachable()
        made.append(body["metadata"]["name"])
        fleet._begin(path, body)

    fleet.api.on_create = lose_the_server
    begin = time.monotonic()
    with pytest.raises(JobError) as caught:
        fleet.bring_all(200, wait=False)
    # All give up together, not eight after eight.
    assert time.monotonic() - begin < 5
    rows = caught.value.result["jobs"]
    assert sorted(row["name"] for row in rows if row["changed"]) == sorted(made)
    assert "180 of 200 TFJobs came to no good end." in str(caught.value)
    assert "could not be made: The API server at https://example.test cannot be reached" in str(caught.value)
    fleet.api.on_create = fleet._begin
    assert [row["changed"] for row in fleet.bring_all(200, wait=False)["jobs"]].count(True) == 180


def test_the_nodes_are_asked_for_once_for_many_that_find_no_place() -> None:
    fleet = Fleet()

    def leave_without_a_node(path: str, body: Json) -> None:
        if path == JOBS:
            threading.Timer(0.05, put_unschedulable, (body["metadata"]["name"],)).start()

    def put_unschedulable(name: str) -> None:
        job = fleet.api.objects[f"{JOBS}/{name}"]
        lonely = pod(f"{name}-chief-0", owner=job["metadata"]["uid"], phase="Pending", status=UNSCHEDULABLE)
        fleet.api.put(f"{PODS}/{name}-chief-0", lonely)

    fleet.api.on_create = leave_without_a_node
    fleet.api.put(
        "/api/v1/nodes/n", {"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    )
    with pytest.raises(JobError, match="20 of 20 TFJobs"):
        fleet.bring_all(20, preflight=False, limits=Limits(wait_timeout=10, grace=0.2), on_stuck="keep")
    assert fleet.requests("get").count("/api/v1/nodes") <= 2


def test_many_are_taken_away_by_one_watch() -> None:
    fleet = Fleet()
    fleet.bring_all(20)
    fleet.api.on_delete = lambda path: fleet.api.drop(f"{PODS}/{path.rpartition('/')[2]}-chief-0")
    fleet.api.calls.clear()
    assert fleet.bring_all(20, "absent")["changed"]
    assert fleet.api.objects == {}
    assert len(fleet.requests("delete")) == 20
    assert len(fleet.requests("watch")) <= 2
    assert fleet.bring_all(20, "absent")["changed"] is False


def test_a_container_that_is_seen_late_has_still_run_before_the_end() -> None:
    """Jobs and pods come by two streams, and the end of a short job may be seen first."""
    course = Course(TFJOB, "default", "mnist", created=True, begin=10.0, finished=10.5, first_container=10.7)
    timings = course.timings()
    assert (timings["first_container"], timings["finished"]) == (0.5, 0.5)
    course.first_container = 10.2
    assert course.timings()["first_container"] == 0.2
