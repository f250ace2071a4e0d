"""Signed package repositories whose packages stand for those of NVIDIA's container toolkit, with the same relations.

    PYTHONPATH=../hosts repository.py DIRECTORY PROGRAMS

The programs in them are the toolkit's own, compiled from its Go module. The library of its legacy mode, which is not
written in Go, is not in them.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

from packages import Package, publish, publish_rpm, run

SITE = "nvidia.github.io/libnvidia-container"


def toolkit(version: str, programs: Path, needs: str, same: str) -> list[Package]:
    """Return the packages of one version; `needs` and `same` say how they name what they need in it."""
    return [
        Package(
            "nvidia-container-toolkit",
            version,
            {needs: f"nvidia-container-toolkit-base {same}, libnvidia-container-tools {same}"},
        ),
        Package(
            "nvidia-container-toolkit-base",
            version,
            {},
            {f"usr/bin/{name}": programs / name for name in ("nvidia-ctk", "nvidia-container-runtime")},
        ),
        Package("libnvidia-container-tools", version, {needs: f"libnvidia-container1 {same}"}),
        Package("libnvidia-container1", version),
    ]


def main(target: Path, programs: Path) -> None:
    versions = ("1.19.1-1", "1.20.0-1", "1.20.1-1")
    debs = [package for version in versions for package in toolkit(version, programs, "Depends", f"(= {version})")]
    rpms = [package for version in versions for package in toolkit(version, programs, "Requires", f"= {version}")]
    site = target / SITE
    with tempfile.TemporaryDirectory() as home:
        architecture = run("dpkg", "--print-architecture").strip()
        publish(debs, site / "stable/deb" / architecture, Path(home), [site / "gpgkey"])
        publish_rpm(rpms, site / "stable/rpm" / platform.machine(), Path(home), [site / "gpgkey-rpm"], "metadata")
        run("gpgconf", "--homedir", home, "--kill", "all")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
