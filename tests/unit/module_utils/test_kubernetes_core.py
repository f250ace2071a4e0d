"""The adapter against a small HTTP server, since what it is for is the behaviour of real connections."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils import kubernetes_core
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    ClientError,
    connect,
    read_documents,
)
from kubernetes.client import Configuration


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append(self)  # type: ignore[attr-defined]
        if self.path.startswith("/stream"):
            self.stream()
        elif self.path.startswith("/status"):
            self.answer(404, {"kind": "Status", "reason": "NotFound", "message": 'pods "x" not found'})
        elif self.path.startswith("/plain"):
            self.answer(404, "404 page not found\n")
        elif self.path.startswith("/gone"):
            self.close_connection = True
        elif self.path.startswith("/busy"):
            self.answer(429, {"kind": "Status", "message": "too many requests"}, {"Retry-After": "7"})
        else:
            self.answer(200, {"path": self.path})

    def do_DELETE(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, {"path": self.path, "body": body})

    def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b"one\ntw", b"o\n", b"three"):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
            time.sleep(0.2)
        if "broken" in self.path:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Module:
    """What kubernetes.core asks of a module."""

    def __init__(self, **params: Any) -> None:
        self.params = {**dict.fromkeys(AUTH_ARG_SPEC), **params}

    def requires(self, *_: object, **__: object) -> None:
        pass


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    # The client reads its default place when it is imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))


def client_of(server: ThreadingHTTPServer, **params: Any) -> Any:
    return connect(Module(**{"host": f"http://127.0.0.1:{server.server_port}", "api_key": "secret", **params}))


def test_asks_with_the_given_identity(server: Any) -> None:
    client = client_of(server, impersonate_user="ann", impersonate_groups=["a", "b"])
    assert client.get("/x", {"fieldSelector": "a=b"}) == {"path": "/x?fieldSelector=a%3Db"}
    headers = server.seen[0].headers
    assert headers["authorization"] == "Bearer secret"
    assert headers["Impersonate-User"] == "ann"
    assert headers.get_all("Impersonate-Group") == ["a", "b"]


def test_a_connection_that_ends_without_an_answer(server: Any) -> None:
    with pytest.raises(UnreachableError, match=r"cannot be reached: Remote end closed connection without response\.$"):
        client_of(server).get("/gone")


def test_hands_on_when_to_come_again(server: Any) -> None:
    with pytest.raises(ApiError, match="too many requests") as caught:
        client_of(server).get("/busy")
    assert (caught.value.is_transient, caught.value.retry_after) == (True, 7)


def test_tells_a_missing_object_from_a_kind_that_is_not_served(server: Any) -> None:
    with pytest.raises(ApiError, match='pods "x" not found') as caught:
        client_of(server).get("/status")
    assert caught.value.is_object_missing
    with pytest.raises(ApiError, match="404 page not found") as caught:
        client_of(server).get("/plain")
    assert not caught.value.is_object_missing


def test_a_dry_run_of_a_deletion_is_one(server: Any) -> None:
    answer = client_of(server).delete("/x", uid="u", dry_run=True)
    # The API server does not look at the query of a request that has a body.
    assert (answer["path"], answer["body"]["dryRun"]) == ("/x", ["All"])
    assert answer["body"]["preconditions"] == {"uid": "u"}
    assert "dryRun" not in client_of(server).delete("/x")["body"]


def test_hands_over_lines_as_they_arrive(server: Any) -> None:
    begin = time.monotonic()
    lines = client_of(server).lines("/stream", {}, 5)
    first, *others = iter(lines)
    assert (first, others) == ("one", ["two", "three"])
    lines = client_of(server).lines("/stream", {}, 5)
    begin = time.monotonic()
    assert next(iter(lines)) == "one"
    assert time.monotonic() - begin < 0.15
    lines.close()


def test_a_broken_stream_is_told(server: Any) -> None:
    with pytest.raises(UnreachableError, match="broke the connection"):
        list(client_of(server).lines("/stream/broken", {}, 5))


def test_a_refused_connection_is_one_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = connect(Module(host=f"http://127.0.0.1:{port}", api_key="x"))
    begin = time.monotonic()
    with pytest.raises(UnreachableError) as caught:
        client.get("/x")
    assert str(caught.value) == f"The API server at http://127.0.0.1:{port} cannot be reached: Connection refused."
    assert time.monotonic() - begin < 1


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_core, "READ_TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = connect(Module(host=f"http://127.0.0.1:{silent.getsockname()[1]}", api_key="x"))
        with pytest.raises(UnreachableError, match=r"cannot be reached: no answer in time\."):
            client.get("/x")


def test_no_kubeconfig_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"No usable kubeconfig: .* Name one with `kubeconfig`"):
        connect(Module())
    broken = tmp_path / "broken"
    broken.write_text("{")
    with pytest.raises(ClientError, match=f"No usable kubeconfig {broken}"):
        connect(Module(kubeconfig=str(broken)))


# -- OpenShift


def test_a_password_needs_openshift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openshift.helper.userpassauth", None)
    with pytest.raises(ClientError, match="log in to OpenShift, for which the Python package `openshift`"):
        connect(Module(host="https://example.test", username="ann", password="secret"))


def test_a_password_becomes_a_token(monkeypatch: pytest.MonkeyPatch, server: Any) -> None:
    class Login(Configuration):
        def __init__(self) -> None:
            raise TypeError("Configuration.__init__() got an unexpected keyword argument")

        def get_token(self) -> None:
            assert (self.ocp_username, self.ocp_password) == ("ann", "secret")  # type: ignore[attr-defined]
            self.token = {"access_token": "from-openshift"}

    package = types.ModuleType("openshift.helper.userpassauth")
    package.OCPLoginConfiguration = Login  # type: ignore[attr-defined]
    for name in ("openshift", "openshift.helper"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "openshift.helper.userpassauth", package)
    client_of(server, api_key=None, username="ann", password="secret").get("/x")
    assert server.seen[0].headers["authorization"] == "Bearer from-openshift"


# -- documents


def test_reads_documents(tmp_path: Path) -> None:
    source = tmp_path / "job.yaml"
    source.write_text("kind: TFJob\nmetadata: {name: a}\n---\nkind: TFJob\n")
    documents = read_documents(None, str(source))
    assert documents is not None
    assert documents == [{"kind": "TFJob", "metadata": {"name": "a"}}, {"kind": "TFJob"}]
    assert read_documents({"kind": "TFJob"}, None) == [{"kind": "TFJob"}]
    assert read_documents('{"kind": "TFJob"}', None) == [{"kind": "TFJob"}]
    assert read_documents(["kind: TFJob", {"kind": "A"}], None) == [{"kind": "TFJob"}, {"kind": "A"}]
    assert read_documents(None, None) is None


@pytest.mark.parametrize(("definition", "src"), [("{", None), (None, "/does/not/exist")])
def test_what_cannot_be_read_is_told(definition: Any, src: Any) -> None:
    with pytest.raises(ClientError, match=r"(definition|src): cannot be read"):
        read_documents(definition, src)
