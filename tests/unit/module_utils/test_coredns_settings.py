"""Stub domains and pods of CoreDNS, and the way back from both."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.coredns_settings import (
    CONFIG_MAP,
    DEPLOYMENT,
    REPLICAS_NOTE,
    STUB_NOTE,
    SettingsError,
    settle,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json

from .fake_api import FakeApi

COREFILE = ".:53 {\n    forward . /etc/resolv.conf\n}\n"
DOMAINS = {"corp.example": ["192.0.2.53"]}


class RollingApi(FakeApi):
    """Replaces the pods of CoreDNS at once, or never."""

    def __init__(self, rolls: bool = True) -> None:
        super().__init__()
        self.rolls = rolls
        self.put(CONFIG_MAP, {"metadata": {"name": "coredns"}, "data": {"Corefile": COREFILE}})
        spec = {"replicas": 1, "template": {"metadata": {"labels": {"k8s-app": "kube-dns"}}}}
        self.put(DEPLOYMENT, {"metadata": {"name": "coredns", "annotations": {"by": "others"}}, "spec": spec})

    def patch(self, path: str, body: Json, dry_run: bool = False) -> Json:
        self._note("patch", path)
        patched = super().patch(path, body, dry_run)
        if path == DEPLOYMENT:
            # As the API server takes nulls, and a controller its work.
            patched = copy.deepcopy(patched)
            for annotations in (
                patched["metadata"]["annotations"],
                patched["spec"]["template"]["metadata"]["annotations"],
            ):
                for key in [key for key, value in annotations.items() if value is None]:
                    del annotations[key]
            count = patched["spec"]["replicas"] if self.rolls else 0
            patched["status"] = {"replicas": count, "updatedReplicas": count, "availableReplicas": count}
            self.put(path, patched)
        return patched

    @property
    def corefile(self) -> str:
        return str(self.objects[CONFIG_MAP]["data"]["Corefile"])

    @property
    def replicas(self) -> int:
        return int(self.objects[DEPLOYMENT]["spec"]["replicas"])

    @property
    def notes(self) -> tuple[Any, Any]:
        deployment = self.objects[DEPLOYMENT]
        pods = deployment["spec"]["template"]["metadata"].get("annotations") or {}
        return deployment["metadata"]["annotations"].get(REPLICAS_NOTE), pods.get(STUB_NOTE)


@pytest.fixture
def api() -> RollingApi:
    return RollingApi()


def test_there_and_back(api: RollingApi) -> None:
    steps: list[tuple[dict[str, list[str]], int]] = [(DOMAINS, 2), (DOMAINS, 3), ({}, 3), (DOMAINS, 0), ({}, 0)]
    for domains, replicas in steps:
        planned = settle(api, domains, replicas, 1, dry_run=True)
        assert planned.is_needed
        assert settle(api, domains, replicas, 1, dry_run=False) == planned
        assert (api.replicas, "corp.example" in api.corefile) == (replicas or 1, bool(domains))
        assert not settle(api, domains, replicas, 1, dry_run=False).is_needed
    assert (api.corefile, api.notes) == (COREFILE, (None, None))
    assert api.objects[DEPLOYMENT]["metadata"]["annotations"] == {"by": "others"}


def test_without_wishes_nothing_is_written(api: RollingApi) -> None:
    assert not settle(api, {}, 0, 1, dry_run=False).is_needed
    assert api.writes == []


def test_check_mode_writes_nothing(api: RollingApi) -> None:
    assert settle(api, DOMAINS, 2, 1, dry_run=True).is_needed
    assert api.writes == []


def test_as_many_pods_as_there_are_leave_no_note(api: RollingApi) -> None:
    assert not settle(api, {}, 1, 1, dry_run=False).is_needed
    assert api.notes == (None, None)


def test_a_number_of_pods_that_others_have_set_is_theirs(api: RollingApi) -> None:
    settle(api, {}, 2, 1, dry_run=False)
    api.patch(DEPLOYMENT, {"spec": {"replicas": 5, "template": {"metadata": {"annotations": {}}}}, "metadata": {}})
    settle(api, {}, 0, 1, dry_run=False)
    assert (api.replicas, api.notes) == (5, (None, None))


def test_new_pods_read_another_corefile(api: RollingApi) -> None:
    settle(api, DOMAINS, 0, 1, dry_run=False)
    first = api.notes[1]
    settle(api, {"corp.example": ["192.0.2.54"]}, 0, 1, dry_run=False)
    assert api.notes[1] not in (None, first)


def test_settings_with_which_coredns_does_not_start_are_taken_back() -> None:
    api = RollingApi(rolls=False)
    before = copy.deepcopy(api.objects[DEPLOYMENT]["spec"]["replicas"])
    api.put(
        "/api/v1/namespaces/kube-system/pods/coredns-2",
        {
            "metadata": {"name": "coredns-2"},
            "status": {"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
        },
    )
    with pytest.raises(SettingsError, match=r"has its old ones again: coredns-2 \(CrashLoopBackOff\)"):
        settle(api, DOMAINS, 2, 0.2, dry_run=False)
    assert (api.corefile, api.replicas, api.notes) == (COREFILE, before, (None, None))


def test_another_dns_is_left_alone() -> None:
    api = FakeApi()
    assert not settle(api, {}, 0, 1, dry_run=False).is_needed
    with pytest.raises(SettingsError, match="no Deployment and ConfigMap kube-system/coredns"):
        settle(api, DOMAINS, 0, 1, dry_run=False)
    api.failures[DEPLOYMENT] = [ApiError(403, "Forbidden", "no")]
    with pytest.raises(ApiError):
        settle(api, {}, 0, 1, dry_run=False)
