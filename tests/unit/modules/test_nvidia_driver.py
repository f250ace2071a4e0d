"""The modules of the role nvidia_driver, from their options to their results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.modules import nvidia_driver_info, nvidia_driver_verify

Call = Callable[..., dict[str, Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    device = tmp_path / "sys/bus/pci/devices/0000:3b:00.0"
    device.mkdir(parents=True)
    for name, value in {"vendor": "0x10de", "class": "0x030200", "device": "0x2330"}.items():
        (device / name).write_text(value + "\n")
    return tmp_path


def load(root: Path, version: str) -> None:
    (root / "sys/module/nvidia").mkdir(parents=True)
    (root / "sys/module/nvidia/version").write_text(version)


def smi(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (directory / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")


def test_info_of_a_fresh_host(call: Call, root: Path) -> None:
    result = call(nvidia_driver_info, root=str(root), branch=580)
    assert result["gpus"] == [
        {"address": "0000:3b:00.0", "device": "2330", "generation": "Hopper", "passed_through": False}
    ]
    assert (result["kernel_modules"], result["module_version"], result["problems"]) == ("open", "", [])
    assert not (result["nouveau"] or result["secure_boot"] or result["runfile"] or result["changed"])


def test_info_says_why_a_driver_does_not_fit(call: Call, root: Path) -> None:
    (problem,) = call(nvidia_driver_info, root=str(root), branch=470)["problems"]
    assert "the first branch that does is 520" in problem


def test_info_sees_what_runs(call: Call, root: Path) -> None:
    load(root, "580.95.05")
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/nvidia-uninstall").touch()
    result = call(nvidia_driver_info, root=str(root))
    assert (result["module_version"], result["module_kernel_modules"], result["runfile"]) == ("580.95.05", "", True)


def test_verify_lists_the_gpus(call: Call, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(root, "580.95.05")
    smi(root, monkeypatch, "echo '00000000:3B:00.0, 580.95.05, NVIDIA H100, GPU-1'")
    assert call(nvidia_driver_verify, root=str(root), version="580.95.05")["gpus"] == [
        {"address": "0000:3b:00.0", "name": "NVIDIA H100", "uuid": "GPU-1"}
    ]


def test_verify_says_all_that_is_wrong(call: Call, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(root, "580.65.06")
    smi(root, monkeypatch, "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    message = call(nvidia_driver_verify, root=str(root), version="580.95.05")["msg"]
    assert "nvidia-smi ended with 18: Failed to initialize NVML" in message
    assert "the loaded kernel module is 580.65.06 and the installed driver 580.95.05; reboot" in message


def test_verify_without_nvidia_smi(call: Call, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))
    assert "there is no nvidia-smi" in call(nvidia_driver_verify, root=str(root), version="580.95.05")["msg"]
