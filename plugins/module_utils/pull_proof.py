# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Proves that every node pulls an image: a pod on each, which asks the registry even where the node has the image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import as_dict, as_list
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json, KubeApi, pods_path
from ansible_collections.mlstack.kubernetes.plugins.module_utils.proof_pods import (
    Nodes,
    delete_pods,
    pod_on,
    see_nodes,
    trouble_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import BEFORE_IMAGES, IMAGE_REASONS
from ansible_collections.mlstack.kubernetes.plugins.module_utils.watch import Picture, Source

# Why a node has no image.
PULL_REASONS = (*IMAGE_REASONS, "InvalidImageName")
SELECTOR = {"labelSelector": "mlstack.kubernetes/proof=pull"}


@dataclass(frozen=True)
class Plan:
    namespace: str
    image: str
    pull_secrets: Sequence[str] = ()
    run_as_user: int | None = None
    # Seconds within which every node has to have the image.
    wait_timeout: float = 300.0


@dataclass
class Verdict:
    nodes: Nodes
    # By node what is wrong; empty where it pulled.
    seen: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        return [f"{node}: {problem}" for node, problem in sorted(self.seen.items()) if problem]

    def table(self) -> list[str]:
        """For people, a line for each node."""
        lines = [f"{node}: {f'FAILED, {problem}' if problem else 'pulled'}" for node, problem in self.seen.items()]
        return sorted(lines) + [f"{node}: not asked, {why}" for node, why in sorted(self.nodes.left_out.items())]


def prove(api: KubeApi, plan: Plan) -> Verdict:
    nodes = see_nodes(api)
    verdict = Verdict(nodes, dict(nodes.broken))
    delete_pods(api, plan.namespace, SELECTOR)
    try:
        for index, node in enumerate(nodes.able):
            api.create(pods_path(plan.namespace), _pod(plan, node, index))
        pods = _await_pulls(api, plan, len(nodes.able))
    finally:
        delete_pods(api, plan.namespace, SELECTOR)
    for node in nodes.able:
        pod = next((pod for pod in pods if pod["spec"]["nodeName"] == node), None)
        verdict.seen[node] = "its pod is gone" if pod is None else _problem(pod, plan)
    return verdict


def _pod(plan: Plan, node: str, index: int) -> Json:
    # What the container does is not the question.
    container = {"image": plan.image, "imagePullPolicy": "Always"}
    pod = pod_on(node, f"pull-proof-{index}", container, [], plan.run_as_user)
    pod["metadata"]["labels"] = {"mlstack.kubernetes/proof": "pull"}
    pod["spec"]["imagePullSecrets"] = [{"name": name} for name in plan.pull_secrets]
    return pod


def _await_pulls(api: KubeApi, plan: Plan, count: int) -> list[Json]:
    with Picture(api, {"pods": Source(pods_path(plan.namespace), SELECTOR)}) as picture:
        pods = picture.objects["pods"]
        for _changes in picture.updates(time.monotonic() + plan.wait_timeout):
            if len(pods) >= count and all(_has_image(pod) or _cannot(pod) for pod in pods.values()):
                break
        return list(pods.values())


def _has_image(pod: Json) -> bool:
    statuses = as_list(as_dict(pod.get("status")).get("containerStatuses"))
    # The kubelet makes a container only of an image that it has.
    return any(
        status.get("imageID") or reason not in ("", *BEFORE_IMAGES, *PULL_REASONS)
        for status in statuses
        for reason in [str(as_dict(as_dict(status.get("state")).get("waiting")).get("reason", ""))]
    )


def _cannot(pod: Json) -> bool:
    # The first failure of a pull may be a passing one.
    reason = trouble_of(pod).partition(":")[0]
    return reason != "ErrImagePull" and reason in PULL_REASONS


def _problem(pod: Json, plan: Plan) -> str:
    if _has_image(pod):
        return ""
    trouble = trouble_of(pod)
    return trouble if _cannot(pod) else f"it has not pulled within {plan.wait_timeout:g} s ({trouble})"
