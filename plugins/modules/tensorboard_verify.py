#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: tensorboard_verify
short_description: Prove that a TensorBoard shows what a training wrote
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Asks a TensorBoard for its runs and their scalars, and waits until the wanted ones are there and as expected.
  - It is reached as a Service of a cluster through its API server, which needs no open port, only a kubeconfig with
    the right to C(get) the resource C(services/proxy).
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  service:
    description: Name of TensorBoard's Service.
    type: str
    required: true
  namespace:
    description: Namespace of the Service.
    type: str
    default: default
  port:
    description: Port of the Service, by name or number.
    type: str
    default: "6006"
  path_prefix:
    description: Path below which TensorBoard answers, such as V(/tensorboard).
    type: str
    default: ""
  scalars:
    description: Scalars that have to be shown. Without any, TensorBoard has to answer, and its runs are returned.
    type: list
    elements: dict
    default: []
    suboptions:
      run:
        description: Name of the run, which is the path of its directory below that of the logs.
        type: str
        required: true
      tag:
        description: Name of the scalar.
        type: str
        required: true
      falls:
        description: Whether the mean of the last quarter of its points has to be below that of the first quarter.
        type: bool
        default: false
      rises:
        description: Whether it has to be above.
        type: bool
        default: false
      last:
        description: The value of its newest point, to three digits. It tells a training from those before it.
        type: float
  wait_timeout:
    description: Seconds within which all of it has to be shown.
    type: int
    default: 60
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
attributes:
  check_mode:
    description: Only asks.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
"""

EXAMPLES = r"""
- name: The loss is shown, and it falls
  mlstack.kubernetes.tensorboard_verify:
    service: tensorboard
    scalars:
      - {run: mnist-tensorflow/logs, tag: loss, falls: true}
"""

RETURN = r"""
runs:
  description: The tags of the scalars of each run.
  returned: success
  type: dict
  sample: {mnist-tensorflow/logs: [loss, test_accuracy]}
scalars:
  description:
    - Of each wanted scalar its C(run), C(tag), C(steps) and C(values), how many C(points) there are, and the
      C(first) and C(last) value.
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.kubernetes_core import (
    AUTH_ARG_SPEC,
    AnsibleK8SModule,
    ClientError,
    connect,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.tensorboard import (
    TensorBoard,
    TensorBoardError,
    Wanted,
    wait_for_scalars,
)

OPTIONS: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": "default"},
    "port": {"type": "str", "default": "6006"},
    "path_prefix": {"type": "str", "default": ""},
    "scalars": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "run": {"type": "str", "required": True},
            "tag": {"type": "str", "required": True},
            "falls": {"type": "bool", "default": False},
            "rises": {"type": "bool", "default": False},
            "last": {"type": "float"},
        },
        "mutually_exclusive": [("falls", "rises")],
    },
    "wait_timeout": {"type": "int", "default": 60},
}


def main() -> None:
    module = AnsibleK8SModule(argument_spec={**AUTH_ARG_SPEC, **OPTIONS}, supports_check_mode=True)
    params = module.params
    wanted = [Wanted(**entry) for entry in params["scalars"]]
    try:
        board = TensorBoard(
            connect(module), params["namespace"], params["service"], params["port"], params["path_prefix"]
        )
        runs, scalars = wait_for_scalars(board, wanted, params["wait_timeout"])
    except (ClientError, TensorBoardError) as error:
        module.fail_json(msg=f"TensorBoard does not prove itself: {error}")
    module.exit_json(changed=False, runs=runs, scalars=[scalar.summary() for scalar in scalars])


if __name__ == "__main__":
    main()
