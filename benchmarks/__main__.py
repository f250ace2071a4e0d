# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""`python -m benchmarks`: measures, keeps the results, writes the report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import measurements
from .cluster import Cluster
from .machine import commands, describe
from .processes import CHECKOUT
from .report import write
from .tools import CACHE, PING, SUBMITTERS, TOOLS, WAITERS, Bench, Tool, Waiter

SIZES = (1, 20, 100, 500, 1000)
# With these sizes memory is measured.
MEMORY_SIZES = (1, 500, 1000)
# From this number of jobs on, one run has to do.
LARGE = 1000


@dataclass(frozen=True)
class Choice:
    kubeconfig: Path
    kubectl: Path
    jobs: tuple[int, ...]
    only: tuple[str, ...]
    tools: tuple[str, ...]
    runs: int
    results: Path
    report: Path
    note: str

    def has(self, tool: Tool | Waiter) -> bool:
        return not self.tools or tool.name in self.tools


def chosen(arguments: Sequence[str]) -> Choice:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--kubectl", type=Path, help="the one beside the kubeconfig")
    parser.add_argument("--jobs", type=_numbers, default=SIZES, help="numbers of jobs, such as 20,100")
    parser.add_argument(
        "--only", type=_texts, default=tuple(MEASUREMENTS), help=f"some of {','.join(MEASUREMENTS)}; default: all"
    )
    parser.add_argument("--tools", type=_texts, default=(), help="some of the tools by name; default: all")
    parser.add_argument("--runs", type=int, default=3, help=f"runs whose median counts; one from {LARGE} jobs on")
    parser.add_argument("--results", type=Path, default=CACHE / "results.json", help="what is known from earlier runs")
    parser.add_argument("--report", type=Path, default=CHECKOUT / "docs" / "benchmarks.md")
    parser.add_argument("--note", default="", help="what the reader has to know of the circumstances")
    options = vars(parser.parse_args(arguments))
    options["kubectl"] = options["kubectl"] or options["kubeconfig"].parent / "bin" / "kubectl"
    known = {tool.name for tool in TOOLS}
    for option, allowed in (("only", set(MEASUREMENTS)), ("tools", known)):
        if unknown := set(options[option]) - allowed:
            parser.error(f"--{option}: there is no {', '.join(sorted(unknown))}; choose from {', '.join(allowed)}")
    return Choice(**options)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _texts(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


class Results(dict[str, dict[str, object]]):
    """By measurement and case; a measurement that is made again takes the place of the earlier one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(json.loads(path.read_text()) if path.exists() else {})

    def keep(self, measurement: str, case: str, record: object) -> None:
        latest = record[-1] if isinstance(record, list) else record
        print(f"{measurement:8} {case:35} {json.dumps(latest)[:200]}", flush=True)
        self.setdefault(measurement, {})[case] = record
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self, indent=1), encoding="utf-8")


def case(name: str, part: object) -> str:
    return f"{name} | {part}"


def submit(bench: Bench, choice: Choice, results: Results) -> None:
    results.keep("start", "idle", measurements.idle_requests(bench))
    for count in choice.jobs:
        tools = [tool for tool in SUBMITTERS if choice.has(tool) and count <= tool.most]
        records: dict[str, list[measurements.Record]] = {tool.name: [] for tool in tools}
        # Side by side: what slows the machine down for a while meets all.
        starts: list[float] = []
        for _ in range(1 if count >= LARGE else choice.runs):
            starts.append(measurements.start_of_ansible(bench).seconds)
            results.keep("start", case(PING, count), starts)
            for tool in tools:
                records[tool.name].append(measurements.submitted(bench, tool, count, tool.is_repeatable))
                results.keep("submit", case(tool.name, count), records[tool.name])


def notice(bench: Bench, choice: Choice, results: Results) -> None:
    for waiter in filter(choice.has, WAITERS):
        for state in ("Succeeded", "Failed"):
            fails = state == "Failed"
            is_in_vain = fails and not waiter.is_told_of_failure
            moments = measurements.MOMENTS[: 1 if is_in_vain else choice.runs]
            runs = [measurements.noticed(bench, waiter, fails, moment) for moment in moments]
            results.keep("notice", case(waiter.name, state), runs)


def memory(bench: Bench, choice: Choice, results: Results) -> None:
    results.keep("memory", case(PING, 1), measurements.memory(bench, None, 1))
    for count in sorted(set(MEMORY_SIZES) & set(choice.jobs)):
        for tool in SUBMITTERS:
            if choice.has(tool) and count <= tool.most:
                results.keep("memory", case(tool.name, count), measurements.memory(bench, tool, count))


def follow(bench: Bench, choice: Choice, results: Results) -> None:
    count = max(choice.jobs)
    results.keep("follow", str(count), measurements.followed(bench, count))


MEASUREMENTS: dict[str, Callable[[Bench, Choice, Results], None]] = {
    "submit": submit,
    "notice": notice,
    "memory": memory,
    "follow": follow,
}


def main(arguments: Sequence[str]) -> None:
    choice = chosen(arguments)
    bench = Bench(Cluster(choice.kubeconfig), str(choice.kubectl))
    results = Results(choice.results)
    measurements.warm_up(bench, [tool for tool in SUBMITTERS if choice.has(tool)])
    for name in choice.only:
        MEASUREMENTS[name](bench, choice, results)
    circumstances = {"Circumstances": choice.note} if choice.note else {}
    results.keep("machine", "facts", {**describe(bench), **circumstances})
    results.keep("machine", "commands", commands(bench))
    write(results, choice.report)


if __name__ == "__main__":
    main(sys.argv[1:])
