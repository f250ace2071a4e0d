from __future__ import annotations

import base64
import html.parser
import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from ansible_collections.mlstack.kubernetes.plugins.module_utils import charts
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pages import VERSION, as_json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.report import document_of, report_html
from ansible_collections.mlstack.kubernetes.plugins.module_utils.verification import verify, wanted_proof
from hypothesis import example, given, settings
from hypothesis import strategies as st

from .builders import ended, event, pod, running, tf_job
from .fake_api import FakeApi
from .test_verification import EVENTS, PODS, metric

VOID = {"meta", "img"}
TEXT = st.text(max_size=30) | st.sampled_from(
    ["<script>alert(1)</script>", '"><img src=x onerror=y>', "&lt;", "$\\frac$"]
)


class Page(html.parser.HTMLParser):
    """What a browser would see; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend((name, value or "") for name, value in attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    @property
    def images(self) -> list[ElementTree.Element]:
        """The images, all of which must be in the page itself."""
        prefix = "data:image/svg+xml;base64,"
        sources = [value for name, value in self.attributes if name == "src"]
        assert all(source.startswith(prefix) for source in sources)
        return [ElementTree.fromstring(base64.b64decode(source.removeprefix(prefix))) for source in sources]


def document(job: str = "mnist", log: list[str] | None = None, condition: str = "Failed", **params: Any) -> Json:
    """What is seen of a job, one of whose workers has run out of memory after a restart."""
    api = FakeApi()
    states = {"chief-0": running(), "ps-0": {}, "worker-0": ended(), "worker-1": ended(137, "OOMKilled")}
    for replica, state in states.items():
        before = ended(1) if replica == "worker-1" else {}
        found = pod(
            f"{job}-{replica}", state, last_state=before, metadata={"creationTimestamp": "2026-01-02T03:04:00Z"}
        )
        api.put(f"{PODS}/{job}-{replica}", found)
        api.logs[f"{job}-{replica}"] = ["loss=2", "loss=1"] if log is None else log
    api.put(f"{EVENTS}/e", event("BackOff", "Back-off restarting", f"pod-{job}-worker-1", f"{job}-worker-1", 3))
    wanted = wanted_proof(TFJOB, {"metrics": [metric(**params)], "evidence": {"worker": ""}})
    return document_of(
        verify(api, TFJOB, [tf_job(name=job, conditions=(condition,))], wanted), [], {"kubernetes": "v1.36.2"}
    )


def test_the_page_tells_all() -> None:
    page = Page(report_html(document(final_below=0.5)))
    assert page.tags.count("h1") == 1
    assert len(page.images) == 2
    for text in (
        "✗ failed",
        "TFJob in namespace default",
        "loss: wanted the final value below 0.5, saw 1.",
        "exit code 137: killed because it used more memory than its limit",
        "What to do: Raise the memory limit",
        "Back-off restarting",
        "registry.example.com/trainer:1",
        "kubernetes v1.36.2",
    ):
        assert text in page.text


def test_the_page_needs_nothing_but_itself() -> None:
    page = Page(report_html(document()))
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    links = [value for name, value in page.attributes if name in ("href", "src", "action")]
    assert [link for link in links if not link.startswith(("data:", "#"))] == []
    assert "url(" not in report_html(document())
    (policy,) = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert "default-src 'none'" in policy


def test_several_jobs_have_one_page() -> None:
    jobs = [document("one")["jobs"][0], {**document("two")["jobs"][0], "passed": True, "unmet": []}]
    whole = {**document(), "jobs": jobs, "missing": ["TFJob default/three is not there."]}
    page = Page(report_html(whole))
    assert "1 of 3 training jobs are as wanted" in page.text
    assert "TFJob default/three is not there." in page.text
    anchors = {value for name, value in page.attributes if name == "id"}
    assert {value for name, value in page.attributes if name == "href"} == {f"#{anchor}" for anchor in anchors}


@settings(max_examples=4, deadline=None)
@example("<script>alert(1)</script>", "$\\frac$ <b>", '"><img src=x onerror=y>')
@given(TEXT, TEXT, TEXT)
def test_what_others_have_written_stays_text(name: str, metric_name: str, line: str) -> None:
    plain = report_html(document())
    strange = document(log=[line, "loss=1 " + line, "loss=2"], name=metric_name or "-")
    strange["jobs"][0]["job"].update(name=name, namespace=name, kind=name, uid=name)
    for row in strange["jobs"][0]["replicas"]:
        row.update(replica=name, node=name, image=name, reason=name, phase=name)
    page = Page(report_html(strange))
    # It has added no tag; that the images can be parsed is asserted by Page.
    assert set(page.tags) <= {*Page(plain).tags, "pre"}
    assert not {attribute for attribute, _value in page.attributes if attribute.startswith("on")}
    assert len(page.images) == 2
    assert report_html(strange).encode()
    assert json.loads(as_json(strange)) == strange


@settings(max_examples=10, deadline=None)
@example([0.0, -sys.float_info.max, sys.float_info.max, 5e-324], "1e308")
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=5), st.text(max_size=5))
def test_any_numbers_can_be_drawn(values: list[float], step: str) -> None:
    log = [f"step={step if number == 1 else number} loss={value!r}" for number, value in enumerate(values)]
    seen = document(log=log, pattern=r"step=(?P<step>.*) loss=(?P<value>\S+)", final_below=1e300)
    assert len(Page(report_html(seen)).images) == 2


def test_equal_documents_give_equal_bytes() -> None:
    first, second = document(), document()
    assert report_html(first) == report_html(second)
    assert as_json(first) == as_json(second)


def test_a_long_series_is_thinned_out_to_its_extremes() -> None:
    values = [float(number % 7) for number in range(100_000)]
    values[54_321], values[77_777] = 99.0, -99.0
    places, kept = charts._thinned([float(number) for number in range(100_000)], values)
    assert len(kept) <= charts.MOST_POINTS + 2
    assert places == sorted(places)
    assert (max(kept), min(kept)) == (99, -99)


def test_a_job_that_nothing_is_known_of_has_no_pictures() -> None:
    seen = document(log=[])
    for row in seen["jobs"][0]["replicas"]:
        row.update(dict.fromkeys(("created", "started", "finished", "previous_started", "previous_finished")))
    assert Page(report_html(seen)).images == []


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json({"value": float("nan")})


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(charts.ChartsMissingError, match=r"matplotlib.*pip install matplotlib"):
        charts.require()


def test_the_version_is_the_collection_s() -> None:
    galaxy = Path(__file__).resolve().parents[3] / "galaxy.yml"
    assert yaml.safe_load(galaxy.read_text())["version"] == VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
