#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Build container images from packages and push them, unless the registry has them
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Hashes everything that an image is made of. Where the registry has an image tagged with that hash, nothing is done.
    Otherwise the image is built with buildah and pushed, one after the other.
  - The image is also kept as a file in O(work_directory), so that a new registry gets it without another build.
  - The directory of the image holds a C(Containerfile). Its build context is made on the host, so that no build step
    needs a network. It holds the files of the directory, the compiled programs below C(programs/), further files as
    asked for, and the results of two lists of packages.
  - C(debian.txt), one Debian package a line, becomes C(rootfs.tar). It is made from the package sources of the host.
  - C(requirements.txt) becomes the directory C(site-packages/), made by the pip of the host's C(/usr/bin/python3).
    It has to name every package that the image needs, because dependencies are not followed.
  - Comments and C(README.md) are the only parts of the directory that the hash leaves out.
requirements:
  - buildah
  - skopeo
  - mmdebstrap, for C(debian.txt)
  - python3-pip, for C(requirements.txt)
options:
  images:
    description: The images, those that others begin with before them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the image, which is appended to O(prefix).
        type: str
        required: true
      base:
        description:
          - Image that this one begins with, for a C(Containerfile) that says C(ARG BASE) and C(FROM ${BASE}). Nodes
            pull what both have in common once.
          - Name of one before it in O(images), or the full reference of one in the same registry.
        type: str
        default: ""
      directory:
        description: Directory with the C(Containerfile) and the package lists, on the host. Without it the one that is
          named as the image in O(directory).
        type: path
      programs:
        description: Compiled programs, put below C(programs/) in the build context under their own names.
        type: list
        elements: path
        default: []
      files:
        description: Further files and directories for the build context.
        type: list
        elements: dict
        default: []
        suboptions:
          source:
            description: File or directory on the host.
            type: path
            required: true
          target:
            description: Its path in the build context.
            type: str
            required: true
  directory:
    description: Directory with a directory for each image that names none.
    type: path
  prefix:
    description: Registry and path that lead the image's name, such as V(127.0.0.1:5443/mlstack).
    type: str
    required: true
  ca_file:
    description: Certificate of the authority that signed the registry's certificate.
    type: path
    required: true
  auth_file:
    description: File with the credentials, in the form of C(containers-auth.json).
    type: path
    required: true
  work_directory:
    description:
      - Directory for build contexts, buildah's storage and the latest image of each name. A build removes at its end
        all but the image.
    type: path
    required: true
attributes:
  check_mode:
    description: Says which images would be built, and under which tags.
    support: full
  diff_mode:
    description: The tag says all.
    support: none
"""

EXAMPLES = r"""
- name: Build the images of the cluster's DNS server, and of a notebook that begins with TensorFlow
  mlstack.kubernetes.image_build:
    images:
      - {name: coredns, programs: [/srv/example/programs/coredns]}
      - {name: tensorflow}
      - {name: notebook, base: tensorflow, directory: /srv/example/notebook}
    directory: /srv/example/images
    prefix: 127.0.0.1:5443/mlstack
    ca_file: /var/lib/example/ca.crt
    auth_file: /var/lib/example/auth.json
    work_directory: /var/cache/example
"""

RETURN = r"""
images:
  description: The images, in their order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the image.
      type: str
      sample: coredns
    image:
      description: Full reference of the image.
      type: str
      sample: 127.0.0.1:5443/mlstack/coredns:4f1c2b9a7d3e5f60
    digest:
      description: Digest of the image's manifest. Empty where the image would be built in check mode.
      type: str
      sample: sha256:6d5f…
    size:
      description: Bytes of the image as the registry holds it.
      type: int
      sample: 19482211
    packages:
      description: The entries of C(debian.txt) and C(requirements.txt).
      type: list
      elements: str
      sample: [python3, six==1.16.0]
    seconds:
      description: Time that each step of the build took. Empty where nothing was built.
      type: dict
      sample: {rootfs: 41.2, build: 6.0, push: 3.1, keep: 0.8}
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.registry_api import (
    Registry,
    RegistryError,
    basic_credentials,
)

