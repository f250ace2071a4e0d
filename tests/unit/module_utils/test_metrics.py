from __future__ import annotations

import math
import random
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import (
    Expectation,
    Point,
    Series,
    checks,
    collect,
    compile_pattern,
    merge,
    step_means,
)
from hypothesis import given
from hypothesis import strategies as st

LOSS = r"\bloss=(?P<value>\S+)"
LOSS_BY_EPOCH = r"epoch=(?P<epoch>\d+) .*\bloss=(?P<value>\S+)"
NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1)


def read(pattern: str, lines: list[str]) -> Series:
    series = Series()
    for line in lines:
        collect(series, compile_pattern(pattern), line)
    return series


def losses(*values: object) -> list[str]:
    return [f"epoch=1 step={step} loss={value} lr=0.1" for step, value in enumerate(values)]


def unmet(series: Series, pattern: str = LOSS, **expectations: Any) -> list[str]:
    expected = Expectation("loss", compile_pattern(pattern), **expectations)
    return [str(check) for check in checks(expected, series, "loss", "chief-0") if not check.met]


def judge(lines: list[str], pattern: str = LOSS, **expectations: Any) -> list[str]:
    return unmet(read(pattern, lines), pattern, **expectations)


def series_of(values: list[float]) -> Series:
    return Series([Point(value) for value in values])


def test_reads_values_in_order() -> None:
    lines = ["start", "loss=1.5", "xloss=9", "a loss=1e-3 and loss=-2", "end"]
    assert read(LOSS, lines).values == [1.5, 0.001, -2.0]


@pytest.mark.parametrize("text", ["loss=(.*)", "(", "(?P<value"])
def test_a_pattern_needs_its_group(text: str) -> None:
    with pytest.raises(ValueError, match=r"regular expression|group named value"):
        compile_pattern(text)


@pytest.mark.parametrize(
    ("values", "falls"),
    [
        ((3, 2, 1), True),
        ((1, 2, 3), False),
        ((1, 1), False),
        # Noise in between, and one outlier at the end of eight, do not matter.
        ((8, 9, 7, 6, 5, 4, 2, 3), True),
        ((4, 5, 9, 9, 9, 9, 4, 6), False),
    ],
)
def test_falls_compares_quarters(values: tuple[float, ...], falls: bool) -> None:
    assert (judge(losses(*values), falls=True) == []) is falls


def test_rises_is_the_opposite() -> None:
    assert judge(losses(1, 2, 3), rises=True) == []
    assert judge(losses(3, 2, 1), rises=True) == [
        "loss: wanted it to rise, saw 3 as the mean of the first 1 of 3 values and 1 as that of the last."
    ]


@given(NUMBERS)
def test_nothing_both_falls_and_rises(values: list[float]) -> None:
    falls = unmet(series_of(values), falls=True) == []
    assert not (falls and unmet(series_of(values), rises=True) == [])
    assert falls == (unmet(series_of([-value for value in values]), rises=True) == [])


@given(NUMBERS)
def test_what_falls_at_every_step_falls(values: list[float]) -> None:
    if unmet(series_of(values), falls=True, monotone=True) == []:
        assert values == sorted(set(values), reverse=True)
        assert unmet(series_of(values), falls=True) == []


@given(NUMBERS)
def test_the_best_is_at_least_as_good_as_the_last(values: list[float]) -> None:
    last = values[-1]
    below, above = math.nextafter(last, -math.inf), math.nextafter(last, math.inf)
    assert unmet(series_of(values), final_above=below, best_above=below) == []
    assert unmet(series_of(values), final_below=above, best_below=above) == []


def test_one_value_does_not_fall() -> None:
    assert judge(losses(3), falls=True) == ["loss: wanted it to fall, saw a single value, 3."]


