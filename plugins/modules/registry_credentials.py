#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_credentials
short_description: Make the credentials of an image registry, once
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Generates a password where there is none, keeps it in a file that container tools read, and derives from it the
    C(htpasswd) file that the registry reads.
  - The password appears on no command line and in no result.
requirements:
  - htpasswd (Debian package apache2-utils)
options:
  registry:
    description: Address of the registry, host and port, under which the credentials are kept.
    type: str
    required: true
  username:
    description: Name of the user.
    type: str
    required: true
  auth_file:
    description: File that holds the credentials in the form of C(containers-auth.json). Written with mode 0600.
    type: path
    required: true
  password:
    description: Password of the user, for a registry that exists. Without it one is made that nobody knows.
    type: str
    default: ""
  htpasswd_file:
    description: File with the bcrypt hash of the password, for a registry of one's own. Written with mode 0600.
    type: path
  htpasswd_owner:
    description: User who owns the htpasswd file, because the registry runs under that name.
    type: str
attributes:
  check_mode:
    description: Says what would change and writes nothing.
    support: full
  diff_mode:
    description: Shows no difference, because all that changes is secret.
    support: none
"""

EXAMPLES = r"""
- name: Make the registry's credentials
  mlstack.kubernetes.registry_credentials:
    registry: 127.0.0.1:5443
    username: mlstack
    auth_file: /var/lib/example/auth.json
    htpasswd_file: /var/lib/example/htpasswd
    htpasswd_owner: docker-registry
"""

RETURN = r"""
changed_files:
  description: The files that were written.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/example/htpasswd]
"""

import base64
import json
import os
import pwd
import secrets
import stat
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.registry_api import RegistryError, basic_credentials


def write_secret(path: str, content: str, owner: int) -> None:
    """Replace the file in one step; at no time can anybody else read it."""
    temporary = f"{path}.new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o600)
        os.fchown(stream.fileno(), owner, -1)
        stream.write(content)
    os.replace(temporary, path)


def is_private(path: str, owner: int) -> bool:
    status = os.stat(path)
    return stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == owner


def htpasswd(arguments: list[str], password: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["htpasswd", *arguments], input=password, capture_output=True, text=True)


def accepts(path: str, username: str, password: str) -> bool:
    """Return whether the htpasswd file lets the user in, and lets in nobody else."""
    try:
        with open(path, encoding="utf-8") as stream:
            users = [line.partition(":")[0] for line in stream if line.strip()]
    except FileNotFoundError:
        return False
    return users == [username] and htpasswd(["-vi", path, username], password).returncode == 0


def hashed(username: str, password: str) -> str:
    # The least cost of bcrypt will do: the password is random and long, and the registry hashes it for every request.
    result = htpasswd(["-inB", username], password)
    if result.returncode:
        raise RegistryError(f"htpasswd: {result.stderr.strip()}")
    return f"{result.stdout.strip()}\n"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "registry": {"type": "str", "required": True},
            "username": {"type": "str", "required": True},
            "auth_file": {"type": "path", "required": True},
            "password": {"type": "str", "default": "", "no_log": True},
            "htpasswd_file": {"type": "path"},
            # A name, not a secret.
            "htpasswd_owner": {"type": "str", "no_log": False},
        },
        supports_check_mode=True,
    )
    registry, username = module.params["registry"], module.params["username"]
    auth_file, htpasswd_file = module.params["auth_file"], module.params["htpasswd_file"]
    changed_files = []
    try:
        credentials = basic_credentials(auth_file, registry)
        known, _, password = base64.b64decode(credentials or "").decode().partition(":")
        wanted = module.params["password"] or (password if known == username else secrets.token_urlsafe(32))
        if (known, password) != (username, wanted) or not is_private(auth_file, os.getuid()):
            changed_files.append(auth_file)
            password = wanted
            encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
            content = json.dumps({"auths": {registry: {"auth": encoded}}}, indent=2)
            if not module.check_mode:
                write_secret(auth_file, f"{content}\n", os.getuid())
        if not htpasswd_file:
            module.exit_json(changed=bool(changed_files), changed_files=changed_files)
        # In check mode the owner may not exist yet, and the file that would change is not looked at further.
        if module.check_mode and changed_files:
            module.exit_json(changed=True, changed_files=[auth_file, htpasswd_file])
        name = module.params["htpasswd_owner"]
        owner = pwd.getpwnam(name).pw_uid if name else os.getuid()
        if not accepts(htpasswd_file, username, password) or not is_private(htpasswd_file, owner):
            changed_files.append(htpasswd_file)
            if not module.check_mode:
                write_secret(htpasswd_file, hashed(username, password), owner)
    except KeyError:
        module.fail_json(msg=f"htpasswd_owner: there is no user {module.params['htpasswd_owner']!r}")
    except (OSError, RegistryError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changed_files), changed_files=changed_files)


if __name__ == "__main__":
    main()
