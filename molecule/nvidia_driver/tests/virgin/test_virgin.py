"""Check mode has changed nothing."""

from __future__ import annotations

from conftest import Packages
from testinfra.host import Host

testinfra_hosts = ["ansible://gpu_nodes"]


def test_nothing_is_installed(packages: Packages) -> None:
    assert packages.driver() == {}


def test_no_file_is_left(host: Host) -> None:
    assert host.run("find /etc /var/lib/mlstack -name '*mlstack*'").stdout == ""


def test_nothing_was_rebooted(host: Host) -> None:
    kernel = host.ansible.get_variables()
    assert host.file("/srv/kernel/sys/module/nouveau").exists is bool(kernel.get("has_nouveau"))
