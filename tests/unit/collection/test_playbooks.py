"""The playbooks and their inventories, as far as they can be tested without a cluster."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[3]
# Roles that can be verified by themselves, unlike those that other roles include.
COMPONENTS = sorted(path.parents[1].name for path in CHECKOUT.glob("roles/*/tasks/verify.yml"))
INVENTORIES = sorted(path.name for path in (CHECKOUT / "inventories").iterdir() if path.name != "test")
# Inventories of clusters that exist: preflight calls their API, which does not answer in these tests.
WITH_CLUSTER = [name for name in INVENTORIES if name != "local"]

# An inventory in the form that an early stack documented, with addresses.
EARLY = """\
[all]
node-1 ansible_host=192.0.2.11 ansible_user=root ansible_ssh_private_key_file=./deploy.key ip=192.0.2.11
node-2 ansible_host=192.0.2.12 ansible_user=root ansible_ssh_private_key_file=./deploy.key ip=192.0.2.12
node-3 ansible_host=192.0.2.13 ansible_user=root ansible_ssh_private_key_file=./deploy.key ip=192.0.2.13
[kube-deploy]
node-[1:1]
[kube-master]
node-[1:1]
"""


def ansible(program: str, *arguments: str | Path, **environment: str) -> tuple[int, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    settings = {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000"}
    result = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=CHECKOUT,
        env=inherited | settings | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.returncode, result.stdout + (result.stderr if program != "ansible-inventory" else "")


def preflight(inventory: Path, *arguments: str) -> tuple[int, str]:
    """Run the checks of an inventory on this machine instead of its hosts."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    nowhere = {"mlstack_kubeconfig": "/nowhere/kubeconfig"}
    options = ("-i", inventory, "-e", json.dumps(here | nowhere), *arguments)
    return ansible("ansible-playbook", "playbooks/preflight.yaml", *options)


def plays(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load((CHECKOUT / "playbooks" / name).read_text())
    return [play for play in loaded if "hosts" in play]


def included(name: str) -> dict[str, dict[str, Any]]:
    """Return the tasks of a playbook that include a role as a whole, by role."""
    tasks = [task for play in plays(name) for task in play["tasks"] if "ansible.builtin.include_role" in task]
    whole = [task for task in tasks if "tasks_from" not in task["ansible.builtin.include_role"]]
    return {task["ansible.builtin.include_role"]["name"].rpartition(".")[2]: task for task in whole}


# -- rules for all playbooks


@pytest.mark.parametrize("playbook", ["stack.yaml", "remove.yaml"])
@pytest.mark.parametrize("role", COMPONENTS)
def test_component_is_installed_and_removed_by_tag(role: str, playbook: str) -> None:
    task = included(playbook)[role]
    assert (task["tags"], task["ansible.builtin.include_role"]["apply"]) == ([role], {"tags": [role]})
    if playbook == "remove.yaml":
        assert task["vars"] == {f"{role}_state": "absent"}


@pytest.mark.parametrize("playbook", ["stack.yaml", "train.yaml"])
def test_plays_share_one_expression_for_check_mode(playbook: str) -> None:
    modes = {play["name"]: play.get("check_mode") for play in plays(playbook)}
    assert modes == dict.fromkeys(modes, "{{ stack_verify_only | default(ansible_check_mode) }}")


@pytest.mark.parametrize("role", COMPONENTS)
def test_verify_tasks_leave_check_mode(role: str) -> None:
    """playbooks/verify.yaml runs in check mode. Roles without an import of verify.yml are verified by stack.yaml."""
    text = (CHECKOUT / "roles" / role / "tasks/main.yml").read_text()
    if "import_tasks: verify.yml" in text:
        assert "check_mode: false" in text.partition("import_tasks: verify.yml")[2].partition("when:")[0]
    elif "tasks/verify.yml" not in text:
        text = (CHECKOUT / "playbooks/stack.yaml").read_text().partition(f"{role}\n        tasks_from: verify.yml")[2]
        assert f"apply: {{tags: [{role}], check_mode: false}}" in text.splitlines()[1]
    else:
        assert 'include_tasks: "{{ role_path }}/tasks/verify.yml"' not in text
        assert "apply: {check_mode: false}" in text.partition("/tasks/verify.yml")[2].partition("when:")[0]


def listed(*arguments: str) -> str:
    status, output = ansible("ansible-playbook", "-i", "hosts.ini", "--list-tasks", *arguments)
    assert status == 0, output
    # The text before it names the path of the playbook.
    return output.partition("\n\n  play")[2]


def test_state_absent_runs_the_tasks_of_remove() -> None:
    assert listed("ai.yaml", "-e", "state=absent") == listed("playbooks/remove.yaml")
    tags = ("--tags", "volcano")
    assert listed("ai.yaml", "-e", "state=absent", *tags) == listed("playbooks/remove.yaml", *tags)
    assert listed("ai.yaml", "-e", "state=present") == listed("playbooks/verify.yaml")


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("state=removed", "state: 'removed' is not known here. Leave it out to set the stack up; to take it away, run"),
        ("mlstack_supply=chart", "mlstack_supply: 'chart' is not one of auto, upstream, packages."),
        ("mlstack_run_as_user=root", "mlstack_run_as_user: 'root' is no number of a user other than root."),
        ("mlstack_gang_scheduler=kube-batch", "mlstack_gang_scheduler: 'kube-batch' is not set up by this playbook"),
    ],
)
def test_wrong_value_is_refused(variable: str, message: str) -> None:
    status, output = ansible("ansible-playbook", "-i", "hosts.ini", "ai.yaml", "-e", variable)
    assert status != 0
    assert message in output


