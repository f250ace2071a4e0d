#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Train a digit classifier with parameter servers: asynchronous steps on workers, variables on parameter servers.

The chief runs the training and writes the results; workers and parameter servers serve it, and exit with it.
TF_CONFIG says who this process is, as a TFJob sets it (chief, ps, worker). Without TF_CONFIG the program starts a
chief, a parameter server and two workers on this machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from local_cluster import run_local_cluster

if __name__ == "__main__" and "TF_CONFIG" not in os.environ:
    sys.exit(run_local_cluster({"chief": 1, "ps": 1, "worker": 2}))

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
    why_unreachable,
)

# Files in the working directory of a worker or parameter server, which is its own. An operation that the chief runs
# on that task sees them: so a worker's dataset learns its worker's index, and a task learns that the chief is done.
INDEX = "index"
FINISHED = "finished"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--hidden-units", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report-steps", type=int, default=25, help="a worker reports every so many of its own steps")
    parser.add_argument(
        "--model-directory",
        type=Path,
        help="the chief writes here: checkpoints/, logs/ (TensorBoard) and the SavedModel as 1/, 2/, …",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--start-timeout", type=float, default=300, help="seconds to wait until all tasks of the cluster answer"
    )
    parser.add_argument(
        "--lost-timeout",
        type=float,
        default=60,
        help="seconds for which workers and parameter servers wait for a chief that no longer answers",
    )
    return parser.parse_args()


def device(job: str, index: int) -> str:
    return f"/job:{job}/replica:0/task:{index}/device:CPU:0"


def serve(cluster: Cluster, options: argparse.Namespace) -> None:
    """Be a worker or a parameter server until the chief says that it is done."""
    (chief,) = cluster.addresses["chief"]
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        Path(INDEX).write_text(str(cluster.index))
        # Held until the process ends.
        server = tf.distribute.Server(
            cluster.addresses, job_name=cluster.job, task_index=cluster.index, protocol="grpc"
        )
        print(f"{cluster.job}={cluster.index} address={cluster.addresses[cluster.job][cluster.index]}")

        deadline = time.monotonic() + options.start_timeout
        while not Path(FINISHED).exists():
            problem = why_unreachable(chief)
            if problem is None:
                deadline = time.monotonic() + options.lost_timeout
            elif time.monotonic() > deadline:
                sys.exit(f"error: the chief ({chief}) does not answer and has not said that it is done: {problem}")
            time.sleep(0.5)

        # The chief leaves first, so that nothing it still holds here disappears under it.
        deadline = time.monotonic() + options.lost_timeout
        while why_unreachable(chief) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        print(f"{cluster.job}={cluster.index} finished")
        del server