# Part of every hash. To be raised when this module makes something else of the same inputs.
RECIPE = 1
PACKAGE_LISTS = ("debian.txt", "requirements.txt")
# Never part of a hash or of an image.
IGNORED = ("__pycache__", "README.md")
# Documentation and translations, which nobody reads in a container; the copyright files stay.
LEFT_OUT = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*"]
LEFT_IN = ["/usr/share/doc/*/copyright"]
# Options of the host's apt that say how to reach the package sources.
APT_OPTIONS = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")


class BuildError(Exception):
    """The image cannot be built."""


def entries(path: Path) -> list[str]:
    """Return the lines of a package list without comments and blanks."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def inputs(params: dict[str, Any]) -> dict[str, Path]:
    """Return everything that the image is made of: paths in the build context and the files that belong there."""
    sources = {"": Path(params["directory"])}
    sources.update({f"programs/{Path(program).name}": Path(program) for program in params["programs"]})
    sources.update({entry["target"].strip("/"): Path(entry["source"]) for entry in params["files"]})
    found: dict[str, Path] = {}
    for target, source in sources.items():
        if source.is_dir():
            for path in sorted(source.rglob("*")):
                relative = path.relative_to(source)
                if path.is_file() and not set(relative.parts).intersection(IGNORED):
                    found[str(Path(target) / relative)] = path
        elif source.is_file():
            found[target] = source
        else:
            raise BuildError(f"{source}: not found")
    if "Containerfile" not in found:
        raise BuildError(f"{params['directory']}: holds no Containerfile")
    return found


def tag_of(found: dict[str, Path], base: str = "") -> str:
    # Of the base only the name and tag, since the same registry may have several addresses.
    start = [str(RECIPE), platform.machine(), *([base.rpartition("/")[2]] if base else [])]
    digest = hashlib.sha256(" ".join(start).encode())
    for target, path in sorted(found.items()):
        if target in PACKAGE_LISTS:
            content = hashlib.sha256("\n".join(entries(path)).encode()).hexdigest()
        else:
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"\0{target}\0{os.access(path, os.X_OK)}\0{content}".encode())
    return digest.hexdigest()[:16]


class Build:
    """One build, in a directory of its own that is gone afterwards."""

    def __init__(self, params: dict[str, Any], found: dict[str, Path], reference: str, work: Path, lock: int) -> None:
        self.params = params
        self.found = found
        self.reference = reference
        self.work = work
        self.lock = lock
        self.context = work / "context"
        # Beside the work directories, as `name@tag`, which no image's own name can be.
        self.kept = work.parent / "kept" / f"{params['name']}@{reference.rpartition(':')[2]}"
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 1)

    def run(self, *command: str, environment: dict[str, str] | None = None) -> str:
        try:
            result = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=self.work,
                env={**os.environ, "TMPDIR": str(self.work), **(environment or {})},
                # The lock lasts as long as any of its holders: a later build waits for what a killed one left running.
                pass_fds=[self.lock],
            )
        except FileNotFoundError:
            raise BuildError(f"{command[0]}: not installed") from None
        if result.returncode:
            last_lines = "\n".join((result.stdout + result.stderr).strip().splitlines()[-20:])
            raise BuildError(f"{command[0]} ended with {result.returncode}:\n{last_lines}")
        return result.stdout

    def make(self) -> None:
        with self.step("context"):
            for target, source in self.found.items():
                destination = self.context / target
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, destination)
        # Both wait for downloads and for the disk, each at another time.
        with ThreadPoolExecutor() as executor:
            makers = {"debian.txt": self.make_rootfs, "requirements.txt": self.make_site_packages}
            futures = [executor.submit(maker) for target, maker in makers.items() if target in self.found]
        for future in futures:
            future.result()
        with self.step("build"):
            self.buildah(
                *(
                    "build",
                    "--isolation",
                    "chroot",
                    "--format",
                    "oci",
                    "--tag",
                    self.reference,
                    *self.base_options(),
                    "context",
                )
            )
        with self.step("push"):
            self.push()

    def base_options(self) -> list[str]:
        if not self.params["base"]:
            return []
        access = ["--authfile", self.params["auth_file"], "--cert-dir", str(self.certificates())]
        return [*access, "--build-arg", f"BASE={self.params['base']}"]

    def make_rootfs(self) -> None:
        configuration = self.run("apt-config", "dump", "--no-empty", "--format", '%f "%v";%n', "Acquire")
        options = [line for line in configuration.splitlines() if line.startswith(APT_OPTIONS)]
        (self.work / "apt.conf").write_text("".join(f"{line}\n" for line in options), encoding="utf-8")
        sources = [*Path("/etc/apt").glob("sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
        with self.step("rootfs"):
            self.run(
                "mmdebstrap",
                "--mode=root",
                "--variant=essential",
                # Without it the package usrmerge comes in, and with it all of perl.
                "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
                f"--include={','.join(entries(self.found['debian.txt']))}",
                f"--aptopt={self.work}/apt.conf",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
                *(f"--dpkgopt=path-include={pattern}" for pattern in LEFT_IN),
                # What mmdebstrap takes over from the host has no business in an image.
                '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/resolv.conf" "$1/etc/hostname"',
                platform.freedesktop_os_release()["VERSION_CODENAME"],
                str(self.context / "rootfs.tar"),
                *(str(path) for path in sources if path.suffix in (".list", ".sources") and path.stat().st_size),
            )

    def make_site_packages(self) -> None:
        # The distribution's own Python, because the image gets the same one.
        with self.step("site-packages"):
            self.run(
                *("/usr/bin/python3", "-m", "pip", "install", "--no-input", "--no-cache-dir", "--quiet"),
                *("--only-binary=:all:", "--root-user-action=ignore", "--no-deps"),
                *("--target", str(self.context / "site-packages")),
                *("--requirement", str(self.context / "requirements.txt")),
            )

    def restore(self) -> bool:
        """Push the image that an earlier build has kept, if there is one."""
        if not self.kept.exists():
            return False
        with self.step("push"):
            try:
                self.skopeo("dest", f"oci-archive:{self.kept}", f"docker://{self.reference}")
            except BuildError:
                # A registry that takes no images says so again when the new one is pushed.
                self.kept.unlink()
                return False
        return True

    def keep(self) -> None:
        """Keep the image as it was pushed, and none of the same name from other inputs."""
        with self.step("keep"):
            self.kept.parent.mkdir(exist_ok=True)
            partial = self.kept.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            self.skopeo("src", f"docker://{self.reference}", f"oci-archive:{partial}")
            for older in self.kept.parent.glob(f"{self.params['name']}@*"):
                if older != partial:
                    older.unlink()
            partial.rename(self.kept)

    def skopeo(self, registry_side: str, source: str, destination: str) -> None:
        self.run(
            *("skopeo", "--policy", str(self.policy()), "copy", "--quiet", "--preserve-digests"),
            *(f"--{registry_side}-cert-dir", str(self.certificates())),
            *(f"--{registry_side}-authfile", self.params["auth_file"]),
            *(source, destination),
        )

    def certificates(self) -> Path:
        directory = self.work / "certificates"
        directory.mkdir(exist_ok=True)
        shutil.copy(self.params["ca_file"], directory / "ca.crt")
        return directory

    def policy(self) -> Path:
        path = self.work / "policy.json"
        path.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}), encoding="utf-8")
        return path

    def push(self) -> None:
        self.buildah(
            *("push", "--authfile", self.params["auth_file"], "--cert-dir", str(self.certificates())),
            # A node unpacks zstd in a third of the time that gzip takes.
            *("--compression-format", "zstd", "--compression-level", "1"),
            *(self.reference, f"docker://{self.reference}"),
        )

    def buildah(self, *arguments: str) -> str:
        storage = ["--root", str(self.work / "storage"), "--runroot", str(self.work / "run")]
        command, *rest = arguments
        policy = ["--signature-policy", str(self.policy())]
        return self.run("buildah", *storage, command, *policy, *rest, environment={"BUILDAH_ISOLATION": "chroot"})


def discard(work: Path) -> None:
    """Remove what a build left, also one that was killed."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    for line in reversed(mounts):
        target = line.split()[1]
        if Path(target).is_relative_to(work):
            subprocess.run(["umount", "--lazy", target], check=True, capture_output=True)
    if work.exists():
        shutil.rmtree(work)


