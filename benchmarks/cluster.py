# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the measurements themselves ask of the API server."""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

from tests.integration.conftest import wait_for

Json = dict[str, Any]
_SAMPLE = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
LONGEST = 300.0
ANNOTATION = "kwok.x-k8s.io/node"
PODS_PER_NODE = 110


class Requests(Counter[tuple[str, str]]):
    """How many requests the API server has answered, by resource and verb; of dry runs by `(dry run)`."""

    @classmethod
    def read(cls, metrics: str) -> Requests:
        found = cls()
        for sample in _SAMPLE.finditer(metrics):
            labels = dict(_LABEL.findall(sample["labels"]))
            verb = labels["verb"] + (" (dry run)" if labels.get("dry_run") else "")
            found[labels["resource"], verb] += round(float(sample["value"]))
        return found

    def since(self, before: Requests) -> Requests:
        return Requests({key: self[key] - before[key] for key in self if self[key] > before[key]})

    def by_verb(self, resource: str) -> dict[str, int]:
        return {verb: count for (of, verb), count in sorted(self.items()) if of == resource}


class Cluster:
    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        config.load_kube_config(str(kubeconfig))
        self.core = client.CoreV1Api()
        self.custom = client.CustomObjectsApi()
        # Also for the raw client: the certificates of a kubeconfig as files.
        self.settings = client.Configuration.get_default_copy()
        self._pool = urllib3.PoolManager(
            cert_file=self.settings.cert_file, key_file=self.settings.key_file, ca_certs=self.settings.ssl_ca_cert
        )

    def _request(self, method: str, path: str, body: Json | None = None) -> bytes:
        response = self._pool.request(method, self.settings.host + path, json=body)
        if response.status == 404:
            return b""
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.data.decode()}")
        return response.data

    def _get(self, path: str) -> Json | None:
        answer = self._request("GET", path)
        return json.loads(answer) if answer else None

    @property
    def version(self) -> str:
        return str((self._get("/version") or {})["gitVersion"])

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """A fresh one. It is deleted afterwards, for which `wait_for_rest` waits."""
        name = f"mlstack-bench-{uuid.uuid4().hex[:8]}"
        path = f"/api/v1/namespaces/{name}"
        self._request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        try:
            # Its service account comes a moment later, and pods need it.
            wait_for(lambda: self._get(f"{path}/serviceaccounts/default"))
            yield name
        finally:
            self._request("DELETE", path)

    # -- jobs

    def jobs_path(self, namespace: str) -> str:
        return f"/apis/kubeflow.org/v1/namespaces/{namespace}/tfjobs"

    def create(self, namespace: str, job: Json) -> None:
        self._request("POST", self.jobs_path(namespace), job)

    def conditions(self, namespace: str) -> Counter[str]:
        """How many jobs have which condition."""
        jobs = (self._get(self.jobs_path(namespace)) or {})["items"]
        return Counter(
            condition["type"]
            for job in jobs
            for condition in [{"type": ""}, *job.get("status", {}).get("conditions", [])]
            if condition.get("status", "True") == "True"
        )

    def wait_for_condition(self, namespace: str, condition: str, count: int) -> None:
        end = time.monotonic() + LONGEST
        while (reached := self.conditions(namespace)[condition]) < count:
            if time.monotonic() > end:
                raise RuntimeError(f"Only {reached} of {count} jobs are {condition} after {LONGEST:.0f} s.")
            time.sleep(0.5 if count < 100 else 2)

    def wait_for_rest(self) -> None:
        """Until no namespace is being deleted any more, which takes the server's time and is counted, too."""
        path = "/api/v1/namespaces"
        wait_for(
            lambda: not any(one["status"]["phase"] == "Terminating" for one in (self._get(path) or {})["items"]),
            LONGEST,
        )

    def requests(self) -> Requests:
        return Requests.read(self._request("GET", "/metrics").decode())

    # -- nodes

    @contextlib.contextmanager
    def room_for(self, pods: int) -> Iterator[None]:
        """More simulated nodes like those that are there, for as long as they are needed."""
        nodes = (self._get("/api/v1/nodes?labelSelector=type%3Dkwok") or {})["items"]
        capacity = {**nodes[0]["status"]["capacity"], "pods": str(PODS_PER_NODE)}
        names = [f"mlstack-bench-{number}" for number in range(-(-pods // PODS_PER_NODE))]
        for name in names:
            self._request("POST", "/api/v1/nodes", _simulated_node(name, capacity))
        try:
            wait_for(lambda: all(self._is_ready(name) for name in names), 60)
            yield
        finally:
            for name in names:
                self._request("DELETE", f"/api/v1/nodes/{name}")

    def _is_ready(self, name: str) -> bool:
        conditions: Sequence[Json] = (self._get(f"/api/v1/nodes/{name}") or {})["status"].get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _simulated_node(name: str, capacity: Json) -> Json:
    return {
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: "fake"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [{"key": ANNOTATION, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