def test_monotone_looks_at_each_value() -> None:
    assert judge(losses(4, 3, 2, 1), falls=True, monotone=True) == []
    assert judge(losses(4, 2, 3, 1), falls=True, monotone=True) == [
        "loss: wanted it to fall at every step, saw 3 at step 3 after 2."
    ]


@pytest.mark.parametrize("label", ["epoch", "step"])
def test_monotone_looks_at_the_means_of_steps(label: str) -> None:
    pattern = LOSS_BY_EPOCH.replace("epoch", label)
    lines = [f"{label}={number} loss={loss}" for number, loss in [(1, 5), (1, 3), (2, 1), (2, 4), (3, 2), (3, 2)]]
    assert judge(lines, pattern, falls=True, monotone=True) == []
    assert step_means(read(pattern, lines)) == {"1": 4, "2": 2.5, "3": 2}
    lines.append(f"{label}=4 loss=3")
    assert judge(lines, pattern, falls=True, monotone=True) == [
        "loss: wanted it to fall at every step, saw 3 at step 4 after 2."
    ]


@pytest.mark.parametrize(
    ("bounds", "met"),
    [
        ({"final_above": 0.9}, True),
        ({"final_above": 0.95}, False),
        ({"final_below": 1}, True),
        ({"final_below": 0.95}, False),
        ({"best_above": 0.98}, True),
        ({"best_above": 0.99}, False),
        ({"best_below": 0.2}, True),
        ({"best_below": 0.1}, False),
        ({"min_values": 3}, True),
        ({"min_values": 4}, False),
    ],
)
def test_bounds(bounds: dict[str, Any], met: bool) -> None:
    assert (judge(losses(0.1, 0.99, 0.95), **bounds) == []) is met


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "None"])
def test_no_number_is_never_right(text: str) -> None:
    assert judge(losses(2, text, 1)) == [
        f"loss: wanted only finite numbers in the log of chief-0, saw 1 of 3 that are not: {text}."
    ]
    assert judge(losses(2, text, 1), finite=False, falls=True) == []


def test_silence_is_never_right() -> None:
    assert judge(["nothing to see"], finite=False) == [
        r"loss: wanted at least one value of '\bloss=(?P<value>\S+)' in the log of chief-0, saw none."
    ]


@given(st.lists(st.text() | st.from_regex(r"(epoch=\d+ )?(step=\S* )?loss=\S*"), max_size=20), st.booleans())
def test_no_log_is_too_strange(lines: list[str], finite: bool) -> None:
    pattern = r"(?:epoch=(?P<epoch>\d+) )?(?:step=(?P<step>\S*) )?loss=(?P<value>\S+)?"
    series = read(pattern, lines)
    assert all(map(math.isfinite, series.values))
    for one in (series, merge([series, series])):
        unmet(one, pattern, falls=True, monotone=True, best_above=0, finite=finite)


def test_merged_values_are_means_in_the_order_of_their_steps() -> None:
    pattern = r"step=(?P<step>\d+) loss=(?P<value>\S+)"
    first = read(pattern, ["step=9 loss=4", "step=10 loss=2", "step=11 loss=nan"])
    second = read(pattern, ["step=9 loss=2", "step=8 loss=6"])
    merged = merge([first, second])
    assert merged.points == [Point(6, None, "8"), Point(3, None, "9"), Point(2, None, "10")]
    assert merged.broken == ["nan"]


LABEL = st.none() | st.sampled_from(["1", "2", "10", "last", "nan", "-1"])
POINT = st.builds(Point, st.floats(allow_nan=False, allow_infinity=False), LABEL, LABEL)
SERIES = st.builds(Series, st.lists(POINT, max_size=8), st.lists(st.sampled_from(["nan", "x"]), max_size=3))


@given(st.lists(SERIES, max_size=4), st.randoms(use_true_random=False))
def test_merging_does_not_depend_on_the_order(several: list[Series], order: random.Random) -> None:
    shuffled = list(several)
    order.shuffle(shuffled)
    assert merge(shuffled) == merge(several)
