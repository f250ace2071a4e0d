# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The jobs that every tool submits, in each form that one of them takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.integration.conftest import SIMULATED

IMAGE = "example.com/trainer:1"
COMMAND = ["python3", "/train.py"]
CONTAINER = {"name": "tensorflow", "image": IMAGE, "command": COMMAND}
POD = {"nodeSelector": SIMULATED["node_selector"], "tolerations": SIMULATED["tolerations"]}


def names(count: int) -> list[str]:
    return [f"job-{number:04}" for number in range(count)]


def arguments(number: int) -> list[str]:
    """What sets the jobs of a sweep apart."""
    return ["--seed", str(number)]


def manifest(namespace: str, number: int, workers: int = 2, suspend: bool = True) -> dict[str, Any]:
    container = {**CONTAINER, "args": arguments(number)}
    template = {"spec": {**POD, "containers": [container]}}
    roles = {"Chief": 1, "Worker": workers} if workers else {"Worker": 1}
    replicas = {
        role: {"replicas": count, "restartPolicy": "Never", "template": template} for role, count in roles.items()
    }
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": f"job-{number:04}", "namespace": namespace},
        "spec": {"runPolicy": {"suspend": suspend}, "tfReplicaSpecs": replicas},
    }


def described(count: int) -> dict[str, Any]:
    """The same jobs as `manifest` makes, as options of tfjob."""
    return {
        "image": IMAGE,
        "command": COMMAND,
        "replicas": {"chief": {}, "worker": {"count": 2}},
        "run_policy": {"suspend": True},
        **SIMULATED,
        "jobs": [{"name": name, "args": arguments(number)} for number, name in enumerate(names(count))],
    }


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(documents: Any, path: Path, several: bool = False) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump_all(documents if several else [documents], stream, Dumper=_Dumper, explicit_start=True)
    return path


@dataclass(frozen=True)
class Jobs:
    """Some jobs for one namespace, with a directory for the files that tools read."""

    directory: Path
    namespace: str
    manifests: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The one job's name, where there is one."""
        return str(self.manifests[0]["metadata"]["name"])

    @property
    def yaml(self) -> Path:
        return dump(self.manifests, self.directory / "jobs.yaml", several=True)

    @property
    def lines(self) -> Path:
        """A JSON text a line, which is read fastest."""
        path = self.directory / "jobs.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in self.manifests), encoding="utf-8")
        return path
