# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the answers of the cluster's DNS are worth: a table, and where each failure is, what it is, and its cure."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.mlstack.kubernetes.plugins.module_utils.corefile import loops
from ansible_collections.mlstack.kubernetes.plugins.module_utils.dns_proof import SERVICE, Cluster, Plan
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json

# Without spaces, so that nobody who shows the table breaks its lines.
OK, FAILED, NOT_ASKED = "ok", "FAILED", "not-asked"
# The rows of a failure that is everybody's would hide the others.
MOST_FAILURES = 8
CHECKS = ("service", "headless", "pod", "reverse", "external")
TRANSPORTS = ("udp", "tcp")
# Below two, names such as kubernetes.default are asked for outside first.
LEAST_NDOTS = 2


@dataclass(frozen=True)
class Failure:
    """One check that failed on one node."""

    node: str
    check: str
    text: str
    cure: str


@dataclass
class Verdict:
    table: list[str]
    failures: list[Failure]

    @property
    def message(self) -> str:
        """What failed, one sentence for each failure; a cure that several have in common is said once."""
        by_cure: dict[str, list[str]] = {}
        for failure in self.failures[:MOST_FAILURES]:
            by_cure.setdefault(failure.cure, []).append(f"{failure.node}, {failure.check}: {failure.text}.")
        parts = [f"{' '.join(texts)} {cure}" for cure, texts in by_cure.items()]
        if len(self.failures) > MOST_FAILURES:
            parts.append(f"{len(self.failures) - MOST_FAILURES} more failures are in the table.")
        nodes = list(dict.fromkeys(failure.node for failure in self.failures))
        return f"The cluster's DNS fails on {', '.join(nodes)}. " + "\n".join(parts)


def judge(plan: Plan, cluster: Cluster, told: Mapping[str, Json | str]) -> Verdict:
    failures = [*_corefile_failures(cluster)]
    rows = [["node", "resolv.conf", *CHECKS, *(f"{transport}[ms]" for transport in TRANSPORTS)]]
    for node in sorted({*cluster.nodes, *cluster.broken}):
        result = cluster.broken.get(node) or told.get(node, "the probe's pod is gone")
        if isinstance(result, str):
            failures.append(Failure(node, "probe", result, _probe_cure(plan, cluster, node)))
            rows.append([node, *[NOT_ASKED] * (len(rows[0]) - 1)])
            continue
        found = [
            *_resolv_conf_failures(plan, cluster, node, result),
            *_check_failures(plan, cluster, node, result, told),
            *_latency_failures(plan, node, result),
        ]
        failures += found
        failed = {failure.check for failure in found}
        rows.append(
            [
                node,
                FAILED if "resolv.conf" in failed else OK,
                *(_check_cell(result, check) for check in CHECKS),
                *(_latency_cell(result, transport, f"{transport} latency" in failed) for transport in TRANSPORTS),
            ]
        )
    return Verdict([*_aligned(rows), *_remarks(plan, cluster)], failures)


def _check_cell(result: Json, name: str) -> str:
    passed = [check["passed"] for check in result["checks"] if check["check"] == name]
    return NOT_ASKED if not passed else OK if all(passed) else FAILED


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _remarks(plan: Plan, cluster: Cluster) -> Iterator[str]:
    """What the table cannot say."""
    yield (
        f"udp[ms] and tcp[ms]: p50/p99 of {plan.lookups} look-ups of {SERVICE}; p99 may be {plan.latency_limit:g} ms."
    )
    if plan.node_cache:
        yield f"Each node's cache at {plan.node_cache} was asked, too."
    if not plan.external_names:
        yield "External names: not asked; cluster_dns_external_names lists none."
    if not cluster.has_pod_names:
        yield "Names of pods: not asked; the Corefile switches them off."
    if cluster.corefile is None:
        yield "Corefile: not looked at; there is none, or it may not be read."
    by_reason: dict[str, list[str]] = {}
    for node, reason in cluster.left_out.items():
        by_reason.setdefault(reason, []).append(node)
    for reason, nodes in by_reason.items():
        yield f"Nodes left out, {reason}: {', '.join(nodes) if len(nodes) < 10 else len(nodes)}."


