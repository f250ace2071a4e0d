# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A model that is served: whether it is there, what it takes, and how well and how fast it answers.

Knows nothing of REST and gRPC: serving_rest and serving_grpc each have a ServedModel.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

AVAILABLE = "AVAILABLE"
POLL_SECONDS = 0.5


class ServingError(Exception):
    """The model cannot be used like this, and waiting does not help."""


class NotYetError(ServingError):
    """Nobody answers, or the model is not there; either may change."""


@dataclass(frozen=True)
class Target:
    """What of a model server is meant: the newest version of a model where neither version nor label is given."""

    model: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"version {self.version} of the model '{self.model}'"
        return f"the model '{self.model}'" + (f" with the label '{self.label}'" if self.label is not None else "")


@dataclass(frozen=True)
class Version:
    number: int
    state: str
    error: str = ""

    def __str__(self) -> str:
        return f"version {self.number} is {self.state}" + (f" ({self.error})" if self.error else "")


@dataclass(frozen=True)
class Tensor:
    """What a signature says of an input or output. The shape is None where it is open, and -1 in it is any size."""

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Signature:
    name: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


# The values of each input or output, by its name; the first dimension counts the instances.
Columns = dict[str, list[Any]]


class ServedModel(Protocol):
    address: str

    def versions(self) -> list[Version]: ...

    def signatures(self) -> dict[str, Signature]: ...

    def predict(self, signature: Signature, inputs: Columns) -> Columns: ...


def wait_until_available(model: ServedModel, target: Target, timeout: float) -> tuple[Version, list[Version]]:
    """The version that answers, and all that the server tells of; ServingError when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            versions = model.versions()
            available = [version for version in versions if version.state == AVAILABLE]
            if available:
                return max(available, key=lambda version: version.number), versions
            problem = ", ".join(str(version) for version in versions) or "it has no version"
            if versions and all(version.state == "END" and version.error for version in versions):
                raise ServingError(f"{target} at {model.address} cannot be served: {problem}")
        except NotYetError as error:
            problem = str(error)
        if time.monotonic() >= deadline:
            within = f" within {timeout:.0f} s" if timeout else ""
            raise ServingError(f"{target} at {model.address} is not available{within}: {problem}")
        time.sleep(POLL_SECONDS)


def choose_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    if name not in signatures:
        raise ServingError(f"signature: the model has no '{name}', only {', '.join(sorted(signatures)) or 'none'}")
    return signatures[name]


def to_columns(signature: Signature, instances: Sequence[Any], input_name: str | None) -> Columns:
    """The instances by input, after a check that each has the shape that the signature wants."""
    names = sorted(signature.inputs)
    if input_name is not None and input_name not in signature.inputs:
        raise ServingError(f"input: the signature '{signature.name}' takes {', '.join(names)}, not '{input_name}'")
    if input_name is None and len(names) == 1:
        input_name = names[0]
    columns: Columns = {name: [] for name in names}
    for index, instance in enumerate(instances):
        row = instance if isinstance(instance, Mapping) else {input_name: instance}
        if set(row) != set(names):
            given = ", ".join(sorted(map(str, row))) if isinstance(instance, Mapping) else "a value without a name"
            raise ServingError(
                f"instances[{index}]: is {given}, and the signature '{signature.name}' takes {', '.join(names)}; "
                "give a mapping with these names"
            )
        for name, value in row.items():
            _check_shape(f"instances[{index}]", value, signature, str(name))
            columns[str(name)].append(value)
    return columns


def _check_shape(where: str, value: Any, signature: Signature, name: str) -> None:
    wanted = signature.inputs[name].shape
    if wanted is None:
        return
    shape = shape_of(value, where)
    if len(shape) != len(wanted) - 1 or any(
        want not in (-1, size) for want, size in zip(wanted[1:], shape, strict=True)
    ):
        each = [size if size >= 0 else "any" for size in wanted[1:]]
        raise ServingError(
            f"{where}: has the shape {list(shape)}, and the input '{name}' of the signature '{signature.name}' takes "
            f"{str(each).replace(chr(39), '')} for each instance"
        )


def shape_of(value: Any, where: str) -> tuple[int, ...]:
    """The shape of nested lists; ServingError where they are ragged."""
    if not isinstance(value, list):
        return ()
    inner = {shape_of(item, where) for item in value}
    if len(inner) > 1:
        raise ServingError(f"{where}: its lists are not of the same length")
    return (len(value), *(inner.pop() if inner else ()))


def choose_output(signature: Signature, name: str | None) -> str | None:
    """The output that answers are taken from; None where there are several and none is named."""
    if name is not None and name not in signature.outputs:
        raise ServingError(
            f"output: the signature '{signature.name}' gives {', '.join(sorted(signature.outputs))}, not '{name}'"
        )
    if name is None and len(signature.outputs) == 1:
        return next(iter(signature.outputs))
    return name


@dataclass(frozen=True)
class Examination:
    """Answers against those that were expected."""

    right: int
    mistakes: list[dict[str, Any]]

    @property
    def accuracy(self) -> float:
        return self.right / (self.right + len(self.mistakes))


def examine(answers: Sequence[Any], expected: Sequence[Any]) -> Examination:
    pairs = list(zip(answers, expected, strict=True))
    mistakes = [
        {"index": index, "expected": want, "answer": decided(answer, want)}
        for index, (answer, want) in enumerate(pairs)
        if not agree(decided(answer, want), want)
    ]
    return Examination(len(pairs) - len(mistakes), mistakes)


def decided(answer: Any, expected: Any) -> Any:
    """The class with the highest score, where scores are answered and a class is expected."""
    scores = isinstance(answer, list) and answer and all(isinstance(item, (int, float)) for item in answer)
    if scores and not isinstance(expected, list):
        return max(range(len(answer)), key=answer.__getitem__)
    return answer


def agree(answer: Any, expected: Any) -> bool:
    if isinstance(answer, list) and isinstance(expected, list):
        return len(answer) == len(expected) and all(map(agree, answer, expected))
    if isinstance(answer, float) or isinstance(expected, float):
        try:
            return math.isclose(answer, expected, rel_tol=1e-4, abs_tol=1e-6)
        except TypeError:
            return False
    return bool(answer == expected)


def measure(call: Callable[[], Columns], requests: int) -> tuple[Columns, list[float]]:
    """The answer of the last of so many calls, and the seconds that each took."""
    seconds = []
    for _request in range(requests):
        started = time.monotonic()
        answer = call()
        seconds.append(time.monotonic() - started)
    return answer, seconds


def latencies(seconds: Sequence[float]) -> dict[str, Any]:
    """Milliseconds: percentiles by nearest rank, mean and extremes."""
    ordered = sorted(1000 * value for value in seconds)

    def percentile(percent: int) -> float:
        return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]

    figures = {f"p{percent}": percentile(percent) for percent in (50, 95, 99)}
    figures |= {"mean": sum(ordered) / len(ordered), "min": ordered[0], "max": ordered[-1]}
    return {"requests": len(ordered), **{name: round(value, 3) for name, value in figures.items()}}
