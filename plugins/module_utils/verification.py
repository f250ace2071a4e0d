# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Proof that jobs did what they were for: they succeeded, every replica took part, and their numbers are right.

What cannot be seen any more counts as not proven.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    SUCCEEDED,
    InvalidJobError,
    JobKind,
    Replica,
    as_dict,
    deciding_replicas,
    replicas_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    duration_of,
    has_started,
    is_finished,
    state_of,
    training_container,
    training_container_name,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_view import (
    LOG_READ_TIMEOUT,
    explain,
    facts_of,
    pods_of,
    replica_rows,
    warnings_in,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    events_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import (
    Check,
    Expectation,
    Series,
    checks,
    collect,
    compile_pattern,
    merge,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.redaction import redacted, secrets_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.steady import for_each, steadily

RUNNING = "Running"
# Phases of pods that do nothing any more.
ENDED = ("Succeeded", "Failed")
# Seconds between two looks at pods that are to end.
WAIT_PAUSE = 0.5
WANTED_STATES = (SUCCEEDED, RUNNING)
_BOUNDS = ("final_above", "final_below", "best_above", "best_below")
# How many of a kind a message names.
SHOWN = 10
_EXPECTED = ("falls", "rises", "monotone", *_BOUNDS, "min_values", "finite")


@dataclass(frozen=True)
class Sources:
    """Which logs a metric is read from; the one of the replica that decides the job where nothing is said."""

    # Names of replicas, or roles in lower case.
    names: tuple[str, ...] = ()
    is_merged: bool = False


@dataclass(frozen=True)
class Ranks:
    pattern: re.Pattern[str]
    world_size: int | None = None


@dataclass(frozen=True)
class Wanted:
    """What a job has to prove."""

    state: str = SUCCEEDED
    # By role in lower case: what each of its replicas must have logged.
    evidence: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    ranks: Ranks | None = None
    metrics: tuple[tuple[Expectation, Sources], ...] = ()
    duration_above: float | None = None
    duration_below: float | None = None
    max_restarts: int | None = None


@dataclass(frozen=True)
class Verdict:
    """Everything that was seen of one job, and what it does not prove of what was wanted."""

    name: str
    facts: Json
    seen: Json
    unmet: list[str]


@dataclass
class _Reading:
    """What the log of one replica gave."""

    lines: int = 0
    error: str = ""
    evidence: str | None = None
    ranks: set[str] = field(default_factory=set)
    world_sizes: set[str] = field(default_factory=set)
    series: dict[str, Series] = field(default_factory=dict)


# -- what is wanted


def wanted_proof(kind: JobKind, params: Mapping[str, Any]) -> Wanted:
    """The module's parameters, checked."""
    problems: list[str] = []
    above, below, restarts = (params.get(key) for key in ("duration_above", "duration_below", "max_restarts"))
    problems += _not_finite({"duration_above": above, "duration_below": below})
    if above is not None and below is not None and above >= below:
        problems.append(f"duration_above: {above:g} is not below duration_below, {below:g}; no duration can be both.")
    if restarts is not None and restarts < 0:
        problems.append(f"max_restarts: {restarts} is negative; use 0 for none.")
    wanted = Wanted(
        params.get("wanted_state") or SUCCEEDED,
        _wanted_evidence(kind, params.get("evidence") or {}, problems),
        _wanted_ranks(params.get("ranks"), problems),
        tuple(_wanted_metrics(kind, params.get("metrics") or [], problems)),
        above,
        below,
        restarts,
    )
    if problems:
        raise InvalidJobError(problems)
    return wanted


def _wanted_evidence(kind: JobKind, evidence: Mapping[Any, Any], problems: list[str]) -> dict[str, re.Pattern[str]]:
    patterns = {}
    for role, text in evidence.items():
        if kind.role_named(str(role)) is None:
            problems.append(_unknown_role(kind, f"evidence.{role}", str(role)))
            continue
        try:
            patterns[str(role).lower()] = re.compile(str(text))
        except re.error as error:
            problems.append(f"evidence.{role}: {text!r} is not a regular expression: {error}; correct it.")
    return patterns


def _wanted_ranks(ranks: Mapping[str, Any] | None, problems: list[str]) -> Ranks | None:
    if ranks is None:
        return None
    size = ranks.get("world_size")
    if size is not None and size < 1:
        problems.append(f"ranks.world_size: {size} is no number of processes; use 1 or more.")
    try:
        return Ranks(compile_pattern(ranks["pattern"], "rank"), size)
    except ValueError as error:
        problems.append(f"ranks.pattern: {error}.")
        return None


def _wanted_metrics(
    kind: JobKind, metrics: Iterable[Mapping[str, Any]], problems: list[str]
) -> Iterator[tuple[Expectation, Sources]]:
    names = set()
    for metric in metrics:
        path = f"metrics.{metric['name']}"
        if metric["name"] in names:
            problems.append(f"{path}: is named twice; give each metric its own name.")
        names.add(metric["name"])
        if metric["falls"] and metric["rises"]:
            problems.append(f"{path}: cannot both fall and rise; leave one out.")
        if metric["monotone"] and not (metric["falls"] or metric["rises"]):
            problems.append(f"{path}.monotone: says nothing by itself; add `falls` or `rises`.")
        if metric["min_values"] < 1:
            problems.append(f"{path}.min_values: {metric['min_values']} proves nothing; use 1 or more.")
        problems += _not_finite({f"{path}.{bound}": metric[bound] for bound in _BOUNDS})
        role = metric.get("role")
        if role and kind.role_named(role) is None:
            problems.append(_unknown_role(kind, f"{path}.role", role))
        try:
            pattern = compile_pattern(metric["pattern"])
        except ValueError as error:
            problems.append(f"{path}.pattern: {error}.")
            continue
        several = tuple(metric.get("replicas") or ())
        single = role.lower() if role else metric.get("replica")
        expected = Expectation(metric["name"], pattern, **{key: metric[key] for key in _EXPECTED})
        yield expected, Sources(several, True) if several else Sources((single,) if single else ())


def _unknown_role(kind: JobKind, path: str, role: str) -> str:
    roles = ", ".join(known.lower() for known in kind.roles)
    return f"{path}: {role!r} is not a role of a {kind.name}; use one of {roles}."


def _not_finite(numbers: Mapping[str, float | None]) -> list[str]:
    return [
        f"{path}: {number} is no bound; use a finite number."
        for path, number in numbers.items()
        if number is not None and not math.isfinite(number)
    ]


# -- what is seen


def verify(
    api: KubeApi,
    kind: JobKind,
    jobs: list[Json],
    wanted: Wanted,
    hidden: Iterable[str] = (),
    wait_seconds: float = 0.0,
) -> list[Verdict]:
    """A verdict on each job of one namespace; `hidden` are secrets that no result may show.

    For `wait_seconds` at most it is waited until replicas of jobs that are over have ended, too.
    """
    hidden = list(hidden)
    namespace = jobs[0]["metadata"]["namespace"] if jobs else ""
    all_pods = _last_pods(api, kind, namespace, jobs, wait_seconds)
    proofs = [_Proof(api, kind, job, pods, wanted) for job, pods in zip(jobs, all_pods, strict=True)]
    to_read = [(proof, replica) for proof in proofs for replica in proof.to_read()]
    readings = for_each(to_read, lambda pair: steadily(lambda: pair[0].read(pair[1])))
    for (proof, replica), reading in zip(to_read, readings, strict=True):
        proof.readings[replica.name] = reading
    judged = [(proof, proof.checks()) for proof in proofs]
    # Who needs no explanation is not asked for one.
    is_well = all(check.met for proof, _checks in judged for check in proof.life)
    events = [] if is_well else warnings_in(api, namespace)
    return [proof.verdict(found, events, hidden) for proof, found in judged]


def _last_pods(
    api: KubeApi, kind: JobKind, namespace: str, jobs: list[Json], wait_seconds: float
) -> list[dict[str, Json]]:
    """The pods of each job by their names."""
    deadline = time.monotonic() + wait_seconds
    while True:
        all_pods = steadily(lambda: pods_of(api, namespace, [(kind, job) for job in jobs]))
        runs_on = any(
            is_finished(kind, job) and as_dict(pod.get("status")).get("phase") not in ENDED
            for job, pods in zip(jobs, all_pods, strict=True)
            for pod in pods.values()
        )
        if not runs_on or time.monotonic() >= deadline:
            return all_pods
        time.sleep(WAIT_PAUSE)


class _Proof:
    """One job under examination."""

    def __init__(self, api: KubeApi, kind: JobKind, job: Json, pods: Mapping[str, Json], wanted: Wanted) -> None:
        self._api = api
        self._kind = kind
        self._job = job
        self._pods = pods
        self._wanted = wanted
        self._namespace = job["metadata"]["namespace"]
        self._replicas = replicas_of(kind, job)
        self._deciding = deciding_replicas(kind, job)
        self._sources = {
            expected.name: self._named(sources.names) if sources.names else self._deciding[:1]
            for expected, sources in wanted.metrics
        }
        self.readings: dict[str, _Reading] = {}

    @cached_property
    def life(self) -> list[Check]:
        """What the job and its replicas tell without their logs."""
        return [self._state(), *map(self._part, self._replicas)]

    def _named(self, names: Iterable[str]) -> list[Replica]:
        wanted = [name.lower() for name in names]
        return [replica for replica in self._replicas if replica.name in wanted or replica.role.lower() in wanted]

    def verdict(self, found: list[Check], events: list[Json], hidden: Iterable[str]) -> Verdict:
        is_well = all(check.met for check in self.life)
        diagnosis = None if is_well else explain(self._api, self._kind, self._job, self._pods, events)
        seen = {
            "state": state_of(self._kind, self._job),
            "duration": duration_of(self._kind, self._job),
            "replicas": replica_rows(self._kind, self._job, self._pods),
            "evidence": {
                replica.name: self.readings[replica.name].evidence
                for replica in self._replicas
                if replica.role.lower() in self._wanted.evidence
            },
            "ranks": {
                replica.name: sorted(self.readings[replica.name].ranks, key=lambda rank: (len(rank), rank))
                for replica in self._replicas
                if self._wanted.ranks
            },
            "metrics": {expected.name: self._metric(expected, sources) for expected, sources in self._wanted.metrics},
            "expectations": [check._asdict() for check in found],
            "diagnosis": diagnosis,
        }
        facts = facts_of(self._kind, self._job)
        unmet = [str(check) for check in found if not check.met]
        secrets = [*hidden, *secrets_of(self._kind, self._job)]
        return Verdict(facts["name"], *redacted([facts, seen, unmet], secrets))

    def checks(self) -> list[Check]:
        """Every expectation, whether met or not."""
        return [
            *self.life,
            *self._bounds(),
            *self._evidence(),
            *self._rank_checks(),
            *(check for expected, sources in self._wanted.metrics for check in self._metric_checks(expected, sources)),
        ]

    # -- the job and its replicas

    def _state(self) -> Check:
        state = state_of(self._kind, self._job)
        message = (self._kind.condition(self._job) or {}).get("message")
        is_met = state in (self._wanted.state, SUCCEEDED)
        return Check("state", self._wanted.state, state if is_met or not message else f"{state}: {message}", is_met)

    def _part(self, replica: Replica) -> Check:
        """Whether the replica ran. One that does not decide the job may still run, or have been cleaned away."""
        must_end = self._must_end(replica)
        wanted = "exit code 0" if must_end else "it to run, and exit code 0 if it ends"
        pod = self._pods.get(replica.pod)
        if pod is None:
            seen = f"that its pod {replica.pod} is gone"
            if not must_end and self._was_started(replica):
                return Check(replica.name, wanted, f"{seen}, and in an event that it was started", True)
            return Check(replica.name, wanted, f"{seen}, so nothing proves that it ran", False)
        state = as_dict(training_container(self._kind, pod).get("state"))
        if "waiting" in state or not has_started(self._kind, pod):
            reason = as_dict(state.get("waiting")).get("reason") or as_dict(pod.get("status")).get("phase")
            lack = "does not run" if has_started(self._kind, pod) else "never started"
            return Check(replica.name, wanted, f"that its training container {lack}: {reason}", False)
        if "terminated" not in state:
            return Check(replica.name, wanted, "it running", not must_end)
        code, reason = state["terminated"].get("exitCode"), state["terminated"].get("reason")
        return Check(replica.name, wanted, f"{code} ({reason})", code == 0)

    def _must_end(self, replica: Replica) -> bool:
        return replica in self._deciding and SUCCEEDED in (self._wanted.state, state_of(self._kind, self._job))

    def _was_started(self, replica: Replica) -> bool:
        """Whether the kubelet has told, after this job's creation, that it started the training container."""
        created = str(self._job["metadata"].get("creationTimestamp"))
        selector = f"involvedObject.name={replica.pod},reason=Started"
        try:
            events = self._api.get(events_path(self._namespace), {"fieldSelector": selector})["items"]
        except ApiError:
            return False
        return any(str(event.get("firstTimestamp") or event.get("eventTime") or "") >= created for event in events)

    def _bounds(self) -> Iterator[Check]:
        duration = duration_of(self._kind, self._job)
        seen = "no end yet" if duration is None else f"{duration:g} seconds"
        for word, bound, sign in (
            ("above", self._wanted.duration_above, 1),
            ("below", self._wanted.duration_below, -1),
        ):
            if bound is not None:
                is_met = duration is not None and duration * sign > bound * sign
                yield Check("duration", f"{word} {bound:g} seconds", seen, is_met)
        most = self._wanted.max_restarts
        if most is not None:
            rows = replica_rows(self._kind, self._job, self._pods)
            count = sum(row["restarts"] for row in rows)
            gone = [row["replica"] for row in rows if row["phase"] is None]
            unknown = f", and cannot know those of {', '.join(gone)} whose pods are gone" if gone else ""
            yield Check("restarts", f"at most {most}", f"{count}{unknown}", count <= most and not gone)

    # -- logs

    def to_read(self) -> list[Replica]:
        """The replicas whose logs are asked for, and can be there."""
        sources = [replica for several in self._sources.values() for replica in several]
        return [
            replica
            for replica in self._replicas
            if self._wanted.ranks or replica.role.lower() in self._wanted.evidence or replica in sources
        ]

    def read(self, replica: Replica) -> _Reading:
        wanted, ranks = self._wanted, self._wanted.ranks
        expectations = [expected for expected, _sources in wanted.metrics if replica in self._sources[expected.name]]
        reading = _Reading(series={expected.name: Series() for expected in expectations})
        evidence = wanted.evidence.get(replica.role.lower())
        path = f"{pods_path(self._namespace, replica.pod)}/log"
        container = training_container_name(self._kind, self._pods.get(replica.pod, {}))
        try:
            lines = self._api.lines(path, {"container": container}, LOG_READ_TIMEOUT)
            try:
                for line in lines:
                    reading.lines += 1
                    if evidence and reading.evidence is None and evidence.search(line):
                        reading.evidence = line
                    for match in ranks.pattern.finditer(line) if ranks else ():
                        reading.ranks.add(str(match.group("rank")))
                        if world_size := match.groupdict().get("world_size"):
                            reading.world_sizes.add(world_size)
                    for expected in expectations:
                        collect(reading.series[expected.name], expected.pattern, line)
            finally:
                lines.close()
        except ApiError as error:
            reading.error = error.message
        return reading

    def _evidence(self) -> Iterator[Check]:
        for role, pattern in self._wanted.evidence.items():
            replicas = [replica for replica in self._replicas if replica.role.lower() == role]
            wanted = f"'{pattern.pattern}' in its log"
            if not replicas:
                yield Check(f"evidence.{role}", wanted, "that the job has no replica of this role", False)
            for replica in replicas:
                reading = self.readings[replica.name]
                if reading.error:
                    yield Check(replica.name, wanted, f"that it cannot be read: {reading.error}", False)
                elif reading.evidence is None:
                    yield Check(replica.name, wanted, f"no match in its {reading.lines} lines", False)
                else:
                    yield Check(replica.name, wanted, reading.evidence, True)

    def _rank_checks(self) -> Iterator[Check]:
        if self._wanted.ranks is None:
            return
        logged = sorted(set().union(*(reading.world_sizes for reading in self.readings.values())))
        size = self._wanted.ranks.world_size
        if logged:
            wanted = f"the world size {size}" if size else "one world size"
            is_met = len(logged) == 1 and _whole(logged[0]) in ([size] if size else range(1, 10**9))
            yield Check("ranks", f"{wanted} in all logs", _listed(logged), is_met)
        size = size or max([1, *map(_whole, logged)] if logged else [len(self._replicas)])
        problems = list(self._rank_problems(size))
        wanted = f"every rank from 0 to {size - 1}, each in the log of one replica"
        yield Check("ranks", wanted, "; ".join(problems) or "each in one", not problems)

    def _rank_problems(self, size: int) -> Iterator[str]:
        owners: dict[str, list[str]] = {}
        for name, reading in self.readings.items():
            if reading.error:
                yield f"that the log of {name} cannot be read: {reading.error}"
            for rank in reading.ranks:
                owners.setdefault(rank, []).append(name)
        known = {rank for rank in owners if 0 <= _whole(rank) < size}
        numbers = {_whole(rank) for rank in known}
        if missing := size - len(numbers):
            first = islice((str(rank) for rank in range(size) if rank not in numbers), SHOWN)
            yield f"nothing of rank {_listed(first, missing)}"
        if odd := set(owners) - known:
            yield f"rank {_listed(sorted(odd))}, too"
        for rank in sorted(known, key=_whole):
            if len(owners[rank]) > 1:
                yield f"rank {rank} in the logs of {_listed(owners[rank])}"

    # -- metrics

    def _series(self, expected: Expectation, sources: Sources) -> list[tuple[list[str], Series]]:
        """The series of a metric, each with the replicas whose logs it comes from."""
        read = [
            (replica.name, self.readings[replica.name].series[expected.name])
            for replica in self._sources[expected.name]
            if not self.readings[replica.name].error
        ]
        if sources.is_merged and expected.is_labelled:
            return [([name for name, _series in read], merge(series for _name, series in read))] if read else []
        return [([name], series) for name, series in read]

    def _metric_checks(self, expected: Expectation, sources: Sources) -> Iterator[Check]:
        replicas = self._sources[expected.name]
        if not sources.names and not replicas:
            yield Check(expected.name, "to read it from the replica that decides", "that the job has none", False)
        for name in sources.names:
            if not self._named([name]):
                yield Check(expected.name, f"to read it from {name!r}", "that the job has no such replica", False)
        for replica in replicas:
            if error := self.readings[replica.name].error:
                wanted = f"to read the log of {replica.name}"
                yield Check(expected.name, wanted, f"that it cannot be read: {error}", False)
        for names, series in self._series(expected, sources):
            subject = expected.name if len(names) == len(replicas) else f"{expected.name} ({', '.join(names)})"
            yield from checks(expected, series, subject, ", ".join(names))

    def _metric(self, expected: Expectation, sources: Sources) -> Json:
        several = [_shown(expected, names, series) for names, series in self._series(expected, sources)]
        bounds = {key: getattr(expected, key) for key in _BOUNDS if getattr(expected, key) is not None}
        # Where there is one series it stands at the top, too.
        only = several[0] if len(several) == 1 else _shown(expected, [], Series())
        replicas = only["replicas"]
        return {**only, "replica": replicas[0] if len(replicas) == 1 else None, "series": several, "bounds": bounds}


def _shown(expected: Expectation, names: list[str], series: Series) -> Json:
    values = series.values
    shown = {
        "replicas": names,
        "values": values,
        "first": values[0] if values else None,
        "final": values[-1] if values else None,
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
        "not_finite": len(series.broken),
    }
    for label in ("epoch", "step"):
        if label in expected.pattern.groupindex:
            shown[f"{label}s"] = [getattr(point, label) for point in series.points]
    return shown


def _whole(text: str) -> int:
    """The number that a log calls a rank or a world size; -1 where it is none that could be meant."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1


def _listed(texts: Iterable[str], count: int | None = None) -> str:
    """The first few texts, and how many of the `count` are left out."""
    listed = list(texts)
    hidden = (count or len(listed)) - len(listed[:SHOWN])
    return ", ".join(listed[:SHOWN]) + (f" and {hidden} more" if hidden > 0 else "")
