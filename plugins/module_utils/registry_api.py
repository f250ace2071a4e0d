# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A small client of the registry HTTP API, and the file that holds the credentials for it.

The file has the form that container tools read (`auths: {<registry>: {auth: <user:password in base64>}}`), so that the
same file serves this client and the tools that push and pull.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIGURATION_TYPE = "application/vnd.oci.image.config.v1+json"
ACCEPTED_MANIFESTS = f"{MANIFEST_TYPE}, application/vnd.docker.distribution.manifest.v2+json"
# Also the lists of images for several architectures.
ACCEPTED_INDEXES = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"


class RegistryError(Exception):
    """The registry cannot be used, or said what it should not."""


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Image(NamedTuple):
    """What a registry says of one image."""

    digest: str
    # Bytes that the registry holds of it and that a node loads: its layers and its configuration.
    size: int


def basic_credentials(auth_file: str, registry: str) -> str | None:
    """Return `user:password` in base64, or None where the file has nothing for the registry."""
    try:
        with open(auth_file, encoding="utf-8") as stream:
            auth = json.load(stream)["auths"][registry]["auth"]
        if ":" not in base64.b64decode(auth, validate=True).decode():
            return None
    except (FileNotFoundError, KeyError, TypeError, ValueError, binascii.Error):
        return None
    return str(auth)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Redirects(urllib.request.HTTPRedirectHandler):
    """Registries send those who read to a storage elsewhere, which must not learn the credentials."""

    def redirect_request(self, req: urllib.request.Request, *arguments: Any) -> urllib.request.Request | None:
        request = super().redirect_request(req, *arguments)
        if request is not None and (request.type, request.host) != (req.type, req.host):
            request.remove_header("Authorization")
        return request


class Registry:
    def __init__(self, address: str, ca_file: str, credentials: str | None, timeout: float = 30) -> None:
        self.address = address
        self.credentials = credentials
        self.timeout = timeout
        # By repository and whether it is only read. Each is good for minutes; then the registry asks for another.
        self.tokens: dict[tuple[str, bool], str] = {}
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise RegistryError(f"{ca_file}: {error.strerror or error}") from error
        # No proxy: a proxy of the environment is for the internet, not for the stack's own registry.
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), Redirects()
        )

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        """Return the registry's answer, whatever its status is. A path may be a whole URL that the registry gave."""
        url = path if path.startswith("https://") else f"https://{self.address}{path}"
        request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
        if not self.credentials:
            return self.answer(request)
        purpose = purpose_of(method, url)
        if purpose in self.tokens:
            request.add_header("Authorization", f"Bearer {self.tokens[purpose]}")
        elif not self.tokens:
            request.add_header("Authorization", f"Basic {self.credentials}")
        answer = self.answer(request)
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status != 401 or not challenge.lower().startswith("bearer "):
            return answer
        # Registries such as Harbor take the password at another place, and a token at this one.
        self.tokens[purpose] = self.token(challenge)
        request.add_header("Authorization", f"Bearer {self.tokens[purpose]}")
        return self.answer(request)

    def token(self, challenge: str) -> str:
        """Return the token that a server asks for, which the password buys."""
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = asked.pop("realm", "")
        if not realm.startswith("https://"):
            raise RegistryError(f"https://{self.address}: it asks for a token of {realm or 'nobody'}, not by https")
        request = urllib.request.Request(f"{realm}?{urllib.parse.urlencode(asked)}")
        request.add_header("Authorization", f"Basic {self.credentials}")
        answer = self.answer(request)
        try:
            given = json.loads(answer.body)
            return str(given.get("token") or given["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise RegistryError(
                f"{realm}: no token was given for these credentials (HTTP status {answer.status})"
            ) from error

    def answer(self, request: urllib.request.Request) -> Response:
        try:
            with self.opener.open(request, timeout=self.timeout) as answer:
                return Response(answer.status, lower(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Response(error.code, lower(error.headers), error.read())
        except (OSError, urllib.error.URLError) as error:
            raise RegistryError(f"https://{self.address}: {getattr(error, 'reason', error)}") from error

    def expect(
        self, status: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        """Return the registry's answer, which must have this status."""
        response = self.request(method, path, body, headers)
        if response.status != status:
            who = "with credentials" if self.credentials else "without credentials"
            raise RegistryError(
                f"https://{self.address}: {method} {path} {who} was answered with {response.status}, not {status}: "
                f"{response.body.decode(errors='replace').strip()[:500]}"
            )
        return response

    def image(self, repository: str, reference: str) -> Image | None:
        """Return what the registry has under a tag or a digest, or None."""
        path = f"/v2/{repository}/manifests/{reference}"
        headers = {"Accept": ACCEPTED_MANIFESTS}
        if self.request("HEAD", path, headers=headers).status == 404:
            return None
        body = self.expect(200, "GET", path, headers=headers).body
        return Image(digest_of(body), size_of(json.loads(body)))

    def digest(self, repository: str, reference: str) -> str | None:
        """Return the digest of what the registry has under a tag or a digest, whatever its kind, or None."""
        headers = {"Accept": f"{ACCEPTED_INDEXES}, {ACCEPTED_MANIFESTS}"}
        answer = self.request("GET", f"/v2/{repository}/manifests/{reference}", headers=headers)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise RegistryError(
                f"https://{self.address}: {repository}:{reference} cannot be read (HTTP status {answer.status})"
            )
        return digest_of(answer.body)

    def push_blob(self, repository: str, content: bytes) -> dict[str, Any]:
        """Store bytes and return the part of their descriptor that does not depend on their kind."""
        digest = digest_of(content)
        location = self.expect(202, "POST", f"/v2/{repository}/blobs/uploads/").headers["location"]
        separator = "&" if "?" in location else "?"
        self.expect(
            201,
            "PUT",
            f"{location}{separator}digest={digest}",
            body=content,
            headers={"Content-Type": "application/octet-stream"},
        )
        return {"digest": digest, "size": len(content)}

    def push_manifest(self, repository: str, reference: str, manifest: dict[str, Any]) -> str:
        """Store a manifest and return its digest."""
        body = json.dumps(manifest).encode()
        self.expect(
            201, "PUT", f"/v2/{repository}/manifests/{reference}", body=body, headers={"Content-Type": MANIFEST_TYPE}
        )
        return digest_of(body)


def purpose_of(method: str, url: str) -> tuple[str, bool]:
    """What a token is for: a repository, or another path of the registry, and whether it is only read."""
    path = urllib.parse.urlsplit(url).path
    found = re.match(r"/v2/(.+)/(?:manifests|blobs|tags)/", path)
    return found[1] if found else path, method in ("GET", "HEAD")


def lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def size_of(manifest: dict[str, Any]) -> int:
    parts = [manifest["config"], *manifest["layers"]]
    return sum(int(part["size"]) for part in parts)
