#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_verify
short_description: Prove that an image registry is private and works
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Proves that the registry refuses to list, pull and push without credentials and with a wrong password.
  - Proves that with the credentials an image can be pushed, read back by its digest, byte for byte, and deleted.
  - The image is of a few bytes and is deleted again, so nothing is changed. A registry that is not one's own may refuse
    to delete it; then it stays.
options:
  registry:
    description: Address of the registry, host and port.
    type: str
    required: true
  ca_file:
    description: Certificate of the authority that signed the registry's certificate.
    type: path
    required: true
  auth_file:
    description: File with the credentials, in the form of C(containers-auth.json).
    type: path
    required: true
  is_own:
    description: Whether nobody else is to read it, and all that is in it may be listed and deleted.
    type: bool
    default: true
  repository:
    description: Repository that the image is pushed to.
    type: str
    default: mlstack/verify
attributes:
  check_mode:
    description: Proves the same as without check mode.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
"""

EXAMPLES = r"""
- name: Prove that the registry is private and works
  mlstack.kubernetes.registry_verify:
    registry: 127.0.0.1:5443
    ca_file: /var/lib/example/ca.crt
    auth_file: /var/lib/example/auth.json
"""

RETURN = r"""
repositories:
  description: The repositories that the registry lists. None where it is not one's own.
  returned: success
  type: list
  elements: str
  sample: [mlstack/pause]
digest:
  description: Digest of the image that was pushed, read back and deleted.
  returned: success
  type: str
  sample: sha256:6d5f…
"""

import base64
import json
import secrets

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.registry_api import (
    ACCEPTED_MANIFESTS,
    CONFIGURATION_TYPE,
    MANIFEST_TYPE,
    Registry,
    RegistryError,
    basic_credentials,
    digest_of,
)


def prove_private(address: str, ca_file: str, username: str, repository: str) -> None:
    wrong = base64.b64encode(f"{username}:wrong".encode()).decode()
    for stranger in (Registry(address, ca_file, None), Registry(address, ca_file, wrong)):
        stranger.expect(401, "GET", "/v2/_catalog")
        stranger.expect(401, "GET", f"/v2/{repository}/manifests/latest")
        stranger.expect(401, "POST", f"/v2/{repository}/blobs/uploads/")


def prove_push_and_pull(registry: Registry, repository: str, is_own: bool = True) -> str:
    """Push an image that never was before, read it back by digest, delete it, and return its digest."""
    content = json.dumps({"architecture": "amd64", "os": "linux", "comment": secrets.token_hex(8)}).encode()
    descriptor = registry.push_blob(repository, content)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIGURATION_TYPE, **descriptor},
        "layers": [],
    }
    digest = registry.push_manifest(repository, "verify", manifest)
    path = f"/v2/{repository}/manifests/{digest}"
    stored = registry.expect(200, "GET", path, headers={"Accept": ACCEPTED_MANIFESTS}).body
    blob = registry.expect(200, "GET", f"/v2/{repository}/blobs/{descriptor['digest']}").body
    if digest_of(stored) != digest or blob != content:
        raise RegistryError(f"https://{registry.address}: {repository}@{digest} is not what was pushed")
    if not is_own:
        registry.request("DELETE", path)
        return digest
    registry.expect(202, "DELETE", path)
    registry.expect(404, "GET", path)
    registry.expect(202, "DELETE", f"/v2/{repository}/blobs/{descriptor['digest']}")
    return digest


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "str", "required": True},
            "ca_file": {"type": "path", "required": True},
            "auth_file": {"type": "path", "required": True},
            "is_own": {"type": "bool", "default": True},
            "repository": {"type": "str", "default": "mlstack/verify"},
        },
        supports_check_mode=True,
    )
    address, ca_file, auth_file = (module.params[name] for name in ("registry", "ca_file", "auth_file"))
    credentials = basic_credentials(auth_file, address)
    if credentials is None:
        module.fail_json(msg=f"auth_file: {auth_file} holds no credentials for {address}")
    try:
        username = base64.b64decode(credentials).decode().partition(":")[0]
        repository, is_own = module.params["repository"], module.params["is_own"]
        registry = Registry(address, ca_file, credentials)
        registry.expect(200, "GET", "/v2/")
        listed = []
        if is_own:
            prove_private(address, ca_file, username, repository)
            listed = json.loads(registry.expect(200, "GET", "/v2/_catalog?n=1000").body)["repositories"]
        digest = prove_push_and_pull(registry, repository, is_own)
    except (OSError, RegistryError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, repositories=listed, digest=digest)


if __name__ == "__main__":
    main()
