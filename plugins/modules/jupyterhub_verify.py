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
    C(get) the Secret and to C(create) the resource C(pods/portforward).
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
    description: Leaves nothing changed.
    support: none
"""

EXAMPLES = r"""
- name: Users can compute with TensorFlow
  mlstack.kubernetes.jupyterhub_verify:
    namespace: jupyterhub
    token_key: hub.services.mlstack-verify.apiToken
"""

RETURN = r"""
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
from dataclasses import asdict
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.jupyterhub import Hub, HubError, prove
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import (
    ApiError,
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


def read_token(api: KubeApi, namespace: str, secret: str, key: str) -> str:
    try:
        data = api.get(core_path(namespace, "secrets", secret)).get("data") or {}
    except ApiError as error:
        raise HubError(f"token_secret: the Secret {namespace}/{secret} cannot be read: {error.message}") from error
    if key not in data:
        raise HubError(f"token_key: the Secret {namespace}/{secret} has no '{key}', only {', '.join(sorted(data))}")
    return base64.b64decode(data[key]).decode()


def main() -> None:
    module = AnsibleK8SModule(argument_spec={**AUTH_ARG_SPEC, **OPTIONS}, supports_check_mode=False)
    params = module.params
    try:
        client = connect(module)
        token = read_token(client, params["namespace"], params["token_secret"], params["token_key"])
        pod, port = wait_for_pod(client, params["namespace"], params["service"], params["port"], params["wait_timeout"])
        with client.tunnel(params["namespace"], pod, port) as address:
            hub = Hub(address, token, WebSocket, params["base_path"])
            proof = prove(hub, params["user"], params["code"], params["wait_timeout"])
    except (ClientError, UnreachableError, ServingError, HubError) as error:
        module.fail_json(msg=f"JupyterHub does not prove itself: {error}")
    module.exit_json(changed=False, **asdict(proof))


if __name__ == "__main__":
    main()
