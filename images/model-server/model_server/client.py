# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A client: asks for known answers by REST and by gRPC, and fails where too few of them come.

Written with the public stubs of TensorFlow Serving, so that it is a witness of its own for the interface.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def by_rest(url: str, model: str, instances: list[Any], output: str) -> list[Any]:
    request = urllib.request.Request(f"{url}/v1/models/{model}:predict", json.dumps({"instances": instances}).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        predictions = json.load(answer)["predictions"]
    return [row[output] if isinstance(row, dict) else row for row in predictions]


def by_grpc(address: str, model: str, instances: list[Any], output: str) -> list[Any]:
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        question = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        question.model_spec.name = model
        signatures = get_model_metadata_pb2.SignatureDefMap()
        stub.GetModelMetadata(question, timeout=60).metadata["signature_def"].Unpack(signatures)
        ((name, info),) = signatures.signature_def[SIGNATURE].inputs.items()
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.inputs[name].CopyFrom(tf.make_tensor_proto(instances, info.dtype))
        answer: list[Any] = tf.make_ndarray(stub.Predict(request, timeout=60).outputs[output]).tolist()
        return answer


def accuracy(answers: Sequence[Any], expected: Sequence[Any]) -> float:
    right = [answer for answer, want in zip(answers, expected, strict=True) if answer == want]
    return len(right) / len(expected)


def main() -> None:
    parser = argparse.ArgumentParser(prog="model_server.client", description=__doc__.splitlines()[0])
    parser.add_argument("--rest", required=True, help="URL of the server")
    parser.add_argument("--grpc", required=True, help="host:port of the server")
    parser.add_argument("--min_accuracy", type=float, default=1.0)
    parser.add_argument("models", nargs="+", metavar="model=file", help="a model and the file with its known answers")
    options = parser.parse_args()
    failed = False
    for pair in options.models:
        model, _, path = pair.partition("=")
        known = json.loads(Path(path).read_text(encoding="utf-8"))
        for protocol, ask, address in (("rest", by_rest, options.rest), ("grpc", by_grpc, options.grpc)):
            result = accuracy(ask(address, model, known["instances"], known["output"]), known["expected"])
            print(
                f"model={model} protocol={protocol} instances={len(known['expected'])} accuracy={result:.4f}",
                flush=True,
            )
            failed = failed or result < options.min_accuracy
    if failed:
        sys.exit(f"error: an accuracy is less than {options.min_accuracy}")


if __name__ == "__main__":
    main()
