#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_driver_verify
short_description: Prove that the NVIDIA driver drives every GPU of a host
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Proves that the loaded kernel module has the version of the installed packages, and that nouveau is not loaded.
  - Proves that C(nvidia-smi) answers, and that it lists every GPU that is on the PCI bus.
  - Leaves out GPUs that are passed through to virtual machines.
options:
  version:
    description: Version of the installed driver.
    type: str
    required: true
  root:
    description: Directory that holds C(sys) and C(proc).
    type: path
    default: /
attributes:
  check_mode:
    description: Proves the same as without check mode.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
"""

EXAMPLES = r"""
- name: Prove that the driver works
  mlstack.kubernetes.nvidia_driver_verify:
    version: 580.95.05
"""

RETURN = r"""
gpus:
  description: What C(nvidia-smi) says of each GPU.
  returned: success
  type: list
  elements: dict
  sample: [{address: "0000:3b:00.0", name: NVIDIA H100 80GB HBM3, uuid: GPU-2c1f…}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils import nvidia_driver

QUERY = ("pci.bus_id", "driver_version", "name", "uuid")


def shortcomings(root: str, version: str, rows: list[list[str]]) -> list[str]:
    """Return what contradicts a driver of this version that drives every GPU, given the rows of nvidia-smi."""
    found = []
    loaded = nvidia_driver.loaded_module(root)
    if loaded is None:
        found.append("the kernel module nvidia is not loaded")
    elif loaded.version != version:
        found.append(
            f"the loaded kernel module is {loaded.version} and the installed driver {version}; reboot the host"
        )
    if nvidia_driver.nouveau_loaded(root):
        found.append("the kernel module nouveau is loaded; reboot the host")
    found += [f"nvidia-smi says {row[1]} and the installed driver is {version}" for row in rows if row[1] != version]
    addresses = {nvidia_driver.pci_address(row[0]) for row in rows}
    absent = [gpu for gpu in nvidia_driver.gpus(root) if not gpu.passed_through and gpu.address not in addresses]
    if absent:
        found.append(f"nvidia-smi does not list {nvidia_driver.listed(absent)}; `dmesg | grep NVRM` says why")
    return found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str", "required": True},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    program = module.get_bin_path("nvidia-smi")
    if program is None:
        module.fail_json(msg="The NVIDIA driver does not work: there is no nvidia-smi.")
    status, output, errors = module.run_command([program, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader"])
    rows = [row for line in output.splitlines() if len(row := [cell.strip() for cell in line.split(",")]) == len(QUERY)]
    found = shortcomings(module.params["root"], module.params["version"], rows if status == 0 else [])
    if status != 0:
        found.insert(0, f"nvidia-smi ended with {status}: {(errors or output).strip()}")
    if found:
        module.fail_json(msg=f"The NVIDIA driver does not work: {'; '.join(found)}.")
    module.exit_json(
        changed=False,
        gpus=[{"address": nvidia_driver.pci_address(row[0]), "name": row[2], "uuid": row[3]} for row in rows],
    )


if __name__ == "__main__":
    main()
