#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Train a digit classifier with DistributedDataParallel.

All ranks run this program; rank 0 evaluates and writes the results. MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE say
who this process is, as a PyTorchJob or torchrun sets them. Without WORLD_SIZE the program trains in this process alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

sys.path.append(str(Path(__file__).resolve().parents[1]))
from mnist_data import CLASSES, IMAGE_SHAPE, Digits, load_mnist


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64, help="images of one step, over all ranks")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--hidden-units", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report-steps", type=int, default=10, help="a rank reports every so many steps")
    parser.add_argument(
        "--model-directory",
        type=Path,
        help="rank 0 writes here: 1/, 2/, … with state_dict.pt and model.pt (TorchScript), and logs/ (TensorBoard)",
    )
    parser.add_argument(
        "--start-timeout", type=float, default=300, help="seconds to wait until all ranks have found each other"
    )
    return parser.parse_args()


def report(**values: object) -> None:
    """Log one line of `key=value` pairs, in one piece: other processes may share the terminal."""
    pairs = (f"{key}={value:.4f}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items())
    print(" ".join(pairs) + "\n", end="", flush=True)


def join_process_group(timeout: float) -> tuple[int, int]:
    """Return this process's rank and the number of ranks."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    # On Kubernetes the master's name exists only once its pod runs.
    host, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            break
        except socket.gaierror as error:
            if time.monotonic() > deadline:
                sys.exit(f"error: the master's name {host} did not resolve within {timeout:.0f} s: {error.strerror}")
            time.sleep(0.5)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    return dist.get_rank(), dist.get_world_size()


def scalar_writer(directory: Path):
    """TensorBoard's writer where the package tensorboard is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(directory))


def tensors(digits: Digits) -> TensorDataset:
    return TensorDataset(torch.from_numpy(digits.images).float() / 255, torch.from_numpy(digits.labels))


def mean_over_ranks(value: torch.Tensor, ranks: int) -> float:
    if ranks > 1:
        dist.all_reduce(value)
    return value.item() / ranks


@torch.no_grad()
def accuracy(model: nn.Module, digits: TensorDataset, device: torch.device) -> float:
    images, labels = (tensor.to(device) for tensor in digits.tensors)
    return (model(images).argmax(dim=1) == labels).float().mean().item()


def export(model: nn.Module, model_directory: Path) -> Path:
    """Save the next version under `model_directory`; a server never sees half of one."""
    model_directory.mkdir(parents=True, exist_ok=True)
    versions = [int(entry.name) for entry in model_directory.iterdir() if entry.name.isdecimal()]
    version = model_directory / str(max(versions, default=0) + 1)
    unfinished = version.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    model = model.cpu().eval()
    torch.save(model.state_dict(), unfinished / "state_dict.pt")
    torch.jit.script(model).save(str(unfinished / "model.pt"))
    unfinished.rename(version)
    return version


def train(rank: int, ranks: int, options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    training, test = map(tensors, load_mnist(options.seed))
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(IMAGE_SHAPE[0] * IMAGE_SHAPE[1], options.hidden_units),
        nn.ReLU(),
        nn.Linear(options.hidden_units, CLASSES),
    ).to(device)
    replica = DistributedDataParallel(model) if ranks > 1 else model
    optimizer = torch.optim.SGD(replica.parameters(), options.learning_rate, momentum=0.9)
    sampler = DistributedSampler(training, ranks, rank, seed=options.seed)
    batches = DataLoader(training, options.batch_size // ranks, sampler=sampler, drop_last=True)
    writes = options.model_directory is not None and rank == 0
    scalars = scalar_writer(options.model_directory / "logs") if writes else None

    step = 0
    for epoch in range(1, options.epochs + 1):
        started = time.monotonic()
        sampler.set_epoch(epoch)
        sum_of_losses = torch.zeros((), device=device)
        for images, labels in batches:
            loss = nn.functional.cross_entropy(replica(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            sum_of_losses += loss.detach()
            if step % options.report_steps == 0:
                report(rank=rank, epoch=epoch, step=step, batch_loss=loss.item())
        mean_loss = mean_over_ranks(sum_of_losses / len(batches), ranks)
        if rank == 0:
            report(epoch=epoch, step=step, loss=mean_loss, seconds=time.monotonic() - started)
            if scalars:
                scalars.add_scalar("loss", mean_loss, step)

    if rank == 0:
        test_accuracy = accuracy(model, test, device)
        if scalars:
            scalars.add_scalar("test_accuracy", test_accuracy, step)
            scalars.close()
        if writes:
            report(exported=export(model, options.model_directory))
        report(test_accuracy=test_accuracy)


def main() -> None:
    # Python as a container's first process would otherwise not notice that it is asked to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = arguments()
    rank, ranks = join_process_group(options.start_timeout)
    train(rank, ranks, options)
    if ranks > 1:
        # Nobody leaves while another may still be talking to it.
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
