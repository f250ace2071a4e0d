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
  - Makes and deletes TFJob objects (C(kubeflow.org/v1)) of the Kubeflow training operator, waits for their end by
    watching them, and where one fails says why in one message.
  - The end of a job is noticed when the API server knows of it, not at the next poll.
  - Wrong input ends the task at once or, where only the cluster can tell, after O(grace).
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - mlstack.kubernetes.training_job
options:
  replicas:
    description:
      - The roles of the job. What a role does not say is taken from the job's options of the same name.
    type: dict
    suboptions:
      chief:
        description: The replica that leads, and whose end is the job's end. At most one.
        type: dict
        suboptions:
          count:
            description: Number of replicas.
            type: int
            default: 1
          image:
            description: This role's own O(image).
            type: str
          image_pull_policy:
            description: This role's own O(image_pull_policy).
            type: str
            choices: [Always, IfNotPresent, Never]
          image_pull_secrets:
            description: This role's own O(image_pull_secrets).
            type: list
            elements: str
          command:
            description: This role's own O(command).
            type: list
            elements: str
          args:
            description: This role's own O(args).
            type: list
            elements: str
          working_dir:
            description: This role's own O(working_dir).
            type: str
          env:
            description: Variables of this role, on top of O(env).
            type: raw
          resources:
            description: This role's own O(resources).
            type: dict
          restart_policy:
            description: This role's own O(restart_policy).
            type: str
            choices: [Always, OnFailure, Never, ExitCode]
          node_selector:
            description: This role's own O(node_selector).
            type: dict
          tolerations:
            description: This role's own O(tolerations).
            type: list
            elements: dict
          service_account_name:
            description: This role's own O(service_account_name).
            type: str
          security_context:
            description: This role's own O(security_context).
            type: dict
      master:
        description: The older name of O(replicas.chief).
        type: dict
        suboptions:
          count:
            description: Number of replicas.
            type: int
            default: 1
          image:
            description: This role's own O(image).
            type: str
          image_pull_policy:
            description: This role's own O(image_pull_policy).
            type: str
            choices: [Always, IfNotPresent, Never]
          image_pull_secrets:
            description: This role's own O(image_pull_secrets).
            type: list
            elements: str
          command:
            description: This role's own O(command).
            type: list
            elements: str
          args:
            description: This role's own O(args).
            type: list
            elements: str
          working_dir:
            description: This role's own O(working_dir).
            type: str
          env:
            description: Variables of this role, on top of O(env).
            type: raw
          resources:
            description: This role's own O(resources).
            type: dict
          restart_policy:
            description: This role's own O(restart_policy).
            type: str
            choices: [Always, OnFailure, Never, ExitCode]
          node_selector:
            description: This role's own O(node_selector).
            type: dict
          tolerations:
            description: This role's own O(tolerations).
            type: list
            elements: dict
          service_account_name:
            description: This role's own O(service_account_name).
            type: str
          security_context:
            description: This role's own O(security_context).
            type: dict
      worker:
        description: The replicas that compute. Without a chief the first one leads.
        type: dict
        suboptions:
          count:
            description: Number of replicas.
            type: int
            default: 1
          image:
            description: This role's own O(image).
            type: str
          image_pull_policy:
            description: This role's own O(image_pull_policy).
            type: str
            choices: [Always, IfNotPresent, Never]
          image_pull_secrets:
            description: This role's own O(image_pull_secrets).
            type: list
            elements: str
          command:
            description: This role's own O(command).
            type: list
            elements: str
          args:
            description: This role's own O(args).
            type: list
            elements: str
          working_dir:
            description: This role's own O(working_dir).
            type: str
          env:
            description: Variables of this role, on top of O(env).
            type: raw
          resources:
            description: This role's own O(resources).
            type: dict
          restart_policy:
            description: This role's own O(restart_policy).
            type: str
            choices: [Always, OnFailure, Never, ExitCode]
          node_selector:
            description: This role's own O(node_selector).
            type: dict
          tolerations:
            description: This role's own O(tolerations).
            type: list
            elements: dict
          service_account_name:
            description: This role's own O(service_account_name).
            type: str
          security_context:
            description: This role's own O(security_context).
            type: dict
      ps:
        description: The parameter servers.
        type: dict
        suboptions:
          count:
            description: Number of replicas.
            type: int
            default: 1
          image:
            description: This role's own O(image).
            type: str
          image_pull_policy:
            description: This role's own O(image_pull_policy).
            type: str
            choices: [Always, IfNotPresent, Never]
          image_pull_secrets:
            description: This role's own O(image_pull_secrets).
            type: list
            elements: str
          command:
            description: This role's own O(command).
            type: list
            elements: str
          args:
            description: This role's own O(args).
            type: list
            elements: str
          working_dir:
            description: This role's own O(working_dir).
            type: str
          env:
            description: Variables of this role, on top of O(env).
            type: raw
          resources:
            description: This role's own O(resources).
            type: dict
          restart_policy:
            description: This role's own O(restart_policy).
            type: str
            choices: [Always, OnFailure, Never, ExitCode]
          node_selector:
            description: This role's own O(node_selector).
            type: dict
          tolerations:
            description: This role's own O(tolerations).
            type: list
            elements: dict
          service_account_name:
            description: This role's own O(service_account_name).
            type: str
          security_context:
            description: This role's own O(security_context).
            type: dict
      evaluator:
        description: The replica that evaluates checkpoints beside the training.
        type: dict
        suboptions:
          count:
            description: Number of replicas.
            type: int
            default: 1
          image:
            description: This role's own O(image).
            type: str
          image_pull_policy:
            description: This role's own O(image_pull_policy).
            type: str
            choices: [Always, IfNotPresent, Never]
          image_pull_secrets:
            description: This role's own O(image_pull_secrets).
            type: list
            elements: str
          command:
            description: This role's own O(command).
            type: list
            elements: str
          args:
            description: This role's own O(args).
            type: list
            elements: str
          working_dir:
            description: This role's own O(working_dir).
            type: str
          env:
            description: Variables of this role, on top of O(env).
            type: raw
          resources:
            description: This role's own O(resources).
            type: dict
          restart_policy:
            description: This role's own O(restart_policy).
            type: str
            choices: [Always, OnFailure, Never, ExitCode]
          node_selector:
            description: This role's own O(node_selector).
            type: dict
          tolerations:
            description: This role's own O(tolerations).
            type: list
            elements: dict
          service_account_name:
            description: This role's own O(service_account_name).
            type: str
          security_context:
            description: This role's own O(security_context).
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

