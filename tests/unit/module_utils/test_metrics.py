from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import (
    Expectation,
    Series,
    collect,
    compile_pattern,
    epoch_means,
    unmet,
)

LOSS = r"\bloss=(?P<value>\S+)"
LOSS_BY_EPOCH = r"epoch=(?P<epoch>\d+) .*\bloss=(?P<value>\S+)"


def read(pattern: str, lines: list[str]) -> Series:
    series = Series()
    for line in lines:
        collect(series, compile_pattern(pattern), line)
    return series


def losses(*values: object) -> list[str]:
    return [f"epoch=1 step={step} loss={value} lr=0.1" for step, value in enumerate(values)]


def judge(lines: list[str], pattern: str = LOSS, **expectations: Any) -> list[str]:
    return unmet(Expectation("loss", compile_pattern(pattern), **expectations), read(pattern, lines), "chief-0")


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
        "loss: wanted it to rise, but the mean of the last 1 of 3 values is 1 and that of the first 1 is 3."
    ]


def test_one_value_does_not_fall() -> None:
    assert judge(losses(3), falls=True) == ["loss: wanted it to fall, but saw a single value, 3."]


def test_monotone_looks_at_each_value() -> None:
    assert judge(losses(4, 3, 2, 1), falls=True, monotone=True) == []
    assert judge(losses(4, 2, 3, 1), falls=True, monotone=True) == [
        "loss: wanted it to fall at every step, but step 3 has 3 after 2."
    ]


def test_monotone_looks_at_the_means_of_epochs() -> None:
    lines = [f"epoch={epoch} step=1 loss={loss}" for epoch, loss in [(1, 5), (1, 3), (2, 1), (2, 4), (3, 2), (3, 2)]]
    assert judge(lines, LOSS_BY_EPOCH, falls=True, monotone=True) == []
    assert epoch_means(read(LOSS_BY_EPOCH, lines)) == {"1": 4, "2": 2.5, "3": 2}
    lines.append("epoch=4 step=1 loss=3")
    assert judge(lines, LOSS_BY_EPOCH, falls=True, monotone=True) == [
        "loss: wanted it to fall at every step, but step 4 has 3 after 2."
    ]


@pytest.mark.parametrize(
    ("bounds", "met"),
    [
        ({"final_above": 0.9}, True),
        ({"final_above": 0.95}, False),
        ({"final_below": 1}, True),
        ({"final_below": 0.95}, False),
    ],
)
def test_final_value(bounds: dict[str, float], met: bool) -> None:
    assert (judge(losses(0.1, 0.95), **bounds) == []) is met


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "None"])
def test_no_number_is_never_right(text: str) -> None:
    assert f"1 of its values in the log of chief-0 are no finite number: {text}" in judge(losses(2, text, 1))[0]


def test_silence_is_never_right() -> None:
    assert judge(["nothing to see"]) == [
        r"loss: wanted values, but nothing in the log of chief-0 matches '\bloss=(?P<value>\S+)'."
    ]
