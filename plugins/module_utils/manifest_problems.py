# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What can be wrong in any job, whatever its kind: in names, labels, pods and containers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from decimal import Decimal

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    TFJOB,
    OperatorKind,
    as_dict,
    as_list,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.quantities import parse_quantity

# A pod and its Service have the same name, which must be a DNS label.
LABEL_LENGTH = 63
PORT_NAME_LENGTH = 15
INT32 = 2**31 - 1
INT64 = 2**63 - 1
MEBIBYTE = 2**20

_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_DOMAIN = re.compile(rf"{_DNS_1123.pattern}(\.{_DNS_1123.pattern})*")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_ENV_NAME = re.compile(r"[ -<>-~]+")
# registry[:port]/path/name[:tag][@digest]; only the path must be lower case.
_IMAGE = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d+)?/)?"
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,})?"
)

Problem = tuple[str, str]


class Doubt(str):
    """The text of a problem with a job that the cluster would run, but hardly ever as it was meant."""

    # By which a user says that it is meant so.
    name: str

    def __new__(cls, name: str, text: str) -> Doubt:
        doubt = super().__new__(cls, text)
        doubt.name = name
        return doubt


EVALUATOR_WITH_PS = "evaluator_with_ps"
SUCCESS_POLICY_WITH_CHIEF = "success_policy_with_chief"
EXIT_CODE_WITH_BACKOFF_LIMIT = "exit_code_with_backoff_limit"
DOUBTS = (EVALUATOR_WITH_PS, SUCCESS_POLICY_WITH_CHIEF, EXIT_CODE_WITH_BACKOFF_LIMIT)


# -- the job as such


def metadata_problems(metadata: Json) -> Iterator[Problem]:
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if name in (None, ""):
        again = ", and with generateName each run would make another job" if metadata.get("generateName") else ""
        yield "metadata.name", f"is missing{again}; give the job a name."
    elif not isinstance(name, str) or not _DNS_1035.fullmatch(name):
        yield (
            "metadata.name",
            f"{quoted(name)} is not a DNS label; use lower-case letters, digits and `-`, a letter first, no `-` last.",
        )
    if namespace is not None and not is_label(namespace):
        yield "metadata.namespace", f"{quoted(namespace)} is not a namespace; use lower-case letters, digits and `-`."
    yield from tag_problems(metadata, "metadata")


# -- one pod


def name_length_problems(job: Json, counts: Mapping[str, int]) -> Iterator[Problem]:
    """Whether the names of all pods are DNS labels; `counts` are replicas by role."""
    name = as_dict(job.get("metadata")).get("name")
    if not isinstance(name, str) or not name:
        return
    pods = [f"{name}-{role.lower()}-{max(count - 1, 0)}" for role, count in counts.items()]
    longest = max(pods, key=len, default=name)
    excess = len(longest) - LABEL_LENGTH
    if excess > 0:
        yield (
            "metadata.name",
            f"{quoted(name)} is too long: the pod {quoted(longest)} would have {len(longest)} characters of at most "
            f"{LABEL_LENGTH}; shorten it by {excess}.",
        )


def pod_problems(
    pod: Json, path: str, overridden: Collection[str], kind: OperatorKind | None = None
) -> Iterator[Problem]:
    """Of a job of this `kind` the training operator looks for a container by name.

    `overridden` are variables that the containers get whatever the manifest says.
    """
    volumes = yield from mappings_in(pod, "volumes", path)
    for index, volume in volumes:
        yield from _volume_problems(volume, index)
    yield from doubled((volume.get("name") for _index, volume in volumes), f"{path}.volumes", "volumes")
    selector = yield from mapping_in(pod, "nodeSelector", path)
    yield from _label_problems(selector, f"{path}.nodeSelector")
    containers = yield from mappings_in(pod, "containers", path)
    if not containers:
        cure = f"give one container named {kind.container}" if kind else "give a container"
        yield f"{path}.containers", f"is empty; {cure}."
        return
    if kind and not any(container.get("name") == kind.container for _index, container in containers):
        names = ", ".join(str(container.get("name")) for _index, container in containers)
        yield (
            f"{path}.containers",
            f"{quoted(names)} has none named {kind.container}, which the operator gives the cluster's addresses; "
            "name it so.",
        )
    helpers = yield from mappings_in(pod, "initContainers", path)
    names_of_volumes = {volume["name"] for _index, volume in volumes if isinstance(volume.get("name"), str)}
    for index, container in [*containers, *helpers]:
        yield from _container_problems(container, index)
        yield from _mount_problems(container, names_of_volumes, index)
        yield from _port_problems(kind if kind and container.get("name") == kind.container else None, container, index)
        yield from _env_problems(container, index)
    for index, container in containers:
        # TensorFlow's cluster is told to the container of that name alone.
        if kind is not TFJOB or container.get("name") == TFJOB.container:
            yield from _overridden_problems(container, overridden, index)
    containers += helpers
    yield from doubled((container.get("name") for _index, container in containers), f"{path}.containers", "containers")


