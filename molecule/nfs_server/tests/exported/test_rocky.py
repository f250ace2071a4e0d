"""A server of another distribution, behind firewalld."""

from __future__ import annotations

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://rocky"]
RULE = 'rule priority="-2049" family="ipv4" source address="10.231.77.0/25" port port="2049" protocol="tcp" accept'


def test_its_packages_are_installed_and_it_serves(host: Host) -> None:
    for name in ("nfs-ganesha", "nfs-ganesha-vfs"):
        host.run_expect([0], f"rpm --query {name}")
    assert host.service("nfs-ganesha").is_running
    assert host.service("nfs-ganesha").is_enabled


@pytest.mark.parametrize(("client", "is_allowed"), [("inside", True), ("outside", False)])
def test_only_named_clients_get_in(host: Host, client: str, is_allowed: bool) -> None:
    there = host.get_host(f"ansible://{client}?ansible_inventory={host.backend.ansible_inventory}")
    asked = there.run("timeout 20 nfs-ls 'nfs://10.231.77.13/srv/training?version=4&uid=1000&gid=1000'")
    assert (asked.rc == 0) == is_allowed, asked


@pytest.mark.parametrize("when", ["", "--permanent "])
def test_the_firewall_lets_the_clients_in_and_nobody_else(host: Host, when: str) -> None:
    assert host.check_output(f"firewall-cmd {when}--list-rich-rules") == RULE
    assert "2049" not in host.check_output(f"firewall-cmd {when}--list-ports")
