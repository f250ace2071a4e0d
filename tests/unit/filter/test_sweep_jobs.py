"""The filter as playbooks use it: in a template, on values that Ansible has tagged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

VARIABLES = """
name: lr
image: registry.example.com/trainer:1
parameters:
  learning-rate: [0.01, "{{ largest }}"]
  nesterov: [true]
largest: 0.1
job:
  image: "{{ image }}"
  args: [--epochs, "3"]
  replicas: {worker: {count: 2}}
"""


def template(expression: str, **changes: Any) -> Any:
    variables = DataLoader().load(trust_as_template(VARIABLES), file_name="/vars.yml") | changes
    return Templar(loader=DataLoader(), variables=variables).template(trust_as_template(f"{{{{ {expression} }}}}"))


def test_jobs_of_a_grid() -> None:
    jobs = template("parameters | mlstack.kubernetes.sweep_jobs(name, job)")
    assert [job["name"] for job in jobs] == ["lr-1", "lr-2"]
    assert jobs[1] == {
        "name": "lr-2",
        "image": "registry.example.com/trainer:1",
        "args": ["--epochs", "3", "--learning-rate=0.1", "--nesterov=true"],
        "replicas": {"worker": {"count": 2}},
        "labels": {"mlstack.kubernetes/sweep": "lr"},
    }
    assert json.loads(json.dumps(jobs)) == jobs


def test_jobs_of_a_list_with_variables() -> None:
    jobs = template(
        "runs | mlstack.kubernetes.sweep_jobs(name, job, pass_as='environment')", runs=[{"RATE": 0.1}, {"RATE": 1}]
    )
    assert [job["env"] for job in jobs] == [{"RATE": "0.1"}, {"RATE": "1"}]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 | mlstack.kubernetes.sweep_jobs(name, job)", "sweep_jobs cannot make the jobs: parameters: 1 is neither"),
        ("parameters | mlstack.kubernetes.sweep_jobs('Lr', job)", "name: 'Lr' cannot begin the names"),
        ("parameters | mlstack.kubernetes.sweep_jobs(name, job, 'stdin')", "pass_as: 'stdin' is no way"),
    ],
)
def test_errors_say_why(expression: str, message: str) -> None:
    with pytest.raises(AnsibleError, match=message):
        template(expression)
