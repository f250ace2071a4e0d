"""What the tag of an image depends on, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.modules import image_build
from ansible_collections.mlstack.kubernetes.plugins.modules.image_build import (
    BuildError,
    described,
    discard,
    inputs,
    tag_of,
)

from .conftest import Call


@pytest.fixture
def params(tmp_path: Path) -> dict[str, Any]:
    image = tmp_path / "image"
    (image / "configuration").mkdir(parents=True)
    (image / "Containerfile").write_text("FROM scratch\n")
    (image / "debian.txt").write_text("python3\n")
    (image / "configuration/settings.ini").write_text("[main]\n")
    examples = tmp_path / "examples"
    examples.mkdir()
    (examples / "train.py").write_text("print()\n")
    (tmp_path / "server").write_bytes(b"\x7fELF")
    return {
        "directory": str(image),
        "programs": [str(tmp_path / "server")],
        "files": [{"source": str(examples), "target": "examples"}],
    }


def tag(params: dict[str, Any]) -> str:
    return tag_of(inputs(params))


def test_context_holds_all_inputs(params: dict[str, Any]) -> None:
    assert sorted(inputs(params)) == [
        "Containerfile",
        "configuration/settings.ini",
        "debian.txt",
        "examples/train.py",
        "programs/server",
    ]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("image/Containerfile", "FROM scratch\nUSER 1000\n"),
        ("image/debian.txt", "python3\nlibstdc++6\n"),
        ("image/configuration/settings.ini", "[other]\n"),
        ("image/.containerignore", "*.md\n"),
        ("examples/train.py", "print(1)\n"),
        ("examples/new.py", ""),
        ("server", "other"),
    ],
)
def test_tag_changes_with_every_input(params: dict[str, Any], tmp_path: Path, path: str, content: str) -> None:
    before = tag(params)
    (tmp_path / path).write_text(content)
    assert tag(params) != before


def test_tag_changes_with_the_base_but_not_with_its_registrys_address(params: dict[str, Any]) -> None:
    found = inputs(params)
    tags = [tag_of(found, base) for base in ("", "one:5443/base:1", "one:5443/base:2", "two:5443/base:2")]
    assert len(set(tags[:3])) == 3
    assert tags[2] == tags[3]


def test_tag_changes_when_a_file_becomes_executable(params: dict[str, Any], tmp_path: Path) -> None:
    before = tag(params)
    (tmp_path / "examples/train.py").chmod(0o755)
    assert tag(params) != before


def test_tag_changes_when_a_file_is_renamed(params: dict[str, Any], tmp_path: Path) -> None:
    before = tag(params)
    (tmp_path / "examples/train.py").rename(tmp_path / "examples/fit.py")
    assert tag(params) != before


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("image/debian.txt", "# The interpreter.\n\n  python3  # from the distribution\n"),
        ("image/README.md", "Read me.\n"),
        ("examples/__pycache__/train.cpython-311.pyc", "compiled"),
    ],
)
def test_tag_does_not_change_with_what_is_no_input(
    params: dict[str, Any], tmp_path: Path, path: str, content: str
) -> None:
    before = tag(params)
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(content)
    assert tag(params) == before


def test_tag_does_not_change_with_the_place_of_the_inputs(params: dict[str, Any], tmp_path: Path) -> None:
    before = tag(params)
    moved = tmp_path / "__pycache__"
    moved.mkdir()
    (tmp_path / "image").rename(moved / "image")
    assert tag({**params, "directory": str(moved / "image")}) == before


@pytest.mark.parametrize("missing", ["image/Containerfile", "server"])
def test_missing_input_is_named(params: dict[str, Any], tmp_path: Path, missing: str) -> None:
    (tmp_path / missing).unlink()
    with pytest.raises(BuildError, match=Path(missing).name):
        inputs(params)


def test_leftovers_of_a_killed_build_are_discarded(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "storage/overlay").mkdir(parents=True)
    discard(work)
    discard(work)
    assert not work.exists()


def test_an_image_s_directory_is_its_own_or_the_one_of_its_name() -> None:
    images = [{"name": "one", "directory": "/there"}, {"name": "two", "directory": None}]
    assert [image["directory"] for image in described(images, "/images")] == ["/there", "/images/two"]
    with pytest.raises(BuildError, match="Image two: neither its own directory nor that of all images is given"):
        described(images, None)


@pytest.fixture
def look(call: Call, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Looks, in check mode, for images that no registry has yet."""
    for name in ("base", "child"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Containerfile").write_text("FROM scratch\n")

    def look(*images: dict[str, Any]) -> list[dict[str, Any]]:
        there = {key: str(tmp_path / key) for key in ("ca_file", "auth_file", "work_directory")}
        answer = call(
            image_build, images=images, directory=str(tmp_path), prefix="127.0.0.1:1/stack", check_mode=True, **there
        )
        assert answer["changed"]
        found: list[dict[str, Any]] = answer["images"]
        return found

    return look


def test_images_are_told_in_their_order_before_there_is_a_registry(
    look: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    before = look({"name": "base"}, {"name": "child", "base": "base"})
    assert [image["image"].rpartition(":")[0] for image in before] == [
        "127.0.0.1:1/stack/base",
        "127.0.0.1:1/stack/child",
    ]
    assert [(image["digest"], image["seconds"]) for image in before] == [("", {})] * 2
    # Another base makes another child; one of the same reference makes the same.
    assert look({"name": "child", "base": before[0]["image"]})[0] == before[1]
    (tmp_path / "base/Containerfile").write_text("FROM other\n")
    assert look({"name": "base"}, {"name": "child", "base": "base"})[1]["image"] != before[1]["image"]


def test_an_image_of_programs_that_are_still_to_be_compiled_is_told(
    look: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    (missing,) = look({"name": "base", "programs": [str(tmp_path / "missing")]})
    assert missing["image"] == "127.0.0.1:1/stack/base:not-built-yet"
