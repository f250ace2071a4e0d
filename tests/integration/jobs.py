"""The kinds of jobs, small and on simulated nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .conftest import SIMULATED


@dataclass(frozen=True)
class Kind:
    kind: str
    module: str
    plural: str
    leader: str
    api: tuple[str, str] = ("kubeflow.org", "v1")

    def task(self, name: str, namespace: str, **options: Any) -> dict[str, Any]:
        """A task with one leader and two workers, unless the options say something else."""
        options = {
            "image": "example.com/trainer:1",
            "replicas": {self.leader: {"count": 1}, "worker": {"count": 2}},
            **SIMULATED,
            **options,
        }
        keywords = {key: options.pop(key) for key in ("check_mode",) if key in options}
        return {
            "name": f"{self.module} {name}",
            f"mlstack.kubernetes.{self.module}": {"name": name, "namespace": namespace, **options},
            **keywords,
        }

    def removal(self, name: str, namespace: str, **keywords: Any) -> dict[str, Any]:
        return {
            "name": f"{self.module} {name} absent",
            f"mlstack.kubernetes.{self.module}": {"name": name, "namespace": namespace, "state": "absent"},
            **keywords,
        }


KINDS = [
    Kind("TFJob", "tfjob", "tfjobs", "chief"),
    Kind("PyTorchJob", "pytorchjob", "pytorchjobs", "master"),
    Kind("VolcanoJob", "volcano_job", "jobs", "chief", ("batch.volcano.sh", "v1alpha1")),
]
