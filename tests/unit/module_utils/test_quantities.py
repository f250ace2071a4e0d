from __future__ import annotations

from decimal import Decimal

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.quantities import parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("250m", "0.25"),
        ("1.5", "1.5"),
        (2, "2"),
        ("512Mi", str(512 * 1024**2)),
        ("2k", "2000"),
        ("2e3", "2000"),
        (".5Gi", str(512 * 1024**2)),
        ("1E", str(10**18)),
    ],
)
def test_reads_quantities(text: object, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "lots", "1 Gi", "1Kb", "1,5", True, None, "--1"])
def test_refuses_what_is_none(text: object) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)
