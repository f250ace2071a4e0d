# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The shell that the modules for jobs share: options in, result or one clear message out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.course import Course, JobError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    CLEAN_POD_POLICIES,
    JOB_PARAMETERS,
    RESTART_POLICIES,
    InvalidJobError,
    JobKind,
    OperatorKind,
    as_dict,
    without_nulls,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    AnsibleK8SModule,
    ClientError,
    connect,
    new_module,
    read_documents,
    shape_problems,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.legacy_specs import (
    convert_documents,
    convert_volcano_jobs,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.lifecycle import Lifecycle, Options, outcome
from ansible_collections.mlstack.kubernetes.plugins.module_utils.manifest_problems import (
    DOUBTS,
    place_problems,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import compile_pattern
from ansible_collections.mlstack.kubernetes.plugins.module_utils.progress import Progress
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import CRASHES
from ansible_collections.mlstack.kubernetes.plugins.module_utils.validator import wanted_job
from ansible_collections.mlstack.kubernetes.plugins.module_utils.waiting import Limits

STATES = ("present", "suspended", "resumed", "restarted", "absent")

# What a job says for all its replicas, and a role may say anew for its own. Secrets are given by name, so nothing
# here has to be kept out of logs.
POD_ARG_SPEC: dict[str, Any] = {
    "image": {"type": "str"},
    "image_pull_policy": {"type": "str", "choices": ["Always", "IfNotPresent", "Never"]},
    "image_pull_secrets": {"type": "list", "elements": "str", "no_log": False},
    "command": {"type": "list", "elements": "str"},
    "args": {"type": "list", "elements": "str"},
    "working_dir": {"type": "str"},
    "env": {"type": "raw"},
    "resources": {"type": "dict"},
    "restart_policy": {"type": "str", "choices": list(RESTART_POLICIES)},
    "node_selector": {"type": "dict"},
    "tolerations": {"type": "list", "elements": "dict"},
    "service_account_name": {"type": "str"},
    "security_context": {"type": "dict"},
}
VOLUME_ARG_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "mount_path": {"type": "str", "required": True},
    "sub_path": {"type": "str"},
    "read_only": {"type": "bool", "default": False},
    "claim": {"type": "str"},
    "config_map": {"type": "str"},
    "secret": {"type": "str", "no_log": False},
    "empty_dir": {"type": "dict"},
}
RUN_POLICY_ARG_SPEC: dict[str, Any] = {
    "clean_pod_policy": {"type": "str", "choices": list(CLEAN_POD_POLICIES)},
    "ttl_seconds_after_finished": {"type": "int"},
    "active_deadline_seconds": {"type": "int"},
    "backoff_limit": {"type": "int"},
    "suspend": {"type": "bool"},
    "scheduling_policy": {
        "type": "dict",
        "options": {
            "min_available": {"type": "int"},
            "queue": {"type": "str"},
            "min_resources": {"type": "dict"},
            "priority_class": {"type": "str"},
            "schedule_timeout_seconds": {"type": "int"},
        },
    },
}


@dataclass(frozen=True)
class Description:
    """The options by which a task describes a job of one kind."""

    # Of the job as a whole.
    job: dict[str, Any]
    # Of a role, and the roles' names; none where users name them as they like.
    role: dict[str, Any]
    role_names: tuple[str, ...]

    def for_roles(self, replicas: object) -> dict[str, Any]:
        """The specification of these `replicas`."""
        names = self.role_names or tuple(map(str, as_dict(replicas)))
        return {"type": "dict", "options": {name: {"type": "dict", "options": self.role} for name in names}}


def describing(kind: JobKind, of_job: Mapping[str, Any], of_role: Mapping[str, Any] | None = None) -> Description:
    """`of_job` and `of_role` are options that only this kind has, or has in another form."""
    role = {"count": {"type": "int", "default": 1}, **POD_ARG_SPEC}
    role.update((name, option) for name, option in of_job.items() if name in role)
    role.update(of_role or {})
    return Description({**_common_arg_spec(), **of_job}, role, tuple(name.lower() for name in kind.roles))


def _common_arg_spec() -> dict[str, Any]:
    source = ["claim", "config_map", "secret", "empty_dir"]
    return {
        **POD_ARG_SPEC,
        "replicas": {"type": "dict"},
        "volumes": {
            "type": "list",
            "elements": "dict",
            "options": VOLUME_ARG_SPEC,
            "mutually_exclusive": [source],
            "required_one_of": [source],
        },
        "run_policy": {"type": "dict", "options": RUN_POLICY_ARG_SPEC},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
    }


def argument_spec(described: Description) -> dict[str, Any]:
    """The options of a module for jobs that are `described` by these."""
    return {
        **AUTH_ARG_SPEC,
        "name": {"type": "str"},
        "namespace": {"type": "str"},
        "state": {"type": "str", "choices": list(STATES), "default": "present"},
        # Of these `replicas` is looked into by `_checked`, once it is known what belongs to which job.
        **described.job,
        "jobs": {"type": "list", "elements": "dict"},
        "definition": {"type": "raw", "aliases": ["resource_definition"]},
        "src": {"type": "path"},
        "accept": {"type": "list", "elements": "str", "choices": list(DOUBTS), "default": []},
        "preflight": {"type": "bool", "default": True},
        "max_parallel": {"type": "int", "default": 0},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 600},
        "stall_timeout": {"type": "int", "default": 0},
        "grace": {"type": "int", "default": 12},
        "grace_for": {"type": "dict", "default": {}},
        "max_crashes": {"type": "int", "default": CRASHES},
        "on_change": {"type": "str", "choices": ["fail", "recreate", "ignore"], "default": "fail"},
        "on_failed": {"type": "str", "choices": ["fail", "recreate"], "default": "fail"},
        "on_stuck": {"type": "str", "choices": ["delete", "keep"], "default": "delete"},
        "metrics": {"type": "dict", "default": {}},
        "follow": {"type": "bool", "default": False},
        "log_dir": {"type": "path"},
        "progress_file": {"type": "path"},
    }