def test_state_of_an_inventory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text("[kubernetes_api]\nlocalhost\n[all:vars]\nstate=absent\n")
    status, output = ansible("ansible-playbook", "-i", tmp_path / "hosts.ini", "ai.yaml")
    assert status != 0
    assert "run ai.yaml with -e state=absent on the command line" in output


# -- the inventories


@pytest.mark.parametrize("name", INVENTORIES)
def test_inventory_readme_is_short(name: str) -> None:
    lines = (CHECKOUT / "inventories" / name / "README.md").read_text().splitlines()
    assert lines[0] == f"# {name}"
    assert len(lines) <= 16


@pytest.mark.parametrize("name", INVENTORIES)
def test_inventory_names_one_host_for_the_api(name: str) -> None:
    status, output = ansible("ansible-inventory", "-i", f"inventories/{name}/hosts.ini", "--list")
    assert status == 0
    inventory = json.loads(output)
    assert len(inventory["kubernetes_api"]["hosts"]) == 1
    [host] = inventory["kubernetes_api"]["hosts"]
    assert inventory["_meta"]["hostvars"][host]["mlstack_kubeconfig"]


@pytest.mark.parametrize("name", WITH_CLUSTER)
def test_inventory_is_accepted(name: str) -> None:
    inventory = CHECKOUT / "inventories" / name / "hosts.ini"
    assert ansible("ansible-playbook", "-i", inventory, "--syntax-check", "ai.yaml")[0] == 0
    status, output = preflight(inventory)
    # Only the call of the API fails, and no check of a group or a variable.
    assert status != 0
    assert "failed: [" not in output
    assert "with '/nowhere/kubeconfig' no Kubernetes API answers within 20 seconds" in output


def test_early_inventory_is_accepted_unchanged(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(EARLY)
    _status, output = preflight(tmp_path / "hosts.ini")
    assert "TASK [Call the Kubernetes API]" in output
    assert "fatal: [node-1]: FAILED! => " in output
    assert "Name a kubeconfig that works on node-1" in output
    assert "[node-2]: FAILED!" not in output


@pytest.mark.parametrize(
    ("inventory", "message"),
    [
        (
            "[workers]\nnode-1\n",
            "The inventory has none of the groups gpu_nodes, nfs_server, registry, local_cluster, kubernetes_api",
        ),
        (EARLY.replace("[1:1]", "[1:2]"), "The group kubernetes_api has 2 hosts and needs exactly one"),
        (EARLY + "[registry]\nnode-1\nnode-2\n", "The group registry has more than one host: node-1, node-2."),
    ],
)
def test_inventory_is_refused(inventory: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(inventory)
    status, output = preflight(tmp_path / "hosts.ini")
    assert status != 0
    assert message in output


def test_preflight_reports_all_errors_at_once(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(EARLY)
    status, output = preflight(
        tmp_path / "hosts.ini", "-e", "nvidia_driver_drain=no kubeflow_https=yes state=gone mlstack_supply=magic"
    )
    assert status != 0
    for message in (
        "state: 'gone' is not known here.",
        "mlstack_supply: 'magic' is not one of auto, upstream, packages.",
        "nvidia_driver_drain: 'no' is text and not a boolean. In a YAML file write nvidia_driver_drain: true,",
        "kubeflow_https: 'yes' is text and not a boolean.",
    ):
        assert message in output


def test_preflight_checks_all_booleans_of_the_roles() -> None:
    roles = re.findall(r"mlstack\.kubernetes\.(\w+)", (CHECKOUT / "playbooks/stack.yaml").read_text())
    specifications = [CHECKOUT / "roles" / role / "meta/argument_specs.yml" for role in roles]
    options = [yaml.safe_load(file.read_text())["argument_specs"]["main"]["options"] for file in specifications]
    booleans = {name for found in options for name, option in found.items() if option["type"] == "bool"}
    assert {name for name in booleans if "_delete_" not in name} == set(
        plays("preflight.yaml")[0]["vars"]["__preflight_booleans"]
    )


def test_early_group_does_not_replace_a_present_group(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(EARLY + "[kubernetes_api]\nnode-3\n")
    _status, output = preflight(tmp_path / "hosts.ini")
    assert "Name a kubeconfig that works on node-3" in output
    assert "[node-1]: FAILED!" not in output
