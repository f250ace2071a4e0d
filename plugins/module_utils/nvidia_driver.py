# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a host says of its NVIDIA GPUs and of their driver, and which driver they take.

Everything is read from files below one root, which is `/` on a host. No program is called.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

VENDOR = 0x10DE
DISPLAY_CONTROLLER = 0x03
OTHER_BRIDGE = 0x0680

OPEN = "open"
PROPRIETARY = "proprietary"

# Names of EFI variables, with the namespaces that the UEFI specification and shim give them.
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
ENROLLED_KEYS = "sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23"
# Certificates of the keys with which DKMS signs the modules that it compiles.
DKMS_CERTIFICATES = ("var/lib/dkms/mok.pub", "var/lib/shim-signed/mok/MOK.der")

# What distributions call the first file system of a kernel.
INITRAMFS = ("initrd.img-{}", "initramfs-{}.img")


DAEMONS = ("nvidia-persistenced", "nvidia-fabricmanager")
# Ubuntu has a rule of udev start the one, and does not have it enabled.
STARTED_AT_BOOT = ("enabled", "static")


@dataclass(frozen=True)
class Generation:
    """GPUs of one architecture: the driver branches, and their kernel modules, that drive them."""

    name: str
    first_branch: int
    last_branch: int | None
    kernel_modules: tuple[str, ...]


KEPLER = Generation("Kepler or older", 304, 470, (PROPRIETARY,))
MAXWELL = Generation("Maxwell", 343, 580, (PROPRIETARY,))
PASCAL = Generation("Pascal", 367, 580, (PROPRIETARY,))
VOLTA = Generation("Volta", 384, 580, (PROPRIETARY,))
TURING = Generation("Turing", 410, None, (OPEN, PROPRIETARY))
AMPERE = Generation("Ampere", 450, None, (OPEN, PROPRIETARY))
HOPPER = Generation("Hopper", 520, None, (OPEN, PROPRIETARY))
ADA = Generation("Ada Lovelace", 520, None, (OPEN, PROPRIETARY))
BLACKWELL = Generation("Blackwell", 570, None, (OPEN,))

# First and last PCI device ID of each block of IDs. What is above all of them is newer than this table, and not judged.
DEVICE_IDS = (
    (0x0000, 0x133F, KEPLER),
    (0x1340, 0x15EF, MAXWELL),
    (0x15F0, 0x15FF, PASCAL),
    (0x1600, 0x1AFF, MAXWELL),
    (0x1B00, 0x1D7F, PASCAL),
    (0x1D80, 0x1DFF, VOLTA),
    (0x1E00, 0x1FFF, TURING),
    (0x2000, 0x20FF, AMPERE),
    (0x2100, 0x21FF, TURING),
    (0x2200, 0x22FF, AMPERE),
    (0x2300, 0x23FF, HOPPER),
    (0x2400, 0x25FF, AMPERE),
    (0x2600, 0x28FF, ADA),
    (0x2900, 0x31FF, BLACKWELL),
)

# The first branch that has open kernel modules.
FIRST_OPEN_BRANCH = 515
# The first branch that has no others.
FIRST_OPEN_ONLY_BRANCH = 620


def generation_of(device: int) -> Generation | None:
    """Return the generation of a GPU by its PCI device ID, None for one that is newer than the table."""
    return next((generation for first, last, generation in DEVICE_IDS if first <= device <= last), None)


@dataclass(frozen=True)
class PciDevice:
    address: str
    device: int
    # The kernel driver that it is bound to.
    driver: str | None

    @property
    def passed_through(self) -> bool:
        """Whether it belongs to a virtual machine, so that the host's driver cannot list it."""
        return self.driver == "vfio-pci"

    def __str__(self) -> str:
        generation = generation_of(self.device)
        return f"{self.address} ({VENDOR:04x}:{self.device:04x}{', ' + generation.name if generation else ''})"


@dataclass(frozen=True)
class Module:
    """A loaded kernel module."""

    version: str
    # Open or proprietary; None where the kernel does not say.
    kernel_modules: str | None


