#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_checks_info
short_description: See whether a host is fit to be a node of a cluster
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Looks at the kernel and its headers, CPUs, memory, free disk space, the clock, swap, cgroups, the container runtime,
    ports, and Secure Boot, in one process and without any change.
options:
  cpus:
    description: CPUs that are needed.
    type: int
    default: 2
  memory:
    description: GiB of memory that are needed.
    type: float
    default: 2
  disk:
    description: GiB of free space that are needed, by directory.
    type: dict
    default: {}
  kernel:
    description: The oldest kernel that will do, as major and minor number.
    type: str
    default: "5.4"
  swap_allowed:
    description: Whether there may be swap, which a kubelet refuses by default.
    type: bool
    default: false
  runtime_needed:
    description: Whether there has to be a container runtime.
    type: bool
    default: false
  ports:
    description: TCP ports that nobody may listen on.
    type: list
    elements: int
    default: []
  root:
    description: Where the kernel shows C(/proc) and C(/sys).
    type: path
    default: /
attributes:
  check_mode:
    description: Only looks.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
requirements:
  - python >= 3.10
"""

EXAMPLES = r"""
- name: See whether the host has room for images
  mlstack.kubernetes.host_checks_info:
    disk: {/var/lib: 50}
    ports: [10250]
"""

RETURN = r"""
verdict:
  description: The worst status of all checks, V(ok), V(warning) or V(refused).
  returned: success
  type: str
  sample: ok
checks:
  description: Of each check its C(name), C(status), what was C(found), and the C(cure) where it is not ok.
  returned: success
  type: list
  elements: dict
  sample: [{name: swap, status: ok, found: "off", cure: ""}]
table:
  description: A line for each check that is not ok, for people.
  returned: success
  type: list
  elements: str
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.host_checks import OK, Host, Wanted, verdict


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cpus": {"type": "int", "default": 2},
            "memory": {"type": "float", "default": 2},
            "disk": {"type": "dict", "default": {}},
            "kernel": {"type": "str", "default": "5.4"},
            "swap_allowed": {"type": "bool", "default": False},
            "runtime_needed": {"type": "bool", "default": False},
            "ports": {"type": "list", "elements": "int", "default": []},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    params = dict(module.params)
    root, kernel, disk = params.pop("root"), params.pop("kernel"), params.pop("disk")
    try:
        major, minor = map(int, kernel.split("."))
        sizes = {str(directory): float(size) for directory, size in disk.items()}
    except (TypeError, ValueError):
        module.fail_json(
            msg=f"kernel: '{kernel}' has to be a major and a minor number, such as 5.4; disk: {disk} has to have a "
            "number of GiB for each directory."
        )
    checks = Host(root).checks(Wanted(kernel=(major, minor), disk=sizes, **params))
    module.exit_json(
        changed=False,
        verdict=verdict(checks),
        checks=[asdict(check) for check in checks],
        table=[f"{check.status}: {check}" for check in checks if check.status != OK],
    )


if __name__ == "__main__":
    main()
