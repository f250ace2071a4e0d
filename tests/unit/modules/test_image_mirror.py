"""Names of images, and what is copied, against directories as skopeo makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.registry_api import RegistryError, digest_of
from ansible_collections.mlstack.kubernetes.plugins.modules import image_mirror
from ansible_collections.mlstack.kubernetes.plugins.modules.image_mirror import Image, Mirror, parse

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker.io/library/busybox:1.36", Image("docker.io", "library/busybox", "1.36", "")),
        (f"quay.io/x/y@{DIGEST}", Image("quay.io", "x/y", "", DIGEST)),
        (f"registry.k8s.io/pause:3.10@{DIGEST}", Image("registry.k8s.io", "pause", "3.10", DIGEST)),
        ("127.0.0.1:5443/a/b:1", Image("127.0.0.1:5443", "a/b", "1", "")),
        ("localhost/probe:1", Image("localhost", "probe", "1", "")),
    ],
)
def test_a_name_has_its_parts(name: str, expected: Image) -> None:
    assert parse(name) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("busybox:1.36", "names no registry"),
        ("library/busybox:1.36", "names no registry"),
        ("docker.io/library/busybox", "has neither tag nor digest"),
        ("127.0.0.1:5443/busybox", "has neither tag nor digest"),
        ("docker.io/x:1@sha256:abc", "is no digest"),
        ("", "names no registry"),
    ],
)
def test_a_name_that_is_not_whole_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(name)


def test_names_below_the_prefix_are_names() -> None:
    image = parse(f"127.0.0.1:5443/a/b:1@{DIGEST}")
    assert (image.source, image.local) == (f"127.0.0.1:5443/a/b@{DIGEST}", "127.0.0.1_5443/a/b")
    assert image.directory == "127.0.0.1_5443_a_b_1"


class Skopeo(Mirror):
    """Keeps what would be run; `manifests` are those of the sources."""

    def __init__(self, mode: str, base: Path, there: str | None = None, **manifests: str) -> None:
        self.is_check = False
        self.mode, self.base = mode, str(base)
        self.address, self.path = "registry.example:5443", ""
        self.to_registry, self.from_registry, self.inspecting = [], [], []
        self.manifests = manifests
        self.commands: list[list[str]] = []
        self.registry: Any = type("Registry", (), {"digest": lambda *_: there})()

    def run(self, *command: str) -> bytes:
        self.commands.append(list(command))
        if command[1] == "inspect":
            return self.manifests["source"].encode()
        if command[-1].startswith("dir:"):
            directory = Path(command[-1].removeprefix("dir:"))
            directory.mkdir(parents=True)
            (directory / "manifest.json").write_text(self.manifests["source"])
        return b""


def test_what_is_there_is_not_copied(tmp_path: Path) -> None:
    manifest = json.dumps({"layers": []})
    image = parse("docker.io/x/y:1")
    mirror = Skopeo("copy", tmp_path, digest_of(manifest.encode()), source=manifest)
    assert mirror.bring(image) == (digest_of(manifest.encode()), False)
    assert [command[1] for command in mirror.commands] == ["inspect"]
    moved = Skopeo("copy", tmp_path, DIGEST, source=manifest)
    assert moved.bring(image) == (digest_of(manifest.encode()), True)
    assert moved.commands[-1][-2:] == ["docker://docker.io/x/y:1", "docker://registry.example:5443/docker.io/x/y:1"]


def test_a_digest_is_not_asked_for(tmp_path: Path) -> None:
    mirror = Skopeo("copy", tmp_path, DIGEST)
    assert mirror.bring(parse(f"docker.io/x/y:1@{DIGEST}")) == (DIGEST, False)
    assert mirror.commands == []


def test_images_are_carried_by_a_directory(tmp_path: Path) -> None:
    manifest = json.dumps({"layers": [1]})
    digest, image = digest_of(manifest.encode()), parse("docker.io/x/y:1")
    assert Skopeo("save", tmp_path / "carried", source=manifest).bring(image) == (digest, True)
    assert Skopeo("save", tmp_path / "carried", source=manifest).bring(image) == (digest, False)
    assert [path.name for path in (tmp_path / "carried").iterdir()] == ["docker.io_x_y_1"]
    load = Skopeo("load", tmp_path / "carried")
    assert load.bring(image) == (digest, True)
    assert load.commands[0][-2:] == [
        f"dir:{tmp_path}/carried/docker.io_x_y_1",
        "docker://registry.example:5443/docker.io/x/y:1",
    ]


def test_a_directory_that_lacks_an_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"has no docker\.io/x/y:1; save it there first"):
        Skopeo("load", tmp_path).bring(parse("docker.io/x/y:1"))
    manifest = json.dumps({"layers": [1]})
    Skopeo("save", tmp_path, source=manifest).bring(parse("docker.io/x/y:1"))
    with pytest.raises(RegistryError, match="not sha256:a"):
        Skopeo("load", tmp_path).bring(parse(f"docker.io/x/y:1@{DIGEST}"))


def test_an_authority_is_given_as_skopeo_reads_it(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text("certificate")
    directory = Path(image_mirror.certificate_directory(str(tmp_path), "own", str(tmp_path / "own.pem")))
    assert [path.name for path in directory.iterdir()] == ["ca.crt"]
