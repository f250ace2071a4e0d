# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The REST interface."""

from __future__ import annotations

import json
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import prometheus_client
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from model_server.errors import NotFoundError, RequestError
from model_server.metrics import observed
from model_server.tensors import answer_of, arrays_of
from model_server.versions import Models, Version

MODEL = re.compile(
    r"/v1/models/(?P<model>[^/:]+)(/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?(?P<what>/metadata|:[a-zA-Z]+)?"
)
METRICS = "/monitoring/prometheus/metrics"
# A connection on which nothing is asked is closed after so many seconds.
IDLE_SECONDS = 60


class RestServer(ThreadingHTTPServer):
    # An idle connection does not keep the process from ending.
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, models: Models) -> None:
        self.models = models
        super().__init__(("", port), Handler)


class Handler(BaseHTTPRequestHandler):
    server: RestServer
    protocol_version = "HTTP/1.1"
    server_version = "model-server"
    timeout = IDLE_SECONDS
    # Header and body of an answer are two writes, of which the second would wait for the first's acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if method == "GET" and path == METRICS:
            self._send(200, prometheus_client.generate_latest(), prometheus_client.CONTENT_TYPE_LATEST)
            return
        try:
            status, answer = 200, self._call(method, path, content)
        except NotFoundError as error:
            status, answer = 404, {"error": str(error)}
        except RequestError as error:
            status, answer = 400, {"error": str(error)}
        except Exception as error:  # a fault of the model or of this program must not end the connection
            status, answer = 500, {"error": f"{type(error).__name__}: {error}"}
        self._send(status, json.dumps(answer).encode(), "application/json")

    def _call(self, method: str, path: str, content: bytes) -> dict[str, Any]:
        match = MODEL.fullmatch(path)
        if not match:
            raise NotFoundError(f"there is nothing at {path}")
        model = self.server.models[unquote(match["model"])]
        number = int(match["version"]) if match["version"] else None
        label = unquote(match["label"]) if match["label"] else None
        what = match["what"] or ""
        if (method, what) == ("GET", ""):
            return {"model_version_status": [_status(version) for version in model.statuses(number, label)]}
        if (method, what) == ("GET", "/metadata"):
            served, servable = model.servable(number, label)
            return _metadata(model.config.name, served, servable.signatures)
        if (method, what) != ("POST", ":predict"):
            raise RequestError(
                f"{method} {what or 'on a model'} is not served; there are status, /metadata and :predict"
            )
        started = time.monotonic()
        with observed(model.config.name, "rest", started):
            _served, servable = model.servable(number, label)
            try:
                body = json.loads(content)
            except ValueError as error:
                raise RequestError(f"the request is no JSON: {error}") from error
            signature = str(body.get("signature_name", "")) if isinstance(body, dict) else ""
            inputs, row = arrays_of(body, servable.dtypes(signature))
            return answer_of(servable.predict(signature, inputs), row)

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Requests are counted, not logged."""


def _status(version: Version) -> dict[str, Any]:
    return {
        "version": str(version.number),
        "state": version.state.name,
        "status": {"error_code": "UNKNOWN" if version.error else "OK", "error_message": version.error},
    }


def _metadata(model: str, number: int, signatures: Any) -> dict[str, Any]:
    message = get_model_metadata_pb2.SignatureDefMap(signature_def=signatures)
    definitions = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {
        "model_spec": {"name": model, "signature_name": "", "version": str(number)},
        "metadata": {"signature_def": definitions},
    }
