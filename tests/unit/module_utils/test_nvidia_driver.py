"""GPUs by PCI vendor and class, the driver that runs, and which driver drives them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils import nvidia_driver as driver
from ansible_collections.mlstack.kubernetes.plugins.modules.nvidia_driver_verify import shortcomings

ATTRIBUTES = b"\x06\0\0\0"


def write(root: Path, path: str, content: str | bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content.encode() if isinstance(content, str) else content)


def plug(root: Path, address: str, device: int, pci_class: int = 0x030200, vendor: int = 0x10DE) -> None:
    for name, value in (("device", f"{device:#06x}"), ("class", f"{pci_class:#08x}"), ("vendor", f"{vendor:#06x}")):
        write(root, f"sys/bus/pci/devices/{address}/{name}", f"{value}\n")


def load(root: Path, version: str, kind: str = "Open Kernel Module for x86_64") -> None:
    write(root, "sys/module/nvidia/version", f"{version}\n")
    write(root, "proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX {kind}  {version}  Release Build\n")


def of(device: int) -> driver.PciDevice:
    return driver.PciDevice("0000:3b:00.0", device, None)


@pytest.mark.parametrize(
    ("device", "generation"),
    [
        (0x102D, "Kepler or older"),  # Tesla K80
        (0x17FD, "Maxwell"),  # Tesla M40
        (0x1B38, "Pascal"),  # Tesla P40
        (0x15F8, "Pascal"),  # Tesla P100
        (0x1D01, "Pascal"),  # GeForce GT 1030
        (0x1DB1, "Volta"),  # Tesla V100
        (0x1EB8, "Turing"),  # Tesla T4
        (0x2182, "Turing"),  # GeForce GTX 1660 Ti
        (0x20B0, "Ampere"),  # A100
        (0x2236, "Ampere"),  # A10
        (0x25B6, "Ampere"),  # A2
        (0x2330, "Hopper"),  # H100
        (0x27B8, "Ada Lovelace"),  # L4
        (0x26B9, "Ada Lovelace"),  # L40S
        (0x2901, "Blackwell"),  # B200
        (0x2B85, "Blackwell"),  # GeForce RTX 5090
    ],
)
def test_generation_of_known_gpus(device: int, generation: str) -> None:
    found = driver.generation_of(device)
    assert found and found.name == generation


def test_blocks_of_device_ids_neither_overlap_nor_leave_gaps() -> None:
    assert all(
        after[0] == before[1] + 1 for before, after in zip(driver.DEVICE_IDS, driver.DEVICE_IDS[1:], strict=False)
    )
    assert driver.generation_of(0x4000) is None


def test_gpus_are_found_by_vendor_and_class(tmp_path: Path) -> None:
    plug(tmp_path, "0000:00:02.0", 0x1111, 0x030000, vendor=0x1234)
    plug(tmp_path, "0000:86:00.0", 0x1EB8)
    plug(tmp_path, "0000:3b:00.0", 0x2204, 0x030000)
    plug(tmp_path, "0000:3b:00.1", 0x1AEF, 0x040300)  # its sound device
    plug(tmp_path, "0000:05:00.0", 0x22A3, 0x068000)
    assert [gpu.address for gpu in driver.gpus(str(tmp_path))] == ["0000:3b:00.0", "0000:86:00.0"]
    assert [switch.address for switch in driver.nvswitches(str(tmp_path))] == ["0000:05:00.0"]


def test_host_without_a_pci_bus_has_no_gpus(tmp_path: Path) -> None:
    assert driver.gpus(str(tmp_path)) == []


def test_gpu_of_a_virtual_machine(tmp_path: Path) -> None:
    plug(tmp_path, "0000:3b:00.0", 0x2204)
    (tmp_path / "sys/bus/pci/drivers/vfio-pci").mkdir(parents=True)
    (tmp_path / "sys/bus/pci/devices/0000:3b:00.0/driver").symlink_to("../../drivers/vfio-pci")
    (gpu,) = driver.gpus(str(tmp_path))
    assert gpu.passed_through
    load(tmp_path, "580.95.05")
    assert shortcomings(str(tmp_path), "580.95.05", []) == []


@pytest.mark.parametrize(
    ("kind", "kernel_modules"),
    [("Open Kernel Module for x86_64", "open"), ("x86_64 Kernel Module", "proprietary")],
)
def test_loaded_module(tmp_path: Path, kind: str, kernel_modules: str) -> None:
    assert driver.loaded_module(str(tmp_path)) is None
    load(tmp_path, "580.95.05", kind)
    assert driver.loaded_module(str(tmp_path)) == driver.Module("580.95.05", kernel_modules)


def test_secure_boot_is_the_byte_after_the_attributes(tmp_path: Path) -> None:
    assert not driver.secure_boot(str(tmp_path))
    for value, state in ((b"\0", False), (b"\x01", True)):
        write(tmp_path, driver.SECURE_BOOT, ATTRIBUTES + value)
        assert driver.secure_boot(str(tmp_path)) is state


def test_key_is_enrolled_if_its_whole_certificate_is_in_the_list(tmp_path: Path) -> None:
    write(tmp_path, driver.ENROLLED_KEYS, ATTRIBUTES + b"header" + b"certificate of the vendor")
    assert not driver.dkms_key_enrolled(str(tmp_path))
    write(tmp_path, driver.DKMS_CERTIFICATES[0], b"certificate of DKMS")
    assert not driver.dkms_key_enrolled(str(tmp_path))
    write(
        tmp_path, driver.ENROLLED_KEYS, ATTRIBUTES + b"header" + b"certificate of the vendor" + b"certificate of DKMS"
    )
    assert driver.dkms_key_enrolled(str(tmp_path))


@pytest.mark.parametrize(
    ("devices", "wanted", "branch", "chosen"),
    [
        ([0x2330], "auto", 580, "open"),
        ([0x2330], "proprietary", 580, "proprietary"),
        ([0x2330], "auto", 510, "proprietary"),
        ([0x1DB1], "auto", 580, "proprietary"),
        ([0x1DB1, 0x2330], "auto", None, "proprietary"),
        ([0x4000], "auto", None, "open"),
    ],
)
def test_kernel_modules_fit_all_gpus(devices: list[int], wanted: str, branch: int | None, chosen: str) -> None:
    assert driver.choose_kernel_modules([of(device) for device in devices], wanted, branch) == chosen


@pytest.mark.parametrize(
    ("device", "kernel_modules", "branch", "words"),
    [
        (0x1DB1, "open", 580, ["the open kernel modules do not drive 0000:3b:00.0 (10de:1db1, Volta)", "proprietary"]),
        (0x2901, "proprietary", 580, ["the proprietary kernel modules do not drive", "Blackwell", "the open ones do"]),
        (
            0x2330,
            "proprietary",
            620,
            ["branch 620 has no proprietary kernel modules", "Choose open, or an older branch"],
        ),
        (0x1DB1, "proprietary", 590, ["nvidia_driver_branch: 590", "the last branch that does is 580"]),
        (0x102D, "proprietary", 580, ["the last branch that does is 470"]),
        (0x2901, "open", 550, ["the first branch that does is 570"]),
        (0x2330, "open", 510, ["no open kernel modules", "515"]),
    ],
)
def test_problems_name_the_field_the_gpu_and_the_cure(
    device: int, kernel_modules: str, branch: int, words: list[str]
) -> None:
    found = " ".join(driver.problems([of(device)], kernel_modules, branch))
    assert all(word in found for word in words), found


@pytest.mark.parametrize(
    ("device", "kernel_modules", "branch"),
    [(0x2330, "open", 590), (0x1DB1, "proprietary", 580), (0x1DB1, "proprietary", None), (0x4000, "proprietary", 615)],
)
def test_driver_that_fits_has_no_problems(device: int, kernel_modules: str, branch: int | None) -> None:
    assert driver.problems([of(device)], kernel_modules, branch) == []


@pytest.mark.parametrize("version", ["580.95.05", "580.95.05-1", "580.95.05-0ubuntu0.24.04.1", "3:580.95.05-1.el9"])
def test_upstream_version(version: str) -> None:
    assert driver.upstream_version(version) == "580.95.05"


@pytest.mark.parametrize(
    ("wanted", "answer"), [("580", True), ("580.95", True), ("580.95.05", True), ("58", False), ("580.9", False)]
)
def test_version_matches_by_whole_numbers(wanted: str, answer: bool) -> None:
    assert driver.matches("580.95.05-1", wanted) is answer


def test_proof_compares_what_is_loaded_listed_and_plugged_in(tmp_path: Path) -> None:
    root = str(tmp_path)
    plug(tmp_path, "0000:3b:00.0", 0x2330)
    plug(tmp_path, "0000:86:00.0", 0x2330)
    rows = [["00000000:3B:00.0", "580.95.05", "H100", "GPU-1"], ["00000000:86:00.0", "580.95.05", "H100", "GPU-2"]]
    assert shortcomings(root, "580.95.05", rows) == ["the kernel module nvidia is not loaded"]
    load(tmp_path, "580.95.05")
    assert shortcomings(root, "580.95.05", rows) == []
    (lost,) = shortcomings(root, "580.95.05", rows[:1])
    assert "0000:86:00.0" in lost and "0000:3b:00.0" not in lost
    assert "reboot" in shortcomings(root, "590.44.01", [])[0]
    (tmp_path / "sys/module/nouveau").mkdir()
    assert shortcomings(root, "580.95.05", rows) == ["the kernel module nouveau is loaded; reboot the host"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "Id=nvidia-persistenced.service\nActiveState=active\nUnitFileState=static\n\n"
            "Id=nvidia-fabricmanager.service\nActiveState=active\nUnitFileState=enabled\n",
            ["nvidia-persistenced", "nvidia-fabricmanager"],
        ),
        (
            "Id=nvidia-persistenced.service\nActiveState=failed\nUnitFileState=enabled\n\n"
            "Id=nvidia-fabricmanager.service\nActiveState=active\nUnitFileState=disabled\n",
            [],
        ),
        # What is not installed.
        ("Id=nvidia-persistenced.service\nActiveState=inactive\nUnitFileState=\n", []),
    ],
)
def test_daemons_are_those_that_run_and_are_started_at_boot(output: str, expected: list[str]) -> None:
    assert driver.daemons(lambda command: (0, output, "")) == expected


def test_without_systemd_there_are_no_daemons() -> None:
    assert driver.daemons(lambda command: (1, "", "System has not been booted with systemd")) == []
