"""Directories and files of one task."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible_collections.mlstack.kubernetes.plugins.modules import text_files

from .conftest import Call


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_check_mode_tells_what_a_run_makes_and_a_second_run_changes_nothing(call: Call, tmp_path: Path) -> None:
    options = {
        "directory": str(tmp_path),
        "directories": [{"path": f"{tmp_path}/data/train", "mode": "0770"}, {"path": "plain"}],
        "files": [{"path": "etc/settings", "content": "a = 1\n", "mode": "0600"}],
    }
    told = call(text_files, check_mode=True, **options)
    assert list(tmp_path.iterdir()) == []
    done = call(text_files, **options)
    for result in (told, done):
        assert result["changed"] is True
        assert result["changed_directories"] == [f"{tmp_path}/data/train", "plain"]
        assert result["changed_files"] == ["etc/settings"]
    assert done["diff"][0]["before"]["state"] == "absent"
    assert mode(tmp_path / "data/train") == 0o770
    assert mode(tmp_path / "data") == 0o755
    assert (tmp_path / "etc/settings").read_text() == "a = 1\n"
    again = call(text_files, **options)
    assert (again["changed"], again["changed_directories"], again["changed_files"]) == (False, [], [])


def test_a_mode_that_is_not_given_stays(call: Call, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o711)
    options = {"directory": str(tmp_path), "files": []}
    assert not call(text_files, directories=[{"path": "data"}], **options)["changed"]
    told = call(text_files, check_mode=True, directories=[{"path": "data", "mode": "0700"}], **options)
    assert mode(tmp_path / "data") == 0o711
    done = call(text_files, directories=[{"path": "data", "mode": "0700"}], **options)
    assert told["diff"] == done["diff"]
    assert (done["diff"][0]["before"]["mode"], done["diff"][0]["after"]["mode"]) == ("0711", "0700")
    assert mode(tmp_path / "data") == 0o700


@pytest.mark.parametrize(
    ("directories", "message"),
    [
        ([{"path": "a"}, {"path": "../b"}], "directories.path: '../b' does not lie below"),
        ([{"path": "a"}, {"path": "b", "mode": "u+w"}], "directories.mode: 'u+w' is no file mode"),
    ],
)
def test_bad_input_leaves_nothing(call: Call, tmp_path: Path, directories: list[dict[str, str]], message: str) -> None:
    result = call(text_files, directory=str(tmp_path), directories=directories, files=[])
    assert message in result["msg"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    result = call(text_files, directory=str(tmp_path), directories=[{"path": "a"}], files=[])
    assert "directories.path" in result["msg"] and "is no directory" in result["msg"]
