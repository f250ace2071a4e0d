from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils import capacity
from ansible_collections.mlstack.kubernetes.plugins.module_utils.capacity import (
    Demand,
    Fit,
    could_ever_fit,
    demand_of,
    device_hints,
    fits,
    format_amount,
    is_open,
    requests_of,
    rooms_of,
    table,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st


def node(
    labels: dict[str, str] | None = None, taints: list[Any] | None = None, name: str = "n", **allocatable: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": taints or []},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", **allocatable}},
    }


GPU_TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("spec", "nodes", "fits"),
    [
        ({}, [node()], True),
        ({}, [], False),
        ({"containers": [{"resources": {"requests": {"cpu": "100"}}}]}, [node()], False),
        ({"containers": [{"resources": {"requests": {"cpu": "3"}}}] * 2}, [node()], False),
        ({"containers": [{"resources": {"requests": {"cpu": "3"}}}] * 2}, [node(), node(cpu="6")], True),
        ({"initContainers": [{"resources": {"requests": {"cpu": "5"}}}]}, [node()], False),
        ({"containers": [{"resources": {"limits": {"nvidia.com/gpu": 1}}}]}, [node()], False),
        ({"containers": [{"resources": {"limits": {"nvidia.com/gpu": 1}}}]}, [node(**{"nvidia.com/gpu": "1"})], True),
        ({"nodeSelector": {"zone": "a"}}, [node()], False),
        ({"nodeSelector": {"zone": "a"}}, [node({"zone": "a"})], True),
        ({}, [node(taints=[GPU_TAINT])], False),
        ({}, [node(taints=[{**GPU_TAINT, "effect": "PreferNoSchedule"}])], True),
        ({}, [node(taints=[{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])], True),
        ({"tolerations": [{"key": "gpu", "operator": "Exists"}]}, [node(taints=[GPU_TAINT])], True),
        ({"tolerations": [{"operator": "Exists"}]}, [node(taints=[GPU_TAINT])], True),
        ({"tolerations": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}, [node(taints=[GPU_TAINT])], True),
        ({"tolerations": [{"key": "gpu", "value": "no"}]}, [node(taints=[GPU_TAINT])], False),
        (
            {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]},
            [node(taints=[GPU_TAINT])],
            False,
        ),
        ({"tolerations": [{"key": "gpu", "operator": "Gt", "value": "3"}]}, [node(taints=[GPU_TAINT])], True),
        ({}, [node(taints=[{"key": "node.cilium.io/agent-not-ready", "effect": "NoExecute"}])], True),
        ({}, [node(pods="0")], False),
        ({}, [node(pods="1")], True),
        ({"nodeName": "m"}, [node()], True),
        ({"containers": [{"resources": {"limits": {"nvidia.com/gpu": "0"}}}]}, [node()], True),
        ({"containers": [{"resources": {"requests": {"cpu": "much"}}}]}, [node()], True),
        ({"containers": [{"resources": {"requests": {"cpu": "3"}}}], "overhead": {"cpu": "2"}}, [node()], False),
    ],
)
def test_fits_an_empty_node(spec: dict[str, Any], nodes: list[Any], fits: bool) -> None:
    assert could_ever_fit({"spec": spec}, nodes) is fits


def requirement(operator: str, *values: str, key: str = "size") -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def labelled(*requirements: dict[str, Any]) -> dict[str, Any]:
    return {"matchExpressions": list(requirements)}