def main(kind: JobKind, of_job: Mapping[str, Any], of_role: Mapping[str, Any] | None = None) -> None:
    described = describing(kind, of_job, of_role)
    module = new_module(
        argument_spec=argument_spec(described),
        supports_check_mode=True,
        mutually_exclusive=[("definition", "src", "jobs"), ("name", "jobs")],
    )
    action = {"present": "made", "absent": "taken away"}.get(module.params["state"], module.params["state"])
    fail = f"The {kind.name}s cannot be {action}" if module.params["jobs"] else f"The {kind.name} cannot be {action}"
    try:
        module.exit_json(**_told(module, _bring_about(kind, module, described)))
    except JobError as error:
        module.fail_json(msg=str(error), **_told(module, error.result))
    except InvalidJobError as error:
        module.fail_json(msg="\n".join([f"{fail}:", *(f"- {problem}" for problem in error.problems)]))
    except (ApiError, ClientError, UnreachableError) as error:
        module.fail_json(msg=f"{fail}: {error}")
    except OSError as error:
        # The files that the user has named: the manifest, the logs' directory, the progress.
        module.fail_json(msg=f"{fail}: {error}")


def _told(module: AnsibleK8SModule, result: Json) -> Json:
    """Without the diff where nobody asks for it: of hundreds of jobs it is large."""
    return result if module._diff else {key: value for key, value in result.items() if key != "diff"}


def _bring_about(kind: JobKind, module: AnsibleK8SModule, described: Description) -> dict[str, Any]:
    params = module.params
    documents = read_documents(params["definition"], params["src"])
    if documents is not None:
        convert = convert_documents if isinstance(kind, OperatorKind) else convert_volcano_jobs
        documents, changes = convert(documents)
        for change in dict.fromkeys(changes):
            module.warn(change)
    courses = list(_courses(kind, params, documents, described, module.warn))
    progress = Progress(params["progress_file"])
    lifecycle = Lifecycle(connect(module), kind, _options(params, module.check_mode), module.warn, progress)
    getattr(lifecycle, params["state"])(courses)
    is_batch = params["jobs"] is not None or len(courses) > 1
    return outcome(courses, is_batch)


def _options(params: Mapping[str, Any], check_mode: bool) -> Options:
    problems = []
    metrics, grace_for = {}, {}
    for name, pattern in params["metrics"].items():
        try:
            metrics[str(name)] = compile_pattern(str(pattern))
        except ValueError as error:
            problems.append(f"metrics.{name}: {error}.")
    for reason, seconds in params["grace_for"].items():
        try:
            grace_for[str(reason)] = float(seconds)
        except (TypeError, ValueError):
            problems.append(f"grace_for.{reason}: {seconds!r} is no number of seconds; write one.")
    if problems:
        raise InvalidJobError(problems)
    return Options(
        limits=Limits(
            params["wait_timeout"], params["stall_timeout"], params["grace"], grace_for, params["max_crashes"]
        ),
        at_once=params["max_parallel"],
        metrics=metrics,
        log_directory=params["log_dir"],
        show_log=params["follow"],
        check_mode=check_mode,
        **{option: params[option] for option in ("wait", "on_change", "on_failed", "on_stuck", "preflight")},
    )


