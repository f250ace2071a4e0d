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
from upstream.chart_keys import unknown_keys

CHECKOUT = Path(__file__).resolve().parents[3]
# The names that hub.db.type may have in the chart jupyterhub 4.4.0.
JUPYTERHUB_DATABASES = {"sqlite-pvc", "sqlite-memory", "mysql", "postgres", "other"}
# The chart, its role, that role's variables for values and version, and inputs that make it set all that it can.
CHARTS = [
    ("csi-driver-nfs", "nfs_storage", "chart", "chart_version", {}),
    ("gpu-operator", "nvidia_device_plugin", "operator", "operator_version", {}),
    (
        "jupyterhub",
        "jupyterhub",
        "chart",
        "chart_version",
        {
            "jupyterhub_authenticator": "github",
            "jupyterhub_users": ["ada"],
            "jupyterhub_node_port": 30080,
            "jupyterhub_service_type": "NodePort",
            "jupyterhub_ingress": {"host": "hub.example.org", "class": "nginx", "tls_secret": "hub-tls"},
            "jupyterhub_storage_class": "nfs",
            "__jupyterhub_image": "quay.io/jupyter/tensorflow-notebook:hub-5.2.1",
        },
    ),
    (
        "nvidia-device-plugin",
        "nvidia_device_plugin",
        "chart",
        "version",
        {"nvidia_device_plugin_runtime_class": "nvidia"},
    ),
    ("volcano", "volcano", "chart", "version", {}),
]


def variable_of(role: str, name: str, **inputs: Any) -> Any:
    """What a variable of the role comes to with these inputs."""
    directory = CHECKOUT / "roles" / role
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible")),
            "localhost",
            "--playbook-dir",
            str(directory),
            "--module-name=ansible.builtin.debug",
            f"--args=var={name}",
            f"--extra-vars=@{directory}/defaults/main.yml",
            f"--extra-vars=@{directory}/vars/main.yml",
            f"--extra-vars={json.dumps(inputs)}",
        ],
        env={**os.environ, "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"][name]


def chart_values(role: str, chart: str = "chart", **inputs: Any) -> dict[str, Any]:
    values = variable_of(role, f"__{role}_{chart}_values", **inputs)
    assert isinstance(values, dict), values
    return values


@pytest.mark.parametrize(
    ("chart", "role", "variable", "version", "inputs"), CHARTS, ids=[chart for chart, *_ in CHARTS]
)
def test_a_role_tells_its_chart_only_what_the_chart_knows(
    chart: str, role: str, variable: str, version: str, inputs: dict[str, Any]
) -> None:
    # Written by `make upstream ARGS=--record` from the chart itself.
    recorded = json.loads((Path(__file__).parent / "charts" / f"{chart}.json").read_text())
    defaults = yaml.safe_load((CHECKOUT / "roles" / role / "defaults/main.yml").read_text())
    assert recorded["version"] == defaults[f"{role}_{version}"].removeprefix("" if chart == "gpu-operator" else "v")

    values = chart_values(role, variable, mlstack_image_registry_mirror="mirror.example.org", **inputs)

    assert values
    assert unknown_keys(values, set(recorded["keys"])) == []


def test_a_key_that_a_chart_does_not_know_is_found() -> None:
    known = {"hub", "hub.config", "hub.config.*", "hub.db", "hub.db.type"}

    assert unknown_keys({"hub": {"config": {"Any": {"thing": 1}}, "db": {"type": "other"}}}, known) == []
    assert unknown_keys({"hub": {"db": {"kind": "other"}}, "proxi": {}}, known) == ["hub.db.kind", "proxi"]


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


def test_the_gpu_operator_is_told_what_the_plugin_would_be() -> None:
    values = chart_values(
        "nvidia_device_plugin",
        "operator",
        nvidia_device_plugin_time_slicing=[{"name": "nvidia.com/gpu", "replicas": 4}],
        nvidia_device_plugin_mig_strategy="mixed",
        mlstack_image_registry_mirror="mirror.example.org",
    )
    assert values["driver"]["enabled"] is False
    assert values["toolkit"] == {"enabled": False, "repository": "mirror.example.org/nvcr.io/nvidia/k8s"}
    assert values["driver"]["manager"] == {"repository": "mirror.example.org/nvcr.io/nvidia/cloud-native"}
    assert values["mig"] == {"strategy": "mixed"}
    config = values["devicePlugin"]["config"]
    assert (config["create"], config["default"], config["name"]) == (True, "default", "mlstack-device-plugin")
    assert yaml.safe_load(config["data"]["default"])["flags"] == {"migStrategy": "mixed"}
    plain = chart_values("nvidia_device_plugin", "operator", mlstack_image_registry_mirror="")
    assert "repository" not in plain["toolkit"]


def test_kubeflow_takes_every_image_from_the_mirror() -> None:
    images = ["mysql:8.0", "kserve/agent:v1", "gcr.io/istio-release/pilot:1", "docker.io/a/b:1", "auto"]
    pods = [{"kind": "Pod", "spec": {"containers": [{"image": image}]}} for image in images]
    rendered = yaml.safe_dump_all(pods)
    found = variable_of(
        "kubeflow",
        "__kubeflow_objects",
        __kubeflow_rendered={"stdout": rendered},
        mlstack_image_registry_mirror="mirror.example.org",
    )
    assert [pod["spec"]["containers"][0]["image"] for pod in found] == [
        "mirror.example.org/docker.io/library/mysql:8.0",
        "mirror.example.org/docker.io/kserve/agent:v1",
        "mirror.example.org/gcr.io/istio-release/pilot:1",
        "mirror.example.org/docker.io/a/b:1",
        "auto",
    ]