# -- what can fail


def _corefile_failures(cluster: Cluster) -> Iterator[Failure]:
    for line in loops(cluster.corefile or "", cluster.addresses):
        yield Failure(
            "all nodes",
            "Corefile",
            f"`{line}` leads back to the cluster's own DNS, so that a name which it does not know goes round in a loop",
            "Name resolvers outside the cluster in that line of the Corefile.",
        )


def _probe_cure(plan: Plan, cluster: Cluster, node: str) -> str:
    if node in cluster.broken:
        return "Mend the node, or cordon it to leave it out: kubectl cordon " + node + "."
    return f"It runs the image {plan.image}: name one with Python 3.10 that this node can pull by cluster_dns_image."


def _resolv_conf_failures(plan: Plan, cluster: Cluster, node: str, result: Json) -> Iterator[Failure]:
    servers, search = result["nameservers"], result["search"]
    wrong = [server for server in servers if not _is_cluster_dns(server, cluster)]
    if wrong or not servers:
        yield Failure(
            node,
            "resolv.conf",
            f"pods are sent to {', '.join(servers) or 'no server'}, and the cluster's DNS is at "
            f"{' or '.join(cluster.addresses)}",
            "Correct clusterDNS in the configuration of this node's kubelet.",
        )
    # The first of them begins with the pod's own namespace.
    domains = [f"svc.{plan.domain}", plan.domain]
    if search[1:3] != domains or not search[0].endswith(f".{domains[0]}"):
        yield Failure(
            node,
            "resolv.conf",
            f"pods search {' '.join(search) or 'no domain'} instead of <namespace>.{domains[0]} {' '.join(domains)}",
            "Correct clusterDomain in the configuration of this node's kubelet, or else cluster_dns_domain.",
        )
    if result["ndots"] < LEAST_NDOTS:
        yield Failure(
            node,
            "resolv.conf",
            f"ndots is {result['ndots']}, so that kubernetes.default is asked for outside the cluster first",
            "Take that option out of the resolv.conf that this node's kubelet gives to pods; Kubernetes' own is 5.",
        )


def _is_cluster_dns(server: str, cluster: Cluster) -> bool:
    # A cache on each node listens at a link-local address.
    return server in cluster.addresses or ipaddress.ip_address(server.partition("%")[0]).is_link_local


def _check_failures(
    plan: Plan, cluster: Cluster, node: str, result: Json, told: Mapping[str, Json | str]
) -> Iterator[Failure]:
    """One failure for all transports on which a question got the same answer; after a silence only the first one."""
    together: dict[tuple[str, str, str, str], list[Json]] = {}
    for check in result["checks"]:
        if not check["passed"]:
            key = (check["server"], check["check"], check["question"], check["told"])
            together.setdefault(key, []).append(check)
    mentioned: set[tuple[str, str]] = set()
    for (server, name, question, answer), checks in together.items():
        ways = [(server, check["transport"]) for check in checks]
        if all(check["silent"] for check in checks):
            ways = [way for way in ways if way not in mentioned]
            mentioned.update(ways)
        if not ways:
            continue
        transports = [transport for _server, transport in ways]
        expected = checks[0]["expected"]
        yield Failure(
            node,
            name,
            f"{server} was asked over {' and '.join(map(str.upper, transports))} for {question} and "
            f"gave {answer}{' instead of ' + ', '.join(expected) if expected else ''}",
            _cure(plan, cluster, node, checks[0], transports, told),
        )


