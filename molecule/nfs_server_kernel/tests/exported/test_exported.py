"""What a kernel's client may do with the exports."""

from __future__ import annotations

from collections.abc import Callable

from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


def test_the_kernel_serves_now_and_at_each_boot(host: Host) -> None:
    service = host.service("nfs-server")
    assert service.is_running
    assert service.is_enabled
    assert "4.2" in host.run("cat /proc/fs/nfsd/versions").stdout
    assert "-3" in host.run("cat /proc/fs/nfsd/versions").stdout.split()


def test_a_client_writes_as_the_owner_and_not_as_root(mounted: Callable[..., str]) -> None:
    assert mounted("/srv/training", "vers=4.2", "touch x && stat -c %u x && rm x") == "1000"
    assert mounted("/srv/training", "vers=4.2", "echo entered", user=0) == ""


def test_a_read_only_export_takes_nothing(host: Host, mounted: Callable[..., str]) -> None:
    host.run_expect([0], "chmod 0777 /srv/data")
    assert mounted("/srv/data", "vers=4.2", "echo mounted; touch x && echo written") == "mounted"


def test_version_3_is_not_served(mounted: Callable[..., str]) -> None:
    assert mounted("/srv/training", "vers=3", "echo mounted") == ""


def test_what_others_export_is_served(mounted: Callable[..., str]) -> None:
    assert mounted("/srv/foreign", "vers=4.2", "echo mounted") == "mounted"
