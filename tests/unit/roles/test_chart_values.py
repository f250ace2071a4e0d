"""The values that roles give to charts are what those charts understand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
# The names that hub.db.type may have in the chart jupyterhub 4.4.0.
JUPYTERHUB_DATABASES = {"sqlite-pvc", "sqlite-memory", "mysql", "postgres", "other"}


# Keys of the chart gpu-operator v26.7.0, as far as they may be set here.
GPU_OPERATOR_KEYS = {
    "driver": {"enabled", "repository"},
    "toolkit": {"enabled", "repository"},
    "mig": {"strategy"},
    "devicePlugin": {"config", "repository"},
    "daemonsets": {"tolerations"},
    "node-feature-discovery": {"image"},
    **{
        part: {"repository"}
        for part in (
            *("validator", "operator", "gfd", "dcgm", "dcgmExporter", "migManager", "sandboxDevicePlugin"),
            *("vfioManager", "vgpuDeviceManager"),
        )
    },
}


def chart_values(role: str, chart: str = "chart", **inputs: Any) -> dict[str, Any]:
    directory = CHECKOUT / "roles" / role
    variable = f"__{role}_{chart}_values"
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible")),
            "localhost",
            "--playbook-dir",
            str(directory),
            "--module-name=ansible.builtin.debug",
            f"--args=var={variable}",
            f"--extra-vars=@{directory}/defaults/main.yml",
            f"--extra-vars=@{directory}/vars/main.yml",
            f"--extra-vars={json.dumps(inputs)}",
        ],
        env={**os.environ, "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json"},
        capture_output=True,
        text=True,
        check=True,
    )
    values = json.loads(run.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"][variable]
    assert isinstance(values, dict), values
    return values


@pytest.mark.parametrize(
    ("database", "chosen"),
    [
        ("", "sqlite-pvc"),
        ("postgresql+psycopg2://hub@database.example.org/hub", "other"),
        ("sqlite:////srv/jupyterhub/jupyterhub.sqlite", "other"),
    ],
)
def test_jupyterhub_names_a_database_that_the_chart_knows(database: str, chosen: str) -> None:
    values = chart_values(
        "jupyterhub",
        jupyterhub_authenticator="github",
        jupyterhub_database=database,
        __jupyterhub_image="quay.io/jupyter/tensorflow-notebook:hub-5.2.1",
    )["hub"]["db"]

    assert values["type"] == chosen
    assert values["type"] in JUPYTERHUB_DATABASES
    assert values.get("url", "") == database


def test_csi_driver_nfs_takes_its_own_image_from_the_mirror_too() -> None:
    image = chart_values("nfs_storage", mlstack_image_registry_mirror="mirror.example.org")["image"]

    assert image == {"baseRepo": "mirror.example.org/registry.k8s.io", "nfs": {"repository": "/sig-storage/nfsplugin"}}
    assert chart_values("nfs_storage", mlstack_image_registry_mirror="") == {}


def test_the_device_plugin_is_scheduled_and_configured_by_the_chart() -> None:
    values = chart_values(
        "nvidia_device_plugin",
        nvidia_device_plugin_time_slicing=[{"name": "nvidia.com/gpu", "replicas": 4}],
        nvidia_device_plugin_configs={"whole": {"version": "v1"}},
        mlstack_image_registry_mirror="mirror.example.org",
    )

    # Without the labels of node-feature-discovery, which comes with it, the chart's affinity fits no node.
    assert values["gfd"] == {"enabled": True}
    assert values["config"]["default"] == "default"
    assert sorted(values["config"]["map"]) == ["default", "whole"]
    assert yaml.safe_load(values["config"]["map"]["default"]) == {
        "version": "v1",
        "flags": {"migStrategy": "none"},
        "sharing": {"timeSlicing": {"resources": [{"name": "nvidia.com/gpu", "replicas": 4}]}},
    }
    assert values["image"] == {"repository": "mirror.example.org/nvcr.io/nvidia/k8s-device-plugin"}
    assert values["nfd"] == {"image": {"repository": "mirror.example.org/registry.k8s.io/nfd/node-feature-discovery"}}
    assert "runtimeClassName" not in values


def test_the_gpu_operator_gets_keys_that_its_chart_knows() -> None:
    values = chart_values(
        "nvidia_device_plugin",
        "operator",
        nvidia_device_plugin_time_slicing=[{"name": "nvidia.com/gpu", "replicas": 4}],
        nvidia_device_plugin_mig_strategy="mixed",
        mlstack_image_registry_mirror="mirror.example.org",
    )
    for part, settings in values.items():
        assert set(settings) <= GPU_OPERATOR_KEYS[part]
    assert values["driver"]["enabled"] is False
    assert values["toolkit"] == {"enabled": False, "repository": "mirror.example.org/nvcr.io/nvidia/k8s"}
    assert values["mig"] == {"strategy": "mixed"}
    config = values["devicePlugin"]["config"]
    assert (config["create"], config["default"], config["name"]) == (True, "default", "mlstack-device-plugin")
    assert yaml.safe_load(config["data"]["default"])["flags"] == {"migStrategy": "mixed"}
    plain = chart_values("nvidia_device_plugin", "operator", mlstack_image_registry_mirror="")
    assert "repository" not in plain["toolkit"]