def _cure(
    plan: Plan,
    cluster: Cluster,
    node: str,
    check: Json,
    transports: Sequence[str],
    told: Mapping[str, Json | str],
) -> str:
    if check["silent"] and check["server"] == plan.node_cache:
        return (
            "That is this node's own cache: look at its pod, kubectl get pods --namespace=kube-system "
            f"--selector=k8s-app=node-local-dns --field-selector=spec.nodeName={node}, and at the pod's log."
        )
    if check["silent"]:
        return _silence_cure(cluster, node, transports, told)
    if check["check"] == "external":
        return (
            "The cluster's DNS answers, its upstream resolver does not, or does not know the name: look at `forward` "
            "in the Corefile, at the resolvers that it names, and at NetworkPolicies on the way out of the DNS's pods."
        )
    if check["check"] == "reverse":
        return "Let CoreDNS's plugin kubernetes serve the zones in-addr.arpa and ip6.arpa."
    if check["check"] == "pod":
        return "Look at the option `pods` of CoreDNS's plugin kubernetes: insecure or verified."
    if check["check"] == "headless":
        return (
            "The names were made for this proof: the DNS does not follow the Kubernetes API. Look at the logs of its "
            "pods, and at its right to list and watch Services and EndpointSlices."
        )
    return "Look whether the DNS serves the domain that cluster_dns_domain names, and at the logs of its pods."


def _silence_cure(cluster: Cluster, node: str, transports: Sequence[str], told: Mapping[str, Json | str]) -> str:
    if cluster.ready == 0:
        selector = ",".join(f"{key}={value}" for key, value in cluster.selector.items())
        troubles = [f"{name} ({trouble})" for name, trouble in cluster.pods.items() if trouble]
        if troubles:
            cause = f"its pods are not ready: {', '.join(troubles)}"
        elif cluster.pods:
            cause = f"its selector {selector} does not choose the pods of the DNS, {', '.join(cluster.pods)}"
        else:
            cause = "there are no pods of the DNS: scale its Deployment up"
        return f"The Service {cluster.service} has no endpoint that is ready; {cause}."
    if len(transports) < len(TRANSPORTS):
        return (
            f"Only {transports[0].upper()} is cut off: let it through to port 53 in the firewalls and NetworkPolicies "
            f"between this node and the DNS, and let the Service {cluster.service} have a port for it."
        )
    if any(other != node and not isinstance(result, str) and _is_heard(result) for other, result in told.items()):
        return (
            "Other nodes get answers: look at this node's kube-proxy, at its routes to the nodes of the DNS's pods, "
            "and at its firewall (port 53, UDP and TCP)."
        )
    return (
        f"The Service {cluster.service} has {cluster.ready} endpoints that are ready, and no node gets an answer: look "
        "at NetworkPolicies for the DNS's pods, at kube-proxy, and at the network between pods."
    )


def _is_heard(result: Json) -> bool:
    return any(not check["silent"] for check in result["checks"])


# -- how long it takes


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _latency_failures(plan: Plan, node: str, result: Json) -> Iterator[Failure]:
    for way in result["latency"]:
        asked = (
            f"{way['server']} was asked {len(way['milliseconds']) + way['lost']} times over {way['transport'].upper()}"
        )
        cure = (
            "Look at the load of the DNS's pods (cluster_dns_replicas adds some), and at lost datagrams: conntrack -S "
            "on the node counts them as insert_failed or drop."
        )
        if way["lost"]:
            yield Failure(
                node, f"{way['transport']} latency", f"{asked}, and {way['lost']} look-ups had no answer", cure
            )
        elif way["milliseconds"] and (slowest := percentile(way["milliseconds"], 0.99)) > plan.latency_limit:
            yield Failure(
                node,
                f"{way['transport']} latency",
                f"{asked}, and 99 of 100 answers took up to {slowest:.1f} ms, more than the limit of "
                f"{plan.latency_limit:g} ms (cluster_dns_latency_limit)",
                cure,
            )


def _latency_cell(result: Json, transport: str, is_failed: bool) -> str:
    values = list(_milliseconds(result["latency"], transport))
    figures = f"{percentile(values, 0.5):.1f}/{percentile(values, 0.99):.1f}" if values else NOT_ASKED
    return f"{FAILED}({figures})" if is_failed else figures


def _milliseconds(latency: Iterable[Json], transport: str) -> Iterator[float]:
    for way in latency:
        if way["transport"] == transport:
            yield from way["milliseconds"]
