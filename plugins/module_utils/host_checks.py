# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Whether a host is fit to be a node of a cluster that trains models: one check after another, and one verdict."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.mlstack.kubernetes.plugins.module_utils import nvidia_driver

OK, WARNING, REFUSED = "ok", "warning", "refused"
# The worse, the later.
STATUSES = (OK, WARNING, REFUSED)

GIB = 2**30
# State of a TCP socket in /proc/net/tcp.
LISTENING = "0A"
# What adjtimex(2) returns while the clock is not synchronised.
TIME_ERROR = 5
# Bytes of its structure, with room to spare.
TIMEX_BYTES = 512
PROGRAM_SECONDS = 20
# In the order in which they are looked for, each with the oldest version that Kubernetes takes.
RUNTIMES = {"containerd": (1, 6), "crio": (1, 24), "dockerd": (20, 10)}


@dataclass(frozen=True)
class Wanted:
    """What a host needs; sizes in GiB."""

    cpus: int = 2
    memory: float = 2.0
    # Free space, by the directory that needs it.
    disk: Mapping[str, float] = field(default_factory=dict)
    # Major and minor number of the kernel.
    kernel: tuple[int, int] = (5, 4)
    swap_allowed: bool = False
    runtime_needed: bool = False
    # TCP ports that nobody may listen on.
    ports: Sequence[int] = ()


@dataclass(frozen=True)
class Check:
    """One look at the host: what was found, and where it is not good, what helps."""

    name: str
    status: str
    found: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.found}" + (f" ({self.cure})" if self.cure else "")


# Runs a program and gives what it printed; None where there is no such program, or it failed.
Runner = Callable[[Sequence[str]], "str | None"]


def run(command: Sequence[str]) -> str | None:
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None


def verdict(checks: Sequence[Check]) -> str:
    """The worst status of all."""
    return max((check.status for check in checks), key=STATUSES.index, default=OK)