def _volume_problems(volume: Json, path: str) -> Iterator[Problem]:
    if not is_label(volume.get("name")):
        yield (
            f"{path}.name",
            f"{quoted(volume.get('name'))} is not a DNS label; use lower-case letters, digits and `-`.",
        )
    sources = [str(key) for key, value in volume.items() if key != "name" and value is not None]
    if len(sources) > 1:
        yield path, f"has several sources, {', '.join(sources)}; keep one, and make other volumes of the rest."


# -- one container


def _container_problems(container: Json, path: str) -> Iterator[Problem]:
    if not is_label(container.get("name")):
        shown = quoted(container.get("name"))
        yield f"{path}.name", f"{shown} is not a DNS label; use lower-case letters, digits and `-`."
    image = container.get("image")
    if not image:
        yield f"{path}.image", "is missing; name the image that holds the training code."
    elif not isinstance(image, str) or not _IMAGE.fullmatch(image):
        yield f"{path}.image", f"{quoted(image)} is not an image name; write registry/name:tag, the name in lower case."
    for field in ("command", "args"):
        words = container.get(field)
        if words is not None and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            yield f"{path}.{field}", f"{quoted(words)} is not a list of texts; write one, with numbers in quotes."
    resources = yield from mapping_in(container, "resources", path)
    requests = yield from mapping_in(resources, "requests", f"{path}.resources")
    limits = yield from mapping_in(resources, "limits", f"{path}.resources")
    for group, quantities in (("requests", requests), ("limits", limits)):
        for resource, quantity in quantities.items():
            yield from quantity_problems(str(resource), quantity, f"{path}.resources.{group}.{resource}")
    for resource, request in requests.items():
        yield from _request_problems(str(resource), request, limits.get(resource), f"{path}.resources.requests")


def quantity_problems(resource: str, quantity: object, path: str) -> Iterator[Problem]:
    amount = _amount(quantity)
    if amount is None:
        yield path, f"{quoted(quantity)} is not a quantity; write one like 500m, 2 or 1Gi."
    elif amount < 0:
        yield path, f"{quoted(quantity)} is negative; write 0 or more."
    elif resource in ("memory", "ephemeral-storage") and 0 < amount < MEBIBYTE:
        number = str(quantity).rstrip("m")
        meaning = "thousandths of a byte" if str(quantity).endswith("m") else "less than 1 MiB"
        yield path, f"{quoted(quantity)} is {meaning}; write {number}Mi or {number}Gi."
    elif _is_device(resource) and amount != amount.to_integral_value():
        yield path, f"{quoted(quantity)} is not a whole number, and {resource} cannot be divided; write one from 1."
    elif "/" not in resource and not re.fullmatch(r"cpu|memory|ephemeral-storage|hugepages-\w+", resource):
        yield path, f"{resource!r} is no resource that containers have; GPUs have names such as nvidia.com/gpu."


def _request_problems(resource: str, request: object, limit: object, path: str) -> Iterator[Problem]:
    requested, limited = _amount(request), _amount(limit)
    if requested is None or (limit is not None and limited is None):
        return
    if _is_device(resource) and requested != (limited or 0):
        yield (
            f"{path}.{resource}",
            f"{quoted(request)} is not the limit {quoted(limit)}, and {resource} cannot be overcommitted; "
            "give the limit alone, which is the request too.",
        )
    elif limited is not None and requested > limited:
        yield (
            f"{path}.{resource}",
            f"{quoted(request)} is above the limit {quoted(limit)}; raise the limit or lower the request.",
        )


