# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""`python -m benchmarks.stack`: what an unchanged second run of the whole stack costs, and where its time goes.

The stack is that of the tests on the local cluster, with its trainings; its caches are warm. It is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .processes import CHECKOUT, run_playbook

INVENTORY = CHECKOUT / "inventories/test/hosts.ini"
REPORT = CHECKOUT / "docs" / "benchmarks-stack.md"
# Seconds of an unchanged run on two processors.
GOAL = 60.0
LONGEST = 10
# Tasks of no role.
PLAYBOOK = "the playbooks themselves"
TASK = re.compile(r"^(?:(?:mlstack\.kubernetes\.)?(?P<role>\w+) : )?(?P<task>.+?) -{2,} (?P<seconds>\d+\.\d+)s$")
CHANGED = re.compile(r"changed=(\d+)")


@dataclass(frozen=True)
class Task:
    role: str
    name: str
    seconds: float


@dataclass(frozen=True)
class Measured:
    """One run: seconds of wall time, and its tasks."""

    wall: float
    tasks: list[Task]


def tasks_of(output: str) -> list[Task]:
    """The tasks that the callback profile_tasks lists at the end of a run."""
    listed = output.rpartition("TASKS RECAP")[2]
    found = (TASK.match(line.strip()) for line in listed.splitlines())
    return [Task(match["role"] or PLAYBOOK, match["task"], float(match["seconds"])) for match in found if match]


def run(playbook: str) -> str:
    return run_playbook(
        INVENTORY,
        CHECKOUT / "playbooks" / playbook,
        ANSIBLE_CALLBACKS_ENABLED="ansible.posix.profile_tasks",
        PROFILE_TASKS_TASK_OUTPUT_LIMIT="all",
    )


def measure(is_first: bool = False) -> Measured:
    begin = time.perf_counter()
    output = run("ai.yaml")
    wall = time.perf_counter() - begin
    if not is_first and any(int(number) for number in CHANGED.findall(output)):
        sys.exit(f"{output}\nThe run was to change nothing, see above.")
    return Measured(wall, tasks_of(output))


def report(first: Measured, unchanged: Sequence[Measured]) -> str:
    median = sorted(unchanged, key=lambda run: run.wall)[len(unchanged) // 2]
    roles: dict[str, list[Task]] = {}
    for task in median.tasks:
        roles.setdefault(task.role, []).append(task)
    total = sum(task.seconds for task in median.tasks)
    lines = [
        "# Benchmark of the stack",
        "",
        "What a run of `ai.yaml` costs that finds all as it should be: the whole stack on the local cluster, its",
        "proofs, and its trainings, which are looked at and not repeated. Written by `make bench-stack`. The first run",
        "makes the cluster and trains; programs and images are in the cache.",
        "",
        f"{os.cpu_count()} processors, Python {platform.python_version()}, ansible-core {version('ansible-core')}.",
        "",
        "| run | seconds | goal |",
        "| --- | ---: | --- |",
        f"| first | {first.wall:.0f} | |",
        f"| unchanged, median of {len(unchanged)} | {median.wall:.1f} | {GOAL:g}: "
        f"{'met' if median.wall <= GOAL else '**missed**'} |",
        "",
        "Where the unchanged run's time goes:",
        "",
        "| role | tasks | seconds | share |",
        "| --- | ---: | ---: | ---: |",
    ]
    for role, tasks in sorted(roles.items(), key=lambda item: -sum(task.seconds for task in item[1])):
        seconds = sum(task.seconds for task in tasks)
        lines.append(f"| {role} | {len(tasks)} | {seconds:.1f} | {seconds / total:.0%} |")
    lines += ["", "Its longest tasks:", "", "| role | task | seconds |", "| --- | --- | ---: |"]
    for task in sorted(median.tasks, key=lambda task: -task.seconds)[:LONGEST]:
        name = task.name.replace("|", r"\|")
        lines.append(f"| {task.role} | {name} | {task.seconds:.1f} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="make bench-stack", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="unchanged runs whose median counts")
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    try:
        first = measure(is_first=True)
        print(f"first {first.wall:.0f} s", flush=True)
        unchanged = []
        for _run in range(options.runs):
            unchanged.append(measure())
            print(f"unchanged {unchanged[-1].wall:.1f} s", flush=True)
    finally:
        run("remove.yaml")
    options.report.write_text(report(first, unchanged))


if __name__ == "__main__":
    main(sys.argv[1:])
