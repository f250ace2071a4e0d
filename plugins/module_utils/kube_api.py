# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the rest of the collection knows of the Kubernetes API: JSON in, JSON out, and two kinds of failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

Json = dict[str, Any]


class ApiError(Exception):
    """The API server answered, and refused."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        """`retry_after` are the seconds after which the server wants to be asked again."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def is_object_missing(self) -> bool:
        """The kind is served, the object is not there. For a kind that is not served the answer is plain text."""
        return self.status == 404 and self.reason == "NotFound"

    @property
    def is_transient(self) -> bool:
        return self.status == 429 or self.status >= 500

    @property
    def is_busy(self) -> bool:
        """The server has too much to do, or is about to begin or to end."""
        return self.status in (429, 503, 504)

    @property
    def is_identity(self) -> bool:
        """It does not know who asks, or what they may."""
        return self.status in (401, 403)


class UnreachableError(Exception):
    """No answer: nobody listens there, the connection broke, or it took too long."""


class Lines(Protocol):
    """The lines of a response that is still being received."""

    def __iter__(self) -> Iterator[str]: ...

    def close(self) -> None: ...


class KubeApi(Protocol):
    """What the collection asks of an API client; tests give it a fake one."""

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json: ...

    def create(self, path: str, body: Json, dry_run: bool = False) -> Json: ...

    def patch(self, path: str, body: Json, dry_run: bool = False) -> Json: ...

    def delete(self, path: str, uid: str | None = None, dry_run: bool = False, grace: int | None = None) -> Json: ...

    def lines(self, path: str, query: Mapping[str, str], read_timeout: float) -> Lines: ...


# An empty namespace stands for all of them.


def pods_path(namespace: str, name: str = "") -> str:
    return _path("/api/v1", namespace, "pods", name)


def events_path(namespace: str) -> str:
    return _path("/api/v1", namespace, "events")


def core_path(namespace: str, plural: str, name: str) -> str:
    return _path("/api/v1", namespace, plural, name)


def object_path(api_version: str, namespace: str, plural: str, name: str = "") -> str:
    """Of an API group with a name; the core group has the functions above."""
    return _path(f"/apis/{api_version}", namespace, plural, name)


def _path(group: str, namespace: str, plural: str, name: str = "") -> str:
    return "/".join([group, *(["namespaces", namespace] if namespace else []), plural, *([name] if name else [])])
