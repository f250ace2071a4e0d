#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall_access
short_description: Let clients reach ports through a host's firewall
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Lets networks and addresses reach ports of a host, through C(ufw) or C(firewalld), now and after the next boot.
  - Only rules that this module has made for the same O(label) are changed or deleted. Those of C(ufw) are known by
    their comment, those of C(firewalld) by their priority.
  - A host on which neither of them runs is left as it is.
options:
  label:
    description: What the ports are for. A host may have several.
    type: str
    required: true
  ports:
    description: The ports, each with its protocol, such as V(2049/tcp).
    type: list
    elements: str
    required: true
  sources:
    description: Networks and addresses that may reach them; V(any) is everybody.
    type: list
    elements: str
    default: []
  firewall:
    description: Which firewall is told. V(auto) is the one that runs, if any.
    type: str
    choices: [auto, ufw, firewalld]
    default: auto
  zone:
    description: Zone of C(firewalld) in which the clients are. Without it the default zone.
    type: str
    default: ""
  priority:
    description: Priority of the rules of C(firewalld), by which they are known.
    type: int
    default: -2049
  state:
    description: Whether the clients are let in.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Says what would be changed.
    support: full
  diff_mode:
    description: Shows who is let in, before and after.
    support: full
"""

EXAMPLES = r"""
- name: Let the nodes of the cluster reach the NFS server
  mlstack.kubernetes.firewall_access:
    label: nfs
    ports: [2049/tcp]
    sources: [192.0.2.0/24]
"""

RETURN = r"""
firewall:
  description: The firewall that was told, empty where none runs.
  returned: success
  type: str
  sample: ufw
"""

from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.host_firewall import (
    Access,
    Firewall,
    Firewalld,
    FirewallError,
    Ufw,
    settle,
    wanted,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "label": {"type": "str", "required": True},
            "ports": {"type": "list", "elements": "str", "required": True},
            "sources": {"type": "list", "elements": "str", "default": []},
            "firewall": {"type": "str", "choices": ["auto", "ufw", "firewalld"], "default": "auto"},
            "zone": {"type": "str", "default": ""},
            "priority": {"type": "int", "default": -2049},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        accesses = wanted(params["sources"], params["ports"]) if params["state"] == "present" else set()
        firewall = _found(module)
        if firewall is None:
            module.exit_json(changed=False, firewall="")
        before = firewall.current()
        missing, surplus = settle(firewall, accesses, module.check_mode)
    except (ValueError, FirewallError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(missing or surplus),
        firewall=firewall.name,
        diff={"before": _lines(before), "after": _lines(accesses)},
    )


def _found(module: AnsibleModule) -> Firewall | None:
    params = module.params

    def run(command: Sequence[str]) -> tuple[int, str]:
        program = module.get_bin_path(command[0])
        if program is None:
            return 127, f"{command[0]} is not installed"
        status, output, errors = module.run_command([program, *command[1:]], environ_update={"LC_ALL": "C"})
        return status, output if status == 0 else output + errors

    several: list[Firewall] = [
        Ufw(run, params["label"]),
        Firewalld(run, params["priority"], params["zone"]),
    ]
    for firewall in several:
        if params["firewall"] in ("auto", firewall.name) and firewall.is_running():
            return firewall
    if params["firewall"] != "auto":
        raise FirewallError(f"firewall: {params['firewall']} does not run on this host; start it, or take auto.")
    return None


def _lines(accesses: set[Access]) -> str:
    return "".join(f"{access.source} {access.port}/{access.protocol}\n" for access in sorted(accesses))


if __name__ == "__main__":
    main()
