# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a TensorBoard shows: its runs, their scalars, and whether these are the ones that are wanted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    core_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import trend

POLL_SECONDS = 1.0
SHOWN_NAMES = 8


class TensorBoardError(Exception):
    """It cannot be asked, and waiting does not help."""


class NotYetError(TensorBoardError):
    """Nobody answers, or what is wanted is not shown; either may change."""


@dataclass(frozen=True)
class Wanted:
    """A scalar that has to be shown, and what is expected of it."""

    run: str
    tag: str
    falls: bool = False
    rises: bool = False
    # The newest value, as far as it was written down somewhere else.
    last: float | None = None

    def __str__(self) -> str:
        return f"the scalar '{self.tag}' of the run '{self.run}'"


@dataclass(frozen=True)
class Scalar:
    """The points of one tag of one run."""

    run: str
    tag: str
    steps: list[int]
    values: list[float]

    def summary(self) -> dict[str, Any]:
        return {**asdict(self), "points": len(self.values), "first": self.values[0], "last": self.values[-1]}


class TensorBoard:
    """A TensorBoard behind a Service, asked through the API server."""

    def __init__(self, api: KubeApi, namespace: str, service: str, port: str, path_prefix: str) -> None:
        self.address = f"the Service {namespace}/{service}"
        self._api = api
        self._path = f"{core_path(namespace, 'services', f'{service}:{port}')}/proxy{path_prefix.rstrip('/')}"

    def tags(self) -> dict[str, list[str]]:
        """The tags of the scalars of each run."""
        answer = self._ask("/data/plugin/scalars/tags", {}, dict)
        return {run: sorted(tags) for run, tags in sorted(answer.items())}

    def scalar(self, run: str, tag: str) -> Scalar:
        points = self._ask("/data/plugin/scalars/scalars", {"run": run, "tag": tag}, list)
        # Each is a time, a step and a value; a value that is no finite number comes as text.
        return Scalar(run, tag, [int(point[1]) for point in points], [float(point[2]) for point in points])

    def _ask(self, path: str, query: dict[str, str], kind: type) -> Any:
        try:
            answer: Json | list[Any] = self._api.get(self._path + path, query)
        except UnreachableError as error:
            raise NotYetError(str(error)) from error
        except ApiError as error:
            # A Service without a pod that is ready is answered for by the API server. 404 without a reason comes from
            # TensorBoard itself, which does not know a run that it has yet to read.
            if error.is_transient or (error.status == 404 and not error.is_object_missing):
                raise NotYetError(f"{self.address} answers with HTTP status {error.status}: {error.message}") from error
            raise TensorBoardError(f"{self.address} cannot be used: {error.message}") from error
        except ValueError as error:
            raise TensorBoardError(f"{self.address} is no TensorBoard: what it answers is no JSON") from error
        if not isinstance(answer, kind):
            raise TensorBoardError(f"{self.address} is no TensorBoard: it answers {path} with {answer!r:.100}")
        return answer


def wait_for_scalars(
    board: TensorBoard,
    wanted: Sequence[Wanted],
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[dict[str, list[str]], list[Scalar]]:
    """The tags of all runs and the wanted scalars, as soon as all are as expected; TensorBoardError if not in time."""
    deadline = clock() + timeout
    while True:
        try:
            tags = board.tags()
            scalars = []
            for want in wanted:
                if want.tag not in tags.get(want.run, []):
                    raise NotYetError(_missing(want, tags))
                scalars.append(board.scalar(want.run, want.tag))
            problems = [
                problem for want, scalar in zip(wanted, scalars, strict=True) for problem in _check(want, scalar)
            ]
            if not problems:
                return tags, scalars
            problem = " ".join(problems)
        except NotYetError as error:
            problem = str(error)
        if clock() >= deadline:
            raise TensorBoardError(f"{board.address} did not show what is wanted within {timeout:.0f} s: {problem}")
        sleep(POLL_SECONDS)


def _missing(want: Wanted, tags: dict[str, list[str]]) -> str:
    if want.run in tags:
        return f"{want} is not there; that run has {_listed(tags[want.run])}."
    return f"{want} is not there; the runs are {_listed(list(tags))}."


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES]) or "none"
    return shown + (f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else "")


def _check(want: Wanted, scalar: Scalar) -> Iterator[str]:
    """What is wrong with it."""
    if not scalar.values:
        yield f"{want} has no points."
        return
    broken = [value for value in scalar.values if not math.isfinite(value)]
    if broken:
        yield f"{want} has {len(broken)} values that are no finite numbers."
        return
    for is_wanted, sign, verb in ((want.falls, -1, "fall"), (want.rises, 1, "rise")):
        if is_wanted and not (check := trend(str(want), sign, verb, scalar.values)).met:
            yield str(check)
    # Summaries have single precision, and logs a few digits.
    if want.last is not None and not math.isclose(scalar.values[-1], want.last, rel_tol=1e-3, abs_tol=1e-4):
        yield f"{want} ends with {scalar.values[-1]:g}, and the training with {want.last:g}."
