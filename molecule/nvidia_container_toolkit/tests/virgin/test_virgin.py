"""Check mode has left the hosts as they were."""

from __future__ import annotations

from testinfra.host import Host

testinfra_hosts = ["ansible://gpu_nodes"]


def test_nothing_was_made(host: Host) -> None:
    assert not host.package("nvidia-container-toolkit").is_installed
    assert host.run("find /etc -name '*mlstack*'").stdout == ""
    assert not host.file("/etc/containerd/conf.d/99-nvidia.toml").exists
    main = host.file("/etc/containerd/config.toml")
    assert not main.exists or "mlstack" not in main.content_string
