"""What the tests of this scenario ask a client with a kernel of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from testinfra.host import Host


@pytest.fixture
def mounted(host: Host) -> Callable[..., str]:
    """What the command of a user says on the client in the mounted export; nothing where it cannot be mounted."""
    inside = host.get_host(f"ansible://inside?ansible_inventory={host.backend.ansible_inventory}")

    def ask(path: str, options: str, command: str, user: int = 1000) -> str:
        mount = f"mount -t nfs -o {options},soft,timeo=50,retrans=2 10.231.77.11:{path} /mnt"
        as_user = f"setpriv --reuid={user} --regid={user} --clear-groups sh -c 'cd /mnt && {{ {command}; }}'"
        return str(inside.run(f"{mount} && {as_user}; umount /mnt").stdout).strip()

    return ask
