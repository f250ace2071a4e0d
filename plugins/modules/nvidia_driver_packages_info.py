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
  - A driver that is installed and is what is wanted stays as it is, even where a newer one is offered; then nobody is
    asked what is offered.
options:
  manager:
    description: The host's package manager.
    type: str
    choices: [apt, dnf]
    required: true
  packages:
    description: Packages of the driver, which must all have the same version.
    type: list
    elements: str
    default: []
  others:
    description:
      - Packages that come with it and have versions of their own, such as the headers of the kernel.
      - For dnf also with a version, such as V(kernel-devel-5.14.0-570.el9.x86_64).
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
  repository:
    description:
      - Name of the file that adds the driver's repository, without its ending.
      - RV(repository) then says what is in it.
    type: str
    default: ""
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
    manager: apt
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
  description: What to install, as the package manager takes it.
  returned: always
  type: list
  elements: str
  sample: [nvidia-driver-cuda=580.95.05-1]
offered:
  description: The versions in which each package is offered, newest first. Empty lists where nobody had to be asked.
  returned: always
  type: dict
  sample: {nvidia-driver-cuda: [590.44.01-1, 580.95.05-1]}
missing:
  description: Packages that are not offered in the wanted version, or not at all. Empty where a version was chosen.
  returned: always
  type: list
  elements: str
  sample: []
errors:
  description: Why the package manager could not say what is offered. Empty where it could.
  returned: always
  type: str
  sample: ""
is_complete:
  description: Whether all of RV(chosen) is installed in these versions.
  returned: always
  type: bool
  sample: true
repository:
  description: The text of the file that adds the repository. Empty where there is none.
  returned: always
  type: str
  sample: ""
unfinished:
  description: Packages that a run which was killed left half installed.
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

from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.nvidia_driver import read
from ansible_collections.mlstack.kubernetes.plugins.module_utils.nvidia_driver_packages import (
    Apt,
    Choice,
    Dnf,
    UnansweredError,
    choose,
    installed_driver,
)

MANAGERS = {"apt": Apt, "dnf": Dnf}
REPOSITORIES = {"apt": "etc/apt/sources.list.d/{}.sources", "dnf": "etc/yum.repos.d/{}.repo"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "manager": {"type": "str", "choices": list(MANAGERS), "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "others": {"type": "list", "elements": "str", "default": []},
            "version": {"type": "str", "default": ""},
            "record": {"type": "path", "required": True},
            "repository": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    packages, others, version = (module.params[name] for name in ("packages", "others", "version"))
    recorded = (read("/", module.params["record"]) or "").split()

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        return module.run_command(list(command), environ_update={"LC_ALL": "C.UTF-8"})  # type: ignore[no-any-return]

    manager = MANAGERS[module.params["manager"]](run)
    offered: dict[str, list[str]] = {}
    errors = ""
    try:
        installed = manager.installed([*packages, *others])
        choice = choose(packages, others, version, {}, installed.versions) if packages else Choice()
        if packages and not choice.version:
            offered, errors = manager.offered([*packages, *others])
            choice = choose(packages, others, version, offered, installed.versions)
    except UnansweredError as error:
        module.fail_json(msg=f"Nothing is known of the host's packages: {error}")
    present, of_driver = installed_driver([*packages, *recorded], installed.versions)
    module.exit_json(
        changed=False,
        version=choice.version,
        chosen=[manager.exactly(name, version) for name, version in choice.packages.items()],
        missing=choice.missing,
        offered={name: offered.get(name, []) for name in [*packages, *others]},
        errors=errors,
        is_complete=choice.version != ""
        and all(installed.versions.get(name) == version for name, version in choice.packages.items()),
        repository=read("/", REPOSITORIES[module.params["manager"]].format(module.params["repository"])) or "",
        unfinished=installed.unfinished,
        installed_version=present,
        installed=of_driver,
        recorded=recorded,
        held=[name for name in sorted({*packages, *recorded}) if name in installed.held],
    )


if __name__ == "__main__":
    main()
