"""The cluster's DNS: proved from every node, and what is told when it is broken on purpose."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .conftest import CHECKOUT, Run, kubectl, playbook, wait_for

PLAYBOOK = ("playbooks/ai.yaml", "--tags", "cluster_dns")
NODES = ["mlstack-test-node-1", "mlstack-test-node-2"]
SERVICE = ("service", "kube-dns", "--namespace=kube-system")
DEPLOYMENT = ("deployment/coredns", "--namespace=kube-system")


def rows(run: Run) -> dict[str, list[str]]:
    """The table's rows by node."""
    found = [line.strip(" -").split() for line in run.output.splitlines() if "[ms]" not in line]
    return {words[0]: words[1:] for words in found if words and words[0] in NODES and len(words) == 9}


@contextmanager
def cut_off(node: str) -> Iterator[None]:
    """Drop the packets of a node's pods for the DNS."""
    address = kubectl("get", *SERVICE, "-o", "jsonpath={.spec.clusterIP}")
    rule = ["PREROUTING", "--destination", address, "--jump", "DROP"]
    iptables = ["nsenter", f"--net=/run/netns/{node}", "iptables", "--table", "mangle"]
    subprocess.run([*iptables, "--insert", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run([*iptables, "--delete", *rule], check=True)


@contextmanager
def no_pods() -> Iterator[None]:
    """Take all pods of the DNS away. Nobody's role owns how many there are, so that nothing has to be won back."""
    kubectl("scale", *DEPLOYMENT, "--replicas=0")
    try:
        kubectl(
            "wait", "pod", "--namespace=kube-system", "--selector=k8s-app=kube-dns", "--for=delete", "--timeout=45s"
        )
        yield
    finally:
        kubectl("scale", *DEPLOYMENT, "--replicas=1")
        kubectl("rollout", "status", *DEPLOYMENT, "--timeout=45s")


def test_every_node_is_asked_and_nothing_changes(stack: Run) -> None:
    run = playbook(*PLAYBOOK)
    assert (run.status, run.changed) == (0, [])
    for output in (stack, run):
        assert {node: row[:6] for node, row in rows(output).items()} == {
            node: ["ok", "ok", "ok", "ok", "ok", "not-asked"] for node in NODES
        }
    assert "External names: not asked" in run.output
    assert "Nodes left out, simulated: mlstack-test-simulated-0" in run.output
    wait_for(lambda: "cluster-dns-verify" not in kubectl("get", "namespaces", "-o", "name"), 30)


def test_the_node_that_is_cut_off_is_named(stack: Run) -> None:
    with cut_off(NODES[1]):
        run = playbook(*PLAYBOOK)
    assert run.status != 0
    assert f"The cluster's DNS fails on {NODES[1]}. {NODES[1]}, service: " in run.output
    assert "over UDP and TCP for kubernetes.default A and gave no answer within 2 s instead of" in run.output
    assert "FAILED" not in rows(run)[NODES[0]]


def test_a_dns_without_endpoints_is_told(stack: Run) -> None:
    with no_pods():
        run = playbook(*PLAYBOOK)
    assert run.status != 0
    assert f"The cluster's DNS fails on {', '.join(NODES)}." in run.output
    assert "has no endpoint that is ready; there are no pods of the DNS: scale its Deployment up." in run.output


@contextmanager
def company_dns() -> Iterator[str]:
    """Run a DNS server that knows one name of a company, and return its address."""
    image = kubectl("get", "deployment", "coredns", "--namespace=kube-system", "-o", "jsonpath={..image}")
    corefile = ".:1053 {\n    hosts {\n        192.0.2.7 registry.corp.example\n    }\n}\n"
    kubectl("create", "configmap", "company-dns", f"--from-literal=Corefile={corefile}")
    spec = {
        "volumes": [{"name": "corefile", "configMap": {"name": "company-dns"}}],
        "containers": [
            {
                "name": "company-dns",
                "image": image,
                "args": ["-conf", "/corefile/Corefile"],
                "volumeMounts": [{"name": "corefile", "mountPath": "/corefile"}],
            }
        ],
    }
    try:
        kubectl(
            "run", "company-dns", f"--image={image}", "--restart=Never", f"--overrides={json.dumps({'spec': spec})}"
        )
        kubectl("wait", "pod/company-dns", "--for=condition=Ready", "--timeout=30s")
        yield kubectl("get", "pod", "company-dns", "-o", "jsonpath={.status.podIP}")
    finally:
        kubectl("delete", "pod/company-dns", "configmap/company-dns", "--ignore-not-found", "--now")


def coredns() -> dict[str, object]:
    deployment = json.loads(kubectl("get", "deployment", "coredns", "--namespace=kube-system", "-o", "json"))
    deployment["metadata"]["annotations"].pop("deployment.kubernetes.io/revision")
    return {
        "corefile": kubectl(
            "get", "configmap", "coredns", "--namespace=kube-system", "-o", "jsonpath={.data.Corefile}"
        ),
        "annotations": deployment["metadata"]["annotations"],
        "spec": deployment["spec"],
    }


def test_a_stub_domain_is_looked_up_from_every_node_and_taken_back(stack: Run) -> None:
    before = coredns()
    with company_dns() as address:
        settings = {
            "cluster_dns_replicas": 2,
            "cluster_dns_stub_domains": [{"domain": "corp.example", "servers": [f"{address}:1053"]}],
            "cluster_dns_external_names": ["registry.corp.example"],
        }
        run = playbook(*PLAYBOOK, "--extra-vars", json.dumps(settings))
        assert run.status == 0
        assert len(run.changed) == 1
        assert [row[5] for row in rows(run).values()] == ["ok", "ok"]
        # The cluster's own role keeps it, and nothing changes any more.
        both = ("playbooks/ai.yaml", "--tags", "local_cluster,cluster_dns", "--extra-vars", json.dumps(settings))
        again = playbook(*both)
        assert (again.status, again.changed) == (0, [])
    assert playbook("playbooks/remove.yaml", "--tags", "cluster_dns").status == 0
    assert coredns() == before


def in_network_of(node: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nsenter", f"--net=/run/netns/{node}", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def asked_on(node: str, server: str) -> str:
    """What the server tells the node of the Service that everybody knows."""
    program = (
        f"from dns_probe import ask; print(ask({server!r}, 'udp', 'kubernetes.default.svc.cluster.local.', 'A', 2))"
    )
    told = in_network_of(node, "env", f"PYTHONPATH={CHECKOUT}/roles/cluster_dns/files", sys.executable, "-c", program)
    assert told.returncode == 0, told.stdout
    return told.stdout


@pytest.mark.extended
def test_every_node_has_a_cache_that_answers_while_the_dns_is_away(stack: Run) -> None:
    wanted = (*PLAYBOOK, "--extra-vars", json.dumps({"cluster_dns_node_cache": True}))
    assert playbook(*wanted, "--check", "--diff").status == 0
    run = playbook(*wanted)
    assert run.status == 0
    assert "Each node's cache at 169.254.20.10 was asked, too." in run.words
    again = playbook(*wanted)
    assert (again.status, again.changed) == (0, [])
    address = kubectl("get", *SERVICE, "-o", "jsonpath={.spec.clusterIP}")
    api = kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    with no_pods():
        for node in NODES:
            assert api in asked_on(node, address)
            assert api in asked_on(node, "169.254.20.10")
    # Caches that cannot ask the DNS are no replacement for it.
    kubectl("delete", "pods", "--namespace=kube-system", "--selector=k8s-app=node-local-dns", "--wait")
    assert playbook(*wanted).status == 0

    assert playbook(*PLAYBOOK).status == 0
    for node in NODES:
        assert in_network_of(node, "ip", "link", "show", "nodelocaldns").returncode != 0
        assert address not in in_network_of(node, "iptables", "--table", "raw", "--list-rules").stdout
    assert "node-local-dns" not in kubectl("get", "all,configmaps,serviceaccounts", "--namespace=kube-system")
    assert "kube-dns-upstream" not in kubectl("get", "services", "--namespace=kube-system")
