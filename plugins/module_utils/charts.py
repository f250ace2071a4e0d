# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The pictures of a report, as SVG: the same input gives the same bytes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_status import parse_time
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which most kinds of colour blindness tell apart, the darkest first.
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, GREY = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#a6548a",
    "#56b4e9",
    "#e69f00",
    "#767676",
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER)
STYLES = ("-", "--", "-.", ":")
WIDTH = 9.2
# More than a screen can show; a longer series is thinned out to its extremes.
MOST_POINTS = 1000
# More lines or rows than that nobody can read.
MOST_SERIES = 12
MOST_ROWS = 60
MOST_TICKS = 8

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "mlstack",
    "svg.fonttype": "path",
    # A name with a dollar sign is no formula.
    "text.parse_math": False,
    "font.size": 9,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": "#333333",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "legend.edgecolor": "white",
    "legend.framealpha": 0.85,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
}


class ChartsMissingError(Exception):
    """There is nothing to draw with."""


def require() -> str:
    """The version of the drawing library; ChartsMissingError where there is none."""
    # Not imported: that takes a quarter of a second, and a report that is there already is not drawn.
    try:
        if importlib.util.find_spec("matplotlib"):
            return importlib.metadata.version("matplotlib")
    except importlib.metadata.PackageNotFoundError:
        pass
    raise _missing("it is not installed")


def _missing(reason: object) -> ChartsMissingError:
    return ChartsMissingError(
        f"reports are drawn by the Python package matplotlib, which {sys.executable} does not have: {reason}. "
        "Install it (`pip install matplotlib`) on the host where this module runs, or do without the report."
    )


def metrics_chart(metrics: Mapping[str, Json]) -> str:
    """A panel for each metric, with its series and the bounds that were wanted; empty where nothing has a course."""
    shown = {
        name: metric
        for name, metric in metrics.items()
        if any(len(series["values"]) > 1 for series in metric["series"])
    }
    if not shown:
        return ""
    with _figure(2.7 * math.ceil(len(shown) / 2)) as figure:
        for panel, (name, metric) in zip(_panels(figure, len(shown)), shown.items(), strict=True):
            _draw_metric(panel, name, metric)
        return _svg(figure)


