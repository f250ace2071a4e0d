# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.sweep import (
    ARGUMENT,
    InvalidSweepError,
    jobs_of,
    runs_of,
)
from ansible_collections.mlstack.kubernetes.plugins.plugin_utils.values import plain

DOCUMENTATION = r"""
name: sweep_jobs
short_description: Make the jobs of a parameter sweep
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Turns a grid or a list of parameters into the option C(jobs) of M(mlstack.kubernetes.tfjob) and
    M(mlstack.kubernetes.pytorchjob), one job for each run.
  - The runs are numbered from 1 in the order of their description; of a grid the last parameter changes fastest. So
    the names of the jobs stay as they are where nothing has changed, and where values were added at the end of a list
    or of a grid's first parameter.
positional: _input
options:
  _input:
    description:
      - A mapping of each parameter's name to its values, which makes a grid, or a list of mappings, each a run.
    type: raw
    required: true
  name:
    description: Name of the sweep. The jobs are called after it, with C(-1), C(-2) and so on.
    type: str
    required: true
  job:
    description:
      - What all runs have in common, in the options that describe a job, such as C(image), C(args) and C(replicas).
    type: dict
    required: true
  pass_as:
    description:
      - How the parameters reach the containers. With V(argument) a parameter C(learning-rate) is appended to C(args) as
        C(--learning-rate=0.1), also to those of roles that have their own.
      - With V(environment) it becomes an environment variable of the name that it has.
    type: str
    choices: [argument, environment]
    default: argument
notes:
  - The jobs carry the sweep's name in the label C(mlstack.kubernetes/sweep).
  - What is wrong with the description of the jobs is told by the module that gets them.
seealso:
  - module: mlstack.kubernetes.sweep_report
"""

EXAMPLES = r"""
- name: Train with four learning rates, two at a time
  mlstack.kubernetes.pytorchjob:
    jobs: >-
      {{ {'learning-rate': [0.01, 0.03, 0.1, 0.3]} | mlstack.kubernetes.sweep_jobs('digits', job) }}
    max_parallel: 2
  vars:
    job:
      image: registry.example.com/trainer:1
      replicas: {master: {}, worker: {count: 2}}
"""

RETURN = r"""
_value:
  description: The jobs, in the order of their runs.
  type: list
  elements: dict
"""


def sweep_jobs(parameters: Any, name: Any, job: Any, pass_as: Any = ARGUMENT) -> list[dict[str, Any]]:
    name, way = plain(name), plain(pass_as)
    try:
        return jobs_of(runs_of(name, plain(parameters)), name, plain(job), way)
    except InvalidSweepError as error:
        raise AnsibleFilterError(f"sweep_jobs cannot make the jobs: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"sweep_jobs": sweep_jobs}
