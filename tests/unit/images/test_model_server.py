"""The model server without TensorFlow: which versions it keeps, and how JSON becomes arrays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[3] / "images/model-server"))

from model_server.config import ModelConfig, Policy
from model_server.errors import NotFoundError, RequestError
from model_server.tensors import answer_of, arrays_of
from model_server.versions import Model, Models


def load(directory: Path) -> str:
    """A model that is a line of text, and broken when there is none."""
    return (directory / "saved_model.pb").read_text().splitlines()[0]


def put(base: Path, version: int, content: str = "good") -> None:
    unfinished = base / f"{version}.tmp"
    unfinished.mkdir()
    (unfinished / "saved_model.pb").write_text(content)
    unfinished.rename(base / str(version))


def model(base: Path, policy: Policy = Policy(), **labels: int) -> Model:  # noqa: B008 - it is frozen
    return Model(ModelConfig("digits", base, policy, labels), load)


def states(served: Model) -> dict[int, str]:
    return {version.number: version.state.name for version in served.versions()}


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (Policy(), {10}),
        (Policy(latest=2), {9, 10}),
        (Policy(latest=None), {1, 9, 10}),
        (Policy(specific=(1, 7)), {1}),
    ],
)
def test_policies(policy: Policy, wanted: set[int]) -> None:
    assert policy.wanted([1, 9, 10]) == wanted


def test_a_new_version_replaces_the_old_one(tmp_path: Path) -> None:
    put(tmp_path, 1)
    (tmp_path / "logs").mkdir()
    (tmp_path / "2.tmp").mkdir()
    served = model(tmp_path)
    served.refresh()
    assert served.servable() == (1, "good")
    put(tmp_path, 3, "better")
    served.refresh()
    assert served.servable() == (3, "better")
    assert states(served) == {3: "AVAILABLE", 1: "END"}


def test_the_new_version_is_loaded_before_the_old_one_goes(tmp_path: Path) -> None:
    put(tmp_path, 1)
    seen = []

    def watched(directory: Path) -> str:
        seen.append(states(served))
        return load(directory)

    served = Model(ModelConfig("digits", tmp_path), watched)
    served.refresh()
    put(tmp_path, 2)
    served.refresh()
    assert seen == [{1: "LOADING"}, {2: "LOADING", 1: "AVAILABLE"}]


def test_a_broken_version_leaves_the_old_one_serving_until_it_is_mended(tmp_path: Path) -> None:
    put(tmp_path, 1)
    served = model(tmp_path)
    served.refresh()
    put(tmp_path, 2, "")
    served.refresh()
    served.refresh()
    assert states(served) == {2: "END", 1: "AVAILABLE"}
    assert "list index out of range" in served.statuses(2)[0].error
    assert served.servable() == (1, "good")
    (tmp_path / "2/saved_model.pb").write_text("mended")
    served.refresh()
    assert served.servable() == (2, "mended")
    assert states(served) == {2: "AVAILABLE", 1: "END"}


def test_a_version_that_is_gone_makes_room_for_the_one_before(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    served = model(tmp_path)
    served.refresh()
    assert states(served) == {2: "AVAILABLE"}
    (tmp_path / "2").rename(tmp_path / "taken-away")
    served.refresh()
    assert served.servable() == (1, "good")
    (tmp_path / "1").rename(tmp_path / "taken-away-too")
    served.refresh()
    assert states(served) == {2: "END", 1: "END"}


def test_a_broken_version_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2, "")
    served = model(tmp_path)
    served.refresh()
    (tmp_path / "2").rename(tmp_path / "taken-away")
    served.refresh()
    assert states(served) == {1: "AVAILABLE"}


def test_labels_lead_to_versions(tmp_path: Path) -> None:
    put(tmp_path, 1, "old")
    put(tmp_path, 2, "new")
    served = model(tmp_path, Policy(specific=(1, 2)), stable=1, canary=2, missing=3)
    served.refresh()
    assert [served.servable(label=label) for label in ("stable", "canary")] == [(1, "old"), (2, "new")]
    with pytest.raises(NotFoundError, match=r"has no label 'blue'; its labels are: canary, missing, stable"):
        served.servable(label="blue")
    with pytest.raises(NotFoundError, match="has no version 3"):
        served.servable(label="missing")


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    served = Models([ModelConfig("digits", tmp_path / "none")], load, 1)
    with pytest.raises(NotFoundError, match="There is no model 'letters'; the models are: digits"):
        served["letters"]
    served["digits"].refresh()
    with pytest.raises(NotFoundError, match="has no version in"):
        served["digits"].servable()


FLOAT, TEXT = np.dtype(np.float32), np.dtype(object)


@pytest.mark.parametrize(
    ("body", "expected", "row"),
    [
        ({"instances": [[1, 2], [3, 4]]}, [[1, 2], [3, 4]], True),
        ({"instances": [{"x": 1}, {"x": 2.5}]}, [1, 2.5], True),
        ({"inputs": [[1, 2]]}, [[1, 2]], False),
        ({"inputs": {"x": [7]}}, [7], False),
    ],
)
def test_both_formats_become_arrays(body: dict[str, Any], expected: list[Any], row: bool) -> None:
    arrays, is_row = arrays_of(body, {"x": FLOAT})
    assert (arrays["x"].tolist(), arrays["x"].dtype, is_row) == (expected, FLOAT, row)


def test_bytes_are_decoded() -> None:
    arrays, _row = arrays_of({"instances": [{"b64": "aGk="}, "ho"]}, {"x": TEXT})
    assert arrays["x"].tolist() == [b"hi", b"ho"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "no JSON object"),
        ({}, "exactly one of"),
        ({"instances": [], "inputs": []}, "exactly one of"),
        ({"instances": []}, "an empty one"),
        ({"instances": [[1], [1, 2]]}, "input 'x'"),
        ({"instances": ["a"]}, "does not fit float32"),
        ({"instances": [{"y": 1}]}, "the inputs are x, and the request gives y"),
        ({"instances": [{"x": 1}, {"y": 1}]}, r"instances\[1\] has other inputs"),
        ({"inputs": {"x": {"b64": "?"}}}, "input 'x'"),
    ],
)
def test_wrong_requests_are_told(body: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        arrays_of(body, {"x": FLOAT})


def test_values_without_a_name_need_one_input() -> None:
    with pytest.raises(RequestError, match="this one has x, y"):
        arrays_of({"instances": [1]}, {"x": FLOAT, "y": FLOAT})


def test_answers() -> None:
    digits, scores = np.array([1, 2]), np.array([[0.5], [0.25]])
    assert answer_of({"digits": digits}, row=True) == {"predictions": [1, 2]}
    assert answer_of({"digits": digits}, row=False) == {"outputs": [1, 2]}
    assert answer_of({"d": digits, "s": scores}, row=True) == {
        "predictions": [{"d": 1, "s": [0.5]}, {"d": 2, "s": [0.25]}]
    }
    assert answer_of({"d": digits, "s": scores}, row=False) == {"outputs": {"d": [1, 2], "s": [[0.5], [0.25]]}}
    texts = np.array([b"hi"], dtype=object)
    assert answer_of({"a": texts, "b_bytes": texts}, row=True) == {
        "predictions": [{"a": "hi", "b_bytes": {"b64": "aGk="}}]
    }
    with pytest.raises(RequestError, match="no common first dimension"):
        answer_of({"d": digits, "s": np.array(1)}, row=True)
