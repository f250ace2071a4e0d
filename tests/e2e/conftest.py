"""The stack as its users run it, on an instance of its own (inventories/test), with real containers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORY = CHECKOUT / "inventories/test/hosts.ini"
HOME = Path("/var/lib/mlstack-test")
NODE = "mlstack-test-node-1"
PICTURES = CHECKOUT / "tests/output"


@dataclass(frozen=True)
class Run:
    """One run of ansible-playbook."""

    status: int
    output: str

    @property
    def words(self) -> str:
        """The output with each break of a line as one blank: long messages are wrapped."""
        return " ".join(self.output.split())

    @property
    def recap(self) -> dict[str, int]:
        """Counts of the last line of the recap, such as {"ok": 12, "changed": 0, "failed": 0}."""
        line = [line for line in self.output.splitlines() if re.match(r"localhost +: ok=", line)][-1]
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}

    @property
    def changed(self) -> list[str]:
        """The names of the tasks that changed something."""
        task, names = "", []
        for line in self.output.splitlines():
            if line.startswith("TASK ["):
                task = line
            elif line.startswith("changed:"):
                names.append(task)
        return names


def start_playbook(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(INVENTORY), *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = 3000) -> Run:
    output, _errors = process.communicate(timeout=timeout)
    print(output)
    return Run(process.returncode, output)


def playbook(*arguments: str) -> Run:
    return finish(start_playbook(*arguments))


def kubectl(*arguments: str) -> str:
    programs = HOME / "local_cluster/mlstack-test"
    command = [programs / "bin/kubectl", f"--kubeconfig={programs / 'admin.kubeconfig'}", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def processes_of(*words: str) -> list[int]:
    """Processes whose command line contains all words, on any node of the test cluster."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if all(word in command for word in words):
                found.append(int(entry.name))
    return sorted(found)


@contextmanager
def forwarded(target: str, port: int) -> Iterator[str]:
    """The address on this machine of a port of a Service, by the port forward that the roles' READMEs name."""
    programs = HOME / "local_cluster/mlstack-test"
    with subprocess.Popen(
        [
            programs / "bin/kubectl",
            f"--kubeconfig={programs / 'admin.kubeconfig'}",
            "port-forward",
            target,
            f":{port}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", said)
            assert found, said
            yield f"http://{found[0]}"
        finally:
            process.terminate()


@contextmanager
def page_in_browser(name: str) -> Iterator[Any]:
    """A page of a real browser; what it shows at the end, whatever that is, is kept as tests/output/<name>.png."""
    browser_api = pytest.importorskip("playwright.sync_api")
    subprocess.run(
        ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
    )
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        try:
            yield page
        finally:
            page.screenshot(path=PICTURES / f"{name}.png")
            browser.close()


def wait_for(what: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"{what} did not come true within {seconds} seconds"
        time.sleep(0.3)


def pytest_configure() -> None:
    """Make the collection's Python modules importable from the checkout, as Ansible itself does it."""
    finder = _AnsibleCollectionFinder(paths=[str(CHECKOUT / ".collections")])
    # Only one finder may be installed; another conftest or plugin may have come first.
    finder._remove()
    finder._install()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is left behind is looked at when all else is done with the stack."""
    items.sort(key=lambda item: item.path.name == "test_removal.py")


@pytest.fixture(scope="session")
def stack() -> Run:
    """The whole playbook's first run; later fixtures and tests build on it."""
    run = playbook("playbooks/ai.yaml")
    assert run.status == 0, "the stack's first run failed, see its output above"
    return run
