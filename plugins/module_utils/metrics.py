# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Series of numbers out of log lines, and what is expected of them.

A series is all values of the group `value` in the order of the log; or, merged over several replicas, the means of
the values with the same `epoch` and `step`, in the order of these. What the words mean:

falls, rises     the mean of the last quarter of the values is below, above the mean of the first quarter; a quarter
                 is at least one value, and there are at least two values
monotone         beyond that, each step falls (rises). A step is the mean of the values with the same `epoch`, where
                 the pattern has a group of that name, else with the same `step`, else a single value
final_above,     the last value is above, below the number
final_below
best_above,      the highest value is above, the lowest is below the number
best_below
min_values       there are at least so many values
finite           every value is a finite number; those that are none are never counted
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

LABELS = ("epoch", "step")


class Check(NamedTuple):
    """One expectation, and what was seen of it."""

    subject: str
    wanted: str
    seen: str
    met: bool

    def __str__(self) -> str:
        ending = "" if self.seen.endswith(".") else "."
        return f"{self.subject}: wanted {self.wanted}, saw {self.seen}{ending}"


@dataclass(frozen=True)
class Expectation:
    name: str
    pattern: re.Pattern[str]
    falls: bool = False
    rises: bool = False
    monotone: bool = False
    final_above: float | None = None
    final_below: float | None = None
    best_above: float | None = None
    best_below: float | None = None
    min_values: int = 1
    finite: bool = True

    @property
    def is_labelled(self) -> bool:
        return any(label in self.pattern.groupindex for label in LABELS)


class Point(NamedTuple):
    value: float
    epoch: str | None = None
    step: str | None = None

    @property
    def label(self) -> str | None:
        return self.step if self.epoch is None else self.epoch


@dataclass
class Series:
    points: list[Point] = field(default_factory=list)
    # Texts in the place of a value that are no finite number.
    broken: list[str] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        return [point.value for point in self.points]


def compile_pattern(text: str, group: str = "value") -> re.Pattern[str]:
    """The compiled pattern; ValueError where it is none or lacks the group."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}; correct it") from error
    if group not in pattern.groupindex:
        raise ValueError(f"{text!r} has no group named {group}; write the number's place as (?P<{group}>...)")
    return pattern


def collect(series: Series, pattern: re.Pattern[str], line: str) -> None:
    """Adds what the pattern finds in one line of log."""
    for match in pattern.finditer(line):
        groups = match.groupdict()
        value = _number(groups["value"])
        if math.isfinite(value):
            series.points.append(Point(value, groups.get("epoch"), groups.get("step")))
        else:
            series.broken.append(str(groups["value"]))


def merge(several: Iterable[Series]) -> Series:
    """One series out of the logs of several replicas; their order does not matter."""
    merged = Series()
    together: dict[tuple[str | None, str | None], list[float]] = {}
    for series in several:
        merged.broken.extend(series.broken)
        for point in series.points:
            together.setdefault((point.epoch, point.step), []).append(point.value)
    merged.broken.sort()
    for epoch, step in sorted(together, key=lambda labels: [_place(label) for label in labels]):
        merged.points.append(Point(_mean(together[epoch, step]), epoch, step))
    return merged


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def _place(label: str | None) -> tuple[float, str]:
    """Where a label stands: numbers by their size, then the rest by their letters."""
    number = _number(label)
    return number if math.isfinite(number) else math.inf, label or ""


# -- what is expected


def checks(expected: Expectation, series: Series, subject: str, where: str) -> Iterator[Check]:
    """Every expectation of the series, whether met or not; `where` says whose log it comes from."""
    values, broken = series.values, series.broken
    if expected.finite:
        texts = ", ".join(sorted(set(broken))[:3])
        seen = f"{len(broken)} of {len(values) + len(broken)} that are not: {texts}" if broken else "no others"
        yield Check(subject, f"only finite numbers in the log of {where}", seen, not broken)
    wanted = f"at least {_counted(expected.min_values)} of '{expected.pattern.pattern}' in the log of {where}"
    yield Check(subject, wanted, str(len(values) or "none"), len(values) >= expected.min_values)
    if not values:
        return
    for is_wanted, sign, verb in ((expected.falls, -1, "fall"), (expected.rises, 1, "rise")):
        if is_wanted:
            yield trend(subject, sign, verb, values)
        if is_wanted and expected.monotone:
            yield _steady(subject, sign, verb, step_means(series))
    for kind, bound, sign, value in (
        ("final value above", expected.final_above, 1, values[-1]),
        ("final value below", expected.final_below, -1, values[-1]),
        ("highest value above", expected.best_above, 1, max(values)),
        ("lowest value below", expected.best_below, -1, min(values)),
    ):
        if bound is not None:
            yield Check(subject, f"the {kind} {bound:g}", f"{value:g}", value * sign > bound * sign)


def _counted(number: int) -> str:
    return "one value" if number == 1 else f"{number} values"


def trend(subject: str, sign: int, verb: str, values: list[float]) -> Check:
    wanted = f"it to {verb}"
    if len(values) < 2:
        return Check(subject, wanted, f"a single value, {values[0]:g}", False)
    quarter = max(1, len(values) // 4)
    first, last = _mean(values[:quarter]), _mean(values[-quarter:])
    seen = f"{first:g} as the mean of the first {quarter} of {len(values)} values and {last:g} as that of the last"
    return Check(subject, wanted, seen, last * sign > first * sign)


def _steady(subject: str, sign: int, verb: str, steps: dict[str, float]) -> Check:
    wanted = f"it to {verb} at every step"
    for (_label, earlier), (label, later) in pairwise(steps.items()):
        if not later * sign > earlier * sign:
            return Check(subject, wanted, f"{later:g} at step {label} after {earlier:g}", False)
    return Check(subject, wanted, _counted(len(steps)).replace("value", "step"), len(steps) > 1)


def step_means(series: Series) -> dict[str, float]:
    """The steps of a series by their label, in the order in which they begin."""
    steps: dict[str, list[float]] = {}
    for number, point in enumerate(series.points, 1):
        steps.setdefault(str(number) if point.label is None else point.label, []).append(point.value)
    return {label: _mean(values) for label, values in steps.items()}


def _mean(values: list[float]) -> float:
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        # The sum of numbers near the largest one; their mean is still a number.
        return math.ldexp(math.fsum(math.ldexp(value, -64) for value in values) / len(values), 64)
