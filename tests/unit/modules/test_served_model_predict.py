"""What the module makes of known answers; everything else of it is proved on a model server."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.served_model import ServingError
from ansible_collections.mlstack.kubernetes.plugins.modules.served_model_predict import read_known_answers

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
