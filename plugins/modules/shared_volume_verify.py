#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: shared_volume_verify
short_description: Prove that a claim can be written on one node and read on all others
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Runs a pod on one node, as a user other than root, which writes a file to the volume and measures how long a write
    takes until it is on the server's disk. Then a pod on each other node reads the file. All of it is deleted again.
  - Simulated nodes (kwok), nodes of other systems than Linux and cordoned ones are left out, and the table says so.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  namespace:
    description: Namespace of the claim.
    type: str
    default: default
  claim:
    description: Name of a claim with the access mode ReadWriteMany.
    type: str
    required: true
  image:
    description: Image with Python 3.10 or newer.
    type: str
    required: true
  program:
    description: Source of the program that the pods run.
    type: str
    required: true
  run_as_user:
    description: Number of the user that the pods run as. Without it the one that the image or the cluster names.
    type: int
  wait_timeout:
    description: Seconds within which the pods of a step must have ended.
    type: int
    default: 120
attributes:
  check_mode:
    description: Proves all the same, since nothing of it stays.
    support: full
  diff_mode:
    description: Leaves nothing changed.
    support: none
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
"""

EXAMPLES = r"""
- name: Every node can use the volume of the trainings
  mlstack.kubernetes.shared_volume_verify:
    claim: training
    image: docker.io/library/python:3.13-alpine
    program: "{{ lookup('ansible.builtin.file', 'volume_probe.py') }}"
    run_as_user: 1000
"""

RETURN = r"""
table:
  description: A line for each node.
  returned: always
  type: list
  elements: str
  sample: ["node-1: writes, 1.9 ms until it is on the server's disk", "node-2: reads"]
sync_milliseconds:
  description: Median of the time that a write of 4 KiB takes until it is on the server's disk.
  returned: success
  type: float
  sample: 1.9
"""

from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    AnsibleK8SModule,
    ClientError,
    connect,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volume_proof import NoVolumeError, Plan, prove

OPTIONS: dict[str, Any] = {
    "namespace": {"type": "str", "default": "default"},
    "claim": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "program": {"type": "str", "required": True},
    "run_as_user": {"type": "int"},
    "wait_timeout": {"type": "int", "default": 120},
}


def main() -> None:
    module = AnsibleK8SModule(argument_spec={**AUTH_ARG_SPEC, **OPTIONS}, supports_check_mode=True)
    plan = Plan(**{name: module.params[name] for name in OPTIONS})
    try:
        verdict = prove(connect(module), plan)
    except (ClientError, UnreachableError, NoVolumeError) as error:
        module.fail_json(msg=f"The shared volume cannot be proved: {error}", table=[])
    except ApiError as error:
        module.fail_json(msg=f"The shared volume cannot be proved: {error.message}", table=[])
    table = verdict.table()
    if verdict.problems:
        what = f"The claim {plan.namespace}/{plan.claim} is not shared by all nodes: {'; '.join(verdict.problems)}"
        module.fail_json(msg=what, table=table)
    if not verdict.writer:
        module.fail_json(msg="The shared volume cannot be proved: no node takes pods", table=table)
    module.exit_json(changed=False, table=table, sync_milliseconds=verdict.sync)


if __name__ == "__main__":
    main()
