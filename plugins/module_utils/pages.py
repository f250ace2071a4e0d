# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Pages for people that need nothing but themselves, and the same for programs; equal input gives equal bytes."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Callable, Iterable

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.whole_files import read, write

# As in galaxy.yml, which does not travel with a module.
VERSION = "0.1.0"
FILE_MODE = 0o644
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


class UnwritableError(Exception):
    """There is no place for a report."""


def save_report(directory: str, document: Json, draw: Callable[[Json], str], dry_run: bool) -> Json:
    """Writes a report's two files where they are not as they should be, and returns what a module tells of it.

    `draw` makes the page of the document. Where the files are there and belong to each other, it is not called.
    """
    text = as_json(document)
    paths = {key: os.path.join(directory, f"report.{key}") for key in ("json", "html")}
    try:
        stale = read(paths["json"]) != (text, FILE_MODE) or not _is_page_of(text, *read(paths["html"]))
        if stale and not dry_run:
            html_page = draw(document)
            write(paths["json"], text, FILE_MODE)
            write(paths["html"], html_page + _seal(text, html_page), FILE_MODE)
    except OSError as error:
        raise UnwritableError(
            f"cannot be written to {directory!r}: {error}. Name a directory that the user of this task may write to."
        ) from error
    return {"changed": stale, "report": {"directory": directory, **paths}}


def _is_page_of(text: str, html_page: str | None, mode: int | None) -> bool:
    body, _, seal = (html_page or "").removesuffix("\n").rpartition("\n")
    return mode == FILE_MODE and f"{seal}\n" == _seal(text, f"{body}\n")


def _seal(text: str, html_page: str) -> str:
    """The page's last line: what says that it is a whole page, as it was drawn, of the document with this `text`."""
    digest = hashlib.sha256(f"{text}\0{html_page}".encode(errors="surrogateescape")).hexdigest()
    return f"<!-- sha256 of report.json and of what stands above: {digest} -->\n"


def as_json(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def page(title: str, body: Iterable[str], module: str, versions: Json) -> str:
    """The page that `module` has made, with its title and the versions of what it was made with."""
    head = tag(
        "head",
        Html('<meta charset="utf-8">'),
        # Nothing is fetched and nothing is run, whatever a log may say.
        Html(
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        ),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        tag("style", Html(_CSS)),
    )
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    footer = tag("footer", f"Written by mlstack.kubernetes.{module}. Times are UTC. {known}.")
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *body, footer), lang='en')}\n"


# -- HTML: a text is escaped unless it is Html already


class Html(str):
    """Text that is HTML."""


def tag(name: str, *content: str, **attributes: str) -> Html:
    given = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items() if value)
    return Html(f"<{name}{given}>{''.join(map(escape, content))}</{name}>")


def escape(text: str) -> str:
    if isinstance(text, Html):
        return text
    # Letters that HTML does not allow, and halves of letters, which cannot be written at all.
    allowed = "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)
    return html.escape(allowed)


def table(headings: list[str], rows: Iterable[list[str]], classes: list[str] | None = None) -> Html:
    """`classes` are those of the columns."""
    classes = classes or [""] * len(headings)
    head = tag("tr", *(tag("th", text, class_=name) for text, name in zip(headings, classes, strict=True)))
    body = (tag("tr", *(tag("td", text, class_=name) for text, name in zip(row, classes, strict=True))) for row in rows)
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide")


def fact_list(pairs: Iterable[tuple[str, str]]) -> Html:
    return tag("dl", *(item for name, value in pairs if value for item in (tag("dt", name), tag("dd", value))))


def image(svg: str, alt: str) -> Html:
    # As an image, unlike inline, its text cannot become part of the page.
    data = base64.b64encode(svg.encode()).decode()
    return Html(f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}">')


def badge(passed: bool) -> Html:
    word, sign = _VERDICTS[passed]
    return tag("span", f"{sign} {word}", class_=f"verdict {word}")


def word(passed: bool) -> str:
    return _VERDICTS[passed][0]


def figures(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def text(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def seconds(duration: float | None) -> str:
    return "-" if duration is None else f"{duration:g} s"
