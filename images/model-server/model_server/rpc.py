# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The gRPC interface."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from model_server.errors import NotFoundError, RequestError
from model_server.metrics import observed
from model_server.versions import Model, Models

# Clients send pictures by the dozen; gRPC's own limit is 4 MiB.
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def make_server(port: int, models: Models, threads: int) -> grpc.Server:
    server = grpc.server(futures.ThreadPoolExecutor(threads, thread_name_prefix="grpc"), options=OPTIONS)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(models), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)
    server.add_insecure_port(f"[::]:{port}")
    return server


def answering(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
    """Turn what a method raises into the status of its call."""

    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except NotFoundError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except RequestError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    return call


def chosen(spec: Any) -> dict[str, Any]:
    """Version or label of a ModelSpec."""
    choice = spec.WhichOneof("version_choice")
    return {
        "number": spec.version.value if choice == "version" else None,
        "label": spec.version_label if choice == "version_label" else None,
    }


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models: Models) -> None:
        self._models = models

    @answering
    def Predict(self, request: Any) -> Any:  # noqa: N802 - the name is the interface's
        model = self._models[request.model_spec.name]
        with observed(model.config.name, "grpc", time.monotonic()):
            number, servable = model.servable(**chosen(request.model_spec))
            name, _signature = servable.signature(request.model_spec.signature_name)
            try:
                inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            except (TypeError, ValueError) as error:
                raise RequestError(f"a tensor of the request cannot be read: {error}") from error
            outputs = servable.predict(name, inputs)
            answer = predict_pb2.PredictResponse()
            answer.model_spec.name, answer.model_spec.signature_name = model.config.name, name
            answer.model_spec.version.value = number
            for key, array in outputs.items():
                answer.outputs[key].CopyFrom(tf.make_tensor_proto(array))
            return answer

    @answering
    def GetModelMetadata(self, request: Any) -> Any:  # noqa: N802
        model = self._models[request.model_spec.name]
        number, servable = model.servable(**chosen(request.model_spec))
        if list(request.metadata_field) != ["signature_def"]:
            raise RequestError("metadata_field: only signature_def is served")
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.model_spec.name = model.config.name
        answer.model_spec.version.value = number
        answer.metadata["signature_def"].Pack(get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures))
        return answer


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: Models) -> None:
        self._models = models

    @answering
    def GetModelStatus(self, request: Any) -> Any:  # noqa: N802
        model: Model = self._models[request.model_spec.name]
        answer = get_model_status_pb2.GetModelStatusResponse()
        for version in model.statuses(**chosen(request.model_spec)):
            status = answer.model_version_status.add(version=version.number, state=version.state.value)
            if version.error:
                status.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                status.status.error_message = version.error
        return answer