@pytest.mark.parametrize(
    ("terms", "labels", "fits"),
    [
        ([labelled(requirement("In", "8", "16"))], {"size": "8"}, True),
        ([labelled(requirement("In", "8", "16"))], {"size": "4"}, False),
        ([labelled(requirement("In", "8"))], {}, False),
        ([labelled(requirement("NotIn", "8"))], {"size": "4"}, True),
        ([labelled(requirement("NotIn", "8"))], {}, True),
        ([labelled(requirement("NotIn", "8"))], {"size": "8"}, False),
        ([labelled(requirement("Exists"))], {"size": ""}, True),
        ([labelled(requirement("Exists"))], {}, False),
        ([labelled(requirement("DoesNotExist"))], {}, True),
        ([labelled(requirement("DoesNotExist"))], {"size": "8"}, False),
        ([labelled(requirement("Gt", "9"))], {"size": "10"}, True),
        ([labelled(requirement("Gt", "10"))], {"size": "10"}, False),
        ([labelled(requirement("Lt", "10"))], {"size": "9"}, True),
        ([labelled(requirement("Lt", "10"))], {"size": "large"}, False),
        ([labelled(requirement("Lt", "10"))], {}, False),
        # All requirements of a term, and any of the terms.
        ([labelled(requirement("Exists"), requirement("Exists", key="zone"))], {"size": "8"}, False),
        ([labelled(requirement("Exists", key="zone")), labelled(requirement("Exists"))], {"size": "8"}, True),
        ([{"matchFields": [requirement("In", "n", key="metadata.name")]}], {}, True),
        ([{"matchFields": [requirement("In", "m", key="metadata.name")]}], {}, False),
        # A term that asks for nothing matches nothing.
        ([{}], {"size": "8"}, False),
        ([labelled(requirement("Resembles", "8"))], {}, True),
    ],
)
def test_required_node_affinity(terms: list[Any], labels: dict[str, str], fits: bool) -> None:
    assert could_ever_fit({"spec": affinity(*terms)}, [node(labels)]) is fits


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu}}, **more}


def test_requests_of_init_containers_and_sidecars() -> None:
    sidecar = {"restartPolicy": "Always"}
    pod = {"containers": [container("1"), container("1")], "initContainers": [container("3")]}
    assert requests_of(pod) == {"cpu": 3}
    # One that came before runs on beside the init container and the others.
    pod["initContainers"] = [container("2", **sidecar), container("3"), container("1", **sidecar)]
    assert requests_of(pod) == {"cpu": 5}
    pod["initContainers"] = [container("3"), container("2", **sidecar)]
    assert requests_of(pod) == {"cpu": 4}


# -- all replicas at once


def demand(count: int = 1, role: str = "Worker", pod: dict[str, Any] | None = None, **requests: Any) -> Demand:
    return demand_of(role, count, {"containers": [{"resources": {"requests": requests}}], **(pod or {})})


def fit(demands: list[Demand], nodes: list[Any]) -> Fit:
    return fits(demands, rooms_of(nodes, demands))


@pytest.mark.parametrize(
    ("demands", "nodes", "reason"),
    [
        ([demand(2, cpu="3")], [node(), node()], ""),
        ([demand(3, cpu="3")], [node(), node()], "the nodes have places for 2 of the 3 replicas of Worker"),
        ([demand(cpu="5")], [node(), node()], "no node takes a replica of Worker (2 nodes: too little cpu)"),
        ([demand()], [], "no node takes a replica of Worker (there are no nodes)"),
        (
            [demand(**{"nvidia.com/gpu": "1"})],
            [node(), node(taints=[GPU_TAINT])],
            "no node takes a replica of Worker (1 node: no nvidia.com/gpu; "
            "1 node: the taint gpu=yes:NoSchedule is not tolerated)",
        ),
        (
            [demand(role="Chief", cpu="2"), demand(2, cpu="3.5")],
            [node(), node()],
            "Chief, Worker together ask for 9 of cpu, and the nodes that they can go to have 8",
        ),
        # The sums would do; the pieces do not.
        (
            [demand(role="Chief", cpu="3"), demand(2, cpu="2.5")],
            [node(), node()],
            "however they are placed, the replicas of Chief, Worker are too many for the nodes together",
        ),
        # Alike to the scheduler, whatever they are called.
        (
            [demand(role="Chief", cpu="3"), demand(2, cpu="3")],
            [node(), node()],
            "the nodes have places for 2 of the 3 replicas of Chief, Worker",
        ),
        ([demand(2, pod={"nodeSelector": {"zone": "a"}}, cpu="2")], [node({"zone": "a"}), node()], ""),
        (
            [demand(3, pod={"nodeSelector": {"zone": "a"}}, cpu="2")],
            [node({"zone": "a"}), node()],
            "the nodes have places for 2 of the 3 replicas of Worker",
        ),
        ([demand(pod={"nodeName": "n"})], [node(taints=[GPU_TAINT])], ""),
        (
            [demand(pod={"nodeName": "m"})],
            [node()],
            "no node takes a replica of Worker (1 node: it is not 'm', which nodeName names)",
        ),
        ([demand(4, cpu="1")], [node(pods="3")], "the nodes have places for 3 of the 4 replicas of Worker"),
    ],
)
def test_a_job_needs_all_its_replicas_at_once(demands: list[Demand], nodes: list[Any], reason: str) -> None:
    assert fit(demands, nodes) == Fit(not reason, reason)


