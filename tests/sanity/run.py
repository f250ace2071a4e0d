"""Run ansible-test sanity and antsibull-docs on the collection as it is built.

ansible-test expects a collection below a directory `ansible_collections`, with its dependencies beside it. This script
unpacks the tarball to such a place and copies the dependencies from the Python environment, so that neither a container
nor a Galaxy server is needed. docs/decisions/0005-sanity-runner.md says why it is not antsibull-nox.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible_collections
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# ansible-test keeps its virtual environments in the home directory. This one belongs to the checkout, so that
# `make clean` removes them.
HOME = CHECKOUT / ".cache" / "ansible-test"

# Tests of `ansible-test sanity --list-tests` that are not run, and the reasons.
SKIPPED = {
    "pslint": "the collection has no PowerShell",
    "shellcheck": "requires a program of that name on the machine",
    "yamllint": "`make lint` runs it with the rules of this project",
    "pep8": "`make lint` runs ruff",
    "pylint": "`make lint` runs ruff",
}

# ansible-test installs pip into its virtual environments with a script that it downloads from a server of its own.
# This script takes its place in the download cache and installs the pip that comes with Python.
PIP_BOOTSTRAP = "import ensurepip\n\nensurepip.bootstrap()\n"


def run(*command: str | Path, cwd: Path = CHECKOUT, env: dict[str, str] | None = None) -> None:
    print("$", Path(command[0]).name, *command[1:], flush=True)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, cwd=cwd, env={**os.environ, "PATH": path, **(env or {})}, check=True)


def unpack(root: Path) -> Path:
    """Build the collection and return the directory of its unpacked tarball."""
    run(BIN / "ansible-galaxy", "collection", "build", "--output-path", root)
    collection = root / "ansible_collections" / "mlstack" / "kubernetes"
    collection.mkdir(parents=True)
    (tarball,) = root.glob("*.tar.gz")
    shutil.unpack_archive(tarball, collection)
    return collection


def copy_dependencies(root: Path) -> None:
    """Copy the dependencies beside the collection.

    Links would not do: antsibull-docs resolves them, and finds nothing in a .venv that Git ignores.
    """
    for name in yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["dependencies"]:
        place = Path(*name.split("."))
        (installed,) = (Path(path) / place for path in ansible_collections.__path__ if (Path(path) / place).is_dir())
        shutil.copytree(installed, root / "ansible_collections" / place)


def prepare_home() -> None:
    """Provide pip's bootstrap script and the user's settings of pip in the home directory of ansible-test."""
    import ansible_test

    requirements = Path(ansible_test.__path__[0]) / "_internal" / "python_requirements.py"
    version = re.search(r"\bpip='([\d.]+)'", requirements.read_text())
    assert version, f"{requirements} names no version of pip"
    script = HOME / ".ansible" / "test" / "cache" / f"get_pip_{version[1].replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(PIP_BOOTSTRAP)
    # Directories in which pip looks for the user's settings.
    for name in (".config", ".pip"):
        if (Path.home() / name).is_dir() and not (HOME / name).is_symlink():
            (HOME / name).symlink_to(Path.home() / name)


def main() -> None:
    prepare_home()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        collection = unpack(root)
        copy_dependencies(root)
        # With the ansible.cfg of the checkout, Ansible would find the checkout instead of the unpacked collection.
        settings = root / "ansible.cfg"
        settings.touch()
        isolated = {"ANSIBLE_CONFIG": str(settings), "ANSIBLE_COLLECTIONS_PATH": str(root)}
        # antsibull-docs asks Git which files of a collection to read, and Git ignores everything in the virtual
        # environment.
        no_git = {"GIT_CEILING_DIRECTORIES": sys.prefix}
        run(BIN / "antsibull-docs", "lint-collection-docs", "--plugin-docs", collection, env={**isolated, **no_git})
        # Outside of a Git repository, ansible-test checks all files.
        run(
            BIN / "ansible-test",
            "sanity",
            "--local",
            "--requirements",
            "--python",
            f"{sys.version_info.major}.{sys.version_info.minor}",
            *(argument for name in SKIPPED for argument in ("--skip-test", name)),
            cwd=collection,
            env={**isolated, "HOME": str(HOME)},
        )


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
