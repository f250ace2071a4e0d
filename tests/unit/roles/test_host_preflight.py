"""The role host_preflight on several hosts: one table, a verdict for each, and a report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    inventory = directory / "hosts.ini"
    inventory.write_text(
        "[gpu_nodes]\nfit\nfull host_preflight_disk='{\"/\": 1000000}'\n[all:vars]\nansible_connection=local\n"
        "ansible_python_interpreter='{{ ansible_playbook_python }}'\nhost_preflight_disk={}\n"
        "host_preflight_swap_allowed=true\nhost_preflight_memory=0.1\nhost_preflight_cpus=1\n"
    )
    return subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            inventory,
            "playbooks/host_preflight.yaml",
            *arguments,
        ],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_table_and_a_failure_for_the_host_that_is_not_fit(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    ran = run(tmp_path, "-e", f"host_preflight_report={report}")
    assert ran.returncode == 2, ran.stdout + ran.stderr
    words = " ".join(ran.stdout.split())
    assert "full: refused" in words
    assert "full is not fit. refused: disk /: " in words
    assert "fit: ok" in words or "fit: warning" in words
    assert "fit is not fit" not in words
    found = json.loads(report.read_text())
    assert (sorted(found), found["full"]["verdict"]) == (["fit", "full"], "refused")
    assert {"name", "status", "found", "cure"} == set(found["fit"]["checks"][0])


def test_it_may_only_tell(tmp_path: Path) -> None:
    ran = run(tmp_path, "--check", "-e", "host_preflight_fails=false")
    assert ran.returncode == 0, ran.stdout + ran.stderr
