#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: coredns_settings
short_description: Add stub domains and pods to the CoreDNS of a cluster, and take them back
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Changes a CoreDNS that somebody else has installed, as the Deployment and the ConfigMap C(coredns) in the namespace
    C(kube-system).
  - Stub domains are written into its Corefile between two lines that mark them. All else in it stays as it is.
  - Without stub domains and pods, what this module has changed is as it was before. A number of pods that others have
    set since then is kept.
  - Waits until CoreDNS runs with the new settings. Where it does not, it gets its old ones again.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  stub_domains:
    description: Domains that are looked up at servers of their own.
    type: list
    elements: dict
    default: []
    suboptions:
      domain:
        description: The domain.
        type: str
        required: true
      servers:
        description: Addresses of its servers, each with a port where that is not 53.
        type: list
        elements: str
        required: true
  replicas:
    description: Number of CoreDNS's pods. V(0) is for as many as there would be without this module.
    type: int
    default: 0
  wait_timeout:
    description: Seconds within which CoreDNS must run with the new settings.
    type: int
    default: 120
attributes:
  check_mode:
    description: Says what would change. Without a cluster it says so in a warning.
    support: full
  diff_mode:
    description: Shows the Corefile and the number of pods before and after.
    support: full
"""

EXAMPLES = r"""
- name: Look a company's domain up at its own server, and have two pods of CoreDNS
  mlstack.kubernetes.coredns_settings:
    stub_domains:
      - {domain: corp.example, servers: [192.0.2.53]}
    replicas: 2

- name: Take both back
  mlstack.kubernetes.coredns_settings:
"""

RETURN = r"""
corefile:
  description: The Corefile as it is now.
  returned: success
  type: str
replicas:
  description: The number of CoreDNS's pods that is wanted now.
  returned: success
  type: int
"""

from ansible_collections.mlstack.kubernetes.plugins.module_utils.coredns_settings import SettingsError, settle
from ansible_collections.mlstack.kubernetes.plugins.module_utils.corefile import InvalidStubDomainError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    ClientError,
    connect,
    new_module,
)


def main() -> None:
    module = new_module(
        argument_spec={
            **AUTH_ARG_SPEC,
            "stub_domains": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "domain": {"type": "str", "required": True},
                    "servers": {"type": "list", "elements": "str", "required": True},
                },
            },
            "replicas": {"type": "int", "default": 0},
            "wait_timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    params = module.params
    domains = {entry["domain"]: entry["servers"] for entry in params["stub_domains"]}
    if len(domains) < len(params["stub_domains"]):
        module.fail_json(msg=f"stub_domains: a domain is given twice among {', '.join(domains)}.")
    if params["replicas"] < 0:
        module.fail_json(msg=f"replicas: {params['replicas']} is no number of pods; 0 leaves them as they are.")
    try:
        change = settle(connect(module), domains, params["replicas"], params["wait_timeout"], module.check_mode)
    except InvalidStubDomainError as error:
        module.fail_json(msg=f"stub_domains: {error}")
    except (ClientError, UnreachableError) as error:
        if not module.check_mode:
            module.fail_json(msg=f"CoreDNS cannot be changed: {error}")
        # A host that is still to become a cluster has no API.
        module.warn(f"Whether CoreDNS would be changed is not known: {error}")
        module.exit_json(changed=bool(domains or params["replicas"]))
    except (ApiError, SettingsError) as error:
        module.fail_json(msg=f"CoreDNS cannot be changed: {error}")
    diff = {
        side: f"replicas: {replicas}\n{corefile}"
        for side, replicas, corefile in (
            ("before", change.replicas_before, change.corefile_before),
            ("after", change.replicas, change.corefile),
        )
    }
    module.exit_json(changed=change.is_needed, corefile=change.corefile, replicas=change.replicas, diff=diff)


if __name__ == "__main__":
    main()
