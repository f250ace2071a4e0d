#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pytorchjob
short_description: Run a PyTorch training job on Kubernetes
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Brings PyTorchJob objects (C(kubeflow.org/v1)) of the Kubeflow training operator to the wanted state, one or
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
      - C(master) is the replica with rank 0, which the others meet at, and whose end is the job's end; exactly one.
        C(worker) are the other replicas.
    type: dict
  nproc_per_node:
    description: Processes in each replica; V(auto), V(cpu), V(gpu) or a number. The operator's own default is V(auto).
    type: str
seealso:
  - module: mlstack.kubernetes.tfjob
  - module: mlstack.kubernetes.training_job_verify
"""

EXAMPLES = r"""
- name: Train with DistributedDataParallel, and wait for the end
  mlstack.kubernetes.pytorchjob:
    name: mnist-pytorch
    image: registry.example.com/trainer-pytorch:1.0
    command: [python3, /examples/pytorch/mnist_ddp.py]
    args: [--epochs, "3"]
    nproc_per_node: "1"
    replicas:
      master: {}
      worker:
        count: 2
        resources: {requests: {cpu: 500m, memory: 512Mi}}
    volumes:
      - name: work
        claim: training
        mount_path: /work
      - name: shared-memory
        empty_dir: {medium: Memory}
        mount_path: /dev/shm
    wait_timeout: 1800

- name: Submit a manifest and go on
  mlstack.kubernetes.pytorchjob:
    definition: "{{ lookup('ansible.builtin.template', 'job.yaml.j2') }}"
    wait: false

- name: Take the job and its pods away
  mlstack.kubernetes.pytorchjob:
    name: mnist-pytorch
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
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import PYTORCHJOB


def main() -> None:
    training_job.main(PYTORCHJOB, {"nproc_per_node": {"type": "str"}})


if __name__ == "__main__":
    main()
