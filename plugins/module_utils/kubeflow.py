# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A Kubeflow as its users' browsers have it: the log-in through dex, and the pages behind it."""

from __future__ import annotations

import html
import http.client
import http.cookiejar
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping

# Where oauth2-proxy begins a log-in, and whither it leads then.
START = "/oauth2/start?rd=%2F"
READ_TIMEOUT = 30.0
POLL_SECONDS = 1.0
SHOWN = 300

FORM = re.compile(r"<form\b([^>]*)>(.*?)</form>", re.IGNORECASE | re.DOTALL)
INPUT = re.compile(r"<input\b([^>]*)>", re.IGNORECASE)
ATTRIBUTE = re.compile(r"""([a-z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.IGNORECASE | re.DOTALL)


class KubeflowError(Exception):
    """What Kubeflow does not do, and why, in one sentence."""


class NotYetError(KubeflowError):
    """What it does not do yet."""


class Page:
    """An answer: where it came from after all redirects, its status, and its text."""

    def __init__(self, url: str, status: int, text: str) -> None:
        self.url = url
        self.status = status
        self.text = text

    @property
    def path(self) -> str:
        return urllib.parse.urlsplit(self.url).path

    def words(self) -> str:
        """The text that a reader sees, shortened."""
        return " ".join(html.unescape(TAG.sub(" ", self.text)).split())[:SHOWN]


class Browser:
    """Follows redirects and keeps cookies for one address, as a browser does."""

    def __init__(self, address: str, host: str = "") -> None:
        """`address` is a host and port; `host` is what the server is told that it is called."""
        self._base = f"http://{address}"
        self._headers = {"Accept": "text/html", "User-Agent": "mlstack.kubernetes"} | ({"Host": host} if host else {})
        self._jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            # No proxy leads to a tunnel of our own.
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(self._jar),
        )

    def get(self, path: str) -> Page:
        return self._ask(urllib.request.Request(urllib.parse.urljoin(self._base, path), headers=self._headers))

    def submit(self, page: Page, fields: Mapping[str, str]) -> Page:
        """Fill in the page's form, whatever else it has, and send it."""
        found = FORM.search(page.text)
        if found is None:
            raise KubeflowError(f"{page.path} has no form to log in: {page.words()!r}")
        form = attributes(found[1])
        values = {
            entry["name"]: entry.get("value", "")
            for entry in map(attributes, INPUT.findall(found[2]))
            if entry.get("name")
        }
        missing = sorted(set(fields) - set(values))
        if missing:
            raise KubeflowError(f"the form of {page.path} has no field {', '.join(missing)}, only {', '.join(values)}")
        body = urllib.parse.urlencode(values | dict(fields)).encode()
        return self._ask(
            urllib.request.Request(urllib.parse.urljoin(page.url, form.get("action", "")), body, self._headers)
        )

    def _ask(self, request: urllib.request.Request) -> Page:
        try:
            with self._opener.open(request, timeout=READ_TIMEOUT) as answer:
                return Page(answer.url, answer.status, answer.read().decode(errors="replace"))
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.url, error.code, error.read().decode(errors="replace"))
        except (OSError, http.client.HTTPException) as error:
            path = urllib.parse.urlsplit(request.full_url).path
            raise NotYetError(f"{path} is not answered: {getattr(error, 'reason', error)}") from error


def attributes(text: str) -> dict[str, str]:
    """Return the attributes of a tag."""
    return {name.lower(): html.unescape(double or single) for name, double, single in ATTRIBUTE.findall(text)}


def log_in(browser: Browser, user: str, password: str) -> None:
    """Log in by dex's own form.

    Raises NotYetError where oauth2-proxy or dex does not answer as it should, and KubeflowError where dex refuses.
    """
    page = browser.get(START)
    if page.status >= 500 or page.status == 404:
        raise NotYetError(f"{START} is answered with HTTP status {page.status}: {page.words()!r}")
    if not page.path.startswith("/dex/auth"):
        raise KubeflowError(
            f"{START} leads to {page.path} (HTTP status {page.status}) and not to dex: {page.words()!r}"
        )
    if 'name="password"' not in page.text.replace("'", '"'):
        page = choose_password(browser, page)
    page = browser.submit(page, {"login": user, "password": password})
    if page.path.startswith("/dex/auth"):
        raise KubeflowError(f"dex does not let {user} in: {page.words()!r}")
    if page.path.startswith(("/dex", "/oauth2")):
        raise KubeflowError(f"the log-in ends at {page.path} with HTTP status {page.status}: {page.words()!r}")


def choose_password(browser: Browser, page: Page) -> Page:
    """Choose the users that dex itself knows, where there are further ways to log in."""
    found = re.search(r"""href=["']([^"']*/auth/local[^"']*)["']""", page.text)
    if found is None:
        raise KubeflowError(f"dex offers no log-in by password: {page.words()!r}")
    return browser.get(urllib.parse.urljoin(page.url, html.unescape(found[1])))


def see(browser: Browser, path: str) -> Page:
    """Return a page that only a user who is logged in gets.

    Raises NotYetError where it is something else.
    """
    page = browser.get(path)
    if page.status != 200 or page.path.startswith(("/dex", "/oauth2")):
        raise NotYetError(f"{path} is answered with HTTP status {page.status} at {page.path}: {page.words()!r}")
    return page


def until(attempt: Callable[[], object], timeout: float, clock: Callable[[], float] = time.monotonic) -> float:
    """Repeat what does not work yet; return the seconds that it took."""
    start = clock()
    while True:
        try:
            attempt()
        except NotYetError:
            if clock() - start >= timeout:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return round(clock() - start, 1)
