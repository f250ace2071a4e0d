# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""TensorFlow Serving's gRPC interface, from the side of its client, and without TensorFlow.

The generated classes of that interface import TensorFlow. What a client needs of its messages is little, and
described here: names, numbers and types of fields, which cannot change without breaking every client there is.
"""

from __future__ import annotations

import array
import math
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.served_model import (
    Columns,
    NotYetError,
    ServingError,
    Signature,
    Target,
    Tensor,
    Version,
    shape_of,
)

try:
    import grpc
    from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
except ImportError:
    # The module says so.
    pass

PACKAGE = "tensorflow.serving"
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}

# Messages of the interface: fields as (name, number, type), where a type is a scalar, a message, or either in brackets
# for a list; `map:` is a mapping from strings.
MESSAGES: dict[str, list[tuple[str, int, str]]] = {
    "Dim": [("size", 1, "int64")],
    "Shape": [("dim", 2, "[Dim]"), ("unknown_rank", 3, "bool")],
    "Tensor": [
        ("dtype", 1, "int32"),
        ("tensor_shape", 2, "Shape"),
        ("tensor_content", 4, "bytes"),
        ("half_val", 13, "[int32]"),
        ("float_val", 5, "[float]"),
        ("double_val", 6, "[double]"),
        ("int_val", 7, "[int32]"),
        ("string_val", 8, "[bytes]"),
        ("int64_val", 10, "[int64]"),
        ("bool_val", 11, "[bool]"),
        ("uint32_val", 16, "[uint32]"),
        ("uint64_val", 17, "[uint64]"),
    ],
    "TensorInfo": [("name", 1, "string"), ("dtype", 2, "int32"), ("tensor_shape", 3, "Shape")],
    "SignatureDef": [("inputs", 1, "map:TensorInfo"), ("outputs", 2, "map:TensorInfo")],
    "SignatureDefMap": [("signature_def", 1, "map:SignatureDef")],
    "ModelSpec": [
        ("name", 1, "string"),
        ("version", 2, "google.protobuf.Int64Value"),
        ("signature_name", 3, "string"),
        ("version_label", 4, "string"),
    ],
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "map:Tensor")],
    "PredictResponse": [("outputs", 1, "map:Tensor"), ("model_spec", 2, "ModelSpec")],
    "MetadataRequest": [("model_spec", 1, "ModelSpec"), ("metadata_field", 2, "[string]")],
    "MetadataResponse": [("metadata", 2, "map:google.protobuf.Any")],
    "StatusRequest": [("model_spec", 1, "ModelSpec")],
    "Status": [("error_code", 1, "int32"), ("error_message", 2, "string")],
    "VersionStatus": [("version", 1, "int64"), ("state", 2, "int32"), ("status", 3, "Status")],
    "StatusResponse": [("model_version_status", 1, "[VersionStatus]")],
}

# Types of tensors: number, name, the field for values, and how they are packed in `tensor_content`.
TYPES = {
    number: (name, field, code)
    for number, name, field, code in [
        (1, "DT_FLOAT", "float_val", "f"),
        (2, "DT_DOUBLE", "double_val", "d"),
        (3, "DT_INT32", "int_val", "i"),
        (4, "DT_UINT8", "int_val", "B"),
        (5, "DT_INT16", "int_val", "h"),
        (6, "DT_INT8", "int_val", "b"),
        (7, "DT_STRING", "string_val", ""),
        (9, "DT_INT64", "int64_val", "q"),
        (10, "DT_BOOL", "bool_val", "?"),
        (17, "DT_UINT16", "int_val", "H"),
        (19, "DT_HALF", "half_val", "e"),
        (22, "DT_UINT32", "uint32_val", "I"),
        (23, "DT_UINT64", "uint64_val", "Q"),
    ]
}
NUMBERS = {name: number for number, (name, _field, _code) in TYPES.items()}


def message_classes() -> dict[str, Any]:
    """A class for each of MESSAGES, from descriptors in a pool of their own."""
    file = descriptor_pb2.FileDescriptorProto(
        name="served_model_predict.proto", package="served_model_predict", syntax="proto3"
    )
    file.dependency.extend(["google/protobuf/any.proto", "google/protobuf/wrappers.proto"])
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            if kind.startswith("map:"):
                entry = message.nested_type.add(name=f"{field.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                _add_field(entry, "key", 1, "string")
                _add_field(entry, "value", 2, kind.removeprefix("map:"))
                kind = f"[{name}.{entry.name}]"
            _add_field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    for known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in MESSAGES
    }


def _add_field(message: Any, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if kind.startswith("[") else field.LABEL_OPTIONAL
    kind = kind.strip("[]")
    scalar = getattr(field, f"TYPE_{kind.upper()}", None) if kind.islower() and "." not in kind else None
    if scalar is not None:
        field.type = scalar
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{kind}" if kind.startswith("google.") else f".served_model_predict.{kind}"


def fill_tensor(message: Any, where: str, tensor: Tensor, values: list[Any]) -> None:
    """Write nested lists into a Tensor message."""
    if tensor.dtype not in NUMBERS:
        raise ServingError(f"{where}: tensors of type {tensor.dtype} cannot be sent over gRPC; use `protocol: rest`")
    number = NUMBERS[tensor.dtype]
    _name, field, code = TYPES[number]
    message.dtype = number
    for size in shape_of(values, where):
        message.tensor_shape.dim.add(size=size)
    flat = list(_flat(values))
    try:
        if code:
            message.tensor_content = struct.pack(f"<{len(flat)}{code}", *flat)
        else:
            getattr(message, field).extend(_as_bytes(value) for value in flat)
    except (struct.error, TypeError, OverflowError) as error:
        raise ServingError(f"{where}: does not fit the type {tensor.dtype}: {error}") from error


def _flat(value: Any) -> Any:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def read_tensor(message: Any) -> list[Any]:
    """The values of a Tensor message as nested lists."""
    if message.dtype not in TYPES:
        raise ServingError(f"the answer has a tensor of type number {message.dtype}, which cannot be read")
    _name, field, code = TYPES[message.dtype]
    shape = [dimension.size for dimension in message.tensor_shape.dim]
    count = math.prod(shape)
    flat: list[Any]
    if message.tensor_content and code:
        flat = _unpacked(message.tensor_content, code)
    else:
        flat = list(getattr(message, field))
        if code == "e":
            flat = [struct.unpack("<e", struct.pack("<H", bits))[0] for bits in flat]
        elif not code:
            flat = [value.decode("utf-8", errors="replace") for value in flat]
        # The last value stands for all that follow it.
        flat += flat[-1:] * (count - len(flat))
    if len(flat) != count:
        raise ServingError(f"the answer has a tensor of shape {shape} with {len(flat)} values")
    nested = _nested(flat, shape)
    return nested if isinstance(nested, list) else [nested]


def _unpacked(content: bytes, code: str) -> list[Any]:
    size = struct.calcsize(f"<{code}")
    if code in "?e" or sys.byteorder != "little":
        return list(struct.unpack(f"<{len(content) // size}{code}", content))
    return array.array(code, content).tolist()


def _nested(flat: Sequence[Any], shape: list[int]) -> Any:
    if not shape:
        return flat[0]
    if len(shape) == 1:
        return list(flat)
    size = math.prod(shape[1:])
    return [_nested(flat[index * size : (index + 1) * size], shape[1:]) for index in range(shape[0])]


class GrpcModel:
    """A served model, by gRPC. To be closed."""

    def __init__(self, address: str, target: Target, timeout: float, shown: str = "") -> None:
        self.address = shown or address
        self._target = target
        self._timeout = timeout
        self._classes = message_classes()
        # A proxy of the environment is for requests that leave the cluster's network, and speaks HTTP/1.
        options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(address, options)
        self._calls: dict[str, Callable[..., Any]] = {}

    def close(self) -> None:
        self._channel.close()

    def versions(self) -> list[Version]:
        answer = self._call("ModelService/GetModelStatus", "StatusRequest", "StatusResponse")
        return [
            Version(entry.version, STATES.get(entry.state, str(entry.state)), entry.status.error_message)
            for entry in answer.model_version_status
        ]

    def signatures(self) -> dict[str, Signature]:
        answer = self._call(
            "PredictionService/GetModelMetadata",
            "MetadataRequest",
            "MetadataResponse",
            metadata_field=["signature_def"],
        )
        definitions = self._classes["SignatureDefMap"].FromString(answer.metadata["signature_def"].value)
        return {
            name: Signature(name, _tensors(entry.inputs), _tensors(entry.outputs))
            for name, entry in definitions.signature_def.items()
        }

    def predict(self, signature: Signature, inputs: Columns) -> Columns:
        tensors = {}
        for name, values in inputs.items():
            tensors[name] = self._classes["Tensor"]()
            fill_tensor(tensors[name], f"input '{name}'", signature.inputs[name], values)
        answer = self._call(
            "PredictionService/Predict", "PredictRequest", "PredictResponse", signature=signature.name, inputs=tensors
        )
        return {name: read_tensor(tensor) for name, tensor in answer.outputs.items()}

    def _call(self, method: str, request: str, response: str, signature: str = "", **fields: Any) -> Any:
        if method not in self._calls:
            self._calls[method] = self._channel.unary_unary(
                f"/{PACKAGE}.{method}",
                request_serializer=self._classes[request].SerializeToString,
                response_deserializer=self._classes[response].FromString,
            )
        spec = self._classes["ModelSpec"](name=self._target.model, signature_name=signature)
        if self._target.version is not None:
            spec.version.value = self._target.version
        elif self._target.label is not None:
            spec.version_label = self._target.label
        try:
            return self._calls[method](self._classes[request](model_spec=spec, **fields), timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Any) -> ServingError:
        code, details = error.code(), str(error.details() or error.code().name)
        if code is grpc.StatusCode.UNAVAILABLE:
            return NotYetError(f"{self.address} cannot be reached by gRPC: {details}")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return NotYetError(f"{self.address} gave no answer within {self._timeout:.0f} s")
        if code is grpc.StatusCode.NOT_FOUND:
            return NotYetError(details)
        return ServingError(f"the model server refused the request: {details}")


def _tensors(entries: Any) -> dict[str, Tensor]:
    return {
        name: Tensor(
            TYPES[info.dtype][0] if info.dtype in TYPES else str(info.dtype),
            None if info.tensor_shape.unknown_rank else tuple(dimension.size for dimension in info.tensor_shape.dim),
        )
        for name, info in entries.items()
    }