class Host:
    """A host, as its files below `root` and its programs show it."""

    def __init__(
        self, root: str = "/", runner: Runner = run, is_synchronised: Callable[[], bool] | None = None
    ) -> None:
        self._root = Path(root)
        self._run = runner
        self._is_synchronised = is_synchronised or clock_is_synchronised

    def checks(self, wanted: Wanted) -> list[Check]:
        return [
            self.kernel(wanted),
            self.headers(),
            self.cpus(wanted),
            self.memory(wanted),
            *self.disk(wanted),
            self.clock(),
            self.swap(wanted),
            self.cgroups(),
            self.runtime(wanted),
            *self.ports(wanted),
            self.secure_boot(),
        ]

    def kernel(self, wanted: Wanted) -> Check:
        release = self._release()
        numbers = _version(release)
        oldest = ".".join(map(str, wanted.kernel))
        if numbers < wanted.kernel:
            return Check("kernel", REFUSED, release, f"boot a kernel of at least {oldest}")
        return Check("kernel", OK, release)

    def headers(self) -> Check:
        """Modules of a GPU's driver are compiled for the running kernel."""
        release = self._release()
        if not nvidia_driver.gpus(str(self._root)):
            return Check("kernel headers", OK, "not needed, there is no NVIDIA GPU")
        if (self._root / "lib/modules" / release / "build").exists():
            return Check("kernel headers", OK, "installed")
        offered = self._run(["apt-cache", "policy", f"linux-headers-{release}"]) or ""
        if re.search(r"Candidate: (?!\(none\))", offered):
            return Check("kernel headers", OK, "offered")
        if self._run(["dnf", "--quiet", "list", "--available", f"kernel-devel-{release}"]):
            return Check("kernel headers", OK, "offered")
        cure = f"the package sources have none for {release}: boot a kernel that they have headers for"
        return Check("kernel headers", REFUSED, "neither installed nor offered", cure)

    def cpus(self, wanted: Wanted) -> Check:
        count = len(os.sched_getaffinity(0)) if self._root == Path("/") else self._cpus_in_files()
        if count < wanted.cpus:
            return Check("CPUs", REFUSED, str(count), f"at least {wanted.cpus} are needed")
        return Check("CPUs", OK, str(count))

    def memory(self, wanted: Wanted) -> Check:
        found = re.search(r"MemTotal:\s+(\d+) kB", self._read("proc/meminfo"))
        size = int(found[1]) * 1024 / GIB if found else 0.0
        if size < wanted.memory:
            return Check("memory", REFUSED, f"{size:.1f} GiB", f"at least {wanted.memory:g} GiB are needed")
        return Check("memory", OK, f"{size:.1f} GiB")

    def disk(self, wanted: Wanted) -> Iterator[Check]:
        for directory, size in wanted.disk.items():
            path = self._root / directory.lstrip("/")
            # It may still have to be made: then there is to be room where it will be.
            while not path.exists():
                path = path.parent
            free = shutil.disk_usage(path).free / GIB
            if free < size:
                cure = f"at least {size:g} GiB are needed: make room, or mount a larger disk there"
                yield Check(f"disk {directory}", REFUSED, f"{free:.1f} GiB free", cure)
            else:
                yield Check(f"disk {directory}", OK, f"{free:.1f} GiB free")

    def clock(self) -> Check:
        if self._is_synchronised():
            return Check("clock", OK, "synchronised")
        cure = "tokens and certificates need the right time: run chrony or systemd-timesyncd"
        return Check("clock", WARNING, "not synchronised", cure)

    def swap(self, wanted: Wanted) -> Check:
        _head, *areas = self._read("proc/swaps").splitlines() or [""]
        if not areas:
            return Check("swap", OK, "off")
        names = ", ".join(area.split()[0] for area in areas)
        if wanted.swap_allowed:
            return Check("swap", OK, f"on ({names})")
        cure = "a kubelet does not start: swapoff --all, and take it out of /etc/fstab; or allow it in the kubelet"
        return Check("swap", REFUSED, f"on ({names})", cure)

    def cgroups(self) -> Check:
        if (self._root / "sys/fs/cgroup/cgroup.controllers").exists():
            return Check("cgroups", OK, "version 2")
        cure = (
            "a kubelet from 1.35 on wants version 2: systemd.unified_cgroup_hierarchy=1 at boot, or failCgroupV1: false"
        )
        return Check("cgroups", WARNING, "version 1", cure)

    def runtime(self, wanted: Wanted) -> Check:
        for name, oldest in RUNTIMES.items():
            told = self._run([name, "--version"])
            if told is None:
                continue
            match = re.search(r"(\d+)\.(\d+)[.\d]*", told)
            found = f"{name} {match[0]}" if match else name
            if match and (int(match[1]), int(match[2])) < oldest:
                return Check("container runtime", REFUSED, found, f"at least {oldest[0]}.{oldest[1]} is needed")
            return Check("container runtime", OK, found)
        if wanted.runtime_needed:
            cure = f"a node needs one: install {' or '.join(list(RUNTIMES)[:2])}"
            return Check("container runtime", REFUSED, "none", cure)
        return Check("container runtime", OK, "none")

    def ports(self, wanted: Wanted) -> Iterator[Check]:
        listeners = self._listeners()
        for port in wanted.ports:
            if port not in listeners:
                yield Check(f"port {port}", OK, "free")
                continue
            who = self._owner(listeners[port])
            cure = f"end {who or 'the program that listens there'}, or choose another port"
            yield Check(f"port {port}", REFUSED, f"taken{' by ' + who if who else ''}", cure)

    def secure_boot(self) -> Check:
        if not nvidia_driver.secure_boot(str(self._root)):
            return Check("Secure Boot", OK, "off")
        if not nvidia_driver.gpus(str(self._root)) or nvidia_driver.dkms_key_enrolled(str(self._root)):
            return Check("Secure Boot", OK, "on")
        cure = "the kernel takes only signed modules of a GPU's driver: prebuilt signed ones, or enrol the key of DKMS"
        return Check("Secure Boot", WARNING, "on, and the key of DKMS is not enrolled", cure)

    # -- what the files say

    def _read(self, path: str) -> str:
        return nvidia_driver.read(str(self._root), path) or ""

    def _release(self) -> str:
        return self._read("proc/sys/kernel/osrelease")

    def _cpus_in_files(self) -> int:
        return len(re.findall(r"^processor\s*:", self._read("proc/cpuinfo"), re.MULTILINE))

    def _listeners(self) -> dict[int, str]:
        """The inode of the socket, by the port that somebody listens on."""
        found = {}
        for table in ("proc/net/tcp", "proc/net/tcp6"):
            for line in self._read(table).splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING:
                    found[int(fields[1].rpartition(":")[2], 16)] = fields[9]
        return found

    def _owner(self, inode: str) -> str:
        """Name and number of the process that has the socket; empty where it may not be seen."""
        for process in (self._root / "proc").glob("[0-9]*"):
            try:
                if any(os.readlink(entry) == f"socket:[{inode}]" for entry in (process / "fd").iterdir()):
                    return f"{(process / 'comm').read_text().strip()} ({process.name})"
            except OSError:
                # It has ended, or is another user's.
                continue
        return ""


def clock_is_synchronised() -> bool:
    """As the kernel knows it, whichever program keeps the time."""
    # All zero: nothing is set, only asked.
    state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    return 0 <= state < TIME_ERROR


def _version(release: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)
