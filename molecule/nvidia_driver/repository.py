"""A signed package repository in which empty packages stand for the driver's: the same names, versions and relations.

    PYTHONPATH=../hosts repository.py DIRECTORY KERNEL

They bring what the role looks at: `nvidia-smi`, services, and a file in the place of the kernel module, which the
simulated kernel of the test machines (see kernel/) loads.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

from packages import Package, publish, publish_rpm, run

MODULE = "usr/lib/modules/simulated/nvidia"

# It answers as the real one does, for the GPUs on the simulated PCI bus.
NVIDIA_SMI = """#!/bin/sh
loaded=$(cat /srv/kernel/sys/module/nvidia/version 2>/dev/null) || {{
  echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
  exit 9
}}
[ "$loaded" = {version} ] || {{
  echo "Failed to initialize NVML: Driver/library version mismatch"
  exit 18
}}
cd /srv/kernel/sys/bus/pci/devices
for address in *; do
  case $(cat "$address/class") in 0x03*) ;; *) continue ;; esac
  echo "0000$address, {version}, NVIDIA $(cat "$address/device"), GPU-$address" | tr a-f A-F
done
"""

SERVICE = """[Unit]
Description={name}
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""

# Long enough to be killed in the middle of it.
SLOW = """#!/bin/sh
set -e
[ ! -e /srv/kernel/slow ] || sleep 30
"""


def service(name: str) -> dict[str, str]:
    return {f"usr/lib/systemd/system/{name}.service": SERVICE.format(name=name)}


def smi(driver: str) -> dict[str, str]:
    return {"usr/bin/nvidia-smi": NVIDIA_SMI.format(version=driver)}


def module(driver: str, kind: str, signed: bool = False) -> dict[str, str]:
    return {MODULE: f"{driver}\n{kind}\n{'signed' if signed else 'unsigned'}\n"}


def of_nvidia(driver: str, kernel: str) -> list[Package]:
    """Return the packages of NVIDIA's repository for Debian."""
    version = f"{driver}-1"
    same = f"(= {version})"
    branch = int(driver.partition(".")[0])
    fabric = "nvidia-fabricmanager" if branch >= 580 else f"nvidia-fabricmanager-{branch}"
    needed = f"dkms, linux-headers-{kernel}"
    return [
        Package("libcuda1", version),
        Package(
            "nvidia-driver-cuda",
            version,
            {
                "Depends": f"libcuda1 {same}, nvidia-persistenced {same}, "
                f"nvidia-kernel-open-dkms {same} | nvidia-kernel-dkms {same}",
                "Conflicts": "nvidia-smi",
            },
            smi(driver),
            SLOW,
        ),
        Package(
            "nvidia-kernel-open-dkms",
            version,
            {"Depends": needed, "Conflicts": "nvidia-kernel-dkms"},
            module(driver, "open"),
        ),
        Package(
            "nvidia-kernel-dkms",
            version,
            {"Depends": needed, "Conflicts": "nvidia-kernel-open-dkms"},
            module(driver, "proprietary"),
        ),
        Package("nvidia-persistenced", version, {}, service("nvidia-persistenced")),
        Package(fabric, version, {"Depends": f"libcuda1 {same}"}, service("nvidia-fabricmanager")),
    ]


def of_debian(driver: str, kernel: str) -> list[Package]:
    """Return the packages of Debian's own driver."""
    version = f"{driver}-1~deb12u1"
    needed = f"dkms, linux-headers-{kernel}"
    return [
        Package("libcuda1", version),
        Package("nvidia-smi", version, {"Depends": f"libcuda1 (= {version})"}, smi(driver)),
        Package(
            "nvidia-kernel-dkms",
            version,
            {"Depends": needed, "Conflicts": "nvidia-open-kernel-dkms"},
            module(driver, "proprietary"),
        ),
        Package(
            "nvidia-open-kernel-dkms",
            version,
            {"Depends": needed, "Conflicts": "nvidia-kernel-dkms"},
            module(driver, "open"),
        ),
        Package("nvidia-persistenced", "535.171.04-1~deb12u1", {}, service("nvidia-persistenced")),
    ]


def of_ubuntu(driver: str, flavour: str) -> list[Package]:
    """Return the packages of Ubuntu's own driver, with modules that are compiled and signed."""
    version = f"{driver}-0ubuntu0.24.04.1"
    same = f"(= {version})"
    name = f"{driver.partition('.')[0]}-server"
    return [
        Package(f"nvidia-compute-utils-{name}", version, {}, service("nvidia-persistenced")),
        Package(f"nvidia-utils-{name}", version, {}, smi(driver)),
        Package(
            f"nvidia-headless-no-dkms-{name}-open", version, {"Depends": f"nvidia-compute-utils-{name} {same}"}, {}
        ),
        Package(f"linux-modules-nvidia-{name}-open-{flavour}", "6.8.0-60.63+1", {}, module(driver, "open", True)),
    ]


def of_nvidia_for_red_hat(driver: str) -> list[Package]:
    """Return the packages of NVIDIA's repository for Red Hat's distributions."""
    version = f"3:{driver}-1.el9"
    same = f"= 3:{driver}"
    kinds = {"kmod-nvidia-open-dkms": "open", "kmod-nvidia-latest-dkms": "proprietary"}
    kmods = [
        Package(
            name,
            version,
            {
                "Requires": "dkms",
                "Provides": f"nvidia-kmod {same}",
                "Conflicts": next(other for other in kinds if other != name),
            },
            module(driver, kind),
        )
        for name, kind in kinds.items()
    ]
    needed = f"nvidia-driver-cuda-libs {same}, nvidia-persistenced {same}, nvidia-kmod {same}"
    return [
        *kmods,
        Package("nvidia-driver-cuda", version, {"Requires": needed}, smi(driver), SLOW.removeprefix("#!/bin/sh\n")),
        Package("nvidia-driver-cuda-libs", version),
        Package("nvidia-persistenced", version, {}, service("nvidia-persistenced")),
    ]


def main(target: Path, kernel: str) -> None:
    tools = [Package("dkms", "3.0.10-8"), Package(f"linux-headers-{kernel}", "6.1.140-1")]
    drivers = ("570.195.03", "580.65.06", "580.95.05", "590.44.01")
    nvidia = [package for driver in drivers for package in of_nvidia(driver, kernel)]
    # Where a mirror has them.
    place = "developer.download.nvidia.com/compute/cuda/repos/{}/" + platform.machine().replace("aarch64", "sbsa")
    repositories = {
        place.format("debian12"): [*tools, *nvidia],
        "debian": [*tools, *of_debian("535.247.01", kernel)],
        "ubuntu": of_ubuntu("580.95.05", "generic"),
    }
    with tempfile.TemporaryDirectory() as home:
        for name, packages in repositories.items():
            # As NVIDIA names it, and as apt knows an armored one.
            keys = [target / name / key for key in ("3bf863cc.pub", "key.asc")]
            publish(packages, target / name, Path(home), keys)
        name = place.format("rhel9")
        red_hat = [package for driver in drivers for package in of_nvidia_for_red_hat(driver)]
        publish_rpm(red_hat, target / name, Path(home), [target / name / "D42D0685.pub"])
        run("gpgconf", "--homedir", home, "--kill", "all")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
