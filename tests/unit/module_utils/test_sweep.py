from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.sweep import (
    GOALS,
    LABEL,
    MOST_RUNS,
    SUMMARIES,
    InvalidSweepError,
    Objective,
    Run,
    as_text,
    assess,
    best_of,
    jobs_of,
    lines_of,
    runs_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.validator import wanted_job
from hypothesis import given
from hypothesis import strategies as st

ACCURACY = Objective("accuracy", "maximize")
SCALARS = st.one_of(
    st.integers(-1000, 1000), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
)
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,6}", fullmatch=True)
GRIDS = st.dictionaries(NAMES, st.lists(SCALARS, min_size=1, max_size=4, unique_by=as_text), min_size=1, max_size=3)
JOB = {"image": "trainer:1", "args": ["--epochs", "3"], "replicas": {"worker": {"count": 2}}}


def row(name: str, value: float | None = None, **others: Any) -> Json:
    """As tfjob tells of a job that has succeeded."""
    metric = {"count": 2, "first": 0.0, "final": value, "lowest": 0.0, "highest": value}
    metrics = {} if value is None else {"metrics": {"accuracy": metric}}
    return {"name": name, "state": "Succeeded", "duration": 12.5, "changed": True, **metrics, **others}


# -- the runs


@given(GRIDS)
def test_a_grid_has_every_combination_once(grid: dict[str, list[Any]]) -> None:
    runs = runs_of("lr", grid)
    found = [tuple(as_text(value) for value in run.parameters.values()) for run in runs]
    assert sorted(found) == sorted(itertools.product(*([as_text(value) for value in grid[name]] for name in grid)))
    assert [run.name for run in runs] == [f"lr-{number}" for number in range(1, len(found) + 1)]
    assert all(list(run.parameters) == list(grid) for run in runs)


@given(GRIDS)
def test_a_grid_gives_what_its_list_gives(grid: dict[str, list[Any]]) -> None:
    runs = runs_of("lr", grid)
    assert runs == runs_of("lr", [dict(run.parameters) for run in runs]) == runs_of("lr", json.loads(json.dumps(grid)))


@given(GRIDS)
def test_values_added_at_the_end_leave_the_runs_before_as_they_are(grid: dict[str, list[Any]]) -> None:
    first = next(iter(grid))
    longer = {**grid, first: [*grid[first], "one more value"]}
    before, after = runs_of("lr", grid), runs_of("lr", longer)
    assert after[: len(before)] == before
    assert len(after) > len(before)


@given(st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True))
def test_every_run_is_a_valid_job(name: str) -> None:
    runs = runs_of(name, {"seed": list(range(MOST_RUNS))})
    for job in jobs_of([runs[0], runs[-1]], name, JOB, "argument"):
        assert wanted_job(TFJOB, {**job, "namespace": "default"}, None)["metadata"]["name"] == job["name"]


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("Lr", {"a": [1]}, r"name: 'Lr' .* lower-case"),
        ("a" * 41, {"a": [1]}, "at most 40"),
        ("lr\n", {"a": [1]}, "name: "),
        (7, {"a": [1]}, "name: 7"),
        ("lr", {}, "parameters: describe no run"),
        ("lr", [], "parameters: describe no run"),
        ("lr", "a=1", "parameters: 'a=1' is neither a grid nor a list"),
        ("lr", {"a": 0.1}, r"parameters\.a: 0.1 is no list of values; write one"),
        ("lr", {"a": []}, r"parameters\.a: \[\] is no list"),
        ("lr", {"a": "0.1"}, r"parameters\.a: '0.1' is no list"),
        ("lr", {"a": [1, None]}, r"parameters\.a\[1\]: None is no single value"),
        ("lr", {"a": [[1]]}, r"parameters\.a\[0\]: \[1\] is no single value"),
        ("lr", {"a": [math.inf]}, r'parameters\.a\[0\]: inf is no finite number; .* write "inf"'),
        ("lr", [{"a": 1}, "b"], r"parameters\[1\]: 'b' is no run"),
        ("lr", [{"a": 1}, {}], r"parameters\[1\]: {} is no run"),
        ("lr", [{"a": {"b": 1}}], r"parameters\[0\]\.a: {'b': 1} is no single value"),
        ("lr", {"a": [1, 2, 1]}, "runs 1 and 3 have the same values, a=1; leave one out"),
        ("lr", [{"a": 1, "b": True}, {"b": "true", "a": "1"}], "runs 1 and 2 have the same values"),
        ("lr", {"a": list(range(10**4)), "b": list(range(10**4))}, "describe 100000000 runs"),
    ],
)
def test_what_is_no_sweep_is_refused(name: object, parameters: object, message: str) -> None:
    with pytest.raises(InvalidSweepError, match=message):
        runs_of(name, parameters)


