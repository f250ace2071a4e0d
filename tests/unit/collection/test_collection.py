"""The declarations of the collection, and its tarball: its contents, installation and use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
GALAXY = yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())
RUNTIME = yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text())
JOB_MODULES = {"pytorchjob", "tfjob", "training_job_info", "training_job_verify", "volcano_job"}
# Modules that call the Kubernetes API.
API_MODULES = {
    path.stem
    for path in (CHECKOUT / "plugins/modules").glob("*.py")
    if "kubernetes.core.k8s_auth_options" in path.read_text()
}


def ansible(program: str, *arguments: str | Path, cwd: Path, **environment: str) -> str:
    """Run one of Ansible's programs without the settings of the checkout, and return its output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    result = subprocess.run(
        [BIN / program, *arguments], cwd=cwd, env=inherited | environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("build")
    ansible("ansible-galaxy", "collection", "build", CHECKOUT, "--output-path", directory, cwd=directory)
    return directory / f"mlstack-kubernetes-{GALAXY['version']}.tar.gz"


@pytest.fixture(scope="module")
def installed(tarball: Path) -> Path:
    """Install the tarball. With `--offline`, its dependencies come from the package `ansible`, not from Galaxy."""
    directory = tarball.parent / "collections"
    ansible("ansible-galaxy", "collection", "install", "--offline", "-p", directory, tarball, cwd=tarball.parent)
    return directory


def test_install_adds_this_collection_only(installed: Path) -> None:
    assert [path.name for path in (installed / "ansible_collections").iterdir() if path.is_dir()] == ["mlstack"]


def test_tarball_holds_the_product_only(installed: Path) -> None:
    top = {path.name for path in (installed / "ansible_collections/mlstack/kubernetes").iterdir()}
    assert {
        "LICENSE",
        "MANIFEST.json",
        "README.md",
        "examples",
        "images",
        "meta",
        "playbooks",
        "plugins",
        "roles",
    } <= top
    assert not top & {".git", ".venv", ".collections", ".cache", ".mypy_cache", ".pytest_cache", ".ruff_cache", "dist"}
    assert not top & {".editorconfig", ".github", ".pre-commit-config.yaml"}


def test_installed_modules_are_documented(installed: Path) -> None:
    output = ansible(
        "ansible-doc",
        "--json",
        *(f"mlstack.kubernetes.{module}" for module in sorted(API_MODULES)),
        cwd=installed,
        ANSIBLE_COLLECTIONS_PATH=str(installed),
    )
    documents = json.loads(output)
    # An option that comes from kubernetes.core's documentation fragment.
    assert {name for name, document in documents.items() if "kubeconfig" in document["doc"]["options"]} == {
        f"mlstack.kubernetes.{module}" for module in API_MODULES
    }


def test_installed_playbook_is_found_by_its_name(installed: Path) -> None:
    output = ansible(
        "ansible-playbook",
        "--list-tasks",
        "-i",
        CHECKOUT / "inventories/local/hosts.ini",
        "mlstack.kubernetes.ai",
        cwd=installed,
        ANSIBLE_COLLECTIONS_PATH=str(installed),
    )
    assert "TAGS" in output


def test_action_group_covers_api_modules() -> None:
    group = RUNTIME["action_groups"]["k8s"]
    assert {"metadata": {"extend_group": ["kubernetes.core.k8s"]}} in group
    assert {entry for entry in group if isinstance(entry, str)} == API_MODULES


def test_action_plugins_cover_job_modules() -> None:
    assert {path.stem for path in (CHECKOUT / "plugins/action").glob("*.py")} == JOB_MODULES


def fully_qualified_names(node: Any) -> set[str]:
    """Return the keys of tasks that are names of the form namespace.collection.plugin."""
    if isinstance(node, list):
        return set().union(*(fully_qualified_names(item) for item in node))
    if isinstance(node, dict):
        keys = {key for key in node if isinstance(key, str) and re.fullmatch(r"[a-z_]+\.[a-z_]+\.[a-z0-9_]+", key)}
        return keys.union(*(fully_qualified_names(value) for value in node.values()))
    return set()


def test_dependencies_are_those_that_tasks_use() -> None:
    files = [*CHECKOUT.glob("playbooks/**/*.y*ml"), *CHECKOUT.glob("roles/*/tasks/**/*.yml")]
    used = {
        name.rpartition(".")[0] for file in files for name in fully_qualified_names(yaml.safe_load(file.read_text()))
    }
    assert used - {"ansible.builtin", "mlstack.kubernetes"} == set(GALAXY["dependencies"])


def test_dependencies_are_bounded() -> None:
    assert [
        name for name, bounds in GALAXY["dependencies"].items() if not re.fullmatch(r">=[\d.]+,<[\d.]+", bounds)
    ] == []