def _port_problems(training: OperatorKind | None, container: Json, path: str) -> Iterator[Problem]:
    """`training` is the kind for the container of which the operator makes a Service with all the ports."""
    ports = yield from mappings_in(container, "ports", path)
    for index, port in ports:
        yield from number_problems(port, "containerPort", index, 1, 65535, required=True)
        name = port.get("name")
        if name is not None and not (
            isinstance(name, str) and _PORT_NAME.fullmatch(name) and len(name) <= PORT_NAME_LENGTH
        ):
            yield (
                f"{index}.name",
                f"{quoted(name)} is not a port's name; use at most {PORT_NAME_LENGTH} lower-case letters, digits and "
                "`-`, with a letter.",
            )
        if training and not name:
            yield (
                f"{index}.name",
                f"is missing, without which the pod gets no Service; name the port {training.port_name} if the "
                "replicas talk to each other on it.",
            )
    yield from doubled((port.get("name") for _index, port in ports), f"{path}.ports", "ports")
    if training:
        numbers = [port.get("containerPort") for _index, port in ports]
        if training.port_name not in (port.get("name") for _index, port in ports):
            numbers.append(training.port)
        for number in _repeated(numbers):
            yield (
                f"{path}.ports",
                f"{number} comes twice, where {training.port} is {training.port_name} unless you give one of that "
                "name; keep one.",
            )


def _env_problems(container: Json, path: str) -> Iterator[Problem]:
    entries = yield from mappings_in(container, "env", path)
    for index, entry in entries:
        name, value = entry.get("name"), entry.get("value")
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            yield f"{index}.name", f"{quoted(name)} is not a variable's name; use letters, digits and `_`."
        if value is not None and not isinstance(value, str):
            yield f"{index}.value", f"{quoted(value)} is not text; write it in quotes."
        if value and entry.get("valueFrom") is not None:
            yield index, f"{quoted(name)} has both value and valueFrom; keep one."
    yield from doubled((entry.get("name") for _index, entry in entries), f"{path}.env", "variables")


def _overridden_problems(container: Json, overridden: Collection[str], path: str) -> Iterator[Problem]:
    for index, entry in enumerate(as_list(container.get("env"))):
        name = as_dict(entry).get("name")
        if isinstance(name, str) and name in overridden:
            yield f"{path}.env[{index}].name", f"{name!r} is set by the operator, which overrides this; leave it out."


def _mount_problems(container: Json, volumes: set[str], path: str) -> Iterator[Problem]:
    mounts = yield from mappings_in(container, "volumeMounts", path)
    for index, mount in mounts:
        name, place, part = mount.get("name"), mount.get("mountPath"), mount.get("subPath")
        if not isinstance(name, str) or name not in volumes:
            yield f"{index}.name", f"{quoted(name)} is none of the pod's volumes; define it there, or correct the name."
        if not isinstance(place, str) or not place.startswith("/"):
            yield f"{index}.mountPath", f"{quoted(place)} is not an absolute path; begin it with `/`."
        if part is not None and (not isinstance(part, str) or part.startswith("/") or ".." in part.split("/")):
            yield (
                f"{index}.subPath",
                f"{quoted(part)} is not a path inside the volume; leave out a leading `/` and `..`.",
            )
    places = (place.rstrip("/") for _index, mount in mounts if isinstance(place := mount.get("mountPath"), str))
    yield from doubled(places, f"{path}.volumeMounts", "mount paths")


# -- labels and annotations


def place_problems(name: object, namespace: object, name_field: str = "name") -> Iterator[Problem]:
    """Of an object that is there, or may be, under names that are part of the paths at which the server is asked."""
    if not isinstance(name, str) or not _DNS_DOMAIN.fullmatch(name):
        yield (
            name_field,
            f"{quoted(name)} is not a name; use lower-case letters, digits, `-` and `.`, no sign first.",
        )
    if not is_label(namespace):
        yield "namespace", f"{quoted(namespace)} is not a namespace; use lower-case letters, digits and `-`."


def tag_problems(metadata: Json, path: str) -> Iterator[Problem]:
    yield from _label_problems((yield from mapping_in(metadata, "labels", path)), f"{path}.labels")
    annotations = yield from mapping_in(metadata, "annotations", path)
    yield from _key_problems(annotations, f"{path}.annotations")
    for key, value in annotations.items():
        if not isinstance(value, str):
            yield f"{path}.annotations", f"{quoted(key)} has the value {quoted(value)}, which is not text; quote it."


