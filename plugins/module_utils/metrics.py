# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Series of numbers out of log lines, and what is expected of them.

A series is all values of the group `value` in the order of the log. What the words mean:

falls, rises     the mean of the last quarter of the values is below, above the mean of the first quarter; a quarter
                 is at least one value, and there are at least two values
monotone         beyond that, each step falls (rises). A step is the mean of the values with the same `epoch`, where
                 the pattern has a group of that name, else a single value
final_above,     the last value is above, below the number
final_below

A value that is no finite number is never as expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True)
class Expectation:
    name: str
    pattern: re.Pattern[str]
    falls: bool = False
    rises: bool = False
    monotone: bool = False
    final_above: float | None = None
    final_below: float | None = None


@dataclass
class Series:
    values: list[float] = field(default_factory=list)
    epochs: list[str] = field(default_factory=list)
    # Texts in the place of a value that are no finite number.
    broken: list[str] = field(default_factory=list)


def compile_pattern(text: str) -> re.Pattern[str]:
    """The compiled pattern; ValueError where it is none or lacks the group `value`."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    if "value" not in pattern.groupindex:
        raise ValueError(f"{text!r} has no group named value; write the number's place as (?P<value>...)")
    return pattern


def collect(series: Series, pattern: re.Pattern[str], line: str) -> None:
    """Adds what the pattern finds in one line of log."""
    for match in pattern.finditer(line):
        text = match.group("value")
        try:
            value = float(text)
        except (TypeError, ValueError):
            series.broken.append(str(text))
            continue
        if not math.isfinite(value):
            series.broken.append(text)
            continue
        series.values.append(value)
        if "epoch" in pattern.groupindex:
            series.epochs.append(str(match.group("epoch")))


def unmet(expected: Expectation, series: Series, where: str) -> list[str]:
    """Every expectation that the series does not meet, with what was seen instead."""
    name, values = expected.name, series.values
    problems = []
    if series.broken:
        shown = ", ".join(sorted(set(series.broken))[:3])
        problems.append(
            f"{name}: {len(series.broken)} of its values in the log of {where} are no finite number: {shown}."
        )
    if not values:
        problems.append(
            f"{name}: wanted values, but nothing in the log of {where} matches '{expected.pattern.pattern}'."
        )
        return problems
    for wanted, sign, verb in ((expected.falls, -1, "fall"), (expected.rises, 1, "rise")):
        if wanted:
            problems.extend(f"{name}: wanted it to {verb}{seen}" for seen in _against(sign, expected, series))
    last = values[-1]
    if expected.final_above is not None and not last > expected.final_above:
        problems.append(f"{name}: wanted the final value above {expected.final_above:g}, saw {last:g}.")
    if expected.final_below is not None and not last < expected.final_below:
        problems.append(f"{name}: wanted the final value below {expected.final_below:g}, saw {last:g}.")
    return problems


def _against(sign: int, expected: Expectation, series: Series) -> Iterable[str]:
    values = series.values
    if len(values) < 2:
        yield f", but saw a single value, {values[0]:g}."
        return
    quarter = max(1, len(values) // 4)
    first, last = _mean(values[:quarter]), _mean(values[-quarter:])
    if not (last - first) * sign > 0:
        yield (
            f", but the mean of the last {quarter} of {len(values)} values is {last:g} "
            f"and that of the first {quarter} is {first:g}."
        )
    if expected.monotone:
        steps = list(epoch_means(series).items())
        for (_label, earlier), (label, later) in pairwise(steps):
            if not (later - earlier) * sign > 0:
                yield f" at every step, but step {label} has {later:g} after {earlier:g}."
                break


def epoch_means(series: Series) -> dict[str, float]:
    """The steps of a series by their label, in the order in which they begin."""
    labels = series.epochs or [str(number) for number in range(1, len(series.values) + 1)]
    steps: dict[str, list[float]] = {}
    for label, value in zip(labels, series.values, strict=True):
        steps.setdefault(label, []).append(value)
    return {label: _mean(values) for label, values in steps.items()}


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
