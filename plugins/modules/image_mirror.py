#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: image_mirror
short_description: Copy images to a registry of one's own, digests kept
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Copies images with all their architectures, byte for byte, by C(skopeo), several at a time. What is there already is
    not copied again.
  - An image keeps its name below O(prefix), its registry included; a colon in that becomes an underscore.
  - Where one side has no way to the other, O(mode=save) writes the images to a directory and O(mode=load) brings them
    from there to the registry.
requirements:
  - skopeo
options:
  images:
    description:
      - The images, with their registries and a tag, such as V(docker.io/library/busybox:1.36), or a digest, or both.
        One with a digest is refused if it is another one.
    type: list
    elements: str
    required: true
  mode:
    description: From where to where.
    type: str
    choices: [copy, save, load]
    default: copy
  directory:
    description: Directory that carries the images, for O(mode=save) and O(mode=load).
    type: path
  prefix:
    description:
      - Registry, and perhaps a path in it, below which the images keep their names. Required but for O(mode=save).
    type: str
  ca_file:
    description: Certificate of the authority that signed that registry's certificate. Required but for O(mode=save).
    type: path
  auth_file:
    description:
      - File with the credentials for that registry, as C(containers-auth.json) has them. Required but for O(mode=save).
    type: path
  source_auth_file:
    description: The same for the registries that the images come from.
    type: path
  source_ca_file:
    description: Certificate of the authority that signed their certificates, where the host does not know it.
    type: path
attributes:
  check_mode:
    description: Says what would be copied.
    support: full
  diff_mode:
    description: The list of images says all.
    support: none
"""

EXAMPLES = r"""
- name: Have what the cluster needs in the own registry
  mlstack.kubernetes.image_mirror:
    images:
      - registry.k8s.io/coredns/coredns:v1.12.1
      - docker.io/kubeflow/training-operator:v1-5525468
    prefix: registry.example.com:5443
    ca_file: /var/lib/example/ca.crt
    auth_file: /var/lib/example/auth.json
"""

RETURN = r"""
images:
  description: Each image's name in the registry, and its digest. Empty digests where it would be copied in check mode.
  returned: success
  type: dict
  sample: {"registry.example.com:5443/docker.io/library/busybox:1.36": "sha256:6d5f…"}
copied:
  description: The images that were copied.
  returned: success
  type: list
  elements: str
  sample: [docker.io/library/busybox:1.36]
"""

import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.registry_api import (
    Registry,
    RegistryError,
    basic_credentials,
    digest_of,
)

# As many as a registry and two processors take side by side.
AT_ONCE = 4
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Image(NamedTuple):
    """An image by its parts; one of `tag` and `digest` may be empty."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def source(self) -> str:
        return f"{self.registry}/{self.repository}{f'@{self.digest}' if self.digest else f':{self.tag}'}"

    @property
    def local(self) -> str:
        """Its repository below a prefix."""
        return f"{self.registry.replace(':', '_')}/{self.repository}"

    @property
    def reference(self) -> str:
        return self.tag or self.digest

    @property
    def directory(self) -> str:
        """Name of a directory for it alone."""
        return re.sub(r"[/:@]", "_", f"{self.local}_{self.reference}")


def parse(name: str) -> Image:
    """Return the parts of a name. Raises ValueError where one is missing."""
    rest, _, digest = name.partition("@")
    path, _, tag = rest.rpartition(":") if ":" in rest.rpartition("/")[2] else (rest, "", "")
    registry, _, repository = path.partition("/")
    if not repository or not ("." in registry or ":" in registry or registry == "localhost"):
        raise ValueError(f"images: {name!r} names no registry; write it whole, such as docker.io/library/busybox:1.36")
    if not tag and not digest:
        raise ValueError(f"images: {name!r} has neither tag nor digest; name what is wanted, such as {name}:1.36")
    if digest and not DIGEST.fullmatch(digest):
        raise ValueError(f"images: {name!r}: {digest!r} is no digest; it is sha256: and 64 hexadecimal digits")
    return Image(registry, repository, tag, digest)


