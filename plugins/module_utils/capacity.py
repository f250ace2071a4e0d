# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Whether pods have room: what a pod wants, what a node offers, and whether all replicas of a job fit at once.

Says no only where that is certain. What it does not look at (affinity between pods, topology, volumes) counts as
fitting.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from itertools import combinations, islice
from math import isqrt
from operator import add, ge

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import as_dict, as_list
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.quantities import parse_quantity

PODS = "pods"
_HOST_PORT = "host port "
# Asks for a device of a class, which no node counts.
_DEVICE_CLASS = "deviceclass.resource.kubernetes.io"
_NO_AMOUNT = Decimal(0)
_NO_LIMIT = Decimal("Infinity")
# Taints that tell of a passing condition: not ready, under pressure, cordoned, or still being set up.
_PASSING_TAINT = re.compile(
    r"node\.kubernetes\.io/.*|node\.cloudprovider\.kubernetes\.io/.*|startup-taint\.cluster-autoscaler\.kubernetes\.io/.*"
    r"|.*/agent-not-ready"
)

# How far the search for places goes: in all, and from one node to the next.
STEPS = 100_000
WAYS = 32
# Up to so many kinds of pods, every selection of them is summed up.
FEW = 6
MANY = 1_000_000

Amounts = Mapping[str, Decimal]


# -- what a pod wants


def requests_of(pod_spec: Json) -> dict[str, Decimal]:
    """What the scheduler reserves: all containers together, more where an init container needs it, and the overhead."""
    steady: dict[str, Decimal] = {}
    for container in as_list(pod_spec.get("containers")):
        steady = _sum(steady, _container_requests(container))
    sidecars: dict[str, Decimal] = {}
    peak: dict[str, Decimal] = {}
    for container in as_list(pod_spec.get("initContainers")):
        requests = _container_requests(container)
        if as_dict(container).get("restartPolicy") == "Always":
            sidecars = _sum(sidecars, requests)
        else:
            peak = _maximum(peak, _sum(sidecars, requests))
    return _sum(_maximum(_sum(steady, sidecars), peak), amounts_of(pod_spec.get("overhead")))


def wants_of(pod_spec: Json) -> dict[str, Decimal]:
    """All that a node must have for the pod: besides its requests, a place among its pods and free ports of its own."""
    ports = {
        f"{_HOST_PORT}{port.get('hostIP') or ''}{port.get('protocol') or 'TCP'}/{port['hostPort']}": Decimal(1)
        for container in as_list(pod_spec.get("containers"))
        for port in map(as_dict, as_list(as_dict(container).get("ports")))
        if port.get("hostPort")
    }
    requests = {resource: amount for resource, amount in requests_of(pod_spec).items() if amount > 0}
    return {**requests, PODS: Decimal(1), **ports}


def _container_requests(container: object) -> dict[str, Decimal]:
    resources = as_dict(as_dict(container).get("resources"))
    # A limit without a request is a request, too.
    return amounts_of({**as_dict(resources.get("limits")), **as_dict(resources.get("requests"))})


def total_of(several: Iterable[Amounts]) -> dict[str, Decimal]:
    return reduce(_sum, several, {})


def amounts_of(quantities: object) -> dict[str, Decimal]:
    return {resource: _amount(quantity) for resource, quantity in as_dict(quantities).items()}


def _amount(quantity: object) -> Decimal:
    try:
        return parse_quantity(quantity)
    except ValueError:
        # The API server will refuse it, with the reason.
        return _NO_AMOUNT


