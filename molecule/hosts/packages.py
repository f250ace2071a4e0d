"""Signed package repositories of packages that stand for others: the same names, versions and relations."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A package; its files are texts, or files to copy. Those in usr/bin can be run."""

    name: str
    version: str
    relations: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | Path] = field(default_factory=dict)
    postinst: str = ""


def build(package: Package, directory: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for path, content in package.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, root / path)
            else:
                (root / path).write_text(content)
            (root / path).chmod(0o755 if path.startswith("usr/bin") else 0o644)
        fields = {
            "Package": package.name,
            "Version": package.version,
            "Architecture": run("dpkg", "--print-architecture").strip(),
            "Maintainer": "Nobody <nobody@example.org>",
            "Description": f"Stands for {package.name}",
            **package.relations,
        }
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
        if package.postinst:
            (root / "DEBIAN/postinst").write_text(package.postinst)
            (root / "DEBIAN/postinst").chmod(0o755)
        root.chmod(0o755)
        run("dpkg-deb", "--build", "--root-owner-group", "-Znone", str(root), str(directory))


def run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def publish(packages: Sequence[Package], directory: Path, home: Path, keys: Sequence[Path]) -> None:
    """Make a repository of the packages, signed with a new key that is put where others look for it."""
    directory.mkdir(parents=True)
    for package in packages:
        build(package, directory)
    user = f"{directory.name}@example.org"
    gpg = ("gpg", "--homedir", str(home), "--batch", "--quiet")
    run(*gpg, "--passphrase", "", "--quick-generate-key", user, "ed25519", "sign", "1d")
    key = run(*gpg, "--armor", "--export", user)
    for path in keys:
        path.write_text(key)
    (directory / "Packages").write_text(run("apt-ftparchive", "packages", ".", cwd=directory))
    (directory / "Release").write_text(run("apt-ftparchive", "release", ".", cwd=directory))
    run(*gpg, "--local-user", user, "--clearsign", "--output", str(directory / "InRelease"), str(directory / "Release"))
