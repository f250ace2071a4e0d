# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What is to be seen of many jobs at one moment: one LIST of jobs, one of pods, one of events, logs side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.diagnosis import (
    diagnose,
    failed_containers,
    tail_of_failure,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    FAILED,
    SPEC_HASH,
    JobKind,
    as_dict,
    as_list,
    live_part,
    spec_hash,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import (
    duration_of,
    is_finished,
    replica_table,
    state_of,
    training_container,
    training_container_name,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    events_path,
    pods_path,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pod_group import waiting_group
from ansible_collections.mlstack.kubernetes.plugins.module_utils.redaction import redacted, secrets_of
from ansible_collections.mlstack.kubernetes.plugins.module_utils.steady import for_each
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import (
    MOUNT_REASONS,
    find_stuck,
    has_come_to_images,
)

LOG_READ_TIMEOUT = 30.0


def list_jobs(api: KubeApi, kind: JobKind, namespace: str, name: str = "", selector: str = "") -> list[Json]:
    """The jobs of a kind; an empty namespace stands for all of them."""
    query = {"fieldSelector": f"metadata.name={name}"} if name else {}
    if selector:
        query["labelSelector"] = selector
    items: list[Json] = api.get(kind.path(namespace), query).get("items") or []
    return items


def pods_of(api: KubeApi, namespace: str, jobs: Sequence[tuple[JobKind, Json]]) -> list[dict[str, Json]]:
    """For each job its pods by their names; one LIST for all jobs whose pods have the same label."""
    names_by_label: dict[str, set[str]] = {}
    for kind, job in jobs:
        names_by_label.setdefault(kind.pod_label, set()).add(job["metadata"]["name"])
    by_owner: dict[object, dict[str, Json]] = {}
    for label, names in names_by_label.items():
        selector = {"labelSelector": f"{label} in ({','.join(sorted(names))})"}
        for pod in api.get(pods_path(namespace), selector).get("items") or []:
            for owner in as_list(pod["metadata"].get("ownerReferences")):
                by_owner.setdefault(as_dict(owner).get("uid"), {})[pod["metadata"]["name"]] = pod
    return [by_owner.get(job["metadata"]["uid"], {}) for _kind, job in jobs]


def warnings_in(api: KubeApi, namespace: str) -> list[Json]:
    """The events that tell of trouble; none for those who may not see them."""
    try:
        items: list[Json] = api.get(events_path(namespace), {"fieldSelector": "type=Warning"}).get("items") or []
    except ApiError:
        return []
    return items


def facts_of(kind: JobKind, job: Json) -> Json:
    """What a job is, and where it stands by the word of its operator."""
    metadata = job["metadata"]
    started, finished = kind.times(job)
    submitted = as_dict(metadata.get("annotations")).get(SPEC_HASH)
    return {
        "kind": kind.name,
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata.get("uid"),
        "labels": as_dict(metadata.get("labels")),
        "created": metadata.get("creationTimestamp"),
        "started": started,
        "finished": finished,
        "duration": duration_of(kind, job),
        "state": state_of(kind, job),
        "conditions": kind.conditions(job),
        "spec_hash": submitted,
        # The API server counts the changes of the spec, and the operator makes none. To suspend a job is no edit.
        "spec_edited": metadata.get("generation", 1) > 1 and spec_hash(live_part(job)) != submitted,
    }


def replica_rows(kind: JobKind, job: Json, pods: Mapping[str, Json]) -> list[Json]:
    """The table of replicas, with what tells their story on top."""
    specs = {role.lower(): spec for role, spec in kind.replica_specs(job).items()}
    rows = replica_table(kind, job, pods)
    for row in rows:
        pod = pods.get(row["pod"], {})
        status = training_container(kind, pod)
        before = as_dict(as_dict(status.get("lastState")).get("terminated"))
        row.update(
            created=as_dict(pod.get("metadata")).get("creationTimestamp"),
            previous_started=before.get("startedAt"),
            previous_finished=before.get("finishedAt"),
            previous_exit_code=before.get("exitCode"),
            image=_image(kind, specs[row["role"]]),
            image_id=status.get("imageID") or None,
        )
    return rows


def _image(kind: JobKind, spec: Json) -> Any:
    template = as_dict(spec.get("template"))
    name = training_container_name(kind, template)
    containers = map(as_dict, as_list(as_dict(template.get("spec")).get("containers")))
    return next((container.get("image") for container in containers if container.get("name") == name), None)


def explain(api: KubeApi, kind: JobKind, job: Json, pods: Mapping[str, Json], events: Iterable[Json]) -> Json | None:
    """The diagnosis of a job that has failed, lost a replica or is stuck; None for one that is well."""
    events = list(events)
    troubles = [
        trouble
        for trouble in ([] if is_finished(kind, job) else find_stuck(kind, job, pods, events))
        if trouble.reason not in MOUNT_REASONS or not has_come_to_images(api, pods[trouble.subject])
    ]
    is_hurt = any(not container["previous"] for pod in pods.values() for container in failed_containers(pod))
    if not troubles and not is_hurt and state_of(kind, job) != FAILED:
        return None
    namespace = job["metadata"]["namespace"]
    tails = {name: tail_of_failure(api, namespace, name, pod) for name, pod in pods.items()}
    logs = {name: tail for name, tail in tails.items() if tail is not None}
    group = waiting_group(api, kind, job) if troubles else None
    return diagnose(kind, job, pods, events, logs, troubles, group)


def last_lines(api: KubeApi, kind: JobKind, namespace: str, pod: Json, count: int) -> list[str] | None:
    """The end of the training container's log; None where there is none to read."""
    query = {"container": training_container_name(kind, pod), "tailLines": str(count)}
    try:
        lines = api.lines(f"{pods_path(namespace, pod['metadata']['name'])}/log", query, LOG_READ_TIMEOUT)
        try:
            return list(lines)[-count:]
        finally:
            lines.close()
    except ApiError:
        return None


@dataclass(frozen=True)
class Query:
    """Which jobs, and what of them; an empty text stands for all."""

    kinds: Sequence[JobKind]
    namespace: str
    name: str
    selector: str
    states: Sequence[str]
    log_lines: int = 0
    diagnosis: bool = False


def describe(api: KubeApi, query: Query, hidden: Iterable[str] = ()) -> tuple[list[Json], list[JobKind]]:
    """The jobs asked for, and the kinds that the cluster does not serve; `hidden` are secrets not to be shown."""
    found: list[tuple[JobKind, Json]] = []
    not_served: list[JobKind] = []
    for kind in query.kinds:
        try:
            jobs = list_jobs(api, kind, query.namespace, query.name, query.selector)
        except ApiError as error:
            if error.status != 404:
                raise
            not_served.append(kind)
            continue
        found.extend((kind, job) for job in jobs if state_of(kind, job) in query.states)
    pods = pods_of(api, query.namespace, found)
    events = warnings_in(api, query.namespace) if query.diagnosis and found else []

    def described(part: tuple[tuple[JobKind, Json], dict[str, Json]]) -> Json:
        (kind, job), pods = part
        shown = {**facts_of(kind, job), "replicas": replica_rows(kind, job, pods)}
        if query.diagnosis:
            shown["diagnosis"] = explain(api, kind, job, pods, events)
        for row in shown["replicas"] if query.log_lines else []:
            pod = pods.get(row["pod"])
            row["log"] = last_lines(api, kind, shown["namespace"], pod, query.log_lines) if pod else None
        clean: Json = redacted(shown, [*hidden, *secrets_of(kind, job)])
        return clean

    described_jobs = for_each(zip(found, pods, strict=True), described)
    return sorted(described_jobs, key=lambda job: (job["namespace"], job["name"], job["kind"])), not_served