class Mirror:
    def __init__(self, module: AnsibleModule, certificates: str, source_certificates: str) -> None:
        self.is_check = module.check_mode
        params = module.params
        self.mode, self.base = params["mode"], params["directory"]
        self.address, _, self.path = (params["prefix"] or "").partition("/")
        self.from_registry = [f"--src-cert-dir={source_certificates}"] if source_certificates else []
        self.inspecting = [f"--cert-dir={source_certificates}"] if source_certificates else []
        if params["source_auth_file"]:
            self.from_registry.append(f"--src-authfile={params['source_auth_file']}")
            self.inspecting.append(f"--authfile={params['source_auth_file']}")
        # A directory wants no credentials.
        if self.mode != "save":
            self.to_registry = [f"--dest-cert-dir={certificates}", f"--dest-authfile={params['auth_file']}"]
            credentials = basic_credentials(params["auth_file"], self.address)
            self.registry = Registry(self.address, params["ca_file"], credentials)

    def name(self, image: Image) -> str:
        return f"{self.address}/{self.repository(image)}{':' if image.tag else '@'}{image.reference}"

    def repository(self, image: Image) -> str:
        return f"{self.path}/{image.local}" if self.path else image.local

    def saved(self, image: Image) -> str:
        return os.path.join(self.base, image.directory)

    def saved_digest(self, image: Image) -> str | None:
        """Return the digest of what the directory has, None where it has nothing whole."""
        try:
            with open(os.path.join(self.saved(image), "manifest.json"), "rb") as stream:
                return digest_of(stream.read())
        except FileNotFoundError:
            return None

    def wanted(self, image: Image) -> str:
        """Return the digest of what is to be copied."""
        if self.mode == "load":
            found = self.saved_digest(image)
            if found is None:
                raise RegistryError(f"directory: {self.base} has no {image.source}; save it there first")
            if image.digest and found != image.digest:
                raise RegistryError(f"directory: {self.base} has {found} of {image.local}, not {image.digest}")
            return found
        if image.digest:
            return image.digest
        return digest_of(self.run("skopeo", "inspect", "--raw", *self.inspecting, f"docker://{image.source}"))

    def bring(self, image: Image) -> tuple[str, bool]:
        """Return the image's digest, and whether it had to be copied."""
        wanted = self.wanted(image)
        there = (
            self.saved_digest(image)
            if self.mode == "save"
            else self.registry.digest(self.repository(image), image.reference)
        )
        if there == wanted:
            return wanted, False
        if self.is_check:
            return "", True
        copy = ["skopeo", "copy", "--quiet", "--all", "--preserve-digests"]
        source = (
            [f"dir:{self.saved(image)}"] if self.mode == "load" else [*self.from_registry, f"docker://{image.source}"]
        )
        if self.mode == "save":
            self.save(image, [*copy, *source])
        else:
            self.run(*copy, *source, *self.to_registry, f"docker://{self.name(image)}")
        return wanted, True

    def save(self, image: Image, command: list[str]) -> None:
        """Write an image to its directory, which is there only when it is whole."""
        unfinished = f"{self.saved(image)}.new"
        for path in (unfinished, self.saved(image)):
            shutil.rmtree(path, ignore_errors=True)
        os.makedirs(self.base, exist_ok=True)
        self.run(*command, f"dir:{unfinished}")
        os.replace(unfinished, self.saved(image))

    def run(self, *command: str) -> bytes:
        result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        if result.returncode != 0:
            said = result.stderr.decode(errors="replace").strip().splitlines() or ["skopeo said nothing"]
            raise RegistryError(f"{command[-1].removeprefix('docker://')}: {said[-1]}")
        return result.stdout


def certificate_directory(parent: str, name: str, ca_file: str) -> str:
    """Return a directory in the form in which skopeo reads the certificate of an authority."""
    directory = os.path.join(parent, name)
    os.mkdir(directory)
    shutil.copyfile(ca_file, os.path.join(directory, "ca.crt"))
    return directory


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "list", "elements": "str", "required": True},
            "mode": {"type": "str", "choices": ["copy", "save", "load"], "default": "copy"},
            "directory": {"type": "path"},
            "prefix": {"type": "str"},
            "ca_file": {"type": "path"},
            "auth_file": {"type": "path"},
            "source_auth_file": {"type": "path"},
            "source_ca_file": {"type": "path"},
        },
        required_if=[
            ("mode", "copy", ["prefix", "ca_file", "auth_file"]),
            ("mode", "save", ["directory"]),
            ("mode", "load", ["directory", "prefix", "ca_file", "auth_file"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    try:
        images = {name: parse(name) for name in params["images"]}
        with tempfile.TemporaryDirectory(prefix="mlstack-") as temporary:
            own = certificate_directory(temporary, "own", params["ca_file"]) if params["ca_file"] else ""
            other = (
                certificate_directory(temporary, "source", params["source_ca_file"]) if params["source_ca_file"] else ""
            )
            mirror = Mirror(module, own, other)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                results = list(pool.map(mirror.bring, images.values()))
    except (OSError, ValueError, RegistryError) as error:
        module.fail_json(msg=str(error))
    copied = [name for name, (_digest, is_copied) in zip(images, results, strict=True) if is_copied]
    module.exit_json(
        changed=bool(copied),
        images={
            (image.source if mirror.mode == "save" else mirror.name(image)): digest
            for image, (digest, _) in zip(images.values(), results, strict=True)
        },
        copied=copied,
    )


if __name__ == "__main__":
    main()
