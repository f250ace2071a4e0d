#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: tfjob
short_description: Run a TensorFlow training job on Kubernetes
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Brings TFJob objects (C(kubeflow.org/v1)) of the Kubeflow training operator to the wanted state, one or
    hundreds in one task. Waits for their end by watching them, and where one fails says why in one message.
  - The end of a job is noticed when the API server knows of it, not at the next poll.
  - While the task runs, a line is shown whenever something has changed, where the output is for people to read.
  - Wrong input ends the task at once or, where only the cluster can tell, after O(grace).
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - mlstack.kubernetes.training_job
options:
  replicas:
    description:
      - The roles of the job, each a mapping with C(count) (1 where it is not given) and the role's own C(image),
        C(image_pull_policy), C(image_pull_secrets), C(command), C(args), C(working_dir), C(env), C(resources),
        C(restart_policy), C(node_selector), C(tolerations), C(service_account_name) and C(security_context), as far as
        they differ from the job's options of the same name. C(env) comes on top of O(env).
      - C(chief) is the replica that leads, and whose end is the job's end; at most one. C(master) is its older name.
        C(worker) are the replicas that compute; without a chief the first one leads. C(ps) are the parameter servers.
        C(evaluator) evaluates checkpoints beside the training.
    type: dict
  success_policy:
    description: V(AllWorkers) makes the job succeed when all workers have, instead of the first; only without a chief.
    type: str
    choices: ['', AllWorkers]
seealso:
  - module: mlstack.kubernetes.pytorchjob
  - module: mlstack.kubernetes.training_job_verify
"""

EXAMPLES = r"""
- name: Train with parameter servers, and wait for the end
  mlstack.kubernetes.tfjob:
    name: mnist-tensorflow
    image: registry.example.com/trainer-tensorflow:1.0
    command: [python3, /examples/tensorflow/mnist_parameter_server.py]
    args: [--epochs, "3"]
    env:
      TF_CPP_MIN_LOG_LEVEL: "2"
    replicas:
      chief:
        resources: {requests: {cpu: 250m, memory: 512Mi}}
      ps: {}
      worker:
        count: 2
    volumes:
      - name: work
        claim: training
        mount_path: /work
    run_policy:
      clean_pod_policy: None
    wait_timeout: 1800

- name: Run it again when the image or the arguments have changed, or when it has failed
  mlstack.kubernetes.tfjob:
    src: mnist.yaml
    on_change: recreate
    on_failed: recreate

- name: Every worker has a part in the result
  mlstack.kubernetes.tfjob:
    name: mnist-multi-worker
    image: registry.example.com/trainer-tensorflow:1.0
    command: [python3, /examples/tensorflow/mnist_multi_worker.py]
    success_policy: AllWorkers
    replicas:
      worker:
        count: 3
        resources: {limits: {nvidia.com/gpu: 1}}

- name: Try three learning rates, two at a time, and keep the logs
  mlstack.kubernetes.tfjob:
    image: registry.example.com/trainer-tensorflow:1.0
    command: [python3, /examples/tensorflow/mnist_multi_worker.py]
    replicas:
      worker: {count: 2}
    jobs:
      - {name: rate-1, args: [--learning-rate, "0.1"]}
      - {name: rate-2, args: [--learning-rate, "0.01"]}
      - {name: rate-3, args: [--learning-rate, "0.001"]}
    max_parallel: 2
    metrics:
      test_accuracy: '\btest_accuracy=(?P<value>\S+)'
    log_dir: logs
    stall_timeout: 300

- name: Take a running job off its nodes, and let it run again later
  mlstack.kubernetes.tfjob:
    name: mnist-tensorflow
    state: suspended

- name: Take the job and its pods away
  mlstack.kubernetes.tfjob:
    name: mnist-tensorflow
    state: absent
"""

RETURN = r"""
jobs:
  description:
    - With several jobs, one entry for each, with C(name), C(namespace), C(state), C(changed), C(duration), C(metrics)
      and C(log_files) as below, and for a job that came to no good end C(msg) and C(diagnosis).
    - The other values are returned for a single job.
  returned: with O(jobs), and with more than one manifest
  type: list
  elements: dict
job:
  description: The job as the API server has it; null with O(state=absent).
  returned: for a single job
  type: dict
state:
  description:
    - State of the job by its conditions.
    - V(Pending) while the operator has not taken notice, V(Absent) when deleted.
  returned: for a single job
  type: str
  sample: Succeeded
replicas:
  description: >-
    One entry for each replica that the spec asks for, as last seen, with C(replica) (such as C(worker-0)), C(role),
    C(index), C(pod), C(phase), C(node), C(started), C(finished), C(exit_code), C(reason) and C(restarts).
  returned: for a single job that is there
  type: list
  elements: dict
duration:
  description: Seconds from the job's start to its completion time, by the operator's clock.
  returned: for a single job that is there
  type: float
metrics:
  description: >-
    For each of O(metrics) the C(count) of values, and the C(first), the C(final), the C(lowest) and the C(highest) one.
  returned: with O(metrics), where the replica has started
  type: dict
log_files:
  description: The files in O(log_dir).
  returned: with O(log_dir)
  type: list
  elements: str
timings:
  description: >-
    Seconds, measured by this module, null where it has not seen that part of the job's life. C(submit) is the request
    that made the job, C(first_container) the time to the first running training container, C(finished) to the sight
    of the end, and C(after_finish) from there to the module's return.
  returned: for a single job that is there
  type: dict
diagnosis:
  description: Why the job failed, cannot go on, or has not finished in time.
  returned: on failure of a job
  type: dict
  contains:
    state:
      description: State of the job.
      type: str
    condition:
      description: Type, reason and message of the job's condition.
      type: dict
    causes:
      description: >-
        Containers that ended badly, the first to fail first, then pods that cannot go on. Each has C(replica), C(pod),
        C(node), C(container), C(reason), C(message), C(exit_code), C(finished) and the last 20 lines of its C(log).
      type: list
      elements: dict
    events:
      description: Warnings about the job and its pods, the latest first, equal ones folded.
      type: list
      elements: dict
    pod_group:
      description: >-
        Of a gang that Volcano's scheduler has not started, the C(name), C(phase) and C(message) of its PodGroup, and
        its C(queue).
      type: dict
    cure:
      description: What can be done, where the cause is known.
      type: str
"""

from ansible_collections.mlstack.kubernetes.plugins.module_utils import training_job
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB


def main() -> None:
    training_job.main(TFJOB, {"success_policy": {"type": "str", "choices": ["", "AllWorkers"]}})


if __name__ == "__main__":
    main()
