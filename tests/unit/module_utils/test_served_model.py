"""A served model from the side of its client: REST and gRPC over real sockets, and what is made of the answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pictures import Preparation, prepare, read_picture
from ansible_collections.mlstack.kubernetes.plugins.module_utils.served_model import (
    NotYetError,
    ServingError,
    Signature,
    Target,
    Tensor,
    Version,
    choose_output,
    choose_signature,
    examine,
    latencies,
    to_columns,
    wait_until_available,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.serving_access import find_pod
from ansible_collections.mlstack.kubernetes.plugins.module_utils.serving_grpc import (
    NUMBERS,
    PACKAGE,
    GrpcModel,
    fill_tensor,
    message_classes,
    read_tensor,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.serving_rest import Connection, RestModel
from PIL import Image

IMAGES = Tensor("DT_FLOAT", (-1, 2, 2))
SIGNATURE = Signature("serving_default", {"images": IMAGES}, {"digits": Tensor("DT_INT64", (-1,))})
TWO_INPUTS = Signature("two", {"a": Tensor("DT_FLOAT", (-1,)), "b": Tensor("DT_FLOAT", None)}, SIGNATURE.outputs)
MESSAGES = message_classes()


# What is asked for


def test_instances_become_columns() -> None:
    picture = [[0, 1], [2, 3]]
    assert to_columns(SIGNATURE, [picture], None) == {"images": [picture]}
    assert to_columns(SIGNATURE, [{"images": picture}], None) == {"images": [picture]}
    assert to_columns(TWO_INPUTS, [{"a": 1, "b": [2]}, {"a": 3, "b": [4]}], None) == {"a": [1, 3], "b": [[2], [4]]}


@pytest.mark.parametrize(
    ("signature", "instances", "name", "message"),
    [
        (SIGNATURE, [[[0, 1]]], None, r"instances\[0\]: has the shape \[1, 2\].*takes \[2, 2\] for each instance"),
        (SIGNATURE, [[[0, 1], [2]]], None, r"instances\[0\]: its lists are not of the same length"),
        (SIGNATURE, [{"pictures": 1}], None, r"instances\[0\]: is pictures, .* takes images"),
        (SIGNATURE, [1], "pictures", "input: the signature 'serving_default' takes images, not 'pictures'"),
        (TWO_INPUTS, [1], None, r"instances\[0\]: is a value without a name, .* takes a, b"),
        (TWO_INPUTS, [1], "a", r"instances\[0\]: is a value without a name, .* takes a, b"),
    ],
)
def test_wrong_instances_are_told(signature: Signature, instances: list[Any], name: str | None, message: str) -> None:
    with pytest.raises(ServingError, match=message):
        to_columns(signature, instances, name)


def test_signatures_and_outputs_are_chosen() -> None:
    assert choose_signature({"serving_default": SIGNATURE}, "serving_default") is SIGNATURE
    with pytest.raises(ServingError, match="has no 'other', only serving_default"):
        choose_signature({"serving_default": SIGNATURE}, "other")
    assert choose_output(SIGNATURE, None) == "digits"
    with pytest.raises(ServingError, match="gives digits, not 'letters'"):
        choose_output(SIGNATURE, "letters")


# What is answered


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        (4, 4, True),
        (4, 5, False),
        ([0.1, 0.7, 0.2], 1, True),
        ([0.1, 0.7, 0.2], [0.1, 0.7, 0.2], True),
        ([0.1, 0.7], [0.1, 0.7, 0.2], False),
        (0.30000001, 0.3, True),
        ("cat", "cat", True),
        ("cat", 0.5, False),
    ],
)
def test_answers_are_examined(answer: Any, expected: Any, right: bool) -> None:
    examination = examine([answer], [expected])
    assert examination.accuracy == right
    assert len(examination.mistakes) == (not right)


def test_mistakes_are_named() -> None:
    examination = examine([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    assert examination.accuracy == 0.5
    assert examination.mistakes == [{"index": 1, "expected": 0, "answer": 1}]


def test_latencies() -> None:
    figures = latencies([value / 1000 for value in range(1, 101)])
    assert figures == {"requests": 100, "p50": 50, "p95": 95, "p99": 99, "mean": 50.5, "min": 1, "max": 100}
    assert latencies([0.002])["p99"] == 2


class Answers:
    """A model whose versions are told one after another."""

    address = "somewhere"

    def __init__(self, *answers: list[Version] | ServingError) -> None:
        self.answers = list(answers)

    def versions(self) -> list[Version]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ServingError):
            raise answer
        return answer

    def signatures(self) -> dict[str, Signature]:
        raise NotImplementedError

    def predict(self, signature: Signature, inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        raise NotImplementedError


def test_the_newest_version_that_is_available_answers() -> None:
    versions = [Version(1, "AVAILABLE"), Version(3, "AVAILABLE"), Version(4, "END", "broken")]
    assert wait_until_available(Answers(versions), Target("digits"), 0) == (versions[1], versions)


def test_what_may_change_is_waited_for() -> None:
    model = Answers(NotYetError("nobody there"), [], [Version(1, "LOADING")], [Version(1, "AVAILABLE")])
    assert wait_until_available(model, Target("digits"), 30)[0].number == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (NotYetError("nobody there"), "the model 'digits' at somewhere is not available: nobody there"),
        ([Version(1, "LOADING")], "is not available: version 1 is LOADING"),
        ([Version(1, "END", "no such file")], r"cannot be served: version 1 is END \(no such file\)"),
        ([], "is not available: it has no version"),
    ],
)
def test_what_is_not_available_is_told(answer: Any, message: str) -> None:
    with pytest.raises(ServingError, match=message):
        wait_until_available(Answers(answer), Target("digits"), 0)


# REST

SHAPE = {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False}
METADATA = {
    "model_spec": {"name": "digits", "version": "2"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {"x": {"dtype": "DT_FLOAT", "tensor_shape": SHAPE}},
                    "outputs": {"y": {"dtype": "DT_STRING", "tensor_shape": {"unknown_rank": True}}},
                }
            }
        }
    },
}
STATUS = {"model_version_status": [{"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK"}}]}


@pytest.fixture
def rest_server() -> Iterator[tuple[str, dict[str, tuple[int, str]], list[Any]]]:
    """A URL, the answers that are given there by path, and the bodies that were sent."""
    answers: dict[str, tuple[int, str]] = {}
    sent: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if content:
                sent.append(json.loads(content))
            status, text = answers.get(self.path, (404, json.dumps({"error": f"nothing at {self.path}"})))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", answers, sent
        server.shutdown()


def rest(url: str, target: Target) -> RestModel:
    return RestModel(Connection(url, 5), target)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (Target("digits"), "/v1/models/digits"),
        (Target("digits", version=2), "/v1/models/digits/versions/2"),
        (Target("digits", label="can/ary"), "/v1/models/digits/labels/can%2Fary"),
    ],
)
def test_rest(rest_server: Any, target: Target, path: str) -> None:
    url, answers, sent = rest_server
    answers[path] = (200, json.dumps(STATUS))
    answers[f"{path}/metadata"] = (200, json.dumps(METADATA))
    answers[f"{path}:predict"] = (200, '{"predictions": ["four"]}')
    model = rest(url, target)
    assert model.versions() == [Version(2, "AVAILABLE")]
    signature = model.signatures()["serving_default"]
    assert (signature.inputs, signature.outputs) == (
        {"x": Tensor("DT_FLOAT", (-1, 2))},
        {"y": Tensor("DT_STRING", None)},
    )
    assert model.predict(signature, {"x": [[1, 2]]}) == {"y": ["four"]}
    assert sent == [{"signature_name": "serving_default", "instances": [[1, 2]]}]
    model.close()


def test_rest_with_several_inputs_and_outputs(rest_server: Any) -> None:
    url, answers, sent = rest_server
    answers["/v1/models/digits:predict"] = (200, '{"predictions": [{"p": 1, "q": 2}, {"p": 3, "q": 4}]}')
    outputs = {name: Tensor("DT_INT64", (-1,)) for name in ("p", "q")}
    answer = rest(url, Target("digits")).predict(
        Signature("two", TWO_INPUTS.inputs, outputs), {"a": [5, 6], "b": [7, 8]}
    )
    assert answer == {"p": [1, 3], "q": [2, 4]}
    assert sent[0]["instances"] == [{"a": 5, "b": 7}, {"a": 6, "b": 8}]


@pytest.mark.parametrize(
    ("status", "text", "kind", "message"),
    [
        (404, '{"error": "no such model"}', NotYetError, "no such model"),
        (503, "starting", NotYetError, "starting"),
        (400, '{"error": "bad shape"}', ServingError, "the model server refused the request: bad shape"),
        (200, "<html>", ServingError, "is no model server: it answered '<html>'"),
        (200, "{}", ServingError, "its answer has no `model_version_status`"),
    ],
)
def test_rest_failures(rest_server: Any, status: int, text: str, kind: type[Exception], message: str) -> None:
    url, answers, _sent = rest_server
    answers["/v1/models/digits"] = (status, text)
    with pytest.raises(kind, match=message):
        rest(url, Target("digits")).versions()


def test_nobody_listens() -> None:
    with pytest.raises(NotYetError, match="cannot be reached: Connection refused"):
        rest("http://127.0.0.1:1", Target("digits")).versions()
    with pytest.raises(NotYetError, match="cannot be reached by gRPC"):
        GrpcModel("127.0.0.1:1", Target("digits"), 5).versions()
    with pytest.raises(ServingError, match="'ftp://host' is not of the form"):
        Connection("ftp://host", 5)


# gRPC


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("DT_FLOAT", [[0.5, 1.0], [2.0, -4.0]]),
        ("DT_DOUBLE", [0.1]),
        ("DT_INT64", [[[1], [2]], [[-3], [1 << 40]]]),
        ("DT_UINT8", [0, 255]),
        ("DT_HALF", [0.5, -2.0]),
        ("DT_BOOL", [True, False]),
        ("DT_STRING", ["four", "vier"]),
    ],
)
def test_tensors_survive_the_way(dtype: str, values: list[Any]) -> None:
    message = MESSAGES["Tensor"]()
    fill_tensor(message, "x", Tensor(dtype, None), values)
    assert read_tensor(MESSAGES["Tensor"].FromString(message.SerializeToString())) == values


def test_tensors_are_written_as_tensorflow_writes_them() -> None:
    message = MESSAGES["Tensor"]()
    fill_tensor(message, "x", Tensor("DT_FLOAT", (-1,)), [1.0, 2.0])
    assert message.SerializeToString() == b"\x08\x01\x12\x04\x12\x02\x08\x02\x22\x08\x00\x00\x80\x3f\x00\x00\x00\x40"


def test_tensors_with_values_of_their_own_are_read() -> None:
    tensor = MESSAGES["Tensor"](dtype=NUMBERS["DT_HALF"], half_val=[0x3800])
    tensor.tensor_shape.dim.add(size=2)
    assert read_tensor(tensor) == [0.5, 0.5]
    assert read_tensor(MESSAGES["Tensor"](dtype=NUMBERS["DT_INT64"], int64_val=[7])) == [7]


@pytest.mark.parametrize(
    ("dtype", "values", "message"),
    [
        ("DT_UINT8", [256], "x: does not fit the type DT_UINT8"),
        ("DT_FLOAT", ["a"], "x: does not fit the type DT_FLOAT"),
        ("DT_VARIANT", [1], "x: tensors of type DT_VARIANT cannot be sent over gRPC"),
    ],
)
def test_values_that_do_not_fit_are_told(dtype: str, values: list[Any], message: str) -> None:
    with pytest.raises(ServingError, match=message):
        fill_tensor(MESSAGES["Tensor"](), "x", Tensor(dtype, None), values)


class Service(grpc.GenericRpcHandler):
    """A model server that doubles numbers, written with the same messages."""

    def __init__(self) -> None:
        self.specs: list[Any] = []

    def service(self, call: Any) -> Any:
        name = call.method.rpartition("/")[2]
        request = {"GetModelStatus": "Status", "GetModelMetadata": "Metadata", "Predict": "Predict"}[name] + "Request"
        return grpc.unary_unary_rpc_method_handler(
            getattr(self, name), MESSAGES[request].FromString, lambda message: message.SerializeToString()
        )

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.specs.append(request.model_spec)
        if request.model_spec.name != "digits":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        answer = MESSAGES["StatusResponse"]()
        answer.model_version_status.add(version=2, state=30)
        answer.model_version_status.add(version=3, state=50).status.error_message = "broken"
        return answer

    def GetModelMetadata(self, request: Any, _context: Any) -> Any:  # noqa: N802
        definitions = MESSAGES["SignatureDefMap"]()
        signature = definitions.signature_def["serving_default"]
        signature.inputs["x"].dtype = signature.outputs["y"].dtype = NUMBERS["DT_FLOAT"]
        signature.inputs["x"].tensor_shape.dim.add(size=-1)
        signature.outputs["y"].tensor_shape.unknown_rank = True
        answer = MESSAGES["MetadataResponse"]()
        answer.metadata["signature_def"].value = definitions.SerializeToString()
        return answer

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        values = read_tensor(request.inputs["x"])
        if len(values) > 2:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too many")
        answer = MESSAGES["PredictResponse"]()
        fill_tensor(answer.outputs["y"], "y", Tensor("DT_FLOAT", None), [2 * value for value in values])
        return answer


@pytest.fixture
def grpc_server() -> Iterator[tuple[str, Service]]:
    service = Service()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[service])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", service
    server.stop(None).wait()


def test_grpc(grpc_server: tuple[str, Service]) -> None:
    address, service = grpc_server
    model = GrpcModel(address, Target("digits", label="canary"), 5)
    assert model.versions() == [Version(2, "AVAILABLE"), Version(3, "END", "broken")]
    assert (service.specs[0].version_label, service.specs[0].HasField("version")) == ("canary", False)
    signature = model.signatures()["serving_default"]
    assert (signature.inputs["x"], signature.outputs["y"]) == (Tensor("DT_FLOAT", (-1,)), Tensor("DT_FLOAT", None))
    assert model.predict(signature, {"x": [1.5, 2.5]}) == {"y": [3, 5]}
    with pytest.raises(ServingError, match="the model server refused the request: too many"):
        model.predict(signature, {"x": [1, 2, 3]})
    model.close()
    GrpcModel(address, Target("digits", version=2), 5).versions()
    assert service.specs[1].version.value == 2
    with pytest.raises(NotYetError, match="no such model"):
        GrpcModel(address, Target("letters"), 5).versions()


def test_the_package_is_that_of_the_interface() -> None:
    assert PACKAGE == "tensorflow.serving"


# The way to a pod


class Cluster:
    """Objects by the end of their paths."""

    def __init__(self, service: dict[str, Any], *pods: dict[str, Any]) -> None:
        self.service, self.pods = service, pods

    def get(self, path: str, query: Any = None) -> dict[str, Any]:
        if path.endswith("/services/serving"):
            return {"spec": self.service}
        assert query == {"labelSelector": "app=serving"}
        return {"items": list(self.pods)}


PORTS = [{"name": "rest", "port": 8501, "targetPort": "http"}, {"name": "grpc", "port": 8500, "targetPort": 9000}]


def pod(name: str, created: str, ready: bool = True, phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": created, **metadata},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 80}]}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


@pytest.mark.parametrize(("port", "number"), [("rest", 80), ("8501", 80), ("grpc", 9000), ("8500", 9000)])
def test_a_pod_is_found(port: str, number: int) -> None:
    pods = [
        pod("old", "2026-01-01T00:00:00Z"),
        pod("newer", "2026-01-02T00:00:00Z"),
        pod("not-ready", "2026-01-03T00:00:00Z", ready=False),
        pod("leaving", "2026-01-04T00:00:00Z", deletionTimestamp="2026-01-05T00:00:00Z"),
    ]
    cluster = Cluster({"selector": {"app": "serving"}, "ports": PORTS}, *pods)
    assert find_pod(cluster, "default", "serving", port) == ("newer", number)  # type: ignore[arg-type]


def test_without_a_ready_pod_one_that_runs_is_asked() -> None:
    pods = [pod("waits", "2026-01-03T00:00:00Z", phase="Pending"), pod("runs", "2026-01-01T00:00:00Z", ready=False)]
    cluster = Cluster({"selector": {"app": "serving"}, "ports": PORTS}, *pods)
    assert find_pod(cluster, "default", "serving", "grpc") == ("runs", 9000)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("service", "port", "kind", "message"),
    [
        ({"ports": PORTS}, "rest", ServingError, "has no selector"),
        ({"selector": {"app": "serving"}, "ports": PORTS}, "http", ServingError, "has no port 'http', only rest, grpc"),
        (
            {"selector": {"app": "serving"}, "ports": PORTS},
            "rest",
            NotYetError,
            "leads to 0 pods, and none of them runs",
        ),
    ],
)
def test_why_there_is_no_pod(service: dict[str, Any], port: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        find_pod(Cluster(service), "default", "serving", port)  # type: ignore[arg-type]


# Pictures


@pytest.fixture
def picture(tmp_path: Path) -> str:
    image = Image.new("RGB", (2, 1))
    image.putdata([(255, 0, 0), (255, 255, 255)])
    image.save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


def signature_of(*shape: int) -> Signature:
    return Signature("s", {"x": Tensor("DT_FLOAT", shape)}, {})


def test_pictures_become_what_the_model_takes(picture: str) -> None:
    grey = prepare(Preparation(), signature_of(-1, 1, 2), None)
    assert read_picture(picture, grey) == [[76 / 255, 1]]
    colours = prepare(Preparation(divide_by=1, invert=True), signature_of(-1, 1, 2, 3), None)
    assert read_picture(picture, colours) == [[[0, 255, 255], [0, 0, 0]]]
    one_channel = prepare(Preparation(), signature_of(-1, 4, 4, 1), None)
    rows = read_picture(picture, one_channel)
    assert (len(rows), len(rows[0]), len(rows[0][0])) == (4, 4, 1)
    assert read_picture(picture, prepare(Preparation(size=[1, 1]), signature_of(-1), None))[0][0] < 1


def test_a_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=r"none\.png cannot be read: No such file"):
        read_picture(str(tmp_path / "none.png"), Preparation("L"))
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(ServingError, match=r"text\.png cannot be read"):
        read_picture(str(tmp_path / "text.png"), Preparation("L"))
