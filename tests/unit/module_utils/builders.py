"""Jobs, pods and events for tests, with only what matters said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB

NOW = "2026-01-02T03:04:05Z"
FIXTURES = Path(__file__).parent / "fixtures"


def manifest(name: str) -> Any:
    return yaml.safe_load((FIXTURES / f"{name}.yaml").read_text())


def tf_params(**params: Any) -> dict[str, Any]:
    return {
        "name": "mnist",
        "namespace": "default",
        "image": "registry.example.com/trainer:1",
        "replicas": {"chief": {"count": 1}, "ps": {"count": 1}, "worker": {"count": 2}},
        **params,
    }


def tf_job(uid: str = "uid-1", conditions: tuple[str, ...] = (), **params: Any) -> dict[str, Any]:
    job = TFJOB.build(tf_params(**params))
    job["metadata"].update(uid=uid, creationTimestamp=NOW)
    if conditions:
        job["status"] = {
            "conditions": [
                {"type": kind, "status": "True", "reason": f"TFJob{kind}", "message": f"It is {kind}."}
                for kind in conditions
            ]
        }
    return job


def pod(name: str, state: dict[str, Any] | None = None, owner: str = "uid-1", **extra: Any) -> dict[str, Any]:
    """A pod of a TFJob; `state` is that of its training container."""
    status: dict[str, Any] = {"phase": extra.pop("phase", "Running")}
    if state is not None:
        restarts = extra.pop("restarts", 0)
        status["containerStatuses"] = [
            {
                "name": "tensorflow",
                "state": state,
                "restartCount": restarts,
                "lastState": extra.pop("last_state", {}),
            }
        ]
    status.update(extra.pop("status", {}))
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"pod-{name}",
            "ownerReferences": [{"uid": owner}],
            "labels": {"training.kubeflow.org/job-name": name.rsplit("-", 2)[0]},
            **extra.pop("metadata", {}),
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "tensorflow"}], **extra.pop("spec", {})},
        "status": status,
    }


def running() -> dict[str, Any]:
    return {"running": {"startedAt": NOW}}


def ended(code: int = 0, reason: str | None = None) -> dict[str, Any]:
    reason = reason or ("Error" if code else "Completed")
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": NOW, "finishedAt": NOW}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def event(reason: str, message: str, uid: str, name: str = "mnist-chief-0", count: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}.{reason}"},
        "reason": reason,
        "message": message,
        "count": count,
        "lastTimestamp": NOW,
        "involvedObject": {"uid": uid, "name": name},
    }
