"""The filter as playbooks use it: in a template, on values that Ansible has tagged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

FIXTURES = Path(__file__).parents[1] / "module_utils" / "fixtures"
OLD = """
apiVersion: kubeflow.org/v1beta2
kind: TFJob
metadata:
  name: {name}
spec:
  cleanPodPolicy: All
  tfReplicaSpecs:
    Worker:
      template:
        spec:
          containers:
            - name: tensorflow
              image: trainer:1
"""


def template(expression: str, **variables: Any) -> Any:
    return Templar(loader=DataLoader(), variables=variables).template(
        trust_as_template(f"{{{{ {expression} | mlstack.kubernetes.to_v1 }}}}")
    )


def loaded(text: str) -> Any:
    """As Ansible itself reads a file of variables."""
    return DataLoader().load(trust_as_template(text), file_name="/vars.yml")


def current(name: str) -> Any:
    job = yaml.safe_load(OLD.format(name=name))
    job["apiVersion"] = "kubeflow.org/v1"
    job["spec"]["runPolicy"] = {"cleanPodPolicy": job["spec"].pop("cleanPodPolicy")}
    return job


@pytest.fixture(autouse=True)
def fresh_display(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every process shows the same warning only once, and wraps it to the width of the terminal.
    from ansible.utils.display import Display

    Display()._warns.clear()
    monkeypatch.setattr(Display(), "columns", 500)


def test_a_mapping_gives_a_mapping(capsys: pytest.CaptureFixture[str]) -> None:
    assert template("job", job=loaded(OLD.format(name="digits"))) == current("digits")
    warnings = capsys.readouterr().err
    assert "apiVersion: 'kubeflow.org/v1beta2' became kubeflow.org/v1." in warnings
    assert "spec.cleanPodPolicy: moved to spec.runPolicy.cleanPodPolicy." in warnings


def test_a_template_in_the_job_is_resolved() -> None:
    job = loaded(OLD.format(name='"{{ prefix }}-1"'))
    assert template("job", job=job, prefix="digits") == current("digits-1")


def test_a_list_gives_a_list() -> None:
    jobs = [loaded(OLD.format(name=name)) for name in ("one", "two")]
    assert template("jobs", jobs=jobs) == [current("one"), current("two")]


def test_text_gives_a_list() -> None:
    text = "---".join(OLD.format(name=name) for name in ("one", "two"))
    assert template("text", text=text) == [current("one"), current("two")]
    assert template("text", text=OLD.format(name="one")) == [current("one")]


def test_a_current_job_gives_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert template("job", job=current("digits")) == current("digits")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (loaded("kind: Service\nmetadata: {name: web}"), "Service/web: is no training job"),
        (OLD.format(name="digits").replace("v1beta2", "v9"), "'kubeflow.org/v9' is no version of a TFJob"),
        ("a: [", "to_v1 cannot read this YAML"),
        (7, "7: is no training job"),
    ],
)
def test_errors_say_why(value: Any, expected: str) -> None:
    with pytest.raises(AnsibleError, match=expected):
        template("value", value=value)


def test_the_error_for_a_plain_cluster_holds_the_job() -> None:
    documents = [loaded(text) for text in (FIXTURES / "plain-cluster.yaml").read_text().split("---\n") if text]
    with pytest.raises(AnsibleError, match=r"run this TFJob instead:\n(?s:.*)\$\(TASK_INDEX\)"):
        template("documents", documents=documents)
