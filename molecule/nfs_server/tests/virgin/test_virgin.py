"""Check mode has left the host as it was."""

from __future__ import annotations

from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


def test_nothing_was_made(host: Host) -> None:
    assert not host.package("nfs-ganesha").is_installed
    assert not host.file("/srv/training").exists
    assert not host.file("/etc/ganesha").exists
    assert not host.socket("tcp://0.0.0.0:2049").is_listening
