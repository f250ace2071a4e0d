# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A report on a parameter sweep: all runs, the best marked, what the objective owes to each parameter, and curves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from ansible_collections.mlstack.kubernetes.plugins.module_utils import charts
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.metrics import Series, collect
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pages import (
    VERSION,
    Html,
    badge,
    fact_list,
    figures,
    image,
    page,
    table,
    tag,
    word,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.redaction import redacted
from ansible_collections.mlstack.kubernetes.plugins.module_utils.sweep import (
    Objective,
    as_text,
    best_of,
    label_of,
    names_in,
    table_of,
)

FORMAT = 1
# The replicas that decide a job, one of which has the metrics in its log.
LEADERS = ("chief-0.log", "master-0.log", "worker-0.log")


def curves_of(
    assessed: Sequence[Json], rows: Sequence[Json], patterns: Mapping[str, re.Pattern[str]]
) -> dict[str, list[Json]]:
    """Of each metric the series of the best runs, read from the files that their logs were written to."""
    files = {row["name"]: leader for row in rows if (leader := _leader(row.get("log_files") or []))}
    curves: dict[str, list[Json]] = {name: [] for name in patterns}
    # No more than a chart can show.
    for run in [run for run in assessed if run["name"] in files][: charts.MOST_SERIES]:
        several = {name: Series() for name in patterns}
        with open(files[run["name"]], encoding="utf-8", errors="replace") as lines:
            for line in lines:
                for name, pattern in patterns.items():
                    collect(several[name], pattern, line)
        for name, series in several.items():
            if series.points:
                curves[name].append(
                    {
                        "run": run["name"],
                        "values": series.values,
                        "epochs": [point.epoch for point in series.points],
                        "steps": [point.step for point in series.points],
                    }
                )
    return {name: several for name, several in curves.items() if several}


def _leader(files: Sequence[str]) -> str | None:
    by_name = {os.path.basename(file): file for file in files}
    return next((by_name[name] for name in LEADERS if name in by_name), None)


def document_of(
    sweep: str, objective: Objective, assessed: Sequence[Json], curves: Mapping[str, list[Json]], versions: Json
) -> Json:
    return {
        "format": FORMAT,
        "sweep": sweep,
        "passed": all(row["passed"] for row in assessed),
        "objective": {"metric": objective.metric, "goal": objective.goal, "of": objective.of},
        "best": best_of(assessed),
        "runs": [{**row, "msg": redacted(row["msg"], ())} for row in assessed],
        "curves": dict(curves),
        "versions": {"mlstack.kubernetes": VERSION, **versions},
    }


def report_html(document: Json, with_pictures: bool = True) -> str:
    runs, best, objective = document["runs"], document["best"], Objective(**document["objective"])
    failed = [run for run in runs if not run["passed"]]
    facts = [
        ("Best run", f"{best['name']} ({label_of(best['parameters'])})" if best else "none has a value"),
        ("Objective", f"{objective.goal} the {objective.title}"),
        ("Reached", figures(best["objective"]) if best else ""),
        ("Runs", f"{len(runs)}, of which {len(failed)} failed" if failed else str(len(runs))),
    ]
    body = [
        tag("h1", f"Sweep {document['sweep']}"),
        tag("p", badge(document["passed"])),
        fact_list(facts),
        _runs(runs, objective),
        *(_pictures(document, objective) if with_pictures else ()),
        *([tag("h3", "Failed runs")] if failed else []),
        *(_failure(run) for run in failed),
    ]
    title = f"{word(document['passed'])}: sweep {document['sweep']}"
    return page(title, body, "sweep_report", document["versions"])


def _runs(runs: Sequence[Json], objective: Objective) -> Html:
    headings, rows = table_of(runs, objective)
    parameters = names_in(runs, "parameters")
    marked = [
        [tag("span", f"★ {row[0]}", class_="met") if run["rank"] == 1 else row[0], *row[1:]]
        for run, row in zip(runs, rows, strict=True)
    ]
    # The run, its parameters and its state are texts, what follows are numbers.
    texts = len(parameters) + 1
    classes = ["short", *[""] * texts, *["number"] * (len(headings) - texts - 1)]
    return tag("div", tag("h3", "Runs, the best first"), table(headings, marked, classes))


def _pictures(document: Json, objective: Objective) -> list[Html]:
    runs = document["runs"]
    parameters = {
        name: [as_text(run["parameters"].get(name, "-")) for run in runs] for name in names_in(runs, "parameters")
    }
    sign = 1 if objective.goal == "maximize" else -1
    objectives = charts.sweep_chart(objective.title, parameters, [run["objective"] for run in runs], sign)
    labels = {run["name"]: f"{run['name']}: {label_of(run['parameters'])}" for run in runs}
    metrics = {
        name: {"series": [{**series, "replicas": [labels[series["run"]]]} for series in several], "bounds": {}}
        for name, several in document["curves"].items()
    }
    curves = charts.metrics_chart(metrics)
    parts = []
    if objectives:
        parts += [tag("h3", "The objective over each parameter"), image(objectives, f"{objective.title} of each run")]
    if curves:
        parts += [tag("h3", "Metrics"), image(curves, "Curves of " + ", ".join(metrics))]
        if len(runs) > charts.MOST_SERIES:
            parts.append(tag("p", f"The curves are those of the {charts.MOST_SERIES} best of {len(runs)} runs."))
    return parts


def _failure(run: Json) -> Html:
    title = tag("strong", f"{run['name']} ({label_of(run['parameters'])})")
    return tag("div", title, tag("pre", run["msg"] or f"Its state is {run['state']}."), class_="why")
