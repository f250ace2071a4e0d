"""training_job_verify and training_job_info from their options to their results, on an API server in memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import with_hash
from ansible_collections.mlstack.kubernetes.plugins.modules import training_job_info, training_job_verify
from module_utils.builders import NOW, ended, event, pod, running, tf_job, waiting
from module_utils.fake_api import FakeApi, not_found

from .conftest import Call

JOBS = "/apis/kubeflow.org/v1/namespaces/default/tfjobs"
PODS = "/api/v1/namespaces/default/pods"
LOSS = {"name": "loss", "pattern": r"loss=(?P<value>\S+)", "falls": True}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    api = FakeApi()
    for module in (training_job_info, training_job_verify):
        monkeypatch.setattr(module, "connect", lambda _module: api)
    return api


def add_job(
    api: FakeApi, name: str, losses: tuple[float, ...] = (2, 1), state: str = "Succeeded", **params: Any
) -> None:
    job = tf_job(uid=f"uid-{name}", name=name, conditions=(state,), replicas={"chief": {}, "worker": {}}, **params)
    api.put(f"{JOBS}/{name}", job)
    for replica in ("chief-0", "worker-0"):
        state_of_container = ended(int(state == "Failed")) if state in ("Succeeded", "Failed") else running()
        api.put(f"{PODS}/{name}-{replica}", pod(f"{name}-{replica}", state_of_container, owner=f"uid-{name}"))
        api.logs[f"{name}-{replica}"] = [f"loss={loss}" for loss in losses]


@pytest.fixture
def verify(call: Call) -> Call:
    return lambda **params: call(training_job_verify, kind="TFJob", metrics=[LOSS], **params)


# -- verify


def test_one_job(api: FakeApi, verify: Call) -> None:
    add_job(api, "good")
    result = verify(name="good")
    assert (result["changed"], result["unmet"], result["state"]) == (False, [], "Succeeded")
    assert result["metrics"]["loss"]["final"] == 1
    assert "jobs" not in result


def test_a_failed_job_is_told_with_its_cause(api: FakeApi, verify: Call) -> None:
    add_job(api, "bad", state="Failed")
    result = verify(name="bad")
    assert result["failed"]
    assert result["msg"].startswith("TFJob default/bad is not as wanted:\n- state: wanted Succeeded, saw Failed")
    assert "\nWhy:\nchief-0 (pod bad-chief-0 on node-1): Error: exit code 1" in result["msg"]


@pytest.mark.parametrize("whose", [{"name": ""}, {"jobs": []}, {"selector": ""}])
def test_nobody_is_not_verified(api: FakeApi, verify: Call, whose: dict[str, Any]) -> None:
    add_job(api, "good")
    result = verify(**whose)
    assert result["failed"]
    assert f"{next(iter(whose))}: names no job; give at least one." in result["msg"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"name": "."}, "name: '.' is not a name; use lower-case letters, digits, `-` and `.`"),
        ({"jobs": ["good", "../x"]}, "jobs: '../x' is not a name"),
        ({"name": "good", "namespace": ".."}, "namespace: '..' is not a namespace"),
    ],
)
def test_names_do_not_lead_elsewhere(api: FakeApi, verify: Call, where: dict[str, Any], expected: str) -> None:
    add_job(api, "good")
    result = verify(**where)
    assert result["failed"]
    assert expected in result["msg"]
    assert api.calls == []


def test_several_jobs_by_name(api: FakeApi, verify: Call) -> None:
    add_job(api, "good")
    add_job(api, "rising", (1, 2))
    result = verify(jobs=["rising", "good", "absent"])
    assert result["failed"]
    assert result["msg"].splitlines() == [
        "2 of 3 TFJobs in default are not as wanted:",
        "- TFJob default/absent is not there.",
        "- rising: loss: wanted it to fall, saw 1 as the mean of the first 1 of 2 values and 2 as that of the last.",
    ]
    assert [(job["name"], len(job["unmet"])) for job in result["jobs"]] == [("rising", 1), ("good", 0)]
    assert api.calls == [("get", JOBS), ("get", PODS)]


def test_several_jobs_by_label(api: FakeApi, verify: Call) -> None:
    assert "No TFJob in default has the labels 'sweep=1'" in verify(selector="sweep=1")["msg"]
    add_job(api, "good")
    assert [job["name"] for job in verify(selector="sweep=1")["jobs"]] == ["good"]


@pytest.mark.parametrize("which", [{}, {"name": "a", "jobs": ["b"]}])
def test_exactly_one_way_to_name_jobs(api: FakeApi, verify: Call, which: dict[str, Any]) -> None:
    assert "name" in verify(**which)["msg"]
    assert api.calls == []


def test_a_job_that_is_not_there(api: FakeApi, verify: Call) -> None:
    assert verify(name="absent")["msg"].splitlines()[1] == "- TFJob default/absent is not there."
    result = verify(name="absent", check_mode=True)
    assert not result.get("failed")
    assert "TFJob default/absent is not there." in str(result["warnings"])


def test_every_problem_with_the_options_is_named_at_once(api: FakeApi, call: Call) -> None:
    wrong = [{"name": "loss", "pattern": "(", "monotone": True}]
    message = call(training_job_verify, kind="TFJob", name="x", metrics=wrong, max_restarts=-1)["msg"]
    assert all(path in message for path in ("metrics.loss.pattern:", "metrics.loss.monotone:", "max_restarts:"))
    assert api.calls == []


def test_report_is_written_once(api: FakeApi, verify: Call, tmp_path: Path) -> None:
    add_job(api, "good")
    directory = tmp_path / "reports" / "good"
    report = {"directory": str(directory), "html": f"{directory}/report.html", "json": f"{directory}/report.json"}
    for check_mode, changed in ((True, True), (False, True), (True, False), (False, False)):
        result = verify(name="good", report=str(directory), check_mode=check_mode)
        assert (result["changed"], result["report"]) == (changed, report)
        assert directory.exists() == ((check_mode, changed) != (True, True))
    assert [(path.name, path.stat().st_mode & 0o777) for path in sorted(directory.iterdir())] == [
        ("report.html", 0o644),
        ("report.json", 0o644),
    ]
    document = json.loads((directory / "report.json").read_text())
    assert document["passed"]
    assert document["jobs"][0]["metrics"]["loss"]["values"] == [2, 1]
    (directory / "report.html").chmod(0o600)
    assert verify(name="good", report=str(directory))["changed"]


@pytest.mark.parametrize("part", ["<h1", "</html>", "sha256 of"])
def test_report_that_somebody_has_changed_is_drawn_again(
    api: FakeApi, verify: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    add_job(api, "good")
    verify(name="good", report=str(tmp_path))
    page = tmp_path / "report.html"
    drawn = page.read_text()
    page.write_text(drawn.replace(part, f"other {part}"))
    assert verify(name="good", report=str(tmp_path))["changed"]
    assert page.read_text() == drawn
    # What is as it was is not drawn.
    monkeypatch.setattr(training_job_verify, "report_html", None)
    assert not verify(name="good", report=str(tmp_path))["changed"]


def test_report_that_cannot_be_drawn_is_told_and_leaves_nothing(
    api: FakeApi, verify: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is there, and a part of it is broken."""
    add_job(api, "good")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = verify(name="good", report=str(tmp_path))
    assert result["failed"]
    assert "report: reports are drawn by the Python package matplotlib" in result["msg"]
    assert list(tmp_path.iterdir()) == []


