# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The shell that tfjob and pytorchjob share: options in, result or one clear message out."""

from __future__ import annotations

from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    CLEAN_POD_POLICIES,
    RESTART_POLICIES,
    InvalidJobError,
    JobKind,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    AnsibleK8SModule,
    ClientError,
    connect,
    read_documents,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.lifecycle import JobError, Lifecycle, Options
from ansible_collections.mlstack.kubernetes.plugins.module_utils.validator import wanted_job

# What a job says for all its replicas, and a role may say anew for its own. Secrets are given by name, so nothing
# here has to be kept out of logs.
POD_ARG_SPEC: dict[str, Any] = {
    "image": {"type": "str"},
    "image_pull_policy": {"type": "str", "choices": ["Always", "IfNotPresent", "Never"]},
    "image_pull_secrets": {"type": "list", "elements": "str", "no_log": False},
    "command": {"type": "list", "elements": "str"},
    "args": {"type": "list", "elements": "str"},
    "working_dir": {"type": "str"},
    "env": {"type": "raw"},
    "resources": {"type": "dict"},
    "restart_policy": {"type": "str", "choices": list(RESTART_POLICIES)},
    "node_selector": {"type": "dict"},
    "tolerations": {"type": "list", "elements": "dict"},
    "service_account_name": {"type": "str"},
    "security_context": {"type": "dict"},
}
VOLUME_ARG_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "mount_path": {"type": "str", "required": True},
    "sub_path": {"type": "str"},
    "read_only": {"type": "bool", "default": False},
    "claim": {"type": "str"},
    "config_map": {"type": "str"},
    "secret": {"type": "str", "no_log": False},
    "empty_dir": {"type": "dict"},
}
RUN_POLICY_ARG_SPEC: dict[str, Any] = {
    "clean_pod_policy": {"type": "str", "choices": list(CLEAN_POD_POLICIES)},
    "ttl_seconds_after_finished": {"type": "int"},
    "active_deadline_seconds": {"type": "int"},
    "backoff_limit": {"type": "int"},
    "suspend": {"type": "bool"},
    "scheduling_policy": {
        "type": "dict",
        "options": {
            "min_available": {"type": "int"},
            "queue": {"type": "str"},
            "min_resources": {"type": "dict"},
            "priority_class": {"type": "str"},
            "schedule_timeout_seconds": {"type": "int"},
        },
    },
}


def argument_spec(kind: JobKind, **extra: Any) -> dict[str, Any]:
    """The options of a module for jobs of `kind`; `extra` are those that only this kind has."""
    role_arg_spec = {"count": {"type": "int", "default": 1}, **POD_ARG_SPEC}
    source = ["claim", "config_map", "secret", "empty_dir"]
    return {
        **AUTH_ARG_SPEC,
        "name": {"type": "str"},
        "namespace": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **POD_ARG_SPEC,
        "replicas": {
            "type": "dict",
            "options": {role.lower(): {"type": "dict", "options": role_arg_spec} for role in kind.roles},
        },
        "volumes": {
            "type": "list",
            "elements": "dict",
            "options": VOLUME_ARG_SPEC,
            "mutually_exclusive": [source],
            "required_one_of": [source],
        },
        "run_policy": {"type": "dict", "options": RUN_POLICY_ARG_SPEC},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
        "definition": {"type": "raw", "aliases": ["resource_definition"]},
        "src": {"type": "path"},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 600},
        "grace": {"type": "int", "default": 12},
        "on_change": {"type": "str", "choices": ["fail", "recreate"], "default": "fail"},
        "on_failed": {"type": "str", "choices": ["fail", "recreate"], "default": "fail"},
        "on_stuck": {"type": "str", "choices": ["delete", "keep"], "default": "delete"},
        **extra,
    }


def run(kind: JobKind, module: AnsibleK8SModule) -> None:
    params = module.params
    if params["state"] == "present":
        fail = f"The {kind.kind} cannot be made"
    else:
        fail = f"The {kind.kind} cannot be taken away"
    try:
        module.exit_json(**_bring_about(kind, module))
    except JobError as error:
        module.fail_json(msg=str(error), **error.result)
    except InvalidJobError as error:
        module.fail_json(msg="\n".join([f"{fail}:", *(f"- {problem}" for problem in error.problems)]))
    except (ApiError, ClientError, UnreachableError) as error:
        module.fail_json(msg=f"{fail}: {error}")


def _bring_about(kind: JobKind, module: AnsibleK8SModule) -> dict[str, Any]:
    params = module.params
    documents = read_documents(params["definition"], params["src"])
    if params["state"] == "absent" and documents is None:
        # What the job was made from does not matter to its deletion.
        if not params["name"]:
            raise InvalidJobError(["name: is missing; name the job."])
        name, namespace = params["name"], params["namespace"] or "default"
        wanted = None
    else:
        wanted = wanted_job(kind, params, documents)
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    options = Options(
        check_mode=module.check_mode,
        **{
            option: params[option] for option in ("wait", "wait_timeout", "grace", "on_change", "on_failed", "on_stuck")
        },
    )
    lifecycle = Lifecycle(connect(module), kind, namespace, name, options, module.warn)
    if params["state"] == "absent" or wanted is None:
        return lifecycle.absent()
    return lifecycle.present(wanted)
