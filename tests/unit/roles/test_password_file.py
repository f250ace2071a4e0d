"""A password is made once, for nobody else to read, and what was there before stays as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


def run_role(directory: Path, path: Path, *options: str) -> str:
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable, "password_file_path": str(path)},
        "tasks": [{"ansible.builtin.include_role": {"name": "mlstack.kubernetes.password_file"}}],
    }
    file = directory / "play.json"
    file.write_text(json.dumps([play]))
    run = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), str(file), "-vvv", "--diff", *options],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


def test_a_password_is_made_once_and_not_told(tmp_path: Path) -> None:
    path = tmp_path / "new" / "password"
    assert "changed=0" not in run_role(tmp_path, path, "--check")
    assert not path.parent.exists()
    output = run_role(tmp_path, path)
    password = path.read_text().strip()
    assert len(password) == 20
    assert password not in output
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert "changed=0" in run_role(tmp_path, path)
    assert path.read_text().strip() == password


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    run_role(tmp_path, shared / "password")
    assert shared.stat().st_mode & 0o777 == 0o755
