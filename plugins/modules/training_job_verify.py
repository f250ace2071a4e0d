#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: training_job_verify
short_description: Prove that a training job did what it was for
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Asserts that a TFJob or PyTorchJob has succeeded, that every replica of its spec took part, and that the numbers
    in its logs are as wanted. Fails with every expectation that is not met and what was seen instead.
  - A replica took part when its training container started and ended with exit code 0. One that does not decide the
    job's success may still run. It may also have been cleaned away, where an event still tells that its container
    was started.
  - What cannot be seen is not proven, so a log that cannot be read any more is a failure. Let the job keep its pods
    (O(mlstack.kubernetes.tfjob#module:run_policy.clean_pod_policy=None)) when their logs are to be read.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  kind:
    description: Kind of the job.
    type: str
    choices: [TFJob, PyTorchJob]
    required: true
  name:
    description: Name of the job.
    type: str
    required: true
  namespace:
    description: Namespace of the job.
    type: str
    default: default
  evidence:
    description:
      - A mapping of roles, in lower case, to regular expressions. Every replica of the role must have logged a line
        in which the expression is found.
    type: dict
  metrics:
    description: Numbers that the job has logged, and what is expected of them.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the metric in messages and in the result.
        type: str
        required: true
      pattern:
        description:
          - Regular expression that is searched for in every line, with a group named C(value) around the number.
          - Every match must be a finite number, and there must be at least one.
        type: str
        required: true
      replica:
        description:
          - Role and index of the replica whose log is read, for example V(worker-0).
          - Where it is not given, the replica that decides the success of the job; chief, master or the first worker.
        type: str
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
            where O(metrics[].pattern) has a group named C(epoch), else a single value.
        type: bool
        default: false
      final_above:
        description: Number that the last value must be above.
        type: float
      final_below:
        description: Number that the last value must be below.
        type: float
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
  - PyYAML >= 3.11
attributes:
  check_mode:
    description: Only reads; a job that is not there is no failure then, as an earlier task may be the one to make it.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
seealso:
  - module: mlstack.kubernetes.tfjob
  - module: mlstack.kubernetes.pytorchjob
"""

EXAMPLES = r"""
- name: The training was real
  mlstack.kubernetes.training_job_verify:
    kind: TFJob
    name: mnist-tensorflow
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
"""

RETURN = r"""
state:
  description: State of the job.
  returned: where the job is there
  type: str
  sample: Succeeded
duration:
  description: Seconds from the job's start to its completion time.
  returned: where the job is there
  type: float
replicas:
  description: One entry for each replica of the spec, as M(mlstack.kubernetes.tfjob) returns them.
  returned: where the job is there
  type: list
  elements: dict
evidence:
  description: For each replica that evidence was wanted of, the first line of its log that gives it, or null.
  returned: where the job is there
  type: dict
metrics:
  description: For each metric the C(replica) it was read from, its C(values), the C(first) and the C(final) one.
  returned: where the job is there
  type: dict
unmet:
  description: Every expectation that was not met.
  returned: where the job is there
  type: list
  elements: str
"""

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import KINDS, InvalidJobError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError, jobs_path
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    AnsibleK8SModule,
    ClientError,
    connect,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.verification import verify, wanted_proof


def main() -> None:
    metric = {
        "name": {"type": "str", "required": True},
        "pattern": {"type": "str", "required": True},
        "replica": {"type": "str"},
        "falls": {"type": "bool", "default": False},
        "rises": {"type": "bool", "default": False},
        "monotone": {"type": "bool", "default": False},
        "final_above": {"type": "float"},
        "final_below": {"type": "float"},
    }
    module = AnsibleK8SModule(
        argument_spec={
            **AUTH_ARG_SPEC,
            "kind": {"type": "str", "choices": list(KINDS), "required": True},
            "name": {"type": "str", "required": True},
            "namespace": {"type": "str", "default": "default"},
            "evidence": {"type": "dict"},
            "metrics": {"type": "list", "elements": "dict", "options": metric},
        },
        supports_check_mode=True,
    )
    params = module.params
    kind = KINDS[params["kind"]]
    title = f"{kind.kind} {params['namespace']}/{params['name']}"
    try:
        wanted = wanted_proof(kind, params)
        api = connect(module)
        job = api.get(jobs_path(params["namespace"], kind.plural, params["name"]))
        seen, unmet = verify(api, kind, job, wanted)
    except InvalidJobError as error:
        module.fail_json(msg="\n".join(["Nothing can be verified:", *(f"- {problem}" for problem in error.problems)]))
    except ApiError as error:
        if error.status == 404 and module.check_mode:
            module.warn(f"{title} is not there (yet), so nothing was verified.")
            module.exit_json(changed=False)
        module.fail_json(msg=f"{title} cannot be verified: {error}")
    except (ClientError, UnreachableError) as error:
        module.fail_json(msg=f"{title} cannot be verified: {error}")
    if unmet:
        message = "\n".join([f"{title} is not as wanted:", *(f"- {problem}" for problem in unmet)])
        module.fail_json(msg=message, unmet=unmet, **seen)
    module.exit_json(changed=False, unmet=[], **seen)


if __name__ == "__main__":
    main()
