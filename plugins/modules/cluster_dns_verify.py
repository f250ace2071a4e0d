#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_dns_verify
short_description: Prove the DNS of a cluster from a pod on every node
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Runs a pod on every node that takes pods and looks names up from there, over UDP and over TCP. Simulated nodes
    (kwok), nodes of other systems than Linux and cordoned ones are left out, and the table says so.
  - Looks up a Service, in full and by the search domains, a headless Service with two endpoints, the name of the pod's
    own address, the name of the Service's address, and outside names with and without a trailing dot.
  - Measures how long many look-ups take, and looks at the C(resolv.conf) of the pods and at the Corefile.
  - What it needs is made in a namespace C(cluster-dns-verify), and deleted again.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  image:
    description: Image with Python 3.10 or newer.
    type: str
    required: true
  program:
    description: Source of the program that the pods run.
    type: str
    required: true
  domain:
    description: Domain of the cluster.
    type: str
    default: cluster.local
  external_names:
    description: Names outside the cluster to look up.
    type: list
    elements: str
    default: []
  lookups:
    description: How many look-ups are measured on each node, over each transport.
    type: int
    default: 50
  latency_limit:
    description: Milliseconds within which 99 of 100 look-ups must be answered.
    type: float
    default: 1000
  timeout:
    description: Seconds within which a server must answer once.
    type: float
    default: 2
  wait_timeout:
    description: Seconds within which all pods must have ended.
    type: int
    default: 120
  node_cache:
    description: Address of the cache that each node has, which is asked besides what pods are told to ask.
    type: str
    default: ""
  run_as_user:
    description: Number of the user that the pods run as. Without it the one that the image or the cluster names.
    type: int
attributes:
  check_mode:
    description: Proves the same as without check mode.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
"""

EXAMPLES = r"""
- name: Prove the cluster's DNS
  mlstack.kubernetes.cluster_dns_verify:
    image: docker.io/library/python:3.13-alpine
    program: "{{ lookup('ansible.builtin.file', 'dns_probe.py') }}"
    external_names: [registry.example.org]
"""

RETURN = r"""
table:
  description: A line for each node and what it says of each check, and what was left out.
  returned: when the DNS could be asked
  type: list
  elements: str
failures:
  description: The C(node), C(check), C(text) and C(cure) of each failure.
  returned: when the DNS could be asked
  type: list
  elements: dict
"""

from dataclasses import asdict
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.dns_proof import (
    NoDnsError,
    Plan,
    ask_everywhere,
    see,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.dns_verdict import judge
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    ClientError,
    connect,
    new_module,
)

OPTIONS: dict[str, Any] = {
    "image": {"type": "str", "required": True},
    "program": {"type": "str", "required": True},
    "domain": {"type": "str", "default": "cluster.local"},
    "external_names": {"type": "list", "elements": "str", "default": []},
    "lookups": {"type": "int", "default": 50},
    "latency_limit": {"type": "float", "default": 1000},
    "timeout": {"type": "float", "default": 2},
    "wait_timeout": {"type": "int", "default": 120},
    "node_cache": {"type": "str", "default": ""},
    "run_as_user": {"type": "int"},
}


def main() -> None:
    module = new_module(argument_spec={**AUTH_ARG_SPEC, **OPTIONS}, supports_check_mode=True)
    plan = Plan(**{name: module.params[name] for name in OPTIONS})
    try:
        api = connect(module)
        cluster = see(api)
        told = ask_everywhere(api, plan, cluster) if cluster.nodes else {}
    except NoDnsError as error:
        module.fail_json(msg=str(error))
    except (ApiError, ClientError, UnreachableError) as error:
        module.fail_json(msg=f"The cluster's DNS cannot be proved: {error}")
    verdict = judge(plan, cluster, told)
    result = {"table": verdict.table, "failures": [asdict(failure) for failure in verdict.failures]}
    if verdict.failures:
        module.fail_json(msg="\n".join([verdict.message, "", *verdict.table]), **result)
    if not told:
        module.fail_json(msg=f"The cluster's DNS cannot be proved: no node takes pods. {' '.join(verdict.table[1:])}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
