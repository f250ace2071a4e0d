#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_driver_packages_info
short_description: Choose the versions of the NVIDIA driver's packages
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Chooses one version of the driver that all of its packages are offered in, and says what is offered.
  - A driver that is installed and is what is wanted stays as it is, even where a newer one is offered.
  - For hosts with apt.
options:
  packages:
    description: Packages of the driver, which must all have the same version.
    type: list
    elements: str
    default: []
  others:
    description: Packages that come with it and have versions of their own, such as the headers of the kernel.
    type: list
    elements: str
    default: []
  version:
    description: Branch or exact version of the driver, such as V(580) or V(580.95.05). Empty takes the newest.
    type: str
    default: ""
  record:
    description: File that lists packages which were installed as the driver before, one a line.
    type: path
    required: true
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
"""

EXAMPLES = r"""
- name: Choose a driver
  mlstack.kubernetes.nvidia_driver_packages_info:
    packages: [nvidia-driver-cuda, nvidia-kernel-open-dkms]
    others: [linux-headers-amd64]
    version: "580"
    record: /var/lib/mlstack/nvidia_driver/packages
  register: driver
"""

RETURN = r"""
version:
  description: The driver's version that was chosen. Empty where there is none.
  returned: always
  type: str
  sample: 580.95.05
chosen:
  description: What to install, as apt takes it.
  returned: always
  type: list
  elements: str
  sample: [nvidia-driver-cuda=580.95.05-1]
offered:
  description: The versions in which each package is offered, newest first.
  returned: always
  type: dict
  sample: {nvidia-driver-cuda: [590.44.01-1, 580.95.05-1]}
missing:
  description: Packages that are not offered in the wanted version, or not at all. Empty where a version was chosen.
  returned: always
  type: list
  elements: str
  sample: []
installed_version:
  description: Version of the driver that is installed. Empty where none is.
  returned: always
  type: str
  sample: 580.95.05
installed:
  description: All installed packages that have the version of the installed driver.
  returned: always
  type: list
  elements: str
  sample: [libcuda1, nvidia-driver-cuda, nvidia-kernel-open-dkms]
recorded:
  description: The packages that O(record) lists.
  returned: always
  type: list
  elements: str
  sample: [nvidia-driver-cuda, nvidia-kernel-open-dkms]
held:
  description: Those among them whose version is held.
  returned: always
  type: list
  elements: str
  sample: [nvidia-driver-cuda, nvidia-kernel-open-dkms]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.nvidia_driver import read
from ansible_collections.mlstack.kubernetes.plugins.module_utils.nvidia_driver_packages import (
    Choice,
    choose,
    installed_driver,
    parse_installed,
    parse_madison,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "others": {"type": "list", "elements": "str", "default": []},
            "version": {"type": "str", "default": ""},
            "record": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    packages, others = module.params["packages"], module.params["others"]
    recorded = (read("/", module.params["record"]) or "").split()

    def run(*command: str) -> str:
        _status, output, _errors = module.run_command(
            list(command), check_rc=True, environ_update={"LC_ALL": "C.UTF-8"}
        )
        return str(output)

    # It lists what is known of, and only warns of the rest.
    offered = parse_madison(run("apt-cache", "madison", *packages, *others)) if packages else {}
    columns = ("Package", "Version", "db:Status-Want", "db:Status-Status")
    shown = run("dpkg-query", "--show", "--showformat=" + r"\t".join(f"${{{name}}}" for name in columns) + r"\n")
    installed = parse_installed(shown)
    choice = choose(packages, others, module.params["version"], offered, installed.versions) if packages else Choice()
    present, of_driver = installed_driver([*packages, *recorded], installed.versions)
    module.exit_json(
        changed=False,
        version=choice.version,
        chosen=[f"{name}={version}" for name, version in choice.packages.items()],
        missing=choice.missing,
        offered={name: offered.get(name, []) for name in [*packages, *others]},
        installed_version=present,
        installed=of_driver,
        recorded=recorded,
        held=[name for name in recorded if name in installed.held],
    )


if __name__ == "__main__":
    main()
