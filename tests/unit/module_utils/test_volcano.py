"""Volcano's kind of job: from parameters to a manifest, what can be wrong in one, and what its status says."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.course import Course, JobError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.diagnosis import diagnose, message_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    InvalidJobError,
    deciding_replicas,
    is_unchanged,
    replicas_of,
    with_hash,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    duration_of,
    is_at_rest,
    replica_table,
    state_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.lifecycle import Lifecycle, Options, outcome
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pod_group import waiting_group
from ansible_collections.mlstack.kubernetes.plugins.module_utils.preflight import Preflight
from ansible_collections.mlstack.kubernetes.plugins.module_utils.validator import problems_of, validate, wanted_job
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volcano_problems import PLUGINS
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volcano_specs import VOLCANO_JOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.waiting import Limits
from hypothesis import given
from hypothesis import strategies as st

from .builders import manifest, tf_params
from .fake_api import FakeApi
from .strategies import mutated

JOBS = "/apis/batch.volcano.sh/v1alpha1/namespaces/default/jobs"
JOB = f"{JOBS}/mnist"
COMMANDS = "/apis/bus.volcano.sh/v1alpha1/namespaces/default/commands"
GROUPS = "/apis/scheduling.volcano.sh/v1beta1/namespaces/default/podgroups"
QUEUES = "/apis/scheduling.volcano.sh/v1beta1/queues"


def built(**params: Any) -> Json:
    return VOLCANO_JOB.build(tf_params(**{"plugins": {"tensorflow": None}, **params}))


def live(phase: str = "", **status: Any) -> Json:
    job = built()
    job["metadata"]["uid"] = "uid-1"
    if phase:
        job["status"] = {"state": {"phase": phase, "lastTransitionTime": "2026-01-02T03:05:05Z"}, **status}
    return job


# -- from parameters to a manifest


def test_builds_the_whole_manifest() -> None:
    job = built(
        args=["--epochs", "3"],
        resources={"requests": {"cpu": "250m"}},
        volumes=[{"name": "work", "claim": "training", "mount_path": "/work"}],
        replicas={"chief": {}, "ps": {"restart_policy": "OnFailure"}, "worker": {"count": 2}},
        run_policy={
            "backoff_limit": 2,
            "ttl_seconds_after_finished": 60,
            "scheduling_policy": {"min_available": 3, "queue": "research", "priority_class": "high"},
        },
    )
    assert job == manifest("volcano-job-from-parameters")
    validate(VOLCANO_JOB, job)


@pytest.mark.parametrize(
    ("roles", "ending"),
    [
        (["chief", "ps", "worker"], ["chief-0"]),
        (["master", "worker"], ["master-0"]),
        (["ps", "worker"], ["worker-0", "worker-1"]),
        (["worker"], ["worker-0", "worker-1"]),
        (["trainer", "logger"], ["trainer-0", "trainer-1", "logger-0", "logger-1"]),
    ],
)
def test_the_end_of_some_tasks_is_the_end_of_the_job(roles: list[str], ending: list[str]) -> None:
    replicas = {role: {"count": 1 if role in ("chief", "master") else 2} for role in roles}
    job = built(replicas=replicas, plugins={})
    assert [replica.name for replica in deciding_replicas(VOLCANO_JOB, job)] == ending


def test_own_policies_stand_in_place_of_the_modules() -> None:
    job = built(policies=[])
    assert "policies" not in job["spec"]
    assert all("policies" not in task for task in job["spec"]["tasks"])
    mine = [{"event": "TaskCompleted", "action": "CompleteJob"}]
    job = built(replicas={"ps": {}, "worker": {"policies": mine, "count": 3}})
    assert [task.get("policies") for task in job["spec"]["tasks"]] == [None, mine]


def test_a_failed_pod_ends_the_job_unless_it_may_start_again() -> None:
    assert built()["spec"]["policies"][0] == {"event": "PodFailed", "action": "TerminateJob"}
    assert "maxRetry" not in built()["spec"]
    again = built(run_policy={"backoff_limit": 1})["spec"]
    assert again["policies"][0] == {"event": "PodFailed", "action": "RestartJob"}
    assert again["maxRetry"] == 2


def test_a_job_with_volcanos_defaults_is_unchanged() -> None:
    job = built()
    there = copy.deepcopy(with_hash(job))
    there["spec"].update(queue="default", maxRetry=3, minAvailable=4)
    there["spec"]["plugins"]["svc"] = []
    for task in there["spec"]["tasks"]:
        task.update(maxRetry=3, minAvailable=task["replicas"])
    assert is_unchanged(there, job)
    assert not is_unchanged(there, built(image="other:1"))


def test_pods_are_seen_as_volcano_makes_them() -> None:
    job = built(run_policy={"scheduling_policy": {"priority_class": "high"}})
    job["spec"]["volumes"] = [{"mountPath": "/data", "volumeClaimName": "data"}]
    del job["spec"]["tasks"][0]["name"]
    specs = VOLCANO_JOB.replica_specs(job)
    assert list(specs) == ["default0", "ps", "worker"]
    pod = specs["ps"]["template"]["spec"]
    assert (pod["schedulerName"], pod["priorityClassName"]) == ("volcano", "high")
    assert pod["volumes"][-1]["persistentVolumeClaim"] == {"claimName": "data"}
    assert next(replica.pod for replica in replicas_of(VOLCANO_JOB, job)) == "mnist-default0-0"


# -- what its status says


@pytest.mark.parametrize(
    ("phase", "state", "rests"),
    [
        ("", "Pending", False),
        ("Pending", "Pending", False),
        ("Running", "Running", False),
        ("Restarting", "Restarting", False),
        ("Completing", "Running", False),
        ("Completed", "Succeeded", True),
        ("Terminating", "Running", False),
        ("Terminated", "Failed", True),
        ("Failed", "Failed", True),
        ("Aborting", "Running", False),
        ("Aborted", "Suspended", True),
    ],
)
def test_phases_are_states(phase: str, state: str, rests: bool) -> None:
    job = live(phase)
    assert state_of(VOLCANO_JOB, job) == state
    assert is_at_rest(VOLCANO_JOB, job) is rests


def test_a_job_that_a_policy_has_aborted_has_failed() -> None:
    job = live("Aborted", failed=1, succeeded=2)
    assert state_of(VOLCANO_JOB, job) == "Failed"
    condition = VOLCANO_JOB.condition(job)
    assert condition
    assert condition["message"] == "Volcano's phase is Aborted: 1 of 3 ended pods failed."


def test_the_time_of_a_job_counts_from_the_start_of_its_gang() -> None:
    conditions = [
        {"status": "Pending", "lastTransitionTime": "2026-01-02T03:00:00Z"},
        {"status": "Running", "lastTransitionTime": "2026-01-02T03:04:05Z"},
    ]
    assert duration_of(VOLCANO_JOB, live("Completed", conditions=conditions)) == 60
    assert duration_of(VOLCANO_JOB, live("Running", conditions=conditions)) is None
    assert duration_of(VOLCANO_JOB, live("Failed")) is None
    assert [one["type"] for one in VOLCANO_JOB.conditions(live("Running", conditions=conditions))] == [
        "Pending",
        "Running",
    ]


def test_the_first_container_is_the_one_that_trains() -> None:
    state = {"terminated": {"exitCode": 3, "reason": "Error"}}
    pod = {
        "metadata": {"name": "mnist-chief-0"},
        "spec": {"containers": [{"name": "chief"}, {"name": "helper"}]},
        "status": {"containerStatuses": [{"name": "helper", "state": {}}, {"name": "chief", "state": state}]},
    }
    assert replica_table(VOLCANO_JOB, live(), {"mnist-chief-0": pod})[0]["exit_code"] == 3


# -- what can be wrong


def broken(path: str, value: Any) -> Json:
    """A valid job with `value` at `path`, or without what is there."""
    job = built(volumes=[{"name": "work", "claim": "training", "mount_path": "/work"}])
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = job
    for part in parents:
        place = place[part] if isinstance(part, int) else place.setdefault(part, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return job


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("kind", "CronJob", "kind: 'CronJob' is not Job"),
        ("apiVersion", "batch/v1", "apiVersion: 'batch/v1' is not served by Volcano; write batch.volcano.sh/v1alpha1"),
        ("metadata.name", "x" * 60, "metadata.name: .* is too long"),
        ("spec.tasks", [], "spec.tasks: names no task"),
        ("spec.tasks", None, "spec.tasks: names no task"),
        ("spec.tasks.1.name", "chief", "spec.tasks: 'chief' names several tasks"),
        ("spec.tasks.1.name", "PS", r"spec.tasks\[1\].name: 'PS' is not a DNS label"),
        ("spec.tasks.1.replicas", 0, r"spec.tasks\[1\].replicas: 0 makes no pod"),
        ("spec.tasks.1.replicas", "2", r"spec.tasks\[1\].replicas: '2' makes no pod"),
        ("spec.tasks.1.minAvailable", 2, r"spec.tasks\[1\].minAvailable: 2 is more than the task's 1"),
        (
            "spec.tasks.1.dependsOn",
            {"name": ["db"]},
            r"spec.tasks\[1\].dependsOn.name: 'db' is none of the job's tasks",
        ),
        ("spec.tasks.1.dependsOn", {"name": ["ps"]}, "spec.tasks: ps -> ps wait for each other forever"),
        ("spec.tasks.1.dependsOn", {"name": ["chief"], "iteration": "some"}, "iteration: 'some' is unknown"),
        ("spec.tasks.0.template.spec.restartPolicy", "Always", "restarts containers that have ended"),
        ("spec.tasks.0.template.spec.restartPolicy", None, "is not given, which means Always"),
        ("spec.tasks.0.template.spec.restartPolicy", "ExitCode", "'ExitCode' is unknown"),
        ("spec.tasks.0.template.spec.containers", [], r"containers: is empty; give a container\."),
        ("spec.tasks.0.template.spec.containers.0.image", "", "image: is missing"),
        (
            "spec.tasks.0.template.spec.containers.0.env",
            [{"name": "TF_CONFIG", "value": "{}"}],
            "is set by the operator",
        ),
        ("spec.minAvailable", 5, "spec.minAvailable: 5 is more than the job's 4 replicas, so it would never start"),
        ("spec.minSuccess", 5, "spec.minSuccess: 5 is more .* never succeed"),
        ("spec.maxRetry", -1, "spec.maxRetry: -1 is not a whole number"),
        ("spec.ttlSecondsAfterFinished", "1h", "spec.ttlSecondsAfterFinished: '1h' is not a whole number"),
        ("spec.queue", "root", "spec.queue: 'root' is the parent of all queues"),
        ("spec.queue", 7, "spec.queue: 7 is not a name"),
        ("spec.policies", [{"action": "RestartJob"}], r"spec.policies\[0\]: must say when it holds"),
        ("spec.policies", [{"event": "PodFailed", "exitCode": 3, "action": "AbortJob"}], "must say when it holds"),
        ("spec.policies", [{"event": "PodDied", "action": "AbortJob"}], "'PodDied' is unknown"),
        ("spec.policies", [{"event": "PodFailed", "action": "Restart"}], "action: 'Restart' is unknown"),
        ("spec.policies", [{"exitCode": 0, "action": "AbortJob"}], "0 is the end of a container that has succeeded"),
        ("spec.policies", [{"event": event, "action": "AbortJob"} for event in ("*", "PodFailed")], "every event"),
        ("spec.policies", [{"event": "PodFailed", "action": "AbortJob"}] * 2, "'PodFailed' names several events"),
        ("spec.plugins.tensorfow", [], "spec.plugins.tensorfow: 'tensorfow' is no plugin"),
        ("spec.plugins.svc", "--x", "spec.plugins.svc: '--x' is not a list of texts"),
        ("spec.plugins.tensorflow", ["--ps=server"], "--ps=server names none of the tasks chief, ps, worker"),
        ("spec.plugins.pytorch", [], "needs a task named master"),
        ("spec.plugins.mpi", ["--master=chief"], None),
        ("spec.volumes", [{"mountPath": "data", "volumeClaimName": "data"}], "'data' is not an absolute path"),
        ("spec.volumes", [{"mountPath": "/data"}], r"spec.volumes\[0\]: must have one source"),
        ("spec.volumes", [{"mountPath": "/d", "volumeClaimName": "d"}] * 2, "'/d' names several mount paths"),
    ],
)
def test_says_what_is_wrong(path: str, value: Any, problem: str | None) -> None:
    job = broken(path, value)
    if problem is None:
        validate(VOLCANO_JOB, job)
        return
    with pytest.raises(InvalidJobError, match=problem):
        validate(VOLCANO_JOB, job)


def test_tasks_may_have_other_names_for_a_plugin() -> None:
    job = built(plugins={"tensorflow": ["--chief=boss"]}, replicas={"boss": {}, "worker": {}})
    validate(VOLCANO_JOB, job)
    with pytest.raises(InvalidJobError, match="knows tasks by the names ps, worker, chief, evaluator"):
        validate(VOLCANO_JOB, built(replicas={"a": {}, "b": {}}))


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"image": "Bad Image"}, "replicas.chief.image: 'Bad Image' is not an image name"),
        ({"replicas": {}}, "replicas: names no task"),
        ({"run_policy": {"scheduling_policy": {"min_available": 9}}}, "run_policy.scheduling_policy.min_available: 9"),
        ({"run_policy": {"scheduling_policy": {"queue": "root"}}}, "run_policy.scheduling_policy.queue: 'root'"),
        ({"plugins": {"pytorch": []}}, "plugins.pytorch: needs a task named master"),
    ],
)
def test_problems_name_the_modules_parameters(params: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidJobError, match=problem):
        wanted_job(VOLCANO_JOB, tf_params(**{"plugins": {}, **params}), None)


@st.composite
def volcano_jobs(draw: st.DrawFn) -> Json:
    names = draw(st.lists(st.sampled_from(["chief", "worker", "ps", "trainer"]), min_size=1, max_size=3, unique=True))
    plugins = ["env", "svc", "ssh", *(["tensorflow"] if set(names) - {"trainer"} else [])]
    return built(
        replicas={name: {"count": draw(st.integers(1, 4))} for name in names},
        plugins={name: draw(st.sampled_from([None, []])) for name in draw(st.sets(st.sampled_from(plugins)))},
        run_policy=draw(st.fixed_dictionaries({}, optional={"backoff_limit": st.integers(0, 3)})),
        volumes=draw(st.sampled_from([[], [{"name": "w", "claim": "c", "mount_path": "/w"}]])),
    )


@given(volcano_jobs())
def test_what_the_parameters_make_is_right(job: Json) -> None:
    assert list(problems_of(VOLCANO_JOB, job)) == []


@given(volcano_jobs().flatmap(mutated))
def test_a_damaged_job_gives_no_error_but_ours(job: Any) -> None:
    problems = list(problems_of(VOLCANO_JOB, job))
    assert all(isinstance(field, str) and text for field, text in problems)
    if not problems:
        VOLCANO_JOB.gang(job)
        replicas_of(VOLCANO_JOB, job)


def test_every_plugin_is_one_of_volcanos() -> None:
    assert set(PLUGINS) == {"env", "svc", "ssh", "tensorflow", "pytorch", "mpi", "ray", "hcclrank"}


# -- suspended and resumed


def lifecycle(api: FakeApi, state: str, wanted: Json | None = None, **options: Any) -> Json:
    bringer = Lifecycle(api, VOLCANO_JOB, Options(limits=Limits(wait_timeout=5), **options), lambda _text: None)
    course = Course(VOLCANO_JOB, "default", "mnist", wanted)
    getattr(bringer, state)([course])
    return outcome([course], is_batch=False)


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    api.unserved.clear()
    api.put(JOB, live("Running"))
    return api


def obey(api: FakeApi) -> None:
    """A controller that takes commands at once, but for the pods, which go by themselves."""
    create = api.create

    def taken(path: str, body: Json, dry_run: bool = False) -> Json:
        if path == COMMANDS and not dry_run:
            phase = {"AbortJob": "Aborted", "ResumeJob": "Restarting"}[body["action"]]
            assert body["target"]["uid"] == "uid-1"
            api.put(JOB, live(phase))
        return create(path, body, dry_run)

    api.create = taken  # type: ignore[method-assign]


def test_is_suspended_and_resumed_by_commands(api: FakeApi) -> None:
    obey(api)
    suspended = lifecycle(api, "suspended")
    assert (suspended["changed"], suspended["state"]) == (True, "Suspended")
    again = lifecycle(api, "suspended")
    assert (again["changed"], again["state"]) == (False, "Suspended")
    assert len(api.writes) == 1
    # Whether it runs at the moment is no part of what it is.
    there = lifecycle(api, "present", built(), wait=False, preflight=False)
    assert (there["changed"], there["state"]) == (False, "Suspended")
    resumed = lifecycle(api, "resumed", wait=False)
    assert (resumed["changed"], resumed["state"]) == (True, "Restarting")


def test_check_mode_issues_no_command(api: FakeApi) -> None:
    obey(api)
    assert lifecycle(api, "suspended", check_mode=True)["changed"]
    assert state_of(VOLCANO_JOB, api.objects[JOB]) == "Running"


def test_says_when_nobody_takes_the_command(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.mlstack.kubernetes.plugins.module_utils.lifecycle.SUSPEND_SECONDS", 0.2)
    with pytest.raises(JobError, match=r"did not take notice within .* see whether Volcano runs"):
        lifecycle(api, "suspended")


def test_cannot_be_made_suspended(api: FakeApi) -> None:
    del api.objects[JOB]
    with pytest.raises(JobError, match="a VolcanoJob can only be suspended once it is there"):
        lifecycle(api, "suspended", built())
    assert api.writes == []


# -- gangs that wait


def group(phase: str, message: str = "") -> Json:
    conditions = [{"type": "Unschedulable", "status": "True", "message": message}] if message else []
    return {
        "metadata": {"name": "mnist-uid-1"},
        "spec": {"queue": "research"},
        "status": {"phase": phase, "conditions": conditions},
    }


def test_a_waiting_gang_is_explained(api: FakeApi) -> None:
    api.put(f"{GROUPS}/mnist-uid-1", group("Pending", "queue resource quota insufficient: cpu"))
    api.put(
        f"{QUEUES}/research",
        {"metadata": {"name": "research"}, "spec": {"capability": {"cpu": "2"}}, "status": {"state": "Open"}},
    )
    waiting = waiting_group(api, VOLCANO_JOB, live("Pending"))
    assert waiting
    diagnosis = diagnose(VOLCANO_JOB, live("Pending"), {}, [], {}, [], waiting)
    text = message_of("It waits.", diagnosis)
    assert "Its PodGroup mnist-uid-1 is Pending: queue resource quota insufficient: cpu" in text
    assert "queue research (Open); may give out cpu 2" in text
    assert "What to do: All pods of the gang must fit at once" in text


def test_a_gang_that_runs_needs_no_explanation(api: FakeApi) -> None:
    api.put(f"{GROUPS}/mnist-uid-1", group("Running"))
    assert waiting_group(api, VOLCANO_JOB, live("Running")) is None
    assert waiting_group(FakeApi(), VOLCANO_JOB, live("Running")) is None


def test_a_gang_that_no_queue_lets_in_is_given_up_where_that_is_asked_for(api: FakeApi) -> None:
    api.put(JOB, live("Pending"))
    api.put(f"{GROUPS}/mnist-uid-1", group("Pending"))
    options = Options(limits=Limits(wait_timeout=8, grace_for={"NotEnqueued": 1}), preflight=False)
    course = Course(VOLCANO_JOB, "default", "mnist", built())
    Lifecycle(api, VOLCANO_JOB, options, lambda _text: None).present([course])
    with pytest.raises(JobError, match=r"cannot go on\.\n.*NotEnqueued: the queue research has not let it in"):
        outcome([course], is_batch=False)


def test_preflight_asks_for_volcano_and_the_queue(api: FakeApi) -> None:
    api.put("/api/v1/namespaces/default", {"metadata": {"name": "default"}})
    problems = Preflight(api).check(VOLCANO_JOB, built()).problems
    assert problems == ["The cluster does not serve VolcanoJob (batch.volcano.sh/v1alpha1): install Volcano."]
    api.standing["/apis/batch.volcano.sh/v1alpha1"] = {"resources": [{"name": "jobs"}]}
    api.standing["/apis/scheduling.volcano.sh/v1beta1"] = {"resources": [{"name": "queues"}]}
    api.put(f"{QUEUES}/default", {"metadata": {"name": "default"}, "status": {"state": "Closed"}})
    problems = Preflight(api).check(VOLCANO_JOB, built()).problems
    assert problems == ["spec.queue: 'default' is Closed and takes no jobs; open it, or name another queue."]


def test_an_evaluator_beside_parameter_servers_is_doubtful() -> None:
    job = built(plugins={"tensorflow": []}, replicas={"chief": {}, "ps": {}, "worker": {}, "evaluator": {}})
    with pytest.raises(InvalidJobError, match=r"puts evaluator and ps into .*`accept: \[evaluator_with_ps\]`"):
        validate(VOLCANO_JOB, job)
    validate(VOLCANO_JOB, job, accept=["evaluator_with_ps"])
    validate(VOLCANO_JOB, built(plugins={"tensorflow": []}, replicas={"chief": {}, "worker": {}, "evaluator": {}}))
