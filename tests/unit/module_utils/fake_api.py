"""An API server in a few lines: objects by path, watch streams that a test feeds, and failures on order."""

from __future__ import annotations

import copy
import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json, UnreachableError

END = object()
# How long a request waits for a server that does not answer.
READ_SECONDS = 20.0


def not_found(name: str) -> ApiError:
    return ApiError(404, "NotFound", f'"{name}" not found')


class FakeLines:
    def __init__(self, items: Iterator[str]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[str]:
        return self._items

    def close(self) -> None:
        pass


class FakeApi:
    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        # What is there on any cluster with a training operator.
        self.standing: dict[str, Json] = {
            "/api/v1/namespaces/default": {"metadata": {"name": "default"}},
            "/apis/kubeflow.org/v1": {"resources": [{"name": "tfjobs"}, {"name": "pytorchjobs"}]},
            "/api/v1/pods/training-operator": {
                "metadata": {"name": "training-operator", "labels": {"control-plane": "kubeflow-training-operator"}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            },
        }
        self.unserved = {"/apis/scheduling.volcano.sh", "/apis/resource.k8s.io"}
        self.logs: dict[str, list[str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.on_create: Callable[[str, Json], None] = lambda path, body: None
        self.on_dry_run: Callable[[str, Json], None] = lambda path, body: None
        self.on_delete: Callable[[str], None] = lambda path: None
        # Errors that the next LISTs and watches of a path raise, in turn.
        self.failures: dict[str, list[Exception]] = {}
        # While this is not set, nobody is answered; open streams bring nothing.
        self.answers = threading.Event()
        self.answers.set()
        self._version = 0
        self._watches: dict[str, list[queue.Queue[Any]]] = {}
        self._lock = threading.RLock()

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] in ("create", "delete", "patch")]

    # -- what a test does to the cluster

    def put(self, path: str, item: Json) -> Json:
        with self._lock:
            change = "MODIFIED" if path in self.objects else "ADDED"
            self._version += 1
            item = copy.deepcopy(item)
            item["metadata"]["resourceVersion"] = str(self._version)
            self.objects[path] = item
            self._tell(path, {"type": change, "object": item})
            return item

    def drop(self, path: str) -> None:
        with self._lock:
            item = self.objects.pop(path)
            self._tell(path, {"type": "DELETED", "object": item})

    def break_watches(self, path: str, with_what: object = END) -> None:
        with self._lock:
            for stream in self._watches.pop(path, []):
                stream.put(with_what)

    def _tell(self, path: str, event: Json) -> None:
        for stream in self._watches.get(path.rpartition("/")[0], []):
            stream.put(json.dumps(event))

    # -- what the code under test asks

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        self._wait_for_answer()
        with self._lock:
            self._note("get", path)
            if path.startswith(tuple(self.unserved)):
                raise ApiError(404, "Not Found", "404 page not found")
            objects = {**self.standing, **self.objects}
            if path in objects:
                return copy.deepcopy(objects[path])
            if query is None and not path.endswith(("s",)):
                raise not_found(path.rpartition("/")[2])
            items = [copy.deepcopy(item) for key, item in objects.items() if key.rpartition("/")[0] == path]
            if query is None and not items:
                raise not_found(path.rpartition("/")[2])
            return {"items": items, "metadata": {"resourceVersion": str(self._version)}}

    def create(self, path: str, body: Json, dry_run: bool = False) -> Json:
        body = copy.deepcopy(body)
        self._wait_for_answer()
        if dry_run:
            self.on_dry_run(path, body)
            return body
        self._note("create", path)
        self.on_create(path, body)
        name = body["metadata"].get("name") or f"{body['metadata']['generateName']}{self._version}"
        body["metadata"]["name"] = name
        key = f"{path}/{name}"
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", f"{key} already exists")
        body["metadata"]["uid"] = f"uid-{self._version + 1}"
        return self.put(key, body)

    def patch(self, path: str, body: Json, dry_run: bool = False) -> Json:
        if path not in self.objects:
            raise not_found(path)
        patched = _merged(self.objects[path], body)
        if dry_run:
            return patched
        self._note("patch", path)
        return self.put(path, patched)

    def delete(self, path: str, uid: str | None = None, dry_run: bool = False, grace: int | None = None) -> Json:
        if dry_run:
            return {}
        self._note("delete", path)
        if path not in self.objects:
            raise not_found(path)
        if uid and self.objects[path]["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", "the uid does not match")
        self.drop(path)
        self.on_delete(path)
        return {}

    def lines(self, path: str, query: Mapping[str, str], read_timeout: float) -> FakeLines:
        self._wait_for_answer()
        with self._lock:
            if path.endswith("/log"):
                pod = path.split("/")[-2]
                if pod not in self.logs:
                    raise not_found(pod)
                return FakeLines(iter(self.logs[pod]))
            self._note("watch", path)
            stream: queue.Queue[Any] = queue.Queue()
            self._watches.setdefault(path, []).append(stream)
            return FakeLines(self._follow(stream))

    def _follow(self, stream: queue.Queue[Any]) -> Iterator[str]:
        while (item := stream.get()) is not END:
            if isinstance(item, Exception):
                raise item
            yield item

    def _wait_for_answer(self) -> None:
        if not self.answers.wait(READ_SECONDS):
            raise UnreachableError("The API server at https://example.test cannot be reached: no answer in time.")

    def _note(self, verb: str, path: str) -> None:
        self.calls.append((verb, path))
        if self.failures.get(path):
            raise self.failures[path].pop(0)


def _merged(target: Json, patch: Json) -> Json:
    merged = copy.deepcopy(target)
    for key, value in patch.items():
        merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged


def unreachable() -> UnreachableError:
    return UnreachableError("The API server at https://example.test cannot be reached: Connection refused.")
