# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The choice of one version of the NVIDIA driver that all of its packages are offered in, with apt and with dnf."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

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


@dataclass(frozen=True)
class Installed:
    # Versions of the installed packages.
    versions: dict[str, str] = field(default_factory=dict)
    # Those whose version is held.
    held: set[str] = field(default_factory=set)
    # Those that a run which was killed left half installed.
    unfinished: list[str] = field(default_factory=list)


# Runs a program and gives its exit status, what it printed, and its errors.
Runner = Callable[[Sequence[str]], "tuple[int, str, str]"]


class UnansweredError(Exception):
    """A program does not say what it was asked; the text names both."""


def told(run: Runner, *command: str) -> str:
    status, output, errors = run(command)
    if status != 0:
        raise UnansweredError(f"{command[0]} ended with {status}: {(errors or output).strip()}")
    return output


class PackageManager(Protocol):
    def installed(self, names: Iterable[str]) -> Installed:
        """What is installed; among it these packages, by the names that are asked for."""

    def offered(self, names: Sequence[str]) -> tuple[dict[str, list[str]], str]:
        """The versions that each of these is offered in, newest first, and what went wrong."""

    def exactly(self, name: str, version: str) -> str:
        """The package in this version, as the package manager is told to install it."""


class Apt:
    UPDATES = "/var/lib/dpkg/updates"

    def __init__(self, run: Runner, updates: str = UPDATES) -> None:
        self._run = run
        self._updates = updates

    def installed(self, names: Iterable[str]) -> Installed:
        columns = ("Package", "Version", "db:Status-Want", "db:Status-Status")
        layout = r"\t".join(f"${{{name}}}" for name in columns) + r"\n"
        output = told(self._run, "dpkg-query", "--show", f"--showformat={layout}")
        rows = [row for row in (line.split("\t") for line in output.splitlines()) if len(row) == 4]
        there = [row for row in rows if row[3] == "installed"]
        unfinished = [row[0] for row in rows if row[3] not in ("installed", "config-files", "not-installed")]
        # What it had not written into its list yet.
        if os.path.isdir(self._updates) and os.listdir(self._updates):
            unfinished.append("dpkg")
        return Installed({row[0]: row[1] for row in there}, {row[0] for row in there if row[2] == "hold"}, unfinished)

    def offered(self, names: Sequence[str]) -> tuple[dict[str, list[str]], str]:
        # It lists what is known of, and only warns of the rest.
        return parse_madison(told(self._run, "apt-cache", "madison", *names)), ""

    def exactly(self, name: str, version: str) -> str:
        return f"{name}={version}"


class Dnf:
    LOCKS = "/etc/dnf/plugins/versionlock.list"

    def __init__(self, run: Runner, locks: str = LOCKS) -> None:
        self._run = run
        self._locks = locks

    def installed(self, names: Iterable[str]) -> Installed:
        layout = r"%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\t%{ARCH}\n"
        rows = _rows(told(self._run, "rpm", "--query", "--all", f"--queryformat={layout}"))
        versions: dict[str, str] = {}
        unfinished = []
        for name, version, architecture in rows:
            # The new version is installed and the old one not removed yet.
            if name in versions and versions[name] != version and NAMES.search(name):
                unfinished.append(name)
            versions[name] = version
            versions.update((asked, version) for asked in names if asked in _names(name, version, architecture))
        locked = self._locked()
        held = {
            name for name, version in versions.items() if any(f"-{upstream_version(version)}-" in one for one in locked)
        }
        return Installed(versions, held, unfinished)

    def _locked(self) -> list[str]:
        try:
            with open(self._locks, encoding="utf-8") as file:
                return [line.strip() for line in file if line.strip() and not line.startswith(("#", "!"))]
        except FileNotFoundError:
            return []

    def offered(self, names: Sequence[str]) -> tuple[dict[str, list[str]], str]:
        layout = r"%{name}\t%{evr}\t%{arch}"
        status, output, errors = self._run(["dnf", "--quiet", "repoquery", f"--queryformat={layout}", *names])
        versions: dict[str, list[str]] = {}
        for name, version, architecture in sorted(_rows(output), key=lambda row: _numbers(row[1]), reverse=True):
            for asked in names:
                known = versions.setdefault(asked, [])
                if asked in _names(name, version, architecture) and version not in known:
                    known.append(version)
        return {name: known for name, known in versions.items() if known}, errors.strip() if status else ""

    def exactly(self, name: str, version: str) -> str:
        # Kernels are named with their version.
        return name if _without_epoch(version).partition("-")[0] in name else f"{name}-{version}"


def _rows(output: str) -> list[tuple[str, str, str]]:
    """Lines of name, version and architecture; an epoch of 0 is none."""
    rows = [line.split("\t") for line in output.splitlines()]
    return [(row[0], row[1].removeprefix("0:"), row[2]) for row in rows if len(row) == 3]


def _without_epoch(version: str) -> str:
    return version.rpartition(":")[2]


def _names(name: str, version: str, architecture: str) -> set[str]:
    """All that rpm calls a package, from its mere name to that with version, release and architecture."""
    full = f"{name}-{_without_epoch(version)}"
    return {name, full.rpartition("-")[0], full, f"{full}.{architecture}"}


def _numbers(version: str) -> list[int]:
    """The order of versions that differ in nothing but numbers."""
    return [int(number) for number in re.findall(r"\d+", version)]


def parse_madison(output: str) -> dict[str, list[str]]:
    """Return the versions of each package, newest first, from lines such as `nvidia-smi | 535.1-1 | http://…`."""
    versions: dict[str, list[str]] = {}
    for line in output.splitlines():
        columns = [column.strip() for column in line.split("|")]
        if len(columns) >= 3 and columns[1] not in versions.setdefault(columns[0], []):
            versions[columns[0]].append(columns[1])
    return versions


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
