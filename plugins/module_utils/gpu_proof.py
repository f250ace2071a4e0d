# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Proves the GPUs of a cluster: each node offers as many as it should, and a program runs on each node that has one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import as_dict
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json, KubeApi, pods_path
from ansible_collections.mlstack.kubernetes.plugins.module_utils.proof_pods import (
    Nodes,
    await_end,
    delete_pods,
    log_of,
    pod_on,
    see_nodes,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.quantities import parse_quantity
from ansible_collections.mlstack.kubernetes.plugins.module_utils.watch import Picture, Source

SELECTOR = {"labelSelector": "mlstack.kubernetes/proof=gpu"}
NO_GPU_NODES = "no GPU nodes"


@dataclass(frozen=True)
class Plan:
    namespace: str
    image: str
    command: Sequence[str]
    resource: str = "nvidia.com/gpu"
    # How many GPUs a node has to offer; None for at least one. A node that is not named may offer any number.
    expected: Mapping[str, int | None] = field(default_factory=dict)
    run_as_user: int | None = None
    # Seconds: for the GPUs to be offered, and for the programs to end.
    wait_timeout: float = 120.0


@dataclass
class Verdict:
    nodes: Nodes
    # By node, how many GPUs it offers; only nodes that offer any.
    offered: dict[str, int]
    # By node what is wrong; empty where all is well.
    seen: dict[str, str] = field(default_factory=dict)
    # By node what the program said last.
    said: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        return [f"{node}: {problem}" for node, problem in sorted(self.seen.items()) if problem]

    def table(self) -> list[str]:
        """For people, a line for each node that has GPUs or should have."""
        lines = []
        for node in sorted(self.offered.keys() | self.seen.keys()):
            problem, count = self.seen.get(node, ""), self.offered.get(node, 0)
            if problem:
                lines.append(f"{node}: FAILED, {problem}")
            elif why := self.nodes.left_out.get(node):
                lines.append(f"{node}: {count} offered; nothing was run, since the node is {why}")
            else:
                lines.append(f"{node}: {count} offered; the program ran: {self.said.get(node, '')}")
        return lines or [NO_GPU_NODES]


def offered(nodes: Sequence[Json], resource: str) -> dict[str, int]:
    counts = {}
    for node in nodes:
        value = as_dict(as_dict(node.get("status")).get("allocatable")).get(resource)
        if value is not None and (count := int(parse_quantity(str(value)))):
            counts[str(node["metadata"]["name"])] = count
    return counts


def prove(api: KubeApi, plan: Plan) -> Verdict:
    counts, known = _await_offers(api, plan)
    nodes = see_nodes(api)
    verdict = Verdict(nodes, counts)
    for node in sorted(plan.expected.keys() | counts.keys()):
        verdict.seen[node] = _offer_problem(plan, node, counts.get(node, 0), known) or nodes.broken.get(node, "")
    able = [node for node in nodes.able if node in counts and not verdict.seen[node]]
    if able:
        _run(api, plan, able, verdict)
    return verdict


def _await_offers(api: KubeApi, plan: Plan) -> tuple[dict[str, int], set[str]]:
    """What is offered as soon as it is all that is expected, or when time is up; and the names of all nodes."""
    with Picture(api, {"nodes": Source("/api/v1/nodes")}) as picture:
        found = picture.objects["nodes"]
        for _changes in picture.updates(time.monotonic() + plan.wait_timeout):
            counts = offered(list(found.values()), plan.resource)
            if "nodes" in picture.known and not any(
                _offer_problem(plan, node, counts.get(node, 0), set(found)) for node in plan.expected
            ):
                break
        return offered(list(found.values()), plan.resource), set(found)


def _offer_problem(plan: Plan, node: str, count: int, known: set[str]) -> str:
    if node not in known:
        return "the cluster has no such node; give the names that kubectl get nodes shows"
    wanted = plan.expected.get(node)
    if node in plan.expected and count == 0:
        cure = "look at the device plugin's log on that node, at its driver, and at the container runtime"
        return f"it offers no {plan.resource} ({cure})"
    if wanted is not None and count != wanted:
        return f"it offers {count} {plan.resource}, and {wanted} are expected"
    return ""


def _run(api: KubeApi, plan: Plan, nodes: Sequence[str], verdict: Verdict) -> None:
    delete_pods(api, plan.namespace, SELECTOR)
    try:
        for index, node in enumerate(nodes):
            container = {
                "image": plan.image,
                **({"command": list(plan.command)} if plan.command else {}),
                "resources": {"limits": {plan.resource: "1", "memory": "1Gi"}, "requests": {"cpu": "10m"}},
            }
            pod = pod_on(node, f"gpu-proof-{index}", container, [], plan.run_as_user)
            pod["metadata"]["labels"] = {"mlstack.kubernetes/proof": "gpu"}
            api.create(pods_path(plan.namespace), pod)
        pods = await_end(api, plan.namespace, len(nodes), plan.wait_timeout, SELECTOR)
        for pod in pods:
            node = pod["spec"]["nodeName"]
            log, problem = log_of(api, plan.namespace, pod, plan.wait_timeout)
            verdict.seen[node] = problem
            verdict.said[node] = log[-1] if log else ""
    finally:
        delete_pods(api, plan.namespace, SELECTOR)
