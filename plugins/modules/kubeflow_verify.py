#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeflow_verify
short_description: Prove that users get into a Kubeflow
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Proves that nobody gets in who is not logged in, logs a user in through oauth2-proxy and dex as a browser does, and
    gets pages that only users get.
  - On request makes a Profile and a Notebook, and gets the notebook's page through the gateway. Both are removed
    afterwards.
  - The gateway is reached through the API server, which needs no open port, only a kubeconfig with the right to
    C(create) the resource C(pods/portforward).
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  user:
    description: The user, as an e-mail address.
    type: str
    required: true
  password:
    description: The user's password, as dex knows it.
    type: str
    required: true
  paths:
    description: Pages that a user has to get.
    type: list
    elements: str
    default: [/]
  notebook_image:
    description: Image of the notebook. Empty makes none.
    type: str
    default: ""
  profile:
    description: Name of the profile that is made for the notebook, and removed afterwards.
    type: str
    default: mlstack-verify
  service:
    description: Name of the gateway's Service.
    type: str
    default: istio-ingressgateway
  namespace:
    description: Namespace of that Service.
    type: str
    default: istio-system
  port:
    description: Port of that Service, by name or number.
    type: str
    default: http2
  wait_timeout:
    description: Seconds within which the log-in has to work, and again the notebook to answer.
    type: int
    default: 600
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
attributes:
  check_mode:
    description: Proves nothing, since that makes a profile.
    support: none
  diff_mode:
    description: Leaves nothing changed.
    support: none
"""

EXAMPLES = r"""
- name: Users get in
  mlstack.kubernetes.kubeflow_verify:
    user: anna@example.com
    password: "{{ vault_kubeflow_password }}"
    notebook_image: ghcr.io/kubeflow/kubeflow/notebook-servers/jupyter:v1.10.0
"""

RETURN = r"""
login_seconds:
  description: Seconds until the log-in worked.
  returned: success
  type: float
  sample: 0.8
notebook_seconds:
  description: Seconds from the Profile to a page of the notebook; 0 without a notebook.
  returned: success
  type: float
  sample: 41.3
"""

from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubeflow import (
    Browser,
    KubeflowError,
    NotYetError,
    log_in,
    see,
    until,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    AnsibleK8SModule,
    ClientError,
    connect,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.served_model import ServingError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.serving_access import wait_for_pod

OPTIONS: dict[str, Any] = {
    "user": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "paths": {"type": "list", "elements": "str", "default": ["/"]},
    "notebook_image": {"type": "str", "default": ""},
    "profile": {"type": "str", "default": "mlstack-verify"},
    "service": {"type": "str", "default": "istio-ingressgateway"},
    "namespace": {"type": "str", "default": "istio-system"},
    "port": {"type": "str", "default": "http2"},
    "wait_timeout": {"type": "int", "default": 600},
}
PROFILES = "/apis/kubeflow.org/v1/profiles"
NOTEBOOK = "mlstack-verify"


def profile_of(name: str, user: str) -> Json:
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": {"name": name},
        "spec": {"owner": {"kind": "User", "name": user}},
    }


def notebook_of(namespace: str, image: str) -> Json:
    container = {
        "name": NOTEBOOK,
        "image": image,
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "Notebook",
        "metadata": {"name": NOTEBOOK, "namespace": namespace},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def make(client: KubeApi, path: str, body: Json) -> None:
    """Make an object, which may be there already; a namespace that comes with a profile may not be there yet."""
    try:
        client.create(path, body)
    except ApiError as error:
        if error.status in (403, 404, 500, 503):
            raise NotYetError(f"{body['kind']} {body['metadata']['name']} cannot be made: {error.message}") from error
        if error.status != 409:
            raise KubeflowError(f"{body['kind']} {body['metadata']['name']} is refused: {error.message}") from error


def remove(client: KubeApi, path: str) -> None:
    try:
        client.delete(path)
    except ApiError as error:
        if error.status != 404:
            raise KubeflowError(f"{path} cannot be removed: {error.message}") from error


def notebook_seconds(client: KubeApi, browser: Browser, params: Json) -> float:
    """Make a profile and a notebook, and return the seconds until its page comes."""
    name, timeout = params["profile"], params["wait_timeout"]
    notebooks = f"/apis/kubeflow.org/v1/namespaces/{name}/notebooks"
    try:
        until(lambda: make(client, PROFILES, profile_of(name, params["user"])), timeout)
        seconds = until(lambda: make(client, notebooks, notebook_of(name, params["notebook_image"])), timeout)
        return seconds + until(lambda: see(browser, f"/notebook/{name}/{NOTEBOOK}/"), timeout)
    finally:
        remove(client, f"{PROFILES}/{name}")


def main() -> None:
    module = AnsibleK8SModule(argument_spec={**AUTH_ARG_SPEC, **OPTIONS}, supports_check_mode=False)
    params = module.params
    try:
        client = connect(module)
        pod, port = wait_for_pod(client, params["namespace"], params["service"], params["port"], params["wait_timeout"])
        with client.tunnel(params["namespace"], pod, port) as address:
            for path in params["paths"]:
                until(lambda path=path: stranger(address, path), params["wait_timeout"])  # type: ignore[misc]
            browser = Browser(address)
            login = until(lambda: log_in(browser, params["user"], params["password"]), params["wait_timeout"])
            for path in params["paths"]:
                see(browser, path)
            notebook = notebook_seconds(client, browser, params) if params["notebook_image"] else 0.0
    except (ClientError, UnreachableError, ServingError, KubeflowError) as error:
        module.fail_json(msg=f"Kubeflow does not prove itself: {error}")
    module.exit_json(changed=False, login_seconds=login, notebook_seconds=notebook)


def stranger(address: str, path: str) -> None:
    """Make sure that a page does not come without a log-in."""
    page = Browser(address).get(path)
    if page.status >= 500:
        raise NotYetError(f"{path} is answered with HTTP status {page.status}: {page.words()!r}")
    if page.status == 200 and not page.path.startswith(("/dex", "/oauth2")) and "/oauth2/start" not in page.text:
        raise KubeflowError(f"{path} comes without a log-in: {page.words()!r}")


if __name__ == "__main__":
    main()
