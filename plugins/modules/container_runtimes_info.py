#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: container_runtimes_info
short_description: Find the container runtimes of a host
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Returns which container runtimes systemd knows, and what keeps each from being told of NVIDIA's.
  - Where k0s or k3s bring a runtime, that alone. A containerd in which Kubernetes' plugin is off, as Docker's packages
    bring it, is not one for Kubernetes.
options:
  runtimes:
    description: The runtimes to look at. Without it, those that are found.
    type: list
    elements: str
    choices: [containerd, crio, docker, k0s, k3s]
    default: []
  add_import:
    description: Whether a line may be added to containerd's main file where that does not read further files.
    type: bool
    default: false
attributes:
  check_mode:
    description: Looks at the same as without check mode.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
"""

EXAMPLES = r"""
- name: Find the container runtimes
  mlstack.kubernetes.container_runtimes_info:
  register: found
"""

RETURN = r"""
runtimes:
  description: Names of the runtimes.
  returned: success
  type: list
  elements: str
  sample: [containerd]
problems:
  description: What keeps them from being told of NVIDIA's, with the cure.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils import container_runtimes


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "runtimes": {
                "type": "list",
                "elements": "str",
                "choices": list(container_runtimes.RUNTIMES),
                "default": [],
            },
            "add_import": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run = container_runtimes.runner(module.run_command)
    runtimes = [container_runtimes.RUNTIMES[name] for name in module.params["runtimes"]] or container_runtimes.found(
        run
    )
    problems = [container_runtimes.problem(runtime, module.params["add_import"]) for runtime in runtimes]
    module.exit_json(
        changed=False,
        runtimes=[runtime.name for runtime in runtimes],
        problems=[problem for problem in problems if problem],
    )


if __name__ == "__main__":
    main()
