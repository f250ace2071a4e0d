"""The client of the registry, the credentials, and the proof, against a small registry of our own making."""

from __future__ import annotations

import base64
import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.registry_api import (
    Registry,
    RegistryError,
    Response,
    basic_credentials,
    digest_of,
)
from ansible_collections.mlstack.kubernetes.plugins.modules.registry_credentials import accepts, hashed, write_secret
from ansible_collections.mlstack.kubernetes.plugins.modules.registry_verify import prove_push_and_pull

ADDRESS = "127.0.0.1:5443"
AUTH = base64.b64encode(b"mlstack:secret").decode()


class MemoryRegistry(Registry):
    """Answers as a registry does, without a network. `corrupt` makes it return other bytes than it was given."""

    def __init__(self, corrupt: bool = False) -> None:
        self.address = ADDRESS
        self.credentials = AUTH
        self.corrupt = corrupt
        self.contents: dict[str, bytes] = {}

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        kind, _, reference = path.rpartition("/")
        if method == "POST":
            return Response(202, {"location": "/v2/upload?state=1"}, b"")
        if method == "PUT":
            assert body is not None
            self.contents[digest_of(body)] = body
            self.contents[reference] = body
            return Response(201, {}, b"")
        if reference not in self.contents:
            return Response(404, {}, b"unknown")
        if method == "DELETE":
            del self.contents[reference]
            return Response(202, {}, b"")
        stored = self.contents[reference]
        return Response(200, {}, stored + b" " if self.corrupt and kind.endswith("blobs") else stored)


@pytest.fixture
def auth_file(tmp_path: Path) -> Path:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {ADDRESS: {"auth": AUTH}}}))
    return path


def test_credentials_are_read(auth_file: Path) -> None:
    assert basic_credentials(str(auth_file), ADDRESS) == AUTH


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"auths": {"127.0.0.1:5443": {"auth": "?"}}}', '{"auths": {"127.0.0.1:5443": {}}}']
)
def test_useless_file_holds_no_credentials(auth_file: Path, content: str) -> None:
    auth_file.write_text(content)
    assert basic_credentials(str(auth_file), ADDRESS) is None


def test_credentials_of_another_registry_are_not_taken(auth_file: Path) -> None:
    assert basic_credentials(str(auth_file), "127.0.0.1:5543") is None


def test_secret_is_private_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0o644)
    write_secret(str(path), "secret", path.stat().st_uid)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


@pytest.mark.skipif(not shutil.which("htpasswd"), reason="htpasswd is not installed")
def test_htpasswd_accepts_the_one_user_only(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    assert not accepts(str(path), "mlstack", "secret")
    path.write_text(hashed("mlstack", "secret"))
    assert path.read_text().startswith("mlstack:$2y$")
    assert accepts(str(path), "mlstack", "secret")
    assert not accepts(str(path), "mlstack", "other")
    path.write_text(path.read_text() + hashed("intruder", "secret"))
    assert not accepts(str(path), "mlstack", "secret")


def test_size_counts_layers_and_configuration() -> None:
    registry = MemoryRegistry()
    manifest: dict[str, Any] = {"config": {"size": 10}, "layers": [{"size": 200}, {"size": 3000}]}
    digest = registry.push_manifest("mlstack/example", "v1", manifest)
    image = registry.image("mlstack/example", "v1")
    assert image is not None
    assert (image.digest, image.size) == (digest, 3210)
    assert registry.image("mlstack/example", "v2") is None


def test_unexpected_answer_says_what_was_asked() -> None:
    with pytest.raises(RegistryError, match=r"GET /v2/x/manifests/v1 with credentials was answered with 404, not 200"):
        MemoryRegistry().expect(200, "GET", "/v2/x/manifests/v1")


def test_proof_leaves_nothing_behind_under_its_digest() -> None:
    registry = MemoryRegistry()
    digest = prove_push_and_pull(registry, "mlstack/verify")
    assert digest not in registry.contents


def test_proof_notices_what_is_not_as_pushed() -> None:
    with pytest.raises(RegistryError, match="is not what was pushed"):
        prove_push_and_pull(MemoryRegistry(corrupt=True), "mlstack/verify")


def test_missing_authority_is_named() -> None:
    with pytest.raises(RegistryError, match=r"/nowhere/ca\.crt"):
        Registry(ADDRESS, "/nowhere/ca.crt", None)
