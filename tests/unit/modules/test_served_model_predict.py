"""What the module makes of its options; everything else of it is proved on a model server."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.served_model import ServingError
from ansible_collections.mlstack.kubernetes.plugins.modules.served_model_predict import (
    check,
    judge,
    read_known_answers,
)

KNOWN = {"output": "digits", "instances": [[0.5], [1]], "expected": [3, 7]}
TEXT = json.dumps(KNOWN)


def compressed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


COMPRESSED = compressed(TEXT)


@pytest.mark.parametrize("text", [TEXT, COMPRESSED])
def test_known_answers_are_read(text: str) -> None:
    assert read_known_answers(text, None) == KNOWN
    assert read_known_answers(text, "scores")["output"] == "scores"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "known_answers: is no JSON"),
        ("[]", "known_answers: needs a list `instances` and a list `expected`"),
        (COMPRESSED[: len(COMPRESSED) // 8 * 4], "known_answers: begins as what gzip compresses, and cannot be read"),
        (compressed("{"), "known_answers: is no JSON"),
    ],
)
def test_what_are_no_known_answers_is_told(text: str, message: str) -> None:
    with pytest.raises(ServingError, match=message):
        read_known_answers(text, None)


OPTIONS: dict[str, Any] = {
    "protocol": ["rest", "grpc"],
    "url": None,
    "port": None,
    "instances": [1, 2, 3],
    "images": None,
    "image": None,
    "expected": [1, 2, 3],
    "min_accuracy": 0.9,
    "requests": 1,
    "timeout": 20,
    "wait_timeout": 0,
}


def test_both_protocols_can_be_asked_of_a_service() -> None:
    check(OPTIONS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"protocol": []}, "protocol: is empty; give at least one of rest, grpc"),
        ({"url": "http://serving:8501"}, "url: 'http://serving:8501' is for one protocol"),
        ({"port": "8501"}, "port: '8501' is for one protocol"),
    ],
)
def test_options_that_fit_no_protocols_are_told(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ServingError, match=message):
        check(OPTIONS | changed)


def test_wrong_answers_are_told_with_the_protocol_that_gave_them() -> None:
    result = {"model": "digits", "version": 3, "accuracy": 1.0, "mistakes": []}
    judge(OPTIONS, result, "grpc")
    result |= {"accuracy": 2 / 3, "mistakes": [{"index": 1, "expected": 2, "answer": 7}]}
    with pytest.raises(ServingError, match=r"gave 2 of 3 answers as expected, asked by grpc.*7 instead of 2"):
        judge(OPTIONS, result, "grpc")
