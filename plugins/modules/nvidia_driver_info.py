#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_driver_info
short_description: Find the NVIDIA GPUs of a host, the driver that runs, and whether a wanted driver drives them
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Finds GPUs by PCI vendor and class, without a driver and without calling a program.
  - Says which kernel modules fit them, and why a wanted driver does not drive them.
options:
  branch:
    description: Branch of the driver that is wanted, such as V(580). Without it nothing is said of branches.
    type: int
  kernel_modules:
    description: Kernel modules that are wanted. V(auto) takes the open ones wherever they drive all of the GPUs.
    type: str
    choices: [auto, open, proprietary]
    default: auto
  blacklist:
    description: File that keeps nouveau from being loaded, which the first file system of the kernel takes over.
    type: path
    default: ""
  root:
    description: Directory that holds C(sys), C(proc) and C(var).
    type: path
    default: /
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
"""

EXAMPLES = r"""
- name: Find the GPUs
  mlstack.kubernetes.nvidia_driver_info:
    branch: 580
  register: host
"""

RETURN = r"""
gpus:
  description: The GPUs, in the order of their PCI addresses.
  returned: always
  type: list
  elements: dict
  sample: [{address: "0000:3b:00.0", device: "2330", generation: Hopper, passed_through: false}]
nvswitches:
  description: PCI addresses of NVSwitches, which need the fabric manager.
  returned: always
  type: list
  elements: str
  sample: []
kernel_modules:
  description: The kernel modules to install for these GPUs.
  returned: always
  type: str
  sample: open
problems:
  description: Why the wanted driver does not drive the GPUs. Empty where it does.
  returned: always
  type: list
  elements: str
  sample: []
module_version:
  description: Version of the kernel module that is loaded. Empty where none is.
  returned: always
  type: str
  sample: 580.95.05
module_kernel_modules:
  description: Whether the loaded module is open or proprietary. Empty where none is loaded or it does not say.
  returned: always
  type: str
  sample: open
daemons:
  description: Those of C(nvidia-persistenced) and C(nvidia-fabricmanager) that run now and are started at each boot.
  returned: always
  type: list
  elements: str
  sample: [nvidia-persistenced]
nouveau:
  description: Whether the kernel's own driver is loaded, beside which NVIDIA's cannot be.
  returned: always
  type: bool
  sample: false
secure_boot:
  description: Whether the firmware, and so the kernel, takes signed code only.
  returned: always
  type: bool
  sample: true
dkms_key_enrolled:
  description: Whether the firmware trusts the key with which DKMS signs the modules that it compiles.
  returned: always
  type: bool
  sample: false
initramfs:
  description: The first file system of the running kernel. Empty where it has none.
  returned: always
  type: str
  sample: /boot/initrd.img-6.1.0-40-amd64
initramfs_is_older:
  description: Whether it was made before O(blacklist) was written.
  returned: always
  type: bool
  sample: false
runfile:
  description: Whether a driver was installed by NVIDIA's own installer, beside the packages.
  returned: always
  type: bool
  sample: false
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils import nvidia_driver


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "branch": {"type": "int"},
            "kernel_modules": {"type": "str", "choices": ["auto", "open", "proprietary"], "default": "auto"},
            "blacklist": {"type": "path", "default": ""},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    root, branch = module.params["root"], module.params["branch"]
    gpus = nvidia_driver.gpus(root)
    kernel_modules = nvidia_driver.choose_kernel_modules(gpus, module.params["kernel_modules"], branch)
    loaded = nvidia_driver.loaded_module(root)
    initramfs = nvidia_driver.initramfs("/boot", os.uname().release)
    module.exit_json(
        changed=False,
        gpus=[
            {
                "address": gpu.address,
                "device": f"{gpu.device:04x}",
                "generation": generation.name if (generation := nvidia_driver.generation_of(gpu.device)) else "unknown",
                "passed_through": gpu.passed_through,
            }
            for gpu in gpus
        ],
        nvswitches=[switch.address for switch in nvidia_driver.nvswitches(root)],
        kernel_modules=kernel_modules,
        problems=nvidia_driver.problems(gpus, kernel_modules, branch),
        module_version=loaded.version if loaded else "",
        module_kernel_modules=(loaded.kernel_modules or "") if loaded else "",
        daemons=nvidia_driver.daemons(module.run_command) if module.get_bin_path("systemctl") else [],
        nouveau=nvidia_driver.nouveau_loaded(root),
        secure_boot=nvidia_driver.secure_boot(root),
        dkms_key_enrolled=nvidia_driver.dkms_key_enrolled(root),
        initramfs=initramfs,
        initramfs_is_older=nvidia_driver.is_older(initramfs, module.params["blacklist"]),
        runfile=os.path.exists(os.path.join(root, "usr/bin/nvidia-uninstall")),
    )


if __name__ == "__main__":
    main()