# -- their jobs


def jobs(parameters: object, job: object = JOB, way: str = "argument") -> list[Json]:
    return jobs_of(runs_of("lr", parameters), "lr", job, way)


def test_parameters_are_appended_as_arguments() -> None:
    (one, two) = jobs({"learning-rate": [0.1, -1e-05], "nesterov": [True]})
    assert one == {
        **JOB,
        "name": "lr-1",
        "args": ["--epochs", "3", "--learning-rate=0.1", "--nesterov=true"],
        "labels": {LABEL: "lr"},
    }
    assert two["args"][2] == "--learning-rate=-1e-05"
    assert JOB["args"] == ["--epochs", "3"]


def test_roles_with_arguments_of_their_own_get_the_parameters_too() -> None:
    (job,) = jobs({"a": [1]}, {"replicas": {"chief": {"args": ["--chief"]}, "worker": {"count": 2}, "ps": None}})
    assert job["replicas"] == {"chief": {"args": ["--chief", "--a=1"]}, "worker": {"count": 2}, "ps": None}
    assert job["args"] == ["--a=1"]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (None, {"RATE": "0.1"}),
        ({"RATE": "1", "HOME": "/"}, {"RATE": "0.1", "HOME": "/"}),
        (
            [{"name": "RATE", "value": "1"}, {"name": "HOME", "value": "/"}],
            [{"name": "HOME", "value": "/"}, {"name": "RATE", "value": "0.1"}],
        ),
    ],
)
def test_parameters_become_variables(env: object, expected: object) -> None:
    (job,) = jobs({"RATE": [0.1]}, {**JOB, "env": env}, "environment")
    assert job["env"] == expected
    assert job["args"] == JOB["args"]


def test_labels_of_the_job_stay() -> None:
    (job,) = jobs({"a": [1]}, {**JOB, "labels": {"team": "vision"}})
    assert job["labels"] == {"team": "vision", LABEL: "lr"}


@pytest.mark.parametrize(
    ("job", "way", "message"),
    [
        ("image", "argument", "job: 'image' is no description of a job"),
        ({**JOB, "name": "mine"}, "argument", r"job\.name: 'mine' is the sweep's to say; leave it out"),
        ({**JOB, "args": "--epochs 3"}, "argument", r"job\.args: '--epochs 3' is no list; write one"),
        ({"replicas": {"ps": {"args": "x"}}}, "argument", r"job\.replicas\.ps\.args: 'x' is no list"),
        ({**JOB, "env": "A=1"}, "environment", r"job\.env: 'A=1' is no mapping"),
        ({**JOB, "labels": []}, "argument", r"job\.labels: \[\] is no mapping"),
        (JOB, "stdin", "pass_as: 'stdin' is no way to pass parameters; write one of argument, environment"),
    ],
)
def test_what_is_no_job_is_refused(job: object, way: str, message: str) -> None:
    with pytest.raises(InvalidSweepError, match=message):
        jobs({"rate": [0.1]}, job, way)


def test_a_name_that_cannot_be_passed_is_refused() -> None:
    with pytest.raises(InvalidSweepError, match="'learning-rate' cannot be passed as environment"):
        jobs({"learning-rate": [0.1]}, way="environment")
    with pytest.raises(InvalidSweepError, match="'learning rate' cannot be passed as argument"):
        jobs({"learning rate": [0.1]})


def test_names_are_texts() -> None:
    assert runs_of("lr", {1: [2]}) == runs_of("lr", [{1: 2}]) == [Run("lr-1", {"1": 2})]


# -- what has become of them

