#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: jupyterhub_verify
short_description: Prove that users of a JupyterHub can compute
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Starts a server for a user of its own, runs code in a kernel, restarts the server, and finds what was written
    before. Then the server and the user are removed.
  - JupyterHub is reached through the API server, which needs no open port, only a kubeconfig with the right to
    C(get) the Secret and to C(create) the resource C(pods/portforward), and with O(state) to C(patch) the Secret.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  service:
    description: Name of the Service of JupyterHub's proxy.
    type: str
    default: proxy-public
  namespace:
    description: Namespace of the Service and of the Secret.
    type: str
    required: true
  port:
    description: Port of the Service, by name or number.
    type: str
    default: http
  base_path:
    description: Path below which JupyterHub answers.
    type: str
    default: /
  token_secret:
    description:
      - Secret with the token of a service of JupyterHub that has the scopes C(admin:users), C(admin:servers),
        C(access:servers) and C(read:hub).
    type: str
    default: hub
  token_key:
    description: Key of the token in that Secret.
    type: str
    required: true
  user:
    description: User whose server is started, with a name unlike the service's. It is made, and removed afterwards.
    type: str
    default: mlstack-verify-user
  code:
    description: Python code that the kernel has to run without an error.
    type: str
    default: import tensorflow
  state:
    description:
      - Text that names the state of the JupyterHub, another one for each. A proof is then kept as an annotation of
        O(token_secret), and as long as the state, the version of JupyterHub, O(user) and O(code) are the same, it is
        returned, and JupyterHub only asked for its version.
      - Without it the proof is made each time, and not kept.
    type: str
    default: ""
  wait_timeout:
    description: Seconds within which a server has to start, and the code to end.
    type: int
    default: 300
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
  - websocket-client, which the package C(kubernetes) brings
attributes:
  check_mode:
    description: Proves nothing, since that starts a server.
    support: none
  diff_mode:
    description: Leaves nothing changed but what O(state) tells of.
    support: none
"""

EXAMPLES = r"""
- name: Users can compute with TensorFlow
  mlstack.kubernetes.jupyterhub_verify:
    namespace: jupyterhub
    token_key: hub.services.mlstack-verify.apiToken
"""

RETURN = r"""
is_kept:
  description: Whether the proof is that of an earlier run.
  returned: success
  type: bool
  sample: false
version:
  description: Version of JupyterHub.
  returned: success
  type: str
  sample: 5.4.0
start_seconds:
  description: Seconds from the request to a server that answers.
  returned: success
  type: float
  sample: 7.2
restart_seconds:
  description: The same for the second start.
  returned: success
  type: float
  sample: 4.1
code_seconds:
  description: Seconds that the code took, the start of its kernel included.
  returned: success
  type: float
  sample: 6.3
output:
  description: What the code has printed.
  returned: success
  type: str
"""

import base64
import json
from dataclasses import asdict
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.jupyterhub import (
    NOTE,
    Hub,
    HubError,
    from_note,
    prove,
    to_note,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
    Json,
    KubeApi,
    UnreachableError,
    core_path,
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
    "service": {"type": "str", "default": "proxy-public"},
    "namespace": {"type": "str", "required": True},
    "port": {"type": "str", "default": "http"},
    "base_path": {"type": "str", "default": "/"},
    # The names of a Secret and of its key are no secrets.
    "token_secret": {"type": "str", "default": "hub", "no_log": False},
    "token_key": {"type": "str", "required": True, "no_log": False},
    "user": {"type": "str", "default": "mlstack-verify-user"},
    "code": {"type": "str", "default": "import tensorflow"},
    "state": {"type": "str", "default": ""},
    "wait_timeout": {"type": "int", "default": 300},
}


class WebSocket:
    """A WebSocket whose failures are Python's own."""

    def __init__(self, url: str, headers: list[str], timeout: float) -> None:
        # The Kubernetes client depends on it.
        import websocket

        self._failure: type[Exception] = websocket.WebSocketException
        self._too_late: type[Exception] = websocket.WebSocketTimeoutException
        try:
            self._socket = websocket.create_connection(url, header=headers, timeout=timeout)
        except (OSError, websocket.WebSocketException) as error:
            raise HubError(f"the kernel cannot be reached: {error}") from error

    def send(self, payload: str) -> None:
        self._socket.send(payload)

    def recv(self) -> str | bytes:
        try:
            message: str | bytes = self._socket.recv()
        except self._too_late as error:
            raise TimeoutError from error
        except self._failure as error:
            raise ConnectionError(str(error)) from error
        return message

    def settimeout(self, timeout: float) -> None:
        self._socket.settimeout(timeout)

    def close(self) -> None:
        self._socket.close()


def read_secret(api: KubeApi, namespace: str, name: str) -> Json:
    try:
        return api.get(core_path(namespace, "secrets", name))
    except ApiError as error:
        raise HubError(f"token_secret: the Secret {namespace}/{name} cannot be read: {error.message}") from error


def token_in(secret: Json, key: str) -> str:
    data = secret.get("data") or {}
    if key not in data:
        name = f"{secret['metadata']['namespace']}/{secret['metadata']['name']}"
        raise HubError(f"token_key: the Secret {name} has no '{key}', only {', '.join(sorted(data))}")
    return base64.b64decode(data[key]).decode()


def main() -> None:
    module = AnsibleK8SModule(argument_spec={**AUTH_ARG_SPEC, **OPTIONS}, supports_check_mode=False)
    params = module.params
    namespace, user, code = params["namespace"], params["user"], params["code"]
    try:
        client = connect(module)
        secret = read_secret(client, namespace, params["token_secret"])
        token = token_in(secret, params["token_key"])
        pod, port = wait_for_pod(client, namespace, params["service"], params["port"], params["wait_timeout"])
        with client.tunnel(namespace, pod, port) as address:
            hub = Hub(address, token, WebSocket, params["base_path"])
            state = json.dumps([params["state"], hub.version(), user, code]) if params["state"] else ""
            note = (secret["metadata"].get("annotations") or {}).get(NOTE, "")
            kept = from_note(note, state) if state else None
            proof = kept or prove(hub, user, code, params["wait_timeout"])
        if state and not kept:
            annotations = {NOTE: to_note(proof, state)}
            path = core_path(namespace, "secrets", params["token_secret"])
            client.patch(path, {"metadata": {"annotations": annotations}})
    except (ClientError, ApiError, UnreachableError, ServingError, HubError) as error:
        module.fail_json(msg=f"JupyterHub does not prove itself: {error}")
    module.exit_json(changed=False, is_kept=kept is not None, **asdict(proof))


if __name__ == "__main__":
    main()
