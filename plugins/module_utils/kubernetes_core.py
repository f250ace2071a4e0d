# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The one place that knows kubernetes.core and the Kubernetes client.

kubernetes.core gives the options for authentication, the reading of kubeconfig, in-cluster and environment
settings, and the frame of a module. Requests are made on the connection pool that results, as plain JSON:
the paths of the few kinds in use are known, so discovery (and its cache file) is not needed, and every
request has a timeout and no hidden retries.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.kubernetes.core.plugins.module_utils.k8s import client as core_client
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.core import AnsibleK8SModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json, UnreachableError

try:
    import urllib3
    import yaml
    from kubernetes.client import Configuration, rest
except ImportError:
    # AnsibleK8SModule says so.
    pass

__all__ = [
    "AUTH_ARG_SPEC",
    "AnsibleK8SModule",
    "Client",
    "ClientError",
    "connect",
    "new_module",
    "read_documents",
    "shape_problems",
]

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0


class ClientError(Exception):
    """No client can be made from the given options."""


class _Module(AnsibleModule):  # type: ignore[misc]
    """Looks at what Ansible would stumble over: something else where there should be options within an option."""

    def _set_internal_properties(self, *args: Any, **kwargs: Any) -> None:
        super()._set_internal_properties(*args, **kwargs)
        if problems := list(shape_problems(self.argument_spec, self.params)):
            # What is secret among them is not known yet, and they would be told with the failure.
            self.params: dict[str, Any] = {}
            self.fail_json(msg="\n".join(problems))


def new_module(**kwargs: Any) -> AnsibleK8SModule:
    return AnsibleK8SModule(module_class=_Module, **kwargs)


