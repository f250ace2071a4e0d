"""What is left of a driver that was removed: nothing but a module that is loaded until the next reboot."""

from __future__ import annotations

from conftest import Packages
from testinfra.host import Host

testinfra_hosts = ["ansible://gpu_nodes"]


def test_no_package_is_left(packages: Packages) -> None:
    assert packages.driver() == {}


def test_nothing_is_held(packages: Packages) -> None:
    assert packages.held() == set()


def test_no_file_is_left(host: Host) -> None:
    assert host.run("find /etc -name '*mlstack*'").stdout == ""
    assert not host.file("/var/lib/mlstack/nvidia_driver").exists


def test_packages_can_still_be_installed(host: Host, packages: Packages) -> None:
    assert host.run("dnf makecache" if packages.is_rpm else "apt-get update --error-on=any").rc == 0
