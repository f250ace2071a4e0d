"""Check mode has left the host as it was."""

from __future__ import annotations

from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


def test_nothing_was_made(host: Host) -> None:
    assert not host.package("nfs-ganesha").is_installed
    assert not host.file("/srv/training").exists
    assert not host.file("/etc/ganesha").exists
    assert not host.socket("tcp://0.0.0.0:2049").is_listening


def test_nothing_was_made_with_dnf(host: Host) -> None:
    rocky = host.get_host(f"ansible://rocky?ansible_inventory={host.backend.ansible_inventory}")
    assert rocky.run("rpm --query nfs-ganesha").rc != 0
    assert not rocky.file("/srv/training").exists
    assert not rocky.file("/etc/ganesha/mlstack.conf").exists
    assert "2049" not in rocky.check_output("firewall-cmd --list-all")
