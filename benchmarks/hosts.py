# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""`python -m benchmarks.hosts`: what an unchanged second run of the roles for hosts costs, by the number of hosts.

The hosts are containers with systemd that Ansible reaches by SSH, those of the Molecule scenario nvidia_driver: each
has a simulated GPU. They share the control node's processors, so that the wall time says less than its CPU time.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from .processes import CHECKOUT, run_playbook

SCENARIO = "hosts_benchmark"
DIRECTORY = Path("/var/tmp") / f"mlstack-molecule-{SCENARIO}"
MOLECULE = CHECKOUT / "molecule"
REPORT = CHECKOUT / "docs" / "benchmarks-hosts.md"
# One task each way, and with it all that Ansible itself does.
PING = "ping"
PLAYS = (PING, "host_preflight", "nvidia_driver")
NUMBERS = (1, 3, 30)
FORKS = (5, 25)
SSH = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
# Seconds of the control node's CPU for each host and role.
GOAL = 1.0
# systemd and its services watch files, and the kernel counts the watchers of all machines together.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
WATCHERS = 40
RECAP = re.compile(
    r"^host-\d+ +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+) +skipped=(\d+)", re.MULTILINE
)


@dataclass(frozen=True)
class Measured:
    """One unchanged run: seconds of wall time and of the control node's CPU, and tasks of one host."""

    wall: float
    cpu: float
    tasks: int
    skipped: int


def inventory(number: int) -> dict[str, Any]:
    """The machine that serves packages, and the hosts, each with a T4."""
    hosts = {f"host-{index + 1}": {"ansible_host": f"10.231.77.{index + 20}"} for index in range(number)}
    return {
        "all": {
            "hosts": {"packages": {"ansible_host": "10.231.77.10"}},
            "children": {"gpu_nodes": {"hosts": hosts}},
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(DIRECTORY / "key"),
                "ansible_ssh_common_args": " ".join(f"-o {option}" for option in SSH),
                "molecule_yml": {"platforms": [{"name": name} for name in ("packages", *hosts)]},
                "mlstack_package_mirror": "http://10.231.77.10",
                "nvidia_driver_root": "/srv/kernel",
                "nvidia_driver_boot_time_command": "stat -c %Y /proc/1",
                "devices": {"0000:3b:00.0": {"class": "0x030200", "device": "0x1eb8"}},
            },
        }
    }


def play(name: str) -> list[dict[str, Any]]:
    include = {"ansible.builtin.include_role": {"name": f"mlstack.kubernetes.{name}"}}
    task = {"ansible.builtin.ping": {}} if name == PING else include
    return [{"name": name, "hosts": "gpu_nodes", "gather_facts": False, "tasks": [{"name": f"Run {name}", **task}]}]


class Machines:
    """The test machines, and playbooks on them."""

    def __init__(self, directory: Path, number: int) -> None:
        self.inventory = directory / "hosts.yml"
        self.inventory.write_text(yaml.safe_dump(inventory(number)))
        self.directory = directory
        self.number = number
        self.watchers = INOTIFY.read_text()

    def __enter__(self) -> Machines:
        try:
            INOTIFY.write_text(str(max(int(self.watchers), WATCHERS * self.number)))
            self.run(MOLECULE / "hosts/destroy.yml")
            self.run(MOLECULE / "hosts/create.yml")
            self.run(MOLECULE / "nvidia_driver/prepare.yml")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.run(MOLECULE / "hosts/destroy.yml")
        finally:
            INOTIFY.write_text(self.watchers)

    def run(self, playbook: Path, *arguments: str) -> str:
        return run_playbook(
            self.inventory,
            playbook,
            *arguments,
            ANSIBLE_COLLECTIONS_PATH=str(CHECKOUT / ".collections"),
            ANSIBLE_PIPELINING="true",
            MOLECULE_SCENARIO_NAME=SCENARIO,
        )

    def measure(self, name: str, number: int, forks: int) -> Measured:
        """Run a play on the first hosts; it must not change anything."""
        hosts = ",".join(f"host-{index + 1}" for index in range(number))
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        output = self.run(self.written(name), f"--forks={forks}", f"--limit={hosts}")
        wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        recaps = [tuple(map(int, found)) for found in RECAP.findall(output)]
        if len(recaps) != number or any(changed for _ok, changed, *_rest in recaps):
            sys.exit(f"{output}\n{name} was to change nothing on {number} hosts, see above.")
        ok, _changed, _unreachable, _failed, skipped = recaps[0]
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Measured(wall, cpu, ok, skipped)

    def written(self, name: str) -> Path:
        file = self.directory / f"{name}.yml"
        file.write_text(yaml.safe_dump(play(name)))
        return file


def report(results: Mapping[tuple[str, int, int], Sequence[Measured]]) -> str:
    lines = [
        "# Benchmarks of the roles for hosts",
        "",
        "What an unchanged second run costs, by the number of hosts. Written by `make bench-hosts`. Hosts are",
        "containers with systemd on the processors of the control node, reached by SSH, each with a simulated GPU.",
        "Seconds are medians. CPU is that of Ansible and ssh on the control node; the goal is less than",
        f"{GOAL:g} s of it for each host and role. The play `ping` is what Ansible itself takes.",
        "",
        f"{os.cpu_count()} processors, Python {platform.python_version()}, ansible-core {version('ansible-core')}.",
        "",
        "| play | hosts | forks | tasks | skipped | wall, s | CPU, s | CPU for each host, s | goal |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for (name, number, forks), runs in results.items():
        wall, cpu = (statistics.median(values) for values in zip(*((run.wall, run.cpu) for run in runs), strict=True))
        goal = "" if name == PING else "met" if cpu / number < GOAL else "**missed**"
        figures = f"{runs[0].tasks} | {runs[0].skipped} | {wall:.1f} | {cpu:.1f} | {cpu / number:.2f}"
        lines.append(f"| {name} | {number} | {forks} | {figures} | {goal} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="make bench-hosts", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs whose median counts")
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    directory = CHECKOUT / ".cache" / "benchmarks" / "hosts"
    directory.mkdir(parents=True, exist_ok=True)
    results: dict[tuple[str, int, int], list[Measured]] = {}
    with Machines(directory, max(NUMBERS)) as machines:
        for name in PLAYS:
            machines.run(machines.written(name), f"--forks={max(FORKS)}")
        for name in PLAYS:
            for number in NUMBERS:
                # More forks than hosts are no use.
                for forks in FORKS if number > min(FORKS) else FORKS[:1]:
                    runs = [machines.measure(name, number, forks) for _run in range(options.runs)]
                    results[name, number, forks] = runs
                    print(name, number, forks, runs, flush=True)
    options.report.write_text(report(results))


if __name__ == "__main__":
    main(sys.argv[1:])
