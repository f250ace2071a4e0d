# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A report on verified jobs: one JSON file for programs, one HTML file for people that needs nothing but itself.

Both are made of the same document and of nothing else, so equal documents give equal bytes.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable

from ansible_collections.mlstack.kubernetes.plugins.module_utils import charts
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.verification import Verdict

# As in galaxy.yml, which does not travel with a module.
VERSION = "0.1.0"
FORMAT = 1
_VERDICTS = {True: ("passed", "✓"), False: ("failed", "✗")}

_CSS = """
:root { color-scheme: light }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.5rem 3rem; max-width: 62rem; background: #fff; color: #1b1b1b;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.35rem; margin: 3rem 0 .3rem; padding-top: 1.2rem; border-top: 2px solid #1b1b1b;
  overflow-wrap: anywhere }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .5rem }
p { margin: .4rem 0 }
a { color: #005a8f }
.verdict { display: inline-block; padding: .15rem .7rem; border-radius: .3rem; font-weight: 600; color: #fff }
.passed .verdict, .verdict.passed { background: #00694d }
.failed .verdict, .verdict.failed { background: #b03a00 }
.kind { color: #555; margin: 0 0 .8rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 1rem 0 }
dt { color: #555 }
dd { margin: 0; overflow-wrap: anywhere }
.why { border-left: 4px solid #b03a00; background: #fdf3ee; padding: .7rem 1rem; margin: 1rem 0 }
.why ul { margin: .3rem 0 0; padding-left: 1.2rem }
.why li { overflow-wrap: anywhere }
.cure { border-left: 4px solid #0072b2; background: #eef6fb; padding: .6rem 1rem; margin: .8rem 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .88rem }
th { text-align: left; font-weight: 600; color: #444; border-bottom: 1.5px solid #999;
  padding: .3rem 1.1rem .3rem 0; vertical-align: bottom }
td { border-bottom: 1px solid #e3e3e3; padding: .32rem 1.1rem .32rem 0; vertical-align: top; overflow-wrap: anywhere }
.number { text-align: right; font-variant-numeric: tabular-nums }
td.number { white-space: nowrap }
.met, .unmet { font-weight: 600; white-space: nowrap }
.met { color: #00694d }
.unmet { color: #b03a00 }
.short { white-space: nowrap }
.name { min-width: 10rem }
img { display: block; width: 100%; height: auto; margin: .4rem 0 .8rem }
pre { font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; background: #f5f5f5;
  border: 1px solid #e0e0e0; padding: .6rem .8rem; margin: .4rem 0 1rem;
  white-space: pre-wrap; overflow-wrap: anywhere }
footer { margin-top: 3rem; padding-top: .7rem; border-top: 1px solid #ccc; color: #555; font-size: .82rem }
@media print {
  body { max-width: none; padding: 0; font-size: 10.5pt }
  h2 { break-before: page; border-top: 0 }
  h3 { break-after: avoid }
  tr, img, .why, .cure { break-inside: avoid }
  .verdict, .why, .cure, pre { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
"""


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