def read(root: str, path: str) -> str | None:
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_bytes(root: str, path: str) -> bytes:
    try:
        with open(os.path.join(root, path), "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def of_vendor(root: str) -> Iterator[tuple[int, PciDevice]]:
    """Yield the vendor's PCI devices, in the order of their addresses, with their classes (base class and subclass)."""
    directory = os.path.join(root, "sys/bus/pci/devices")
    for address in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
        values = [read(directory, f"{address}/{name}") for name in ("vendor", "class", "device")]
        vendor, pci_class, device = (int(value, 16) if value else 0 for value in values)
        if vendor == VENDOR:
            driver = os.path.join(directory, address, "driver")
            name = os.path.basename(os.readlink(driver)) if os.path.islink(driver) else None
            yield pci_class >> 8, PciDevice(address, device, name)


def gpus(root: str) -> list[PciDevice]:
    return [device for pci_class, device in of_vendor(root) if pci_class >> 8 == DISPLAY_CONTROLLER]


def nvswitches(root: str) -> list[PciDevice]:
    return [device for pci_class, device in of_vendor(root) if pci_class == OTHER_BRIDGE]


def loaded_module(root: str) -> Module | None:
    version = read(root, "sys/module/nvidia/version")
    if version is None:
        return None
    told = read(root, "proc/driver/nvidia/version")
    return Module(version, None if told is None else OPEN if "Open Kernel Module" in told else PROPRIETARY)


def nouveau_loaded(root: str) -> bool:
    return os.path.isdir(os.path.join(root, "sys/module/nouveau"))


def secure_boot(root: str) -> bool:
    # Four bytes of attributes, and one that is 1 where the firmware checks what it starts.
    return read_bytes(root, SECURE_BOOT)[4:] == b"\x01"


def dkms_key_enrolled(root: str) -> bool:
    """Return whether the firmware trusts the key with which DKMS signs."""
    certificates = [read_bytes(root, path) for path in DKMS_CERTIFICATES]
    trusted = read_bytes(root, ENROLLED_KEYS)
    return any(certificate and certificate in trusted for certificate in certificates)


def daemons(run: Callable[[list[str]], tuple[int, str, str]]) -> list[str]:
    """Return which of the driver's daemons run now and are started at each boot."""
    properties = "--property=Id,ActiveState,UnitFileState"
    status, output, _errors = run(["systemctl", "show", properties, *(f"{name}.service" for name in DAEMONS)])
    if status != 0:
        return []
    units = [dict(line.split("=", 1) for line in unit.splitlines() if "=" in line) for unit in output.split("\n\n")]
    return [
        unit["Id"].removesuffix(".service")
        for unit in units
        if unit.get("ActiveState") == "active" and unit.get("UnitFileState") in STARTED_AT_BOOT
    ]


def initramfs(boot: str, release: str) -> str:
    """Return the path of the first file system of a kernel; empty where there is none."""
    paths = (os.path.join(boot, name.format(release)) for name in INITRAMFS)
    return next((path for path in paths if os.path.exists(path)), "")


def is_older(path: str, other: str) -> bool:
    """Return whether both files are there, and the first was written before the second."""
    return os.path.exists(path) and os.path.exists(other) and os.stat(path).st_mtime < os.stat(other).st_mtime


def listed(devices: Sequence[PciDevice]) -> str:
    return ", ".join(str(device) for device in devices)


def choose_kernel_modules(devices: Sequence[PciDevice], wanted: str, branch: int | None) -> str:
    """Return the kernel modules to install. `auto` takes the open ones wherever they drive all of the GPUs."""
    if wanted != "auto":
        return wanted
    if branch is not None and branch < FIRST_OPEN_BRANCH:
        return PROPRIETARY
    known = [generation for generation in (generation_of(device.device) for device in devices) if generation]
    return OPEN if all(OPEN in generation.kernel_modules for generation in known) else PROPRIETARY


def problems(devices: Sequence[PciDevice], kernel_modules: str, branch: int | None) -> list[str]:
    """Return why a driver does not drive the GPUs, in whole sentences with the cure."""
    found = []
    if kernel_modules == OPEN and branch is not None and branch < FIRST_OPEN_BRANCH:
        found.append(
            f"nvidia_driver_kernel_modules: branch {branch} has no open kernel modules; the first that has them is "
            f"{FIRST_OPEN_BRANCH}. Choose proprietary, or a newer branch."
        )
    if kernel_modules == PROPRIETARY and branch is not None and branch >= FIRST_OPEN_ONLY_BRANCH:
        found.append(
            f"nvidia_driver_kernel_modules: branch {branch} has no proprietary kernel modules; the first without is "
            f"{FIRST_OPEN_ONLY_BRANCH}. Choose open, or an older branch."
        )
    for device in devices:
        generation = generation_of(device.device)
        if generation is None:
            continue
        if kernel_modules not in generation.kernel_modules:
            (only,) = generation.kernel_modules
            found.append(
                f"nvidia_driver_kernel_modules: the {kernel_modules} kernel modules do not drive {device}; the {only} "
                "ones do. Choose these, or auto; a host whose GPUs need both cannot use all of them."
            )
        if branch is not None and generation.last_branch is not None and branch > generation.last_branch:
            found.append(
                f"nvidia_driver_branch: {branch} does not drive {device}; the last branch that does is "
                f"{generation.last_branch}."
            )
        if branch is not None and branch < generation.first_branch:
            found.append(
                f"nvidia_driver_branch: {branch} does not drive {device}; the first branch that does is "
                f"{generation.first_branch}."
            )
    return found


def upstream_version(version: str) -> str:
    """Return the driver's version from that of a package: 580.95.05 from 3:580.95.05-1ubuntu1."""
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return found[1] if found else version


def matches(version: str, wanted: str) -> bool:
    """Return whether a package's version is of the wanted branch or driver version; any is, where none is wanted."""
    return not wanted or f"{upstream_version(version)}.".startswith(f"{wanted}.")


def pci_address(bus_id: str) -> str:
    """Return an address as the kernel writes it from one as nvidia-smi does: 0000:3b:00.0 from 00000000:3B:00.0."""
    domain, _, rest = bus_id.strip().lower().partition(":")
    return f"{domain[-4:]}:{rest}"
