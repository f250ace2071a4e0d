# SPDX-License-Identifier: GPL-3.0-or-later
"""What the TensorFlow examples share: the model, its training step, its export and the cluster's preflight."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path

# TensorFlow reads these when it is imported. Without the first a lost task is waited for instead of reported; the
# second makes results the same on every processor.
os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

sys.path.append(str(Path(__file__).resolve().parents[1]))
from mnist_data import CLASSES, IMAGE_SHAPE, Digits, load_mnist  # noqa: F401

# Saving the variables of parameter servers would warn of retracing each time.
tf.get_logger().setLevel("ERROR")

IMAGE = tf.TensorSpec([None, *IMAGE_SHAPE], tf.float32, "images")
# Images for which a model server is asked, to prove that it serves what was trained. Of a hundred a model of 94 %
# would know less than 90 one time in twenty.
EXAMINED = 500


class DigitClassifier(tf.Module):
    """A perceptron with one hidden layer.

    Plain variables rather than a Keras model: Keras 3 knows nothing of parameter servers.
    """

    def __init__(self, hidden_units: int, seed: int = 0) -> None:
        super().__init__(name="digit_classifier")
        pixels = IMAGE_SHAPE[0] * IMAGE_SHAPE[1]

        def weights(inputs: int, outputs: int, layer: int) -> tf.Tensor:
            return tf.random.stateless_normal([inputs, outputs], [seed, layer], stddev=(2 / inputs) ** 0.5)

        self.hidden_weights = tf.Variable(weights(pixels, hidden_units, 1), name="hidden_weights")
        self.hidden_biases = tf.Variable(tf.zeros([hidden_units]), name="hidden_biases")
        self.output_weights = tf.Variable(weights(hidden_units, CLASSES, 2), name="output_weights")
        self.output_biases = tf.Variable(tf.zeros([CLASSES]), name="output_biases")

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        pixels = tf.reshape(images, [-1, IMAGE_SHAPE[0] * IMAGE_SHAPE[1]])
        hidden = tf.nn.relu(tf.matmul(pixels, self.hidden_weights) + self.hidden_biases)
        return tf.matmul(hidden, self.output_weights) + self.output_biases

    @tf.function(input_signature=[IMAGE])
    def predict(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """The served signature: images with pixels from 0 to 1 -> the probability of each digit, and the likeliest."""
        logits = self.logits(images)
        return {"probabilities": tf.nn.softmax(logits), "digits": tf.argmax(logits, axis=1)}

    def loss(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """The cross entropy of each image of a batch."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, self.logits(images))


class Momentum(tf.Module):
    """Stochastic gradient descent with momentum, on plain variables."""

    def __init__(self, variables: Iterable[tf.Variable], learning_rate: float, momentum: float = 0.9) -> None:
        super().__init__(name="momentum")
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.targets = list(variables)
        self.velocities = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in self.targets]

    def apply(self, gradients: Iterable[tf.Tensor]) -> None:
        for variable, velocity, gradient in zip(self.targets, self.velocities, gradients, strict=True):
            velocity.assign(self.momentum * velocity + gradient)
            variable.assign_sub(self.learning_rate * velocity)


def to_floats(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(images, tf.float32) / 255, labels


def accuracy(model: DigitClassifier, digits: Digits) -> float:
    images, labels = to_floats(*digits)
    return float(tf.reduce_mean(tf.cast(model.predict(images)["digits"] == labels, tf.float32)))


def detached(model: DigitClassifier) -> DigitClassifier:
    """A copy with local variables: it remembers no cluster, so it can be evaluated and served anywhere."""
    copy = DigitClassifier(model.hidden_biases.shape[0])
    for mine, theirs in zip(copy.variables, model.variables, strict=True):
        mine.assign(theirs.numpy())
    return copy


def export(model: DigitClassifier, model_directory: Path, test: Digits) -> Path:
    """Save a detached model as the next version under `model_directory`; a server never sees half of one.

    Beside the versions is what any of them can be examined with.
    """
    versions = [int(entry.name) for entry in model_directory.iterdir() if entry.name.isdecimal()]
    version = model_directory / str(max(versions, default=0) + 1)
    unfinished = version.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    tf.saved_model.save(model, str(unfinished), signatures={"serving_default": model.predict})
    known_answers = model_directory / "known_answers.json"
    known_answers.with_suffix(".tmp").write_text(json.dumps(examination(test)))
    known_answers.with_suffix(".tmp").rename(known_answers)
    unfinished.rename(version)
    return version


def examination(test: Digits) -> dict[str, object]:
    """Images that the model was not trained on, in the form in which they are served, and the digits that they show."""
    images = test.images[:EXAMINED]
    # Most pixels are black, and `0` is short.
    instances = [[[pixel and round(pixel / 255, 3) for pixel in row] for row in image] for image in images.tolist()]
    return {"output": "digits", "instances": instances, "expected": test.labels[:EXAMINED].tolist()}


class ScalarLog:
    """Scalars for TensorBoard, in its own format; the package tensorboard is not needed to write them."""

    def __init__(self, directory: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(directory))
        self._metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class="DATA_CLASS_SCALAR"
        )

    def write(self, step: int, **scalars: float) -> None:
        with self._writer.as_default():
            for tag, value in scalars.items():
                tf.summary.write(tag, tf.constant(value, tf.float32), step=step, metadata=self._metadata)
        self._writer.flush()


def report(**values: object) -> None:
    """Log one line of `key=value` pairs, in one piece: other processes may share the terminal."""
    pairs = (f"{key}={value:.4f}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items())
    print(" ".join(pairs) + "\n", end="", flush=True)


class Cluster:
    """The cluster that TF_CONFIG describes, and this process's place in it."""

    def __init__(self, tf_config: str) -> None:
        config = json.loads(tf_config)
        self.addresses: dict[str, list[str]] = config["cluster"]
        self.job: str = config["task"]["type"]
        self.index = int(config["task"]["index"])

    def wait_for_tasks(self, timeout: float, answering: Iterable[str] = ()) -> None:
        """Wait until the names of all tasks resolve and the tasks of the `answering` jobs accept connections.

        On Kubernetes the name of a task exists only once its pod runs.
        """
        deadline = time.monotonic() + timeout
        missing: dict[str, str] = {}
        while True:
            for job, addresses in self.addresses.items():
                for index, address in enumerate(addresses):
                    task = f"{job} {index} ({address})"
                    problem = why_unreachable(address, connect=job in answering)
                    if problem:
                        missing[task] = problem
                    else:
                        missing.pop(task, None)
            if not missing:
                return
            if time.monotonic() > deadline:
                details = "; ".join(f"{task}: {problem}" for task, problem in missing.items())
                sys.exit(f"error: not all tasks could be reached within {timeout:.0f} s: {details}")
            time.sleep(0.5)


def why_unreachable(address: str, connect: bool = True) -> str | None:
    """What keeps `host:port` from resolving or, with `connect`, from accepting a connection; None when nothing does."""
    host, _, port = address.rpartition(":")
    try:
        if connect:
            socket.create_connection((host, int(port)), timeout=5).close()
        else:
            socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        return error.strerror or str(error)
    return None
