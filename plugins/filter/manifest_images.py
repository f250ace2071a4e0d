# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.manifest_images import images_of
from ansible_collections.mlstack.kubernetes.plugins.plugin_utils.values import plain

DOCUMENTATION = r"""
name: manifest_images
short_description: List the container images that manifests name
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Finds the images of containers, also in objects of operators, and those that programs are told in variables of their
    environment and in arguments whose names end in C(image).
  - Completes each name by its registry, and by the tag C(latest) where there is neither tag nor digest.
options:
  _input:
    description: A manifest, a list of manifests, or YAML text with one or several.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: See what a chart would pull
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.pipe', 'helm template ./chart') | mlstack.kubernetes.manifest_images }}"
"""

RETURN = r"""
_value:
  description: The images, sorted, each once.
  type: list
  elements: str
  sample: ["docker.io/library/busybox:1.36", "registry.k8s.io/pause:3.10.1"]
"""


def manifest_images(value: Any) -> list[str]:
    if not isinstance(value, str):
        return images_of(plain(value))
    try:
        return images_of(list(yaml.load_all(value, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))
    except yaml.YAMLError as error:
        raise AnsibleFilterError(f"manifest_images cannot read this YAML: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"manifest_images": manifest_images}
