#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: volcano_job
short_description: Run a training job of Volcano on Kubernetes
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Brings Job objects of Volcano (C(batch.volcano.sh/v1alpha1)) to the wanted state, one or hundreds in one task. Waits
    for their end by watching them, and where one fails says why in one message.
  - Takes the parameters of M(mlstack.kubernetes.tfjob) where they make sense, so that a training moves from the
    training operator to Volcano with few changes. All pods of a job start together or not at all.
  - While the task runs, a line is shown whenever something has changed, where the output is for people to read.
  - Wrong input ends the task at once or, where only the cluster can tell, after O(grace).
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - mlstack.kubernetes.training_job
options:
  replicas:
    description:
      - The tasks of the job by their names, each a mapping with C(count) (1 where it is not given), C(policies) and the
        task's own C(image), C(image_pull_policy), C(image_pull_secrets), C(command), C(args), C(working_dir), C(env),
        C(resources), C(restart_policy), C(node_selector), C(tolerations), C(service_account_name) and
        C(security_context), as far as they differ from the job's options of the same name. C(env) comes on top of
        O(env).
      - Names are free; plugins look for C(chief), C(worker), C(ps) and C(evaluator), or for C(master) and C(worker),
        unless their arguments name others.
      - Of several tasks the end of C(chief) or C(master), or where there is neither of C(worker), is the job's end.
        Volcano then deletes the pods that still run, and their logs with them; O(log_dir) keeps these. Other jobs, and
        those with O(policies) of their own, end with the last of their pods.
    type: dict
  plugins:
    description:
      - Plugins by their names, each with a list of arguments, or V([]). C(tensorflow) gives the containers
        C(TF_CONFIG), C(pytorch) the address of the master, the rank and the world size, C(svc) a host name in DNS,
        C(env) their index, C(ssh) keys to log in to each other.
      - C(svc) comes with C(tensorflow) and C(pytorch) by itself.
    type: dict
  policies:
    description:
      - What Volcano does at which event, in Volcano's own form, in place of the module's default.
      - By default a pod that fails ends the job, or with O(run_policy.backoff_limit) restarts it as a whole, and a pod
        that is evicted restarts it.
    type: list
    elements: dict
  restart_policy:
    description:
      - What happens when a training container fails. V(Never) where neither the job nor the task says anything,
        so that a failure ends the job with its cause still readable.
    type: str
    choices: [Always, OnFailure, Never]
  run_policy:
    description: How the job as a whole is run.
    type: dict
    suboptions:
      ttl_seconds_after_finished:
        description: Seconds after its end at which the job is deleted.
        type: int
      backoff_limit:
        description: How often the whole job is run again after a failure. The runs that resume it count, too.
        type: int
      scheduling_policy:
        description: For gang scheduling.
        type: dict
        suboptions:
          min_available:
            description: Number of pods that must fit at once; all where it is not given.
            type: int
          queue:
            description: Queue of the job. Volcano's own default is V(default).
            type: str
          priority_class:
            description: Priority class of the job.
            type: str
notes:
  - With O(state=suspended) Volcano aborts the job, which keeps its spec, and resumes it with O(state=resumed). A job
    that is not there cannot be made suspended.
  - Volcano holds back pods that ask for nothing one by one; a gang is one only with O(resources).
seealso:
  - module: mlstack.kubernetes.tfjob
  - module: mlstack.kubernetes.pytorchjob
  - module: mlstack.kubernetes.training_job_verify
"""

EXAMPLES = r"""
- name: Train with parameter servers in a queue, all pods at once
  mlstack.kubernetes.volcano_job:
    name: mnist-volcano
    image: registry.example.com/trainer-tensorflow:1.0
    command: [python3, /examples/tensorflow/mnist_parameter_server.py]
    args: [--epochs, "3"]
    plugins:
      tensorflow: []
    resources: {requests: {cpu: 250m, memory: 512Mi}}
    replicas:
      chief: {}
      ps: {}
      worker:
        count: 2
    run_policy:
      scheduling_policy: {queue: research}
    wait_timeout: 1800

- name: Train with DistributedDataParallel, and once more after a failure
  mlstack.kubernetes.volcano_job:
    name: mnist-ddp
    image: registry.example.com/trainer-pytorch:1.0
    command: [python3, /examples/pytorch/mnist_ddp.py]
    plugins:
      pytorch: [--port=23456]
    replicas:
      master: {}
      worker:
        count: 2
    resources: {limits: {nvidia.com/gpu: 1}}
    run_policy:
      backoff_limit: 1

- name: Give its place to others for a while
  mlstack.kubernetes.volcano_job:
    name: mnist-ddp
    state: suspended
"""

RETURN = r"""
jobs:
  description: As M(mlstack.kubernetes.tfjob) returns it, with several jobs. The other values are for a single one.
  returned: with O(jobs), and with more than one manifest
  type: list
  elements: dict
job:
  description: The job as the API server has it; null with O(state=absent).
  returned: for a single job
  type: dict
state:
  description:
    - State of the job, by the names that the training operator has for them.
    - V(Pending) while Volcano keeps it in its queue, V(Suspended) when it was aborted, V(Failed) also when it was
      terminated, V(Absent) when deleted.
  returned: for a single job
  type: str
  sample: Succeeded
replicas:
  description: As M(mlstack.kubernetes.tfjob) returns them.
  returned: for a single job that is there
  type: list
  elements: dict
duration:
  description: Seconds from the time when all pods that must start together ran, to the job's end, by Volcano's clock.
  returned: for a single job that is there
  type: float
metrics:
  description: As M(mlstack.kubernetes.tfjob) returns them.
  returned: with O(metrics), where the replica has started
  type: dict
log_files:
  description: The files in O(log_dir).
  returned: with O(log_dir)
  type: list
  elements: str
timings:
  description: As M(mlstack.kubernetes.tfjob) returns them.
  returned: for a single job that is there
  type: dict
diagnosis:
  description: As M(mlstack.kubernetes.tfjob) returns it; its C(pod_group) tells what Volcano's scheduler says.
  returned: on failure of a job
  type: dict
"""

from ansible_collections.mlstack.kubernetes.plugins.module_utils import training_job
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volcano_problems import RESTART_POLICIES
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volcano_specs import VOLCANO_JOB

POLICIES = {"type": "list", "elements": "dict"}
RUN_POLICY = {
    "type": "dict",
    "options": {
        "ttl_seconds_after_finished": {"type": "int"},
        "backoff_limit": {"type": "int"},
        "scheduling_policy": {
            "type": "dict",
            "options": {
                "min_available": {"type": "int"},
                "queue": {"type": "str"},
                "priority_class": {"type": "str"},
            },
        },
    },
}


def main() -> None:
    training_job.main(
        VOLCANO_JOB,
        {
            "restart_policy": {"type": "str", "choices": list(RESTART_POLICIES)},
            "run_policy": RUN_POLICY,
            "plugins": {"type": "dict"},
            "policies": POLICIES,
        },
        {"policies": POLICIES},
    )


if __name__ == "__main__":
    main()