def build(params: dict[str, Any], found: dict[str, Path], reference: str, registry: Registry) -> dict[str, float]:
    """Build and push the image, unless another build that was under way has done so meanwhile."""
    repository, _, tag = reference.partition("/")[2].rpartition(":")
    directory = Path(params["work_directory"])
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{params['name']}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if registry.image(repository, tag):
            return {}
        work = directory / params["name"]
        discard(work)
        work.mkdir()
        try:
            task = Build(params, found, reference, work, lock.fileno())
            if not task.restore():
                task.make()
                task.keep()
        finally:
            discard(work)
        return task.seconds


def described(images: list[dict[str, Any]], directory: str | None) -> list[dict[str, Any]]:
    """The images, each with its directory."""
    described = [
        {**image, "directory": image["directory"] or (directory and str(Path(directory) / image["name"]))}
        for image in images
    ]
    for image in described:
        if not image["directory"]:
            raise BuildError(f"Image {image['name']}: neither its own directory nor that of all images is given")
    return described


def have(image: dict[str, Any], params: dict[str, Any], registry: Registry | None, only_look: bool) -> dict[str, Any]:
    """What there is of the image, after it was built where it is missing; without a `registry` it is missing."""
    name, path = image["name"], params["prefix"].partition("/")[2]
    if only_look and any(not os.path.exists(program) for program in image["programs"]):
        # An earlier task, which was only checked too, is the one that makes them; the tag depends on what they are.
        return result(name, f"{params['prefix']}/{name}:not-built-yet")
    found = inputs(image)
    packages = [entry for target in PACKAGE_LISTS if target in found for entry in entries(found[target])]
    tag = tag_of(found, image["base"])
    reference = f"{params['prefix']}/{name}:{tag}"
    if registry is None:
        return result(name, reference, packages)
    repository = f"{path}/{name}" if path else name
    there = registry.image(repository, tag)
    seconds: dict[str, float] = {}
    if there is None and not only_look:
        seconds = build({**params, **image}, found, reference, registry)
        there = registry.image(repository, tag)
        if there is None:
            raise BuildError(f"{reference} was pushed, but the registry does not have it")
    return result(name, reference, packages, there.digest if there else "", there.size if there else 0, seconds)