def shape_problems(spec: Mapping[str, Any], params: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What is no mapping although the option has options of its own."""
    for name, option in spec.items():
        value = params.get(name)
        if "options" not in option or value is None:
            continue
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, Mapping):
                yield from shape_problems(option["options"], entry, f"{path}{name}.")
            # Ansible itself reads texts, and says what is wrong with them.
            elif not isinstance(entry, str):
                yield f"{path}{name}: {entry!r} is not a mapping; give its parts by their names."


class Client:
    """Requests to one API server."""

    def __init__(self, configuration: Any, headers: Mapping[str, Any]) -> None:
        self._configuration = configuration
        self._headers = headers
        self._pool = rest.RESTClientObject(configuration).pool_manager

    @property
    def host(self) -> str:
        return str(self._configuration.host)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        return self.request("GET", path, query)

    def create(self, path: str, body: Json, dry_run: bool = False) -> Json:
        return self.request("POST", path, _write_query(dry_run), body)

    def patch(self, path: str, body: Json, dry_run: bool = False) -> Json:
        """Merges `body` into what `path` names."""
        return self.request("PATCH", path, _write_query(dry_run), body)

    def delete(self, path: str, uid: str | None = None, dry_run: bool = False, grace: int | None = None) -> Json:
        """Deletes what `path` names, dependents first. With `uid`, only that very object."""
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if dry_run:
            # Not in the query: that is ignored where there is a body, and the object really deleted.
            body["dryRun"] = ["All"]
        return self.request("DELETE", path, body=body)

    def request(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Json | None = None) -> Json:
        response = self._send(method, path, query, body, READ_TIMEOUT)
        try:
            data = response.data
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"The API server at {self.host} broke the connection: {_sentence(error)}") from error
        answer: Json = json.loads(data) if data else {}
        return answer

    def lines(self, path: str, query: Mapping[str, str], read_timeout: float) -> _ResponseLines:
        return _ResponseLines(self._send("GET", path, query, None, read_timeout), self.host)

    @contextmanager
    def tunnel(self, namespace: str, pod: str, port: int) -> Iterator[str]:
        """An address on this machine that leads to a port of a pod, through the API server."""
        # With them come hundreds of classes, one for each part of the API; few calls need them.
        from kubernetes.client import ApiClient, ApiException, CoreV1Api
        from kubernetes.stream import portforward

        api = ApiClient(self._configuration)
        for name, value in self._headers.items():
            api.set_default_header(name, value)

        def connect_to_pod() -> Any:
            try:
                forwarder = portforward(
                    CoreV1Api(api).connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port)
                )
            except ApiException as error:
                raise UnreachableError(f"The API server leads to no port of the pod {pod}: {error.reason}") from error
            return forwarder.socket(port)

        # The first connection is made at once, so that what is wrong with it is known.
        first = connect_to_pod()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=_relay, args=(listener, first, connect_to_pod), daemon=True).start()
            yield f"127.0.0.1:{listener.getsockname()[1]}"
            # Without it the thread that accepts connections would keep the socket.
            listener.shutdown(socket.SHUT_RDWR)

    def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Json | None, read_timeout: float
    ) -> Any:
        url = self.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            response = self._pool.request(
                method,
                url,
                headers=self._request_headers(method),
                body=None if body is None else json.dumps(body),
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=read_timeout),
                preload_content=False,
                retries=False,
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"The API server at {self.host} cannot be reached: {_sentence(error)}") from error
        if response.status >= 300:
            raise _api_error(response)
        return response

    def _request_headers(self, method: str) -> Any:
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = urllib3.HTTPHeaderDict({"Accept": "application/json", "Content-Type": content})
        for name, value in self._headers.items():
            for item in value if isinstance(value, list) else [value]:
                headers.add(name, item)
        # Asked anew for each request, since tokens of exec plugins and service accounts are renewed.
        for setting in self._configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        return headers


def _write_query(dry_run: bool) -> dict[str, str]:
    # Strict: an unknown or doubled field is an error, not a warning that nobody reads.
    query = {"fieldValidation": "Strict", "fieldManager": "mlstack"}
    return {**query, "dryRun": "All"} if dry_run else query


def _relay(listener: socket.socket, first: Any, connect_to_pod: Callable[[], Any]) -> None:
    """Lead each connection that the listener gets to one to the pod, until the listener is shut down."""
    remote = first
    while True:
        try:
            local, _address = listener.accept()
        except OSError:
            return
        try:
            remote = remote or connect_to_pod()
        except UnreachableError:
            # The client sees its connection end.
            local.close()
            continue
        for source, sink in ((local, remote), (remote, local)):
            threading.Thread(target=_copy, args=(source, sink), daemon=True).start()
        remote = None


def _copy(source: Any, sink: Any) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        # The other end is gone.
        pass
    finally:
        for end in (source, sink):
            end.close()


class _ResponseLines:
    def __init__(self, response: Any, host: str) -> None:
        self._response = response
        self._host = host

    def __iter__(self) -> Iterator[str]:
        rest_of_line = b""
        try:
            # A chunked response hands over what has arrived instead of waiting for a full block.
            for chunk in self._response.stream(amt=None if self._response.chunked else 65536):
                *lines, rest_of_line = (rest_of_line + chunk).split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", errors="replace")
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(
                f"The API server at {self._host} broke the connection: {_sentence(error)}"
            ) from error
        if rest_of_line:
            yield rest_of_line.decode("utf-8", errors="replace")

    def close(self) -> None:
        self._response.close()


def connect(module: Any) -> Client:
    """A client from the authentication options of `module`, or from the environment where they are not given."""
    auth = core_client._create_auth_spec(module)
    if auth.get("username") and auth.get("password") and auth.get("host") and not auth.get("api_key"):
        auth["api_key"] = _openshift_token(auth)
    try:
        configuration = core_client._create_configuration(auth)
    except Exception as error:
        # kubernetes.config raises its own ConfigException, and whatever yaml, json, base64 and the file system raise.
        where = f" {auth['kubeconfig']}" if isinstance(auth.get("kubeconfig"), str) else ""
        raise ClientError(
            f"No usable kubeconfig{where}: {_full_stop(str(error))} "
            "Name one with `kubeconfig` or the environment variable K8S_AUTH_KUBECONFIG, or give `host` and `api_key`."
        ) from error
    return Client(configuration, core_client._create_headers(module))


def read_documents(definition: Any, src: str | None) -> list[Json] | None:
    """The manifests in `definition` or `src`, None where neither is given; ClientError where they cannot be read.

    JSON is read as such, and YAML with libyaml where there is one: it is ten times
    as fast as the reader that kubernetes.core uses, which tells with hundreds of jobs.
    """
    if definition is None and src is None:
        return None
    try:
        given = definition if src is None else _read(src)
        return [found for part in (given if isinstance(given, list) else [given]) for found in _documents_in(part)]
    except Exception as error:
        # Whatever yaml, the file system and urllib raise.
        raise ClientError(f"{'src' if definition is None else 'definition'}: cannot be read: {error}") from error


def _read(src: str) -> str:
    if src.startswith(("https://", "http://", "ftp://")):
        # With it comes all that TLS needs.
        from ansible.module_utils.urls import Request

        return str(Request().open("GET", src).read().decode())
    with open(src, encoding="utf-8") as stream:
        return stream.read()


def _documents_in(part: Any) -> Iterator[Any]:
    if isinstance(part, str):
        documents: Iterable[Any]
        try:
            documents = [json.loads(part)]
        except ValueError:
            documents = yaml.load_all(part, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    else:
        documents = [part]
    for document in documents:
        if document is not None:
            yield document


def _openshift_token(auth: Mapping[str, Any]) -> str:
    """Kubernetes itself has no login by password; OpenShift has one, by OAuth."""
    try:
        from openshift.helper.userpassauth import OCPLoginConfiguration  # type: ignore[import-not-found]
    except ImportError as error:
        raise ClientError(
            "`username` and `password` log in to OpenShift, for which the Python package `openshift` "
            f"(with `requests-oauthlib`) is needed: {error}. Install it, or use `kubeconfig` or `api_key`."
        ) from error
    try:
        # Not by its constructor, which passes on an argument that newer Kubernetes clients do not know.
        login = OCPLoginConfiguration.__new__(OCPLoginConfiguration)
        Configuration.__init__(login, host=str(auth["host"]).rstrip("/"))
        login.ocp_username, login.ocp_password = auth["username"], auth["password"]
        login.verify_ssl = auth.get("verify_ssl", True)
        login.ssl_ca_cert = auth.get("ssl_ca_cert")
        login.get_token()
        return str(login.token["access_token"])
    except Exception as error:
        raise ClientError(f"The OpenShift login of {auth['username']} at {auth['host']} failed: {error}") from error


def _api_error(response: Any) -> ApiError:
    try:
        text = response.data.decode("utf-8", errors="replace")
    except urllib3.exceptions.HTTPError:
        text = ""
    try:
        answer = json.loads(text)
        message, reason = str(answer["message"]), str(answer.get("reason", ""))
    except (ValueError, KeyError, TypeError):
        message, reason = text.strip()[:500] or f"HTTP status {response.status}", str(response.reason or "")
    # Also a date may stand there, which API servers do not write.
    seconds = str(response.headers.get("Retry-After") or "")
    return ApiError(response.status, reason, message, float(seconds) if seconds.isdecimal() else 0.0)


def _sentence(error: BaseException) -> str:
    """The innermost cause: urllib3 wraps it in the name of its pool and the story of its retries."""
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "no answer in time."
    # A refused connection is made known by a kind of timeout, of all things.
    is_refusal = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError) and not is_refusal:
        return f"no connection within {CONNECT_TIMEOUT:.0f} seconds."
    cause = error
    while isinstance(inner := getattr(cause, "reason", None) or cause.__cause__ or _argument(cause), BaseException):
        cause = inner
    known = cause.strerror if isinstance(cause, OSError) else None
    return _full_stop(str(known or cause) or type(cause).__name__)


def _argument(error: BaseException) -> object:
    """The cause that urllib3 gives a broken connection as an argument."""
    return error.args[1] if isinstance(error, urllib3.exceptions.ProtocolError) and len(error.args) > 1 else None


def _full_stop(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
