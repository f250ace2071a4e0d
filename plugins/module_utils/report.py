# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A report on verified jobs: one JSON file for programs, one HTML file for people that needs nothing but itself.

Both are made of the same document and of nothing else, so equal documents give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.mlstack.kubernetes.plugins.module_utils import charts
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pages import (
    VERSION,
    Html,
    badge,
    fact_list,
    figures,
    image,
    page,
    seconds,
    table,
    tag,
    text,
    word,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.verification import Verdict

FORMAT = 1

# -- what a report is made of


def document_of(verdicts: Iterable[Verdict], missing: list[str], versions: Json) -> Json:
    """`missing` says of jobs that were to be verified that they are not there."""
    jobs = [
        {"passed": not verdict.unmet, "job": verdict.facts, **verdict.seen, "unmet": verdict.unmet}
        for verdict in verdicts
    ]
    return {
        "format": FORMAT,
        "passed": not missing and all(job["passed"] for job in jobs),
        "missing": missing,
        "versions": {"mlstack.kubernetes": VERSION, **versions},
        "jobs": jobs,
    }


def report_html(document: Json) -> str:
    jobs = document["jobs"]
    is_one = len(jobs) == 1 and not document["missing"]
    title = _title(jobs[0]) if is_one else f"{len(jobs)} training jobs"
    if is_one:
        body = [_job(jobs[0], "job-1", "h1")]
    else:
        body = [_overview(document), *(_job(job, f"job-{number}", "h2") for number, job in enumerate(jobs, 1))]
    return page(f"{word(document['passed'])}: {title}", body, "training_job_verify", document["versions"])


def _time(stamp: str | None) -> str:
    return text(stamp).replace("T", " ").replace("Z", " UTC")


def _title(job: Json) -> str:
    return f"{job['job']['kind']} {job['job']['namespace']}/{job['job']['name']}"


# -- the parts of the page


def _overview(document: Json) -> Html:
    jobs = document["jobs"]
    passed, total = sum(job["passed"] for job in jobs), len(jobs) + len(document["missing"])
    rows = [
        [
            badge(job["passed"]),
            tag("a", job["job"]["name"], href=f"#job-{number}"),
            str(len(job["unmet"])),
            job["state"],
            seconds(job["duration"]),
            str(len(job["replicas"])),
            *(
                figures(job["metrics"][name]["final"]) if name in job["metrics"] else "-"
                for name in _metric_names(jobs)
            ),
        ]
        for number, job in enumerate(jobs, 1)
    ]
    names = _metric_names(jobs)
    headings = ["verdict", "job", "unmet", "state", "duration", "replicas", *(f"final {name}" for name in names)]
    classes = ["short", "name", "number", "short", *["number"] * (len(headings) - 4)]
    return tag(
        "header",
        tag("h1", f"{passed} of {total} training jobs are as wanted"),
        tag("p", f"{jobs[0]['job']['kind']}s in namespace {jobs[0]['job']['namespace']}", class_="kind"),
        tag("p", badge(document["passed"])),
        _unmet(document["missing"]),
        table(headings, rows, classes),
    )


def _metric_names(jobs: list[Json]) -> list[str]:
    return list(dict.fromkeys(name for job in jobs for name in job["metrics"]))


def _job(job: Json, anchor: str, heading: str) -> Html:
    facts = job["job"]
    return tag(
        "section",
        tag(heading, facts["name"]),
        tag("p", f"{facts['kind']} in namespace {facts['namespace']}", class_="kind"),
        tag("p", badge(job["passed"])),
        _unmet(job["unmet"]),
        fact_list(
            [
                ("State", job["state"]),
                ("Duration", "" if job["duration"] is None else seconds(job["duration"])),
                ("Created", _time(facts["created"])),
                ("Finished", _time(facts["finished"]) if facts["finished"] else ""),
                ("Replicas", _roles(job["replicas"])),
                ("Images", ", ".join(sorted({str(row["image"]) for row in job["replicas"] if row["image"]}))),
                ("UID", facts["uid"] or ""),
                ("Spec", _spec(facts)),
            ]
        ),
        _diagnosis(job["diagnosis"]) if job["diagnosis"] else Html(),
        _metrics(job["metrics"]) if job["metrics"] else Html(),
        _replicas(facts, job["replicas"]),
        _expectations(job["expectations"]),
        id=anchor,
        class_=word(job["passed"]),
    )


def _unmet(unmet: list[str]) -> Html:
    if not unmet:
        return Html()
    items = (tag("li", problem) for problem in unmet)
    return tag("div", tag("strong", "Not as wanted"), tag("ul", *items), class_="why")


def _roles(replicas: list[Json]) -> str:
    counts: dict[str, int] = {}
    for row in replicas:
        counts[row["role"]] = counts.get(row["role"], 0) + 1
    return ", ".join(f"{role} {count}" for role, count in counts.items())


def _spec(facts: Json) -> str:
    digest = str(facts["spec_hash"] or "").removeprefix("sha256:")[:16]
    edited = "edited since the job was made" if facts["spec_edited"] else "as submitted"
    return f"{edited}, hash {digest}" if digest else edited


def _diagnosis(diagnosis: Json) -> Html:
    parts = [tag("h3", "Diagnosis")]
    condition = diagnosis["condition"]
    if condition and condition["message"]:
        parts.append(tag("p", f"{text(condition['reason'])}: {condition['message']}"))
    if diagnosis["cure"]:
        parts.append(tag("div", tag("strong", "What to do: "), diagnosis["cure"], class_="cure"))
    for cause in diagnosis["causes"]:
        where = " on ".join(text(part) for part in (cause["pod"] or "the job", cause["node"]) if part)
        message = f"{text(cause['reason'])}: {cause['message']}" if cause["message"] else text(cause["reason"])
        parts.append(tag("p", tag("strong", cause["replica"] or "the job"), f" ({where}): {message}"))
        if cause["log"]:
            parts.append(tag("pre", "\n".join(cause["log"])))
    if diagnosis["events"]:
        rows = (
            [
                text(event["reason"]),
                ", ".join(map(text, event["objects"])),
                str(event["count"]),
                text(event["message"]),
            ]
            for event in diagnosis["events"]
        )
        parts.append(table(["event", "of", "times", "message"], rows, ["short", "", "number", ""]))
    return tag("div", *parts)


def _metrics(metrics: Json) -> Html:
    rows = [
        [
            name,
            ", ".join(series["replicas"]),
            str(len(series["values"])),
            *(figures(series[key]) for key in ("first", "final", "lowest", "highest")),
        ]
        for name, metric in metrics.items()
        for series in metric["series"]
    ]
    svg = charts.metrics_chart(metrics)
    headings = ["metric", "from the log of", "values", "first", "final", "lowest", "highest"]
    return tag(
        "div",
        tag("h3", "Metrics"),
        image(svg, "Curves of " + ", ".join(metrics)) if svg else Html(),
        table(headings, rows, ["", "", *["number"] * 5]),
    )


def _expectations(expectations: list[Json]) -> Html:
    met = sum(check["met"] for check in expectations)
    rows = (
        [
            tag("span", "✓ met", class_="met") if check["met"] else tag("span", "✗ not met", class_="unmet"),
            check["subject"],
            check["wanted"],
            check["seen"],
        ]
        for check in expectations
    )
    title = f"Expectations: {met} of {len(expectations)} met"
    return tag("div", tag("h3", title), table(["", "of", "wanted", "seen"], rows, ["short", "short", "", ""]))


def _replicas(facts: Json, replicas: list[Json]) -> Html:
    rows = (
        [
            row["replica"],
            text(row["node"]),
            text(row["phase"]),
            _time(row["started"]),
            _time(row["finished"]),
            text(row["exit_code"]),
            str(row["restarts"]),
            text(row["reason"]),
        ]
        for row in replicas
    )
    svg = charts.timeline_chart(facts["created"], replicas)
    headings = ["replica", "node", "pod", "started", "finished", "exit code", "restarts", "reason"]
    classes = ["short", "", "short", "short", "short", "number", "number", "short"]
    hidden = len(replicas) - charts.MOST_ROWS
    return tag(
        "div",
        tag("h3", "Replicas"),
        image(svg, "When each replica was created, started and finished") if svg else Html(),
        tag("p", f"The chart shows the first {charts.MOST_ROWS} of {len(replicas)} replicas.")
        if hidden > 0
        else Html(),
        table(headings, rows, classes),
    )
