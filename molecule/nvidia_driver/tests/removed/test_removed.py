"""What is left of a driver that was removed: nothing but a module that is loaded until the next reboot."""

from __future__ import annotations

from testinfra.host import Host

testinfra_hosts = ["ansible://gpu_nodes"]


def test_no_package_is_left(host: Host) -> None:
    shown = host.check_output("dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n'")
    assert [line for line in shown.splitlines() if "nvidia" in line or "libcuda" in line] == []


def test_nothing_is_held(host: Host) -> None:
    assert host.check_output("apt-mark showhold") == ""


def test_no_file_is_left(host: Host) -> None:
    assert host.run("find /etc -name '*mlstack*'").stdout == ""
    assert not host.file("/var/lib/mlstack/nvidia_driver").exists


def test_packages_can_still_be_installed(host: Host) -> None:
    assert host.run("apt-get update --error-on=any").rc == 0
