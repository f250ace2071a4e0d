"""Each role refuses wrong inputs before it does anything, and names the variable, its value and the cure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
# A role, inputs that are wrong, and what it has to say.
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("local_cluster", {"local_cluster_name": "My_Cluster"}, "local_cluster_name: 'My_Cluster' .* lower case"),
    ("local_cluster", {"local_cluster_nodes": 12}, "local_cluster_nodes: 12 is not between 1 and 9"),
    ("local_cluster", {"local_cluster_node_network": "10.0.0.0/8"}, "local_cluster_node_network: '10.0.0.0/8' .* /24"),
    ("local_cluster", {"local_cluster_pod_network": "10.97.0.0/24"}, "local_cluster_pod_network: .* /16"),
    ("local_cluster", {"local_cluster_service_network": "pods"}, "local_cluster_service_network: 'pods' .* /16"),
    ("registry", {"registry_name": "My Registry"}, "registry_name: 'My Registry' may hold lower-case"),
    ("registry", {"registry_port": 70000}, "registry_port: 70000 is no port"),
    ("jupyterhub", {}, "jupyterhub_authenticator: who may log in is not said"),
    ("jupyterhub", {"jupyterhub_authenticator": "dummy"}, "jupyterhub_password: .* 'dummy' lets everybody in"),
    (
        "jupyterhub",
        {"jupyterhub_authenticator": "shared-password", "jupyterhub_password": "short"},
        "jupyterhub_password: it has fewer than 8 characters",
    ),
    (
        "jupyterhub",
        {"jupyterhub_authenticator": "github", "jupyterhub_password": "long enough"},
        "jupyterhub_password: .* 'github' knows no shared password",
    ),
    (
        "jupyterhub",
        {"jupyterhub_authenticator": "github", "jupyterhub_profiles": [{"name": "a"}, {"name": "a"}]},
        "jupyterhub_profiles: a, a: two have the same name",
    ),
    (
        "jupyterhub",
        {"jupyterhub_authenticator": "github", "jupyterhub_volumes": [{"claim": "c", "path": "data"}]},
        "jupyterhub_volumes: data: a path begins with '/'",
    ),
    (
        "nvidia_device_plugin",
        {"nvidia_device_plugin_supply": "packages"},
        "nvidia_device_plugin_supply: there are no packages .* Use upstream",
    ),
    (
        "nvidia_device_plugin",
        {"nvidia_device_plugin_namespace": "default"},
        "nvidia_device_plugin_namespace: 'default'",
    ),
    (
        "nvidia_device_plugin",
        {"nvidia_device_plugin_time_slicing": [{"name": "nvidia.com/gpu", "replicas": 1}]},
        "nvidia_device_plugin_time_slicing: .* give 2 or more `replicas`",
    ),
    ("nfs_storage", {"nfs_storage_claims": [{"name": "a", "size": "1Gi"}]}, "nfs_storage_server: no server is named"),
    (
        "nfs_storage",
        {
            "nfs_storage_server": "192.0.2.1",
            "nfs_storage_share": "srv",
            "nfs_storage_claims": [{"name": "a", "size": "1Gi"}],
        },
        "nfs_storage_share: 'srv' is no directory",
    ),
    ("nfs_storage", {"nfs_storage_mode": "none"}, "nfs_storage_verify_claim: there is nothing to prove"),
    (
        "nfs_storage",
        {"nfs_storage_claims": [{"name": "a", "size": "large", "path": "../b"}]},
        "nfs_storage_claims: 'large' is no size; .*'../b' is no path",
    ),
    ("tensorboard", {"tensorboard_namespace": "Default"}, "tensorboard_namespace: 'Default' is no name"),
    ("tensorboard", {"tensorboard_path_prefix": "board/"}, "tensorboard_path_prefix: 'board/' .* as /tensorboard"),
    ("tensorboard", {"tensorboard_log_directory": "../etc"}, "tensorboard_log_directory: '../etc' is no path"),
    ("tensorboard", {"tensorboard_run_as_user": 0}, "tensorboard_run_as_user: '0' .* such as 1000"),
    ("tensorboard", {"tensorboard_node_port": 30606}, "tensorboard_node_port: .* tensorboard_service_type: NodePort"),
    ("tensorboard", {"tensorboard_reload_seconds": 0}, r"tensorboard_reload_seconds \(0\) .* above 0"),
    ("tensorboard", {"tensorboard_ingress": {"class": "nginx"}}, "tensorboard_ingress: .* needs a `host`"),
    ("volcano", {"volcano_namespace": "Volcano!"}, "volcano_namespace: 'Volcano!' is no name"),
    ("volcano", {"volcano_actions": ["enqueue"]}, "volcano_actions: enqueue must contain allocate"),
]

# A loop fails with the results of its items.
MESSAGES = (
    "{{ ansible_failed_result.results | default([ansible_failed_result]) | selectattr('failed', 'defined')"
    " | selectattr('failed') | map(attribute='msg') | join('\n') }}"
)


def answers(directory: Path) -> list[str]:
    """All cases in one run of ansible-playbook: what was said to each, empty where it was let through."""
    tasks = [
        {
            "block": [
                {
                    "name": f"Case {number}",
                    "ansible.builtin.include_role": {
                        "name": f"mlstack.kubernetes.{role}",
                        "tasks_from": "preflight.yml",
                    },
                    "vars": variables,
                },
            ],
            "rescue": [
                {
                    "name": f"Result of case {number}",
                    "ansible.builtin.copy": {
                        "dest": f"{directory}/{number}",
                        "content": MESSAGES,
                        "mode": "0600",
                    },
                }
            ],
        }
        for number, (role, variables, _message) in enumerate(CASES)
    ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable, "mlstack_supply": "packages"},
        "tasks": tasks,
    }
    playbook = directory / "cases.yml"
    playbook.write_text(yaml.safe_dump([play]))
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), playbook],
        cwd=CHECKOUT,
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    files = [directory / str(number) for number in range(len(CASES))]
    return [file.read_text() if file.exists() else "" for file in files]


def test_wrong_inputs_are_named(tmp_path: Path) -> None:
    wrong = [
        (role, variables, answer)
        for (role, variables, message), answer in zip(CASES, answers(tmp_path), strict=True)
        if not re.search(message, answer, re.DOTALL)
    ]
    assert wrong == []
