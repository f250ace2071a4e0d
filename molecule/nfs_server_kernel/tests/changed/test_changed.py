"""The second configuration."""

from __future__ import annotations

from collections.abc import Callable

from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


def test_version_3_is_served_too(host: Host, mounted: Callable[..., str]) -> None:
    assert mounted("/srv/training", "vers=3,nolock", "ls && echo mounted") == "mounted"
    assert mounted("/srv/training", "vers=4.2", "ls && echo mounted") == "mounted"
    assert host.run("cat /proc/fs/nfsd/threads").stdout.strip() == "4"


def test_the_server_starts_at_boot_again(host: Host) -> None:
    assert host.service("nfs-server").is_enabled


def test_what_is_not_listed_any_more_is_not_exported(host: Host, mounted: Callable[..., str]) -> None:
    assert mounted("/srv/data", "vers=4.2", "echo mounted") == ""
    assert host.file("/srv/data").is_directory
