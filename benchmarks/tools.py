# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The tools that are compared, as the commands that a user would give."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cluster import Cluster
from .jobs import Jobs, described, dump
from .processes import CHECKOUT

CLIENTS = Path(__file__).parent / "clients"
CACHE = CHECKOUT / ".cache" / "benchmarks"
SDK_PYTHON = CACHE / "venv" / "bin" / "python"
PING = "ansible-playbook (ping)"
TFJOB = "tfjob (src)"
# Of those that wait and are not told of a failure.
PATIENCE = 30


@dataclass(frozen=True)
class Bench:
    cluster: Cluster
    kubectl: str

    @property
    def environment(self) -> dict[str, str]:
        """The same for all: the checkout's ansible.cfg, and caches (discovery, compiled Python) that are kept."""
        home = CACHE / "home"
        home.mkdir(parents=True, exist_ok=True)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE_", "K8S_AUTH_", "PYTHON"))
        }
        kubeconfig = str(self.cluster.kubeconfig)
        return {
            **inherited,
            "HOME": str(home),
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "KUBECONFIG": kubeconfig,
            "K8S_AUTH_KUBECONFIG": kubeconfig,
        }


Command = Callable[[Bench, Jobs], list[str]]


@dataclass(frozen=True)
class Tool:
    name: str
    command: Command
    # Whether it can be run a second time on the same jobs.
    is_repeatable: bool = True
    # The largest number of jobs that it is asked to submit.
    most: int = 1000


def playbook(directory: Path, *tasks: dict[str, Any], **variables: Any) -> list[str]:
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}", **variables},
        "tasks": list(tasks),
    }
    path = dump([play], directory / "playbook.yaml")
    return [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(path)]


def ping(directory: Path) -> list[str]:
    return playbook(directory, {"ansible.builtin.ping": {}})


def _raw(bench: Bench, jobs: Jobs) -> list[str]:
    settings, path = bench.cluster.settings, bench.cluster.jobs_path(jobs.namespace)
    address = settings.host.removeprefix("https://")
    certificates = [settings.ssl_ca_cert, settings.cert_file, settings.key_file]
    return [sys.executable, str(CLIENTS / "raw.py"), address, *certificates, path, str(jobs.lines)]


def _kubectl(verb: str) -> Command:
    return lambda bench, jobs: [bench.kubectl, verb, "-f", str(jobs.yaml)]


def _sdk(bench: Bench, jobs: Jobs, action: str, subject: str) -> list[str]:
    kubeconfig = str(bench.cluster.kubeconfig)
    return [str(SDK_PYTHON), str(CLIENTS / "sdk.py"), kubeconfig, jobs.namespace, action, subject]


def _module(name: str, **options: Any) -> Command:
    return lambda _bench, jobs: playbook(jobs.directory, {name: {"src": str(jobs.yaml), **options}})


def _tfjob_by_options(_bench: Bench, jobs: Jobs) -> list[str]:
    options = {"namespace": jobs.namespace, "wait": False, **described(len(jobs.manifests))}
    return playbook(jobs.directory, {"mlstack.kubernetes.tfjob": options})


def _k8s_by_list(_bench: Bench, jobs: Jobs) -> list[str]:
    return playbook(jobs.directory, {"kubernetes.core.k8s": {"definition": jobs.manifests}})


def _k8s_by_loop(_bench: Bench, jobs: Jobs) -> list[str]:
    task = {"kubernetes.core.k8s": {"definition": "{{ item }}"}, "loop": "{{ manifests }}"}
    return playbook(
        jobs.directory, {**task, "loop_control": {"label": "{{ item.metadata.name }}"}}, manifests=jobs.manifests
    )


# None of them waits for the operator to take notice.
SUBMITTERS = [
    Tool("raw client", _raw, is_repeatable=False),
    Tool("kubectl create", _kubectl("create"), is_repeatable=False),
    Tool("kubectl apply", _kubectl("apply")),
    Tool("SDK", lambda bench, jobs: _sdk(bench, jobs, "submit", str(jobs.lines)), is_repeatable=False),
    Tool("k8s (src)", _module("kubernetes.core.k8s")),
    Tool("k8s (list)", _k8s_by_list),
    Tool("k8s (loop)", _k8s_by_loop, most=20),
    Tool(TFJOB, _module("mlstack.kubernetes.tfjob", wait=False)),
    Tool("tfjob (src) no preflight", _module("mlstack.kubernetes.tfjob", wait=False, preflight=False)),
    Tool("tfjob (jobs)", _tfjob_by_options),
]


@dataclass(frozen=True)
class Waiter:
    name: str
    command: Command
    # Seconds between its looks, 0 where it is told of changes.
    interval: float = 0
    # Whether it knows of failures.
    is_told_of_failure: bool = True


def _kubectl_wait(bench: Bench, jobs: Jobs) -> list[str]:
    condition = ["--for=condition=Succeeded", f"--timeout={PATIENCE}s"]
    return [bench.kubectl, "wait", "-n", jobs.namespace, f"tfjob/{jobs.name}", *condition]


_K8S_WAIT = {"wait": True, "wait_condition": {"type": "Succeeded", "status": "True"}, "wait_timeout": PATIENCE}
WAITERS = [
    Waiter("tfjob", _module("mlstack.kubernetes.tfjob")),
    Waiter("kubectl wait", _kubectl_wait, is_told_of_failure=False),
    Waiter("k8s (wait_condition)", _module("kubernetes.core.k8s", **_K8S_WAIT), interval=5, is_told_of_failure=False),
    Waiter("SDK", lambda bench, jobs: _sdk(bench, jobs, "wait", jobs.name), interval=15),
]
TOOLS: list[Tool | Waiter] = [*SUBMITTERS, *WAITERS]
FOLLOW = _module("mlstack.kubernetes.tfjob", wait_timeout=3600)
