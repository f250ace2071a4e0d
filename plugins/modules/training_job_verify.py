#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: training_job_verify
short_description: Prove that training jobs did what they were for
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Asserts that a TFJob, PyTorchJob or Volcano Job has succeeded, that every replica of its spec took part, and that
    the numbers in its logs are as wanted. Fails with every expectation that is not met and what was seen instead.
  - A replica took part when its training container started and ended with exit code 0. One that does not decide the
    job's success may still run. It may also have been cleaned away, where an event still tells that its container
    was started.
  - What cannot be seen is not proven, so a log that cannot be read any more is a failure. Let the job keep its pods
    (O(mlstack.kubernetes.tfjob#module:run_policy.clean_pod_policy=None)) when their logs are to be read.
  - Several jobs are verified in one call with O(jobs) or O(selector); one request lists the jobs, one their pods, and
    the logs are read at the same time.
  - Values of the jobs' variables whose names tell that they are secret, and whatever looks like a password or token in
    a log, are replaced by asterisks in the result, the message and the report.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  kind:
    description: Kind of the jobs.
    type: str
    choices: [TFJob, PyTorchJob, VolcanoJob]
    required: true
  name:
    description: Name of the one job. Exactly one of O(name), O(jobs) and O(selector) is needed.
    type: str
  jobs:
    description: Names of several jobs, all of which must be there.
    type: list
    elements: str
  selector:
    description: Label selector of several jobs, for example V(sweep=digits). It must select at least one.
    type: str
  namespace:
    description: Namespace of the jobs.
    type: str
    default: default
  wanted_state:
    description:
      - State that a job must have.
      - With V(Running) the job may still train, or have succeeded by now. Its replicas must have started, and what
        they have logged so far is verified.
    type: str
    choices: [Succeeded, Running]
    default: Succeeded
  duration_above:
    description: Seconds that the job must have taken more than, from its start to its completion time.
    type: float
  duration_below:
    description: Seconds that the job must have taken less than.
    type: float
  max_restarts:
    description: How often the training containers of the job may have been restarted in their pods, all together.
    type: int
  evidence:
    description:
      - A mapping of roles, in lower case, to regular expressions. Every replica of the role must have logged a line
        in which the expression is found.
    type: dict
  ranks:
    description:
      - The ranks that the processes of the job have logged. Every rank from 0 to the world size less one must be
        there, each in the log of one replica only, and no other.
      - A rank that two replicas claim tells that they did not train together.
    type: dict
    suboptions:
      pattern:
        description:
          - Regular expression with a group named C(rank) around the rank, and where it is logged one named
            C(world_size), on which all logs must agree.
        type: str
        required: true
      world_size:
        description:
          - Number of processes.
          - Where it is not given, the one that was logged; where none was logged, the number of replicas.
        type: int
  metrics:
    description: Numbers that the job has logged, and what is expected of them.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the metric in messages, in the result and in the report.
        type: str
        required: true
      pattern:
        description:
          - Regular expression that is searched for in every line, with a group named C(value) around the number.
          - Groups named C(epoch) and C(step) tell what a value belongs to.
        type: str
        required: true
      replica:
        description:
          - Role and index of the replica whose log is read, for example V(worker-0).
          - Where neither this nor O(metrics[].role) nor O(metrics[].replicas) is given, the replica that decides the
            success of the job; chief, master or the first worker.
        type: str
      role:
        description: Role, in lower case, each of whose replicas must by itself meet what is expected.
        type: str
      replicas:
        description:
          - Replicas and roles whose values are taken together, for example V([worker-0, worker-1]) or V([worker]).
          - Where O(metrics[].pattern) has a group C(epoch) or C(step), the values with the same epoch and step are
            replaced by their mean. Else there is nothing to align them by, and each replica must meet what is expected.
        type: list
        elements: str
      falls:
        description: Whether the mean of the last quarter of the values must be below that of the first quarter.
        type: bool
        default: false
      rises:
        description: Whether the mean of the last quarter of the values must be above that of the first quarter.
        type: bool
        default: false
      monotone:
        description:
          - Whether beyond that each step must fall, or rise. A step is the mean of the values with the same epoch,
            where O(metrics[].pattern) has a group named C(epoch), else of those with the same C(step), else a single
            value. There must be at least two.
        type: bool
        default: false
      final_above:
        description: Number that the last value must be above.
        type: float
      final_below:
        description: Number that the last value must be below.
        type: float
      best_above:
        description: Number that the highest value must be above.
        type: float
      best_below:
        description: Number that the lowest value must be below.
        type: float
      min_values:
        description: How many values there must be at least.
        type: int
        default: 1
      finite:
        description:
          - Whether every match must be a finite number.
          - What is none is never counted as a value.
        type: bool
        default: true
  wait_timeout:
    description:
      - Longest time to wait until all replicas of jobs that are over have ended, in seconds.
      - With V(0) those that still run are judged as they are; what is said of them may be another thing a moment later.
    type: int
    default: 0
  report:
    description:
      - Directory, on the host where the module runs, for a report on all that was seen, of failed verifications, too.
      - C(report.html) is one page that needs nothing but itself, with the verdict, the curves of the metrics, a time
        line of the replicas, every expectation, and the diagnosis of what failed. C(report.json) has the same for
        programs.
      - They are drawn by the Python package C(matplotlib). Files that would not change are left alone.
    type: path
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
  - PyYAML >= 3.11
  - matplotlib >= 3.8 (for O(report))
attributes:
  check_mode:
    description:
      - Reads, and writes no report but says whether it would.
      - A job that is not there is no failure then, as an earlier task may be the one to make it.
    support: full
  diff_mode:
    description: Shows no differences.
    support: none
seealso:
  - module: mlstack.kubernetes.tfjob
  - module: mlstack.kubernetes.pytorchjob
  - module: mlstack.kubernetes.training_job_info
"""

EXAMPLES = r"""
- name: The training was real
  mlstack.kubernetes.training_job_verify:
    kind: TFJob
    name: mnist-tensorflow
    duration_below: 600
    max_restarts: 0
    evidence:
      worker: 'worker=\d+ step=\d+'
      ps: 'ps=\d+ variables=\d+'
    metrics:
      - name: loss
        pattern: '\bepoch=(?P<epoch>\d+) .*\bloss=(?P<value>\S+)'
        falls: true
        monotone: true
      - name: test_accuracy
        pattern: '\btest_accuracy=(?P<value>\S+)'
        final_above: 0.90
    report: /srv/reports/mnist-tensorflow

- name: All ranks trained together, and their mean loss fell
  mlstack.kubernetes.training_job_verify:
    kind: PyTorchJob
    name: mnist-pytorch
    ranks:
      pattern: '\brank=(?P<rank>\d+)'
    metrics:
      - name: batch_loss
        pattern: 'epoch=(?P<epoch>\d+) step=(?P<step>\d+) batch_loss=(?P<value>\S+)'
        replicas: [master, worker]
        falls: true
        min_values: 10

- name: Every job of a sweep learned something
  mlstack.kubernetes.training_job_verify:
    kind: TFJob
    selector: sweep=digits
    metrics:
      - {name: test_accuracy, pattern: '\btest_accuracy=(?P<value>\S+)', best_above: 0.8}
    report: /srv/reports/sweep

- name: The training that goes on has not diverged so far
  mlstack.kubernetes.training_job_verify:
    kind: PyTorchJob
    name: long
    wanted_state: Running
    metrics:
      - {name: loss, pattern: '\bloss=(?P<value>\S+)', final_below: 10}
"""

RETURN = r"""
state:
  description: State of the job.
  returned: with O(name), where the job is there
  type: str
  sample: Succeeded
duration:
  description: Seconds from the job's start to its completion time.
  returned: with O(name), where the job is there
  type: float
replicas:
  description:
    - One entry for each replica of the spec, as M(mlstack.kubernetes.tfjob) returns them, and with when its pod was
      C(created), its C(image) and C(image_id), and C(previous_started), C(previous_finished) and C(previous_exit_code)
      of the container before its last restart.
  returned: with O(name), where the job is there
  type: list
  elements: dict
evidence:
  description: For each replica that evidence was wanted of, the first line of its log that gives it, or null.
  returned: with O(name), where the job is there
  type: dict
ranks:
  description: For each replica the ranks in its log, where O(ranks) is given.
  returned: with O(name), where the job is there
  type: dict
metrics:
  description: Each metric by its name.
  returned: with O(name), where the job is there
  type: dict
  contains:
    series:
      description:
        - One for each replica it was read from, or a single one where they were taken together. Each has the
          C(replicas) it comes from, its C(values) with their C(epochs) and C(steps) where the pattern has such groups,
          the C(first), C(final), C(lowest) and C(highest) value, and the number of matches that were C(not_finite).
      type: list
      elements: dict
    replica:
      description: The replica it was read from, where there is one.
      type: str
    values:
      description: All values, where there is one series. The series' other entries stand beside it, too.
      type: list
      elements: float
    bounds:
      description: The bounds that were wanted.
      type: dict
expectations:
  description: >-
    Every expectation, with the C(subject) it is about, what was C(wanted), what was C(seen), and whether it is C(met).
  returned: with O(name), where the job is there
  type: list
  elements: dict
diagnosis:
  description: >-
    Why the job failed or cannot go on, as M(mlstack.kubernetes.tfjob) returns it; null where all is well with it and
    its replicas.
  returned: with O(name), where the job is there
  type: dict
unmet:
  description: Every expectation that was not met. Of several jobs, each begins with the job's name.
  returned: where the jobs are there
  type: list
  elements: str
jobs:
  description: For each job its C(name) and all of the above.
  returned: with O(jobs) or O(selector)
  type: list
  elements: dict
report:
  description: The C(directory) of the report and the paths of its C(html) and C(json).
  returned: where O(report) is given and the jobs are there
  type: dict
"""

import platform
from collections.abc import Iterator
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils import charts
from ansible_collections.mlstack.kubernetes.plugins.module_utils.diagnosis import message_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_kinds import KINDS
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import InvalidJobError, JobKind
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_view import list_jobs
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    Client,
    ClientError,
    connect,
    new_module,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.manifest_problems import place_problems
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pages import UnwritableError, save_report
from ansible_collections.mlstack.kubernetes.plugins.module_utils.redaction import secret_options
from ansible_collections.mlstack.kubernetes.plugins.module_utils.report import document_of, report_html
from ansible_collections.mlstack.kubernetes.plugins.module_utils.verification import (
    WANTED_STATES,
    Verdict,
    verify,
    wanted_proof,
)


def place_problems_of(params: dict[str, Any]) -> Iterator[str]:
    """What is wrong with where the jobs are to be found."""
    (option,) = [option for option in ("name", "jobs", "selector") if params[option] is not None]
    if not params[option]:
        yield f"{option}: names no job; give at least one."
        return
    names = {"name": [params["name"]], "jobs": params["jobs"], "selector": ["any"]}[option]
    found = dict.fromkeys(problem for name in names for problem in place_problems(name, params["namespace"], option))
    yield from (f"{field}: {text}" for field, text in found)


def find(api: Client, kind: JobKind, params: dict[str, Any]) -> tuple[list[Json], list[str]]:
    """The jobs that are there, and what is missing of those that were named."""
    namespace, name, names, selector = (params[key] for key in ("namespace", "name", "jobs", "selector"))
    if name:
        try:
            return [api.get(kind.path(namespace, name))], []
        except ApiError as error:
            if not error.is_object_missing:
                raise
            return [], [f"{kind.name} {namespace}/{name} is not there."]
    jobs = {job["metadata"]["name"]: job for job in list_jobs(api, kind, namespace, selector=selector or "")}
    if selector:
        return list(jobs.values()), [] if jobs else [f"No {kind.name} in {namespace} has the labels '{selector}'."]
    wanted = dict.fromkeys(names)
    missing = [f"{kind.name} {namespace}/{name} is not there." for name in wanted if name not in jobs]
    return [jobs[name] for name in wanted if name in jobs], missing


def server_version(api: Client) -> str | None:
    try:
        return str(api.get("/version").get("gitVersion"))
    except ApiError:
        return None


def result_of(kind: JobKind, params: dict[str, Any], verdicts: list[Verdict], missing: list[str]) -> dict[str, Any]:
    """The module's result, with a message where something is not as wanted."""
    if params["name"]:
        (verdict,) = verdicts
        result = {**verdict.seen, "unmet": verdict.unmet}
        headline = f"{kind.name} {params['namespace']}/{verdict.name} is not as wanted:"
    else:
        unmet = [*missing, *(f"{verdict.name}: {problem}" for verdict in verdicts for problem in verdict.unmet)]
        jobs = [{"name": verdict.name, **verdict.seen, "unmet": verdict.unmet} for verdict in verdicts]
        result = {"jobs": jobs, "unmet": unmet}
        count = len(missing) + sum(bool(verdict.unmet) for verdict in verdicts)
        total = len(missing) + len(verdicts)
        headline = f"{count} of {total} {kind.name}s in {params['namespace']} are not as wanted:"
    if result["unmet"]:
        lines = [headline, *(f"- {problem}" for problem in result["unmet"])]
        if result.get("diagnosis"):
            lines.append(message_of("Why:", result["diagnosis"]))
        result["msg"] = "\n".join(lines)
    return result


def main() -> None:
    number = {"type": "float"}
    flag = {"type": "bool", "default": False}
    metric = {
        "name": {"type": "str", "required": True},
        "pattern": {"type": "str", "required": True},
        "replica": {"type": "str"},
        "role": {"type": "str"},
        "replicas": {"type": "list", "elements": "str"},
        "falls": flag,
        "rises": flag,
        "monotone": flag,
        "final_above": number,
        "final_below": number,
        "best_above": number,
        "best_below": number,
        "min_values": {"type": "int", "default": 1},
        "finite": {"type": "bool", "default": True},
    }
    module = new_module(
        argument_spec={
            **AUTH_ARG_SPEC,
            "kind": {"type": "str", "choices": list(KINDS), "required": True},
            "name": {"type": "str"},
            "jobs": {"type": "list", "elements": "str"},
            "selector": {"type": "str"},
            "namespace": {"type": "str", "default": "default"},
            "wanted_state": {"type": "str", "choices": list(WANTED_STATES), "default": WANTED_STATES[0]},
            "duration_above": number,
            "duration_below": number,
            "max_restarts": {"type": "int"},
            "evidence": {"type": "dict"},
            "ranks": {
                "type": "dict",
                "options": {"pattern": {"type": "str", "required": True}, "world_size": {"type": "int"}},
            },
            "metrics": {
                "type": "list",
                "elements": "dict",
                "options": metric,
                "mutually_exclusive": [["replica", "role", "replicas"]],
            },
            "wait_timeout": {"type": "int", "default": 0},
            "report": {"type": "path"},
        },
        mutually_exclusive=[["name", "jobs", "selector"]],
        required_one_of=[["name", "jobs", "selector"]],
        supports_check_mode=True,
    )
    params = module.params
    kind = KINDS[params["kind"]]
    if problems := list(place_problems_of(params)):
        module.fail_json(msg="\n".join(["Nothing can be verified:", *(f"- {problem}" for problem in problems)]))
    try:
        wanted = wanted_proof(kind, params)
        versions: dict[str, Any] = {"matplotlib": charts.require()} if params["report"] else {}
        api = connect(module)
        jobs, missing = find(api, kind, params)
        hidden = secret_options(AUTH_ARG_SPEC, params)
        verdicts = verify(api, kind, jobs, wanted, hidden, params["wait_timeout"])
        if params["report"]:
            versions.update(kubernetes=server_version(api), python=platform.python_version())
    except InvalidJobError as error:
        module.fail_json(msg="\n".join(["Nothing can be verified:", *(f"- {problem}" for problem in error.problems)]))
    except ApiError as error:
        if error.status == 404 and module.check_mode:
            module.warn(f"{kind.name} is not served (yet), so nothing was verified.")
            module.exit_json(changed=False)
        module.fail_json(msg=f"The {kind.name}s in {params['namespace']} cannot be verified: {error}")
    except (charts.ChartsMissingError, ClientError, UnreachableError) as error:
        module.fail_json(msg=f"Nothing can be verified: {error}")
    if module.check_mode:
        for problem in missing:
            module.warn(f"{problem} It was not verified, as an earlier task may be to make it.")
        missing = []
    if not verdicts:
        if missing:
            module.fail_json(msg="\n".join(["Nothing can be verified:", *(f"- {problem}" for problem in missing)]))
        module.exit_json(changed=False)
    result = {"changed": False, **result_of(kind, params, verdicts, missing)}
    if params["report"]:
        document = document_of(verdicts, missing, versions)
        try:
            result.update(save_report(params["report"], document, report_html, module.check_mode))
        except (charts.ChartsMissingError, UnwritableError) as error:
            module.fail_json(msg=f"report: {error}")
    if result["unmet"]:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