def result(
    name: str,
    image: str,
    packages: list[str] | None = None,
    digest: str = "",
    size: int = 0,
    seconds: dict[str, float] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "digest": digest,
        "size": size,
        "packages": packages or [],
        "seconds": seconds or {},
    }


def main() -> NoReturn:
    module = AnsibleModule(
        argument_spec={
            "images": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "base": {"type": "str", "default": ""},
                    "directory": {"type": "path"},
                    "programs": {"type": "list", "elements": "path", "default": []},
                    "files": {
                        "type": "list",
                        "elements": "dict",
                        "default": [],
                        "options": {
                            "source": {"type": "path", "required": True},
                            "target": {"type": "str", "required": True},
                        },
                    },
                },
            },
            "directory": {"type": "path"},
            "prefix": {"type": "str", "required": True},
            "ca_file": {"type": "path", "required": True},
            "auth_file": {"type": "path", "required": True},
            "work_directory": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    address = params["prefix"].partition("/")[0]
    results: dict[str, dict[str, Any]] = {}
    what = f"Registry {address}"
    changed = False
    try:
        images = described(params["images"], params["directory"])
        credentials = basic_credentials(params["auth_file"], address)
        # In check mode on a new host there is no registry yet, so the images would be built.
        if credentials is None and not module.check_mode:
            raise BuildError(f"{params['auth_file']}: holds no credentials for {address}")
        registry = Registry(address, params["ca_file"], credentials) if credentials is not None else None
        for image in images:
            what = f"Image {image['name']}"
            base = results.get(image["base"])
            settled = {**image, "base": base["image"] if base else image["base"]}
            made = have(settled, params, registry, module.check_mode)
            changed |= not made["digest"] or bool(made["seconds"])
            results[image["name"]] = made
    except (BuildError, OSError, RegistryError, subprocess.CalledProcessError) as error:
        module.fail_json(msg=f"{what}: {error}", images=list(results.values()))
    module.exit_json(changed=changed, images=list(results.values()))


if __name__ == "__main__":
    main()
