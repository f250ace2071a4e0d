#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_container_runtime
short_description: Tell the container runtimes of a host of NVIDIA's
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Writes what C(nvidia-ctk) of NVIDIA's container toolkit makes of a runtime's configuration to a file of its own,
    where the runtime reads such files. Docker reads one file only, which is changed.
  - Is changed also where a runtime has been running since before that file was written, as after an interrupted run. It
    does not restart runtimes; RV(units) says which need it.
requirements:
  - C(nvidia-ctk), unless O(state=absent)
options:
  state:
    description: Whether the runtimes know NVIDIA's.
    type: str
    choices: [present, absent]
    default: present
  runtimes:
    description: The runtimes.
    type: list
    elements: str
    choices: [containerd, crio, docker, k0s, k3s]
    required: true
  set_as_default:
    description: Whether containers that name no runtime get NVIDIA's, which is as before for those that use no GPU.
    type: bool
    default: false
  cdi:
    description: Whether containerd and Docker read device descriptions of the Container Device Interface themselves.
    type: bool
    default: true
  add_import:
    description: Whether a line is added to containerd's main file where that does not read further files.
    type: bool
    default: false
attributes:
  check_mode:
    description: Says what would change and writes nothing.
    support: full
  diff_mode:
    description: Shows the text before and after for each file that changes.
    support: full
"""

EXAMPLES = r"""
- name: Have pods get NVIDIA's runtime by its RuntimeClass
  mlstack.kubernetes.nvidia_container_runtime:
    runtimes: [containerd]
    add_import: true
"""

RETURN = r"""
units:
  description: Units of the runtimes that have to be restarted.
  returned: success
  type: list
  elements: str
  sample: [containerd]
changed_files:
  description: Paths of the files that changed.
  returned: success
  type: list
  elements: str
  sample: [/etc/containerd/conf.d/99-nvidia.toml]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils import container_runtimes, whole_files


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "runtimes": {
                "type": "list",
                "elements": "str",
                "choices": list(container_runtimes.RUNTIMES),
                "required": True,
            },
            "set_as_default": {"type": "bool", "default": False},
            "cdi": {"type": "bool", "default": True},
            "add_import": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    run = container_runtimes.runner(module.run_command)
    options = [
        f"--set-as-default={str(parameters['set_as_default']).lower()}",
        f"--cdi.enabled={str(parameters['cdi']).lower()}",
    ]
    runtimes = [container_runtimes.RUNTIMES[name] for name in parameters["runtimes"]]
    units, changed_files, diffs = [], [], []
    try:
        # All of it is known before the first file is written.
        plans = [
            (
                runtime,
                container_runtimes.configuration(run, runtime, options, parameters["add_import"])
                if parameters["state"] == "present"
                else container_runtimes.removal(runtime),
            )
            for runtime in runtimes
        ]
        for runtime, files in plans:
            unit = container_runtimes.unit_of(run, runtime)
            stale = False
            for path, content in files.items():
                before, mode = whole_files.read(path)
                if before == content:
                    continue
                stale = True
                changed_files.append(path)
                diffs.append(
                    {"before_header": path, "after_header": path, "before": before or "", "after": content or ""}
                )
                if module.check_mode:
                    continue
                if content is None:
                    os.unlink(path)
                else:
                    whole_files.write(path, content, mode or 0o644)
            if unit and (stale or container_runtimes.is_stale(run, unit, list(files) or [container_runtimes.PROGRAM])):
                units.append(unit)
    except (OSError, ValueError, container_runtimes.ConfigurationError) as error:
        module.fail_json(msg=str(error), changed=bool(changed_files), changed_files=changed_files)
    module.exit_json(
        changed=bool(changed_files or units),
        units=units,
        changed_files=changed_files,
        diff=diffs,
    )


if __name__ == "__main__":
    main()
