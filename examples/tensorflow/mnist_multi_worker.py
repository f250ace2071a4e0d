#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Train a digit classifier on several workers in step: each holds all variables, gradients are summed by all-reduce.

All workers run this program; worker 0 writes the results. TF_CONFIG says who this process is, as a TFJob with nothing
but workers sets it. Without TF_CONFIG the program starts two workers on this machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from local_cluster import run_local_cluster

if __name__ == "__main__" and "TF_CONFIG" not in os.environ:
    sys.exit(run_local_cluster({"worker": 2}))

from mnist_model import (
    Cluster,
    DigitClassifier,
    Momentum,
    ScalarLog,
    accuracy,
    detached,
    export,
    load_mnist,
    report,
    tf,
    to_floats,
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64, help="images of one step, over all workers")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--hidden-units", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--model-directory", type=Path, help="worker 0 writes here: logs/ (TensorBoard) and the SavedModel as 1/, 2/, …"
    )
    parser.add_argument(
        "--start-timeout", type=float, default=300, help="seconds to wait until the names of all workers resolve"
    )
    return parser.parse_args()


def train(cluster: Cluster, options: argparse.Namespace) -> None:
    cluster.wait_for_tasks(options.start_timeout)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    workers = strategy.num_replicas_in_sync
    training, test = load_mnist(options.seed)

    with strategy.scope():
        model = DigitClassifier(options.hidden_units, options.seed)
        optimizer = Momentum(model.trainable_variables, options.learning_rate)

    def share_of_images(context: tf.distribute.InputContext) -> tf.data.Dataset:
        share = tf.data.Dataset.from_tensor_slices(tuple(training))
        share = share.shard(context.num_input_pipelines, context.input_pipeline_id)
        batches = share.shuffle(len(training.labels), options.seed).repeat()
        return batches.batch(context.get_per_replica_batch_size(options.batch_size)).map(to_floats)

    def replica_step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            # Every replica adds its part of the mean over the whole batch.
            loss = tf.reduce_mean(model.loss(images, labels)) / workers
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(tf.distribute.get_replica_context().all_reduce("sum", gradients))
        return loss

    @tf.function
    def training_step(batch: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return strategy.reduce("sum", strategy.run(replica_step, args=batch), axis=None)

    writes = options.model_directory is not None and cluster.index == 0
    scalars = ScalarLog(options.model_directory / "logs") if writes else None

    batches = iter(strategy.distribute_datasets_from_function(share_of_images))
    steps = len(training.labels) // options.batch_size
    for epoch in range(1, options.epochs + 1):
        started = time.monotonic()
        loss = float(tf.reduce_mean([training_step(next(batches)) for _ in range(steps)]))
        report(worker=cluster.index, epoch=epoch, step=epoch * steps, loss=loss, seconds=time.monotonic() - started)
        if scalars:
            scalars.write(epoch * steps, loss=loss)

    if cluster.index == 0:
        result = detached(model)
        test_accuracy = accuracy(result, test)
        if scalars:
            scalars.write(options.epochs * steps, test_accuracy=test_accuracy)
            report(exported=export(result, options.model_directory, test))
        report(test_accuracy=test_accuracy)


def main() -> None:
    # Python as a container's first process would otherwise not notice that it is asked to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    train(Cluster(os.environ["TF_CONFIG"]), arguments())


if __name__ == "__main__":
    main()
