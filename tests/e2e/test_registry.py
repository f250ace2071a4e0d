"""What the registry is used for besides the stack's own images: mirrored ones, pull secrets, and as one that exists."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import HOME, NODE, Run, kubectl, playbook

pytestmark = pytest.mark.extended

ADDRESS = "127.0.0.1:15443"
REGISTRY = HOME / "registry/mlstack-test"
ACCESS = {
    "registry_mirror_auth_file": str(REGISTRY / "auth.json"),
    "registry_mirror_ca_certificate": str(REGISTRY / "ca.crt"),
}
CERTIFICATES = HOME / "local_cluster/mlstack-test/certs.d"


def role(directory: Path, tasks_from: str, **variables: Any) -> Run:
    include = {"name": "mlstack.kubernetes.registry", "tasks_from": tasks_from}
    task = {"name": "Use the registry", "ansible.builtin.include_role": include, "vars": variables}
    play = {"name": "Use the registry", "hosts": "registry", "gather_facts": False, "tasks": [task]}
    file = directory / "play.json"
    file.write_text(json.dumps([play]))
    return playbook(str(file))


def skopeo(*arguments: str) -> str:
    return subprocess.run(["skopeo", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def digest_of(image: str, certificates: Path) -> str:
    access = (f"--cert-dir={certificates}", f"--authfile={REGISTRY / 'auth.json'}")
    return skopeo("inspect", "--no-tags", "--format={{.Digest}}", *access, f"docker://{image}").strip()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory, stack: Run) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    shutil.copyfile(REGISTRY / "ca.crt", directory / "ca.crt")
    return directory


@pytest.fixture(scope="module")
def image(stack: Run) -> str:
    """An image that the registry has, with a shell."""
    found = kubectl("get", "tfjob/training-operator-verify", "-n", "kubeflow", "-o", "jsonpath={.spec..image}")
    return found.split()[0]


def test_images_are_mirrored_once_with_their_digests(image: str, certificates: Path, tmp_path: Path) -> None:
    first = role(tmp_path, "mirror.yml", registry_mirror_images=[image], **ACCESS)
    assert (first.status, len(first.changed)) == (0, 1)
    mirrored = f"{ADDRESS}/{image.replace(':', '_', 1)}"
    assert digest_of(mirrored, certificates) == digest_of(image, certificates)
    second = role(tmp_path, "mirror.yml", registry_mirror_images=[image], **ACCESS)
    assert (second.status, second.changed) == (0, [])


def test_a_directory_carries_images(image: str, certificates: Path, tmp_path: Path) -> None:
    carried = {"registry_mirror_images": [image], "registry_mirror_directory": str(tmp_path / "carried"), **ACCESS}
    assert role(tmp_path, "mirror.yml", registry_mirror_mode="save", **carried).recap["changed"] == 1
    assert role(tmp_path, "mirror.yml", registry_mirror_mode="save", **carried).recap["changed"] == 0
    load = {"registry_mirror_mode": "load", "registry_mirror_path": "carried", **carried}
    assert role(tmp_path, "mirror.yml", **load).recap["changed"] == 1
    assert role(tmp_path, "mirror.yml", **load).recap["changed"] == 0
    there = f"{ADDRESS}/carried/{image.replace(':', '_', 1)}"
    assert digest_of(there, certificates) == digest_of(image, certificates)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("busybox:1", "names no registry"),
        (f"{ADDRESS}/mlstack/nothing:1", f"{ADDRESS}/mlstack/nothing:1: "),
    ],
)
def test_an_image_that_is_not_there_is_told(stack: Run, tmp_path: Path, name: str, message: str) -> None:
    run = role(tmp_path, "mirror.yml", registry_mirror_images=[name], **ACCESS)
    assert run.status != 0
    assert message in run.words


@pytest.fixture
def mirrored(image: str, certificates: Path, tmp_path: Path) -> Iterator[str]:
    """An image of Docker Hub, as its name says, that only the own registry has."""
    options = (f"cert-dir={certificates}", f"authfile={REGISTRY}/auth.json")
    access = [f"--{side}-{option}" for side in ("src", "dest") for option in options]
    skopeo("copy", "--quiet", *access, f"docker://{image}", f"docker://{ADDRESS}/docker.io/mlstack/probe:1")
    trust = {"registry_trust_directory": str(CERTIFICATES), "registry_trust_mirrored": ["docker.io"]}
    first = role(tmp_path, "trust.yml", **trust)
    assert (first.status, len(first.changed)) == (0, 1)
    assert role(tmp_path, "trust.yml", **trust).recap["changed"] == 0
    assert (CERTIFICATES / "docker.io/hosts.toml").stat().st_mode & 0o077 == 0
    yield "docker.io/mlstack/probe:1"
    shutil.rmtree(CERTIFICATES / "docker.io")


def test_nodes_pull_under_the_original_name(mirrored: str, tmp_path: Path) -> None:
    run = role(tmp_path, "verify_nodes.yml", registry_verify_image=mirrored)
    assert (run.status, run.changed) == (0, [])
    assert f"{NODE}: pulled" in run.words
    assert f"{NODE.replace('-1', '-2')}: pulled" in run.words
    assert "mlstack-test-simulated-0: not asked, simulated" in run.words
    assert kubectl("get", "pods", "-l", "mlstack.kubernetes/proof=pull", "-o", "name") == ""


def test_an_image_that_no_node_gets_is_told_by_node(stack: Run, tmp_path: Path) -> None:
    run = role(
        tmp_path, "verify_nodes.yml", registry_verify_image=f"{ADDRESS}/mlstack/nothing:1", registry_verify_timeout=40
    )
    assert run.status != 0
    assert f"Not every node pulls {ADDRESS}/mlstack/nothing:1: {NODE}: ImagePullBackOff" in run.words
    assert kubectl("get", "pods", "-l", "mlstack.kubernetes/proof=pull", "-o", "name") == ""


def test_pods_get_a_pull_secret(stack: Run, tmp_path: Path) -> None:
    kubectl("create", "namespace", "pulling")
    try:
        wanted = {
            "registry_pull_secret_namespaces": ["pulling"],
            "registry_pull_secret_service_accounts": ["default"],
        }
        first = role(tmp_path, "pull_secret.yml", **wanted)
        assert (first.status, len(first.changed)) == (0, 2)
        assert role(tmp_path, "pull_secret.yml", **wanted).recap["changed"] == 0
        secret = json.loads(kubectl("get", "secret/mlstack-registry", "-n", "pulling", "-o", "json"))
        assert secret["type"] == "kubernetes.io/dockerconfigjson"
        assert base64.b64decode(secret["data"][".dockerconfigjson"]) == (REGISTRY / "auth.json").read_bytes()
        account = ("get", "serviceaccount/default", "-n", "pulling", "-o", "jsonpath={.imagePullSecrets[*].name}")
        assert kubectl(*account) == "mlstack-registry"
        # The password is nowhere to be read.
        password = base64.b64decode(json.loads((REGISTRY / "auth.json").read_text())["auths"][ADDRESS]["auth"])
        assert password.decode().partition(":")[2] not in first.output
        assert role(tmp_path, "pull_secret.yml", registry_pull_secret_state="absent", **wanted).status == 0
        assert kubectl("get", "secrets", "-n", "pulling", "-o", "name") == ""
        assert kubectl(*account) == ""
    finally:
        kubectl("delete", "namespace", "pulling")


def test_a_registry_that_exists_is_taken(stack: Run, tmp_path: Path) -> None:
    auth = json.loads((REGISTRY / "auth.json").read_text())["auths"][ADDRESS]["auth"]
    user, _, password = base64.b64decode(auth).decode().partition(":")
    existing = {
        "registry_existing": True,
        "registry_username": user,
        "registry_directory": str(tmp_path / "existing"),
        "registry_ca_certificate": str(REGISTRY / "ca.crt"),
    }
    first = role(tmp_path, "main.yml", registry_password=password, **existing)
    assert first.status == 0
    assert password not in first.output
    assert (tmp_path / "existing/auth.json").stat().st_mode & 0o077 == 0
    assert role(tmp_path, "main.yml", registry_password=password, **existing).recap["changed"] == 0
    wrong = role(tmp_path, "main.yml", registry_password="wrong-password", **existing)
    assert wrong.status != 0
    assert "GET /v2/ with credentials was answered with 401" in wrong.words
    missing = role(tmp_path, "main.yml", **existing)
    assert "registry_password: 127.0.0.1 exists already" in missing.words
