#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: image_pull_verify
short_description: Prove that every node pulls an image
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Runs a pod on every node that asks the registry for the image, even where the node has it already. The pods are
    deleted again.
  - Nodes that are cordoned, simulated or not of Linux are left out with a word; a node that is not ready is a failure.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  image:
    description: The image.
    type: str
    required: true
  namespace:
    description: Namespace of the pods.
    type: str
    default: default
  pull_secrets:
    description: Secrets of that namespace with which the nodes pull.
    type: list
    elements: str
    default: []
  run_as_user:
    description: Number of the user that the pods run as. Without it what the image says.
    type: int
  wait_timeout:
    description: Seconds within which every node has to have the image.
    type: int
    default: 300
attributes:
  check_mode:
    description: Proves the same as without check mode.
    support: full
  diff_mode:
    description: Leaves nothing changed.
    support: none
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
"""

EXAMPLES = r"""
- name: Every node reaches the registry
  mlstack.kubernetes.image_pull_verify:
    image: registry.example.com/mlstack/trainer-pytorch:1
    pull_secrets: [mlstack-registry]
"""

RETURN = r"""
table:
  description: A line for each node.
  returned: always
  type: list
  elements: str
  sample: ["gpu-1: pulled"]
"""

from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    AnsibleK8SModule,
    ClientError,
    connect,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pull_proof import Plan, prove

OPTIONS: dict[str, Any] = {
    "image": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": "default"},
    # Names of Secrets are no secrets.
    "pull_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "run_as_user": {"type": "int"},
    "wait_timeout": {"type": "int", "default": 300},
}


def main() -> None:
    module = AnsibleK8SModule(argument_spec={**AUTH_ARG_SPEC, **OPTIONS}, supports_check_mode=True)
    try:
        verdict = prove(connect(module), Plan(**{name: module.params[name] for name in OPTIONS}))
    except (ClientError, UnreachableError) as error:
        module.fail_json(msg=f"It cannot be proved that nodes pull: {error}", table=[])
    except ApiError as error:
        module.fail_json(msg=f"It cannot be proved that nodes pull: {error.message}", table=[])
    if verdict.problems:
        what = f"Not every node pulls {module.params['image']}: {'; '.join(verdict.problems)}"
        module.fail_json(msg=what, table=verdict.table())
    module.exit_json(changed=False, table=verdict.table())


if __name__ == "__main__":
    main()
