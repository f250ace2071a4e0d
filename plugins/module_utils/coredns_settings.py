# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Stub domains and the number of pods of a CoreDNS that somebody else has installed, and the way back from both."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.mlstack.kubernetes.plugins.module_utils.corefile import stub_part, with_stub_domains
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import as_dict, as_list
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    core_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.proof_pods import trouble_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.watch import Picture, Source

NAMESPACE, NAME, POD_LABELS = "kube-system", "coredns", "k8s-app=kube-dns"
CONFIG_MAP = core_path(NAMESPACE, "configmaps", NAME)
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
DEPLOYMENT = f"{DEPLOYMENTS}/{NAME}"
# At the Deployment: how many pods there were before us, and how many we have set.
REPLICAS_NOTE = "mlstack.kubernetes/cluster-dns-replicas"
# At its pods: a hash of our part of the Corefile, so that they start anew with another one. Not every CoreDNS looks for
# changes of its Corefile, and those that do take a minute or two.
STUB_NOTE = "mlstack.kubernetes/cluster-dns-stub-domains"


class SettingsError(Exception):
    """CoreDNS is not there to be changed, or does not start with the change."""


@dataclass(frozen=True)
class Change:
    """What is patched of CoreDNS's objects, and the patches that lead back; empty where nothing is to be done."""

    corefile_before: str = ""
    corefile: str = ""
    replicas_before: int = 0
    replicas: int = 0
    patch: Json | None = None
    undo: Json | None = None

    @property
    def is_needed(self) -> bool:
        return self.corefile != self.corefile_before or self.patch is not None


def wanted_change(deployment: Json, config_map: Json, domains: Mapping[str, Sequence[str]], replicas: int) -> Change:
    """What leads to these stub domains and this number of pods; none and 0 lead back to what was before us."""
    corefile_before = str(as_dict(config_map.get("data")).get("Corefile") or "")
    corefile = with_stub_domains(corefile_before, domains)
    spec = as_dict(deployment.get("spec"))
    annotations = as_dict(deployment["metadata"].get("annotations"))
    pod_annotations = as_dict(as_dict(as_dict(spec.get("template")).get("metadata")).get("annotations"))

    now = int(spec.get("replicas", 1))
    note = json.loads(annotations.get(REPLICAS_NOTE) or "{}")
    # What others have set since then is theirs.
    before = int(note["before"]) if note.get("set") == now else now
    wanted = replicas or before
    new_note = json.dumps({"before": before, "set": wanted}) if wanted != before else None
    part = stub_part(corefile)
    new_stub_note = hashlib.sha256(part.encode()).hexdigest()[:16] if part else None

    def patch(count: int, replicas_note: str | None, stub_note: str | None) -> Json:
        return {
            "metadata": {"annotations": {REPLICAS_NOTE: replicas_note}},
            "spec": {"replicas": count, "template": {"metadata": {"annotations": {STUB_NOTE: stub_note}}}},
        }

    new = patch(wanted, new_note, new_stub_note)
    old = patch(now, annotations.get(REPLICAS_NOTE), pod_annotations.get(STUB_NOTE))
    is_same = new == old
    return Change(corefile_before, corefile, now, wanted, None if is_same else new, None if is_same else old)


def see(api: KubeApi) -> tuple[Json, Json] | None:
    """CoreDNS's Deployment and ConfigMap, None where they are not what nearly every Kubernetes calls them."""
    try:
        return api.get(DEPLOYMENT), api.get(CONFIG_MAP)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def settle(
    api: KubeApi, domains: Mapping[str, Sequence[str]], replicas: int, wait_timeout: float, dry_run: bool
) -> Change:
    """Bring CoreDNS to these settings; where it does not start with them, bring it back and say why."""
    found = see(api)
    if found is None:
        if not domains and not replicas:
            return Change()
        raise SettingsError(
            f"There is no Deployment and ConfigMap {NAMESPACE}/{NAME} on this cluster. Stub domains and the number of "
            "pods can only be set for a CoreDNS of that name; set them in the way of this cluster's own DNS."
        )
    change = wanted_change(*found, domains, replicas)
    if dry_run or not change.is_needed:
        return change
    try:
        _apply(api, change.corefile, change.corefile_before, change.patch)
        if change.patch is not None:
            _await_pods(api, wait_timeout)
    except SettingsError:
        _apply(api, change.corefile_before, change.corefile, change.undo)
        raise
    return change


def _apply(api: KubeApi, corefile: str, other: str, patch: Json | None) -> None:
    if corefile != other:
        api.patch(CONFIG_MAP, {"data": {"Corefile": corefile}})
    if patch is not None:
        api.patch(DEPLOYMENT, patch)


def _await_pods(api: KubeApi, wait_timeout: float) -> None:
    source = Source(DEPLOYMENTS, {"fieldSelector": f"metadata.name={NAME}"})
    with Picture(api, {"deployments": source}) as picture:
        for _changes in picture.updates(time.monotonic() + wait_timeout):
            if _is_rolled_out(picture.objects["deployments"].get(NAME)):
                return
    pods = as_list(api.get(pods_path(NAMESPACE), {"labelSelector": POD_LABELS}).get("items"))
    troubles = [f"{pod['metadata']['name']} ({trouble})" for pod in pods if (trouble := trouble_of(pod))]
    raise SettingsError(
        f"CoreDNS was not ready with the new settings within {wait_timeout:g} s, and has its old ones again: "
        f"{', '.join(troubles) or 'its pods are still being replaced'}. Correct the settings, or give it more time."
    )


def _is_rolled_out(deployment: Json | None) -> bool:
    if deployment is None:
        return False
    status, wanted = as_dict(deployment.get("status")), int(as_dict(deployment.get("spec")).get("replicas", 1))
    return int(status.get("observedGeneration", 0)) >= int(deployment["metadata"].get("generation", 0)) and all(
        int(status.get(count, 0)) == wanted for count in ("replicas", "updatedReplicas", "availableReplicas")
    )
