# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""`python -m benchmarks.hosts`: what an unchanged second run of the roles for hosts costs, by the number of hosts.

The hosts are containers with systemd that Ansible reaches by SSH: copies of a machine of the role's Molecule scenario.
They share the control node's processors, so that the wall time says less than its CPU time.
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

MOLECULE = CHECKOUT / "molecule"
REPORT = CHECKOUT / "docs" / "benchmarks-hosts.md"
# One task each way, and with it all that Ansible itself does.
PING = "ping"
NUMBERS = (1, 3, 30)
FORKS = (5, 25)
# Seconds of the control node's CPU for each host and role.
GOAL = 1.0
# systemd and its services watch files, and the kernel counts the watchers of all machines together.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
WATCHERS = 40
RECAP = re.compile(
    r"^host-\d+ +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+) +skipped=(\d+)", re.MULTILINE
)


@dataclass(frozen=True)
class Scenario:
    """A Molecule scenario, the machine of it that the hosts are copies of, those that help, and what is measured."""

    name: str
    machine: str
    helpers: tuple[str, ...]
    plays: tuple[str, ...]

    @property
    def copy(self) -> str:
        """The name by which its playbooks know these machines, so that they are not those of a test."""
        return f"{self.name}_benchmark"

    def inventory(self, number: int) -> dict[str, Any]:
        # A dollar is written twice for Molecule.
        molecule = yaml.safe_load((MOLECULE / self.name / "molecule.yml").read_text().replace("$$", "$"))
        platforms = {platform["name"]: platform for platform in molecule["platforms"]}
        variables = molecule["provisioner"]["inventory"]
        hosts = {
            f"host-{index + 1}": {**variables["host_vars"][self.machine], "ansible_host": f"10.231.77.{index + 20}"}
            for index in range(number)
        }
        # Where the scenario's playbooks name the machine, they mean its copies.
        groups = [self.machine, *platforms[self.machine].get("groups", [])]
        copies = [{**platforms[self.machine], "name": name} for name in hosts]
        return {
            "all": {
                "hosts": {name: variables["host_vars"][name] for name in self.helpers} | hosts,
                "children": {
                    group: {"hosts": dict.fromkeys(hosts), "vars": variables["group_vars"].get(group, {})}
                    for group in groups
                },
                "vars": {
                    **variables["group_vars"]["all"],
                    "ansible_ssh_private_key_file": f"/var/tmp/mlstack-molecule-{self.copy}/key",
                    "molecule_yml": {"platforms": [platforms[name] for name in self.helpers] + copies},
                },
            }
        }


SCENARIOS = (
    Scenario("nvidia_driver", "hopper", ("packages",), (PING, "host_preflight", "nvidia_driver")),
    Scenario("nvidia_container_toolkit", "fresh", ("packages",), ("nvidia_container_toolkit",)),
    Scenario("nfs_server", "server", ("packages", "inside", "outside"), ("nfs_server",)),
)


@dataclass(frozen=True)
class Measured:
    """One unchanged run: seconds of wall time and of the control node's CPU, and tasks of one host."""

    wall: float
    cpu: float
    tasks: int
    skipped: int


def play(name: str) -> list[dict[str, Any]]:
    include = {"ansible.builtin.include_role": {"name": f"mlstack.kubernetes.{name}"}}
    task = {"ansible.builtin.ping": {}} if name == PING else include
    return [{"name": name, "hosts": "host-*", "gather_facts": False, "tasks": [{"name": f"Run {name}", **task}]}]


class Machines:
    """The test machines of a scenario, and playbooks on them."""

    def __init__(self, scenario: Scenario, directory: Path, number: int) -> None:
        self.inventory = directory / f"{scenario.copy}.yml"
        self.inventory.write_text(yaml.safe_dump(scenario.inventory(number)))
        self.scenario = scenario
        self.directory = directory
        self.number = number
        self.watchers = INOTIFY.read_text()

    def __enter__(self) -> Machines:
        try:
            INOTIFY.write_text(str(max(int(self.watchers), WATCHERS * self.number)))
            self.run(MOLECULE / "hosts/destroy.yml")
            self.run(MOLECULE / "hosts/create.yml")
            self.run(MOLECULE / self.scenario.name / "prepare.yml", f"--forks={max(FORKS)}")
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
            MOLECULE_SCENARIO_NAME=self.scenario.copy,
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


def cases(scenario: Scenario) -> list[tuple[str, int, int]]:
    """What is measured: plays, numbers of hosts, and forks, of which more than hosts are no use."""
    sizes = [(number, forks) for number in NUMBERS for forks in FORKS if forks == min(FORKS) or number > min(FORKS)]
    return [(name, number, forks) for name in scenario.plays for number, forks in sizes]


def report(results: Mapping[tuple[str, int, int], Sequence[Measured]]) -> str:
    lines = [
        "# Benchmarks of the roles for hosts",
        "",
        "What an unchanged second run costs, by the number of hosts. Written by `make bench-hosts`. Hosts are",
        "containers with systemd on the processors of the control node, reached by SSH, copies of a machine of the",
        "role's Molecule scenario: two simulated H100 behind an NVSwitch; containerd and a simulated GPU; nfs-ganesha",
        "with two exports and ufw, and a client and an outsider that prove it. Seconds are medians. CPU is that of",
        "Ansible and ssh on the control node, with what Ansible takes for its own start; the goal is less than",
        f"{GOAL:g} s of it for each host and role. The play `ping` is what Ansible itself takes.",
        "",
        f"{os.cpu_count()} processors, Python {platform.python_version()}, ansible-core {version('ansible-core')}.",
        "",
        "| play | hosts | forks | runs | tasks | skipped | wall, s | CPU, s | CPU for each host, s | goal |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for (name, number, forks), runs in results.items():
        wall, cpu = (statistics.median(values) for values in zip(*((run.wall, run.cpu) for run in runs), strict=True))
        goal = "" if name == PING else "met" if cpu / number < GOAL else "**missed**"
        figures = f"{len(runs)} | {runs[0].tasks} | {runs[0].skipped} | {wall:.1f} | {cpu:.1f} | {cpu / number:.2f}"
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
    for scenario in SCENARIOS:
        with Machines(scenario, directory, max(NUMBERS)) as machines:
            for name in scenario.plays:
                machines.run(machines.written(name), f"--forks={max(FORKS)}")
            for name, number, forks in cases(scenario):
                runs = [machines.measure(name, number, forks) for _run in range(options.runs)]
                results[name, number, forks] = runs
                print(name, number, forks, runs, flush=True)
    options.report.write_text(report(results))


if __name__ == "__main__":
    main(sys.argv[1:])
