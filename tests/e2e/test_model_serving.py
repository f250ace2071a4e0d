"""The model that the demo has trained: served, asked, replaced while it is served, and taken away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from PIL import Image

from .conftest import CHECKOUT, HOME, INVENTORY, Run, kubectl, playbook, wait_for

MODEL = "mnist-tensorflow"
VERSIONS = HOME / "local_cluster" / HOME.name / "volumes/training" / MODEL
TAGS = ("playbooks/ai.yaml", "--tags", "tf_serving")


def ask(**options: Any) -> dict[str, Any]:
    """What the module returns for the model."""
    arguments = {"kubeconfig": str(HOME / "local_cluster" / HOME.name / "admin.kubeconfig"), "model": MODEL, **options}
    if "url" not in options:
        arguments.setdefault("service", "tf-serving")
    with NamedTemporaryFile("w", suffix=".json") as file:
        # Not on the command line, which has no room for a hundred pictures.
        json.dump({"asked": arguments}, file)
        file.flush()
        templates = {name: f"{{{{ asked.{name} }}}}" for name in arguments}
        result = subprocess.run(
            [
                Path(sys.executable).with_name("ansible"),
                *("localhost", "-i", INVENTORY, "-m", "mlstack.kubernetes.served_model_predict"),
                *("-e", f"@{file.name}", "-a", json.dumps(templates)),
            ],
            cwd=CHECKOUT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert "=> {" in result.stdout, result.stdout + result.stderr
    answer: dict[str, Any] = json.loads("{" + result.stdout.partition("=> {")[2])
    return {**answer, "failed": "| FAILED! =>" in result.stdout}


def newest() -> int:
    return max(int(path.name) for path in VERSIONS.iterdir() if path.name.isdecimal())


def known_answers() -> dict[str, Any]:
    known: dict[str, Any] = json.loads((VERSIONS / "known_answers.json").read_text())
    return known


def states(answer: dict[str, Any]) -> dict[int, str]:
    return {version["version"]: version["state"] for version in answer["versions"]}


@pytest.fixture(scope="module")
def served(stack: Run) -> Run:
    """Trainings of earlier tests have left versions that the first run did not know."""
    run = playbook(*TAGS)
    assert run.status == 0
    return run


@pytest.fixture
def next_version() -> Any:
    """A directory for a version that is newer than all others. It is gone after the test."""
    path = VERSIONS / str(newest() + 1)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_the_demo_tells_what_is_served(stack: Run) -> None:
    assert f"Served: model {MODEL}, version 1, by rest: 500 known answers" in stack.output
    assert f"Served: model {MODEL}, version 1, by grpc: 500 known answers" in stack.output


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_digits_are_recognised(served: Run, protocol: str, tmp_path: Path) -> None:
    known = known_answers()
    index = known["expected"].index(4)
    few = {key: known[key][index : index + 50] for key in ("instances", "expected")}
    answer = ask(protocol=protocol, output="digits", min_accuracy=0.8, requests=20, **few)
    assert (answer["changed"], answer["version"]) == (False, newest())
    assert answer["accuracy"] >= 0.8
    assert answer["latency"]["requests"] == 20
    assert 0 < answer["latency"]["p50"] <= answer["latency"]["p95"] <= answer["latency"]["p99"]
    # The scores of the classes say the same, and both outputs come where none is chosen.
    both = ask(protocol=protocol, instances=few["instances"])["predictions"]
    assert [row["digits"] for row in both] == answer["predictions"]
    assert [row["probabilities"].index(max(row["probabilities"])) for row in both] == answer["predictions"]

    right = next(
        i for i, (is_, want) in enumerate(zip(answer["predictions"], few["expected"], strict=True)) if is_ == want
    )
    picture = Image.new("L", (28, 28))
    picture.putdata([round(255 * pixel) for row in few["instances"][right] for pixel in row])
    # On paper: black on white, and larger.
    Image.eval(picture.resize((56, 56)), lambda value: 255 - value).save(tmp_path / "digit.png")
    on_paper = {"images": [str(tmp_path / "digit.png")], "image": {"invert": True}, "output": "probabilities"}
    assert ask(protocol=protocol, expected=[few["expected"][right]], **on_paper)["accuracy"] == 1


def test_wrong_answers_are_told(served: Run) -> None:
    known = known_answers()
    wrong = [(digit + 1) % 10 for digit in known["expected"][:10]]
    answer = ask(instances=known["instances"][:10], expected=wrong, output="digits", min_accuracy=0.9)
    assert answer["failed"]
    assert "of 10 answers as expected" in answer["msg"]
    assert len(answer["mistakes"]) >= 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "letters"}, "There is no model 'letters'; the models are: mnist-tensorflow"),
        ({"model": "letters", "protocol": "grpc"}, "There is no model 'letters'; the models are: mnist-tensorflow"),
        ({"label": "blue", "protocol": "grpc"}, "has no label 'blue'"),
        ({"instances": [[[0] * 28] * 27]}, "instances[0]: has the shape [27, 28], and the input 'images'"),
        ({"service": "tf-nothing"}, "the Service default/tf-nothing cannot be used"),
        ({"url": "127.0.0.1:1", "protocol": "grpc"}, "cannot be reached"),
    ],
)
def test_wrong_questions_are_told(served: Run, options: dict[str, Any], message: str) -> None:
    answer = ask(wait_timeout=0, **options)
    assert answer["failed"]
    assert message in answer["msg"]


def test_a_broken_version_leaves_the_old_one_serving(served: Run, next_version: Path) -> None:
    good, broken = newest(), newest() + 1
    next_version.mkdir()
    (next_version / "saved_model.pb").write_bytes(b"half a model")
    wait_for(lambda: states(ask()).get(broken) == "END", 60)
    answer = ask(known_answers=json.dumps(known_answers()), min_accuracy=0.9)
    # Versions of earlier trainings have ended, too.
    now = states(answer)
    assert (answer["version"], now[good], now[broken]) == (good, "AVAILABLE", "END")
    assert [version["error"] for version in answer["versions"] if version["version"] == broken] != [""]
    run = playbook(*TAGS)
    assert run.status != 0
    assert f"version {broken} of the model '{MODEL}' at the Service default/tf-serving cannot be served" in run.output


def test_the_canary_label_switches(served: Run, next_version: Path) -> None:
    stable, canary = newest(), newest() + 1
    shutil.copytree(VERSIONS / str(stable), next_version)
    for labelled in (stable, canary):
        labels = [{"name": "stable", "version": stable}, {"name": "canary", "version": labelled}]
        model = {"name": MODEL, "path": MODEL, "policy": "specific", "specific": [stable, canary], "labels": labels}
        assert playbook(*TAGS, "-e", json.dumps({"tf_serving_models": [model]})).status == 0
        for protocol in ("rest", "grpc"):
            answer = ask(label="canary", protocol=protocol, known_answers=json.dumps(known_answers()), min_accuracy=0.9)
            assert answer["version"] == labelled
        assert ask(label="stable")["version"] == stable


def test_second_run_and_removal(served: Run) -> None:
    # The test before has left another configuration.
    assert playbook(*TAGS).status == 0
    again = playbook(*TAGS)
    assert (again.status, again.changed) == (0, [])
    assert playbook("playbooks/remove.yaml", "--tags", "tf_serving").status == 0
    kinds = "deployments,replicasets,pods,services,configmaps,jobs,ingresses,horizontalpodautoscalers"
    assert "tf-serving" not in kubectl("get", kinds, "-A", "-o", "name")
    assert (VERSIONS / str(newest()) / "saved_model.pb").exists()
    assert playbook(*TAGS, "--check", "--diff").status == 0
    assert "tf-serving" not in kubectl("get", kinds, "-A", "-o", "name")
