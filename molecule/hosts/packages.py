"""Signed repositories, for apt and dnf, of packages that stand for others: the same names, versions and relations."""

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


def write_files(package: Package, root: Path) -> None:
    for path, content in package.files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, root / path)
        else:
            (root / path).write_text(content)
        (root / path).chmod(0o755 if path.startswith("usr/bin") else 0o644)


def build(package: Package, directory: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_files(package, root)
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


def build_rpm(package: Package, directory: Path) -> None:
    """Build a package of rpm; several values of one relation are parted by `, `, and a postinst is its %post."""
    epoch, _, rest = package.version.rpartition(":")
    version, _, release = rest.partition("-")
    relations = [f"{key}: {value}" for key, values in package.relations.items() for value in values.split(", ")]
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(temporary) / "files"
        files.mkdir()
        write_files(package, files)
        specification = [
            *(
                f"{key}: {value}"
                for key, value in {"Name": package.name, "Version": version, "Release": release}.items()
            ),
            *([f"Epoch: {epoch}"] if epoch else []),
            f"Summary: Stands for {package.name}",
            "License: none",
            "AutoReqProv: no",
            *relations,
            "%description",
            f"Stands for {package.name}",
            *(["%post", package.postinst] if package.postinst else []),
            "%install",
            f"cp -r {files}/. %{{buildroot}}/",
            "%files",
            *(f"/{path}" for path in package.files),
        ]
        (Path(temporary) / "package.spec").write_text("\n".join([*specification, ""]))
        settings = {"_topdir": temporary, "_rpmdir": str(directory), "_build_id_links": "none", "__strip": "/bin/true"}
        defined = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
        run("rpmbuild", "-bb", "--quiet", *defined, f"{temporary}/package.spec")


def run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def publish(packages: Sequence[Package], directory: Path, home: Path, keys: Sequence[Path]) -> None:
    """Make a repository of the packages for apt, signed with a new key that is put where others look for it."""
    directory.mkdir(parents=True)
    for package in packages:
        build(package, directory)
    user = make_key(directory, home, keys)
    (directory / "Packages").write_text(run("apt-ftparchive", "packages", ".", cwd=directory))
    (directory / "Release").write_text(run("apt-ftparchive", "release", ".", cwd=directory))
    release = str(directory / "Release")
    run(*gpg(home), "--local-user", user, "--clearsign", "--output", str(directory / "InRelease"), release)


def publish_rpm(
    packages: Sequence[Package], directory: Path, home: Path, keys: Sequence[Path], signed: str = "packages"
) -> None:
    """Make a repository of the packages for dnf; the packages are signed, or the metadata."""
    directory.mkdir(parents=True)
    for package in packages:
        build_rpm(package, directory)
    user = make_key(directory, home, keys)
    if signed == "packages":
        built = [str(path) for path in directory.rglob("*.rpm")]
        settings = {"_gpg_name": user, "_gpg_path": str(home), "__gpg": shutil.which("gpg") or "gpg"}
        defined = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
        run("rpmsign", *defined, "--addsign", *built)
    run("createrepo_c", "--quiet", str(directory))
    if signed == "metadata":
        run(*gpg(home), "--local-user", user, "--armor", "--detach-sign", str(directory / "repodata/repomd.xml"))


def make_key(directory: Path, home: Path, keys: Sequence[Path]) -> str:
    user = f"{'-'.join(directory.parts[-2:])}@example.org"
    # One that rpm knows, too.
    run(*gpg(home), "--passphrase", "", "--quick-generate-key", user, "rsa3072", "sign", "1d")
    key = run(*gpg(home), "--armor", "--export", user)
    for path in keys:
        path.write_text(key)
    return user


def gpg(home: Path) -> tuple[str, ...]:
    return "gpg", "--homedir", str(home), "--batch", "--quiet"