def _courses(
    kind: JobKind,
    params: Mapping[str, Any],
    documents: list[Json] | None,
    described: Description,
    warn: Callable[[str], None],
) -> Iterator[Course]:
    """One course for each job that the task names or describes; all that is wrong is told at once."""
    problems: list[str] = []
    # Each with the number of jobs that it is about.
    accepted: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for where, entry, spec in _entries(params, documents, described):
        try:
            course = _course(kind, params["state"], _checked(described, spec, entry), accepted.update)
        except InvalidJobError as error:
            problems.extend(f"{where}{problem}" for problem in error.problems)
            continue
        key = (course.namespace, course.name)
        if key in seen:
            problems.append(f"{where}name: {course.name!r} is given to two jobs; give each a name of its own.")
        seen.add(key)
        yield course
    if problems:
        raise InvalidJobError(problems)
    for doubt, count in accepted.items():
        warn(f"{doubt} Accepted{f' in {count} jobs' if count > 1 else ''}.")


def _entries(
    params: Mapping[str, Any], documents: list[Json] | None, described: Description
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Of each job: where the task tells of it, for messages; what it tells; and what of that is still to be checked."""
    if documents is not None:
        source = "definition" if params["definition"] is not None else "src"
        if not documents:
            raise InvalidJobError([f"{source}: holds no manifest; give one."])
        for number, document in enumerate(documents):
            yield f"{source}[{number}]: " if len(documents) > 1 else "", {**params, "documents": [document]}, {}
    elif params["jobs"] is not None:
        spec = {"name": {"required": True}, "namespace": {}, **described.job}
        for number, job in enumerate(params["jobs"]):
            yield f"jobs[{number}].", _with_defaults(params, job), spec
    else:
        yield "", dict(params), {"replicas": {}}


def _with_defaults(params: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """A job's own description on top of what the task says for all; mappings are merged, a role's one by one."""
    merged = {key: params[key] for key in ("namespace", *JOB_PARAMETERS) if params.get(key) is not None}
    # Completed by Ansible with nulls, which it would take for given ones when it looks into the whole.
    merged |= {key: without_nulls(merged[key]) for key in ("run_policy", "volumes") if key in merged}
    for key, value in job.items():
        common = merged.get(key)
        if isinstance(common, dict) and isinstance(value, dict):
            value = {**common, **value}
            if key == "replicas":
                value.update(
                    (role, {**common[role], **own})
                    for role, own in job[key].items()
                    if isinstance(common.get(role), dict) and isinstance(own, dict)
                )
        merged[key] = value
    return merged


def _checked(described: Description, spec: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """`entry` with the options in `spec` looked into and completed."""
    if "replicas" in spec:
        spec = {**spec, "replicas": described.for_roles(entry.get("replicas"))}
    # The task's own options have been checked with the module; of a job's, all have to be known.
    given = entry if "name" in spec else {name: entry.get(name) for name in spec}
    if problems := list(shape_problems(spec, given)):
        raise InvalidJobError(problems)
    validated = ArgumentSpecValidator(spec).validate(given)
    if validated.error_messages:
        raise InvalidJobError(
            [
                f"{error} Correct the name." if isinstance(error, UnsupportedError) else f"{error}."
                for error in validated.errors
            ]
        )
    return {**entry, **validated.validated_parameters}


def _course(kind: JobKind, state: str, entry: Mapping[str, Any], accepted: Callable[[list[str]], None]) -> Course:
    documents = entry.get("documents")
    is_described = documents is not None or any(entry.get(name) is not None for name in JOB_PARAMETERS)
    # What a job was made from does not matter to its deletion.
    if state == "present" or (is_described and state != "absent") or documents is not None:
        wanted = wanted_job(kind, entry, documents, lambda doubt: accepted([doubt]))
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
        return Course(kind, namespace, name, None if state == "absent" else wanted)
    if not entry.get("name"):
        raise InvalidJobError(["name: is missing; name the job."])
    name, namespace = entry["name"], entry.get("namespace") or "default"
    if problems := [f"{field}: {text}" for field, text in place_problems(name, namespace)]:
        raise InvalidJobError(problems)
    return Course(kind, namespace, name)
