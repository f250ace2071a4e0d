"""The files in which container runtimes are told of NVIDIA's, against configurations as hosts have them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils import container_runtimes
from ansible_collections.mlstack.kubernetes.plugins.module_utils.container_runtimes import (
    CREATED,
    RUNTIMES,
    Runtime,
    handlers,
    imports_of,
    problem,
    reads,
    removal,
    with_import,
    without_drop_in,
    without_import,
)

DROP_IN = "/etc/containerd/conf.d/99-nvidia.toml"
MAIN = "/etc/containerd/config.toml"
DEBIAN = 'version = 2\n\n[plugins]\n  [plugins."io.containerd.grpc.v1.cri"]\n    sandbox_image = "pause"\n'
EDITED = """# by hand
version = 2
imports = [
  "/etc/containerd/site/*.toml",  # the mirror
]

[debug]
level = "info"
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (DEBIAN, []),
        (EDITED, ["/etc/containerd/site/*.toml"]),
        ("imports = ['a.toml', 'b.toml'] # two\nversion = 3\n", ["a.toml", "b.toml"]),
        ("[plugins.x]\nimports = ['not-this']\n", []),
        ("version = 2\n[plugins.x]\nimports = ['not-this']\n", []),
        ("# imports = ['/etc/containerd/conf.d/*.toml']\n", []),
    ],
)
def test_imports_are_those_of_the_file_and_not_of_a_table(text: str, expected: list[str]) -> None:
    assert imports_of(text) == expected


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ('["/etc/containerd/conf.d/*.toml"]', True),
        ('["conf.d/*.toml"]', True),
        ('["/etc/containerd/conf.d/99-nvidia.toml"]', True),
        ('["/etc/containerd/conf.d/10-*.toml"]', False),
        ("[]", False),
    ],
)
def test_a_drop_in_is_read_where_a_pattern_covers_it(imports: str, expected: bool) -> None:
    assert reads(f"version = 2\nimports = {imports}\n", MAIN, DROP_IN) is expected


@pytest.mark.parametrize("text", [DEBIAN, "", CREATED, 'imports = ["/etc/containerd/site/*.toml"]\nversion = 2\n'])
def test_an_added_import_is_read_and_can_be_taken_back(text: str) -> None:
    added = with_import(text, DROP_IN)
    assert reads(added, MAIN, DROP_IN)
    assert set(imports_of(text)) < set(imports_of(added))
    assert imports_of(without_import(added, DROP_IN)) == imports_of(text)
    if text != CREATED:
        assert without_import(added, DROP_IN) == text


def test_an_import_of_somebody_else_stays() -> None:
    text = 'imports = ["/etc/containerd/conf.d/*.toml"]\n' + DEBIAN
    assert without_import(text, DROP_IN) == text


