# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Asks the cluster's DNS from a pod on every node: what is asked, the pods that ask, and what they were told."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.mlstack.kubernetes.plugins.module_utils.corefile import names_pods
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import as_dict, as_list
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    core_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.proof_pods import (
    await_end,
    pod_on,
    see_nodes,
    told_by,
    trouble_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.watch import Picture, Source

NAMESPACE = "cluster-dns-verify"
SERVICE = "kubernetes.default"
# Where the DNS is: its namespace, the labels of its Service and of its pods, its ConfigMap. OpenShift has its own.
PLACES = (
    ("kube-system", "k8s-app=kube-dns", "k8s-app=kube-dns", "coredns"),
    (
        "openshift-dns",
        "dns.operator.openshift.io/owning-dns=default",
        "dns.operator.openshift.io/daemonset-dns=default",
        "dns-default",
    ),
)
# Reserved for documentation (RFC 5737, RFC 3849): nobody has these addresses, and nobody is to connect to them.
ENDPOINTS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
DELETION_SECONDS = 60.0


class NoDnsError(Exception):
    """The cluster has no DNS that could be proved."""


@dataclass(frozen=True)
class Plan:
    """What is asked, and how long anything may take."""

    image: str
    program: str
    domain: str = "cluster.local"
    external_names: Sequence[str] = ()
    lookups: int = 50
    # Milliseconds that 99 of 100 look-ups may take.
    latency_limit: float = 1000.0
    # Seconds: for one look-up, and for all pods.
    timeout: float = 2.0
    wait_timeout: float = 120.0
    # Address of the cache that each node has; empty where there is none.
    node_cache: str = ""
    # None for the one that the cluster gives to its pods.
    run_as_user: int | None = None


@dataclass
class Cluster:
    """What the API knows of the DNS and the nodes."""

    # The DNS's Service, as namespace/name, its addresses and its selector.
    service: str
    addresses: list[str]
    selector: dict[str, str]
    # How many of its endpoints are ready, and the pods behind it with what is wrong with them, if anything.
    ready: int
    pods: dict[str, str]
    # None where it is not a CoreDNS, or its ConfigMap may not be read.
    corefile: str | None
    # Address of the Service kubernetes.default, which is looked up.
    kubernetes: str
    nodes: list[str] = field(default_factory=list)
    # Nodes from which nothing is asked, with the reason.
    left_out: dict[str, str] = field(default_factory=dict)
    # Nodes from which something should be asked, and cannot.
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def has_pod_names(self) -> bool:
        return self.corefile is None or names_pods(self.corefile)


def see(api: KubeApi) -> Cluster:
    service, pod_labels, config_map = _find_service(api)
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    spec = as_dict(service.get("spec"))
    slices = api.get(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
        {"labelSelector": f"kubernetes.io/service-name={name}"},
    )
    pods = api.get(pods_path(namespace), {"labelSelector": pod_labels})
    nodes = see_nodes(api)
    return Cluster(
        service=f"{namespace}/{name}",
        addresses=_addresses(spec),
        selector={str(key): str(value) for key, value in as_dict(spec.get("selector")).items()},
        ready=len({address for part in as_list(slices.get("items")) for address in _ready_addresses(part)}),
        pods={pod["metadata"]["name"]: trouble_of(pod) for pod in as_list(pods.get("items"))},
        corefile=_corefile(api, namespace, config_map),
        kubernetes=_addresses(as_dict(api.get(core_path("default", "services", "kubernetes")).get("spec")))[0],
        nodes=nodes.able,
        left_out=nodes.left_out,
        broken=nodes.broken,
    )


def _find_service(api: KubeApi) -> tuple[Json, str, str]:
    for namespace, labels, pod_labels, config_map in PLACES:
        services = api.get(f"/api/v1/namespaces/{namespace}/services", {"labelSelector": labels})
        # Beside the one that pods use there may be a headless one for metrics.
        for service in as_list(services.get("items")):
            if _addresses(as_dict(service.get("spec"))):
                return service, pod_labels, config_map
    raise NoDnsError(
        "The namespace kube-system has no Service with the label k8s-app=kube-dns, by which pods find the cluster's "
        "DNS. Install CoreDNS with such a Service, at the address that the kubelets' clusterDNS names."
    )


def _ready_addresses(endpoint_slice: Json) -> Iterator[str]:
    for endpoint in as_list(endpoint_slice.get("endpoints")):
        # What is not said means ready.
        if as_dict(endpoint.get("conditions")).get("ready") is not False:
            yield from map(str, as_list(endpoint.get("addresses")))


def _addresses(spec: Json) -> list[str]:
    several = as_list(spec.get("clusterIPs")) or [spec.get("clusterIP")]
    return [str(address) for address in several if address not in (None, "", "None")]


def _corefile(api: KubeApi, namespace: str, config_map: str) -> str | None:
    try:
        data = as_dict(api.get(core_path(namespace, "configmaps", config_map)).get("data"))
    except ApiError as error:
        if error.status in (403, 404):
            return None
        raise
    return str(data["Corefile"]) if "Corefile" in data else None


# -- what is asked


def questions(plan: Plan, cluster: Cluster) -> Json:
    """What the program in each pod is told to ask."""
    address = ipaddress.ip_address(cluster.kubernetes)
    kind = "A" if address.version == 4 else "AAAA"
    first, second = ENDPOINTS[address.version]
    service, headless = f"{SERVICE}.svc.{plan.domain}.", f"headless.{NAMESPACE}.svc.{plan.domain}."
    checks = [
        _check("service", SERVICE, kind, [cluster.kubernetes]),
        _check("service", service, kind, [cluster.kubernetes]),
        _check("headless", "headless", kind, [first, second], fresh=True),
        _check("headless", headless, kind, [first, second], fresh=True),
        _check("headless", f"first.{headless}", kind, [first], fresh=True),
        _check("reverse", f"{address.reverse_pointer}.", "PTR", [service]),
    ]
    if cluster.has_pod_names:
        checks.append(_check("pod", "{address}." + f"{NAMESPACE}.pod.{plan.domain}.", kind, ["{address}"], fresh=True))
    for name in plan.external_names:
        bare = name.rstrip(".")
        checks += [_check("external", bare, kind, []), _check("external", f"{bare}.", kind, [])]
    return {
        "checks": checks,
        # Besides those that pods are told to ask.
        "servers": [plan.node_cache] if plan.node_cache else [],
        "lookups": plan.lookups,
        "measured": {"name": service, "type": kind},
        "timeout": plan.timeout,
    }


def _check(check: str, name: str, kind: str, expected: list[str], fresh: bool = False) -> Json:
    return {"check": check, "name": name, "type": kind, "expected": expected, "fresh": fresh}


def objects(plan: Plan, cluster: Cluster) -> list[tuple[str, Json]]:
    """What is made for the proof, each with the path where it is made. The names come first: the pods take longer."""
    version = ipaddress.ip_address(cluster.kubernetes).version
    first, second = ENDPOINTS[version]
    labels = {"app.kubernetes.io/part-of": "cluster-dns", "app.kubernetes.io/managed-by": "mlstack"}
    ports = [{"name": "none", "port": 9, "protocol": "TCP"}]
    core, discovery = f"/api/v1/namespaces/{NAMESPACE}", f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}"
    return [
        (
            "/api/v1/namespaces",
            {
                "metadata": {
                    "name": NAMESPACE,
                    "labels": {**labels, "pod-security.kubernetes.io/enforce": "restricted"},
                }
            },
        ),
        # Pods that are made at once would have to wait for the namespace's own account.
        (f"{core}/serviceaccounts", {"metadata": {"name": "probe"}, "automountServiceAccountToken": False}),
        (f"{core}/services", {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "ports": ports}}),
        (
            f"{discovery}/endpointslices",
            {
                "metadata": {"name": "headless", "labels": {**labels, "kubernetes.io/service-name": "headless"}},
                "addressType": f"IPv{version}",
                "ports": ports,
                "endpoints": [
                    {"addresses": [first], "hostname": "first", "conditions": {"ready": True}},
                    {"addresses": [second], "hostname": "second", "conditions": {"ready": True}},
                ],
            },
        ),
        (
            f"{core}/configmaps",
            {
                "metadata": {"name": "probe"},
                "data": {"dns_probe.py": plan.program, "plan.json": json.dumps(questions(plan, cluster))},
            },
        ),
        *((f"{core}/pods", _pod(f"probe-{index}", node, plan)) for index, node in enumerate(cluster.nodes)),
    ]


