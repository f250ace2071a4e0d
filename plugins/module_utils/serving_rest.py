# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""TensorFlow Serving's REST interface, from the side of its client."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.served_model import (
    Columns,
    NotYetError,
    ServingError,
    Signature,
    Target,
    Tensor,
    Version,
)

# Answers of proxies and of servers that are about to start.
BUSY = (429, 502, 503, 504)


class Connection:
    """Carries requests to a URL and answers back, over one connection that is kept."""

    def __init__(self, url: str, timeout: float, tls: ssl.SSLContext | None = None, shown: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServingError(f"url: '{url}' is not of the form http://host:port or https://host:port")
        try:
            port = parts.port
        except ValueError as error:
            raise ServingError(f"url: '{url}': {error}") from error
        self.address = shown or url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(parts.hostname, port, timeout=timeout, context=tls)
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)

    def close(self) -> None:
        self._connection.close()

    def request(self, method: str, path: str, body: Json | None = None) -> Json:
        content = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, self._prefix + path, content, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            status, text = response.status, response.read().decode("utf-8", errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            cause = error.strerror if isinstance(error, OSError) else None
            raise NotYetError(f"{self.address} cannot be reached: {cause or error or type(error).__name__}") from error
        if status >= 300:
            raise _refusal(status, text)
        return _parsed(text, self.address)


def _refusal(status: int, text: str) -> ServingError:
    try:
        message = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        message = text.strip()[:500] or f"HTTP status {status}"
    if status == 404 or status in BUSY:
        return NotYetError(message)
    return ServingError(f"the model server refused the request: {message}")


def _parsed(text: str, address: str) -> Json:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServingError(f"{address} is no model server: it answered {text.strip()[:100]!r}")
    return answer


class RestModel:
    """A served model, by REST."""

    def __init__(self, connection: Connection, target: Target) -> None:
        self.address = connection.address
        self._connection = connection
        self._path = f"/v1/models/{quote(target.model, safe='')}"
        if target.version is not None:
            self._path += f"/versions/{target.version}"
        elif target.label is not None:
            self._path += f"/labels/{quote(target.label, safe='')}"

    def close(self) -> None:
        self._connection.close()

    def versions(self) -> list[Version]:
        return [
            Version(int(entry["version"]), entry["state"], entry.get("status", {}).get("error_message", ""))
            for entry in self._ask("GET", "", "model_version_status")
        ]

    def signatures(self) -> dict[str, Signature]:
        metadata = self._ask("GET", "/metadata", "metadata")
        return {
            name: Signature(name, _tensors(entry.get("inputs", {})), _tensors(entry.get("outputs", {})))
            for name, entry in metadata["signature_def"]["signature_def"].items()
        }

    def predict(self, signature: Signature, inputs: Columns) -> Columns:
        names = list(inputs)
        if len(names) == 1:
            rows: list[Any] = inputs[names[0]]
        else:
            rows = [dict(zip(names, values, strict=True)) for values in zip(*inputs.values(), strict=True)]
        body = {"signature_name": signature.name, "instances": rows}
        predictions = self._ask("POST", ":predict", "predictions", body)
        if len(signature.outputs) == 1:
            return {next(iter(signature.outputs)): predictions}
        return {name: [row[name] for row in predictions] for name in signature.outputs}

    def _ask(self, method: str, path: str, key: str, body: Json | None = None) -> Any:
        answer = self._connection.request(method, self._path + path, body)
        if key not in answer:
            raise ServingError(f"{self.address} is no model server: its answer has no `{key}`")
        return answer[key]


def _tensors(entries: Json) -> dict[str, Tensor]:
    return {name: Tensor(entry["dtype"], _shape(entry.get("tensor_shape", {}))) for name, entry in entries.items()}


def _shape(shape: Json) -> tuple[int, ...] | None:
    if shape.get("unknown_rank"):
        return None
    return tuple(int(dimension["size"]) for dimension in shape.get("dim", []))
