# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A parameter sweep: which runs it has, the jobs that are these runs, and which of them is the best.

Runs are numbered from 1 in the order in which they are described; of a grid the last parameter changes fastest. So
the same description always gives the same names, and values that are added at the end (of a list, or of a grid's first
parameter) leave the runs before them as they are.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import SUCCEEDED, as_dict
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pages import figures, seconds

Scalar = str | int | float | bool

LABEL = "mlstack.kubernetes/sweep"
ARGUMENT, ENVIRONMENT = WAYS = ("argument", "environment")
GOALS = ("minimize", "maximize")
SUMMARIES = ("final", "highest", "lowest")
# A grid with a value too many in each parameter is soon larger than any cluster.
MOST_RUNS = 1000

# With the number of a run it still has to be a DNS label, and with the name of a replica, too.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_PARAMETER = {
    ARGUMENT: re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"),
    ENVIRONMENT: re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
}


class InvalidSweepError(ValueError):
    """What was asked for cannot be a sweep."""


@dataclass(frozen=True)
class Run:
    name: str
    parameters: Mapping[str, Scalar]


@dataclass(frozen=True)
class Objective:
    """The number by which runs are compared."""

    metric: str
    goal: str
    of: str = SUMMARIES[0]

    @property
    def title(self) -> str:
        return f"{self.of} {self.metric}"

    def value(self, row: Json) -> float | None:
        number = as_dict(as_dict(row.get("metrics")).get(self.metric)).get(self.of)
        return None if number is None else float(number)

    def place(self, value: float) -> float:
        """Smaller is better."""
        return -value if self.goal == "maximize" else value


# -- the runs


def runs_of(name: object, parameters: object) -> list[Run]:
    """The runs of a grid, a mapping of names to values, or of a list of mappings."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidSweepError(
            f"name: {name!r} cannot begin the names of jobs; use at most 40 lower-case letters, digits and `-`, "
            "a letter first, no `-` last."
        )
    combinations = list(_combinations(parameters))
    seen: dict[tuple[tuple[str, str], ...], int] = {}
    for number, combination in enumerate(combinations, 1):
        key = tuple(sorted((parameter, as_text(value)) for parameter, value in combination.items()))
        if key in seen:
            raise InvalidSweepError(
                f"parameters: runs {seen[key]} and {number} have the same values, {label_of(combination)}; "
                "leave one out."
            )
        seen[key] = number
    return [Run(f"{name}-{number}", combination) for number, combination in enumerate(combinations, 1)]


def _combinations(parameters: object) -> Iterator[dict[str, Scalar]]:
    if isinstance(parameters, dict):
        lists = {str(name): list(_values(f"parameters.{name}", values)) for name, values in parameters.items()}
        _check_count(math.prod(map(len, lists.values())) if lists else 0)
        for values in itertools.product(*lists.values()):
            yield dict(zip(lists, values, strict=True))
    elif isinstance(parameters, list):
        _check_count(len(parameters))
        for number, entry in enumerate(parameters):
            path = f"parameters[{number}]"
            if not isinstance(entry, dict) or not entry:
                raise InvalidSweepError(f"{path}: {entry!r} is no run; write a mapping of names to values.")
            yield {str(name): _value(f"{path}.{name}", value) for name, value in entry.items()}
    else:
        raise InvalidSweepError(
            f"parameters: {parameters!r} is neither a grid nor a list of runs; write a mapping of names to lists of "
            "values, or a list of mappings of names to values."
        )


def _check_count(count: int) -> None:
    if not count:
        raise InvalidSweepError("parameters: describe no run; name at least one parameter and one value.")
    if count > MOST_RUNS:
        raise InvalidSweepError(f"parameters: describe {count} runs; leave out values until there are {MOST_RUNS}.")


def _values(path: str, values: object) -> Iterator[Scalar]:
    if not isinstance(values, list) or not values:
        raise InvalidSweepError(f"{path}: {values!r} is no list of values; write one, such as [0.01, 0.1].")
    for number, value in enumerate(values):
        yield _value(f"{path}[{number}]", value)


def _value(path: str, value: object) -> Scalar:
    if not isinstance(value, str | int | float):
        raise InvalidSweepError(f"{path}: {value!r} is no single value; write a text, a number or a truth value.")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidSweepError(f'{path}: {value} is no finite number; if the program is to read it, write "{value}".')
    return value


def as_text(value: Scalar) -> str:
    """As the program gets it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def label_of(parameters: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name}={as_text(value)}" for name, value in parameters.items())


# -- their jobs


def jobs_of(runs: Sequence[Run], sweep: str, job: object, way: str) -> list[Json]:
    """The option `jobs` of the modules: what all runs have in `job`, and how each differs from it."""
    if not isinstance(job, dict):
        raise InvalidSweepError(f"job: {job!r} is no description of a job; write the options of the module for it.")
    for own in ("name", "jobs"):
        if own in job:
            raise InvalidSweepError(f"job.{own}: {job[own]!r} is the sweep's to say; leave it out.")
    if way not in WAYS:
        raise InvalidSweepError(f"pass_as: {way!r} is no way to pass parameters; write one of {', '.join(WAYS)}.")
    for name in {name: None for run in runs for name in run.parameters}:
        if not _PARAMETER[way].fullmatch(name):
            raise InvalidSweepError(
                f"parameters: {name!r} cannot be passed as {way}; begin with a letter, and use letters, digits and `_`."
            )
    labels = {**_part(job, "job.labels", dict), LABEL: sweep}
    give = _with_arguments if way == ARGUMENT else _with_environment
    return [{**give(job, run.parameters), "name": run.name, "labels": labels} for run in runs]


