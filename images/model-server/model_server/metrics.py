# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What Prometheus is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram

REQUESTS = Histogram(
    "model_server_request_seconds",
    "Time that predictions took",
    ["model", "protocol", "result"],
    buckets=[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
)


@contextmanager
def observed(model: str, protocol: str, started: float) -> Iterator[None]:
    result = "error"
    try:
        yield
        result = "ok"
    finally:
        REQUESTS.labels(model, protocol, result).observe(time.monotonic() - started)
