"""The driver that each host got, as it is seen from outside."""

from __future__ import annotations

import pytest
from conftest import Packages
from testinfra.host import Host

testinfra_hosts = ["ansible://gpu_nodes"]

# Version, kernel modules, packages that are held, and services of each host.
DRIVERS = {
    "hopper": (
        "580.95.05",
        "Open Kernel Module",
        {"nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-fabricmanager"},
        {"nvidia-persistenced", "nvidia-fabricmanager"},
    ),
    "volta": (
        "580.65.06",
        "x86_64 Kernel Module",
        {"nvidia-driver-cuda", "nvidia-kernel-dkms"},
        {"nvidia-persistenced"},
    ),
    "nouveau": (
        "580.95.05",
        "Open Kernel Module",
        {"nvidia-driver-cuda", "nvidia-kernel-open-dkms"},
        {"nvidia-persistenced"},
    ),
    "debian": (
        "535.247.01",
        "Open Kernel Module",
        {"nvidia-smi", "libcuda1", "nvidia-open-kernel-dkms"},
        {"nvidia-persistenced"},
    ),
    "ubuntu": (
        "580.95.05",
        "Open Kernel Module",
        {"nvidia-headless-no-dkms-580-server-open", "nvidia-utils-580-server"},
        {"nvidia-persistenced"},
    ),
    "rocky": (
        "580.95.05",
        "Open Kernel Module",
        {"*nvidia*-580.95.05-*"},
        {"nvidia-persistenced"},
    ),
}


def name_of(host: Host) -> str:
    return str(host.backend.get_hostname())


@pytest.fixture
def driver(host: Host) -> tuple[str, str, set[str], set[str]]:
    name = name_of(host)
    if name not in DRIVERS:
        pytest.skip(f"{name} has no GPU")
    return DRIVERS[name]


def test_loaded_module_is_the_wanted_one(host: Host, driver: tuple[str, str, set[str], set[str]]) -> None:
    version, kind, _held, _services = driver
    told = host.file("/srv/kernel/proc/driver/nvidia/version").content_string
    assert version in told and kind in told
    assert not host.file("/srv/kernel/sys/module/nouveau").exists


def test_every_gpu_is_listed(host: Host, driver: tuple[str, str, set[str], set[str]]) -> None:
    lines = host.check_output("nvidia-smi").splitlines()
    assert len(lines) == (2 if name_of(host) == "hopper" else 1)
    assert all(driver[0] in line for line in lines)


def test_version_is_held(packages: Packages, driver: tuple[str, str, set[str], set[str]]) -> None:
    assert packages.held() == driver[2]


def test_update_of_the_host_leaves_the_driver(packages: Packages, driver: tuple[str, str, set[str], set[str]]) -> None:
    updates = packages.updates()
    # An answer, and not an error.
    assert "Nothing to do" in updates if packages.is_rpm else "Calculating upgrade" in updates
    assert "nvidia" not in updates


def test_daemons_run_now_and_after_a_reboot(host: Host, driver: tuple[str, str, set[str], set[str]]) -> None:
    for name in ("nvidia-persistenced", "nvidia-fabricmanager"):
        wanted = name in driver[3]
        assert host.service(name).is_running is wanted
        assert not wanted or host.service(name).is_enabled


def test_nouveau_is_kept_out_of_the_first_file_system(host: Host, driver: tuple[str, str, set[str], set[str]]) -> None:
    assert host.file("/srv/kernel/initrd-modprobe.d/mlstack-nvidia-driver.conf").contains("^blacklist nouveau$")


def test_host_without_gpu_is_left_alone(host: Host) -> None:
    if name_of(host) == "plain":
        assert Packages(host).driver() == {}
        assert host.run("find /etc -name '*mlstack*'").stdout == ""