- name: Take the job and its pods away
  mlstack.kubernetes.tfjob:
    name: mnist-tensorflow
    state: absent
"""

RETURN = r"""
job:
  description: The job as the API server has it; null with O(state=absent).
  returned: where the job is or was there
  type: dict
state:
  description:
    - State of the job by its conditions.
    - V(Pending) while the operator has not taken notice, V(Absent) when deleted.
  returned: success, and on failure of the job
  type: str
  sample: Succeeded
replicas:
  description: One entry for each replica that the spec asks for, as last seen.
  returned: where the job is there
  type: list
  elements: dict
  contains:
    replica:
      description: Role and index.
      type: str
      sample: worker-0
    role:
      description: Role in lower case.
      type: str
    index:
      description: Index in the role.
      type: int
    pod:
      description: Name of the pod.
      type: str
    phase:
      description: Phase of the pod; null where there is none.
      type: str
    node:
      description: Node of the pod.
      type: str
    started:
      description: When the training container started.
      type: str
    finished:
      description: When it ended.
      type: str
    exit_code:
      description: Its exit code.
      type: int
    reason:
      description: Why it ended, or why it waits.
      type: str
    restarts:
      description: How often it was restarted in its pod.
      type: int
duration:
  description: Seconds from the job's start to its completion time, by the operator's clock.
  returned: where the job is there
  type: float
timings:
  description: Seconds, measured by this module; null where it has not seen that part of the job's life.
  returned: where the job is there
  type: dict
  contains:
    submit:
      description: The request that created the job.
      type: float
    first_container:
      description: From the creation to the first running training container.
      type: float
    finished:
      description: From the creation, or the begin of the wait, to the sight of the end.
      type: float
    after_finish:
      description: From the sight of the end to the module's return.
      type: float
diagnosis:
  description: Why the job failed, cannot go on, or has not finished in time.
  returned: on failure of the job
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
    cure:
      description: What can be done, where the cause is known.
      type: str
"""

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import AnsibleK8SModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.training_job import argument_spec, run


def main() -> None:
    spec = argument_spec(TFJOB, success_policy={"type": "str", "choices": ["", "AllWorkers"]})
    module = AnsibleK8SModule(argument_spec=spec, supports_check_mode=True, mutually_exclusive=[("definition", "src")])
    run(TFJOB, module)


if __name__ == "__main__":
    main()
