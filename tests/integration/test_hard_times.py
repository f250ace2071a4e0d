"""An API server that pushes back, hangs, is slow or loses answers: the real one, behind a gate that does this to it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .conftest import wait_for
from .jobs import KINDS

TF = KINDS[0]
BUSY = b'{"kind": "Status", "reason": "TooManyRequests", "message": "too many requests", "code": 429}'


class Gate(ThreadingHTTPServer):
    """Hands requests on to the API server, in the way that the test has chosen."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, pool: Any, host: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pool = pool
        self.host = host
        self.is_open = threading.Event()
        self.is_open.set()
        self.is_busy = False
        self.delay = 0.0
        # Jobs that may still be made, those of them that are to be made without an answer, and those that were made.
        self.jobs_to_let_in = math.inf
        self.answers_to_lose = 0
        self.made: list[str] = []
        self.on_made: Callable[[int], None] = lambda count: None
        self.lock = threading.Lock()

    @property
    def options(self) -> dict[str, str]:
        return {"host": f"http://127.0.0.1:{self.server_port}", "api_key": "the-gate-asks-nobody"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gate

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.hand_on()

    def do_POST(self) -> None:
        self.hand_on()

    def do_PATCH(self) -> None:
        self.hand_on()

    def do_DELETE(self) -> None:
        self.hand_on()

    def hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        gate = self.server
        gate.is_open.wait()
        time.sleep(gate.delay)
        makes_job = self.command == "POST" and "/tfjobs" in self.path and "dryRun" not in self.path
        if gate.is_busy or (makes_job and not self.lets_in()):
            self.answer(429, BUSY, {"Retry-After": "1"})
            return
        headers = {"Content-Type": self.headers.get("Content-Type") or "application/json"}
        response = gate.pool.request(
            self.command, gate.host + self.path, body=body or None, headers=headers, preload_content=False
        )
        if makes_job and response.status < 300:
            with gate.lock:
                gate.made.append(self.path)
                is_lost = gate.answers_to_lose > 0
                gate.answers_to_lose -= is_lost
                gate.on_made(len(gate.made))
            if is_lost:
                response.close()
                self.close_connection = True
                return
        if "watch=true" in self.path and response.status == 200:
            self.stream(response)
        else:
            self.answer(response.status, response.data)

    def lets_in(self) -> bool:
        with self.server.lock:
            self.server.jobs_to_let_in -= 1
            return self.server.jobs_to_let_in >= 0

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def stream(self, response: Any) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for chunk in response.stream(amt=None):
                self.server.is_open.wait()
                if self.server.is_busy:
                    break
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                self.wfile.flush()
        except OSError:
            # The client has gone.
            pass
        response.close()
        self.close_connection = True


@pytest.fixture
def gate(core: Any) -> Iterator[Gate]:
    api = core.api_client
    gate = Gate(api.rest_client.pool_manager, api.configuration.host)
    thread = threading.Thread(target=gate.serve_forever, daemon=True)
    thread.start()
    yield gate
    gate.is_open.set()
    gate.shutdown()
    gate.server_close()


def end_all(kubelet: Any, job: str) -> None:
    for replica in ("worker-0", "worker-1", "chief-0"):
        kubelet.end(f"{job}-{replica}")


def is_succeeded(custom: Any, namespace: str, name: str) -> bool:
    status = custom.get_namespaced_custom_object(*TF.api, namespace, TF.plural, name).get("status", {})
    return any(one["type"] == "Succeeded" and one["status"] == "True" for one in status.get("conditions", []))


@pytest.mark.parametrize("trouble", ["busy", "hangs"])
def test_the_end_of_a_job_is_seen_after_trouble(
    trouble: str, gate: Gate, namespace: str, start: Any, kubelet: Any, custom: Any
) -> None:
    playbook = start(TF.task("patient", namespace, wait_timeout=120), defaults=gate.options)
    kubelet.wait_until_running("patient", 3)
    if trouble == "busy":
        gate.is_busy = True
    else:
        gate.is_open.clear()
    end_all(kubelet, "patient")
    wait_for(lambda: is_succeeded(custom, namespace, "patient"))
    time.sleep(5)
    gate.is_busy = False
    gate.is_open.set()
    (task,) = playbook.finish()
    assert not task.failed, task["msg"]
    assert task["state"] == "Succeeded"
    assert len(gate.made) == 1


def test_the_deadline_holds_while_the_server_hangs(gate: Gate, namespace: str, start: Any, kubelet: Any) -> None:
    playbook = start(TF.task("late", namespace, wait_timeout=25), defaults=gate.options)
    kubelet.wait_until_running("late", 3)
    gate.is_open.clear()
    (task,) = playbook.finish()
    assert task.failed
    assert "has not finished within 25 seconds; the API server is not answering" in task["msg"]
    assert task.seconds < 50


def batch(namespace: str, count: int) -> dict[str, Any]:
    task = TF.task("", namespace, wait=False, run_policy={"suspend": True})
    options = task["mlstack.kubernetes.tfjob"]
    del options["name"]
    options["jobs"] = [{"name": f"job-{number}"} for number in range(count)]
    return task


def names(custom: Any, namespace: str) -> list[str]:
    return [
        job["metadata"]["name"] for job in custom.list_namespaced_custom_object(*TF.api, namespace, TF.plural)["items"]
    ]


def test_jobs_are_made_once_by_a_server_that_pushes_back_and_is_slow(
    gate: Gate, namespace: str, start: Any, custom: Any
) -> None:
    gate.delay = 0.05

    def be_busy_for_a_while(count: int) -> None:
        if count == 10:
            gate.is_busy = True
            threading.Timer(4, lambda: setattr(gate, "is_busy", False)).start()

    gate.on_made = be_busy_for_a_while
    first, second = start(batch(namespace, 40), batch(namespace, 40), defaults=gate.options).finish()
    assert not first.failed, first["msg"]
    assert [row["changed"] for row in first["jobs"]] == [True] * 40
    assert (second["changed"], len(gate.made), len(names(custom, namespace))) == (False, 40, 40)


def test_lost_answers_make_no_job_twice(gate: Gate, namespace: str, start: Any, custom: Any) -> None:
    gate.answers_to_lose = 5
    (task,) = start(batch(namespace, 12), defaults=gate.options).finish()
    assert not task.failed, task["msg"]
    assert (len(gate.made), len(names(custom, namespace))) == (12, 12)


def test_those_that_could_not_be_made_are_made_by_the_next_run(
    gate: Gate, namespace: str, start: Any, custom: Any
) -> None:
    gate.jobs_to_let_in = 5
    (task,) = start(batch(namespace, 12), defaults=gate.options).finish()
    assert task.failed
    there = set(names(custom, namespace))
    assert len(there) == 5
    assert {row["name"] for row in task["jobs"] if row["changed"]} == there
    assert "7 of 12 TFJobs came to no good end." in task["msg"]
    assert "too many requests" in task["msg"]
    gate.jobs_to_let_in = math.inf
    (again,) = start(batch(namespace, 12), defaults=gate.options).finish()
    assert not again.failed, again["msg"]
    assert (len(gate.made), len(names(custom, namespace))) == (12, 12)
