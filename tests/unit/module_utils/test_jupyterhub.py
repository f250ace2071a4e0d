"""The proof of a JupyterHub, against a server that speaks as the hub, a user's server and a kernel do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.jupyterhub import (
    Hub,
    HubError,
    Proof,
    from_note,
    prove,
    to_note,
)

USER = "mlstack-verify"
READY = {"progress": 100, "ready": True, "message": "Server ready"}


class World:
    """What the hub knows, and what went wrong with it."""

    def __init__(self) -> None:
        self.users: dict[str, bool] = {}
        self.homes: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []
        self.events: list[dict[str, Any]] = [{"progress": 50, "message": "Pulling image"}, READY]
        self.forgets = False
        self.kernel_answer: Callable[[str], list[dict[str, Any]]] | None = None
        self.status_of: dict[str, int] = {}
        self.tokens: set[str] = set()

    def run(self, code: str) -> list[dict[str, Any]]:
        """Messages of the kernel that answer this code."""
        if self.kernel_answer:
            return self.kernel_answer(code)
        home = self.homes.setdefault(USER, {})
        printed = ""
        if code.startswith("open("):
            home["file"] = code.rpartition("write('")[2].removesuffix("')")
        elif "print(" in code:
            printed = home.get("file", "nothing") + "\n"
        return [
            {"msg_type": "status", "content": {"execution_state": "busy"}},
            {"msg_type": "stream", "content": {"name": "stdout", "text": printed}},
            {"msg_type": "stream", "content": {"name": "stderr", "text": "a warning"}},
            {"msg_type": "status", "content": {"execution_state": "idle"}},
        ]


class Kernel:
    """A channel that answers one request, among messages that are for others."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._messages: list[dict[str, Any]] = [
            {"msg_type": "status", "parent_header": {}, "content": {"execution_state": "idle"}}
        ]
        self.is_closed = False

    def send(self, payload: str) -> None:
        request = json.loads(payload)
        assert (request["channel"], request["header"]["msg_type"]) == ("shell", "execute_request")
        parent = {"parent_header": {"msg_id": request["header"]["msg_id"]}}
        self._messages += [message | parent for message in self._world.run(request["content"]["code"])]

    def recv(self) -> str:
        if not self._messages:
            raise TimeoutError
        return json.dumps(self._messages.pop(0))

    def settimeout(self, timeout: float) -> None:
        assert timeout > 0

    def close(self) -> None:
        self.is_closed = True


def handler(world: World) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            world.calls.append(f"{self.command} {self.path}")
            world.tokens.add(self.headers["Authorization"])
            status, body = self.made()
            status = world.status_of.get(f"{self.command} {self.path}", status)
            self.send_response(status)
            self.end_headers()
            if self.path.endswith("/progress"):
                for event in world.events:
                    self.wfile.write(f"data: {json.dumps(event)}\n\n:keepalive\n".encode())
            elif body is not None:
                self.wfile.write(json.dumps(body).encode())

        def made(self) -> tuple[int, Any]:
            match self.command, self.path.removeprefix("/hub/api"):
                case "GET", "/":
                    return 200, {"version": "6.1.1"}
                case "POST", "/users/mlstack-verify":
                    known = USER in world.users
                    world.users.setdefault(USER, False)
                    return (409, {"message": "exists"}) if known else (201, {"name": USER})
                case "DELETE", "/users/mlstack-verify":
                    world.users.pop(USER)
                    world.homes.pop(USER, None)
                    return 204, None
                case "GET", "/users/mlstack-verify":
                    return 200, {"name": USER, "servers": {"": {}} if world.users[USER] else {}}
                case "POST", "/users/mlstack-verify/server":
                    world.users[USER] = True
                    return 202, None
                case "DELETE", "/users/mlstack-verify/server":
                    if world.forgets:
                        world.homes.clear()
                    running, world.users[USER] = world.users[USER], False
                    return (202, None) if running else (400, {"message": "not running"})
                case "GET", "/users/mlstack-verify/server/progress":
                    return 200, None
                case "POST", "/user/mlstack-verify/api/kernels":
                    return 201, {"id": "k1"}
                case "DELETE", "/user/mlstack-verify/api/kernels/k1":
                    return 204, None
            return 404, {"message": f"no {self.path}"}

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    return Handler


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def hub(world: World) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(world))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Hub(f"127.0.0.1:{server.server_port}", "t0ken", lambda *_: Kernel(world))
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_starts_computes_and_keeps_its_home(hub: Hub, world: World) -> None:
    proof = prove(hub, USER, "import tensorflow", 5)
    assert proof.version == "6.1.1"
    assert proof.output == ""
    assert world.calls.count("POST /hub/api/users/mlstack-verify/server") == 2
    # Nothing is left, and everything was asked with the token.
    assert (world.users, world.homes) == ({}, {})
    assert world.tokens == {"token t0ken"}
    assert world.calls.count("POST /user/mlstack-verify/api/kernels") == world.calls.count(
        "DELETE /user/mlstack-verify/api/kernels/k1"
    )


