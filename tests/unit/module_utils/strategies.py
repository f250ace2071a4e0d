"""Jobs, damaged jobs, and whatever else a file may hold, for property-based tests."""

from __future__ import annotations

import copy
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    OPERATOR_KINDS,
    PYTORCHJOB,
    TFJOB,
    JobKind,
)
from hypothesis import strategies as st

# Words that mean something in some place, so that they come up where others would be passed over.
_WORDS = ["", "None", "Always", "Worker", "name", "spec", "512m", "nvidia.com/gpu", "/work", "v1", "MASTER", "PodGroup"]
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 2**40), st.floats(), st.sampled_from(_WORDS), st.text(max_size=8)
)
# YAML has keys that are no texts, too.
_keys = st.one_of(
    st.sampled_from([*_WORDS, "metadata", "containers", "env", "replicas", "template", "kind"]), st.integers(0, 3)
)
anything = st.recursive(
    _scalars, lambda some: st.lists(some, max_size=3) | st.dictionaries(_keys, some, max_size=3), max_leaves=12
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(longer for key, item in items for longer in _paths(item, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """`document` with something else, or nothing, in one or two places."""
    document = copy.deepcopy(document)
    for _time in range(draw(st.integers(1, 2))):
        *parents, last = draw(st.sampled_from(_paths(document)[1:] or [("kind",)]))
        place = document
        for key in parents:
            place = place[key]
        if draw(st.booleans()):
            place[last] = draw(anything)
        elif isinstance(place, dict):
            place.pop(last, None)
        else:
            del place[last]
    return document


_names = st.from_regex(r"[a-z][a-z0-9]{0,9}(-[a-z0-9]{1,5})?", fullmatch=True)
_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=10)
_labels = st.dictionaries(
    st.from_regex(r"([a-z]{1,5}\.org/)?[A-Za-z][\w.-]{0,5}[a-z]", fullmatch=True).filter(str.isascii),
    st.from_regex(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,5}[a-z])?", fullmatch=True),
    max_size=2,
)
_variables = st.dictionaries(
    st.from_regex(r"MY_[A-Z]{1,4}", fullmatch=True), _texts | st.integers() | st.booleans() | st.none(), max_size=3
)
_resources = st.builds(
    lambda cpu, memory, gpus: {
        "requests": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"},
        "limits": {"memory": f"{memory * 2}Mi", **({"nvidia.com/gpu": gpus} if gpus else {})},
    },
    st.integers(0, 8000),
    st.integers(1, 4000),
    st.integers(0, 8),
)
_images = st.sampled_from(["trainer", "registry.example.com:5000/team/trainer:1.0", "a/b@sha256:" + "0" * 64])


def _pod_parameters(policies: list[str]) -> dict[str, st.SearchStrategy[Any]]:
    return {
        "image": _images,
        "command": st.lists(_texts, min_size=1, max_size=3),
        "args": st.lists(_texts, max_size=3),
        "env": _variables,
        "resources": _resources,
        "restart_policy": st.sampled_from(policies),
        "node_selector": _labels,
    }


@st.composite
def parameters(draw: st.DrawFn, kind: JobKind) -> dict[str, Any]:
    """Parameters of a module that make a job."""
    limit = draw(st.none() | st.integers(0, 3))
    pod = _pod_parameters(["OnFailure", "Never"] if limit else ["OnFailure", "Never", "ExitCode"])

    def role(most: int) -> st.SearchStrategy[Any]:
        return st.fixed_dictionaries({"count": st.integers(1, most)}, optional=pod)

    leader = draw(st.sampled_from([None, *kind.leaders]))
    replicas: dict[str, Any] = {leader.lower(): draw(role(1))} if leader else {}
    if not leader or draw(st.booleans()):
        replicas["worker"] = draw(role(5))
    if kind is TFJOB and (other := draw(st.sampled_from([None, "ps", "evaluator"]))):
        replicas[other] = draw(role(3))
    total = sum(role["count"] for role in replicas.values())
    run_policy = st.fixed_dictionaries(
        {"backoff_limit": st.just(limit)},
        optional={
            "clean_pod_policy": st.sampled_from(["None", "Running", "All"]),
            "active_deadline_seconds": st.integers(1, 10**6),
            "ttl_seconds_after_finished": st.integers(0, 10**6),
            "suspend": st.booleans(),
            "scheduling_policy": st.fixed_dictionaries(
                {}, optional={"min_available": st.integers(1, total), "queue": _names, "priority_class": _names}
            ),
        },
    )
    volumes = [
        {"name": f"volume-{index}", "mount_path": f"/mnt/{index}", source: value}
        for index, (source, value) in enumerate(
            draw(st.lists(st.sampled_from([("claim", "c"), ("config_map", "m"), ("secret", "s"), ("empty_dir", {})])))
        )
    ]
    params: dict[str, Any] = {"name": draw(_names), "image": draw(_images), "replicas": replicas, "volumes": volumes}
    params |= draw(st.fixed_dictionaries({"run_policy": run_policy}, optional=pod))
    params |= draw(st.fixed_dictionaries({}, optional={"namespace": _names, "labels": _labels, "annotations": _labels}))
    if kind is TFJOB and not leader:
        params["success_policy"] = draw(st.sampled_from([None, "", "AllWorkers"]))
    if kind is PYTORCHJOB:
        params["nproc_per_node"] = draw(st.sampled_from([None, "auto", "cpu", "2"]))
    return params


def jobs() -> st.SearchStrategy[Any]:
    """Valid jobs of either kind."""
    return st.sampled_from(list(OPERATOR_KINDS.values())).flatmap(
        lambda kind: parameters(kind).map(lambda p: kind.build(p))
    )


def aged(job: Any, version: str) -> Any:
    """A job as it was written for an earlier version, when the run policy was part of the spec."""
    job = copy.deepcopy(job)
    job["apiVersion"] = version
    job["spec"].update(job["spec"].pop("runPolicy", {}))
    if "v1alpha1" not in version:
        return job
    # Then the roles were a list, and nobody but the pods had restart policies.
    kind = OPERATOR_KINDS[job["kind"]]
    name = "tfReplicaType" if kind is TFJOB else "replicaType"
    job["spec"]["replicaSpecs"] = []
    for role, spec in job["spec"].pop(kind.specs_field).items():
        spec["template"]["spec"]["restartPolicy"] = spec.pop("restartPolicy")
        job["spec"]["replicaSpecs"].append({name: "MASTER" if role == "Chief" else role.upper(), **spec})
    return job
