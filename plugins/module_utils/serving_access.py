# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The pod behind a Service: what the API server leads a connection to that is not HTTP."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import has_condition
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    core_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.served_model import (
    POLL_SECONDS,
    NotYetError,
    ServingError,
)


def wait_for_pod(client: KubeApi, namespace: str, service: str, port: str, timeout: float) -> tuple[str, int]:
    """Name and port of a pod behind the Service."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return find_pod(client, namespace, service, port)
        except NotYetError as error:
            if time.monotonic() >= deadline:
                raise ServingError(str(error)) from error
        time.sleep(POLL_SECONDS)


def find_pod(client: KubeApi, namespace: str, service: str, port: str) -> tuple[str, int]:
    try:
        spec = client.get(core_path(namespace, "services", service))["spec"]
        labels = spec.get("selector") or {}
        if not labels:
            raise ServingError(
                f"the Service {namespace}/{service} has no selector, so its pods are not known; use `url`"
            )
        target = _target_port(spec, namespace, service, port)
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        pods: list[Json] = client.get(pods_path(namespace), {"labelSelector": selector})["items"]
    except UnreachableError as error:
        raise NotYetError(str(error)) from error
    except ApiError as error:
        raise ServingError(f"the Service {namespace}/{service} cannot be used: {error.message}") from error
    running = [pod for pod in pods if _runs(pod)]
    if not running:
        raise NotYetError(f"the Service {namespace}/{service} leads to {len(pods)} pods, and none of them runs")
    # One that is not ready can still say why. The newest: while a Deployment is rolled out, the one that stays.
    pod = max(running, key=lambda candidate: (_is_ready(candidate), str(candidate["metadata"]["creationTimestamp"])))
    return pod["metadata"]["name"], target if isinstance(target, int) else _container_port(pod, target)


def _target_port(spec: Json, namespace: str, service: str, port: str) -> Any:
    for entry in spec.get("ports", []):
        if port in (entry.get("name"), str(entry["port"])):
            return entry.get("targetPort", entry["port"])
    known = ", ".join(str(entry.get("name") or entry["port"]) for entry in spec.get("ports", []))
    raise ServingError(f"port: the Service {namespace}/{service} has no port '{port}', only {known or 'none'}")


def _container_port(pod: Json, name: str) -> int:
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", []):
            if port.get("name") == name:
                return int(port["containerPort"])
    raise ServingError(f"the pod {pod['metadata']['name']} has no port named '{name}'")


def _runs(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def _is_ready(pod: Json) -> bool:
    return has_condition(pod, "Ready")