def _draw_metric(panel: Axes, name: str, metric: Json) -> None:
    several = [series for series in metric["series"] if series["values"]]
    unit = _common_unit(several)
    for number, series in enumerate(several[:MOST_SERIES]):
        values = series["values"]
        places = _numbers(series[unit]) if unit else [float(number) for number in range(1, len(values) + 1)]
        places, values = _thinned(places, values)
        panel.plot(
            [_drawable(place) for place in places],
            [_drawable(value) for value in values],
            color=COLOURS[number % len(COLOURS)],
            linestyle=STYLES[number // len(COLOURS) % len(STYLES)],
            marker="o" if len(values) <= 30 else "",
            markersize=3.5,
            label=_clean(", ".join(series["replicas"])),
        )
    for key, bound in metric["bounds"].items():
        panel.axhline(
            _drawable(bound),
            color=GREY,
            linestyle=(0, (4, 3)),
            linewidth=1.1,
            label=key.replace("_", " ") + f" {bound:g}",
        )
    panel.set_title(_clean(name))
    panel.set_xlabel(unit.rstrip("s") if unit else "number of the value")
    panel.set_ylabel(_clean(name))
    panel.locator_params(axis="x", integer=True)
    panel.margins(y=0.12)
    if len(several) > 1 or metric["bounds"]:
        panel.legend()


def _common_unit(several: list[Json]) -> str:
    """`steps` or `epochs`, where they are numbers that rise in every series."""
    for unit in ("steps", "epochs"):
        if all(_rise(_numbers(series.get(unit) or [])) for series in several):
            return unit
    return ""


def _rise(places: list[float]) -> bool:
    return bool(places) and all(math.isfinite(place) for place in places) and places == sorted(set(places))


def _numbers(labels: list[str | None]) -> list[float]:
    try:
        return [float(label or "nan") for label in labels]
    except ValueError:
        return []


def _drawable(number: float) -> float:
    """The number, or one that an axis can still reach: near the largest ones its arithmetic overflows."""
    return 0.0 if abs(number) < 1e-100 else max(-1e100, min(1e100, number))


def _thinned(places: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """At most MOST_POINTS points, the lowest and the highest of each stretch among them."""
    if len(values) <= MOST_POINTS:
        return places, values
    size = math.ceil(2 * len(values) / MOST_POINTS)
    kept: set[int] = {0, len(values) - 1}
    for begin in range(0, len(values), size):
        stretch = range(begin, min(begin + size, len(values)))
        kept |= {min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)}
    return [places[number] for number in sorted(kept)], [values[number] for number in sorted(kept)]


def timeline_chart(created: str | None, replicas: list[Json]) -> str:
    """A bar for each replica, from the making of its pod to its end; empty where no time is known."""
    keys = ("created", "previous_started", "previous_finished", "started", "finished")
    rows = [{key: parse_time(row.get(key)) for key in keys} for row in replicas[:MOST_ROWS]]
    times = [time for row in rows for time in row.values() if time is not None]
    if not times:
        return ""
    begin = min([parse_time(created) or math.inf, *times])
    end = max(times)
    with _figure(0.9 + 0.3 * len(rows)) as figure:
        panel = figure.subplots()
        for place, (row, times_of) in enumerate(zip(replicas, rows, strict=False)):
            _draw_replica(panel, place, row, times_of, begin, end)
        panel.set_yticks(range(len(rows)), [_clean(row["replica"]) for row in replicas[:MOST_ROWS]])
        panel.set_ylim(len(rows) - 0.4, -0.6)
        panel.set_xlim(0, max(1.0, (end - begin) * 1.04))
        panel.set_xlabel("seconds since the job was created")
        panel.grid(visible=False, axis="y")
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        handles, labels = panel.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(unique.values(), unique.keys(), loc="outside upper left", ncols=len(unique))
        return _svg(figure)


def _draw_replica(
    panel: Axes, place: int, row: Json, times: Mapping[str, float | None], begin: float, end: float
) -> None:
    def bar(since: float | None, until: float | None, label: str, **look: Any) -> None:
        if since is not None and until is not None:
            # What took less than the second that times are given in is still to be seen.
            length = max(until - since, (end - begin) / 200, 0.05)
            panel.barh(place, length, left=since - begin, height=0.55, label=label, **look)

    first = times["previous_started"] or times["started"]
    bar(times["created"], first or end, "waited", color="#d9d9d9")
    bar(
        times["previous_started"],
        times["previous_finished"],
        "before a restart",
        color=AMBER,
        hatch="\\\\",
        edgecolor="white",
    )
    if times["started"] is not None and times["finished"] is None:
        bar(times["started"], end, "still running", color=SKY)
    elif row["exit_code"]:
        bar(times["started"], times["finished"], "failed", color=ORANGE, hatch="///", edgecolor="white")
    else:
        bar(times["started"], times["finished"], "ran, exit code 0", color=BLUE)


def sweep_chart(title: str, parameters: Mapping[str, list[str]], values: list[float | None], sign: int) -> str:
    """A panel for each parameter that varies: the value of each run over it, the best first; `sign` is that of a gain.

    Empty where nothing varies or no run has a value.
    """
    known = [number for number, value in enumerate(values) if value is not None]
    shown = {
        name: [texts[number] for number in known]
        for name, texts in parameters.items()
        if len({texts[number] for number in known}) > 1
    }
    if not shown:
        return ""
    heights = [_drawable(value) for value in values if value is not None]
    with _figure(2.7 * math.ceil(len(shown) / 2)) as figure:
        for panel, (name, texts) in zip(_panels(figure, len(shown)), shown.items(), strict=True):
            _draw_parameter(panel, name, texts, heights, sign)
            panel.set_ylabel(_clean(title))
        return _svg(figure)


def _draw_parameter(panel: Axes, name: str, texts: list[str], heights: list[float], sign: int) -> None:
    """`heights` has the best first."""
    places = _numbers(list(texts))
    if places and all(map(math.isfinite, places)):
        places = [_drawable(place) for place in places]
        # Such as learning rates, which differ by factors.
        if min(places) > 0 and max(places) >= 30 * min(places):
            panel.set_xscale("log")
        ticks = dict(sorted(zip(places, texts, strict=True)))
        if len(ticks) <= MOST_TICKS:
            panel.minorticks_off()
            panel.set_xticks(list(ticks), [_clean(text, 16) for text in ticks.values()])
    else:
        names = sorted(set(texts))
        places = [float(names.index(text)) for text in texts]
        panel.set_xticks(range(len(names)), [_clean(text, 16) for text in names])
        panel.set_xlim(-0.5, len(names) - 0.5)
    reached: dict[float, float] = {}
    for place, height in zip(places, heights, strict=True):
        reached[place] = max(reached.get(place, height), height, key=lambda one: sign * one)
    panel.plot(*zip(*sorted(reached.items()), strict=True), color=SKY, label="best at this value")
    panel.scatter(places, heights, color=BLUE, s=22, zorder=3, label="run")
    panel.scatter(places[:1], heights[:1], color=ORANGE, marker="D", s=48, zorder=4, label="best run")
    panel.set_title(_clean(name))
    panel.set_xlabel(_clean(name))
    panel.margins(y=0.12)
    panel.legend()


def _panels(figure: Figure, count: int) -> list[Axes]:
    """So many panels, two in a row."""
    columns = 1 if count == 1 else 2
    panels = [panel for row in figure.subplots(math.ceil(count / columns), columns, squeeze=False) for panel in row]
    for panel in panels[count:]:
        panel.remove()
    return panels[:count]


@contextmanager
def _figure(height: float) -> Iterator[Figure]:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing(error) from error

    with matplotlib.rc_context(), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield Figure(figsize=(WIDTH, height), layout="constrained")


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    # No date, and no version that would change all reports.
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _clean(text: str, longest: int = 60) -> str:
    """A label that can be drawn, on one line."""
    printable = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return printable if len(printable) <= longest else printable[: longest - 1] + "…"
