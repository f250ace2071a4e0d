# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a task asks for, and everything that can be known to be wrong in it without a cluster."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils import operator_problems, volcano_problems
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    JOB_PARAMETERS,
    InvalidJobError,
    JobKind,
    OperatorKind,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.manifest_problems import (
    Doubt,
    Problem,
    mapping_in,
    metadata_problems,
    quoted,
)

# Fields of a Volcano Job that stand elsewhere among the parameters.
_PLACES = {
    "spec.minAvailable": "runPolicy.schedulingPolicy.minAvailable",
    "spec.queue": "runPolicy.schedulingPolicy.queue",
    "spec.priorityClassName": "runPolicy.schedulingPolicy.priorityClass",
    "spec.ttlSecondsAfterFinished": "runPolicy.ttlSecondsAfterFinished",
    "spec.maxRetry": "runPolicy.backoffLimit",
}

# -- what a task asks for


def wanted_job(
    kind: JobKind,
    params: Mapping[str, Any],
    documents: list[Any] | None,
    warn: Callable[[str], None] = lambda _text: None,
) -> Json:
    """The job that a task asks for; `documents` is the content of `definition` or `src`, where given."""
    accept = params.get("accept") or ()
    given = [name for name in JOB_PARAMETERS if params.get(name) is not None]
    if documents is None:
        job = kind.build(params)
        validate(kind, _in_namespace(job, params), from_parameters=True, accept=accept, warn=warn)
        return job
    source = "definition" if params.get("definition") is not None else "src"
    if given:
        raise InvalidJobError(
            [f"{', '.join(given)}: cannot go with `{source}`, which is taken as it is; use one of them."]
        )
    job = _only_document(kind, source, documents)
    metadata = job.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise InvalidJobError([f"metadata: {metadata!r} is not a mapping; give at least `name`."])
    for name in ("name", "namespace"):
        if params.get(name) is not None and metadata.setdefault(name, params[name]) != params[name]:
            raise InvalidJobError(
                [f"{name}: {params[name]!r} is not metadata.{name} {metadata[name]!r} of `{source}`; leave one out."]
            )
    validate(kind, _in_namespace(job, params), accept=accept, warn=warn)
    return job


def _only_document(kind: JobKind, source: str, documents: list[Any]) -> Json:
    if len(documents) != 1:
        raise InvalidJobError([f"{source}: holds {len(documents)} documents; give one {kind.name}."])
    if not isinstance(documents[0], dict):
        raise InvalidJobError([f"{source}: {documents[0]!r} is not a mapping; give a {kind.name} manifest."])
    return copy.deepcopy(documents[0])


def _in_namespace(job: Json, params: Mapping[str, Any]) -> Json:
    job["metadata"].setdefault("namespace", params.get("namespace") or "default")
    return job


# -- the whole job


def validate(
    kind: JobKind,
    job: Json,
    from_parameters: bool = False,
    accept: Collection[str] = (),
    warn: Callable[[str], None] = lambda _text: None,
) -> None:
    """Raises InvalidJobError with every problem; with `from_parameters` they name the modules' parameters.

    Those of the doubts that the user is to `accept` are warnings instead.
    """
    # One parameter may have become several fields, with the same problem in each.
    problems: dict[str, None] = {}
    for field, text in problems_of(kind, job):
        told = f"{parameter_of(kind, job, field) if from_parameters else field}: {text}"
        if not isinstance(text, Doubt):
            problems[told] = None
        elif text.name in accept:
            warn(told)
        else:
            problems[f"{told} Where it is meant so, say `accept: [{text.name}]`."] = None
    if problems:
        raise InvalidJobError(list(problems))


def problems_of(kind: JobKind, job: Any) -> Iterator[Problem]:
    """(path of the field, what is wrong and its cure) of every problem; never an error of its own."""
    if not isinstance(job, dict):
        yield "manifest", f"{quoted(job)} is not a mapping; give a {kind.name}."
    elif job.get("kind") != kind.kind:
        yield "kind", f"{quoted(job.get('kind'))} is not {kind.kind}; use the module for that kind."
    elif job.get("apiVersion") != kind.api_version:
        version = quoted(job.get("apiVersion"))
        yield "apiVersion", f"{version} is not served by {kind.operator}; write {kind.api_version}."
    else:
        yield from metadata_problems((yield from mapping_in(job, "metadata", "")))
        spec = yield from mapping_in(job, "spec", "")
        if isinstance(kind, OperatorKind):
            yield from operator_problems.spec_problems(kind, job, spec)
        else:
            yield from volcano_problems.spec_problems(job, spec)


# -- names of fields


def parameter_of(kind: JobKind, job: Json, field: str) -> str:
    """The name of the module's parameter that a field of the manifest was built from."""
    role, rest = _role_and_rest(kind, job, field)
    if role is None:
        return _snake(_PLACES.get(field, re.sub(r"^(metadata|spec)\.", "", field)))
    rest = re.sub(r"^template\.spec\.(containers\[0\]\.?)?", "", rest)
    if rest.startswith("volume"):
        # They are given once, for all roles.
        return _snake(rest.replace("volumeMounts", "volumes"))
    rest = _snake("count" if rest == "replicas" else rest)
    return ".".join(part for part in ("replicas", role, rest) if part)


def _role_and_rest(kind: JobKind, job: Json, field: str) -> tuple[str | None, str]:
    """The role that a field is about, empty for all of them, and where it stands in the role."""
    if isinstance(kind, OperatorKind):
        if match := re.match(rf"spec\.{kind.specs_field}(?:\.(\w+)(?:\.(.*))?)?$", field):
            return (match.group(1) or "").lower(), match.group(2) or ""
    elif match := re.match(r"spec\.tasks(?:\[(\d+)\](?:\.(.*))?)?$", field):
        index, rest = match.groups()
        return list(kind.replica_specs(job))[int(index)] if index else "", rest or ""
    return None, ""


def _snake(field: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda letter: "_" + letter.group().lower(), field)
