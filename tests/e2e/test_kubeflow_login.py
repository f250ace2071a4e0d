"""The log-in to a Kubeflow, with oauth2-proxy as Kubeflow configures it and dex behind it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubeflow import (
    Browser,
    KubeflowError,
    NotYetError,
    log_in,
    see,
    until,
)

pytestmark = pytest.mark.extended

MODULE = Path(__file__).parent / "kubeflow_login"
USER, PASSWORD, SECRET = "anna@example.com", "correct-horse", "of-the-client"
PAGE = "<html><title>Dashboard</title><p>Welcome</p></html>"

# What decides on the log-in, as Kubeflow 26.03 sets it. There it answers for Istio; here it leads to the pages.
PROXY = """
provider = "oidc"
oidc_issuer_url = "http://{dex}/dex"
scope = "profile email groups openid"
email_domains = [ "*" ]
upstreams = [ "http://{dex}/dex/", "file://{pages}#/" ]
skip_auth_routes = [ "^/dex/" ]
api_routes = [ "/api/" ]
skip_oidc_discovery = true
login_url = "/dex/auth"
redeem_url = "http://{dex}/dex/token"
oidc_jwks_url = "http://{dex}/dex/keys"
skip_provider_button = false
provider_display_name = "Dex"
prompt = "none"
cookie_name = "oauth2_proxy_kubeflow"
cookie_secure = false
cookie_secret = "0123456789abcdef0123456789abcdef"
code_challenge_method = "S256"
redirect_url = "/oauth2/callback"
relative_redirect_url = true
client_id = "kubeflow-oidc-authservice"
client_secret = "{secret}"
http_address = "{proxy}"
"""


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def go(*words: str) -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlstack/go"
    places = {"GOCACHE": str(cache / "build"), "GOMODCACHE": str(cache / "modules"), "CGO_ENABLED": "0"}
    environment = os.environ | places | {"GOFLAGS": "-buildvcs=false -modcacherw"}
    return subprocess.run(
        ["go", *words], cwd=MODULE, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address at which users log in, with one page behind."""
    directory = tmp_path_factory.mktemp("kubeflow")
    go("build", "-o", f"{directory}/", ".", "github.com/oauth2-proxy/oauth2-proxy/v7")
    web = go("list", "-m", "-f", "{{.Dir}}", "github.com/dexidp/dex") + "/web"
    (directory / "pages").mkdir()
    (directory / "pages/index.html").write_text(PAGE)
    dex, proxy = free_address(), free_address()
    configuration = directory / "proxy.cfg"
    configuration.write_text(PROXY.format(dex=dex, proxy=proxy, pages=directory / "pages", secret=SECRET))
    # As the role makes it.
    hashing = ["htpasswd", "-inB", "-C", "12", "kubeflow"]
    hashed = subprocess.run(hashing, input=PASSWORD, check=True, stdout=subprocess.PIPE, text=True).stdout
    asked = [f"-listen={dex}", f"-issuer=http://{dex}/dex", f"-web={web}", f"-user={USER}", f"-secret={SECRET}"]
    commands = [
        [f"{directory}/kubeflow-login", *asked, f"-hash={hashed.strip().partition(':')[2]}"],
        [f"{directory}/oauth2-proxy", f"--config={configuration}"],
    ]
    with (directory / "log").open("w") as log:
        running = [subprocess.Popen(command, stdout=log, stderr=log) for command in commands]
        try:
            until(lambda: Browser(proxy).get("/ping"), 30)
            until(lambda: Browser(dex).get("/dex/healthz"), 30)
            yield proxy
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(timeout=10)


def test_a_stranger_gets_no_page(gateway: str) -> None:
    with pytest.raises(NotYetError, match="HTTP status 403"):
        see(Browser(gateway), "/")
    assert "Welcome" not in Browser(gateway).get("/").text


def test_a_user_logs_in_and_gets_the_page(gateway: str) -> None:
    browser = Browser(gateway)
    started = time.monotonic()
    log_in(browser, USER, PASSWORD)
    assert see(browser, "/").words() == "Dashboard Welcome"
    assert time.monotonic() - started < 10


def test_a_wrong_password_is_told(gateway: str) -> None:
    browser = Browser(gateway)
    with pytest.raises(KubeflowError, match=r"dex does not let anna@example\.com in: .*Invalid"):
        log_in(browser, USER, "wrong")
    with pytest.raises(NotYetError):
        see(browser, "/")


def test_nobody_else_is_let_in(gateway: str) -> None:
    with pytest.raises(KubeflowError, match=r"does not let user@example\.com in"):
        log_in(Browser(gateway), "user@example.com", "12341234")


def test_what_does_not_answer_is_waited_for() -> None:
    with pytest.raises(NotYetError, match="/oauth2/start is not answered"):
        until(lambda: log_in(Browser(free_address()), USER, PASSWORD), 0.1)
