# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What one call has asked for, done and seen of one job, and how it is told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.mlstack.kubernetes.plugins.module_utils.diagnosis import diagnose, message_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    FAILED,
    PENDING,
    JobKind,
    desired_part,
    replicas_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    duration_of,
    has_started,
    replica_table,
    state_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import Series
from ansible_collections.mlstack.kubernetes.plugins.module_utils.redaction import redacted, secrets_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import Stuck

ABSENT = "Absent"


class JobError(Exception):
    """The job is not what was asked for; carries what is known about it."""

    def __init__(self, message: str, result: Json | None = None) -> None:
        super().__init__(message)
        self.result = result or {}


@dataclass(eq=False)
class Course:
    """One job of a call, from what is wanted to what has become of it."""

    kind: JobKind
    namespace: str
    name: str
    # The job as the task describes it; None where it is only named.
    wanted: Json | None = None
    # The job as the cluster has it; None where it is not there.
    live: Json | None = None
    # Whether this call has changed, and whether it has made, the job.
    changed: bool = False
    created: bool = False
    before: Mapping[str, object] = field(default_factory=dict)
    after: Mapping[str, object] = field(default_factory=dict)
    submit: float | None = None
    begin: float = 0.0
    # Pods as they were last seen, and the names of those that are still there.
    pods: dict[str, Json] = field(default_factory=dict)
    present_pods: set[str] = field(default_factory=set)
    events: dict[str, Json] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    log_files: list[str] = field(default_factory=list)
    metrics: dict[str, Series] = field(default_factory=dict)
    # Whether the cluster has shown this very job since, and whether it has gone again.
    is_seen: bool = False
    is_gone: bool = False
    first_container: float | None = None
    finished: float | None = None
    all_started: bool = False
    error: JobError | None = None

    @property
    def title(self) -> str:
        return f"{self.kind.name} {self.namespace}/{self.name}"

    @property
    def job(self) -> Json:
        """The job as the cluster has it, or where it is not there (any more), as it is wanted."""
        return self.live or self.wanted or {"metadata": {"name": self.name, "namespace": self.namespace}}

    def the_live(self) -> Json:
        """The cluster's job, where it is known to be there."""
        if self.live is None:
            raise LookupError(f"{self.title} is not there")
        return self.live

    def the_wanted(self) -> Json:
        """The task's description, where there is known to be one."""
        if self.wanted is None:
            raise LookupError(f"{self.title} is only named")
        return self.wanted

    @property
    def state(self) -> str:
        return state_of(self.kind, self.live) if self.live else PENDING if self.wanted else ABSENT

    @property
    def is_there(self) -> bool:
        """Whether the cluster has the job and is not about to delete it."""
        return self.live is not None and not self.live["metadata"].get("deletionTimestamp")

    def take_in_pod(self, name: str, pod: Json | None) -> None:
        """Pods that are cleaned away at the end stay in the table as they were last seen."""
        if pod is None:
            self.present_pods.discard(name)
            return
        self.pods[name] = pod
        self.present_pods.add(name)
        if has_started(self.kind, pod):
            self.first_container = self.first_container or time.monotonic()
            started = [has_started(self.kind, self.pods[present]) for present in self.present_pods]
            self.all_started = self.all_started or (
                all(started) and len(started) == len(replicas_of(self.kind, self.job))
            )

    # -- how it is told

    def result(self) -> Json:
        """Everything, for a call with this job alone."""
        if self.live is None and self.wanted is None:
            return {"changed": self.changed, "job": None, "state": ABSENT, **self.diff()}
        return {
            "changed": self.changed,
            "job": shown(self.job),
            "state": self.state,
            "replicas": replica_table(self.kind, self.job, self.pods),
            "duration": duration_of(self.kind, self.job),
            "timings": self.timings(),
            **self._extras(),
            **self.diff(),
        }

    def row(self) -> Json:
        """What matters, for a call with many jobs."""
        row = {
            "name": self.name,
            "namespace": self.namespace,
            "state": self.state,
            "changed": self.changed,
            "duration": duration_of(self.kind, self.job),
            **self._extras(),
        }
        if self.error:
            row["msg"] = str(self.error)
            row["diagnosis"] = self.error.result.get("diagnosis")
        return row

    def _extras(self) -> Json:
        extras: Json = {}
        if self.metrics:
            extras["metrics"] = {name: summary(series) for name, series in self.metrics.items()}
        if self.log_files:
            extras["log_files"] = sorted(self.log_files)
        return extras

    def diff(self) -> Json:
        return {"diff": {"before": self.before, "after": self.after}}

    def timings(self) -> Json:
        def since(begin: float | None, end: float | None) -> float | None:
            return None if begin is None or end is None else round(end - begin, 3)

        first_container = self.first_container
        if first_container is not None and self.finished is not None:
            # Pods come by another stream than the job, whose end may be seen first.
            first_container = min(first_container, self.finished)
        return {
            "submit": None if self.submit is None else round(self.submit, 3),
            "first_container": since(self.begin, first_container) if self.created else None,
            "finished": since(self.begin, self.finished),
            "after_finish": since(self.finished, time.monotonic()),
        }

    def failure(self, headline: str, troubles: list[Stuck] | None = None, pod_group: Json | None = None) -> JobError:
        """The error that tells why the job has not come to a good end."""
        secrets = secrets_of(self.kind, self.job)
        logs = redacted(self.logs, secrets)
        diagnosis = diagnose(self.kind, self.job, self.pods, self.events.values(), logs, troubles or [], pod_group)
        condition = diagnosis["condition"]
        if condition and condition["type"] == FAILED and condition["message"]:
            headline += f" {condition['message']}"
        result = {**self.result(), "changed": self.changed, "diagnosis": diagnosis}
        return JobError(message_of(headline, diagnosis), result)


def shown(job: Json) -> Json:
    """The job without the bookkeeping of server-side apply."""
    metadata = {key: value for key, value in job["metadata"].items() if key != "managedFields"}
    return {**job, "metadata": metadata}


def summary(series: Series) -> Json:
    values = series.values
    return {
        "count": len(values),
        "first": values[0] if values else None,
        "final": values[-1] if values else None,
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
    }


def decided(job: Json | None) -> Mapping[str, object]:
    return desired_part(job) if job else {}
