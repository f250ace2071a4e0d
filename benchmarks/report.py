# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""docs/benchmarks.md and its plot, from the results alone: nothing in it is written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .tools import PING, TFJOB, TOOLS

Results = Mapping[str, Mapping[str, Any]]
WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE")
NOTHING = "-"
# As all tables have them.
NAMES = dict.fromkeys([PING, *(tool.name for tool in TOOLS)])

INTRODUCTION = """\
# Benchmarks

The job modules beside other ways to submit and to follow training jobs, on one machine, against a
real API server and training operator. Nodes are simulated. Written by `make bench`; [how it is
measured](../benchmarks/README.md).
"""


def write(results: Results, path: Path) -> None:
    image = path.parent / "images" / f"{path.stem}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(results, f"{image.parent.name}/{image.name}"), encoding="utf-8")
    if results.get("submit"):
        draw(results, image)


def text(results: Results, image: str) -> str:
    parts: list[tuple[str, str, Callable[[Results], str]]] = [
        ("machine", "## With what", _machine),
        ("submit", "## Goals", goals),
        ("submit", "## Submitting", lambda found: f"{_submit(found)}\n![Seconds by number of jobs]({image})\n"),
        ("submit", "## The same once more, with nothing to change", _again),
        ("notice", "## From the job's end to the tool's answer", _notice),
        ("memory", "## Peak memory", _memory),
        ("follow", "## Memory while jobs are followed", _follow),
        ("machine", "## The commands", _commands),
    ]
    return "\n".join(
        [INTRODUCTION, *(f"{title}\n\n{part(results)}" for needed, title, part in parts if results.get(needed))]
    )


# -- reading the results


