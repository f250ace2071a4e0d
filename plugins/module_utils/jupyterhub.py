# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A JupyterHub as its users have it: a server is started, a kernel runs code, and what was written stays."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from urllib.parse import quote

Json = dict[str, Any]

# Between the lines that tell of a server's progress the hub sends nothing but a sign of life every 8 s.
READ_TIMEOUT = 30.0
SHOWN = 400
SHOWN_WARNINGS = 4
KEPT_FILE = "mlstack-verify.txt"
# Annotation of the Secret whose token the proof was made with.
NOTE = "mlstack.kubernetes/proof"


class HubError(Exception):
    """What JupyterHub does not do, and why, in one sentence."""


class Channel(Protocol):
    """The messages of a kernel, as a WebSocket carries them."""

    def send(self, payload: str) -> object: ...

    def recv(self) -> str | bytes: ...

    def settimeout(self, timeout: float) -> object: ...

    def close(self) -> object: ...


# Opens a channel: its URL, headers, and the seconds to wait for it.
Dial = Callable[[str, list[str], float], Channel]


@dataclass(frozen=True)
class Proof:
    """What was seen; times in seconds."""

    version: str
    start_seconds: float
    restart_seconds: float
    code_seconds: float
    output: str


def to_note(proof: Proof, state: str) -> str:
    """What is kept of a proof, with the `state` that it is of."""
    return json.dumps({"state": _hash(state), **asdict(proof)}, sort_keys=True)


def from_note(note: str, state: str) -> Proof | None:
    """The proof of that `state`, if the note is of one."""
    try:
        kept = json.loads(note)
        return Proof(**kept) if kept.pop("state") == _hash(state) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        # Nobody's, or of another release of this collection.
        return None


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


class Hub:
    """The public address of a JupyterHub, asked with the token of a service."""

    def __init__(self, address: str, token: str, dial: Dial, base: str = "/") -> None:
        """`address` is a host and port, `base` the path below which JupyterHub answers."""
        self._address = address
        self._headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        self._dial = dial
        self._base = base.rstrip("/")

    def version(self) -> str:
        return str(self.ask("GET", "/hub/api/").get("version"))

    def ask(self, method: str, path: str, body: Json | None = None, accepted: tuple[int, ...] = ()) -> Json:
        """The answer, as JSON; the statuses in `accepted` are no failures."""
        with _Answer(self._address, method, self._base + path, self._headers, body) as answer:
            text = answer.text()
            if answer.status >= 400 and answer.status not in accepted:
                raise HubError(f"{method} {path} is answered with HTTP status {answer.status}: {_reason(text)}")
            try:
                found = json.loads(text) if text.strip() else {}
            except ValueError as error:
                raise HubError(f"{method} {path}: what answers is no JupyterHub: {text[:SHOWN]!r}") from error
            return found if isinstance(found, dict) else {"items": found}

    def progress(self, user: str) -> Iterator[Json]:
        """What the hub tells of a server that is started, until it is ready or has failed."""
        path = f"/hub/api/users/{quote(user)}/server/progress"
        headers = self._headers | {"Accept": "text/event-stream"}
        with _Answer(self._address, "GET", self._base + path, headers, None) as answer:
            if answer.status >= 400:
                raise HubError(f"GET {path} is answered with HTTP status {answer.status}: {_reason(answer.text())}")
            for line in answer.lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def channel(self, user: str, kernel: str, timeout: float) -> Channel:
        path = f"{self._base}/user/{quote(user)}/api/kernels/{kernel}/channels"
        return self._dial(f"ws://{self._address}{path}", [f"Authorization: {self._headers['Authorization']}"], timeout)


