# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A program from its start to its end: how long it takes, and how much memory it and its children hold."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
BETWEEN_LOOKS = 0.05
LONGEST = 580.0


def run_playbook(inventory: Path, playbook: Path, *arguments: str, **environment: str) -> str:
    """What a playbook prints. The benchmark ends with that where it fails."""
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            f"--inventory={inventory}",
            str(playbook),
            *arguments,
        ],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if run.returncode != 0:
        sys.exit(f"{run.stdout}\n{playbook} failed, see above.")
    return run.stdout


@dataclass(frozen=True)
class Ended:
    seconds: float
    # time.time() at which the process was gone.
    end: float
    status: int
    output: str
    # Largest proportional set size (KiB) of the whole tree; 0 where nobody looked.
    peak: int


class Running:
    """A process whose output goes into a file, as a pipe would have to be emptied."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.command = command
        self._log = log
        self._begin = time.monotonic()
        with log.open("w") as stream:
            self._process = subprocess.Popen(
                command, cwd=CHECKOUT, env=dict(environment), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def memory(self) -> int:
        return memory_of_tree(self._process.pid)

    def finish(self, look: Callable[[], int] | None = None) -> Ended:
        peak = 0
        try:
            while look and not self.is_over:
                peak = max(peak, look())
                time.sleep(BETWEEN_LOOKS)
            self._process.wait(LONGEST)
        finally:
            self.stop()
        seconds, end = time.monotonic() - self._begin, time.time()
        return Ended(seconds, end, self._process.returncode, self._log.read_text(errors="replace"), peak)

    def stop(self) -> None:
        if not self.is_over:
            self._process.terminate()
            self._process.wait()


def run(command: list[str], environment: Mapping[str, str], log: Path, with_memory: bool = False) -> Ended:
    process = Running(command, environment, log)
    ended = process.finish(process.memory if with_memory else None)
    if ended.status:
        raise RuntimeError(f"{' '.join(command)} ended with status {ended.status}:\n{ended.output[-3000:]}")
    return ended


def memory_of_tree(pid: int) -> int:
    """KiB. Pages that processes share are counted once, in equal parts."""
    return sum(_memory(one) for one in _tree(pid))


def _tree(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(found for child in children for found in _tree(child))]


def _memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
