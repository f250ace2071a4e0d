"""The examples' cluster of local processes: who is started, and what ends when one fails."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "tensorflow"
PROGRAM = """
import json, os, pathlib, sys, time
sys.path.append({examples!r})
from local_cluster import run_local_cluster
if "TF_CONFIG" not in os.environ:
    sys.exit(run_local_cluster({{"chief": 1, "worker": 2}}))
config = json.loads(os.environ["TF_CONFIG"])
task = config["task"]
pathlib.Path(f"{{task['type']}}-{{task['index']}}.json").write_text(json.dumps(config["cluster"]))
{body}
"""


def run(directory: Path, body: str) -> int:
    program = directory / "program.py"
    program.write_text(PROGRAM.format(examples=str(EXAMPLES), body=body))
    return subprocess.run([sys.executable, str(program)], cwd=directory, timeout=30).returncode


def test_every_task_runs_once_and_sees_the_same_cluster(tmp_path: Path) -> None:
    assert run(tmp_path, "") == 0
    clusters = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert sorted(clusters) == ["chief-0", "worker-0", "worker-1"]
    assert clusters["chief-0"] == clusters["worker-0"] == clusters["worker-1"]
    addresses = [address for job in clusters["chief-0"].values() for address in job]
    assert len(set(addresses)) == 3


def test_a_failed_task_stops_the_others(tmp_path: Path) -> None:
    started = time.monotonic()
    assert run(tmp_path, "sys.exit(3) if task['type'] == 'chief' else time.sleep(60)") == 3
    assert time.monotonic() - started < 20
