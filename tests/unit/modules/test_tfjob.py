"""tfjob from its options to the jobs that it makes, on an API server in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mlstack.kubernetes.plugins.module_utils import training_job
from ansible_collections.mlstack.kubernetes.plugins.modules import tfjob
from module_utils.fake_api import FakeApi

JOBS = "/apis/kubeflow.org/v1/namespaces/default/tfjobs"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    api = FakeApi()
    monkeypatch.setattr(training_job, "connect", lambda _module: api)
    return api


def call(capsys: pytest.CaptureFixture[str], **params: Any) -> dict[str, Any]:
    with patch_module_args({"wait": False, "preflight": False, **params}), pytest.raises(SystemExit):
        tfjob.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_jobs_share_options_that_have_parts(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    """Ansible completes the parts of run_policy and volumes with nulls, which are no values of the task's author."""
    volume = {"name": "work", "mount_path": "/work", "claim": "training"}
    result = call(
        capsys,
        image="example.com/trainer:1",
        replicas={"worker": {}},
        run_policy={"suspend": True},
        volumes=[volume],
        jobs=[{"name": "a"}, {"name": "b", "run_policy": {"backoff_limit": 2}}],
    )
    assert not result.get("failed"), result["msg"]
    assert [api.objects[f"{JOBS}/{name}"]["spec"]["runPolicy"] for name in "ab"] == [
        {"suspend": True},
        {"suspend": True, "backoffLimit": 2},
    ]
    pod = api.objects[f"{JOBS}/b"]["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "work", "persistentVolumeClaim": {"claimName": "training"}}]


@pytest.mark.parametrize("state", ["absent", "suspended", "resumed", "restarted"])
@pytest.mark.parametrize("name", [".", "..", "a/b", "a?b", "a b"])
def test_a_name_does_not_lead_elsewhere(
    api: FakeApi, capsys: pytest.CaptureFixture[str], state: str, name: str
) -> None:
    result = call(capsys, name=name, state=state)
    assert result["failed"]
    assert f"name: {name!r} is not a name" in result["msg"]
    assert api.calls == []


def test_a_name_that_the_operator_would_not_take_today_can_be_deleted(
    api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    result = call(capsys, name="1st.old", state="absent")
    assert (result["changed"], result["state"]) == (False, "Absent")
