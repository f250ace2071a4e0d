#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_nodes_verify
short_description: Prove the GPUs of a cluster on every node that has any
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Waits until the nodes offer the GPUs that they should, and runs a program with one GPU on each node that offers any.
    The pods are deleted again.
  - On simulated nodes (kwok) and cordoned ones nothing is run, and the table says so.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  namespace:
    description: Namespace of the pods.
    type: str
    default: default
  nodes:
    description: Nodes that have to offer GPUs. Without any, those that do are proved.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      gpus:
        description: How many it has to offer. Without it at least one.
        type: int
  resource:
    description: The resource that GPUs are offered as.
    type: str
    default: nvidia.com/gpu
  image:
    description: Image of the program.
    type: str
    required: true
  command:
    description: Command of the program. Without it that of the image. It has to end with exit code 0.
    type: list
    elements: str
    default: []
  run_as_user:
    description: Number of the user that the program runs as. Without it the one that the image or the cluster names.
    type: int
  wait_timeout:
    description: Seconds within which the GPUs must be offered, and the programs must have ended.
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
- name: Both nodes have their GPUs
  mlstack.kubernetes.gpu_nodes_verify:
    nodes:
      - {name: gpu-1, gpus: 8}
      - {name: gpu-2}
    image: nvcr.io/nvidia/k8s/cuda-sample:vectoradd-cuda12.5.0
"""

RETURN = r"""
table:
  description: A line for each node that has GPUs or should have.
  returned: always
  type: list
  elements: str
  sample: ["gpu-1: 8 offered; the program ran: Test PASSED"]
offered:
  description: How many GPUs each node offers.
  returned: always
  type: dict
  sample: {gpu-1: 8}
"""

from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.gpu_proof import Plan, prove
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    AnsibleK8SModule,
    ClientError,
    connect,
)

OPTIONS: dict[str, Any] = {
    "namespace": {"type": "str", "default": "default"},
    "nodes": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}, "gpus": {"type": "int"}},
    },
    "resource": {"type": "str", "default": "nvidia.com/gpu"},
    "image": {"type": "str", "required": True},
    "command": {"type": "list", "elements": "str", "default": []},
    "run_as_user": {"type": "int"},
    "wait_timeout": {"type": "int", "default": 120},
}


def main() -> None:
    module = AnsibleK8SModule(argument_spec={**AUTH_ARG_SPEC, **OPTIONS}, supports_check_mode=True)
    params = {name: module.params[name] for name in OPTIONS}
    expected = {node["name"]: node["gpus"] for node in params.pop("nodes")}
    try:
        verdict = prove(connect(module), Plan(expected=expected, **params))
    except (ClientError, UnreachableError) as error:
        module.fail_json(msg=f"The GPUs cannot be proved: {error}", table=[], offered={})
    except ApiError as error:
        module.fail_json(msg=f"The GPUs cannot be proved: {error.message}", table=[], offered={})
    if verdict.problems:
        what = f"Not every GPU can be used: {'; '.join(verdict.problems)}"
        module.fail_json(msg=what, table=verdict.table(), offered=verdict.offered)
    module.exit_json(changed=False, table=verdict.table(), offered=verdict.offered)


if __name__ == "__main__":
    main()
