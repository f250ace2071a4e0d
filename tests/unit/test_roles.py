"""Every role has the same rooms, and its defaults, its argument specification and its README agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir() if path.is_dir())
# Roles that other roles include, and one that only looks. They are no components: nothing of theirs is to be verified
# or removed by itself.
HELPERS = {
    "busybox_image",
    "debian_packages",
    "go_programs",
    "helm_release",
    "host_preflight",
    "interrupted_packages",
    "package_repository",
    "password_file",
    "rollout",
    "supervised_service",
    "supply",
}
COMPONENTS = [role for role in ROLES if role not in HELPERS]


def read(role: str, path: str) -> Any:
    return yaml.safe_load((CHECKOUT / "roles" / role / path).read_text())


def defaults(role: str) -> dict[str, Any]:
    return dict(read(role, "defaults/main.yml") or {})


def options(role: str) -> dict[str, Any]:
    """Return the options of all entry points of a role."""
    entry_points = read(role, "meta/argument_specs.yml")["argument_specs"].values()
    return {name: option for entry_point in entry_points for name, option in entry_point.get("options", {}).items()}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "room", ["README.md", "defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml"]
)
def test_role_has_room(role: str, room: str) -> None:
    assert (CHECKOUT / "roles" / role / room).is_file()


@pytest.mark.parametrize("role", COMPONENTS)
@pytest.mark.parametrize("room", ["preflight.yml", "install*.yml", "verify.yml", "remove.yml"])
def test_component_has_room(role: str, room: str) -> None:
    assert list((CHECKOUT / "roles" / role / "tasks").glob(room))


@pytest.mark.parametrize("role", COMPONENTS)
def test_component_can_be_present_and_absent(role: str) -> None:
    assert options(role)[f"{role}_state"]["choices"] == ["present", "absent"]


@pytest.mark.parametrize("role", ROLES)
def test_inputs_are_prefixed(role: str) -> None:
    assert [name for name in options(role) if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_specified(role: str) -> None:
    assert sorted(set(defaults(role)) - set(options(role))) == []


@pytest.mark.parametrize("role", ROLES)
def test_every_option_has_a_default_or_is_required(role: str) -> None:
    optional = {name for name, option in options(role).items() if not option.get("required")}
    assert sorted(optional - set(defaults(role))) == []


@pytest.mark.parametrize("role", ROLES)
def test_specified_default_is_the_default(role: str) -> None:
    # What a template results in is for the reader of the specification to know, and cannot be compared.
    literal = {name: value for name, value in defaults(role).items() if "{{" not in str(value)}
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    both = literal.keys() & specified.keys()
    assert {name: specified[name] for name in both} == {name: literal[name] for name in both}


@pytest.mark.parametrize("role", ROLES)
def test_readme_names_every_input(role: str) -> None:
    readme = (CHECKOUT / "roles" / role / "README.md").read_text()
    assert [name for name in options(role) if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("role", ROLES)
def test_role_needs_the_ansible_of_the_collection(role: str) -> None:
    needed = yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text())["requires_ansible"]
    assert f">={read(role, 'meta/main.yml')['galaxy_info']['min_ansible_version']}.0" == needed


@pytest.mark.parametrize("role", ["kubeflow_trainer", "training_operator", "volcano"])
def test_default_version_is_the_one_that_is_compiled(role: str) -> None:
    go_mod = (CHECKOUT / "roles" / role / "files/programs/go.mod").read_text()
    tools = set(re.findall(r"^(?:tool )?\s*(\S+)/cmd/", go_mod, re.MULTILINE))
    versions = {
        module: version for module, version in re.findall(r"(\S+) (v\S+) // indirect", go_mod) if module in tools
    }
    assert versions == dict.fromkeys(tools, defaults(role)[f"{role}_version"])


def tasks(content: Any) -> Iterator[dict[str, Any]]:
    """Every task of a list of tasks, also those in blocks."""
    for task in content or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks(task.get(part))


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_changed_out_of_check_mode(role: str) -> None:
    """Tasks cannot ask whether playbooks/verify.yaml runs them: only proofs and removals may leave check mode."""
    files = (CHECKOUT / "roles" / role / "tasks").rglob("*.yml")
    install = [file for file in files if not re.search("verify|remove|uninstall", file.name)]
    found = [task for file in install for task in tasks(yaml.safe_load(file.read_text()))]
    reading = ("ansible.builtin.uri", "ansible.builtin.stat", "ansible.builtin.slurp")
    assert [
        task["name"]
        for task in found
        if task.get("check_mode") is False and task.get("changed_when") is not False and not set(reading) & set(task)
        if task.get("ansible.builtin.import_tasks") != "verify.yml"
    ] == []
