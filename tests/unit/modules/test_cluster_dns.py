"""The modules of the role cluster_dns from their options to their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.dns_proof import NoDnsError
from ansible_collections.mlstack.kubernetes.plugins.modules import cluster_dns_verify, coredns_settings
from module_utils.test_dns_proof import TOLD, cluster, failing

from .conftest import Call

CORP = {"domain": "corp.example", "servers": ["192.0.2.53"]}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What nodes are told instead of a real DNS's answers."""
    answers: dict[str, Any] = {"one": TOLD, "two": TOLD}
    monkeypatch.setattr(cluster_dns_verify, "connect", lambda _module: None)
    monkeypatch.setattr(cluster_dns_verify, "see", lambda _api: cluster(nodes=list(answers)))
    monkeypatch.setattr(cluster_dns_verify, "ask_everywhere", lambda _api, _plan, _cluster: answers)
    return answers


def test_a_good_dns_passes(call: Call, told: dict[str, Any]) -> None:
    result = call(cluster_dns_verify, image="python", program="")
    assert (result["changed"], result["failures"]) == (False, [])
    assert result["table"][1].startswith("one")


def test_failures_and_the_table_are_in_one_message(call: Call, told: dict[str, Any]) -> None:
    told["two"] = failing(check="reverse")
    result = call(cluster_dns_verify, image="python", program="")
    assert result["failed"]
    assert "The cluster's DNS fails on two. two, reverse: " in result["msg"]
    assert "\n".join(result["table"]) in result["msg"]
    assert [(failure["node"], failure["check"]) for failure in result["failures"]] == [("two", "reverse")]


def test_a_cluster_without_nodes_proves_nothing(call: Call, told: dict[str, Any]) -> None:
    told.clear()
    result = call(cluster_dns_verify, image="python", program="")
    assert result["failed"]
    assert "no node takes pods" in result["msg"]


def test_a_cluster_without_dns_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def see(_api: Any) -> Any:
        raise NoDnsError("There is none.")

    monkeypatch.setattr(cluster_dns_verify, "connect", lambda _module: None)
    monkeypatch.setattr(cluster_dns_verify, "see", see)
    assert call(cluster_dns_verify, image="python", program="")["msg"] == "There is none."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stub_domains": [CORP, CORP]}, "stub_domains: a domain is given twice among corp.example."),
        ({"replicas": -1}, "replicas: -1 is no number of pods; 0 leaves them as they are."),
        ({}, "CoreDNS cannot be changed: No usable kubeconfig"),
    ],
)
def test_what_cannot_be_done_is_told(call: Call, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    result = call(coredns_settings, kubeconfig=str(tmp_path / "none"), **options)
    assert result["failed"]
    assert message in result["msg"]


@pytest.mark.parametrize(
    ("options", "changed"), [({}, False), ({"stub_domains": [CORP]}, True), ({"replicas": 2}, True)]
)
def test_check_mode_needs_no_cluster(call: Call, tmp_path: Path, options: dict[str, Any], changed: bool) -> None:
    result = call(coredns_settings, check_mode=True, kubeconfig=str(tmp_path / "none"), **options)
    assert result["changed"] is changed
    assert "is not known: No usable kubeconfig" in result["warnings"][0]
