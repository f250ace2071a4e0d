# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import InvalidJobError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.legacy_specs import convert_documents
from ansible_collections.mlstack.kubernetes.plugins.plugin_utils.values import plain

DOCUMENTATION = r"""
name: to_v1
short_description: Convert training jobs of earlier API versions
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Turns TFJobs and PyTorchJobs of C(v1alpha1) to C(v1beta2), of C(tensorflow.org) and C(mlkube.io), and of the early
    C(kubeflow.org/v1) into what the training operator takes today.
  - Each change is shown as a warning. What cannot be converted is an error that says why, and what to write instead.
  - A job that is up to date stays as it is.
  - A PodGroup beside the job whose gang it describes becomes part of the job.
options:
  _input:
    description: A job, a list of documents, or YAML text with one document or several.
    type: raw
    required: true
notes:
  - For a cluster of parameter servers and workers that consists of controllers and Services the error holds the TFJob
    that takes its place.
"""

EXAMPLES = r"""
- name: Show what an old job is today
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', 'job.v1alpha1.yaml') | mlstack.kubernetes.to_v1 | first }}"

- name: Run an old job
  mlstack.kubernetes.pytorchjob:
    definition: "{{ old_job | mlstack.kubernetes.to_v1 }}"
"""

RETURN = r"""
_value:
  description: The job where a mapping was given, and else the list of all jobs.
  type: raw
"""


def to_v1(value: Any) -> Any:
    documents = _documents(value)
    try:
        jobs, warnings = convert_documents(documents)
    except InvalidJobError as error:
        raise AnsibleFilterError("\n".join(["to_v1 cannot convert this:", *error.problems])) from error
    for warning in warnings:
        Display().warning(warning)
    return jobs[0] if isinstance(value, Mapping) and len(jobs) == 1 else jobs


def _documents(value: Any) -> list[Any]:
    if not isinstance(value, str):
        given = plain(value)
        return given if isinstance(given, list) else [given]
    try:
        return list(yaml.safe_load_all(value))
    except yaml.YAMLError as error:
        raise AnsibleFilterError(f"to_v1 cannot read this YAML: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"to_v1": to_v1}