def test_what_an_interrupted_proof_has_left_is_cleared(hub: Hub, world: World) -> None:
    world.users[USER] = True
    prove(hub, USER, "import tensorflow", 5)
    assert world.users == {}


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (
            [
                {"message": "2026-01-01T00:00:00Z [Normal] Pulling image nothing:1"},
                {"message": "2026-01-01T00:00:01Z [Warning] Failed to pull image nothing:1"},
                {"message": "2026-01-01T00:00:09Z [Warning] Failed to pull image nothing:1"},
                {"message": "2026-01-01T00:00:09Z [Warning] Error: ImagePullBackOff"},
                {"failed": True, "message": "Spawn failed: pod did not start in 20 seconds!"},
            ],
            "pod did not start in 20 seconds! Failed to pull image nothing:1; Error: ImagePullBackOff$",
        ),
        ([{"message": "0/2 nodes are available"}], "did not start within 5 s: 0/2 nodes are available"),
        ([], "did not start within 5 s: the hub told nothing"),
    ],
)
def test_why_a_server_does_not_start(hub: Hub, world: World, events: list[dict[str, Any]], message: str) -> None:
    world.events = events
    with pytest.raises(HubError, match=message):
        prove(hub, USER, "import tensorflow", 5)
    assert world.users == {}


def test_code_that_cannot_run_is_told(hub: Hub, world: World) -> None:
    world.kernel_answer = lambda code: [
        {"msg_type": "error", "content": {"ename": "ModuleNotFoundError", "evalue": "No module named 'tensorflow'"}},
    ]
    with pytest.raises(
        HubError, match="cannot run 'import tensorflow': ModuleNotFoundError: No module named 'tensorflow'"
    ):
        prove(hub, USER, "import tensorflow", 5)
    assert world.users == {}


def test_code_that_does_not_end_is_told(hub: Hub, world: World) -> None:
    world.kernel_answer = lambda code: []
    with pytest.raises(HubError, match="did not end 'import time' within 5 s"):
        prove(hub, USER, "import time", 5)


def test_a_home_that_does_not_last_is_told(hub: Hub, world: World) -> None:
    world.forgets = True
    with pytest.raises(HubError, match="the home of mlstack-verify did not survive a restart: the file has 'nothing'"):
        prove(hub, USER, "import tensorflow", 5)


def test_a_token_that_is_not_taken_is_told(hub: Hub, world: World) -> None:
    world.status_of["POST /hub/api/users/mlstack-verify"] = 403
    with pytest.raises(HubError, match="POST /hub/api/users/mlstack-verify is answered with HTTP status 403"):
        prove(hub, USER, "import tensorflow", 5)


def test_what_went_wrong_is_told_and_not_what_followed(hub: Hub, world: World) -> None:
    world.events = [{"failed": True, "message": "no node has room"}]
    world.status_of["DELETE /hub/api/users/mlstack-verify"] = 500
    with pytest.raises(HubError, match="no node has room"):
        prove(hub, USER, "import tensorflow", 5)


def test_nobody_there_is_told() -> None:
    with pytest.raises(HubError, match="GET /hub/api/ is not answered: ConnectionRefusedError"):
        prove(Hub("127.0.0.1:9", "t", lambda *_: Kernel(World())), USER, "import tensorflow", 5)


PROOF = Proof("5.4.0", 7.2, 4.1, 6.3, "2.20.0")


def test_a_proof_is_kept() -> None:
    assert from_note(to_note(PROOF, "this"), "this") == PROOF


@pytest.mark.parametrize(
    "note",
    [to_note(PROOF, "that"), "", "{", "[]", "{}", to_note(PROOF, "this").replace("output", "said")],
)
def test_what_is_no_proof_of_this_is_not_taken_for_one(note: str) -> None:
    assert from_note(note, "this") is None
