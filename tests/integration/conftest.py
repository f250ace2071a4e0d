"""The modules as a user runs them, against the cluster whose kubeconfig MLSTACK_TEST_KUBECONFIG names.

It has the training operator, Volcano, simulated nodes (label `type: kwok`, taint `kwok.x-k8s.io/node=fake`) whose pods
run without doing anything, and at least one real node.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

CHECKOUT = Path(__file__).resolve().parents[2]
VARIABLE = "MLSTACK_TEST_KUBECONFIG"
SIMULATED = {
    "node_selector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}],
}


def pytest_configure() -> None:
    if not os.environ.get(VARIABLE):
        # Not a skip: tests that test nothing must not look like success.
        raise pytest.UsageError(f"{VARIABLE} does not name the kubeconfig of a cluster to test on.")


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    return os.environ[VARIABLE]


@pytest.fixture(scope="session")
def core(kubeconfig: str) -> client.CoreV1Api:
    config.load_kube_config(kubeconfig)
    return client.CoreV1Api()


@pytest.fixture(scope="session")
def custom(core: client.CoreV1Api) -> client.CustomObjectsApi:
    return client.CustomObjectsApi()


@pytest.fixture
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    name = f"mlstack-test-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    # Its service account comes a moment later, and pods need it.
    wait_for(lambda: core.list_namespaced_service_account(name).items)
    yield name
    core.delete_namespace(name)


def wait_for(what: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (result := what()):
        assert time.monotonic() < end, f"{what} did not come true within {seconds} seconds"
        time.sleep(0.1)
    return result


class Task:
    """The outcome of one task of a playbook."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.name = task["task"]["name"]
        self.result = task["hosts"]["localhost"]
        duration = task["task"]["duration"]
        self.end = datetime.datetime.fromisoformat(duration["end"]).timestamp()
        self.seconds = self.end - datetime.datetime.fromisoformat(duration["start"]).timestamp()

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    def __getitem__(self, key: str) -> Any:
        return self.result[key]


class Playbook:
    """A playbook that runs while the test does something else."""

    def __init__(self, home: Path, *arguments: str | Path) -> None:
        environment = {
            **os.environ,
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_HOME": str(home),
            "HOME": str(home),
        }
        for name in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG"):
            environment.pop(name, None)
        self._begin = time.monotonic()
        self._process = subprocess.Popen(
            [Path(sys.executable).parent / "ansible-playbook", "--diff", *arguments],
            cwd=CHECKOUT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.seconds = 0.0

    def finish(self, timeout: float = 240) -> list[Task]:
        try:
            output, errors = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        self.seconds = time.monotonic() - self._begin
        try:
            plays = json.loads(output)["plays"]
        except ValueError as error:
            raise AssertionError(f"No result: {output}\n{errors}") from error
        return [Task(task) for play in plays for task in play["tasks"]]


@pytest.fixture
def start(tmp_path: Path, kubeconfig: str) -> Callable[..., Playbook]:
    """Starts a playbook; `defaults` replace the kubeconfig of the test cluster."""

    def start(*tasks: dict[str, Any], defaults: dict[str, Any] | None = None) -> Playbook:
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
            "module_defaults": {
                "group/mlstack.kubernetes.k8s": {"kubeconfig": kubeconfig} if defaults is None else defaults
            },
            "tasks": list(tasks),
        }
        path = tmp_path / f"{len(list(tmp_path.glob('*.yaml')))}.yaml"
        path.write_text(yaml.safe_dump([play]))
        return Playbook(tmp_path, "-i", "localhost,", path)

    return start


class Kubelet:
    """Ends the containers of pods on simulated nodes."""

    def __init__(self, core: client.CoreV1Api, namespace: str) -> None:
        self._core = core
        self._namespace = namespace

    def pods(self, job: str) -> dict[str, Any]:
        found = self._core.list_namespaced_pod(self._namespace).items
        return {pod.metadata.name: pod for pod in found if pod.metadata.owner_references[0].name == job}

    def wait_until_running(self, job: str, count: int) -> None:
        wait_for(lambda: [pod.status.phase for pod in self.pods(job).values()] == ["Running"] * count, 60)

    def end(self, pod: str, exit_code: int = 0, reason: str | None = None) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        terminated = {
            "exitCode": exit_code,
            "reason": reason or ("Error" if exit_code else "Completed"),
            "startedAt": now,
            "finishedAt": now,
        }
        status = self._core.read_namespaced_pod(pod, self._namespace).status
        containers = [
            {
                "name": container.name,
                "image": container.image,
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": terminated},
            }
            for container in status.container_statuses
        ]
        phase = "Failed" if exit_code else "Succeeded"
        self._core.patch_namespaced_pod_status(
            pod, self._namespace, {"status": {"phase": phase, "containerStatuses": containers}}
        )


@pytest.fixture
def kubelet(core: client.CoreV1Api, namespace: str) -> Kubelet:
    return Kubelet(core, namespace)