def test_the_drop_in_is_left_out_of_what_it_is_made_of(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name in ("10-mirror.toml", "99-nvidia.toml"):
        (tmp_path / "conf.d" / name).write_text("version = 2\n")
    text = without_drop_in(
        "imports = ['conf.d/*.toml']\nversion = 2\n",
        str(tmp_path / "config.toml"),
        str(tmp_path / "conf.d/99-nvidia.toml"),
    )
    assert imports_of(text) == [str(tmp_path / "conf.d/10-mirror.toml")]


@pytest.mark.parametrize(
    ("name", "text", "add_import", "expected"),
    [
        ("containerd", None, False, ""),
        ("containerd", DEBIAN, True, ""),
        ("containerd", DEBIAN, False, "does not read"),
        ("containerd", 'disabled_plugins = ["cri"]\n' + DEBIAN, True, "disabled_plugins has cri"),
        ("containerd", "[plugins.cri]\n", True, "is of version 1"),
        ("containerd", "version = 1\n", True, "is of version 1"),
        ("docker", "{,}", False, "is not JSON"),
        ("docker", "{}", False, ""),
        ("docker", "", False, ""),
    ],
)
def test_what_keeps_a_runtime_from_being_told(
    tmp_path: Path, name: str, text: str | None, add_import: bool, expected: str
) -> None:
    main = tmp_path / "main"
    if text is not None:
        main.write_text(text)
    said = problem(Runtime(name, (name,), str(main), RUNTIMES[name].drop_in), add_import)
    assert expected in said
    assert bool(said) is bool(expected)
    assert not said or str(main) in said


def test_docker_loses_no_setting_but_its_runtime(tmp_path: Path) -> None:
    main = tmp_path / "daemon.json"
    docker = Runtime("docker", ("docker",), str(main))
    main.write_text(
        json.dumps({"log-driver": "journald", "default-runtime": "nvidia", "runtimes": {"nvidia": {}, "kata": {}}})
    )
    assert json.loads(removal(docker)[str(main)] or "") == {"log-driver": "journald", "runtimes": {"kata": {}}}
    untouched = '{ "log-driver":   "journald" }'
    main.write_text(untouched)
    assert removal(docker) == {str(main): untouched}


def test_a_containerd_that_was_configured_here_is_left_without_a_file(tmp_path: Path) -> None:
    main = tmp_path / "config.toml"
    runtime = Runtime("containerd", ("containerd",), str(main), str(tmp_path / "conf.d/99-nvidia.toml"))
    main.write_text(with_import(CREATED, runtime.drop_in))
    assert removal(runtime) == {runtime.drop_in: None, str(main): None}
    main.write_text(with_import(DEBIAN, runtime.drop_in))
    assert removal(runtime) == {runtime.drop_in: None, str(main): DEBIAN}


def systemd(**states: str) -> container_runtimes.Run:
    def run(command: Sequence[str]) -> tuple[int, str, str]:
        unit = command[-1]
        if "--property=LoadState" in command:
            return 0, "loaded\n" if unit in states else "not-found\n", ""
        return 0, f"ActiveState=active\nExecMainStartTimestamp={states[unit]}\n", ""

    return run


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ([], []),
        (["containerd"], ["containerd"]),
        (["containerd", "docker"], ["containerd", "docker"]),
        (["k3s-agent", "docker"], ["k3s"]),
        (["k0sworker"], ["k0s"]),
    ],
)
def test_runtimes_are_found_by_their_units(
    monkeypatch: pytest.MonkeyPatch, units: list[str], expected: list[str]
) -> None:
    monkeypatch.setattr(container_runtimes, "read", lambda path: None)
    assert [runtime.name for runtime in container_runtimes.found(systemd(**dict.fromkeys(units, "")))] == expected


def test_a_host_without_systemd_has_no_runtimes() -> None:
    def without_programs(command: list[str], handle_exceptions: bool) -> tuple[int, str, str]:
        raise FileNotFoundError(2, "No such file or directory", command[0])

    assert container_runtimes.found(container_runtimes.runner(without_programs)) == []


def test_the_containerd_of_docker_is_not_one_for_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_runtimes, "read", lambda path: 'disabled_plugins = ["cri"]\n')
    found = container_runtimes.found(systemd(containerd="", docker=""))
    assert [runtime.name for runtime in found] == ["docker"]


def told(seconds: int) -> str:
    """A time as systemctl tells it where the time zone is UTC."""
    return time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def test_a_unit_is_stale_that_runs_since_before_a_file_came(tmp_path: Path) -> None:
    path = tmp_path / "99-nvidia.toml"
    path.write_text("")
    came = int(path.stat().st_ctime)
    assert container_runtimes.is_stale(systemd(containerd=told(came - 5)), "containerd", [str(path)])
    assert not container_runtimes.is_stale(systemd(containerd=told(came + 5)), "containerd", [str(path)])
    assert not container_runtimes.is_stale(systemd(containerd=told(came - 5)), "containerd", [str(tmp_path / "no")])


def test_handlers_are_read_of_what_a_runtime_says() -> None:
    said = {
        "config": {"containerd": {"runtimes": {"runc": {"options": None}, "nvidia": {"options": {"BinaryName": "x"}}}}}
    }
    assert handlers(said) == {"runc": "", "nvidia": "x"}
    assert handlers({}) == {}
