"""What a running registry looks like from outside."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request

import pytest
from testinfra.host import Host

DIRECTORY = "/var/tmp/mlstack-molecule/registry/molecule"
CERTS = "/var/tmp/mlstack-molecule/certs.d/127.0.0.1:5543"
PORT = 5543


def ask(host: Host, method: str, path: str, authorised: bool) -> tuple[int, bytes]:
    context = ssl.create_default_context(cadata=host.file(f"{DIRECTORY}/ca.crt").content_string)
    request = urllib.request.Request(f"https://127.0.0.1:{PORT}{path}", method=method)
    if authorised:
        auth = json.loads(host.file(f"{DIRECTORY}/auth.json").content_string)["auths"][f"127.0.0.1:{PORT}"]["auth"]
        request.add_header("Authorization", f"Basic {auth}")
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def registry_pid(host: Host) -> int:
    """Return the process ID that the supervisor has written down: 0 while there is no process."""
    return int(host.file(f"{DIRECTORY}/service/supervise/pid").content_string or 0)


def test_listens_on_loopback_only(host: Host) -> None:
    assert host.socket(f"tcp://127.0.0.1:{PORT}").is_listening
    assert not host.socket(f"tcp://0.0.0.0:{PORT}").is_listening


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/mlstack/small/tags/list"),
        ("POST", "/v2/mlstack/small/blobs/uploads/"),
        ("DELETE", "/v2/mlstack/small/manifests/latest"),
    ],
)
def test_strangers_are_refused(host: Host, method: str, path: str) -> None:
    assert ask(host, method, path, authorised=False)[0] == 401


def test_built_image_is_listed(host: Host) -> None:
    status, body = ask(host, "GET", "/v2/mlstack/small/tags/list", authorised=True)
    assert status == 200
    assert len(json.loads(body)["tags"]) == 1


@pytest.mark.parametrize(
    ("path", "user"),
    [
        (f"{DIRECTORY}/ca.key", "root"),
        (f"{DIRECTORY}/auth.json", "root"),
        (f"{DIRECTORY}/server.key", "docker-registry"),
        (f"{DIRECTORY}/htpasswd", "docker-registry"),
        (f"{CERTS}/hosts.toml", "root"),
    ],
)
def test_secrets_are_private(host: Host, path: str, user: str) -> None:
    assert (host.file(path).user, host.file(path).mode) == (user, 0o600)


def test_does_not_run_as_root(host: Host) -> None:
    assert host.process.get(pid=registry_pid(host)).user == "docker-registry"


def test_password_is_in_no_command_line_and_no_log(host: Host) -> None:
    password = host.run(
        f"python3 -c \"import base64, json; print(base64.b64decode(json.load(open('{DIRECTORY}/auth.json'))"
        f"['auths']['127.0.0.1:{PORT}']['auth']).decode().partition(':')[2])\""
    ).stdout.strip()
    assert len(password) > 30
    assert password not in host.file(f"{DIRECTORY}/service/log/main/current").content_string
    assert password not in host.run("cat /proc/[0-9]*/cmdline").stdout


def test_comes_back_when_killed(host: Host) -> None:
    before = registry_pid(host)
    host.run_test("kill -KILL %s", str(before))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if registry_pid(host) not in (0, before) and host.socket(f"tcp://127.0.0.1:{PORT}").is_listening:
            break
        time.sleep(0.5)
    assert registry_pid(host) not in (0, before)
    assert ask(host, "GET", "/v2/", authorised=True)[0] == 200