def train(cluster: Cluster, options: argparse.Namespace) -> None:
    """Be the chief."""
    cluster.wait_for_tasks(options.start_timeout, answering=("ps", "worker"))
    strategy = tf.distribute.ParameterServerStrategy(tf.distribute.cluster_resolver.TFConfigClusterResolver())
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    workers = len(cluster.addresses["worker"])
    training, test = load_mnist(options.seed)

    with strategy.scope():
        model = DigitClassifier(options.hidden_units, options.seed)
        optimizer = Momentum(model.trainable_variables, options.learning_rate)
        epochs_done = tf.Variable(0, trainable=False, name="epochs_done")

    def worker_dataset() -> tf.data.Dataset:
        """Number, worker and batch of each step that this worker takes, over its share of the images."""
        worker = tf.strings.to_number(tf.io.read_file(INDEX), tf.int64)
        share = tf.data.Dataset.from_tensor_slices(tuple(training)).shard(workers, worker)
        batches = share.shuffle(len(training.labels), options.seed).repeat().batch(options.batch_size).map(to_floats)
        return tf.data.Dataset.zip(tf.data.Dataset.from_tensors(worker).repeat(), batches).enumerate(1)

    @tf.function
    def training_step(batches: Iterator) -> tf.Tensor:
        step, (worker, (images, labels)) = next(batches)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model.loss(images, labels))
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
        if step % options.report_steps == 0:
            # Runs on the worker, so it is in the worker's log.
            tf.print("worker=", worker, " step=", step, " batch_loss=", loss, sep="", output_stream=sys.stdout)
        return loss

    checkpoints = scalars = None
    if options.model_directory:
        # Absolute, and written by the chief: a checkpoint's parts would otherwise be written by the parameter servers.
        options.model_directory = options.model_directory.resolve()
        checkpoints = tf.train.CheckpointManager(
            tf.train.Checkpoint(model=model, optimizer=optimizer, epochs_done=epochs_done),
            str(options.model_directory / "checkpoints"),
            max_to_keep=2,
        )
        on_chief = tf.train.CheckpointOptions(experimental_io_device=device("chief", 0))
        scalars = ScalarLog(options.model_directory / "logs")
        if options.resume and checkpoints.latest_checkpoint:
            checkpoints.checkpoint.restore(checkpoints.latest_checkpoint, on_chief).assert_consumed()

    batches = iter(coordinator.create_per_worker_dataset(worker_dataset))
    steps = len(training.labels) // options.batch_size
    for epoch in range(int(epochs_done.numpy()) + 1, options.epochs + 1):
        started = time.monotonic()
        losses = [coordinator.schedule(training_step, args=(batches,)) for _ in range(steps)]
        coordinator.join()
        loss = float(tf.reduce_mean(coordinator.fetch(losses)))
        report(epoch=epoch, step=epoch * steps, loss=loss, seconds=time.monotonic() - started)
        report_from_parameter_servers(cluster, [*model.variables, *optimizer.velocities, epochs_done], epoch * steps)
        epochs_done.assign(epoch)
        if checkpoints and scalars:
            checkpoints.save(options=on_chief)
            scalars.write(epoch * steps, loss=loss)

    result = detached(model)
    test_accuracy = accuracy(result, test)
    if options.model_directory and scalars:
        scalars.write(options.epochs * steps, test_accuracy=test_accuracy)
        report(exported=export(result, options.model_directory, test))
    report(test_accuracy=test_accuracy)

    dismiss(cluster)


def dismiss(cluster: Cluster) -> None:
    """Tell workers and parameter servers that the chief is done."""
    for job in ("worker", "ps"):
        for index in range(len(cluster.addresses[job])):
            try:
                with tf.device(device(job, index)):
                    tf.io.write_file(FINISHED, "")
            except (tf.errors.UnavailableError, tf.errors.InvalidArgumentError) as error:
                # The training went on without it; TensorFlow may have forgotten its device.
                print(f"warning: {job} {index} was lost: {error.message}", file=sys.stderr, flush=True)


def report_from_parameter_servers(cluster: Cluster, variables: list[tf.Variable], step: int) -> None:
    """Let each parameter server report on the variables that it holds, in its own log."""
    for index in range(len(cluster.addresses["ps"])):
        held = [variable for variable in variables if variable.device == device("ps", index)]
        with tf.device(device("ps", index)):
            norm = tf.linalg.global_norm([tf.cast(variable, tf.float32) for variable in held])
            line = f"ps={index} variables={len(held)} step={step} norm="
            tf.print(line, norm, sep="", output_stream=sys.stdout)


def main() -> None:
    # Python as a container's first process would otherwise not notice that it is asked to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = arguments()
    cluster = Cluster(os.environ["TF_CONFIG"])
    if cluster.job == "chief":
        try:
            train(cluster, options)
        except tf.errors.UnavailableError as error:
            print(f"error: a task of the cluster was lost: {error.message}", file=sys.stderr, flush=True)
            # An orderly exit would ask the lost task to clean up, and bury this line under its complaints.
            os._exit(1)
    else:
        serve(cluster, options)


if __name__ == "__main__":
    main()
