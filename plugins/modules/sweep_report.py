#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: sweep_report
short_description: Compare the runs of a parameter sweep
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Ranks the runs of a sweep by an objective, names the best, and writes a report.
  - A run that failed is in the report, too, and hides no other. It is never the best.
options:
  name:
    description: Name of the sweep, as it was given to P(mlstack.kubernetes.sweep_jobs#filter).
    type: str
    required: true
  parameters:
    description: The grid or list of parameters that was given to P(mlstack.kubernetes.sweep_jobs#filter).
    type: raw
    required: true
  jobs:
    description: The C(jobs) that M(mlstack.kubernetes.tfjob) or M(mlstack.kubernetes.pytorchjob) has returned.
    type: list
    elements: dict
    required: true
  objective:
    description: The number by which runs are compared.
    type: dict
    required: true
    suboptions:
      metric:
        description: Name of a metric of the jobs.
        type: str
        required: true
      goal:
        description: Whether the best run has the smallest or the largest value.
        type: str
        choices: [minimize, maximize]
        required: true
      of:
        description: Which of the metric's values counts.
        type: str
        choices: [final, highest, lowest]
        default: final
  metrics:
    description:
      - The C(metrics) of the jobs, regular expressions by the metric's name. With them the report has the curves of the
        runs whose C(log_files) are on this host.
    type: dict
    default: {}
  directory:
    description:
      - Directory for the report. C(report.html) is one page that needs nothing but itself, with a table of all runs,
        the objective over each parameter, the curves of the metrics, and why runs failed. C(report.json) has the same
        for programs.
      - Files that would not change are left alone.
    type: path
    required: true
requirements:
  - python >= 3.10
  - matplotlib >= 3.8 (without it the report has no pictures)
attributes:
  check_mode:
    description: Says whether the report would change and writes nothing.
    support: full
  diff_mode:
    description: Shows no differences.
    support: none
seealso:
  - plugin: mlstack.kubernetes.sweep_jobs
    plugin_type: filter
  - module: mlstack.kubernetes.tfjob
  - module: mlstack.kubernetes.pytorchjob
"""

EXAMPLES = r"""
- name: Train with four learning rates
  mlstack.kubernetes.pytorchjob:
    jobs: "{{ parameters | mlstack.kubernetes.sweep_jobs('digits', job) }}"
    metrics: {test_accuracy: '\btest_accuracy=(?P<value>\S+)'}
    log_dir: /srv/sweeps/digits/logs
  register: runs

- name: Which was the best
  mlstack.kubernetes.sweep_report:
    name: digits
    parameters: "{{ parameters }}"
    jobs: "{{ runs.jobs }}"
    objective: {metric: test_accuracy, goal: maximize}
    metrics: {test_accuracy: '\btest_accuracy=(?P<value>\S+)'}
    directory: /srv/sweeps/digits
  delegate_to: localhost
"""

RETURN = r"""
best:
  description:
    - The C(name), C(parameters), C(objective), C(metrics) and C(duration) of the best run. The first of several that
      are as good; null where no run has a value of the objective.
  returned: always
  type: dict
table:
  description: A table of all runs as lines of text, the best first.
  returned: always
  type: list
  elements: str
failed_runs:
  description: The C(name), C(parameters), C(state) and C(msg) of each run that has not succeeded.
  returned: always
  type: list
  elements: dict
report:
  description: The C(directory) of the report and the paths of its C(html) and C(json).
  returned: always
  type: dict
"""

from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils import charts
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import compile_pattern
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pages import UnwritableError, save_report
from ansible_collections.mlstack.kubernetes.plugins.module_utils.sweep import (
    GOALS,
    SUMMARIES,
    InvalidSweepError,
    Objective,
    assess,
    best_of,
    lines_of,
    runs_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.sweep_report import (
    curves_of,
    document_of,
    report_html,
)


def report(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    objective = Objective(**params["objective"])
    assessed = assess(runs_of(params["name"], params["parameters"]), params["jobs"], objective)
    patterns = {name: pattern_of(name, text) for name, text in params["metrics"].items()}
    curves = curves_of(assessed, params["jobs"], patterns)
    versions: dict[str, Any] = {}
    try:
        versions["matplotlib"] = charts.require()
    except charts.ChartsMissingError as error:
        module.warn(f"The report has no pictures: {error}")
    document = document_of(params["name"], objective, assessed, curves, versions)
    draw = partial(report_html, with_pictures="matplotlib" in versions)
    return {
        "best": best_of(assessed),
        "table": lines_of(assessed, objective),
        "failed_runs": [
            {key: row[key] for key in ("name", "parameters", "state", "msg")} for row in assessed if not row["passed"]
        ],
        **save_report(params["directory"], document, draw, module.check_mode),
    }


def pattern_of(name: str, text: Any) -> Any:
    try:
        return compile_pattern(str(text))
    except ValueError as error:
        raise InvalidSweepError(f"metrics.{name}: {error}.") from error


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "parameters": {"type": "raw", "required": True},
            "jobs": {"type": "list", "elements": "dict", "required": True},
            "objective": {
                "type": "dict",
                "required": True,
                "options": {
                    "metric": {"type": "str", "required": True},
                    "goal": {"type": "str", "choices": list(GOALS), "required": True},
                    "of": {"type": "str", "choices": list(SUMMARIES), "default": SUMMARIES[0]},
                },
            },
            "metrics": {"type": "dict", "default": {}},
            "directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**report(module))
    except InvalidSweepError as error:
        module.fail_json(msg=f"The sweep cannot be reported on: {error}")
    except (charts.ChartsMissingError, UnwritableError) as error:
        module.fail_json(msg=f"directory: {error}")
    except OSError as error:
        module.fail_json(
            msg=f"jobs: their log files cannot be read: {error}. Run this module on the controller, which has them."
        )


if __name__ == "__main__":
    main()
