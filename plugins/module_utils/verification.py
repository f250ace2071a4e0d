# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Proof that a job did what it was for: it succeeded, every replica took part, and its numbers are right.

What cannot be seen any more counts as not proven.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    InvalidJobError,
    JobKind,
    Replica,
    as_dict,
    deciding_replicas,
    replicas_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    JOB_NAME_LABEL,
    SUCCEEDED,
    duration_of,
    has_started,
    own_pods,
    replica_table,
    state_of,
    training_container,
    true_condition,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    events_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import (
    Expectation,
    Series,
    collect,
    compile_pattern,
    unmet,
)

LOG_READ_TIMEOUT = 30.0


@dataclass(frozen=True)
class Wanted:
    """What a job has to prove."""

    # By role in lower case: what each of its replicas must have logged.
    evidence: Mapping[str, re.Pattern[str]]
    # With the replica whose log each is read from; None stands for the one that decides the job.
    metrics: list[tuple[Expectation, str | None]]


@dataclass
class _Reading:
    """What the log of one replica gave."""

    lines: int = 0
    error: str = ""
    evidence: str | None = None
    series: dict[str, Series] = field(default_factory=dict)


def wanted_proof(kind: JobKind, params: Mapping[str, Any]) -> Wanted:
    """The module's parameters, checked."""
    problems = []
    evidence = {}
    for role, text in (params.get("evidence") or {}).items():
        if kind.role_named(str(role)) is None:
            roles = ", ".join(known.lower() for known in kind.roles)
            problems.append(f"evidence.{role}: {role!r} is not a role of a {kind.kind}; use one of {roles}.")
            continue
        try:
            evidence[str(role).lower()] = re.compile(str(text))
        except re.error as error:
            problems.append(f"evidence.{role}: {text!r} is not a regular expression: {error}; correct it.")
    metrics: list[tuple[Expectation, str | None]] = []
    for metric in params.get("metrics") or []:
        path = f"metrics.{metric['name']}"
        if metric["falls"] and metric["rises"]:
            problems.append(f"{path}: cannot both fall and rise; leave one out.")
        if metric["monotone"] and not (metric["falls"] or metric["rises"]):
            problems.append(f"{path}.monotone: says nothing by itself; add `falls` or `rises`.")
        if metric["name"] in [known.name for known, _replica in metrics]:
            problems.append(f"{path}: is named twice; give each metric its own name.")
        try:
            pattern = compile_pattern(metric["pattern"])
        except ValueError as error:
            problems.append(f"{path}.pattern: {error}.")
            continue
        expectations = {key: metric[key] for key in ("falls", "rises", "monotone", "final_above", "final_below")}
        metrics.append((Expectation(metric["name"], pattern, **expectations), metric.get("replica")))
    if problems:
        raise InvalidJobError(problems)
    return Wanted(evidence, metrics)


def verify(api: KubeApi, kind: JobKind, job: Json, wanted: Wanted) -> tuple[Json, list[str]]:
    """What was seen, and every expectation that it does not meet."""
    namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
    listed = api.get(pods_path(namespace), {"labelSelector": f"{JOB_NAME_LABEL}={name}"})["items"]
    pods = own_pods(job, {pod["metadata"]["name"]: pod for pod in listed})
    replicas = replicas_of(kind, job)
    problems = _state_problems(kind, job)
    deciding = deciding_replicas(kind, job)
    for replica in replicas:
        problems.extend(_part_problems(api, kind, job, replica, pods.get(replica.pod), replica in deciding))
    for role in wanted.evidence:
        if role not in [replica.role.lower() for replica in replicas]:
            problems.append(f"evidence.{role}: the job has no replica of this role.")

    sources = {expected.name: source or (deciding[0].name if deciding else "") for expected, source in wanted.metrics}
    readings = {
        replica.name: _read_log(api, kind, namespace, replica, wanted, sources)
        for replica in replicas
        if replica.role.lower() in wanted.evidence or replica.name in sources.values()
    }
    for replica in replicas:
        if replica.role.lower() in wanted.evidence:
            problems.extend(_evidence_problems(replica, readings[replica.name], wanted))
    metrics = {}
    for expected, _source in wanted.metrics:
        source = sources[expected.name]
        reading = readings.get(source)
        if reading is None:
            problems.append(f"{expected.name}: the job has no replica {source!r} to read it from.")
            continue
        series = reading.series.get(expected.name, Series())
        if reading.error:
            problems.append(f"{expected.name}: the log of {source} cannot be read: {reading.error}")
        else:
            problems.extend(unmet(expected, series, source))
        metrics[expected.name] = {
            "replica": source,
            "values": series.values,
            "first": series.values[0] if series.values else None,
            "final": series.values[-1] if series.values else None,
        }
    seen = {
        "state": state_of(job),
        "duration": duration_of(job),
        "replicas": replica_table(kind, job, pods),
        "evidence": {
            replica.name: readings[replica.name].evidence
            for replica in replicas
            if replica.role.lower() in wanted.evidence
        },
        "metrics": metrics,
    }
    return seen, problems


