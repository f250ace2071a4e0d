# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What can be wrong in a Volcano Job. Volcano's admission webhook knows some of it, and does not run everywhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    Replica,
    as_dict,
    as_list,
    count_of,
    replicas_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.manifest_problems import (
    EVALUATOR_WITH_PS,
    INT32,
    Doubt,
    Problem,
    as_number,
    doubled,
    is_label,
    mapping_in,
    mappings_in,
    name_length_problems,
    number_problems,
    pod_problems,
    quoted,
    tag_problems,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volcano_specs import VOLCANO_JOB, name_of

RESTART_POLICIES = ("Always", "OnFailure", "Never")
# Of jobs and of tasks; what the controller does in between is not for users to name.
EVENTS = ("*", "PodFailed", "PodEvicted", "PodPending", "Unknown", "TaskCompleted", "TaskFailed", "JobUpdated")
ACTIONS = (
    "AbortJob",
    "CompleteJob",
    "RestartJob",
    "RestartPartition",
    "RestartPod",
    "RestartTask",
    "ResumeJob",
    "TerminateJob",
)
# Each plugin with the tasks that it looks for by name, and with the variables that it gives all containers.
_TASKS_OF_PLUGIN: Mapping[str, Mapping[str, str]] = {
    "tensorflow": {name: name for name in ("ps", "worker", "chief", "evaluator")},
    "pytorch": {"master": "master", "worker": "worker"},
    "mpi": {"master": "master", "worker": "worker"},
    "ray": {"head": "head", "worker": "worker"},
}
_NEEDED_TASKS = {"pytorch": ("master",), "mpi": ("master", "worker"), "ray": ("head",)}
_VARIABLES = {
    "tensorflow": ("TF_CONFIG",),
    "pytorch": ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"),
    "env": ("VC_TASK_INDEX", "VK_TASK_INDEX"),
}
PLUGINS = ("env", "svc", "ssh", *_TASKS_OF_PLUGIN, "hcclrank")


def spec_problems(job: Json, spec: Json) -> Iterator[Problem]:
    tasks = yield from mappings_in(spec, "tasks", "spec")
    if not tasks:
        yield "spec.tasks", "names no task; give at least one, with `name`, `replicas` and `template`."
        return
    names = [name_of(task, index) for index, (_path, task) in enumerate(tasks)]
    yield from doubled(names, "spec.tasks", "tasks")
    plugins = yield from mapping_in(spec, "plugins", "spec")
    yield from _plugin_problems(plugins, names)
    overridden = _overridden(plugins, [task for _path, task in tasks])
    deciding = {replica.role for replica in VOLCANO_JOB.deciding(job, _replicas(job))}
    for (path, task), name in zip(tasks, names, strict=True):
        yield from _task_problems(task, path, overridden, name in deciding)
    yield from _dependency_problems(dict(zip(names, tasks, strict=True)))
    yield from name_length_problems(job, dict(zip(names, (_count(task) for _path, task in tasks), strict=True)))
    yield from _policy_problems(spec, "spec")
    yield from _volume_problems(spec)
    yield from _scheduling_problems(spec, sum(_count(task) for _path, task in tasks))


def _replicas(job: Json) -> list[Replica]:
    safe = {**job, "metadata": {"name": "job", **as_dict(job.get("metadata"))}}
    return replicas_of(VOLCANO_JOB, safe)


def _count(task: Json) -> int:
    return max(0, count_of({"replicas": task.get("replicas") or 0}))


# -- tasks


def _task_problems(task: Json, path: str, overridden: Collection[str], is_deciding: bool) -> Iterator[Problem]:
    if "name" in task and not is_label(task["name"]):
        yield f"{path}.name", f"{quoted(task['name'])} is not a DNS label; use lower-case letters, digits and `-`."
    replicas, least = task.get("replicas"), task.get("minAvailable")
    if not isinstance(replicas, int) or isinstance(replicas, bool) or not 1 <= replicas <= INT32:
        yield (
            f"{path}.replicas",
            f"{quoted(replicas)} makes no pod; write a number from 1, or leave the task out.",
        )
    yield from number_problems(task, "minAvailable", path, 0)
    yield from number_problems(task, "maxRetry", path, 0)
    if as_number(least) > _count(task):
        yield f"{path}.minAvailable", f"{least} is more than the task's {_count(task)} replicas; write at most that."
    yield from _policy_problems(task, path)
    template = yield from mapping_in(task, "template", path)
    yield from tag_problems(
        (yield from mapping_in(template, "metadata", f"{path}.template")), f"{path}.template.metadata"
    )
    pod = yield from mapping_in(template, "spec", f"{path}.template")
    yield from pod_problems(pod, f"{path}.template.spec", overridden)
    policy = pod.get("restartPolicy")
    if policy not in (None, *RESTART_POLICIES):
        shown = quoted(policy)
        yield f"{path}.template.spec.restartPolicy", f"{shown} is unknown; use one of {', '.join(RESTART_POLICIES)}."
    elif is_deciding and policy in (None, "Always"):
        said = "is not given, which means Always and" if policy is None else "'Always'"
        yield (
            f"{path}.template.spec.restartPolicy",
            f"{said} restarts containers that have ended, so that the job would never end; write OnFailure or Never.",
        )


def _dependency_problems(tasks: Mapping[str, tuple[str, Json]]) -> Iterator[Problem]:
    graph: dict[str, list[str]] = {}
    for name, (path, task) in tasks.items():
        depends = yield from mapping_in(task, "dependsOn", path)
        wanted = [str(other) for other in as_list(depends.get("name"))]
        graph[name] = wanted
        for other in wanted:
            if other not in tasks:
                yield (
                    f"{path}.dependsOn.name",
                    f"{quoted(other)} is none of the job's tasks {', '.join(tasks)}; correct the name.",
                )
        if depends.get("iteration") not in (None, "any", "all"):
            yield f"{path}.dependsOn.iteration", f"{quoted(depends['iteration'])} is unknown; write any or all."
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "spec.tasks", f"{' -> '.join(error.args[1])} wait for each other forever; leave out one dependsOn."


# -- policies


def _policy_problems(holder: Json, path: str) -> Iterator[Problem]:
    policies = yield from mappings_in(holder, "policies", path)
    events: list[str] = []
    codes: list[int] = []
    for where, policy in policies:
        named = [event for event in [policy.get("event"), *as_list(policy.get("events"))] if event]
        code = policy.get("exitCode")
        if bool(named) == (code is not None):
            yield where, "must say when it holds; give `event`, `events` or `exitCode`, and not both kinds."
        for event in named:
            if event not in EVENTS:
                yield f"{where}.event", f"{quoted(event)} is unknown; use one of {', '.join(EVENTS)}."
            elif isinstance(event, str):
                events.append(event)
        if code == 0:
            yield f"{where}.exitCode", "0 is the end of a container that has succeeded; write a code from 1."
        yield from number_problems(policy, "exitCode", where, 0, 255)
        codes.append(as_number(code))
        if policy.get("action") not in ACTIONS:
            shown = quoted(policy.get("action"))
            yield f"{where}.action", f"{shown} is unknown; use one of {', '.join(ACTIONS)}."
    yield from doubled(events, f"{path}.policies", "events")
    yield from doubled(filter(None, codes), f"{path}.policies", "exit codes")
    if "*" in events and len(events) > 1:
        yield (
            f"{path}.policies",
            "has '*', which stands for every event, beside others; keep it alone or leave it out.",
        )


# -- plugins


def _plugin_problems(plugins: Json, tasks: list[str]) -> Iterator[Problem]:
    for plugin, arguments in plugins.items():
        path = f"spec.plugins.{plugin}"
        if plugin not in PLUGINS:
            yield path, f"{quoted(plugin)} is no plugin of Volcano; use one of {', '.join(PLUGINS)}."
        elif arguments is not None and not (
            isinstance(arguments, list) and all(isinstance(word, str) for word in arguments)
        ):
            yield path, f"{quoted(arguments)} is not a list of texts; write one, such as ['--port=2222'], or []."
        elif plugin in _TASKS_OF_PLUGIN:
            yield from _plugin_task_problems(plugin, as_list(arguments), tasks)


def _plugin_task_problems(plugin: str, arguments: list[str], tasks: list[str]) -> Iterator[Problem]:
    path = f"spec.plugins.{plugin}"
    given = dict(word.lstrip("-").partition("=")[::2] for word in arguments)
    roles = {role: given.get(role, name) for role, name in _TASKS_OF_PLUGIN[plugin].items()}
    for role in given:
        if role in roles and roles[role] not in tasks:
            yield path, f"--{role}={roles[role]} names none of the tasks {', '.join(tasks)}; correct the name."
    if plugin == "tensorflow" and roles["ps"] in tasks and roles["evaluator"] in tasks:
        yield (
            path,
            Doubt(
                EVALUATOR_WITH_PS,
                f"puts {roles['evaluator']} and {roles['ps']} into one cluster, where training then waits for "
                "it forever; evaluate in the chief, or make the evaluator a job of its own.",
            ),
        )
    needed = [role for role in _NEEDED_TASKS.get(plugin, ()) if role not in given and roles[role] not in tasks]
    for role in needed:
        yield (
            path,
            f"needs a task named {roles[role]}, and the tasks are {', '.join(tasks)}; rename one, or name it by "
            f"--{role}=NAME.",
        )
    if not needed and not any(name in tasks for name in roles.values()):
        yield (
            path,
            f"knows tasks by the names {', '.join(roles.values())}, and the tasks are {', '.join(tasks)}; rename them, "
            f"or name them by arguments such as --{next(iter(roles))}=NAME.",
        )


def _overridden(plugins: Json, tasks: list[Json]) -> set[str]:
    """Variables that the plugins give the containers, after those of the manifest, so that theirs hold."""
    names = {name for plugin in plugins for name in _VARIABLES.get(str(plugin), ())}
    if len(tasks) == 1 and _count(tasks[0]) == 1:
        # A program that is alone gets none.
        names.discard("TF_CONFIG")
    return names


# -- the job as a whole


def _volume_problems(spec: Json) -> Iterator[Problem]:
    volumes = yield from mappings_in(spec, "volumes", "spec")
    for path, volume in volumes:
        place = volume.get("mountPath")
        if not isinstance(place, str) or not place.startswith("/") or ":" in place:
            yield f"{path}.mountPath", f"{quoted(place)} is not an absolute path; begin it with `/`, without `:`."
        if bool(volume.get("volumeClaimName")) == (volume.get("volumeClaim") is not None):
            yield path, "must have one source; give `volumeClaimName` for a claim that is there, or `volumeClaim`."
    places = (place.rstrip("/") for _path, volume in volumes if isinstance(place := volume.get("mountPath"), str))
    yield from doubled(places, "spec.volumes", "mount paths")


def _scheduling_problems(spec: Json, total: int) -> Iterator[Problem]:
    yield from number_problems(spec, "minAvailable", "spec", 0)
    yield from number_problems(spec, "minSuccess", "spec", 1)
    yield from number_problems(spec, "maxRetry", "spec", 0)
    yield from number_problems(spec, "ttlSecondsAfterFinished", "spec", 0)
    for field, effect in (("minAvailable", "start"), ("minSuccess", "succeed")):
        if as_number(spec.get(field)) > total:
            yield (
                f"spec.{field}",
                f"{spec[field]} is more than the job's {total} replicas, so it would never {effect}; "
                f"write at most {total}.",
            )
    for field in ("queue", "priorityClassName", "schedulerName"):
        if not isinstance(spec.get(field, ""), str):
            yield f"spec.{field}", f"{quoted(spec[field])} is not a name; write it in quotes."
    if spec.get("queue") == "root":
        yield "spec.queue", "'root' is the parent of all queues and takes no jobs; name another one, such as default."
