"""Wrong input: a clear error within 30 seconds, counted from the start of ansible-playbook, and nothing left."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from .jobs import KINDS, Kind

SECONDS = 30
ANYWHERE: dict[str, Any] = {"node_selector": {}, "tolerations": []}
TF = KINDS[0]


@pytest.fixture
def clean(namespace: str, core: Any, custom: Any) -> Iterator[None]:
    yield
    for kind in KINDS:
        assert custom.list_namespaced_custom_object(*kind.api, namespace, kind.plural)["items"] == []
    assert [
        pod.metadata.name for pod in core.list_namespaced_pod(namespace).items if not pod.metadata.deletion_timestamp
    ] == []


def failure(playbook: Any) -> str:
    (task,) = playbook.finish(SECONDS + 30)
    assert task.failed
    assert not task["changed"]
    assert "Traceback" not in task["msg"]
    assert playbook.seconds < SECONDS
    return str(task["msg"])


WRONG = [
    ("Bad_Name", {}, ["name: 'Bad_Name' is not a DNS label", "use lower-case letters"]),
    ("no-image", {"image": None}, [".image: is missing", "name the image"]),
    ("odd-image", {"image": "Trainer:1"}, ["'Trainer:1' is not an image name"]),
    (
        "no-image-there",
        {"image": "127.0.0.1:9/none/none:none", **ANYWHERE},
        ["image", "What to do: Check the image's name"],
    ),
    (
        "too-large",
        {"resources": {"requests": {"cpu": "100"}}, **ANYWHERE},
        ["cannot hold the job", "too little cpu", "Lower the requests"],
    ),
    (
        "no-claim",
        {"volumes": [{"name": "work", "claim": "none-such", "mount_path": "/work"}]},
        ["PersistentVolumeClaim 'none-such'", "does not exist in namespace"],
    ),
    (
        "no-config",
        {"volumes": [{"name": "code", "config_map": "none-such", "mount_path": "/code"}]},
        ["ConfigMap 'none-such'", "does not exist in namespace"],
    ),
    ("odd-env", {"env": {"A=B": "1"}}, ["env[0].name: 'A=B' is not a variable's name"]),
    (
        "no-account",
        {"service_account_name": "none-such"},
        ["ServiceAccount 'none-such'", "does not exist in namespace"],
    ),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
@pytest.mark.parametrize(("name", "options", "words"), WRONG, ids=[name for name, *_ in WRONG])
def test_wrong_jobs(
    kind: Kind, name: str, options: Any, words: list[str], namespace: str, start: Any, clean: None
) -> None:
    message = failure(start(kind.task(name, namespace, **options)))
    for word in words:
        assert word in message


def test_a_namespace_that_is_not_there(start: Any) -> None:
    message = failure(start(TF.task("lost", "none-such")))
    assert "namespace: 'none-such' does not exist" in message


def test_no_kubeconfig(start: Any) -> None:
    message = failure(start(TF.task("lost", "default"), defaults={}))
    assert "No usable kubeconfig" in message
    assert "K8S_AUTH_KUBECONFIG" in message


def test_a_kubeconfig_that_is_not_there(start: Any) -> None:
    message = failure(start(TF.task("lost", "default"), defaults={"kubeconfig": "/none/such"}))
    assert "/none/such" in message


@pytest.mark.parametrize("listens", [False, True], ids=["refused", "silent"])
def test_an_unreachable_api(listens: bool, start: Any) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        host = f"https://127.0.0.1:{server.getsockname()[1]}"
        message = failure(start(TF.task("lost", "default"), defaults={"host": host, "api_key": "x"}))
    assert f"The API server at {host} cannot be reached" in message