def test_report_is_written_of_a_failure_too(api: FakeApi, verify: Call, tmp_path: Path) -> None:
    add_job(api, "rising", (1, 2))
    result = verify(jobs=["rising", "absent"], report=str(tmp_path))
    assert (result["failed"], result["changed"]) == (True, True)
    document = json.loads((tmp_path / "report.json").read_text())
    assert (document["passed"], document["missing"]) == (False, ["TFJob default/absent is not there."])
    assert "0 of 2 training jobs are as wanted" in (tmp_path / "report.html").read_text()


def test_a_place_that_no_report_can_be_written_to_is_named(api: FakeApi, verify: Call, tmp_path: Path) -> None:
    add_job(api, "good")
    (tmp_path / "file").touch()
    result = verify(name="good", report=str(tmp_path / "file"))
    assert f"report: cannot be written to '{tmp_path}/file'" in result["msg"]
    assert "Name a directory" in result["msg"]


# -- info


def test_lists_jobs_with_their_replicas(api: FakeApi, call: Call) -> None:
    add_job(api, "done", (2, 1))
    add_job(api, "alive", state="Running")
    result = call(training_job_info, namespace="default")
    assert result["changed"] is False
    assert [(job["name"], job["kind"], job["state"]) for job in result["jobs"]] == [
        ("alive", "TFJob", "Running"),
        ("done", "TFJob", "Succeeded"),
    ]
    assert result["jobs"][1]["created"] == NOW
    assert result["jobs"][1]["spec_edited"] is False
    assert [row["replica"] for row in result["jobs"][1]["replicas"]] == ["chief-0", "worker-0"]
    assert "log" not in result["jobs"][1]["replicas"][0]
    assert "diagnosis" not in result["jobs"][1]
    # One request for each kind, and one for all pods.
    assert len(api.calls) == 4