RUNS = [Run(f"lr-{number}", {"rate": number}) for number in range(1, 5)]


@given(
    st.lists(
        st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-3, 3).map(float),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(GOALS),
    st.randoms(),
)
def test_the_best_comes_first_whatever_the_order_of_the_rows(
    values: list[float | None], goal: str, random: Any
) -> None:
    runs = [Run(f"lr-{number}", {"rate": number}) for number in range(1, len(values) + 1)]
    rows = [row(run.name, value) for run, value in zip(runs, values, strict=True)]
    random.shuffle(rows)
    assessed = assess(runs, rows, Objective("accuracy", goal))
    known = [value for value in values if value is not None]
    best = best_of(assessed)
    if not known:
        assert best is None
        assert [one["name"] for one in assessed] == [run.name for run in runs]
        return
    optimum = max(known) if goal == "maximize" else min(known)
    assert best is not None
    assert best["objective"] == optimum
    assert best["name"] == f"lr-{values.index(optimum) + 1}"
    assert [one["rank"] for one in assessed] == [*range(1, len(known) + 1), *[None] * (len(values) - len(known))]


@pytest.mark.parametrize("of", SUMMARIES)
def test_the_objective_may_be_another_value_of_the_metric(of: str) -> None:
    metric = {"final": 1.0, "highest": 2.0, "lowest": 0.5}
    rows = [row("lr-1", metrics={"accuracy": metric})]
    (assessed,) = assess(RUNS[:1], rows, Objective("accuracy", "maximize", of))
    assert assessed["objective"] == metric[of]


@pytest.mark.parametrize("trouble", [{"state": "Failed"}, {"msg": "It timed out."}, {"state": "Running"}])
def test_a_run_that_failed_is_last_and_never_the_best(trouble: Json) -> None:
    assessed = assess(RUNS[:2], [row("lr-1", 0.99, **trouble), row("lr-2", 0.1)], ACCURACY)
    assert [(one["name"], one["passed"]) for one in assessed] == [("lr-2", True), ("lr-1", False)]
    only = assess(RUNS[:1], [row("lr-1", 0.99, **trouble)], ACCURACY)
    assert best_of(only) is None


def test_rows_of_another_sweep_are_refused() -> None:
    with pytest.raises(InvalidSweepError, match=r"missing: lr-2, unknown: other-1\. Give the `jobs`"):
        assess(RUNS[:2], [row("lr-1"), row("other-1")], ACCURACY)


# -- the table


def test_the_table_tells_of_every_run() -> None:
    loss = {"first": 2.0, "final": 0.25, "lowest": 0.25, "highest": 2.0, "count": 3}
    rows = [
        row("lr-1", 0.9),
        row("lr-2", 0.95, metrics={**row("lr-2", 0.95)["metrics"], "loss": loss}),
        {"name": "lr-3", "state": "Failed", "duration": None, "msg": "exit code 1"},
    ]
    runs = [*RUNS[:2], Run("lr-3", {"optimizer": "adam"})]
    assert lines_of(assess(runs, rows, ACCURACY), ACCURACY) == [
        "run   rate  optimizer  state      final accuracy  final loss  duration",
        "lr-2  2     -          Succeeded  0.95            0.25        12.5 s    best",
        "lr-1  1     -          Succeeded  0.9             -           12.5 s",
        "lr-3  -     adam       Failed     -               -           -",
    ]


def test_the_table_copes_without_metrics() -> None:
    lines = lines_of(assess(RUNS, [row(run.name) for run in RUNS], ACCURACY), ACCURACY)
    assert len(lines) == 5
    assert not any("best" in line for line in lines)


@given(st.lists(SCALARS, min_size=1, max_size=4, unique_by=as_text), st.floats(allow_nan=False, allow_infinity=False))
def test_a_line_is_a_run_whatever_its_parameters_are(values: list[Any], value: float) -> None:
    runs = runs_of("lr", {"p": values})
    lines = lines_of(assess(runs, [row(run.name, value) for run in runs], ACCURACY), ACCURACY)
    assert len("\n".join(lines).splitlines()) == len(runs) + 1
    assert all(re.match(r"lr-\d+ ", line) for line in lines[1:])
