# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A version of a model: a SavedModel in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from model_server.errors import RequestError
from model_server.tensors import Arrays


class SavedModel:
    def __init__(self, directory: Path) -> None:
        description = saved_model_pb2.SavedModel()
        description.ParseFromString((directory / "saved_model.pb").read_bytes())
        graphs = [graph for graph in description.meta_graphs if "serve" in graph.meta_info_def.tags]
        if not graphs:
            raise ValueError(f"{directory}: the SavedModel has no graph with the tag 'serve'")
        # Signatures whose names begin with two underscores are TensorFlow's own.
        self.signatures: dict[str, meta_graph_pb2.SignatureDef] = {
            name: signature for name, signature in graphs[0].signature_def.items() if not name.startswith("__")
        }
        # Held, because the functions of a model that is gone lose their variables.
        self._loaded = tf.saved_model.load(str(directory), tags=["serve"])

    def signature(self, name: str) -> tuple[str, meta_graph_pb2.SignatureDef]:
        name = name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        if name not in self.signatures:
            raise RequestError(
                f"the model has no signature '{name}'; its signatures are: {', '.join(sorted(self.signatures))}"
            )
        return name, self.signatures[name]

    def dtypes(self, name: str) -> dict[str, np.dtype[Any]]:
        _name, signature = self.signature(name)
        return {key: np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype) for key, info in signature.inputs.items()}

    def predict(self, name: str, inputs: Arrays) -> Arrays:
        name, signature = self.signature(name)
        if set(inputs) != set(signature.inputs):
            wanted, given = (", ".join(sorted(names)) for names in (signature.inputs, inputs))
            raise RequestError(f"the inputs are {wanted}, and the request gives {given}")
        tensors = {}
        for key, array in inputs.items():
            info = signature.inputs[key]
            shape = tf.TensorShape(info.tensor_shape)
            if not shape.is_compatible_with(array.shape):
                raise RequestError(f"input '{key}': the shape {list(array.shape)} does not fit {shape}")
            try:
                tensors[key] = tf.constant(array, tf.as_dtype(info.dtype))
            except (TypeError, ValueError) as error:
                raise RequestError(f"input '{key}': {error}") from error
        try:
            outputs = self._loaded.signatures[name](**tensors)
        except tf.errors.OpError as error:
            raise RequestError(error.message) from error
        return {key: tensor.numpy() for key, tensor in outputs.items()}