def _label_problems(labels: Json, path: str) -> Iterator[Problem]:
    yield from _key_problems(labels, path)
    for key, value in labels.items():
        if not isinstance(value, str):
            yield path, f"{quoted(key)} has the value {quoted(value)}, which is not text; quote it."
        elif value and not (_LABEL.fullmatch(value) and len(value) <= LABEL_LENGTH):
            yield (
                path,
                f"{quoted(key)} has the value {quoted(value)}, which is not a label's; use at most {LABEL_LENGTH} "
                "letters, digits, `-`, `_` and `.`, a letter or digit first and last.",
            )


def _key_problems(mapping: Json, path: str) -> Iterator[Problem]:
    for key in mapping:
        prefix, slash, name = str(key).rpartition("/")
        right = isinstance(key, str) and _LABEL.fullmatch(name) and len(name) <= LABEL_LENGTH
        if not right or (slash and not _DNS_DOMAIN.fullmatch(prefix)):
            yield path, f"{quoted(key)} is not a key; write a name, or domain/name."


# -- parts of a manifest, whatever stands in their place


def mapping_in(parent: Json, key: str, path: str) -> Generator[Problem, None, Json]:
    """The mapping at `key`; an empty one where it is missing, or told to be something else."""
    value = parent.get(key)
    if value is not None and not isinstance(value, dict):
        yield _join(path, key), f"{quoted(value)} is not a mapping; write one, or leave it out."
    return as_dict(value)


def mappings_in(parent: Json, key: str, path: str) -> Generator[Problem, None, list[tuple[str, Json]]]:
    """The mappings of the list at `key`, each with its path."""
    value, path = parent.get(key), _join(path, key)
    if value is not None and not isinstance(value, list):
        yield path, f"{quoted(value)} is not a list; write one, or leave it out."
    found = []
    for index, item in enumerate(as_list(value)):
        if isinstance(item, dict):
            found.append((f"{path}[{index}]", item))
        else:
            yield f"{path}[{index}]", f"{quoted(item)} is not a mapping; write one, or leave it out."
    return found


def number_problems(
    parent: Json, key: str, path: str, least: int, most: int = INT32, required: bool = False
) -> Iterator[Problem]:
    value = parent.get(key)
    if value is None and not required:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        span = f"from {least} to {most}" if most < INT32 else f"from {least}"
        cure = "write one" if required else "write one or leave it out"
        yield f"{path}.{key}", f"{quoted(value)} is not a whole number {span}; {cure}."


def doubled(names: Iterable[object], path: str, noun: str) -> Iterator[Problem]:
    for name in _repeated(names):
        yield path, f"{quoted(name)} names several {noun}; keep one, or rename the others."


def _repeated(values: Iterable[object]) -> list[object]:
    # Others than texts and numbers are told of elsewhere, and not all of them can be counted.
    counted = Counter(value for value in values if isinstance(value, str | int))
    return [value for value, count in counted.items() if count > 1]


def pod_of(role_spec: object) -> Json:
    return as_dict(as_dict(as_dict(role_spec).get("template")).get("spec"))


def is_label(value: object) -> bool:
    return isinstance(value, str) and bool(_DNS_1123.fullmatch(value)) and len(value) <= LABEL_LENGTH


def as_number(value: object, otherwise: int = 0) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _amount(quantity: object) -> Decimal | None:
    try:
        return parse_quantity(quantity)
    except (ValueError, ArithmeticError):
        return None


def _is_device(resource: str) -> bool:
    """Whether a node has it from a device plugin: GPUs and the like."""
    domain, slash, _name = resource.partition("/")
    return bool(slash) and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io")


def asks_for_device(container: Json) -> bool:
    resources = as_dict(container.get("resources"))
    quantities = {**as_dict(resources.get("requests")), **as_dict(resources.get("limits"))}
    return bool(resources.get("claims")) or any(
        _is_device(str(resource)) and (_amount(quantity) or 0) > 0 for resource, quantity in quantities.items()
    )


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def quoted(value: object) -> str:
    """As Python writes it; a long value only by its ends."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]}…{text[-20:]}"