class _Answer:
    """One request on a connection of its own; closed at its end."""

    def __init__(self, address: str, method: str, path: str, headers: dict[str, str], body: Json | None) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=READ_TIMEOUT)
        self._what = f"{method} {path}"
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            self._response = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise HubError(f"{self._what} is not answered: {error!r}") from error
        self.status = self._response.status

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def text(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        try:
            while line := self._response.readline():
                yield line.decode(errors="replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            raise HubError(f"{self._what}: the answer breaks off: {error!r}") from error


def _reason(text: str) -> str:
    """What a failed request says; JupyterHub and Jupyter Server answer with JSON, proxies with pages."""
    try:
        found = json.loads(text)
    except ValueError:
        return text.strip()[:SHOWN] or "nothing is said"
    return str(found.get("message") or found)[:SHOWN] if isinstance(found, dict) else str(found)[:SHOWN]


def prove(hub: Hub, user: str, code: str, timeout: float, clock: Callable[[], float] = time.monotonic) -> Proof:
    """Start a server for `user`, run `code` in a kernel, restart the server, and find what was written before.

    The user, its server and, where users have claims of their own, its home are removed afterwards, also on failure.
    `timeout` in seconds holds for each start and for the code.
    """
    version = hub.version()
    hub.ask("POST", f"/hub/api/users/{quote(user)}", accepted=(409,))
    try:
        # What an interrupted proof has left.
        stop(hub, user, timeout, clock)
        proof = _seen(hub, version, user, code, timeout, clock)
    except HubError:
        # That is what has to be told.
        with suppress(HubError):
            remove(hub, user, timeout, clock)
        raise
    remove(hub, user, timeout, clock)
    return proof


def _seen(hub: Hub, version: str, user: str, code: str, timeout: float, clock: Callable[[], float]) -> Proof:
    secret = uuid.uuid4().hex
    begin = clock()
    start(hub, user, timeout, clock)
    running = clock()
    output = run(hub, user, code, timeout, clock)
    ran = clock()
    run(hub, user, f"open({KEPT_FILE!r}, 'w').write({secret!r})", timeout, clock)
    stop(hub, user, timeout, clock)
    stopped = clock()
    start(hub, user, timeout, clock)
    restarted = clock()
    found = run(hub, user, f"import os; print(open({KEPT_FILE!r}).read()); os.remove({KEPT_FILE!r})", timeout, clock)
    if found.strip() != secret:
        raise HubError(f"the home of {user} did not survive a restart: the file has {found.strip()[:SHOWN]!r}")
    return Proof(
        version=version,
        start_seconds=round(running - begin, 1),
        restart_seconds=round(restarted - stopped, 1),
        code_seconds=round(ran - running, 1),
        output=output.strip()[-SHOWN:],
    )


def start(hub: Hub, user: str, timeout: float, clock: Callable[[], float]) -> None:
    deadline = clock() + timeout
    hub.ask("POST", f"/hub/api/users/{quote(user)}/server", {})
    told: list[str] = []
    for event in hub.progress(user):
        if event.get("ready"):
            return
        message = str(event.get("message") or "").strip()
        if event.get("failed"):
            raise HubError(f"the server of {user} does not start: {message} {_telling(told)}")
        told.append(message)
        if clock() >= deadline:
            break
    raise HubError(f"the server of {user} did not start within {timeout:.0f} s: {_telling(told)}")


def _telling(messages: list[str]) -> str:
    """The warnings among what the hub told, each once, or the last of all."""
    # They begin with their time.
    warnings = {message.partition("[Warning]")[2].strip(): None for message in messages if "[Warning]" in message}
    return "; ".join(list(warnings)[-SHOWN_WARNINGS:])[: 2 * SHOWN] or (messages or ["the hub told nothing"])[-1]


def stop(
    hub: Hub,
    user: str,
    timeout: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    deadline = clock() + timeout
    hub.ask("DELETE", f"/hub/api/users/{quote(user)}/server", accepted=(400, 404))
    # The hub tells of the progress of starts, and not of stops.
    while hub.ask("GET", f"/hub/api/users/{quote(user)}").get("servers"):
        if clock() >= deadline:
            raise HubError(f"the server of {user} did not stop within {timeout:.0f} s")
        sleep(0.5)


def remove(hub: Hub, user: str, timeout: float, clock: Callable[[], float]) -> None:
    stop(hub, user, timeout, clock)
    hub.ask("DELETE", f"/hub/api/users/{quote(user)}", accepted=(404,))


def run(hub: Hub, user: str, code: str, timeout: float, clock: Callable[[], float]) -> str:
    """What the code prints in a new kernel, which ends with it."""
    kernels = f"/user/{quote(user)}/api/kernels"
    kernel = str(hub.ask("POST", kernels, {"name": "python3"})["id"])
    deadline = clock() + timeout
    try:
        channel = hub.channel(user, kernel, timeout)
        try:
            return _execute(channel, code, deadline, timeout, clock)
        finally:
            channel.close()
    except (OSError, ValueError) as error:
        raise HubError(f"the kernel of {user} broke off: {error!r}") from error
    finally:
        hub.ask("DELETE", f"{kernels}/{kernel}", accepted=(404,))


def _execute(channel: Channel, code: str, deadline: float, timeout: float, clock: Callable[[], float]) -> str:
    request = uuid.uuid4().hex
    channel.send(
        json.dumps(
            {
                "channel": "shell",
                "header": {
                    "msg_id": request,
                    "msg_type": "execute_request",
                    "session": uuid.uuid4().hex,
                    "username": "mlstack",
                    "version": "5.3",
                },
                "parent_header": {},
                "metadata": {},
                "content": {"code": code, "silent": False, "store_history": False, "allow_stdin": False},
            }
        )
    )
    printed: list[str] = []
    while (left := deadline - clock()) > 0:
        channel.settimeout(left)
        try:
            message = json.loads(channel.recv())
        except TimeoutError:
            break
        if message.get("parent_header", {}).get("msg_id") != request:
            continue
        kind, content = message.get("msg_type"), message.get("content", {})
        if kind == "stream" and content.get("name") == "stdout":
            printed.append(content["text"])
        elif kind == "error":
            problem = f"{content.get('ename')}: {content.get('evalue')}"
            raise HubError(f"the kernel cannot run {code!r}: {problem[:SHOWN]}")
        elif kind == "status" and content.get("execution_state") == "idle":
            return "".join(printed)
    raise HubError(f"the kernel did not end {code!r} within {timeout:.0f} s")
