"""Other clients, fewer exports, and what somebody else exports beside them."""

from __future__ import annotations

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


@pytest.mark.parametrize(
    ("client", "path", "is_allowed"),
    [
        ("inside", "/srv/training", False),
        ("outside", "/srv/training", True),
        ("outside", "/srv/data", False),
        ("inside", "/srv/foreign", True),
    ],
)
def test_who_gets_in_now(host: Host, client: str, path: str, is_allowed: bool) -> None:
    there = host.get_host(f"ansible://{client}?ansible_inventory={host.backend.ansible_inventory}")
    asked = there.run(f"timeout 20 nfs-ls 'nfs://10.231.77.11{path}?version=4&uid=1000&gid=1000'")
    assert (asked.rc == 0) == is_allowed, asked


def test_the_killed_installation_was_finished(host: Host) -> None:
    assert host.check_output("dpkg --audit") == ""