def test_lists_jobs_of_some_states(api: FakeApi, call: Call) -> None:
    add_job(api, "done")
    add_job(api, "alive", state="Running")
    jobs = call(training_job_info, namespace="default", kind=["TFJob"], states=["Running"])["jobs"]
    assert [job["name"] for job in jobs] == ["alive"]


def test_shows_the_last_lines_of_logs(api: FakeApi, call: Call) -> None:
    add_job(api, "done", (4, 3, 2, 1), env={"API_TOKEN": "loss=2"})
    del api.logs["done-worker-0"]
    (job,) = call(training_job_info, namespace="default", logs=True, tail=2)["jobs"]
    assert [row["log"] for row in job["replicas"]] == [["********", "loss=1"], None]
    assert "tail: 0 is no number of lines" in call(training_job_info, logs=True, tail=0)["msg"]


def test_explains_what_is_wrong_and_only_that(api: FakeApi, call: Call) -> None:
    add_job(api, "done")
    add_job(api, "bad", state="Failed")
    add_job(api, "stuck", state="Created")
    unpullable = pod("stuck-worker-0", waiting("ImagePullBackOff", "no such image"), owner="uid-stuck")
    api.put(f"{PODS}/stuck-worker-0", unpullable)
    api.put("/api/v1/namespaces/default/events/e", event("BackOff", "Back-off", "uid-bad"))
    jobs = call(training_job_info, namespace="default", diagnosis=True)["jobs"]
    diagnoses = {job["name"]: job["diagnosis"] for job in jobs}
    assert diagnoses["done"] is None
    assert diagnoses["bad"]["causes"][0]["log"] == ["loss=2", "loss=1"]
    assert diagnoses["bad"]["events"][0]["reason"] == "BackOff"
    assert diagnoses["stuck"]["causes"][0]["message"] == "no such image"
    assert "registry" in diagnoses["stuck"]["cure"]


def test_a_pod_that_pulls_its_image_is_well(api: FakeApi, call: Call) -> None:
    add_job(api, "slow", state="Created")
    pulling = pod("slow-worker-0", waiting("ContainerCreating"), phase="Pending", owner="uid-slow")
    api.put(f"{PODS}/slow-worker-0", pulling)
    events = "/api/v1/namespaces/default/events"
    api.put(f"{events}/a", event("FailedMount", "timed out", pulling["metadata"]["uid"], "slow-worker-0"))
    (job,) = call(training_job_info, namespace="default", diagnosis=True)["jobs"]
    assert job["diagnosis"]["causes"][0]["message"] == "timed out"
    api.put(f"{events}/b", event("Pulling", "Pulling image", pulling["metadata"]["uid"], "slow-worker-0"))
    (job,) = call(training_job_info, namespace="default", diagnosis=True)["jobs"]
    assert job["diagnosis"] is None


def test_an_edited_spec_is_seen(api: FakeApi, call: Call) -> None:
    add_job(api, "mine")
    job = with_hash(api.objects[f"{JOBS}/mine"])
    edits: list[tuple[dict[str, Any], bool]] = [
        ({}, False),
        ({"runPolicy": {"suspend": True}}, False),
        ({"runPolicy": {"backoffLimit": 9}}, True),
    ]
    for generation, (edit, is_edited) in enumerate(edits, 1):
        metadata = {**job["metadata"], "generation": generation}
        api.put(f"{JOBS}/mine", {**job, "metadata": metadata, "spec": {**job["spec"], **edit}})
        (shown,) = call(training_job_info, namespace="default")["jobs"]
        assert shown["spec_edited"] is is_edited


def test_all_namespaces_and_kinds_that_are_not_served(api: FakeApi, call: Call) -> None:
    add_job(api, "done")
    api.objects = {path.replace("/namespaces/default", ""): item for path, item in api.objects.items()}
    api.failures["/apis/kubeflow.org/v1/pytorchjobs"] = [not_found("page")]
    result = call(training_job_info)
    assert [(job["namespace"], job["name"], len(job["replicas"])) for job in result["jobs"]] == [("default", "done", 2)]
    assert "warnings" not in result or not result["warnings"]
    api.failures["/apis/kubeflow.org/v1/pytorchjobs"] = [not_found("page")]
    result = call(training_job_info, kinds=["TFJob", "PyTorchJob"])
    assert "does not serve PyTorchJob (kubeflow.org/v1): install the training operator" in str(result["warnings"])


@pytest.mark.parametrize("where", [{"name": "a/b"}, {"namespace": "."}])
def test_the_list_is_of_where_it_is_said(api: FakeApi, call: Call, where: dict[str, Any]) -> None:
    result = call(training_job_info, **where)
    assert result["failed"]
    assert f"{next(iter(where))}: {next(iter(where.values()))!r} is not a name" in result["msg"]
    assert api.calls == []