def _pod(name: str, node: str, plan: Plan) -> Json:
    container = {
        "image": plan.image,
        "command": ["python3", "-B", "/probe/dns_probe.py", "/probe/plan.json"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "volumeMounts": [{"name": "probe", "mountPath": "/probe", "readOnly": True}],
    }
    pod = pod_on(node, name, container, [{"name": "probe", "configMap": {"name": "probe"}}], plan.run_as_user)
    pod["spec"]["serviceAccountName"] = "probe"
    return pod


# -- the pods that ask


def ask_everywhere(api: KubeApi, plan: Plan, cluster: Cluster) -> dict[str, Json | str]:
    """Of each node what its pod was told, or why it could not ask. Nobody waits until everything is deleted again."""
    # What an interrupted proof left, or one that has just ended.
    if _delete(api):
        _await_deletion(api)
    try:
        for path, body in objects(plan, cluster):
            api.create(path, body)
        pods = await_end(api, NAMESPACE, len(cluster.nodes), plan.wait_timeout)
        return {pod["spec"]["nodeName"]: told_by(api, NAMESPACE, pod, plan.wait_timeout) for pod in pods}
    finally:
        _delete(api)


def _delete(api: KubeApi) -> bool:
    """Delete the namespace and all that is in it; whether there was one."""
    try:
        api.delete(core_path("", "namespaces", NAMESPACE))
    except ApiError as error:
        if error.status == 404:
            return False
        # It is being deleted.
        if error.status != 409:
            raise
    return True


def _await_deletion(api: KubeApi) -> None:
    source = Source("/api/v1/namespaces", {"fieldSelector": f"metadata.name={NAMESPACE}"})
    with Picture(api, {"namespaces": source}) as picture:
        for _changes in picture.updates(time.monotonic() + DELETION_SECONDS):
            if "namespaces" in picture.known and NAMESPACE not in picture.objects["namespaces"]:
                return
    raise ApiError(
        409,
        "Conflict",
        f"The namespace {NAMESPACE} of an earlier proof is still being deleted after {DELETION_SECONDS:.0f} s. Look "
        f"what holds it up: kubectl get namespace {NAMESPACE} -o yaml.",
    )
