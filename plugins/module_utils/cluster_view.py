# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What one module call has learnt of the cluster: each question is asked once, whichever threads want the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import quote

from ansible_collections.mlstack.kubernetes.plugins.module_utils.capacity import Amounts, total_of, wants_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_kinds import KINDS
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import as_dict, as_list, has_condition
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json, KubeApi

T = TypeVar("T")
Job = tuple[str, str]

_JOB_LABELS = sorted({kind.pod_label for kind in KINDS.values()})
OPERATOR_LABEL = ("control-plane", "kubeflow-training-operator")


class Absent(Enum):
    """Why there is no object to look at."""

    MISSING = "the kind is served, the object is not there"
    NOT_SERVED = "the API server does not know the kind"
    FORBIDDEN = "the user may not ask"


@dataclass(frozen=True)
class RunningPod:
    node: str
    job: Job
    scheduler: str
    wants: Amounts


@dataclass(frozen=True)
class RunningPods:
    """What of the cluster's pods matters here; their full text would be large."""

    pods: list[RunningPod]
    # The training operator's pods, and whether they are ready.
    operators: dict[str, bool]

    def used(self, but_not_by: Job) -> dict[str, Amounts]:
        """What is taken on each node."""
        by_node: dict[str, list[Amounts]] = {}
        for pod in self.pods:
            if pod.node and pod.job != but_not_by:
                by_node.setdefault(pod.node, []).append(pod.wants)
        return {node: total_of(wants) for node, wants in by_node.items()}


class ClusterView:
    """ApiError and UnreachableError are raised where the server fails, and the question is then asked anew."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._answers: dict[Hashable, Any] = {}
        self._locks: dict[Hashable, threading.Lock] = {}

    def once(self, key: Hashable, work: Callable[[], T]) -> T:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._answers:
                self._answers[key] = work()
            answer: T = self._answers[key]
            return answer

    def look_up(self, path: str, name: str, query: Mapping[str, str] | None = None) -> Json | Absent:
        """The object `name` at `path`, which may come from the user."""
        return self.ask(f"{path}/{quote(name, safe='')}", query)

    def ask(self, path: str, query: Mapping[str, str] | None = None) -> Json | Absent:
        def get() -> Json | Absent:
            try:
                return self._api.get(path, query)
            except ApiError as error:
                if error.status == 403:
                    return Absent.FORBIDDEN
                if error.status == 404:
                    return Absent.MISSING if error.is_object_missing else Absent.NOT_SERVED
                raise

        return self.once((path, *(query or {}).items()), get)

    def serves(self, group_version: str) -> bool | None:
        """None where that may not be asked."""
        answer = self.ask(f"/apis/{group_version}")
        return None if answer is Absent.FORBIDDEN else isinstance(answer, dict)

    def nodes(self) -> list[Json] | None:
        answer = self.ask("/api/v1/nodes")
        return as_list(answer.get("items")) if isinstance(answer, dict) else None

    def running_pods(self) -> RunningPods | None:
        return self.once("running pods", self._running_pods)

    def _running_pods(self) -> RunningPods | None:
        # From the server's cache: the answer can be large, and a little out of date does no harm.
        query = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed", "resourceVersion": "0"}
        try:
            pods = as_list(self._api.get("/api/v1/pods", query).get("items"))
        except ApiError as error:
            if error.status in (403, 404):
                return None
            raise
        label, value = OPERATOR_LABEL
        operators = {
            pod["metadata"]["name"]: _is_ready(pod)
            for pod in pods
            if as_dict(pod["metadata"].get("labels")).get(label) == value
        }
        return RunningPods([_running_pod(pod) for pod in pods], operators)

    def driver_resources(self) -> set[str] | None:
        """Devices that drivers offer by dynamic allocation, so that no node counts them; None where that is unknown."""
        classes = self.ask("/apis/resource.k8s.io/v1/deviceclasses")
        if classes is Absent.FORBIDDEN and self.serves("resource.k8s.io/v1") is not False:
            return None
        specs: Iterable[Json] = (as_dict(as_dict(item).get("spec")) for item in as_list(as_dict(classes).get("items")))
        return {str(spec["extendedResourceName"]) for spec in specs if spec.get("extendedResourceName")}


def _running_pod(pod: Json) -> RunningPod:
    metadata, spec = pod["metadata"], as_dict(pod.get("spec"))
    return RunningPod(
        node=str(spec.get("nodeName") or ""),
        job=(str(metadata.get("namespace")), _job_of(metadata)),
        scheduler=str(spec.get("schedulerName")),
        wants=wants_of(spec),
    )


def _job_of(metadata: Json) -> str:
    labels = as_dict(metadata.get("labels"))
    return next((str(labels[label]) for label in _JOB_LABELS if label in labels), "")


def _is_ready(pod: Json) -> bool:
    return has_condition(pod, "Ready")
