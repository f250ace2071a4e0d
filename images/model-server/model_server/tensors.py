# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Values of JSON as arrays, in TensorFlow Serving's row and column format, and back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

from model_server.errors import RequestError

Arrays = dict[str, np.ndarray[Any, Any]]


def arrays_of(body: Any, dtypes: Mapping[str, np.dtype[Any]]) -> tuple[Arrays, bool]:
    """The inputs of a request by name, and whether it is in the row format."""
    if not isinstance(body, dict):
        raise RequestError("the request is no JSON object")
    row = "instances" in body
    if row == ("inputs" in body):
        raise RequestError("the request needs exactly one of `instances` and `inputs`")
    if row:
        values = _columns(body["instances"], list(dtypes))
    else:
        values = body["inputs"]
        named = isinstance(values, dict) and not _is_bytes(values)
        if not named:
            values = {_only(list(dtypes)): values}
    if set(values) != set(dtypes):
        raise RequestError(
            f"the inputs are {', '.join(sorted(dtypes))}, and the request gives {', '.join(sorted(values))}"
        )
    return {name: _array(name, value, dtypes[name]) for name, value in values.items()}, row


def _columns(instances: Any, names: list[str]) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        raise RequestError("`instances` is no list, or an empty one")
    if isinstance(instances[0], dict) and not _is_bytes(instances[0]):
        columns: dict[str, list[Any]] = {name: [] for name in instances[0]}
        for index, instance in enumerate(instances):
            if not isinstance(instance, dict) or instance.keys() != columns.keys():
                raise RequestError(f"instances[{index}] has other inputs than instances[0]")
            for name, value in instance.items():
                columns[name].append(value)
        return columns
    return {_only(names): instances}


def _only(names: list[str]) -> str:
    if len(names) != 1:
        raise RequestError(
            f"values without a name need a signature with one input, and this one has {', '.join(sorted(names))}"
        )
    return names[0]


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _array(name: str, value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    try:
        if dtype == np.object_:
            return np.array(_decoded(value), dtype=np.object_)
        array = np.array(value)
        # Neither text as numbers nor fractions as whole numbers.
        if array.dtype.kind not in "biuf" or not np.can_cast(
            array.dtype, dtype, "same_kind" if array.dtype.kind != "i" else "unsafe"
        ):
            raise RequestError(f"input '{name}': {array.dtype} does not fit {dtype}")
        return array.astype(dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(f"input '{name}': {error}") from error


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if _is_bytes(value):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, TypeError) as error:
            raise RequestError(f"b64: {error}") from error
    return value.encode() if isinstance(value, str) else value


def answer_of(outputs: Arrays, row: bool) -> dict[str, Any]:
    """The body of the answer."""
    values = {name: _encoded(array.tolist(), name.endswith("_bytes")) for name, array in outputs.items()}
    if not row:
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    if (
        any(not isinstance(value, list) for value in values.values())
        or len({len(value) for value in values.values()}) != 1
    ):
        raise RequestError("the outputs have no common first dimension; ask in the column format, with `inputs`")
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    return {
        "predictions": [dict(zip(values, row_values, strict=True)) for row_values in zip(*values.values(), strict=True)]
    }


def _encoded(value: Any, binary: bool) -> Any:
    if isinstance(value, list):
        return [_encoded(item, binary) for item in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()} if binary else value.decode("utf-8", errors="replace")
    return value
