"""What is found on hosts that are fit and on those that are not, from files as their kernels show them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.host_checks import (
    OK,
    REFUSED,
    WARNING,
    Check,
    Host,
    Wanted,
    clock_is_synchronised,
    verdict,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.nvidia_driver import SECURE_BOOT

RELEASE = "6.1.0-28-amd64"
ANYTHING = Wanted()
GPU = "sys/bus/pci/devices/0000:3b:00.0"


def write(root: Path, path: str, content: str | bytes = "") -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host that is fit, with a GPU."""
    write(tmp_path, "proc/sys/kernel/osrelease", f"{RELEASE}\n")
    write(tmp_path, "proc/cpuinfo", "processor\t: 0\n\nprocessor\t: 1\n\n")
    write(tmp_path, "proc/meminfo", "MemTotal:       16303848 kB\nMemFree: 1 kB\n")
    write(tmp_path, "proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
    write(tmp_path, "proc/net/tcp", "  sl  local_address rem_address   st\n")
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    write(tmp_path, f"lib/modules/{RELEASE}/build/Makefile")
    for name, value in (("vendor", "0x10de"), ("class", "0x030200"), ("device", "0x1eb8")):
        write(tmp_path, f"{GPU}/{name}", f"{value}\n")
    return tmp_path


def programs(**outputs: str) -> object:
    def runner(command: Sequence[str]) -> str | None:
        return outputs.get(command[0].replace("-", "_"))

    return runner


def look(root: Path, wanted: Wanted = ANYTHING, synchronised: bool = True, **outputs: str) -> dict[str, Check]:
    host = Host(
        str(root), programs(**{"containerd": "containerd github.com/x v1.7.24", **outputs}), lambda: synchronised
    )  # type: ignore[arg-type]
    return {check.name: check for check in host.checks(wanted)}


def test_a_fit_host_is_ok(root: Path) -> None:
    checks = look(root, Wanted(memory=8, disk={"/var/lib/later": 0.001}, ports=[10250]))
    assert {check.status for check in checks.values()} == {OK}
    assert verdict(list(checks.values())) == OK
    assert checks["kernel"].found == RELEASE
    assert checks["memory"].found == "15.5 GiB"
    assert checks["container runtime"].found == "containerd 1.7.24"
    assert checks["port 10250"].found == "free"


def test_what_is_too_little_is_refused(root: Path) -> None:
    checks = look(root, Wanted(cpus=4, memory=32, disk={"/": 10**6}, kernel=(6, 8)))
    for name, cure in (
        ("CPUs", "at least 4 are needed"),
        ("memory", "at least 32 GiB are needed"),
        ("disk /", "at least 1e+06 GiB are needed: make room, or mount a larger disk there"),
        ("kernel", "boot a kernel of at least 6.8"),
    ):
        assert (checks[name].status, checks[name].cure) == (REFUSED, cure)
    assert verdict(list(checks.values())) == REFUSED


@pytest.mark.parametrize(
    ("offered", "status", "found"),
    [
        ("linux-headers:\n  Installed: (none)\n  Candidate: 6.1.119-1\n", OK, "offered"),
        ("linux-headers:\n  Installed: (none)\n  Candidate: (none)\n", REFUSED, "neither installed nor offered"),
        ("", REFUSED, "neither installed nor offered"),
    ],
)
def test_headers_are_needed_where_there_is_a_gpu(root: Path, offered: str, status: str, found: str) -> None:
    (root / f"lib/modules/{RELEASE}/build/Makefile").unlink()
    (root / f"lib/modules/{RELEASE}/build").rmdir()
    check = look(root, apt_cache=offered)["kernel headers"]
    assert (check.status, check.found) == (status, found)
    write(root, f"{GPU}/vendor", "0x8086\n")
    assert look(root)["kernel headers"].status == OK


def test_swap_is_refused_unless_it_is_allowed(root: Path) -> None:
    write(root, "proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n/swap file 1 0 -3\n")
    check = look(root)["swap"]
    assert (check.status, check.found) == (REFUSED, "on (/dev/sda2, /swap)")
    assert look(root, Wanted(swap_allowed=True))["swap"].status == OK


def test_a_clock_that_is_not_synchronised_is_a_warning(root: Path) -> None:
    checks = look(root, synchronised=False)
    assert checks["clock"].status == WARNING
    assert verdict(list(checks.values())) == WARNING
    # The machine's own, whatever it says.
    assert clock_is_synchronised() in (True, False)


def test_old_cgroups_are_a_warning(root: Path) -> None:
    (root / "sys/fs/cgroup/cgroup.controllers").unlink()
    assert look(root)["cgroups"].status == WARNING


@pytest.mark.parametrize(
    ("outputs", "needed", "status", "found"),
    [
        ({"containerd": "containerd 1.4.13~ds1"}, False, REFUSED, "containerd 1.4.13"),
        ({"containerd": None, "crio": "crio version 1.30.2\nVersion: 1.30.2"}, False, OK, "crio 1.30.2"),
        ({"containerd": None, "dockerd": "Docker version 26.1.5"}, False, OK, "dockerd 26.1.5"),
        ({"containerd": None}, False, OK, "none"),
        ({"containerd": None}, True, REFUSED, "none"),
    ],
)
def test_runtimes(root: Path, outputs: dict[str, str], needed: bool, status: str, found: str) -> None:
    check = look(root, Wanted(runtime_needed=needed), **outputs)["container runtime"]
    assert (check.status, check.found) == (status, found)


def test_secure_boot_is_a_warning_where_a_driver_cannot_be_signed(root: Path) -> None:
    write(root, SECURE_BOOT, b"\6\0\0\0\1")
    assert look(root)["Secure Boot"].status == WARNING
    write(root, SECURE_BOOT, b"\6\0\0\0\0")
    assert look(root)["Secure Boot"].found == "off"


def test_who_listens_on_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        checks = {check.name: check for check in Host().checks(Wanted(ports=[port, 1]))}
        name = Path("/proc/self/comm").read_text().strip()
        assert checks[f"port {port}"].status == REFUSED
        assert checks[f"port {port}"].found == f"taken by {name} ({os.getpid()})"
    assert checks["port 1"].status == OK
