"""Upgrade, downgrade and other kernel modules, after what was refused before."""

from __future__ import annotations

from conftest import Packages
from testinfra.host import Host

testinfra_hosts = ["ansible://hopper", "ansible://volta", "ansible://nouveau", "ansible://rocky"]

DRIVERS = {
    "hopper": ("590.44.01", "Open Kernel Module", "nvidia-kernel-open-dkms"),
    "volta": ("570.195.03", "x86_64 Kernel Module", "nvidia-kernel-dkms"),
    "nouveau": ("580.95.05", "x86_64 Kernel Module", "nvidia-kernel-dkms"),
    "rocky": ("580.65.06", "x86_64 Kernel Module", "kmod-nvidia-latest-dkms"),
}


def name_of(host: Host) -> str:
    return str(host.backend.get_hostname())


def test_loaded_module_is_the_new_one(host: Host) -> None:
    version, kind, _package = DRIVERS[name_of(host)]
    told = host.file("/srv/kernel/proc/driver/nvidia/version").content_string
    assert version in told and kind in told
    assert host.run("nvidia-smi").rc == 0


def test_packages_are_of_one_version_and_one_kind(host: Host, packages: Packages) -> None:
    version, _kind, package = DRIVERS[name_of(host)]
    driver = packages.driver()
    assert {name for name in driver if "dkms" in name} == {package}
    assert set(driver.values()) == {f"3:{version}-1.el9" if packages.is_rpm else f"{version}-1"}


def test_interrupted_installation_is_finished(packages: Packages) -> None:
    assert packages.unfinished() == ""


def test_fabric_manager_has_the_version_of_the_driver(host: Host) -> None:
    if name_of(host) == "hopper":
        assert host.package("nvidia-fabricmanager").version == "590.44.01-1"
        assert host.service("nvidia-fabricmanager").is_running


def test_version_is_held_anew(host: Host, packages: Packages) -> None:
    version, _kind, package = DRIVERS[name_of(host)]
    assert (f"*nvidia*-{version}-*" if packages.is_rpm else package) in packages.held()
    assert "nvidia" not in packages.updates()
