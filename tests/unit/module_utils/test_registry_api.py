"""The client of a registry that asks for tokens, and keeps its layers elsewhere: where passwords and tokens go."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.registry_api import Registry, RegistryError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

AUTH = base64.b64encode(b"mlstack:secret").decode()
LAYER = b"a layer"


class Server(ThreadingHTTPServer):
    """Notes each request with what it was authorized by."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.seen: list[tuple[str, str, str | None]] = []
        # Those that are good now.
        self.tokens: dict[str, str] = {}
        self.bought = 0
        self.storage = ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_arguments: object) -> None:
        pass

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def note(self) -> str | None:
        authorization = self.headers["Authorization"]
        self.server.seen.append((self.command, urlsplit(self.path).path, authorization))
        return authorization


class TokenRegistry(Handler):
    def do_GET(self) -> None:
        authorization, place = self.note(), urlsplit(self.path)
        if place.path == "/token":
            if authorization != f"Basic {AUTH}":
                self.say(401)
                return
            [scope] = parse_qs(place.query)["scope"]
            self.server.bought += 1
            self.server.tokens[scope] = f"token-{self.server.bought}"
            self.say(200, json.dumps({"token": self.server.tokens[scope]}).encode())
            return
        repository, kind, _ = place.path.removeprefix("/v2/").rsplit("/", 2)
        scope = f"repository:{repository}:{'pull' if self.command in ('GET', 'HEAD') else 'pull,push'}"
        if authorization is None or authorization != f"Bearer {self.server.tokens.get(scope)}":
            realm = f'Bearer realm="https://{self.server.address}/token",service="registry",scope="{scope}"'
            self.say(401, WWW_Authenticate=realm)
        elif kind == "blobs":
            self.say(307, Location=f"https://{self.server.storage}/layer")
        elif self.command == "PUT":
            self.say(201)
        else:
            self.say(200, b"{}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()


class Storage(Handler):
    def do_GET(self) -> None:
        # As storages do: with a signed address no other authorization is taken.
        self.say(200 if self.note() is None else 400, LAYER)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine, good for itself, and its key."""
    directory = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "tls.crt", directory / "tls.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@contextmanager
def serving(handler: type[Handler], certificate: tuple[Path, Path]) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with Server(handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def servers(certificate: tuple[Path, Path]) -> Iterator[tuple[Server, Server]]:
    with ExitStack() as stack:
        registry, storage = (stack.enter_context(serving(kind, certificate)) for kind in (TokenRegistry, Storage))
        registry.storage = storage.address
        yield registry, storage


@pytest.fixture
def client(servers: tuple[Server, Server], certificate: tuple[Path, Path]) -> Registry:
    return Registry(servers[0].address, str(certificate[0]), AUTH)


def authorizations(server: Server, path: str) -> list[Any]:
    return [authorization for _method, seen, authorization in server.seen if seen == path]


def test_token_is_bought_once_for_a_purpose(client: Registry, servers: tuple[Server, Server]) -> None:
    registry = servers[0]
    for _ in range(3):
        assert client.expect(200, "GET", "/v2/team/model/manifests/v1").body == b"{}"
    assert authorizations(registry, "/v2/team/model/manifests/v1") == [f"Basic {AUTH}", *["Bearer token-1"] * 3]
    client.push_manifest("team/model", "v2", {})
    client.expect(200, "HEAD", "/v2/team/model/manifests/v2")
    # That it asks for tokens is known by now: the password goes where they are given, and nowhere else.
    assert authorizations(registry, "/v2/team/model/manifests/v2") == [None, "Bearer token-2", "Bearer token-1"]
    assert authorizations(registry, "/token") == [f"Basic {AUTH}"] * 2


def test_token_that_has_expired_is_bought_anew(client: Registry, servers: tuple[Server, Server]) -> None:
    client.expect(200, "GET", "/v2/team/model/manifests/v1")
    servers[0].tokens.clear()
    client.expect(200, "GET", "/v2/team/model/manifests/v1")
    assert servers[0].bought == 2


def test_storage_elsewhere_does_not_learn_the_credentials(client: Registry, servers: tuple[Server, Server]) -> None:
    assert client.expect(200, "GET", "/v2/team/model/blobs/sha256:0").body == LAYER
    assert servers[1].seen == [("GET", "/layer", None)]


def test_wrong_password_is_told(servers: tuple[Server, Server], certificate: tuple[Path, Path]) -> None:
    client = Registry(servers[0].address, str(certificate[0]), base64.b64encode(b"mlstack:wrong").decode())
    with pytest.raises(RegistryError, match=r"no token was given for these credentials \(HTTP status 401\)"):
        client.expect(200, "GET", "/v2/team/model/manifests/v1")