def _state_problems(kind: JobKind, job: Json) -> list[str]:
    state = state_of(job)
    if state == SUCCEEDED:
        return []
    message = (true_condition(job) or {}).get("message")
    return [f"state: wanted {SUCCEEDED}, saw {state}" + (f": {message}" if message else ".")]


def _part_problems(
    api: KubeApi, kind: JobKind, job: Json, replica: Replica, pod: Json | None, is_deciding: bool
) -> list[str]:
    """Whether the replica ran. One that does not decide the job may still run, or have been cleaned away."""
    if pod is None:
        if not is_deciding and _was_started(api, job, replica):
            return []
        return [f"{replica.name}: its pod {replica.pod} is gone, so nothing proves that it ran."]
    if not has_started(kind, pod):
        return [f"{replica.name}: its training container never started; the pod is {pod['status'].get('phase')}."]
    terminated = as_dict(as_dict(training_container(kind, pod).get("state")).get("terminated"))
    if terminated.get("exitCode"):
        return [f"{replica.name}: wanted exit code 0, saw {terminated['exitCode']} ({terminated.get('reason')})."]
    if is_deciding and not terminated:
        return [f"{replica.name}: wanted it to have ended, but it has not."]
    return []


def _was_started(api: KubeApi, job: Json, replica: Replica) -> bool:
    """Whether the kubelet has told, after this job's creation, that it started the training container."""
    namespace, created = job["metadata"]["namespace"], str(job["metadata"].get("creationTimestamp"))
    selector = f"involvedObject.name={replica.pod},reason=Started"
    try:
        events = api.get(events_path(namespace), {"fieldSelector": selector})["items"]
    except ApiError:
        return False
    return any(str(event.get("firstTimestamp") or event.get("eventTime") or "") >= created for event in events)


def _read_log(
    api: KubeApi, kind: JobKind, namespace: str, replica: Replica, wanted: Wanted, sources: Mapping[str, str]
) -> _Reading:
    reading = _Reading(series={name: Series() for name, source in sources.items() if source == replica.name})
    evidence = wanted.evidence.get(replica.role.lower())
    expectations = [expected for expected, _source in wanted.metrics if expected.name in reading.series]
    try:
        lines = api.lines(f"{pods_path(namespace, replica.pod)}/log", {"container": kind.container}, LOG_READ_TIMEOUT)
        try:
            for line in lines:
                reading.lines += 1
                if evidence and reading.evidence is None and evidence.search(line):
                    reading.evidence = line
                for expected in expectations:
                    collect(reading.series[expected.name], expected.pattern, line)
        finally:
            lines.close()
    except ApiError as error:
        reading.error = error.message
    return reading


def _evidence_problems(replica: Replica, reading: _Reading, wanted: Wanted) -> list[str]:
    pattern = wanted.evidence[replica.role.lower()].pattern
    if reading.error:
        return [f"{replica.name}: wanted '{pattern}' in its log, but that cannot be read: {reading.error}"]
    if reading.evidence is None:
        return [f"{replica.name}: wanted '{pattern}' in its log, but none of its {reading.lines} lines matches."]
    return []
