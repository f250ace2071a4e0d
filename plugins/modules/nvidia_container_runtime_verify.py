#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_container_runtime_verify
short_description: Prove that the container runtimes of a host know NVIDIA's
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Asks each running runtime, by C(crictl) or C(docker info), whether it has the handler C(nvidia). Where there is no
    C(crictl), it reads the configuration that containerd was started with.
  - Runs a container by NVIDIA's runtime, with a device, by C(ctr) or C(docker), and gives what its program says.
options:
  runtimes:
    description: The runtimes.
    type: list
    elements: str
    choices: [containerd, crio, docker, k0s, k3s]
    required: true
  image:
    description: Image of the container, which is pulled where the runtime does not have it. Empty runs none.
    type: str
    default: ""
  command:
    description: Command that shows that the device is there.
    type: list
    elements: str
    default: [nvidia-smi, --list-gpus]
  devices:
    description: What the container asks for in C(NVIDIA_VISIBLE_DEVICES).
    type: str
    default: all
  wait_timeout:
    description: Longest time for pulling the image, and for the container, in seconds.
    type: int
    default: 300
attributes:
  check_mode:
    description: Proves the same as without check mode.
    support: full
  diff_mode:
    description: Nothing changes.
    support: none
"""

EXAMPLES = r"""
- name: Prove that a container sees the GPUs
  mlstack.kubernetes.nvidia_container_runtime_verify:
    runtimes: [containerd]
    image: docker.io/library/debian:12-slim
"""

RETURN = r"""
handlers:
  description: The program behind the handler C(nvidia) of each runtime.
  returned: success
  type: dict
  sample: {containerd: /usr/bin/nvidia-container-runtime}
outputs:
  description: What the container said, by runtime.
  returned: success
  type: dict
  sample: {containerd: "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-2c1f…)"}
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mlstack.kubernetes.plugins.module_utils import container_runtimes
from ansible_collections.mlstack.kubernetes.plugins.module_utils.container_runtimes import (
    HANDLER,
    PROGRAM,
    ConfigurationError,
    Runtime,
    call,
)

ENDPOINTS = {
    "containerd": "unix:///run/containerd/containerd.sock",
    "crio": "unix:///run/crio/crio.sock",
    "k0s": "unix:///run/k0s/containerd.sock",
    "k3s": "unix:///run/k3s/containerd/containerd.sock",
}
# Namespace of containerd in which the container runs, apart from those of Kubernetes.
NAMESPACE = "mlstack"
NAME = "mlstack-verify"


def handler(run: container_runtimes.Run, runtime: Runtime, crictl: str | None) -> str:
    """Return the program behind the runtime's handler, empty where it has no such handler."""
    if runtime.name == "docker":
        runtimes = json.loads(call(run, "docker", "info", "--format", "{{json .Runtimes}}"))
        return str(runtimes.get(HANDLER, {}).get("path", ""))
    if crictl and runtime.name != "crio":
        settings = json.loads(call(run, crictl, "--runtime-endpoint", ENDPOINTS[runtime.name], "info"))
        return container_runtimes.handlers(settings).get(HANDLER, "")
    if runtime.name == "crio":
        return PROGRAM if f"runtimes.{HANDLER}" in call(run, "crio", "status", "config") else ""
    if runtime.name == "containerd":
        unit = container_runtimes.unit_of(run, runtime)
        if container_runtimes.is_stale(run, unit, [runtime.main, runtime.drop_in]):
            raise ConfigurationError(f"{unit} has been running since before its configuration was written; restart it")
        dump = call(run, "containerd", "config", "dump")
        return PROGRAM if f"runtimes.{HANDLER}]" in dump and PROGRAM in dump else ""
    raise ConfigurationError(f"{runtime.name} can be asked by crictl only, which this host does not have; install it")


def container(
    run: container_runtimes.Run, runtime: Runtime, image: str, devices: str, command: list[str]
) -> str | None:
    """Run the container and return what it said; None where there is no program that would."""
    asked = ("--env", f"NVIDIA_VISIBLE_DEVICES={devices}")
    if runtime.name == "docker":
        return call(run, "docker", "run", "--rm", f"--runtime={HANDLER}", *asked, image, *command)
    if runtime.name != "containerd":
        return None
    ctr = ("ctr", "--namespace", NAMESPACE)
    if image not in call(run, *ctr, "images", "list", "--quiet").split():
        hosts = ["--hosts-dir=/etc/containerd/certs.d"] if os.path.isdir("/etc/containerd/certs.d") else []
        call(run, *ctr, "images", "pull", *hosts, image)
    # What an interrupted run has left.
    run([*ctr, "tasks", "delete", "--force", NAME])
    run([*ctr, "containers", "delete", NAME])
    return call(run, *ctr, "run", "--rm", f"--runc-binary={PROGRAM}", *asked, image, NAME, *command)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "runtimes": {
                "type": "list",
                "elements": "str",
                "choices": list(container_runtimes.RUNTIMES),
                "required": True,
            },
            "image": {"type": "str", "default": ""},
            "command": {"type": "list", "elements": "str", "default": ["nvidia-smi", "--list-gpus"]},
            "devices": {"type": "str", "default": "all"},
            "wait_timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    run = container_runtimes.runner(module.run_command, "timeout", str(parameters["wait_timeout"]))
    runtimes = [container_runtimes.RUNTIMES[name] for name in parameters["runtimes"]]
    crictl = module.get_bin_path("crictl")
    found, outputs = {}, {}
    for runtime in runtimes:
        try:
            found[runtime.name] = handler(run, runtime, crictl)
            if not found[runtime.name]:
                raise ConfigurationError(f"it has no handler {HANDLER}")
            if parameters["image"]:
                output = container(run, runtime, parameters["image"], parameters["devices"], parameters["command"])
                if output is not None:
                    outputs[runtime.name] = output.strip()
        except (ConfigurationError, ValueError) as error:
            module.fail_json(msg=f"{runtime.name} does not run containers with GPUs: {error}.")
    module.exit_json(changed=False, handlers=found, outputs=outputs)


if __name__ == "__main__":
    main()
