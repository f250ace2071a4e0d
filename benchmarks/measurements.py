# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What is measured, each as a plain record that the report is written from."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.conftest import Kubelet, Task
from tests.integration.jobs import KINDS
from tests.integration.test_waiting import Witness

from .jobs import Jobs, manifest
from .processes import Ended, Running, run
from .tools import FOLLOW, PATIENCE, Bench, Tool, Waiter, ping

Record = dict[str, Any]

# Seconds in which every tool has come to the point where it waits.
START_SECONDS = 5.0
# Where in a polling interval the job ends, from one round to the next.
MOMENTS = (0.5, 0.1, 0.9)
FOLLOW_SECONDS = 60.0
SUBMITTED = "Suspended"


@contextlib.contextmanager
def fresh(bench: Bench, count: int, **options: Any) -> Iterator[Jobs]:
    with tempfile.TemporaryDirectory(prefix="mlstack-bench-") as directory, bench.cluster.namespace() as namespace:
        yield Jobs(Path(directory), namespace, [manifest(namespace, number, **options) for number in range(count)])


def start_of_ansible(bench: Bench, with_memory: bool = False) -> Ended:
    with tempfile.TemporaryDirectory(prefix="mlstack-bench-") as directory:
        return run(ping(Path(directory)), bench.environment, Path(directory) / "log", with_memory)


def warm_up(bench: Bench, tools: Iterable[Tool]) -> None:
    """Nobody's first run counts: discovery is cached, Python's modules are compiled."""
    start_of_ansible(bench)
    for tool in tools:
        submitted(bench, tool, 1, runs_again=False)


def submitted(bench: Bench, tool: Tool, count: int, runs_again: bool, with_memory: bool = False) -> Record:
    """Seconds of the first run and of the identical second one, with the second one's requests."""
    bench.cluster.wait_for_rest()
    with fresh(bench, count) as jobs:
        command, log = tool.command(bench, jobs), jobs.directory / "log"
        first = run(command, bench.environment, log, with_memory)
        made = bench.cluster.conditions(jobs.namespace)[""]
        if made != count:
            raise RuntimeError(f"{tool.name} has made {made} jobs instead of {count}:\n{first.output[-3000:]}")
        record: Record = {"memory": first.peak} if with_memory else {"first": first.seconds}
        # The operator has its own work with new jobs, which is not to slow down what comes next.
        bench.cluster.wait_for_condition(jobs.namespace, SUBMITTED, count)
        if runs_again:
            bench.cluster.wait_for_rest()
            before = bench.cluster.requests()
            record["second"] = run(command, bench.environment, log).seconds
            requests = bench.cluster.requests().since(before)
            record["requests"] = requests.by_verb("tfjobs")
            record["dry_runs"] = requests.by_verb("pods").get("POST (dry run)", 0)
            record["all_requests"] = sum(requests.values())
        return record


def idle_requests(bench: Bench, seconds: float = 10.0) -> float:
    """Requests a second that the cluster makes of itself."""
    bench.cluster.wait_for_rest()
    before = bench.cluster.requests()
    time.sleep(seconds)
    return sum(bench.cluster.requests().since(before).values()) / seconds


def noticed(bench: Bench, waiter: Waiter, fails: bool, moment: float) -> Record:
    """Seconds from the job's terminal status in the API server to the tool's answer and to its exit.

    None where it has not noticed while it had patience.
    """
    cluster = bench.cluster
    with fresh(bench, 1, workers=1, suspend=False) as jobs:
        kubelet = Kubelet(cluster.core, jobs.namespace)
        cluster.create(jobs.namespace, jobs.manifests[0])
        kubelet.wait_until_running(jobs.name, 2)
        environment = {**bench.environment, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
        process = Running(waiter.command(bench, jobs), environment, jobs.directory / "log")
        try:
            time.sleep(START_SECONDS + waiter.interval * moment)
            if process.is_over:
                raise RuntimeError(f"{waiter.name} has not waited:\n{process.finish().output[-3000:]}")
            witness = Witness(cluster.custom, jobs.namespace, KINDS[0], jobs.name)
            kubelet.end(f"{jobs.name}-chief-0", int(fails))
            ended = process.finish()
        finally:
            process.stop()
    if not witness.time:
        raise RuntimeError(f"The job that {waiter.name} waits for has not ended.")
    if ended.seconds > PATIENCE and not waiter.interval > PATIENCE:
        return {"answer": None, "exit": None}
    return {"answer": _answer(ended) - witness.time, "exit": ended.end - witness.time}


def _answer(ended: Ended) -> float:
    """When the tool itself says that it has its result: before the end of its process, where it says so at all."""
    start = ended.output.find("{")
    with contextlib.suppress(ValueError):
        told, _end = json.JSONDecoder().raw_decode(ended.output[max(start, 0) :])
        return float(told["returned"]) if "returned" in told else Task(told["plays"][0]["tasks"][0]).end
    return ended.end


def followed(bench: Bench, count: int) -> Record:
    """Memory (KiB) of tfjob that follows `count` running jobs, at five moments of a minute."""
    with bench.cluster.room_for(count), fresh(bench, count, workers=0, suspend=False) as jobs:
        process = Running(FOLLOW(bench, jobs), bench.environment, jobs.directory / "log")
        try:
            bench.cluster.wait_for_condition(jobs.namespace, "Running", count)
            time.sleep(START_SECONDS)
            looks = []
            end = time.monotonic() + FOLLOW_SECONDS
            while time.monotonic() < end:
                looks.append(process.memory())
                time.sleep(1)
            if process.is_over:
                raise RuntimeError(f"tfjob has not waited:\n{process.finish().output[-3000:]}")
        finally:
            process.stop()
    quarter = (len(looks) - 1) // 4
    return {"looks": looks[:: quarter or 1][:5], "peak": max(looks)}


def memory(bench: Bench, tool: Tool | None, count: int) -> int:
    if tool is None:
        return start_of_ansible(bench, with_memory=True).peak
    return int(submitted(bench, tool, count, runs_again=False, with_memory=True)["memory"])