def test_replicas_do_not_share_a_port_of_a_node() -> None:
    def with_port(role: str, count: int) -> Demand:
        ports = {"containers": [{"ports": [{"containerPort": 80, "hostPort": 80}]}]}
        return demand_of(role, count, ports)

    assert fit([with_port("Worker", 2)], [node(), node()]).possible is True
    assert fit([with_port("Worker", 2)], [node()]).possible is False
    assert fit([with_port("Chief", 1), with_port("Worker", 1)], [node()]).possible is False


def test_nothing_wanted_fits_anywhere() -> None:
    assert fits([], []).possible is True


def can_be_placed(demands: list[Demand], nodes: list[Any]) -> bool:
    """Tries everything."""
    pods = [one for one in demands for _copy in range(one.count)]
    for targets in product(range(len(nodes)), repeat=len(pods)):
        used: dict[tuple[int, str], Decimal] = {}
        for one, target in zip(pods, targets, strict=True):
            labels = nodes[target]["metadata"]["labels"]
            if not one.pod.get("nodeSelector", {}).items() <= labels.items():
                break
            for resource, amount in one.wants.items():
                used[target, resource] = used.get((target, resource), Decimal(0)) + amount
        else:
            if all(
                amount <= Decimal(nodes[target]["status"]["allocatable"].get(resource, "99"))
                for (target, resource), amount in used.items()
            ):
                return True
    return False


