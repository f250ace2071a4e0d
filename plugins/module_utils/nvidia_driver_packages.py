# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The choice of one version of the NVIDIA driver that all of its packages are offered in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.mlstack.kubernetes.plugins.module_utils.nvidia_driver import matches, upstream_version

# What the driver's packages are called, and how their versions begin: with a branch of three digits. Modules that are
# compiled already have the version of their kernel, and must not be taken for the driver's.
NAMES = re.compile(r"nvidia|^(libcuda|cuda-drivers|libnv|libxnvctrl)")
VERSION = re.compile(r"(\d+:)?\d{3}\.")


@dataclass(frozen=True)
class Choice:
    # The driver's version; empty where nothing fits.
    version: str = ""
    # Versions of the packages.
    packages: dict[str, str] = field(default_factory=dict)
    # Packages that stand in the way of a choice.
    missing: list[str] = field(default_factory=list)


def parse_madison(output: str) -> dict[str, list[str]]:
    """Return the versions of each package, newest first, from lines such as `nvidia-smi | 535.1-1 | http://…`."""
    versions: dict[str, list[str]] = {}
    for line in output.splitlines():
        columns = [column.strip() for column in line.split("|")]
        if len(columns) >= 3 and columns[1] not in versions.setdefault(columns[0], []):
            versions[columns[0]].append(columns[1])
    return versions


@dataclass(frozen=True)
class Installed:
    # Versions of the installed packages.
    versions: dict[str, str]
    # Those whose version is held.
    held: set[str]


def parse_installed(output: str) -> Installed:
    """Read lines of package, version, what is wanted of it, and status."""
    rows = [line.split("\t") for line in output.splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[3] == "installed"]
    return Installed({row[0]: row[1] for row in rows}, {row[0] for row in rows if row[2] == "hold"})


def installed_driver(names: Sequence[str], versions: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the version of the installed driver, if one of these packages is there, and all packages that have it."""
    drivers = {name: version for name, version in versions.items() if NAMES.search(name) and VERSION.match(version)}
    present = next((upstream_version(drivers[name]) for name in names if name in drivers), "")
    return present, sorted(name for name, version in drivers.items() if upstream_version(version) == present)


def choose(
    packages: Sequence[str],
    others: Sequence[str],
    wanted: str,
    offered: Mapping[str, Sequence[str]],
    installed: Mapping[str, str],
) -> Choice:
    """Choose what is installed if it is what is wanted, else the newest that all packages are offered in."""
    missing = [name for name in others if name not in installed and not offered.get(name)]
    present = {upstream_version(installed[name]) for name in packages if name in installed}
    kept = {name: installed[name] for name in packages if name in installed}
    if len(kept) == len(packages) and len(present) == 1 and all(matches(version, wanted) for version in kept.values()):
        version, chosen = present.pop(), kept
    else:
        fitting = {
            name: {
                upstream_version(version): version
                for version in reversed(offered.get(name, []))
                if matches(version, wanted)
            }
            for name in packages
        }
        # In the order of the first package, which is newest first.
        first = [upstream_version(version) for version in offered.get(packages[0], [])]
        common = [version for version in first if all(version in versions for versions in fitting.values())]
        if not common:
            missing += [name for name in packages if not fitting[name]] or list(packages)
            return Choice(missing=missing)
        version, chosen = common[0], {name: fitting[name][common[0]] for name in packages}
    if missing:
        return Choice(missing=missing)
    return Choice(version, {**chosen, **{name: companion(name, version, offered, installed) for name in others}})


def companion(name: str, version: str, offered: Mapping[str, Sequence[str]], installed: Mapping[str, str]) -> str:
    """Return the version of a package that comes with the driver: the driver's own, or one of its branch, or any."""
    known = ([installed[name]] if name in installed else []) + list(offered.get(name, []))
    for wanted in (version, version.partition(".")[0]):
        for one in known:
            if matches(one, wanted):
                return one
    return known[0]
