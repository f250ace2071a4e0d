"""The pods that ask the cluster's DNS, and what is made of what they were told."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils import dns_proof
from ansible_collections.mlstack.kubernetes.plugins.module_utils.dns_proof import (
    NAMESPACE,
    Cluster,
    NoDnsError,
    Plan,
    ask_everywhere,
    questions,
    see,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.dns_verdict import Verdict, judge, percentile
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json
from hypothesis import given
from hypothesis import strategies as st

from .fake_api import FakeApi

PLAN = Plan(image="python:3", program="print()", wait_timeout=0.5)
COREFILE = (
    ".:53 {\n  kubernetes cluster.local in-addr.arpa {\n    pods insecure\n  }\n  forward . /etc/resolv.conf\n}\n"
)
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def node(name: str, ready: str = "True", **changes: Any) -> Json:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}, **changes.pop("metadata", {})},
        "spec": changes,
        "status": {"conditions": [{"type": "Ready", "status": ready, "message": "kubelet is posting ready status"}]},
    }


def pod(name: str, ready: bool = True, **state: Any) -> Json:
    return {
        "metadata": {"name": name},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"state": state}],
        },
    }


@pytest.fixture
def api() -> FakeApi:
    """A cluster with two nodes and a CoreDNS."""
    api = FakeApi()
    api.put("/api/v1/nodes/one", node("one"))
    api.put("/api/v1/nodes/two", node("two"))
    api.put(
        "/api/v1/namespaces/kube-system/services/kube-dns",
        {
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": "10.96.0.10", "selector": {"k8s-app": "kube-dns"}},
        },
    )
    api.put(
        "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-1",
        {
            "metadata": {"name": "kube-dns-1"},
            "endpoints": [{"addresses": ["10.97.0.2"], "conditions": {"ready": True}}],
        },
    )
    api.put("/api/v1/namespaces/kube-system/pods/coredns-1", pod("coredns-1"))
    api.put("/api/v1/namespaces/kube-system/configmaps/coredns", {"metadata": {}, "data": {"Corefile": COREFILE}})
    api.put("/api/v1/namespaces/default/services/kubernetes", {"metadata": {}, "spec": {"clusterIPs": ["10.96.0.1"]}})
    return api


def ends(api: FakeApi, phase: str = "Succeeded", log: str = "", state: Json | None = None) -> None:
    """Have every pod that is made end at once, with that last line in its log."""

    def on_create(path: str, body: Json) -> None:
        if path == PODS:
            body["status"] = {"phase": phase, "containerStatuses": [{"state": state or {}}]}
            api.logs[body["metadata"]["name"]] = ["something", log]

    api.on_create = on_create


# -- what is there


def test_the_dns_and_the_nodes_are_seen(api: FakeApi) -> None:
    api.put("/api/v1/nodes/away", node("away", unschedulable=True))
    api.put("/api/v1/nodes/kwok", node("kwok", metadata={"annotations": {"kwok.x-k8s.io/node": "fake"}}))
    api.put("/api/v1/nodes/win", node("win", metadata={"labels": {"kubernetes.io/os": "windows"}}))
    api.put("/api/v1/nodes/dead", node("dead", ready="Unknown"))
    api.put(
        "/api/v1/namespaces/kube-system/pods/coredns-2", pod("coredns-2", False, waiting={"reason": "CrashLoopBackOff"})
    )
    seen = see(api)
    assert (seen.service, seen.addresses, seen.ready) == ("kube-system/kube-dns", ["10.96.0.10"], 1)
    assert seen.pods == {"coredns-1": "", "coredns-2": "CrashLoopBackOff"}
    assert (seen.kubernetes, seen.corefile, seen.has_pod_names) == ("10.96.0.1", COREFILE, True)
    assert seen.nodes == ["one", "two"]
    assert seen.left_out == {"away": "cordoned", "kwok": "simulated", "win": "runs windows"}
    assert seen.broken == {"dead": "the node is not ready (kubelet is posting ready status)"}


def test_a_cluster_without_dns_is_told(api: FakeApi) -> None:
    api.drop("/api/v1/namespaces/kube-system/services/kube-dns")
    with pytest.raises(NoDnsError, match="no Service with the label k8s-app=kube-dns"):
        see(api)


def test_a_headless_service_for_metrics_is_not_the_dns(api: FakeApi) -> None:
    api.put(
        "/api/v1/namespaces/kube-system/services/a-metrics",
        {"metadata": {"name": "a-metrics", "namespace": "kube-system"}, "spec": {"clusterIP": "None"}},
    )
    assert see(api).service == "kube-system/kube-dns"


@pytest.mark.parametrize("status", [403, 404])
def test_a_corefile_that_may_not_be_read_is_left_out(api: FakeApi, status: int) -> None:
    api.failures["/api/v1/namespaces/kube-system/configmaps/coredns"] = [ApiError(status, "", "no")]
    seen = see(api)
    assert (seen.corefile, seen.has_pod_names) == (None, True)
    assert "Corefile: not looked at" in "\n".join(judge(PLAN, seen, {}).table)


def test_questions_cover_every_kind_of_name(api: FakeApi) -> None:
    asked = questions(Plan(image="", program="", external_names=["example.org."]), see(api))["checks"]
    assert [(check["check"], check["name"]) for check in asked] == [
        ("service", "kubernetes.default"),
        ("service", "kubernetes.default.svc.cluster.local."),
        ("headless", "headless"),
        ("headless", f"headless.{NAMESPACE}.svc.cluster.local."),
        ("headless", f"first.headless.{NAMESPACE}.svc.cluster.local."),
        ("reverse", "1.0.96.10.in-addr.arpa."),
        ("pod", "{address}." + f"{NAMESPACE}.pod.cluster.local."),
        ("external", "example.org"),
        ("external", "example.org."),
    ]


def test_a_cluster_of_ipv6_is_asked_for_its_addresses(api: FakeApi) -> None:
    api.put("/api/v1/namespaces/default/services/kubernetes", {"metadata": {}, "spec": {"clusterIPs": ["fd00::1"]}})
    asked = questions(PLAN, see(api))["checks"]
    assert {check["type"] for check in asked} == {"AAAA", "PTR"}
    assert next(check["name"] for check in asked if check["type"] == "PTR").endswith(".0.0.d.f.ip6.arpa.")


# -- the pods


def test_a_pod_on_each_node_is_asked_and_nothing_is_left(api: FakeApi) -> None:
    ends(api, log='{"nameservers": []}')
    cluster = see(api)
    before = set(api.objects)
    assert ask_everywhere(api, PLAN, cluster) == {"one": {"nameservers": []}, "two": {"nameservers": []}}
    made = [path.rpartition("/")[2] for verb, path in api.calls if verb == "create"]
    assert made == ["namespaces", "serviceaccounts", "services", "endpointslices", "configmaps", "pods", "pods"]
    # What is in the namespace goes with it.
    assert {path for path in set(api.objects) - before if NAMESPACE not in path} == set()
    assert api.calls[-1] == ("delete", f"/api/v1/namespaces/{NAMESPACE}")


def test_what_an_interrupted_proof_left_is_deleted_first(api: FakeApi) -> None:
    api.put(f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"name": NAMESPACE}})
    ends(api, log="{}")
    assert ask_everywhere(api, PLAN, see(api)) == {"one": {}, "two": {}}


def test_a_namespace_that_does_not_go_is_told(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_proof, "DELETION_SECONDS", 0.2)
    api.put(f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"name": NAMESPACE}})
    api.failures[f"/api/v1/namespaces/{NAMESPACE}"] = [ApiError(409, "Conflict", "being deleted")]
    with pytest.raises(ApiError, match="still being deleted after 0 s"):
        ask_everywhere(api, PLAN, see(api))


def test_the_namespace_is_deleted_when_a_pod_is_refused(api: FakeApi) -> None:
    api.failures[PODS] = [ApiError(403, "Forbidden", "no")]
    with pytest.raises(ApiError, match="no"):
        ask_everywhere(api, PLAN, see(api))
    assert f"/api/v1/namespaces/{NAMESPACE}" not in api.objects


@pytest.mark.parametrize(
    ("phase", "log", "state", "told"),
    [
        ("Failed", "ModuleNotFoundError: json", None, "the probe failed (ModuleNotFoundError: json)"),
        ("Succeeded", "hello", None, "the probe printed what cannot be read (hello)"),
        (
            "Pending",
            "",
            {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
            "the probe did not begin within 0.5 s (ImagePullBackOff: no such image)",
        ),
        ("Pending", "", None, "the probe did not begin within 0.5 s (Pending)"),
    ],
)
def test_pods_that_cannot_ask_are_told(api: FakeApi, phase: str, log: str, state: Json | None, told: str) -> None:
    ends(api, phase, log, state)
    cluster = see(api)
    answers = ask_everywhere(api, PLAN, cluster)
    assert answers == {"one": told, "two": told}
    verdict = judge(PLAN, cluster, answers)
    assert f"one, probe: {told}." in verdict.message
    assert "that this node can pull by cluster_dns_image" in verdict.message


# -- the verdict

TOLD: Json = {
    "nameservers": ["10.96.0.10"],
    "search": [f"{NAMESPACE}.svc.cluster.local", "svc.cluster.local", "cluster.local"],
    "ndots": 5,
    "checks": [
        {
            "check": check,
            "question": f"{check}. A",
            "expected": ["192.0.2.1"] if check != "external" else [],
            "server": "10.96.0.10",
            "transport": transport,
            "told": "192.0.2.1",
            "silent": False,
            "passed": True,
        }
        for transport in ("udp", "tcp")
        for check in ("service", "headless", "pod", "reverse", "external")
    ],
    "latency": [
        {"server": "10.96.0.10", "transport": transport, "lost": 0, "milliseconds": [1.0] * 49 + [9.0]}
        for transport in ("udp", "tcp")
    ],
}


def cluster(**changes: Any) -> Cluster:
    basis = {
        "service": "kube-system/kube-dns",
        "addresses": ["10.96.0.10"],
        "selector": {"k8s-app": "kube-dns"},
        "ready": 1,
        "pods": {"coredns-1": ""},
        "corefile": COREFILE,
        "kubernetes": "10.96.0.1",
        "nodes": ["one", "two"],
    }
    return Cluster(**{**basis, **changes})


def verdict(two: Json, plan: Plan = PLAN, **changes: Any) -> Verdict:
    """The verdict when node two was told that, and node one had nothing to complain of."""
    return judge(plan, cluster(**changes), {"one": TOLD, "two": two})


def failing(told: str = "NXDOMAIN", silent: bool = False, **which: str) -> Json:
    """What a node is told that gets this answer to the checks that `which` describes."""
    result = copy.deepcopy(TOLD)
    for check in result["checks"]:
        if all(check[key] == value for key, value in which.items()):
            check.update(told=told, silent=silent, passed=False)
    if silent:
        result["latency"] = [
            way for way in result["latency"] if way["transport"] != which.get("transport", way["transport"])
        ]
    return result


def test_a_good_dns_has_a_table_and_no_failures() -> None:
    good = verdict(TOLD)
    assert good.failures == []
    assert [row.split() for row in good.table[:3]] == [
        ["node", "resolv.conf", "service", "headless", "pod", "reverse", "external", "udp[ms]", "tcp[ms]"],
        ["one", "ok", "ok", "ok", "ok", "ok", "ok", "1.0/9.0", "1.0/9.0"],
        ["two", "ok", "ok", "ok", "ok", "ok", "ok", "1.0/9.0", "1.0/9.0"],
    ]
    assert "External names: not asked; cluster_dns_external_names lists none." in good.table


def test_what_was_not_asked_is_not_called_good() -> None:
    few = {**TOLD, "checks": [check for check in TOLD["checks"] if check["check"] not in ("external", "pod")]}
    corefile = COREFILE.replace("insecure", "disabled")
    table = verdict(few, corefile=corefile, left_out={"k1": "simulated", "k2": "simulated"}).table
    assert table[2].split() == ["two", "ok", "ok", "ok", "not-asked", "ok", "not-asked", "1.0/9.0", "1.0/9.0"]
    assert "Names of pods: not asked; the Corefile switches them off." in table
    assert "Nodes left out, simulated: k1, k2." in table


@pytest.mark.parametrize(
    ("check", "cure"),
    [
        ("service", "cluster_dns_domain"),
        ("headless", "does not follow the Kubernetes API"),
        ("pod", "option `pods`"),
        ("reverse", "in-addr.arpa"),
        ("external", "look at `forward` in the Corefile"),
    ],
)
def test_a_wrong_answer_is_one_sentence_with_its_cure(check: str, cure: str) -> None:
    told = verdict(failing(check=check))
    (failure,) = told.failures
    assert (failure.node, failure.check) == ("two", check)
    instead = "" if check == "external" else " instead of 192.0.2.1"
    assert failure.text == f"10.96.0.10 was asked over UDP and TCP for {check}. A and gave NXDOMAIN{instead}"
    assert cure in failure.cure
    assert told.message.startswith(f"The cluster's DNS fails on two. two, {check}: 10.96.0.10 was asked")
    assert told.table[1].count("FAILED") == 0
    assert told.table[2].count("FAILED") == 1


def test_a_silent_server_is_told_once_and_nothing_of_it_is_called_good() -> None:
    told = verdict(failing("no answer within 2 s", silent=True))
    assert [(failure.node, failure.check) for failure in told.failures] == [("two", "service")]
    assert "look at this node's kube-proxy" in told.message
    assert told.table[2].split()[2:] == ["FAILED"] * 5 + ["not-asked"] * 2


def test_a_silent_transport_is_told_as_such() -> None:
    told = verdict(failing("no answer within 2 s", silent=True, transport="udp"))
    (failure,) = told.failures
    assert "was asked over UDP for" in failure.text
    assert failure.cure.startswith("Only UDP is cut off")
    assert told.table[2].split()[-2:] == ["not-asked", "1.0/9.0"]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"pods": {}}, "there are no pods of the DNS: scale its Deployment up"),
        ({"pods": {"coredns-1": "CrashLoopBackOff"}}, "its pods are not ready: coredns-1 (CrashLoopBackOff)"),
        ({"selector": {"app": "x"}}, "its selector app=x does not choose the pods of the DNS, coredns-1"),
    ],
)
def test_why_there_are_no_endpoints_is_told_once_for_all_nodes(changes: Json, cause: str) -> None:
    silent = failing("no answer (Connection refused)", silent=True)
    told = judge(PLAN, cluster(ready=0, **changes), {"one": silent, "two": silent})
    assert [failure.node for failure in told.failures] == ["one", "two"]
    assert told.message.count(f"The Service kube-system/kube-dns has no endpoint that is ready; {cause}.") == 1


def test_silence_everywhere_is_the_network() -> None:
    silent = failing("no answer within 2 s", silent=True)
    assert "NetworkPolicies" in judge(PLAN, cluster(), {"one": silent, "two": silent}).message


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nameservers": ["192.0.2.9"]}, "pods are sent to 192.0.2.9, and the cluster's DNS is at 10.96.0.10"),
        ({"nameservers": []}, "pods are sent to no server"),
        ({"search": ["a.svc.cluster.test", "svc.cluster.test", "cluster.test"]}, "pods search a.svc.cluster.test"),
        ({"search": []}, "pods search no domain instead of <namespace>.svc.cluster.local"),
        ({"ndots": 1}, "ndots is 1"),
    ],
)
def test_a_bad_resolv_conf_is_told(changes: Json, text: str) -> None:
    (failure,) = verdict({**TOLD, **changes}).failures
    assert (failure.node, failure.check) == ("two", "resolv.conf")
    assert failure.text.startswith(text)


def test_a_cache_on_the_node_and_further_search_domains_are_good() -> None:
    assert (
        verdict({**TOLD, "nameservers": ["169.254.20.10"], "search": [*TOLD["search"], "corp.example"]}).failures == []
    )


def test_a_loop_in_the_corefile_is_told() -> None:
    told = verdict(TOLD, corefile=COREFILE.replace("/etc/resolv.conf", "10.96.0.10"))
    (failure,) = told.failures
    assert (failure.node, failure.check) == ("all nodes", "Corefile")
    assert "`forward . 10.96.0.10` leads back" in failure.text


def test_a_slow_dns_is_told() -> None:
    plan = Plan(image="", program="", latency_limit=5)
    (one_udp, _one_tcp, *_two) = judge(plan, cluster(), {"one": TOLD, "two": TOLD}).failures
    assert one_udp.check == "udp latency"
    assert one_udp.text == (
        "10.96.0.10 was asked 50 times over UDP, and 99 of 100 answers took up to 9.0 ms, more than the limit of 5 ms "
        "(cluster_dns_latency_limit)"
    )
    assert "FAILED(1.0/9.0)" in judge(plan, cluster(), {"one": TOLD, "two": TOLD}).table[1]


def test_lost_datagrams_are_told() -> None:
    lossy = copy.deepcopy(TOLD)
    lossy["latency"][0].update(lost=3, milliseconds=[])
    (failure,) = verdict(lossy).failures
    assert failure.text == "10.96.0.10 was asked 3 times over UDP, and 3 look-ups had no answer"


def test_a_node_that_is_not_ready_is_a_failure() -> None:
    told = verdict(TOLD, broken={"dead": "the node is not ready (no network)"})
    assert "dead, probe: the node is not ready (no network). Mend the node, or cordon it" in told.message
    assert "dead" in told.table[1]


def test_a_hundred_broken_nodes_do_not_fill_the_screen() -> None:
    names = [f"node-{number:03}" for number in range(100)]
    silent = failing("no answer within 2 s", silent=True)
    told = judge(PLAN, cluster(nodes=names), dict.fromkeys(names, silent))
    assert len(told.failures) == 100
    assert "92 more failures are in the table." in told.message
    assert len(told.message) < 3000


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=60), st.sampled_from([0.5, 0.99]))
def test_percentiles(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_the_plan_that_pods_read_is_json() -> None:
    made = dict(dns_proof.objects(PLAN, cluster()))
    data = made[f"/api/v1/namespaces/{NAMESPACE}/configmaps"]["data"]
    assert json.loads(data["plan.json"])["lookups"] == PLAN.lookups
    assert data["dns_probe.py"] == PLAN.program
