#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: training_job_info
short_description: Tell which training jobs there are and how they are doing
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Lists TFJobs, PyTorchJobs and Volcano Jobs with their states, their replicas and, on request, the last lines of
    their logs and the diagnosis of those that have failed or cannot go on.
  - Takes one request for each kind, one for the pods of each operator, and one for all events where a diagnosis is
    wanted; logs are read at the same time.
  - Secrets are hidden as by M(mlstack.kubernetes.training_job_verify).
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  kinds:
    description:
      - Kinds of the jobs. Those that the cluster does not serve are left out with a warning.
      - Where it is not given, all that the cluster serves.
    type: list
    elements: str
    choices: [TFJob, PyTorchJob, VolcanoJob]
    aliases: [kind]
  name:
    description: Name of the jobs; all where it is not given.
    type: str
  namespace:
    description: Namespace of the jobs; all where it is not given.
    type: str
  selector:
    description: Label selector of the jobs, for example V(sweep=digits).
    type: str
  states:
    description: States of the jobs; all where it is not given.
    type: list
    elements: str
    choices: [Pending, Created, Running, Restarting, Suspended, Succeeded, Failed]
  logs:
    description: Whether the last lines of each replica's log are wanted.
    type: bool
    default: false
  tail:
    description: How many lines, with O(logs=true).
    type: int
    default: 20
  diagnosis:
    description: Whether the diagnosis of jobs that have failed or cannot go on is wanted.
    type: bool
    default: false
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
  - PyYAML >= 3.11
attributes:
  check_mode:
    description: Only reads.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
seealso:
  - module: mlstack.kubernetes.tfjob
  - module: mlstack.kubernetes.pytorchjob
  - module: mlstack.kubernetes.volcano_job
  - module: mlstack.kubernetes.training_job_verify
"""

EXAMPLES = r"""
- name: What is training now
  mlstack.kubernetes.training_job_info:
    states: [Created, Running, Restarting]
  register: training

- name: Why did jobs of the sweep fail
  mlstack.kubernetes.training_job_info:
    kinds: [TFJob]
    namespace: default
    selector: sweep=digits
    states: [Failed]
    logs: true
    tail: 50
    diagnosis: true
"""

RETURN = r"""
jobs:
  description: The jobs by namespace, name and kind.
  returned: always
  type: list
  elements: dict
  contains:
    kind:
      description: Kind of the job.
      type: str
      sample: TFJob
    namespace:
      description: Namespace of the job.
      type: str
    name:
      description: Name of the job.
      type: str
    uid:
      description: What tells the job from former ones of its name.
      type: str
    labels:
      description: Labels of the job.
      type: dict
    created:
      description: When the job was created.
      type: str
    started:
      description: When the operator began with it.
      type: str
    finished:
      description: When it was completed.
      type: str
    duration:
      description: Seconds from its start to its completion time.
      type: float
    state:
      description: State of the job by its conditions; V(Pending) while the operator has not taken notice.
      type: str
      sample: Running
    conditions:
      description: Each with C(type), C(status), C(reason), C(message), and C(since) when it is so.
      type: list
      elements: dict
    spec_hash:
      description: Hash of the spec as it was submitted, where a module of this collection made the job.
      type: str
    spec_edited:
      description: Whether the spec was changed after the job was made.
      type: bool
    replicas:
      description: >-
        One entry for each replica, as M(mlstack.kubernetes.training_job_verify) returns them; with O(logs=true) each
        has the last lines of its C(log), null where there is none to read.
      type: list
      elements: dict
    diagnosis:
      description: >-
        As M(mlstack.kubernetes.tfjob) returns it, with O(diagnosis=true); null where nothing is wrong.
      type: dict
"""

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_kinds import KINDS
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import STATES
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_view import Query, describe
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    ClientError,
    connect,
    new_module,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.manifest_problems import place_problems
from ansible_collections.mlstack.kubernetes.plugins.module_utils.redaction import secret_options


def main() -> None:
    module = new_module(
        argument_spec={
            **AUTH_ARG_SPEC,
            "kinds": {
                "type": "list",
                "elements": "str",
                "choices": list(KINDS),
                "aliases": ["kind"],
            },
            "name": {"type": "str"},
            "namespace": {"type": "str"},
            "selector": {"type": "str"},
            "states": {"type": "list", "elements": "str", "choices": list(STATES)},
            "logs": {"type": "bool", "default": False},
            "tail": {"type": "int", "default": 20},
            "diagnosis": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    if params["tail"] < 1:
        module.fail_json(msg=f"tail: {params['tail']} is no number of lines; use 1 or more, or `logs: false`.")
    # All where it is not given.
    asked = {option: params[option] for option in ("name", "namespace") if params[option]}
    places = place_problems(asked.get("name", "any"), asked.get("namespace", "any"))
    if problems := [f"{field}: {text}" for field, text in places]:
        module.fail_json(msg="\n".join(problems))
    query = Query(
        kinds=[KINDS[kind] for kind in dict.fromkeys(params["kinds"] or KINDS)],
        namespace=params["namespace"] or "",
        name=params["name"] or "",
        selector=params["selector"] or "",
        states=params["states"] or STATES,
        log_lines=params["tail"] if params["logs"] else 0,
        diagnosis=params["diagnosis"],
    )
    try:
        jobs, not_served = describe(connect(module), query, secret_options(AUTH_ARG_SPEC, params))
    except (ApiError, ClientError, UnreachableError) as error:
        module.fail_json(msg=f"The training jobs cannot be listed: {error}")
    # Nobody has asked for a certain kind where there is at least one.
    if params["kinds"] or len(not_served) == len(KINDS):
        for kind in not_served:
            module.warn(f"The cluster does not serve {kind.name} ({kind.api_version}): install {kind.operator}.")
    module.exit_json(changed=False, jobs=jobs)


if __name__ == "__main__":
    main()
