# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Which versions of a model are loaded, when they are replaced, and what state each is in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from model_server.config import ModelConfig
from model_server.errors import NotFoundError

log = logging.getLogger(__name__)


class State(Enum):
    """The names and numbers that TensorFlow Serving's interface has for them."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class Version:
    number: int
    state: State = State.START
    error: str = ""
    # What was loaded, while it is AVAILABLE.
    servable: Any = None
    # What its files looked like when loading was tried.
    stamp: tuple[int, ...] = ()


class Model:
    """One model: a directory with a directory for each version."""

    def __init__(self, config: ModelConfig, load: Callable[[Path], Any]) -> None:
        self.config = config
        self._load = load
        self._versions: dict[int, Version] = {}
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Load versions that are new and unload those that are not wanted any more.

        A version is unloaded only when a wanted one is available, or none is wanted: a new version that
        cannot be loaded leaves the old one serving. One whose loading failed is tried again when its files change.
        """
        present = self._present()
        wanted = self.config.policy.wanted(present)
        for number in sorted(wanted):
            stamp = _stamp(present[number])
            known = self._versions.get(number)
            if known is None or (known.state is State.END and (not known.error or known.stamp != stamp)):
                self._bring_up(number, present[number], stamp)
        available = {version.number for version in self.versions() if version.state is State.AVAILABLE}
        if available & wanted or not wanted:
            for number in sorted(available - wanted):
                self._take_down(number)
        with self._lock:
            # Failed attempts at versions that nobody wants any more are forgotten.
            for number in [
                n for n, v in self._versions.items() if v.state is State.END and v.error and n not in wanted
            ]:
                del self._versions[number]

    def _present(self) -> dict[int, Path]:
        try:
            return {int(path.name): path for path in self.config.base_path.iterdir() if path.name.isdecimal()}
        except OSError as error:
            log.debug("%s: %s", self.config.name, error)
            return {}

    def _bring_up(self, number: int, path: Path, stamp: tuple[int, ...]) -> None:
        version = Version(number, State.LOADING, stamp=stamp)
        with self._lock:
            self._versions[number] = version
        try:
            servable = self._load(path)
        except Exception as error:  # whatever a broken file makes TensorFlow raise
            version.error = str(error) or type(error).__name__
            version.state = State.END
            log.error("%s: version %d cannot be loaded: %s", self.config.name, number, version.error)
            return
        with self._lock:
            version.servable, version.state = servable, State.AVAILABLE
        log.info("%s: version %d is available", self.config.name, number)

    def _take_down(self, number: int) -> None:
        with self._lock:
            # Requests that are being answered hold the servable themselves.
            version = self._versions[number]
            version.state, version.servable = State.END, None
        log.info("%s: version %d is unloaded", self.config.name, number)

    def versions(self) -> list[Version]:
        """All that are or were there, newest first."""
        with self._lock:
            return sorted(self._versions.values(), key=lambda version: version.number, reverse=True)

    def number_of(self, label: str) -> int:
        if label not in self.config.labels:
            known = ", ".join(sorted(self.config.labels)) or "none"
            raise NotFoundError(f"The model '{self.config.name}' has no label '{label}'; its labels are: {known}")
        return self.config.labels[label]

    def statuses(self, number: int | None = None, label: str | None = None) -> list[Version]:
        if label is not None:
            number = self.number_of(label)
        found = [version for version in self.versions() if number in (None, version.number)]
        if not found:
            what = "no version" if number is None else f"no version {number}"
            raise NotFoundError(f"The model '{self.config.name}' has {what} in {self.config.base_path}")
        return found

    def servable(self, number: int | None = None, label: str | None = None) -> tuple[int, Any]:
        """The version to answer with, and its number: the newest available one where none is named."""
        for version in self.statuses(number, label):
            servable = version.servable
            if servable is not None:
                return version.number, servable
        wanted = (
            f"version {number}" if number is not None else f"version with the label '{label}'" if label else "version"
        )
        states = ", ".join(f"{version.number} is {version.state.name}" for version in self.versions())
        raise NotFoundError(f"The model '{self.config.name}' has no {wanted} that is available: {states}")


class Models:
    """All models, and the thread that looks for new versions."""

    def __init__(self, configs: Iterable[ModelConfig], load: Callable[[Path], Any], poll_seconds: float) -> None:
        self._models = {config.name: Model(config, load) for config in configs}
        self._poll_seconds = poll_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="versions", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _poll(self) -> None:
        while True:
            for model in self._models.values():
                model.refresh()
            if self._stop.wait(self._poll_seconds):
                return

    def __iter__(self) -> Any:
        return iter(self._models.values())

    def __getitem__(self, name: str) -> Model:
        if name not in self._models:
            raise NotFoundError(
                f"There is no model '{name}'; the models are: {', '.join(sorted(self._models)) or 'none'}"
            )
        return self._models[name]


def _stamp(directory: Path) -> tuple[int, ...]:
    for path in (directory / "saved_model.pb", directory):
        try:
            status = path.stat()
        except OSError:
            continue
        return status.st_ino, status.st_mtime_ns, status.st_size
    return ()
