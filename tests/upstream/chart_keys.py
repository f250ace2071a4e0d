"""What a chart may be told: the keys of its values, of its schema, and of the charts inside it."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

# What a chart looks at only through a template that takes it whole may have any key below.
ANYTHING = "*"


def record(archive: Path) -> dict[str, Any]:
    """Name, version, the checksum of the values' files, and the keys of the chart in `archive`, sorted."""
    files = _files(archive)
    chart = yaml.safe_load(files["Chart.yaml"])
    described = [name for name in sorted(files) if name.endswith(("values.yaml", "values.schema.json"))]
    checksum = hashlib.sha256(b"".join(files[name] for name in described)).hexdigest()
    return {
        "chart": chart["name"],
        "version": chart["version"],
        "values_sha256": checksum,
        "keys": sorted(set(_keys_of(files, ""))),
    }


def unknown_keys(values: Mapping[str, Any], known: set[str]) -> list[str]:
    """The dotted keys of `values` that are not among the `known` ones."""
    return sorted(_unknown(values, known, ""))


def _unknown(values: Mapping[str, Any], known: set[str], prefix: str) -> Iterator[str]:
    if f"{prefix}{ANYTHING}" in known:
        return
    for name, value in values.items():
        path = f"{prefix}{name}"
        if path not in known:
            yield path
        elif isinstance(value, Mapping):
            yield from _unknown(value, known, f"{path}.")


def _files(archive: Path) -> dict[str, bytes]:
    """By their paths inside the chart's directory."""
    with tarfile.open(archive) as packed:
        return {
            member.name.split("/", 1)[1]: packed.extractfile(member).read()  # type: ignore[union-attr]
            for member in packed.getmembers()
            if member.isfile()
        }


def _keys_of(files: Mapping[str, bytes], directory: str) -> Iterator[str]:
    """Of the chart in `directory` and, below the names that it gives them, of those inside it."""
    chart = yaml.safe_load(files[f"{directory}Chart.yaml"])
    yield from _keys(yaml.safe_load(files.get(f"{directory}values.yaml", b"{}")) or {}, "")
    if schema := files.get(f"{directory}values.schema.json"):
        yield from _schema_keys(json.loads(schema), "")
    for part in chart.get("dependencies") or []:
        inside = f"{directory}charts/{part['name']}/"
        if f"{inside}Chart.yaml" in files:
            name = part.get("alias") or part["name"]
            yield name
            yield from (f"{name}.{key}" for key in _keys_of(files, inside))


def _keys(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _keys(value, f"{prefix}{name}.")
        elif value in ({}, None):
            yield f"{prefix}{name}.{ANYTHING}"


def _schema_keys(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    properties = schema.get("properties") or {}
    is_open = schema.get("additionalProperties", not properties and "object" in (schema.get("type") or []))
    if prefix and (is_open or schema.get("patternProperties")):
        yield f"{prefix}{ANYTHING}"
    for name, part in properties.items():
        yield f"{prefix}{name}"
        yield from _schema_keys(part, f"{prefix}{name}.")