def _with_arguments(job: Json, parameters: Mapping[str, Scalar]) -> Json:
    # In one piece, so that a value may begin with a dash.
    arguments = [f"--{name}={as_text(value)}" for name, value in parameters.items()]

    def extended(described: Json, path: str) -> Json:
        return {**described, "args": [*_part(described, f"{path}.args", list), *arguments]}

    # A role's own arguments stand in place of the job's.
    replicas = {
        role: extended(own, f"job.replicas.{role}") if as_dict(own).get("args") is not None else own
        for role, own in _part(job, "job.replicas", dict).items()
    }
    return {**extended(job, "job"), **({"replicas": replicas} if replicas else {})}


def _with_environment(job: Json, parameters: Mapping[str, Scalar]) -> Json:
    variables = {name: as_text(value) for name, value in parameters.items()}
    if isinstance(job.get("env"), list):
        others = [entry for entry in job["env"] if as_dict(entry).get("name") not in variables]
        return {**job, "env": [*others, *({"name": name, "value": value} for name, value in variables.items())]}
    return {**job, "env": {**_part(job, "job.env", dict), **variables}}


def _part(described: Json, path: str, kind: type) -> Any:
    """What stands at the end of `path`, or nothing of that kind; what it must be is checked here, lest it get lost."""
    value = described.get(path.rpartition(".")[2])
    if value is not None and not isinstance(value, kind):
        word = "list" if kind is list else "mapping"
        raise InvalidSweepError(f"{path}: {value!r} is no {word}; write one.")
    return kind() if value is None else value


# -- what has become of them


def assess(runs: Sequence[Run], rows: Sequence[Json], objective: Objective) -> list[Json]:
    """Of each run its parameters and result, the best first; those without a value of the objective come last."""
    by_name = {str(row.get("name")): row for row in rows}
    missing = [run.name for run in runs if run.name not in by_name]
    unknown = sorted(by_name.keys() - {run.name for run in runs})
    if missing or unknown:
        raise InvalidSweepError(
            f"jobs: are not those of this sweep; missing: {', '.join(missing) or 'none'}, "
            f"unknown: {', '.join(unknown) or 'none'}. Give the `jobs` that the task which ran the sweep has returned."
        )
    assessed = [_assessed(run, by_name[run.name], objective) for run in runs]
    # The sort keeps the order of equals, so the first of them is the best.
    assessed.sort(key=lambda row: math.inf if row["objective"] is None else objective.place(row["objective"]))
    for number, row in enumerate(assessed, 1):
        row["rank"] = None if row["objective"] is None else number
    return assessed


def _assessed(run: Run, row: Json, objective: Objective) -> Json:
    passed = row.get("state") == SUCCEEDED and not row.get("msg")
    return {
        "rank": None,
        "name": run.name,
        "parameters": dict(run.parameters),
        "state": row.get("state"),
        "passed": passed,
        "objective": objective.value(row) if passed else None,
        "metrics": as_dict(row.get("metrics")),
        "duration": row.get("duration"),
        "msg": row.get("msg"),
    }


def best_of(assessed: Sequence[Json]) -> Json | None:
    """What is told of the best run; None where no run has a value of the objective."""
    if not assessed or assessed[0]["rank"] is None:
        return None
    return {key: assessed[0][key] for key in ("name", "parameters", "objective", "metrics", "duration")}


# -- the table


def table_of(assessed: Sequence[Json], objective: Objective) -> tuple[list[str], list[list[str]]]:
    """Headings and cells, as texts."""
    parameters = names_in(assessed, "parameters")
    # The objective has a column of its own.
    others = [name for name in names_in(assessed, "metrics") if (name, "final") != (objective.metric, objective.of)]
    headings = ["run", *parameters, "state", objective.title, *(f"final {name}" for name in others), "duration"]
    rows = [
        [
            row["name"],
            *(as_text(row["parameters"][name]) if name in row["parameters"] else "-" for name in parameters),
            str(row["state"] or "-"),
            figures(row["objective"]),
            *(figures(as_dict(row["metrics"].get(name)).get("final")) for name in others),
            seconds(row["duration"]),
        ]
        for row in assessed
    ]
    return headings, rows


def names_in(rows: Sequence[Json], key: str) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row[key]))


def lines_of(assessed: Sequence[Json], objective: Objective) -> list[str]:
    """The table for a terminal, its columns aligned."""
    headings, rows = table_of(assessed, objective)
    marks = ["", *("best" if row["rank"] == 1 else "" for row in assessed)]
    table = [[*map(_on_one_line, row), mark] for row, mark in zip((headings, *rows), marks, strict=True)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def _on_one_line(cell: str) -> str:
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in cell)
