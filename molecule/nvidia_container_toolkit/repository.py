"""A signed package repository whose packages stand for those of NVIDIA's container toolkit, with the same relations.

    PYTHONPATH=../hosts repository.py DIRECTORY PROGRAMS

The programs in them are the toolkit's own, compiled from its Go module. The library of its legacy mode, which is not
written in Go, is not in them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from packages import Package, publish, run

SITE = "nvidia.github.io/libnvidia-container"


def toolkit(version: str, programs: Path) -> list[Package]:
    """Return the packages of one version."""
    same = f"(= {version})"
    return [
        Package(
            "nvidia-container-toolkit",
            version,
            {"Depends": f"nvidia-container-toolkit-base {same}, libnvidia-container-tools {same}"},
        ),
        Package(
            "nvidia-container-toolkit-base",
            version,
            {},
            {f"usr/bin/{name}": programs / name for name in ("nvidia-ctk", "nvidia-container-runtime")},
        ),
        Package("libnvidia-container-tools", version, {"Depends": f"libnvidia-container1 {same}"}),
        Package("libnvidia-container1", version),
    ]


def main(target: Path, programs: Path) -> None:
    packages = [package for version in ("1.19.1-1", "1.20.0-1", "1.20.1-1") for package in toolkit(version, programs)]
    place = target / SITE / "stable/deb" / run("dpkg", "--print-architecture").strip()
    with tempfile.TemporaryDirectory() as home:
        publish(packages, place, Path(home), [target / SITE / "gpgkey"])
        run("gpgconf", "--homedir", home, "--kill", "all")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