def report_json(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def report_html(document: Json) -> str:
    jobs = document["jobs"]
    is_one = len(jobs) == 1 and not document["missing"]
    title = _title(jobs[0]) if is_one else f"{len(jobs)} training jobs"
    head = _tag(
        "head",
        Html('<meta charset="utf-8">'),
        # Nothing is fetched and nothing is run, whatever a log may say.
        Html(
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        ),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        _tag("title", f"{_word(document['passed'])}: {title}"),
        _tag("style", Html(_CSS)),
    )
    if is_one:
        body = [_job(jobs[0], "job-1", "h1")]
    else:
        body = [_overview(document), *(_job(job, f"job-{number}", "h2") for number, job in enumerate(jobs, 1))]
    page = _tag("html", head, _tag("body", *body, _footer(document["versions"])), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


# -- HTML: a text is escaped unless it is Html already


class Html(str):
    """Text that is HTML."""


def _tag(name: str, *content: str, **attributes: str) -> Html:
    given = "".join(f' {key.rstrip("_")}="{_escape(value)}"' for key, value in attributes.items() if value)
    return Html(f"<{name}{given}>{''.join(map(_escape, content))}</{name}>")


def _escape(text: str) -> str:
    if isinstance(text, Html):
        return text
    # Letters that HTML does not allow, and halves of letters, which cannot be written at all.
    allowed = "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)
    return html.escape(allowed)


def _table(headings: list[str], rows: Iterable[list[str]], classes: list[str] | None = None) -> Html:
    """`classes` are those of the columns."""
    classes = classes or [""] * len(headings)
    head = _tag("tr", *(_tag("th", text, class_=name) for text, name in zip(headings, classes, strict=True)))
    body = (
        _tag("tr", *(_tag("td", text, class_=name) for text, name in zip(row, classes, strict=True))) for row in rows
    )
    return _tag("div", _tag("table", _tag("thead", head), _tag("tbody", *body)), class_="wide")


def _facts(pairs: Iterable[tuple[str, str]]) -> Html:
    return _tag("dl", *(tag for name, value in pairs if value for tag in (_tag("dt", name), _tag("dd", value))))


def _image(svg: str, alt: str) -> Html:
    # As an image, unlike inline, its text cannot become part of the page.
    data = base64.b64encode(svg.encode()).decode()
    return Html(f'<img alt="{_escape(alt)}" src="data:image/svg+xml;base64,{data}">')


def _badge(passed: bool) -> Html:
    word, sign = _VERDICTS[passed]
    return _tag("span", f"{sign} {word}", class_=f"verdict {word}")


def _word(passed: bool) -> str:
    return _VERDICTS[passed][0]


def _figures(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _text(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _time(text: str | None) -> str:
    return _text(text).replace("T", " ").replace("Z", " UTC")


def _title(job: Json) -> str:
    return f"{job['job']['kind']} {job['job']['namespace']}/{job['job']['name']}"


# -- the parts of the page


def _overview(document: Json) -> Html:
    jobs = document["jobs"]
    passed, total = sum(job["passed"] for job in jobs), len(jobs) + len(document["missing"])
    rows = [
        [
            _badge(job["passed"]),
            _tag("a", job["job"]["name"], href=f"#job-{number}"),
            str(len(job["unmet"])),
            job["state"],
            _seconds(job["duration"]),
            str(len(job["replicas"])),
            *(
                _figures(job["metrics"][name]["final"]) if name in job["metrics"] else "-"
                for name in _metric_names(jobs)
            ),
        ]
        for number, job in enumerate(jobs, 1)
    ]
    names = _metric_names(jobs)
    headings = ["verdict", "job", "unmet", "state", "duration", "replicas", *(f"final {name}" for name in names)]
    classes = ["short", "name", "number", "short", *["number"] * (len(headings) - 4)]
    return _tag(
        "header",
        _tag("h1", f"{passed} of {total} training jobs are as wanted"),
        _tag("p", f"{jobs[0]['job']['kind']}s in namespace {jobs[0]['job']['namespace']}", class_="kind"),
        _tag("p", _badge(document["passed"])),
        _unmet(document["missing"]),
        _table(headings, rows, classes),
    )


def _metric_names(jobs: list[Json]) -> list[str]:
    return list(dict.fromkeys(name for job in jobs for name in job["metrics"]))


def _seconds(duration: float | None) -> str:
    return "-" if duration is None else f"{duration:g} s"


def _job(job: Json, anchor: str, heading: str) -> Html:
    facts = job["job"]
    return _tag(
        "section",
        _tag(heading, facts["name"]),
        _tag("p", f"{facts['kind']} in namespace {facts['namespace']}", class_="kind"),
        _tag("p", _badge(job["passed"])),
        _unmet(job["unmet"]),
        _facts(
            [
                ("State", job["state"]),
                ("Duration", "" if job["duration"] is None else _seconds(job["duration"])),
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
        class_=_word(job["passed"]),
    )


def _unmet(unmet: list[str]) -> Html:
    if not unmet:
        return Html()
    items = (_tag("li", problem) for problem in unmet)
    return _tag("div", _tag("strong", "Not as wanted"), _tag("ul", *items), class_="why")


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
    parts = [_tag("h3", "Diagnosis")]
    condition = diagnosis["condition"]
    if condition and condition["message"]:
        parts.append(_tag("p", f"{_text(condition['reason'])}: {condition['message']}"))
    if diagnosis["cure"]:
        parts.append(_tag("div", _tag("strong", "What to do: "), diagnosis["cure"], class_="cure"))
    for cause in diagnosis["causes"]:
        where = " on ".join(_text(part) for part in (cause["pod"] or "the job", cause["node"]) if part)
        message = f"{_text(cause['reason'])}: {cause['message']}" if cause["message"] else _text(cause["reason"])
        parts.append(_tag("p", _tag("strong", cause["replica"] or "the job"), f" ({where}): {message}"))
        if cause["log"]:
            parts.append(_tag("pre", "\n".join(cause["log"])))
    if diagnosis["events"]:
        rows = (
            [
                _text(event["reason"]),
                ", ".join(map(_text, event["objects"])),
                str(event["count"]),
                _text(event["message"]),
            ]
            for event in diagnosis["events"]
        )
        parts.append(_table(["event", "of", "times", "message"], rows, ["short", "", "number", ""]))
    return _tag("div", *parts)


def _metrics(metrics: Json) -> Html:
    rows = [
        [
            name,
            ", ".join(series["replicas"]),
            str(len(series["values"])),
            *(_figures(series[key]) for key in ("first", "final", "lowest", "highest")),
        ]
        for name, metric in metrics.items()
        for series in metric["series"]
    ]
    svg = charts.metrics_chart(metrics)
    headings = ["metric", "from the log of", "values", "first", "final", "lowest", "highest"]
    return _tag(
        "div",
        _tag("h3", "Metrics"),
        _image(svg, "Curves of " + ", ".join(metrics)) if svg else Html(),
        _table(headings, rows, ["", "", *["number"] * 5]),
    )


def _expectations(expectations: list[Json]) -> Html:
    met = sum(check["met"] for check in expectations)
    rows = (
        [
            _tag("span", "✓ met", class_="met") if check["met"] else _tag("span", "✗ not met", class_="unmet"),
            check["subject"],
            check["wanted"],
            check["seen"],
        ]
        for check in expectations
    )
    title = f"Expectations: {met} of {len(expectations)} met"
    return _tag("div", _tag("h3", title), _table(["", "of", "wanted", "seen"], rows, ["short", "short", "", ""]))


def _replicas(facts: Json, replicas: list[Json]) -> Html:
    rows = (
        [
            row["replica"],
            _text(row["node"]),
            _text(row["phase"]),
            _time(row["started"]),
            _time(row["finished"]),
            _text(row["exit_code"]),
            str(row["restarts"]),
            _text(row["reason"]),
        ]
        for row in replicas
    )
    svg = charts.timeline_chart(facts["created"], replicas)
    headings = ["replica", "node", "pod", "started", "finished", "exit code", "restarts", "reason"]
    classes = ["short", "", "", "short", "short", "number", "number", ""]
    hidden = len(replicas) - charts.MOST_ROWS
    return _tag(
        "div",
        _tag("h3", "Replicas"),
        _image(svg, "When each replica was created, started and finished") if svg else Html(),
        _tag("p", f"The chart shows the first {charts.MOST_ROWS} of {len(replicas)} replicas.")
        if hidden > 0
        else Html(),
        _table(headings, rows, classes),
    )


def _footer(versions: Json) -> Html:
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return _tag("footer", f"Written by mlstack.kubernetes.training_job_verify. Times are UTC. {known}.")
