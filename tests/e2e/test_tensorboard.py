"""TensorBoard on the volume of the demo: what it shows, below a path and for any user, and how it is taken away."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from .conftest import HOME, Run, forwarded, kubectl, page_in_browser, playbook, wait_for

RUN = "mnist-tensorflow/logs"
TAGS = ("playbooks/ai.yaml", "--tags", "tensorboard")
KINDS = "deployments,replicasets,pods,services,ingresses"


def ask(path: str, prefix: str = "") -> Any:
    """What TensorBoard answers, through the API server."""
    return json.loads(
        kubectl("get", "--raw", f"/api/v1/namespaces/default/services/tensorboard:6006/proxy{prefix}{path}")
    )


@pytest.fixture(scope="module")
def board(stack: Run) -> Run:
    """Trainings of earlier tests have written to the directory of the first one."""
    run = playbook(*TAGS)
    assert run.status == 0
    return run


def test_the_demo_tells_what_is_shown(stack: Run) -> None:
    assert f"TensorBoard shows: loss of {RUN}, 10 points" in stack.output


def test_the_loss_of_the_newest_training_is_shown(board: Run) -> None:
    assert sorted(ask("/data/plugin/scalars/tags")[RUN]) == ["loss", "test_accuracy"]
    points = ask(f"/data/plugin/scalars/scalars?run={RUN}&tag=loss")
    steps, losses = [point[1] for point in points], [point[2] for point in points]
    assert steps == sorted(set(steps))
    assert len(losses) == 10
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.extended
def test_a_browser_draws_the_loss(board: Run) -> None:
    with forwarded("service/tensorboard", 6006) as address, page_in_browser("tensorboard") as page:
        page.goto(f"{address}/?runFilter={RUN.replace('/', '%2F')}#timeseries")
        card = page.locator("scalar-card").filter(has_text="loss").first
        plot = card.locator("line-chart .series-view")
        plot.wait_for()
        # The colour of the only run's line; it is drawn a moment after the axes.
        wait_for(lambda: pixels_of((66, 80, 102), plot.screenshot()) > 100, 60)
        assert RUN in page.inner_text("body")


def pixels_of(colour: tuple[int, int, int], picture: bytes) -> int:
    """How many are about of that colour."""
    pixels = Image.open(io.BytesIO(picture)).convert("RGB").getdata()
    return sum(all(abs(part - wanted) < 12 for part, wanted in zip(pixel, colour, strict=True)) for pixel in pixels)


def test_any_user_under_the_strictest_rules_below_a_path(board: Run) -> None:
    """As on OpenShift: users have high numbers, and whatever is not restricted is refused."""
    shown = {
        "mlstack_run_as_user": "1000660000",
        "tensorboard_path_prefix": "/board",
        "tensorboard_service_type": "NodePort",
    }
    expose = {"tensorboard_node_port": 30606, "tensorboard_ingress": {"host": "ml.example.com", "class": "none"}}
    kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted")
    try:
        assert playbook(*TAGS, "-e", json.dumps(shown | expose)).status == 0
    finally:
        kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce-")
    assert RUN in ask("/data/runs", "/board")
    [port] = json.loads(kubectl("get", "service/tensorboard", "-o", "json"))["spec"]["ports"]
    assert port["nodePort"] == 30606
    [rule] = json.loads(kubectl("get", "ingress/tensorboard", "-o", "json"))["spec"]["rules"]
    assert (rule["host"], rule["http"]["paths"][0]["path"]) == ("ml.example.com", "/board")
    assert kubectl("exec", "deployment/tensorboard", "--", "id", "-u").strip() == "1000660000"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"tensorboard_claim": "nothing"}, "there is no claim 'nothing' in the namespace default"),
        (
            {"tensorboard_scalars": [{"run": RUN, "tag": "loss", "rises": True}], "tensorboard_wait_timeout": 5},
            "the scalar 'loss' of the run 'mnist-tensorflow/logs': wanted it to rise",
        ),
        (
            {
                "tensorboard_supply": "upstream",
                "tensorboard_image": "127.0.0.1:9/nothing:1",
                "tensorboard_wait_timeout": 15,
            },
            "TensorBoard is not available",
        ),
    ],
)
def test_what_is_wrong_is_told(board: Run, variables: dict[str, Any], message: str) -> None:
    run = playbook(*TAGS, "-e", json.dumps(variables))
    assert run.status != 0
    assert message in run.output


def test_second_run_proof_and_removal(board: Run) -> None:
    # The tests before have left another configuration.
    assert playbook(*TAGS).status == 0
    assert "ingress" not in kubectl("get", "ingresses", "-o", "name")
    again = playbook(*TAGS)
    assert (again.status, again.changed) == (0, [])
    proof = playbook("playbooks/verify.yaml", "--tags", "tensorboard")
    assert (proof.status, proof.changed) == (0, [])

    assert playbook("playbooks/ai.yaml", "-e", "state=absent", "--tags", "tensorboard").status == 0
    assert "tensorboard" not in kubectl("get", KINDS, "-A", "-o", "name")
    assert list((HOME / "local_cluster" / HOME.name / "volumes/training" / RUN).glob("*tfevents*"))
    broken = playbook("playbooks/verify.yaml", "--tags", "tensorboard")
    assert broken.status != 0
    assert "TensorBoard is not available" in broken.output
    assert playbook(*TAGS, "--check", "--diff").status == 0
    assert "tensorboard" not in kubectl("get", KINDS, "-A", "-o", "name")
    # As the first run has left it.
    assert playbook(*TAGS).status == 0
