#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: served_model_predict
short_description: Ask a served model, and check its answers and their latency
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Waits until a model is available on a model server with TensorFlow Serving's interface, sends it instances by REST
    or gRPC, and compares the answers with those that are expected.
  - The server is reached at O(url), or as a Service of a cluster through its API server. The latter needs no open port,
    no Ingress and no address, only a kubeconfig with the right to read the Service and its pods, and to forward a
    port of them.
  - Instances are checked against the signature of the model before they are sent.
  - TensorFlow is not needed.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  model:
    description: Name of the model.
    type: str
    required: true
  version:
    description: Version of the model. Without it and O(label) the newest that is available.
    type: int
  label:
    description: Label of the version, for example V(canary).
    type: str
  protocol:
    description: Interfaces of the server to use. Of several each is asked, and has to answer as O(expected).
    type: list
    elements: str
    choices: [rest, grpc]
    default: [rest]
  url:
    description:
      - Address of the server, as V(http://host:8501) or V(https://host) for REST, and as V(host:8500) for gRPC, which
        is not encrypted. An address is for one protocol.
      - O(ca_cert) and O(validate_certs) hold for it, too.
    type: str
  service:
    description: Name of the server's Service in the cluster.
    type: str
  namespace:
    description: Namespace of the Service.
    type: str
    default: default
  port:
    description:
      - Port of the Service, by name or number, for one protocol. V(8501) for REST and V(8500) for gRPC where it is not
        given.
    type: str
  instances:
    description:
      - What to ask for, as one batch. An instance is a number, a text or nested lists, or a mapping of these by the
        names of the model's inputs.
      - Without instances and images the module waits until the model is available, and tells of it.
    type: list
    elements: raw
  images:
    description: Files on the host with pictures to ask for, in any format that Pillow reads, such as PNG.
    type: list
    elements: path
  image:
    description: How pictures become arrays.
    type: dict
    suboptions:
      mode:
        description:
          - V(L) for grey values, V(RGB) or V(RGBA) for colours. What the model's input takes where it is not given.
        type: str
        choices: [L, RGB, RGBA]
      size:
        description: Height and width that pictures are scaled to. What the model's input takes where it is not given.
        type: list
        elements: int
      divide_by:
        description: What the values from 0 to 255 are divided by.
        type: float
        default: 255.0
      invert:
        description: Whether black becomes white. MNIST's digits are white on black.
        type: bool
        default: false
  signature:
    description: Signature of the model to call.
    type: str
    default: serving_default
  input:
    description: Input that instances without names are for. Needed where the signature has several inputs.
    type: str
  output:
    description: Output that is returned and compared. Needed with O(expected) where the signature has several outputs.
    type: str
  expected:
    description:
      - The right answer to each instance.
      - Where the answer is a list of scores and a number is expected, the index of the highest score counts.
    type: list
    elements: raw
  known_answers:
    description:
      - O(instances), O(expected) and, where it is needed, O(output) in one JSON text, such as that of the file
        C(known_answers.json) which the examples of this collection write beside the versions of a model.
      - For many instances it is much faster than O(instances), since Ansible takes it as one value, and faster still
        compressed by C(gzip) and written in Base64, which is taken, too.
    type: json
  min_accuracy:
    description: Share of right answers below which the task fails, from 0 to 1.
    type: float
    default: 1.0
  requests:
    description: How often the batch is sent, to measure the latency.
    type: int
    default: 1
  wait_timeout:
    description: Seconds to wait until the model is available. With V(0) it has to be at once.
    type: int
    default: 60
  timeout:
    description: Seconds to wait for one answer.
    type: int
    default: 20
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
  - grpcio and protobuf >= 5 (for O(protocol=grpc))
  - Pillow (for O(images))
attributes:
  check_mode:
    description: Only asks.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
notes:
  - A TensorFlow Serving that does not know the model cannot say which it knows; the model server of this collection
    does.
seealso:
  - module: mlstack.kubernetes.training_job_verify
"""

EXAMPLES = r"""
- name: The model recognises most of the digits, through the API server
  mlstack.kubernetes.served_model_predict:
    kubeconfig: /etc/kubernetes/admin.conf
    service: tf-serving
    model: mnist-tensorflow
    known_answers: "{{ lookup('ansible.builtin.file', 'known_answers.json') }}"
    protocol: [rest, grpc]
    min_accuracy: 0.9

- name: A picture of a 4, by gRPC, a hundred times
  mlstack.kubernetes.served_model_predict:
    url: serving.example.com:8500
    protocol: grpc
    model: mnist-tensorflow
    label: canary
    images: [/srv/pictures/4.png]
    image: {invert: true}
    output: digits
    expected: [4]
    requests: 100
  register: answer

- name: Fast enough
  ansible.builtin.assert:
    that: answer.latency.p99 < 50
"""

RETURN = r"""
model:
  description: Name of the model.
  returned: success
  type: str
version:
  description: Version that has answered, or would answer.
  returned: success
  type: int
  sample: 3
versions:
  description: All versions that the server tells of, each with C(version), C(state) and C(error).
  returned: success
  type: list
  elements: dict
signature:
  description: Inputs and outputs of the signature, with C(dtype) and C(shape), in which V(-1) is any size.
  returned: success
  type: dict
predictions:
  description:
    - The answer to each instance. Where the signature has several outputs and O(output) is not given, a mapping.
  returned: when there are instances or images
  type: list
  elements: raw
accuracy:
  description: Share of right answers.
  returned: with O(expected)
  type: float
  sample: 0.95
mistakes:
  description: Wrong answers, each with C(index), C(expected) and C(answer).
  returned: with O(expected)
  type: list
  elements: dict
latency:
  description: Milliseconds for the batch, C(p50), C(p95), C(p99), C(mean), C(min) and C(max), of so many C(requests).
  returned: when there are instances or images
  type: dict
by_protocol:
  description: For each of the protocols what else is returned at the top, where it is of the first of them.
  returned: with several protocols
  type: dict
"""

import base64
import gzip
import json
import ssl
import time
import traceback
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    Client,
    ClientError,
    connect,
    new_module,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pictures import Preparation, prepare, read_picture
from ansible_collections.mlstack.kubernetes.plugins.module_utils.served_model import (
    ServedModel,
    ServingError,
    Signature,
    Target,
    choose_output,
    choose_signature,
    examine,
    latencies,
    measure,
    to_columns,
    wait_until_available,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.serving_access import wait_for_pod
from ansible_collections.mlstack.kubernetes.plugins.module_utils.serving_grpc import GrpcModel
from ansible_collections.mlstack.kubernetes.plugins.module_utils.serving_rest import (
    Connection,
    RestModel,
)

SHOWN_MISTAKES = 5
# What gzip begins with, in Base64.
GZIP = "H4sI"


def read_known_answers(text: str, output: str | None) -> dict[str, Any]:
    """The options that known answers stand for; `text` is JSON, or Base64 of JSON compressed by gzip."""
    try:
        known = json.loads(gzip.decompress(base64.b64decode(text)) if text.startswith(GZIP) else text)
    except (OSError, EOFError, zlib.error) as error:
        raise ServingError(f"known_answers: begins as what gzip compresses, and cannot be read: {error}") from error
    except ValueError as error:
        raise ServingError(f"known_answers: is no JSON: {error}") from error
    if not isinstance(known, dict) or not all(isinstance(known.get(key), list) for key in ("instances", "expected")):
        raise ServingError("known_answers: needs a list `instances` and a list `expected`")
    return {"instances": known["instances"], "expected": known["expected"], "output": output or known.get("output")}


def check(params: dict[str, Any]) -> None:
    """ServingError for options that make no sense, before anybody is asked."""
    given = params["instances"] if params["instances"] is not None else params["images"]
    if given is not None and not given:
        raise ServingError(f"{'images' if params['instances'] is None else 'instances'}: is empty; give at least one")
    if params["expected"] is not None and len(params["expected"]) != len(given or []):
        raise ServingError(f"expected: has {len(params['expected'])} answers for {len(given or [])} instances")
    if not 0 <= params["min_accuracy"] <= 1:
        raise ServingError(f"min_accuracy: {params['min_accuracy']} is not from 0 to 1")
    if not params["protocol"]:
        raise ServingError(f"protocol: is empty; give at least one of {', '.join(INTERFACES)}")
    for name in ("url", "port"):
        if params[name] and len(set(params["protocol"])) > 1:
            raise ServingError(f"{name}: '{params[name]}' is for one protocol; ask by each in a task of its own")
    for name, least in (("requests", 1), ("timeout", 1), ("wait_timeout", 0)):
        if params[name] < least:
            raise ServingError(f"{name}: {params[name]} is less than {least}")
    size = (params["image"] or {}).get("size")
    if size and (len(size) != 2 or min(size) < 1):
        raise ServingError(f"image.size: {size} is not a height and a width")
    if (params["image"] or {}).get("divide_by") == 0:
        raise ServingError("image.divide_by: nothing can be divided by 0")


def rest_model(params: dict[str, Any], url: str, target: Target, shown: str = "") -> RestModel:
    tls = None
    if url.startswith("https"):
        verify = params["validate_certs"] is not False
        tls = ssl.create_default_context(cafile=params["ca_cert"]) if verify else ssl._create_unverified_context()
    return RestModel(Connection(url, params["timeout"], tls, shown), target)


def grpc_model(params: dict[str, Any], url: str, target: Target, shown: str = "") -> GrpcModel:
    address = url.removeprefix("grpc://").rstrip("/")
    if "/" in address or ":" not in address:
        raise ServingError(f"url: '{url}' is not of the form host:port, as gRPC needs it")
    return GrpcModel(address, target, params["timeout"], shown)


@contextmanager
def reach(client: Client | None, params: dict[str, Any], target: Target, protocol: str) -> Iterator[ServedModel]:
    """The model by one protocol: through the API server, or without a client at `url`."""
    make, scheme, usual_port = INTERFACES[protocol]
    if client is None:
        with closing(make(params, params["url"], target)) as model:
            yield model
        return
    namespace, service, wanted = params["namespace"], params["service"], params["port"] or usual_port
    pod, port = wait_for_pod(client, namespace, service, wanted, params["wait_timeout"])
    with (
        client.tunnel(namespace, pod, port) as address,
        closing(make(params, scheme + address, target, f"the Service {namespace}/{service}")) as model,
    ):
        yield model


INTERFACES: dict[str, tuple[Any, str, str]] = {
    "rest": (rest_model, "http://", "8501"),
    "grpc": (grpc_model, "grpc://", "8500"),
}


def instances_of(params: dict[str, Any], signature: Signature) -> list[Any]:
    if params["images"] is None:
        return list(params["instances"])
    options = params["image"] or {"mode": None, "size": None, "divide_by": 255.0, "invert": False}
    wish = Preparation(options["mode"], options["size"], options["divide_by"], options["invert"])
    preparation = prepare(wish, signature, params["input"])
    return [read_picture(path, preparation) for path in params["images"]]


def ask(params: dict[str, Any], model: ServedModel, target: Target, wait_timeout: float) -> dict[str, Any]:
    version, versions = wait_until_available(model, target, wait_timeout)
    signature = choose_signature(model.signatures(), params["signature"])
    result: dict[str, Any] = {
        "model": target.model,
        "version": version.number,
        "versions": [{"version": entry.number, "state": entry.state, "error": entry.error} for entry in versions],
        "signature": {
            side: {name: {"dtype": tensor.dtype, "shape": tensor.shape} for name, tensor in tensors.items()}
            for side, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs))
        },
    }
    if params["instances"] is None and params["images"] is None:
        return result
    output = choose_output(signature, params["output"])
    if params["expected"] is not None and output is None:
        raise ServingError(
            f"output: name one of {', '.join(sorted(signature.outputs))}, to be compared with `expected`"
        )
    columns = to_columns(signature, instances_of(params, signature), params["input"])
    answers, seconds = measure(lambda: model.predict(signature, columns), params["requests"])
    if output is not None:
        predictions = answers[output]
    else:
        predictions = [dict(zip(answers, row, strict=True)) for row in zip(*answers.values(), strict=True)]
    result |= {"predictions": predictions, "latency": latencies(seconds)}
    if params["expected"] is not None:
        if len(predictions) != len(params["expected"]):
            raise ServingError(f"{target} gave {len(predictions)} answers to {len(params['expected'])} instances")
        examination = examine(predictions, params["expected"])
        result |= {"accuracy": examination.accuracy, "mistakes": examination.mistakes}
    return result


def judge(params: dict[str, Any], result: dict[str, Any], protocol: str) -> None:
    """ServingError for too few answers as expected."""
    if params["expected"] is None or result["accuracy"] >= params["min_accuracy"]:
        return
    mistakes = "; ".join(
        f"{entry['answer']} instead of {entry['expected']} for instance {entry['index']}"
        for entry in result["mistakes"][:SHOWN_MISTAKES]
    )
    count = len(params["expected"])
    raise ServingError(
        f"Version {result['version']} of the model '{result['model']}' gave {count - len(result['mistakes'])} of "
        f"{count} answers as expected, asked by {protocol}. That is an accuracy of {result['accuracy']:.4f}, and "
        f"min_accuracy is {params['min_accuracy']}. The first mistakes: {mistakes}."
    )


def main() -> None:
    module = new_module(
        argument_spec={
            **AUTH_ARG_SPEC,
            "model": {"type": "str", "required": True},
            "version": {"type": "int"},
            "label": {"type": "str"},
            "protocol": {"type": "list", "elements": "str", "choices": ["rest", "grpc"], "default": ["rest"]},
            "url": {"type": "str"},
            "service": {"type": "str"},
            "namespace": {"type": "str", "default": "default"},
            "port": {"type": "str"},
            "instances": {"type": "list", "elements": "raw"},
            "images": {"type": "list", "elements": "path"},
            "image": {
                "type": "dict",
                "options": {
                    "mode": {"type": "str", "choices": ["L", "RGB", "RGBA"]},
                    "size": {"type": "list", "elements": "int"},
                    "divide_by": {"type": "float", "default": 255.0},
                    "invert": {"type": "bool", "default": False},
                },
            },
            "signature": {"type": "str", "default": "serving_default"},
            "input": {"type": "str"},
            "output": {"type": "str"},
            "expected": {"type": "list", "elements": "raw"},
            "known_answers": {"type": "json"},
            "min_accuracy": {"type": "float", "default": 1.0},
            "requests": {"type": "int", "default": 1},
            "wait_timeout": {"type": "int", "default": 60},
            "timeout": {"type": "int", "default": 20},
        },
        mutually_exclusive=[
            ("url", "service"),
            ("version", "label"),
            ("instances", "images", "known_answers"),
            ("expected", "known_answers"),
        ],
        required_one_of=[("url", "service")],
        supports_check_mode=True,
    )
    # A copy: the result repeats what the module was given, which must not grow.
    params = dict(module.params)
    for wanted, package, imported in (
        ("grpc" in params["protocol"], "grpcio", "grpc"),
        ("grpc" in params["protocol"], "protobuf", "google.protobuf"),
        (params["images"], "Pillow", "PIL"),
    ):
        if wanted:
            try:
                __import__(imported)
            except ImportError:
                module.fail_json(msg=missing_required_lib(package), exception=traceback.format_exc())
    target = Target(params["model"], params["version"], params["label"])
    try:
        if params["known_answers"] is not None:
            params.update(read_known_answers(params["known_answers"], params["output"]))
        check(params)
        deadline = time.monotonic() + params["wait_timeout"]
        client = None if params["url"] else connect(module)
        results = {}
        for protocol in params["protocol"]:
            with reach(client, params, target, protocol) as model:
                results[protocol] = ask(params, model, target, max(deadline - time.monotonic(), 0))
    except (ServingError, ClientError, UnreachableError) as error:
        module.fail_json(msg=f"The model '{target.model}' cannot be asked: {error}")
    told = results[params["protocol"][0]] | ({"by_protocol": results} if len(results) > 1 else {})
    try:
        for protocol, result in results.items():
            judge(params, result, protocol)
    except ServingError as error:
        module.fail_json(msg=str(error), **told)
    module.exit_json(changed=False, **told)


if __name__ == "__main__":
    main()
