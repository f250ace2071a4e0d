# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Proves a shared volume: written on one node, read on all others, by a user other than root."""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import as_dict, as_list
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    core_path,
    events_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.proof_pods import (
    Nodes,
    await_end,
    pod_on,
    see_nodes,
    told_by,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import MOUNT_REASONS

LABEL = "mlstack.kubernetes/proof"
MOUNT = "/volume"
# What mount(8) says, and what helps.
CURES = (
    ("bad option", "install the NFS client on the node: nfs-common, on other distributions nfs-utils"),
    ("No such device", "the node's kernel has no NFS client; install the package with its modules"),
    ("unknown filesystem type", "the node's kernel has no NFS client; install the package with its modules"),
    ("access denied", "add the node's address to the clients of the export"),
    ("No such file or directory", "the server does not export that path"),
    ("Connection refused", "no NFS server listens there"),
    ("timed out", "the node does not reach the server; look at the address and at firewalls (port 2049)"),
    ("not found in the list of registered CSI drivers", "the CSI driver does not run on the node"),
)


class NoVolumeError(Exception):
    """The claim cannot be proved at all."""


@dataclass(frozen=True)
class Plan:
    namespace: str
    claim: str
    image: str
    program: str
    run_as_user: int | None = None
    # Seconds that the pods of one step may take.
    wait_timeout: float = 120.0


@dataclass
class Verdict:
    nodes: Nodes
    writer: str = ""
    # Milliseconds that a write of 4 KiB takes until it is on the server's disk; the median.
    sync: float | None = None
    # By node what is wrong; empty where all is well.
    seen: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        return [f"{node}: {problem}" for node, problem in {**self.nodes.broken, **self.seen}.items() if problem]

    def table(self) -> list[str]:
        """For people, a line for each node."""
        lines = []
        for node, problem in sorted(self.seen.items()):
            if problem:
                lines.append(f"{node}: FAILED, {problem}")
            elif node == self.writer:
                lines.append(f"{node}: writes, {self.sync:g} ms until it is on the server's disk")
            else:
                lines.append(f"{node}: reads")
        lines += [f"{node}: FAILED, {reason}" for node, reason in sorted(self.nodes.broken.items())]
        if self.nodes.left_out:
            lines.append(
                f"left out: {', '.join(f'{node} ({why})' for node, why in sorted(self.nodes.left_out.items()))}"
            )
        return lines


def check_claim(api: KubeApi, plan: Plan) -> None:
    """NoVolumeError where the claim is not one that several nodes can mount."""
    where = f"the claim {plan.namespace}/{plan.claim}"
    try:
        claim = api.get(core_path(plan.namespace, "persistentvolumeclaims", plan.claim))
    except ApiError as error:
        if error.status == 404:
            raise NoVolumeError(f"{where} does not exist") from error
        raise
    modes = as_list(as_dict(claim.get("spec")).get("accessModes"))
    if "ReadWriteMany" not in modes:
        raise NoVolumeError(f"{where} has the access modes {', '.join(modes)}; ReadWriteMany is needed")
    phase = as_dict(claim.get("status")).get("phase")
    # A class that binds late does so for the first pod.
    if phase != "Bound" and not _binds_late(api, claim):
        why = _last_event(api, plan.namespace, plan.claim)
        raise NoVolumeError(f"{where} is {phase}: {why or 'no volume fits it'}")


def _binds_late(api: KubeApi, claim: Json) -> bool:
    name = as_dict(claim.get("spec")).get("storageClassName")
    if not name:
        return False
    try:
        found = api.get(f"/apis/storage.k8s.io/v1/storageclasses/{name}")
    except ApiError:
        return False
    return found.get("volumeBindingMode") == "WaitForFirstConsumer"


def prove(api: KubeApi, plan: Plan) -> Verdict:
    check_claim(api, plan)
    nodes = see_nodes(api)
    verdict = Verdict(nodes)
    if not nodes.able:
        return verdict
    token = uuid.uuid4().hex
    verdict.writer, *readers = nodes.able
    _delete(api, plan)
    try:
        _configure(api, plan)
        written = _step(api, plan, "write", [verdict.writer], token)[verdict.writer]
        verdict.seen[verdict.writer] = _problem(written)
        if isinstance(written, dict) and not verdict.seen[verdict.writer]:
            verdict.sync = statistics.median(written["sync_milliseconds"])
            told = _step(api, plan, "read", readers, token)
            verdict.seen |= {node: _problem(answer) for node, answer in told.items()}
            _step(api, plan, "delete", [verdict.writer], token)
    finally:
        _delete(api, plan)
    return verdict


def _problem(answer: Json | str) -> str:
    return answer if isinstance(answer, str) else str(answer.get("problem") or "")


def _name(plan: Plan, step: str, index: int) -> str:
    return f"volume-proof-{step}-{index}"


def _configure(api: KubeApi, plan: Plan) -> None:
    api.create(
        f"/api/v1/namespaces/{plan.namespace}/configmaps",
        {
            "metadata": {"name": "volume-proof", "labels": {LABEL: "volume"}},
            "data": {"volume_probe.py": plan.program},
        },
    )


def _step(api: KubeApi, plan: Plan, step: str, nodes: Sequence[str], token: str) -> dict[str, Json | str]:
    """What each of the nodes says to one step."""
    for index, node in enumerate(nodes):
        container = {
            "image": plan.image,
            "command": ["python3", "-B", "/probe/volume_probe.py", step, f"{MOUNT}/.volume-proof-{token}", token],
            "volumeMounts": [
                {"name": "probe", "mountPath": "/probe", "readOnly": True},
                {"name": "volume", "mountPath": MOUNT},
            ],
        }
        volumes = [
            {"name": "probe", "configMap": {"name": "volume-proof"}},
            {"name": "volume", "persistentVolumeClaim": {"claimName": plan.claim}},
        ]
        pod = pod_on(node, _name(plan, step, index), container, volumes, plan.run_as_user)
        pod["metadata"]["labels"] = {LABEL: "volume", f"{LABEL}-step": step}
        api.create(pods_path(plan.namespace), pod)
    query = {"labelSelector": f"{LABEL}-step={step}"}
    pods = await_end(api, plan.namespace, len(nodes), plan.wait_timeout, query)
    told = {pod["spec"]["nodeName"]: told_by(api, plan.namespace, pod, plan.wait_timeout) for pod in pods}
    for pod in pods:
        node = pod["spec"]["nodeName"]
        if isinstance(told[node], str) and (why := _mount_trouble(api, plan.namespace, pod["metadata"]["name"])):
            told[node] = why
    return {node: told.get(node, "no pod was made for it") for node in nodes}


def _mount_trouble(api: KubeApi, namespace: str, pod: str) -> str:
    for message in _events(api, namespace, pod, MOUNT_REASONS):
        # The kubelet repeats the whole command; what mount itself says comes last.
        short = message.rpartition("Output: ")[2].strip().replace("\n", " ")[-300:]
        cure = next((cure for sign, cure in CURES if sign in message), "")
        return f"the volume cannot be mounted: {short}" + (f" ({cure})" if cure else "")
    return ""


def _last_event(api: KubeApi, namespace: str, name: str) -> str:
    return next(_events(api, namespace, name, ()), "")


def _events(api: KubeApi, namespace: str, name: str, reasons: Sequence[str]) -> Iterator[str]:
    """Messages of the events of an object, the newest first."""
    found = as_list(api.get(events_path(namespace), {"fieldSelector": f"involvedObject.name={name}"}).get("items"))
    found.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), reverse=True)
    yield from (str(event.get("message")) for event in found if not reasons or event.get("reason") in reasons)


def _delete(api: KubeApi, plan: Plan) -> None:
    """What this or an interrupted proof has made; the next one waits for none of it, but for names that are taken."""
    selector = {"labelSelector": f"{LABEL}=volume"}
    for pod in as_list(api.get(pods_path(plan.namespace), selector).get("items")):
        _gone(api, pods_path(plan.namespace, pod["metadata"]["name"]))
    _gone(api, core_path(plan.namespace, "configmaps", "volume-proof"))


def _gone(api: KubeApi, path: str) -> None:
    try:
        api.delete(path, grace=0)
    except ApiError as error:
        if error.status != 404:
            raise
