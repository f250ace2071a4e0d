"""Arguments thrown at the modules at random: each call ends in a result or in one message, and never in a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.mlstack.kubernetes.plugins.module_utils import training_job
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import AUTH_ARG_SPEC, AnsibleK8SModule
from ansible_collections.mlstack.kubernetes.plugins.modules import (
    pytorchjob,
    tfjob,
    training_job_info,
    training_job_verify,
    volcano_job,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from module_utils.builders import ended, pod, tf_job
from module_utils.fake_api import FakeApi
from module_utils.strategies import anything, jobs, mutated

from .conftest import Call

MODULES = [tfjob, pytorchjob, volcano_job, training_job_info, training_job_verify]
# Those that lead nowhere in a test: they would be waited for, or lead to a real cluster.
HELD = {"wait", "wait_timeout", *AUTH_ARG_SPEC}
NAMES = st.sampled_from(["mnist", "other", "Bad_Name", ""])
WORDS = ["mnist", "default", "worker-0", r"loss=(?P<value>\S+)", "(", "registry.example.com/trainer:1", "-1", "1e400"]


def specification(module: ModuleType) -> dict[str, Any]:
    """The options of a module, as it tells them to Ansible."""
    seen: dict[str, Any] = {}

    class ToldError(Exception):
        pass

    def tell(_self: object, **how: Any) -> None:
        seen.update(how["argument_spec"])
        raise ToldError

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ToldError):
        patch.setattr(AnsibleK8SModule, "__init__", tell)
        module.main()
    return seen


def values(option: Mapping[str, Any], files: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """What an option may be given, most of it of the right type."""
    if "choices" in option and option["type"] != "list":
        return st.sampled_from(option["choices"]) | anything
    if "options" in option:
        one = given_options(option["options"], files)
        return (st.lists(one, max_size=2) if option["type"] == "list" else one) | anything
    words = st.sampled_from(WORDS)
    of_type = {
        "bool": st.booleans(),
        "int": st.integers(-2, 5),
        "float": st.floats(),
        "path": files,
        "str": words | st.text(max_size=5),
        "list": st.lists(words | anything, max_size=3),
        "dict": st.dictionaries(
            st.sampled_from(["worker", "chief", "master", "loss", "A"]), words | anything, max_size=2
        ),
        "raw": jobs() | jobs().flatmap(mutated) | st.lists(jobs().flatmap(mutated), max_size=2),
    }
    return of_type[option.get("type", "str")] | anything


def given_options(spec: Mapping[str, Any], files: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={name: values(option, files) for name, option in spec.items() if name not in HELD}
    )


def as_json(value: Any) -> Any:
    """Arguments reach a module as JSON."""
    return json.loads(json.dumps(value, default=str, skipkeys=True))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeApi]:
    api = FakeApi()
    for module in (training_job, training_job_info, training_job_verify):
        monkeypatch.setattr(module, "connect", lambda _module: api)
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: None)
    monkeypatch.chdir(tmp_path)
    yield api
    os.chdir("/")


def fill(api: FakeApi) -> None:
    api.objects.clear()
    jobs_path, pods_path = "/apis/kubeflow.org/v1/namespaces/default/tfjobs", "/api/v1/namespaces/default/pods"
    api.put(f"{jobs_path}/mnist", tf_job(conditions=("Succeeded",), replicas={"chief": {}, "worker": {}}))
    for name in ("mnist-chief-0", "mnist-worker-0"):
        api.put(f"{pods_path}/{name}", pod(name, ended(0)))
        api.logs[name] = ["loss=2", "loss=1"]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
@settings(
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_arguments_end_in_a_result_or_in_a_message(
    module: ModuleType, data: st.DataObject, api: FakeApi, tmp_path: Path
) -> None:
    fill(api)
    (tmp_path / "job.yaml").write_text(json.dumps(tf_job()))
    (tmp_path / "broken.yaml").write_text("metadata:a\n  name: b\n")
    files = st.sampled_from([str(tmp_path / name) for name in ("job.yaml", "broken.yaml", "new", "")])
    params = as_json(data.draw(given_options(specification(module), files)))
    if "name" in specification(module) and data.draw(st.booleans()):
        params["name"] = data.draw(NAMES)
    if "wait" in specification(module):
        params |= data.draw(st.sampled_from([{"wait": False}, {"wait_timeout": 0}]))
    check_mode = data.draw(st.booleans())
    output = io.StringIO()
    with (
        patch_module_args({**params, "_ansible_check_mode": check_mode}),
        contextlib.redirect_stdout(output),
        pytest.raises(SystemExit),
    ):
        module.main()
    result = json.loads(output.getvalue())
    if result.get("failed"):
        assert result["msg"]
        assert "Traceback" not in json.dumps(result)
    if check_mode:
        assert api.writes == []
    api.calls.clear()


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"run_policy": 5}, "run_policy: 5 is not a mapping; give its parts by their names."),
        ({"run_policy": {"scheduling_policy": [1]}}, "run_policy.scheduling_policy: 1 is not a mapping"),
        ({"volumes": [None]}, "volumes: None is not a mapping"),
        ({"replicas": {"worker": 5}}, "replicas.worker: 5 is not a mapping"),
        ({"jobs": [{"name": "a", "volumes": [True]}]}, "jobs[0].volumes: True is not a mapping"),
    ],
)
def test_what_has_options_is_a_mapping(
    params: dict[str, Any], expected: str, api: FakeApi, call: Call, tmp_path: Path
) -> None:
    if "jobs" not in params:
        params = {"name": "a", **params}
    result = call(tfjob, image="trainer:1", api_key="not to be told", **params)
    assert result["failed"]
    assert expected in result["msg"]
    assert "not to be told" not in json.dumps(result)