def _sum(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    return {key: one.get(key, _NO_AMOUNT) + other.get(key, _NO_AMOUNT) for key in {**one, **other}}


def _maximum(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    return {key: max(one.get(key, _NO_AMOUNT), other.get(key, _NO_AMOUNT)) for key in {**one, **other}}


# -- what a node offers, and to whom


def allocatable(node: Json, resource: str) -> Decimal:
    if resource.startswith(_HOST_PORT):
        return Decimal(1)
    offered = as_dict(as_dict(node.get("status")).get("allocatable")).get(resource)
    if offered is None:
        return _NO_LIMIT if resource == PODS else _NO_AMOUNT
    return _amount(offered)


def is_open(node: Json) -> bool:
    """Whether pods may go there at this moment: it is ready and not cordoned."""
    spec = as_dict(node.get("spec"))
    return not spec.get("unschedulable") and not any(
        _PASSING_TAINT.fullmatch(str(taint.get("key"))) and taint.get("effect") != "PreferNoSchedule"
        for taint in map(as_dict, as_list(spec.get("taints")))
    )


def _misplaced(pod_spec: Json, node: Json) -> str | None:
    labels = as_dict(node["metadata"].get("labels"))
    for key, value in as_dict(pod_spec.get("nodeSelector")).items():
        if labels.get(key) != value:
            return f"nodeSelector {key}={value} does not match"
    if not _affinity_matches(pod_spec, node):
        return "the required node affinity does not match"
    name = pod_spec.get("nodeName")
    if name:
        # Such a pod passes the scheduler by, and taints with it.
        return None if name == node["metadata"].get("name") else f"it is not {name!r}, which nodeName names"
    tolerations = [as_dict(entry) for entry in as_list(pod_spec.get("tolerations"))]
    for taint in map(as_dict, as_list(as_dict(node.get("spec")).get("taints"))):
        if _PASSING_TAINT.fullmatch(str(taint.get("key"))) or taint.get("effect") == "PreferNoSchedule":
            continue
        if not any(_tolerates(toleration, taint) for toleration in tolerations):
            value = f"={taint['value']}" if taint.get("value") else ""
            return f"the taint {taint.get('key')}{value}:{taint.get('effect')} is not tolerated"
    return None


def _tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    same_value = (toleration.get("value") or "") == (taint.get("value") or "")
    return toleration.get("key") == taint.get("key") and (same_value or operator != "Equal")


def _affinity_matches(pod_spec: Json, node: Json) -> bool:
    affinity = as_dict(as_dict(pod_spec.get("affinity")).get("nodeAffinity"))
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    terms = as_list(as_dict(required).get("nodeSelectorTerms"))
    return any(_term_matches(as_dict(term), node) for term in terms)


def _term_matches(term: Json, node: Json) -> bool:
    labels = as_dict(node["metadata"].get("labels"))
    fields = {"metadata.name": node["metadata"].get("name")}
    requirements = [
        (as_dict(requirement), values)
        for key, values in (("matchExpressions", labels), ("matchFields", fields))
        for requirement in as_list(term.get(key))
    ]
    return bool(requirements) and all(_matches(requirement, values) for requirement, values in requirements)


def _matches(requirement: Json, labels: Json) -> bool:
    key, operator = str(requirement.get("key")), requirement.get("operator")
    values = as_list(requirement.get("values"))
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator in ("Gt", "Lt"):
        numbers = [str(labels.get(key)), *map(str, values)]
        if len(numbers) != 2 or not all(re.fullmatch(r"[+-]?[0-9]+", number) for number in numbers):
            return False
        has, bound = map(int, numbers)
        return has > bound if operator == "Gt" else has < bound
    return True


# -- whether all replicas have room at once


@dataclass(frozen=True)
class Demand:
    """The replicas of one role: pods that are alike, and how many."""

    role: str
    count: int
    pod: Json
    wants: Amounts


@dataclass(frozen=True)
class Room:
    """A node, and how much of it there is for the pods in question."""

    node: Json
    free: Amounts


@dataclass(frozen=True)
class Fit:
    """Whether it is possible, None where that could not be found out; and where it is not, why."""

    possible: bool | None
    reason: str = ""


def demand_of(role: str, count: int, pod_spec: Json, without: Collection[str] = ()) -> Demand:
    """`without` names devices that no node counts, as a driver allocates them."""
    wants = {
        resource: amount
        for resource, amount in wants_of(pod_spec).items()
        if resource not in without and not resource.startswith(f"{_DEVICE_CLASS}/")
    }
    return Demand(role, count, pod_spec, wants)


def rooms_of(nodes: Iterable[Json], demands: Iterable[Demand], used: Mapping[str, Amounts] | None = None) -> list[Room]:
    """The nodes as they are when empty, or less what is `used` on each."""
    resources = {resource for demand in demands for resource in demand.wants}
    rooms = []
    for node in nodes:
        taken = (used or {}).get(str(node["metadata"].get("name")), {})
        free = {resource: allocatable(node, resource) - taken.get(resource, _NO_AMOUNT) for resource in resources}
        rooms.append(Room(node, free))
    return rooms


def fits(demands: Sequence[Demand], rooms: Sequence[Room]) -> Fit:
    """Whether all replicas have a place at the same time: replicas that train together wait for the last one."""
    groups = _groups(demands, rooms)
    if not groups:
        return Fit(True)
    reason = next(_shortages(groups, rooms), "")
    if reason:
        return Fit(False, reason)
    possible = _search(groups, rooms)
    if possible is False:
        roles = ", ".join(group.roles for group in groups)
        return Fit(False, f"however they are placed, the replicas of {roles} are too many for the nodes together")
    return Fit(possible)


def could_ever_fit(pod: Json, nodes: Iterable[Json]) -> bool:
    """Whether some node, were it empty, would take the pod. Then the pod is only waiting for its turn."""
    # Where it may be now does not matter.
    demand = demand_of("", 1, {**as_dict(pod.get("spec")), "nodeName": None})
    return bool(fits([demand], rooms_of(nodes, [demand])).possible)


@dataclass
class _Group:
    """Replicas that are alike to the scheduler, and how many of them each node takes when it takes no others."""

    roles: str
    count: int
    pod: Json
    wants: Amounts
    places: list[int]


def _groups(demands: Sequence[Demand], rooms: Sequence[Room]) -> list[_Group]:
    groups: dict[tuple[object, ...], _Group] = {}
    for demand in demands:
        may_go = tuple(_misplaced(demand.pod, room.node) is None for room in rooms)
        key = (tuple(sorted(demand.wants.items())), may_go)
        if key in groups:
            groups[key].roles += f", {demand.role}"
            groups[key].count += demand.count
        else:
            places = [_times(room.free, demand.wants) if may else 0 for room, may in zip(rooms, may_go, strict=True)]
            groups[key] = _Group(demand.role, demand.count, demand.pod, demand.wants, places)
    return list(groups.values())


def _times(free: Amounts, wants: Amounts, most: int = MANY) -> int:
    """How many pods of a kind there is room for."""
    return max(0, int(min(Decimal(most), *(free[resource] // amount for resource, amount in wants.items()))))


def _shortages(groups: Sequence[_Group], rooms: Sequence[Room]) -> Iterator[str]:
    """Sums that leave no way out, whatever goes where."""
    for group in groups:
        places = sum(group.places)
        if not places:
            yield f"no node takes a replica of {group.roles} ({_obstacles(group, rooms)})"
        elif places < group.count:
            yield f"the nodes have places for {places} of the {group.count} replicas of {group.roles}"
    sizes = range(2, len(groups) + 1) if len(groups) <= FEW else [len(groups)]
    for some in (some for size in sizes for some in combinations(groups, size)):
        open_rooms = [room for index, room in enumerate(rooms) if any(group.places[index] for group in some)]
        for resource in sorted({resource for group in some for resource in group.wants}):
            wanted = sum(group.count * group.wants.get(resource, _NO_AMOUNT) for group in some)
            offered = sum(max(_NO_AMOUNT, room.free[resource]) for room in open_rooms)
            if wanted > offered:
                roles = ", ".join(group.roles for group in some)
                yield (
                    f"{roles} together ask for {format_amount(resource, Decimal(wanted))} of {resource}, and the nodes "
                    f"that they can go to have {format_amount(resource, Decimal(offered))}"
                )


def _obstacles(group: _Group, rooms: Sequence[Room]) -> str:
    counted = Counter(_obstacle(group, room) for room in rooms)
    told = [f"{number} node{'s' if number > 1 else ''}: {reason}" for reason, number in counted.most_common()]
    return "; ".join(told) or "there are no nodes"


def _obstacle(group: _Group, room: Room) -> str:
    misplaced = _misplaced(group.pod, room.node)
    if misplaced:
        return misplaced
    short = next(resource for resource, amount in group.wants.items() if room.free[resource] < amount)
    return f"too little {short}" if allocatable(room.node, short) else f"no {short}"


def _search(groups: Sequence[_Group], rooms: Sequence[Room]) -> bool | None:
    """Fills one node after the other, and keeps all that can be placed so far where not another way places more.

    Exact as long as the ways are few; with many it goes on with those that place most of the largest pods. Then a
    place that it finds is still one, but it proves nothing when it finds none.
    """
    useful = [index for index in range(len(rooms)) if any(group.places[index] for group in groups)]
    largest = {
        resource: max(rooms[index].free[resource] for index in useful) for group in groups for resource in group.wants
    }
    groups = sorted(
        groups,
        key=lambda group: max(amount / largest[resource] for resource, amount in group.wants.items()),
        reverse=True,
    )
    everything = tuple(group.count for group in groups)
    width = min(WAYS, max(1, isqrt(STEPS // len(useful))))
    exact = True
    reached = [(0,) * len(groups)]
    for index in useful:
        limits = [min(group.places[index], group.count) for group in groups]
        fillings = list(islice(_fillings(rooms[index].free, groups, limits), width + 1))
        sums = {
            tuple(map(min, everything, map(add, state, filling))) for state in reached for filling in fillings[:width]
        }
        if everything in sums:
            return True
        best = _undominated(sums)
        exact = exact and len(fillings) <= width and len(best) <= width
        reached = best[:width]
    return False if exact else None


def _fillings(free: Amounts, groups: Sequence[_Group], limits: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every way to fill a node, with as many of the first group as possible first; of the last, what then has room."""
    if not groups:
        yield ()
        return
    wants = groups[0].wants
    most = _times(free, wants, limits[0])
    for number in range(most, -1 if len(groups) > 1 else most - 1, -1):
        left = {resource: amount - number * wants.get(resource, _NO_AMOUNT) for resource, amount in free.items()}
        for rest in _fillings(left, groups[1:], limits[1:]):
            yield (number, *rest)


def _undominated(states: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    best: list[tuple[int, ...]] = []
    # What places more in every respect comes first.
    for state in sorted(states, reverse=True):
        if not any(all(map(ge, better, state)) for better in best):
            best.append(state)
    return best


# -- in words


def table(demands: Iterable[Demand], empty: Sequence[Room], now: Sequence[Room] | None) -> list[str]:
    """What each role wants, and what the nodes that it may go to have; `now` is what is free, where that is known."""
    rows = [["role", "resource", "wanted", "largest node", "all nodes", "free now"]]
    for demand in demands:
        for resource, amount in demand.wants.items():
            if resource == PODS or resource.startswith(_HOST_PORT):
                continue
            largest, all_ = _largest_and_all(demand, resource, empty)
            largest_free, all_free = _largest_and_all(demand, resource, now or [])
            free = "unknown" if now is None else f"{all_free}, at most {largest_free} on one node"
            rows.append(
                [demand.role, resource, f"{demand.count} x {format_amount(resource, amount)}", largest, all_, free]
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _largest_and_all(demand: Demand, resource: str, rooms: Iterable[Room]) -> tuple[str, str]:
    # A node can be overbooked.
    amounts = [max(_NO_AMOUNT, room.free[resource]) for room in rooms if _misplaced(demand.pod, room.node) is None]
    largest, together = max(amounts, default=_NO_AMOUNT), sum(amounts, _NO_AMOUNT)
    return format_amount(resource, largest), format_amount(resource, together)


def format_amount(resource: str, amount: Decimal) -> str:
    if resource == "memory" or resource.startswith(("ephemeral-storage", "hugepages-")):
        for power, suffix in ((4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
            if amount >= 1024**power:
                return _plain(amount / 1024**power) + suffix
    return _plain(amount)


def _plain(amount: Decimal) -> str:
    return f"{amount:.2f}".rstrip("0").rstrip(".")


# -- devices

_CARD_VENDORS = {"nvidia.com": "10de", "amd.com": "1002"}
_DEVICE_WORDS = re.compile(r"gpu|mig-|tpu|npu|neuron|gaudi")


def is_device(resource: str) -> bool:
    """Whether it is offered by a device plugin or a driver, as GPUs are."""
    domain, slash, _name = resource.partition("/")
    is_native = domain.endswith("kubernetes.io") and domain != _DEVICE_CLASS
    return bool(slash) and not is_native and not resource.startswith(_HOST_PORT)


def device_hints(resource: str, nodes: Sequence[Json]) -> Iterator[str]:
    """What is there in place of a device that no node offers."""
    offers = {str(node["metadata"].get("name")): _devices_of(node) for node in nodes}
    if any(resource in devices for devices in offers.values()):
        return
    domain = resource.partition("/")[0]
    alike: dict[str, Decimal] = {}
    for devices in offers.values():
        alike = _sum(alike, {name: amount for name, amount in devices.items() if _is_alike(name, resource)})
    if alike:
        named = ", ".join(f"{name}{_nature(name)}: {_plain(amount)}" for name, amount in sorted(alike.items()))
        yield f"No node offers {resource}, but there is {named}; ask for that instead."
    idle = [
        name
        for node, (name, devices) in zip(nodes, offers.items(), strict=True)
        if _has_card(domain, node) and not any(device.startswith(f"{domain}/") for device in devices)
    ]
    if idle:
        yield (
            f"{', '.join(idle)}: by the node's labels there is a card of {domain}, which the node does not offer; "
            "install the device plugin and the driver there, or see their logs for why they hold the card for broken."
        )


def _devices_of(node: Json) -> dict[str, Decimal]:
    names = as_dict(as_dict(node.get("status")).get("allocatable"))
    return {name: amount for name in names if is_device(name) and (amount := allocatable(node, name))}


def _is_alike(one: str, other: str) -> bool:
    same_domain = one.partition("/")[0] == other.partition("/")[0]
    return same_domain or bool(_DEVICE_WORDS.search(one) and _DEVICE_WORDS.search(other))


def _nature(resource: str) -> str:
    if resource.endswith(".shared"):
        return " (GPUs shared in time)"
    return " (slices of GPUs)" if "/mig-" in resource else ""


def _has_card(domain: str, node: Json) -> bool:
    vendor = _CARD_VENDORS.get(domain)
    card = re.compile(rf"feature\.node\.kubernetes\.io/pci-(\w+_)?{vendor}(_.*)?\.present|{domain}/gpu\.present")
    labels = as_dict(node["metadata"].get("labels"))
    return vendor is not None and any(card.fullmatch(key) and value == "true" for key, value in labels.items())
