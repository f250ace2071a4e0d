"""What each client may do with the exports, seen from the clients."""

from __future__ import annotations

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://server"]
ASK = "timeout 20 nfs-ls 'nfs://10.231.77.11{path}?version=4&uid={user}&gid={user}'"


def ask(host: Host, client: str, path: str, user: int = 1000) -> int:
    return int(
        host.get_host(f"ansible://{client}?ansible_inventory={host.backend.ansible_inventory}")
        .run(ASK.format(path=path, user=user))
        .rc
    )


def test_it_serves_now_and_at_each_boot(host: Host) -> None:
    service = host.service("nfs-ganesha")
    assert service.is_running
    assert service.is_enabled
    assert host.file("/etc/ganesha/mlstack.conf").mode == 0o644


def test_directories_are_as_asked_for(host: Host) -> None:
    training = host.file("/srv/training")
    assert (training.uid, training.gid, training.mode) == (1000, 1000, 0o770)
    # Nothing of the proof is left.
    assert host.file("/srv/training").listdir() == []


@pytest.mark.parametrize(
    ("client", "path", "is_allowed"),
    [
        ("inside", "/srv/training", True),
        ("inside", "/srv/data", True),
        ("outside", "/srv/training", False),
        ("outside", "/srv/data", False),
    ],
)
def test_only_named_clients_get_in(host: Host, client: str, path: str, is_allowed: bool) -> None:
    assert (ask(host, client, path) == 0) == is_allowed


def test_the_firewall_lets_the_clients_in_and_nobody_else(host: Host) -> None:
    rules = host.run("ufw show added").stdout.splitlines()
    assert "ufw allow from 10.231.77.0/25 to any port 2049 proto tcp comment 'mlstack nfs_server'" in rules
    assert "ufw allow 22/tcp" in rules
    outside = host.get_host(f"ansible://outside?ansible_inventory={host.backend.ansible_inventory}")
    assert (
        outside.run("timeout 3 python3 -c 'import socket; socket.create_connection((\"10.231.77.11\", 2049))'").rc != 0
    )


def test_root_of_a_client_is_nobody(host: Host) -> None:
    # The directory lets only user 1000 in.
    assert ask(host, "inside", "/srv/training", user=0) != 0


def test_a_read_only_export_takes_nothing(host: Host) -> None:
    inside = host.get_host(f"ansible://inside?ansible_inventory={host.backend.ansible_inventory}")
    host.run_expect([0], "chmod 0777 /srv/data")
    copied = inside.run("timeout 20 nfs-cp /etc/hostname 'nfs://10.231.77.11/srv/data/x?version=4&uid=1000&gid=1000'")
    assert copied.rc != 0
    assert not host.file("/srv/data/x").exists
