# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Pods on every node that prove something: which nodes take them, how they end, and what they print."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    as_dict,
    as_list,
    conditions_of,
    has_condition,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json, KubeApi, pods_path
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import CONTAINER_REASONS, IMAGE_REASONS
from ansible_collections.mlstack.kubernetes.plugins.module_utils.watch import Picture, Source

# The annotation of nodes on which no container runs.
SIMULATED = "kwok.x-k8s.io/node"
LOG_SECONDS = 10.0
NOTHING_PRINTED = "it printed nothing"


@dataclass
class Nodes:
    """The nodes of a cluster, by name; of those that take no pods the reason."""

    able: list[str] = field(default_factory=list)
    # From which nothing is to be proved.
    left_out: dict[str, str] = field(default_factory=dict)
    # From which something should be proved, and cannot.
    broken: dict[str, str] = field(default_factory=dict)


def see_nodes(api: KubeApi) -> Nodes:
    nodes = Nodes()
    for node in as_list(api.get("/api/v1/nodes", {}).get("items")):
        _sort_in(nodes, node)
    return nodes


def _sort_in(nodes: Nodes, node: Json) -> None:
    metadata, spec = node["metadata"], as_dict(node.get("spec"))
    name = metadata["name"]
    system = as_dict(metadata.get("labels")).get("kubernetes.io/os", "linux")
    ready = conditions_of(node).get("Ready", {})
    if SIMULATED in as_dict(metadata.get("annotations")):
        nodes.left_out[name] = "simulated"
    elif system != "linux":
        nodes.left_out[name] = f"runs {system}"
    elif spec.get("unschedulable"):
        nodes.left_out[name] = "cordoned"
    elif ready.get("status") != "True":
        nodes.broken[name] = f"the node is not ready ({ready.get('message') or 'it has never been'})"
    else:
        nodes.able.append(name)


def trouble_of(pod: Json) -> str:
    """Why a pod is not ready; empty where it is."""
    status = as_dict(pod.get("status"))
    if has_condition(pod, "Ready"):
        return ""
    for container in as_list(status.get("containerStatuses")):
        waiting = as_dict(as_dict(container.get("state")).get("waiting"))
        if waiting.get("reason"):
            return _joined(waiting)
    scheduled = conditions_of(pod).get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return _joined(scheduled)
    return _joined(status) or str(status.get("phase") or "not ready")


def _joined(state: Json) -> str:
    return ": ".join(str(state[key]) for key in ("reason", "message") if state.get(key))


def pod_on(node: str, name: str, container: Json, volumes: list[Json], run_as_user: int | None) -> Json:
    """A pod without any rights; `container` says the image, command, environment and mounts."""
    return {
        "metadata": {"name": name},
        "spec": {
            # Not by the scheduler: the question is the node, not whether it has room. Every taint is borne, since pods
            # for GPUs bear those of their nodes too.
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                **({} if run_as_user is None else {"runAsUser": run_as_user, "runAsGroup": run_as_user}),
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    **container,
                }
            ],
            "volumes": volumes,
        },
    }


def delete_pods(api: KubeApi, namespace: str, query: Mapping[str, str]) -> None:
    """Delete the pods of a proof at once, also what an interrupted one has left."""
    for pod in as_list(api.get(pods_path(namespace), dict(query)).get("items")):
        try:
            api.delete(pods_path(namespace, pod["metadata"]["name"]), grace=0)
        except ApiError as error:
            if error.status != 404:
                raise


def await_end(
    api: KubeApi, namespace: str, count: int, timeout: float, query: Mapping[str, str] | None = None
) -> list[Json]:
    """The pods as they are when `count` of them have ended or cannot begin, or when `timeout` seconds are over."""
    with Picture(api, {"pods": Source(pods_path(namespace), dict(query or {}))}) as picture:
        pods = picture.objects["pods"]
        for _changes in picture.updates(time.monotonic() + timeout):
            if len(pods) >= count and all(map(_is_over, pods.values())):
                break
        return list(pods.values())


def _is_over(pod: Json) -> bool:
    if as_dict(pod.get("status")).get("phase") in ("Succeeded", "Failed"):
        return True
    reason = trouble_of(pod).partition(":")[0]
    # The first failure of a pull may be a passing one.
    return reason != "ErrImagePull" and reason in (*IMAGE_REASONS, *CONTAINER_REASONS)


def log_of(api: KubeApi, namespace: str, pod: Json, timeout: float) -> tuple[list[str], str]:
    """The lines that a pod printed, and in words why it has not come to a good end; empty where it has."""
    phase = as_dict(pod.get("status")).get("phase")
    if phase not in ("Succeeded", "Failed"):
        return [], f"the probe did not begin within {timeout:g} s ({trouble_of(pod)})"
    if phase == "Failed" and not as_list(as_dict(pod.get("status")).get("containerStatuses")):
        return [], f"the node refused the probe ({trouble_of(pod)})"
    lines = api.lines(f"{pods_path(namespace, pod['metadata']['name'])}/log", {}, LOG_SECONDS)
    try:
        log = [line for line in lines if line.strip()]
    finally:
        lines.close()
    return log, f"the probe failed ({log[-1] if log else NOTHING_PRINTED})" if phase == "Failed" else ""


def told_by(api: KubeApi, namespace: str, pod: Json, timeout: float) -> Json | str:
    """What a pod printed last, as JSON, or in words why there is nothing of it."""
    log, problem = log_of(api, namespace, pod, timeout)
    if problem:
        return problem
    last_line = log[-1] if log else NOTHING_PRINTED
    try:
        result: Json = json.loads(last_line)
    except ValueError:
        return f"the probe printed what cannot be read ({last_line[:200]})"
    return result
