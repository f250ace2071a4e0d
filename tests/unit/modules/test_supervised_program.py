"""A program under runit, and the unit for systemd. Real processes where runit is installed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.modules.supervised_program import Runit, Systemd, ensure

needs_runit = pytest.mark.skipif(not shutil.which("runsv"), reason="runit is not installed")


@pytest.fixture
def params(tmp_path: Path) -> Iterator[dict[str, Any]]:
    (tmp_path / "settings").write_text("one")
    params = {
        "name": "example",
        "directory": str(tmp_path / "service"),
        "script": "#!/bin/sh\nexec sleep 1000\n",
        "watched": [str(tmp_path / "settings")],
        "state": "started",
        "stop_timeout": 5,
        "delegate": False,
        "log_size": 10000,
    }
    yield params
    ensure(Runit(params), {**params, "state": "absent"}, False)


def action(params: dict[str, Any], check_mode: bool = False, **changes: Any) -> str:
    wanted = {**params, **changes}
    return str(ensure(Runit(wanted), wanted, check_mode)["action"])


def pid(params: dict[str, Any], part: str = "") -> int:
    return int((Path(params["directory"]) / part / "supervise/pid").read_text())


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_check_mode_does_nothing(params: dict[str, Any]) -> None:
    assert action(params, check_mode=True) == "started"
    assert not Path(params["directory"]).exists()


@needs_runit
def test_second_run_changes_nothing(params: dict[str, Any]) -> None:
    assert action(params) == "started"
    before = pid(params)
    assert action(params) == "none"
    assert pid(params) == before


@needs_runit
@pytest.mark.parametrize("change", ["script", "watched", "state"])
def test_restarts(params: dict[str, Any], tmp_path: Path, change: str) -> None:
    action(params)
    before = pid(params)
    changes: dict[str, Any] = {}
    if change == "script":
        changes = {"script": "#!/bin/sh\nexec sleep 2000\n"}
    elif change == "state":
        changes = {"state": "restarted"}
    else:
        (tmp_path / "settings").write_text("two")
    assert action(params, check_mode=True, **changes) == "restarted"
    assert pid(params) == before
    assert action(params, **changes) == "restarted"
    assert pid(params) != before
    assert not alive(before)


@needs_runit
def test_removal_ends_program_and_logger(params: dict[str, Any]) -> None:
    action(params)
    processes = [pid(params), pid(params, "log")]
    assert all(alive(process) for process in processes)
    assert action(params, state="absent") == "removed"
    assert not any(alive(process) for process in processes)
    assert not Path(params["directory"]).exists()
    assert action(params, state="absent") == "none"


@needs_runit
@pytest.mark.parametrize("state", ["started", "absent"])
def test_killed_supervisor_leaves_no_orphans(params: dict[str, Any], state: str) -> None:
    action(params)
    processes = [pid(params), pid(params, "log")]
    supervisor = int(Path(f"/proc/{processes[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while alive(supervisor) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert action(params, state=state) == ("started" if state == "started" else "removed")
    assert not any(alive(process) for process in processes)


@needs_runit
def test_program_that_ignores_sigterm_is_killed(params: dict[str, Any]) -> None:
    action(params, script="#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n", stop_timeout=1)
    before = pid(params)
    time.sleep(0.5)
    assert action(params, state="absent", stop_timeout=1) == "removed"
    assert not alive(before)


def test_record_of_a_number_that_was_given_again_is_not_believed(params: dict[str, Any], tmp_path: Path) -> None:
    record = tmp_path / "pid"
    record.write_text(str(os.getpid()))
    service = Runit(params)
    os.utime(record, (0, 0))
    assert not service.started_with(os.getpid(), str(record))


def test_unit_restarts_the_script_and_ends_all_its_processes(params: dict[str, Any]) -> None:
    service = Systemd(params)
    unit = service.files["/etc/systemd/system/example.service"].splitlines()
    assert f"ExecStart={params['directory']}/run" in unit
    assert {"Restart=always", "KillMode=control-group", "TimeoutStopSec=5"} <= set(unit)
    assert "Delegate=yes" not in unit
    assert "Delegate=yes" in Systemd({**params, "delegate": True}).files[service.path]