# Mostly such that neither answer is plain.
ZONES = st.sampled_from([{}, {}, {}, {"zone": "a"}])
NODES = st.lists(
    st.builds(
        lambda zone, cpu, gpu: node(zone, cpu=str(cpu), gpu=str(gpu)), ZONES, st.integers(2, 8), st.integers(0, 5)
    ),
    min_size=1,
    max_size=3,
)
DEMANDS = st.lists(
    st.builds(
        lambda count, zone, cpu, gpu: (count, zone, {"cpu": str(cpu), "gpu": str(gpu)}),
        st.integers(1, 3),
        ZONES,
        st.integers(1, 5),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=3,
).map(
    lambda rows: [
        demand(count, role, {"nodeSelector": zone}, **requests)
        for role, (count, zone, requests) in zip(("Chief", "PS", "Worker"), rows, strict=False)
    ]
)
FEW_PODS = DEMANDS.filter(lambda demands: sum(one.count for one in demands) <= 6)
SETTINGS = settings(deadline=None, derandomize=True, max_examples=500)


@SETTINGS
@given(FEW_PODS, NODES)
def test_small_cases_are_decided_exactly(demands: list[Demand], nodes: list[Any]) -> None:
    assert fit(demands, nodes).possible is can_be_placed(demands, nodes)


@SETTINGS
@given(FEW_PODS, NODES, st.integers(1, 3))
def test_a_narrow_search_errs_on_no_side(demands: list[Demand], nodes: list[Any], ways: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capacity, "WAYS", ways)
        assert fit(demands, nodes).possible in (None, can_be_placed(demands, nodes))


@SETTINGS
@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.lists(st.integers(0, 64), min_size=1, max_size=50),
)
@example(8, 8, [64])
@example(9, 8, [64])
def test_replicas_of_one_kind_are_counted_exactly(count: int, each: int, has: list[int]) -> None:
    nodes = [node(cpu=str(cpu)) for cpu in has]
    assert fit([demand(count, cpu=str(each))], nodes).possible is (sum(cpu // each for cpu in has) >= count)


def test_a_search_on_a_large_cluster_ends() -> None:
    nodes = [node(name=f"n{number}", cpu="64", memory="256Gi", pods="110") for number in range(1000)]
    job = [demand(1, "Chief", cpu="3"), demand(40, "PS", cpu="7", memory="20Gi"), demand(900, "Worker", cpu="33")]
    assert fit(job, nodes).possible is True
    too_much = [*job, demand(200, "Evaluator", cpu="60")]
    assert fit(too_much, nodes).possible is not True


# -- now


def test_what_is_used_is_not_free() -> None:
    wanted = [demand(2, cpu="2")]
    nodes = [node()]
    assert fits(wanted, rooms_of(nodes, wanted, {"n": {"cpu": Decimal(0)}})).possible is True
    assert fits(wanted, rooms_of(nodes, wanted, {"n": {"cpu": Decimal("0.5")}})).possible is False
    assert fits(wanted, rooms_of(nodes, wanted, {"n": {"cpu": Decimal(5)}})).possible is False


@pytest.mark.parametrize(
    ("spec", "open_"),
    [
        ({}, True),
        ({"unschedulable": True}, False),
        ({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}, False),
        ({"taints": [{"key": "node.kubernetes.io/memory", "effect": "PreferNoSchedule"}]}, True),
        ({"taints": [GPU_TAINT]}, True),
    ],
)
def test_a_node_that_is_not_ready_is_closed(spec: dict[str, Any], open_: bool) -> None:
    assert is_open({"metadata": {"name": "n"}, "spec": spec}) is open_


# -- in words


@pytest.mark.parametrize(
    ("resource", "amount", "text"),
    [
        ("cpu", "0.5", "0.5"),
        ("cpu", "10", "10"),
        ("memory", "2147483648", "2Gi"),
        ("memory", "500", "500"),
        ("memory", "1610612736", "1.5Gi"),
        ("nvidia.com/gpu", "0", "0"),
    ],
)
def test_amounts_in_words(resource: str, amount: str, text: str) -> None:
    assert format_amount(resource, Decimal(amount)) == text


def test_the_table_compares_what_is_wanted_with_what_there_is() -> None:
    zone = {"zone": "a"}
    wanted = [demand(1, "Chief", cpu="1"), demand(4, pod={"nodeSelector": zone}, cpu="2", memory="1Gi")]
    nodes = [node(zone, name="a"), node(name="b", cpu="16")]
    free = rooms_of(nodes, wanted, {"a": {"cpu": Decimal(3)}, "b": {"cpu": Decimal(20)}})
    assert table(wanted, rooms_of(nodes, wanted), free) == [
        "role    resource  wanted   largest node  all nodes  free now",
        "Chief   cpu       1 x 1    16            20         1, at most 1 on one node",
        "Worker  cpu       4 x 2    4             4          1, at most 1 on one node",
        "Worker  memory    4 x 1Gi  8Gi           8Gi        8Gi, at most 8Gi on one node",
    ]
    assert table(wanted, rooms_of(nodes, wanted), None)[1].endswith("  unknown")


# -- devices

CARD = {"feature.node.kubernetes.io/pci-0302_10de.present": "true"}


@pytest.mark.parametrize(
    ("resource", "nodes", "hints"),
    [
        ("nvidia.com/gpu", [node()], []),
        ("nvidia.com/gpu", [node(**{"nvidia.com/gpu": "1"})], []),
        (
            "nvidia.com/gpu",
            [node(name=name, **{"nvidia.com/gpu.shared": "4"}) for name in ("m", "n")],
            ["nvidia.com/gpu.shared (GPUs shared in time): 8"],
        ),
        ("nvidia.com/gpu", [node(**{"nvidia.com/mig-1g.5gb": "7"})], ["nvidia.com/mig-1g.5gb (slices of GPUs): 7"]),
        ("nvidia.com/gpu", [node(**{"amd.com/gpu": "2"})], ["amd.com/gpu: 2"]),
        ("nvidia.com/gpu", [node(**{"rdma/hca": "1"})], []),
        ("nvidia.com/gpus", [node(**{"nvidia.com/gpu": "1"})], ["nvidia.com/gpu: 1"]),
        (
            "nvidia.com/gpu",
            [node(CARD, **{"rdma/hca": "1"})],
            ["n: by the node's labels there is a card of nvidia.com"],
        ),
        ("nvidia.com/gpu", [node(CARD, **{"nvidia.com/gpu": "0"})], ["card of nvidia.com"]),
        ("nvidia.com/gpu", [node({"nvidia.com/gpu.present": "true"})], ["card of nvidia.com"]),
        ("amd.com/gpu", [node({"feature.node.kubernetes.io/pci-1002.present": "true"})], ["card of amd.com"]),
        ("amd.com/gpu", [node(CARD)], []),
    ],
)
def test_says_what_is_there_in_place_of_a_missing_device(resource: str, nodes: list[Any], hints: list[str]) -> None:
    found = list(device_hints(resource, nodes))
    assert len(found) == len(hints)
    assert all(hint in text for hint, text in zip(hints, found, strict=True))
