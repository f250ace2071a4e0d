# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Keeps secrets out of what is shown: lines of logs, messages of the API server, reports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import JobKind, as_dict, as_list
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json

HIDDEN = "********"
# A shorter text is found everywhere, and hiding it would hide all.
SHORTEST = 6

# Words in the name of a variable or key; `tokens=1000` is a number of words that a model has read.
_WORD = r"(?:token|passwd|password|passphrase|secret|credentials?|api[_-]?key|access[_-]?key|private[_-]?key)"
_SECRET_NAME = re.compile(_WORD, re.IGNORECASE)
_IN_TEXT = (
    # key=value and "key": "value", but for numbers
    re.compile(rf"""(\w*{_WORD}["']?\s*[=:]\s*["']?)(?![\d.eE+-]+\b)([^\s"',;]+)""", re.IGNORECASE),
    # Authorization: Bearer value
    re.compile(r"\b((?:bearer|basic)\s+)([\w.~+/=-]{8,})", re.IGNORECASE),
    # https://user:value@host
    re.compile(r"(://[^/\s:@]+:)([^@\s/]+)(?=@)"),
    # Tokens of Hugging Face, GitHub, GitLab, AWS, Slack, OpenAI and the like, and JSON Web Tokens
    re.compile(
        r"(\b)(?:hf_\w{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}\b"
        r"|xox[abprs]-[\w-]{10,}|sk-(?:[a-z]+-)?\w{20,}|eyJ[\w-]{5,}\.eyJ[\w-]{5,}\.[\w-]+)"
    ),
)


def secrets_of(kind: JobKind, job: Json) -> list[str]:
    """The values of the job's own variables whose names tell that they are secret."""
    pods = [as_dict(as_dict(spec.get("template")).get("spec")) for spec in kind.replica_specs(job).values()]
    return [
        str(variable["value"])
        for pod in pods
        for container in [*as_list(pod.get("initContainers")), *as_list(pod.get("containers"))]
        for variable in map(as_dict, as_list(as_dict(container).get("env")))
        if _SECRET_NAME.search(str(variable.get("name"))) and variable.get("value")
    ]


def secret_options(spec: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """The values that a module was given for options that are not to be logged."""
    found = []
    for name, option in spec.items():
        value = params.get(name)
        if option.get("no_log") and isinstance(value, str):
            found.append(value)
        elif "options" in option and isinstance(value, dict):
            found.extend(secret_options(option["options"], value))
    return found


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """Frees a text of the secrets and of what looks like one."""
    # The longest first, as one may be a part of another.
    known = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def clean(text: str) -> str:
        if pattern:
            text = pattern.sub(HIDDEN, text)
        for suspicious in _IN_TEXT:
            text = suspicious.sub(lambda match: match.group(1) + HIDDEN, text)
        return text

    return clean


def redacted(value: Any, secrets: Iterable[str]) -> Any:
    """`value` with every text in it, however deep, free of the secrets and of what looks like one."""
    return _map_texts(redactor(secrets), value)


def _map_texts(change: Callable[[str], str], value: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_texts(change, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_texts(change, item) for item in value]
    return value
