# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The container images that manifests name, wherever they do so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# A name with a tag or a digest; what is looked for where it is not said that an image is meant.
REFERENCE = re.compile(r"[\w.-]+(:\d+)?(/[\w.-]+)+(:[\w.-]{1,128}|@sha256:[0-9a-f]{64})")
# Variables and arguments by which operators are told images of their own.
NAMED_IMAGE = re.compile(r"(?i)(image|_img)$")


def images_of(documents: Any) -> list[str]:
    """All images in `documents`, sorted, each with its registry: `busybox:1` is `docker.io/library/busybox:1`."""
    return sorted({with_registry(image) for image in _found(documents)})


def with_registry(image: str) -> str:
    """The image under its full name, as container runtimes complete it."""
    first, slash, _rest = image.partition("/")
    is_registry = slash and ("." in first or ":" in first or first == "localhost")
    full = image if is_registry else f"docker.io/{image}" if slash else f"docker.io/library/{image}"
    name = full.rpartition("/")[2]
    return full if ":" in name or "@" in name else f"{full}:latest"


def _found(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        yield from _in_mapping(part)
        for value in part.values():
            yield from _found(value)
    elif isinstance(part, list):
        for value in part:
            yield from _found(value)
    elif isinstance(part, str) and part.startswith("--"):
        name, equals, value = part.partition("=")
        if equals and NAMED_IMAGE.search(name) and REFERENCE.fullmatch(value):
            yield value


def _in_mapping(part: Mapping[str, Any]) -> Iterator[str]:
    image = part.get("image")
    if isinstance(image, str) and image:
        repository, version = part.get("repository"), part.get("version")
        if isinstance(repository, str) and repository and isinstance(version, str) and version:
            # As NVIDIA's operator names them.
            yield f"{repository}/{image}{'@' if version.startswith('sha256:') else ':'}{version}"
        elif not isinstance(repository, str):
            yield image
    # The environment of containers.
    name, value = part.get("name"), part.get("value")
    if isinstance(name, str) and isinstance(value, str) and NAMED_IMAGE.search(name) and REFERENCE.fullmatch(value):
        yield value
