"""The log-in to a Kubeflow, against pages as dex has them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubeflow import (
    Browser,
    KubeflowError,
    NotYetError,
    attributes,
    log_in,
    until,
)

FORM = (
    '<form method="post" action="/dex/auth/local/login?back=&amp;state=x">'
    '<input type="hidden" name="req" value="r&amp;1">'
    "<input name='login' type='text'/><input name=\"password\" type=\"password\"/></form>"
)
CHOICE = '<a href="/dex/auth/ldap?x=1">LDAP</a> <a href="/dex/auth/local?x=1&amp;y=2">Email</a>'


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers of the paths, by the test: a status, and a place or a text."""

    answers: dict[str, tuple[int, str]]
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        status, text = self.answers.get(self.path, (404, "no such page"))
        self.send_response(status)
        if status in (302, 303):
            self.send_header("Location", text)
        self.end_headers()
        self.wfile.write(b"" if status in (302, 303) else text.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.seen.append(body)
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    handler = type("Handler", (Pages,), {"answers": {}, "seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def browser_of(server: http.server.ThreadingHTTPServer, **answers: tuple[int, str]) -> Browser:
    named = {"start": "/oauth2/start?rd=%2F", "dex": "/dex/auth?x=1", "local": "/dex/auth/local?x=1&y=2"}
    named |= {"login": "/dex/auth/local/login?back=&state=x", "end": "/", "callback": "/oauth2/callback?code=1"}
    server.RequestHandlerClass.answers.update({named[name]: answer for name, answer in answers.items()})  # type: ignore[attr-defined]
    return Browser(f"127.0.0.1:{server.server_port}")


def test_the_form_is_sent_with_all_of_its_fields(server: http.server.ThreadingHTTPServer) -> None:
    log_in(
        browser_of(
            server,
            start=(302, "/dex/auth?x=1"),
            dex=(200, FORM),
            login=(303, "/oauth2/callback?code=1"),
            callback=(302, "/"),
            end=(200, "Dashboard"),
        ),
        "anna@example.com",
        "geheim&1",
    )
    seen = server.RequestHandlerClass.seen  # type: ignore[attr-defined]
    assert "req=r%261&login=anna%40example.com&password=geheim%261" in seen


def test_among_several_ways_that_by_password_is_taken(server: http.server.ThreadingHTTPServer) -> None:
    browser = browser_of(
        server, start=(302, "/dex/auth?x=1"), dex=(200, CHOICE), local=(200, FORM), login=(302, "/"), end=(200, "")
    )
    log_in(browser, "anna@example.com", "x")
    assert "/dex/auth/local?x=1&y=2" in server.RequestHandlerClass.seen  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ({}, NotYetError, "HTTP status 404: 'no such page'"),
        ({"start": (503, "no healthy upstream")}, NotYetError, "503: 'no healthy upstream'"),
        ({"start": (200, "<b>Hello</b>")}, KubeflowError, "leads to /oauth2/start .*and not to dex: 'Hello'"),
        (
            {"start": (302, "/dex/auth?x=1"), "dex": (200, "<a href='/dex/auth/ldap'>")},
            KubeflowError,
            "no log-in by pass",
        ),
        (
            {"start": (302, "/dex/auth?x=1"), "dex": (200, FORM), "login": (200, "<p>Invalid</p>")},
            KubeflowError,
            r"dex does not let anna@example\.com in: 'Invalid'",
        ),
        (
            {
                "start": (302, "/dex/auth?x=1"),
                "dex": (200, FORM),
                "login": (303, "/oauth2/callback?code=1"),
                "callback": (500, "<script>x</script>Internal"),
            },
            KubeflowError,
            "ends at /oauth2/callback with HTTP status 500: 'Internal'",
        ),
    ],
)
def test_what_goes_wrong_is_told(
    server: http.server.ThreadingHTTPServer,
    answers: dict[str, tuple[int, str]],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        log_in(browser_of(server, **answers), "anna@example.com", "x")


def test_attributes_are_read_as_browsers_read_them() -> None:
    assert attributes("input NAME='a' value=\"b &amp; c\" required") == {"name": "a", "value": "b & c"}


def test_waiting_ends_with_the_last_reason() -> None:
    tries = []

    def attempt() -> None:
        tries.append(1)
        if len(tries) < 2:
            raise NotYetError("not yet")

    assert until(attempt, 5) >= 0
    with pytest.raises(NotYetError, match="never"):
        until(lambda: (_ for _ in ()).throw(NotYetError("never")), 0)