def cells(measurement: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """Cases are named `tool | part`."""
    split = {key: key.split(" | ") for key in measurement}
    return {(name[0], name[1]): measurement[key] for key, name in split.items() if len(name) == 2}


def middle(runs: Iterable[Mapping[str, Any]], key: str) -> float | None:
    values = [run[key] for run in runs if run.get(key) is not None]
    return median(values) if values else None


def seconds_of(results: Results, tool: str, count: int, key: str = "first") -> float | None:
    return middle(cells(results["submit"]).get((tool, str(count)), []), key)


def start_of(results: Results, count: int) -> float:
    """Of Ansible itself, beside the runs of that size."""
    return float(median(cells(results["start"])[PING, str(count)]))


def _names(found: Mapping[tuple[str, str], Any]) -> list[str]:
    names = {name for name, _part in found}
    return [name for name in NAMES if name in names]


def _counts(found: Mapping[tuple[str, str], Any]) -> list[int]:
    return sorted({int(part) for _name, part in found})


# -- writing


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(heads), ["---"] + ["---:"] * (len(heads) - 1), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _machine(results: Results) -> str:
    return table(["", ""], results["machine"]["facts"].items())


def _submit(results: Results) -> str:
    found = cells(results["submit"])
    counts = _counts(found)
    rows = [
        [name, *(number(middle(found.get((name, str(count)), []), "first")) for count in counts)]
        for name in _names(found)
    ]
    rows.insert(0, [PING, *(number(start_of(results, count)) for count in counts)])
    return (
        f"Seconds of the whole process for N new, suspended TFJobs in a fresh namespace; {_runs(found)}. With Ansible "
        "its own start is contained, which is the time of a playbook with one ping.\n\n"
        + table(["N", *map(str, counts)], rows)
        + "\n"
        + _losses(results, counts)
    )


def _runs(found: Mapping[tuple[str, str], Any]) -> str:
    runs = {count: max(len(found[key]) for key in found if int(key[1]) == count) for count in _counts(found)}
    return "medians, of runs " + ", ".join(f"{many} (N = {count})" for count, many in runs.items())


def _losses(results: Results, counts: Iterable[int]) -> str:
    """Who was faster than the module."""
    told = []
    for count in counts:
        own = seconds_of(results, TFJOB, count)
        faster = [
            f"{name} ({own / other:.1f} times)"
            for name in _names(cells(results["submit"]))
            if own and "tfjob" not in name and (other := seconds_of(results, name, count)) and other < own
        ]
        if own:
            told.append(f"- N = {count}: {', '.join(faster) or 'nobody'}")
    return "Faster than `tfjob` with `src`:\n\n" + "\n".join(told) + "\n"


def _again(results: Results) -> str:
    found = {key: runs for key, runs in cells(results["submit"]).items() if "second" in runs[0]}
    rows = []
    for (name, count), runs in sorted(found.items(), key=lambda entry: int(entry[0][1])):
        last = runs[-1]
        told = ", ".join(f"{amount} {verb}" for verb, amount in last["requests"].items()) or "none"
        rows.append(
            [
                f"{name}, N = {count}",
                number(middle(runs, "first")),
                number(middle(runs, "second")),
                told,
                str(last["dry_runs"]),
                str(last["all_requests"]),
            ]
        )
    heads = ["", "first run, s", "second run, s", "requests for TFJobs", "dry runs of pods", "all requests"]
    return (
        "Requests of the second run are counted by the API server itself (`apiserver_request_total`). All requests "
        f"contain {number(results['start']['idle'], 1)} a second that the cluster makes of itself.\n\n"
        + table(heads, rows)
    )


def _notice(results: Results) -> str:
    found = cells(results["notice"])
    rows = [
        [name, *(_noticed(found.get((name, state), []), key) for state in ("Succeeded", "Failed") for key in KEYS)]
        for name in _names(found)
    ]
    heads = ["s", "Succeeded: answer", "process gone", "Failed: answer", "process gone"]
    return (
        "Seconds from the moment at which a watch shows the job's terminal condition. The answer is the end of the "
        "task or the return of the call; a tool that does not tell it answers with the end of its process. Medians; "
        "tools that poll do so at their own default interval, and jobs end at different moments of it.\n\n"
        + table(heads, rows)
    )


KEYS = ("answer", "exit")


def _noticed(runs: Sequence[Mapping[str, Any]], key: str) -> str:
    if not runs:
        return NOTHING
    value = middle(runs, key)
    return "never" if value is None else number(value)


def _memory(results: Results) -> str:
    found = cells(results["memory"])
    counts = _counts(found)
    rows = [[name, *(_mebibytes(found.get((name, str(count)))) for count in counts)] for name in _names(found)]
    return "MiB of the whole tree of processes (proportional set size) while N jobs are submitted.\n\n" + table(
        ["N", *map(str, counts)], rows
    )


def _follow(results: Results) -> str:
    rows = [
        [count, *map(_mebibytes, record["looks"]), _mebibytes(record["peak"])]
        for count, record in results["follow"].items()
    ]
    return "MiB of `ansible-playbook` with `tfjob` that waits for N running jobs, in a minute.\n\n" + table(
        ["N", "at its begin", "15 s", "30 s", "45 s", "60 s", "peak"], rows
    )


def _commands(results: Results) -> str:
    told = [f"{name}:\n\n```text\n{command}\n```\n" for name, command in results["machine"]["commands"].items()]
    return "For one job. N jobs are N documents, lines or entries, with `--seed` from 0 to N - 1.\n\n" + "\n".join(told)


def _mebibytes(kibibytes: int | None) -> str:
    return NOTHING if kibibytes is None else f"{kibibytes / 1024:.0f}"


# -- the goals


def goals(results: Results) -> str:
    rows = [row for goal in (_near_the_floor, _at_rest, _at_once, _beside_k8s) for row in goal(results)]
    return table(["", "goal", "measured", ""], [[*row[:3], "met" if row[3] else "**missed**"] for row in rows])


Goal = tuple[str, str, str, bool]


def _near_the_floor(results: Results) -> Iterable[Goal]:
    own, floor = seconds_of(results, TFJOB, 500), seconds_of(results, "raw client", 500)
    if own and floor:
        ratio = own / (floor + start_of(results, 500))
        yield "500 jobs by `src`, to raw client and Ansible's start", "≤ 1.3", number(ratio), ratio <= 1.3


def _at_rest(results: Results) -> Iterable[Goal]:
    found = cells(results["submit"])
    runs = {int(count): found[name, count] for name, count in found if name == TFJOB}
    if 500 not in runs:
        return
    requests = runs[500][-1]["requests"]
    writes = sum(requests.get(verb, 0) for verb in WRITES)
    reads = {count: sum(one[-1]["requests"].values()) for count, one in runs.items()}
    yield "Writes of an unchanged second run of 500", "0", str(writes), not writes
    told = ", ".join(f"{amount} (N = {count})" for count, amount in sorted(reads.items()))
    yield "Its requests, whatever N", "the same few", told, max(reads.values()) <= 4
    first, second = seconds_of(results, TFJOB, 500), seconds_of(results, TFJOB, 500, "second")
    if first and second:
        yield "Its seconds to those of the first", "< 1", number(second / first), second < first


def _at_once(results: Results) -> Iterable[Goal]:
    found = cells(results.get("notice", {}))
    for state in ("Succeeded", "Failed"):
        seconds = middle(found.get(("tfjob", state), []), "answer")
        if seconds is not None:
            yield f"{state} to the answer, s", "≤ 0.2", number(seconds), seconds <= 0.2


def _beside_k8s(results: Results) -> Iterable[Goal]:
    for peer, count, factor in (("k8s (loop)", 20, 10), ("k8s (list)", 500, 5)):
        own, other = seconds_of(results, TFJOB, count), seconds_of(results, peer, count)
        if own and other:
            times = other / own
            yield f"{count} jobs: times as fast as {peer}", f"≥ {factor}", number(times, 1), times >= factor


# -- the plot


def draw(results: Results, path: Path) -> None:
    """The same bytes for the same results."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "mlstack", "svg.fonttype": "path", "font.size": 9})
    from matplotlib import pyplot

    found = cells(results["submit"])
    counts = _counts(found)
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name in _names(found):
        points = [(count, seconds) for count in counts if (seconds := seconds_of(results, name, count))]
        style = {"linewidth": 2.5, "color": "black"} if name == TFJOB else {"linewidth": 1}
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name, **style)
    axes.plot(counts, [start_of(results, count) for count in counts], color="grey", linestyle=":", label=PING)
    axes.set(xscale="log", yscale="log", xlabel="jobs", ylabel="seconds", title="Submitting new jobs")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(figure)
