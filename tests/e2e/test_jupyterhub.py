"""JupyterHub as its users have it: its API, a browser, the volume of the trainings; what is wrong; its removal."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from .conftest import HOME, Run, forwarded, kubectl, page_in_browser, playbook, wait_for

pytestmark = pytest.mark.extended

TAGS = ("playbooks/ai.yaml", "--tags", "jupyterhub")
KINDS = "deployments,replicasets,pods,services,ingresses,networkpolicies,secrets,serviceaccounts,roles,rolebindings"
PASSWORD = HOME / "jupyterhub/password"
AS_BEFORE = "as an earlier run has proved"


@pytest.fixture(scope="module")
def hub(stack: Run) -> Run:
    run = playbook(*TAGS)
    assert run.status == 0
    return run


def test_the_demo_tells_of_it(stack: Run) -> None:
    assert "and the home survived a restart" in stack.words
    assert f"the password of {PASSWORD}" in stack.words
    assert PASSWORD.read_text().strip() not in stack.output
    assert (PASSWORD.stat().st_mode & 0o777, PASSWORD.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_nothing_is_left_of_the_proof(hub: Run) -> None:
    assert "mlstack-verify" not in kubectl("get", "pods,persistentvolumeclaims", "-A", "-o", "name")


def test_second_run_changes_nothing(hub: Run) -> None:
    again = playbook(*TAGS)
    assert (again.status, again.changed) == (0, [])
    # Nor does it prove again what it has proved; verify.yaml does.
    assert AS_BEFORE in again.words
    proof = playbook("playbooks/verify.yaml", "--tags", "jupyterhub")
    assert (proof.status, proof.changed) == (0, [])
    assert "the home survived a restart" in proof.words
    assert AS_BEFORE not in proof.words


def test_a_jupyterhub_that_somebody_has_changed_is_proved_again(hub: Run) -> None:
    kubectl("set", "env", "deployment/proxy", "SOMEBODY=else")
    again = playbook(*TAGS)
    assert again.status == 0
    assert "the home survived a restart" in again.words
    assert AS_BEFORE not in again.words


def test_a_user_computes_in_a_browser(hub: Run) -> None:
    """Logs in, gets a server, sees the models of the trainings, and runs a cell."""
    with forwarded("service/proxy-public", 80) as address, page_in_browser("jupyterlab") as page:
        page.goto(f"{address}/hub/login")
        page.fill("#username_input", "ada")
        page.fill("#password_input", "wrong")
        page.click("#login_submit")
        assert "Invalid username or password" in page.inner_text("body")
        page.fill("#username_input", "ada")
        page.fill("#password_input", PASSWORD.read_text().strip())
        page.click("#login_submit")
        page.wait_for_url("**/user/ada/lab**", timeout=180_000)
        # As for a user who is here for the first time.
        page.goto(f"{address}/user/ada/lab?reset")
        page.click(".jp-LauncherCard[data-category='Notebook']")
        # What is run before that is lost. The notebook's own indicator is idle even before it has a kernel.
        page.get_by_text("Python 3 (ipykernel) | Idle", exact=True).wait_for()
        cell = page.locator(".jp-Cell .cm-content").first
        cell.click()
        code = "import os; print(6 * 841, os.listdir('training/mnist-tensorflow'))"
        cell.press_sequentially(code, delay=5)
        # JupyterLab closes brackets by itself, and types over those that it has closed.
        assert cell.inner_text().strip() == code
        page.keyboard.press("Shift+Enter")
        output = page.locator(".jp-OutputArea-output").first
        output.wait_for()
        assert output.inner_text().startswith("5046 [")
        assert "logs" in output.inner_text()
    # As that user, without rights on the node or the volume of the trainings.
    pod = json.loads(kubectl("get", "pods", "-l", "component=singleuser-server", "-o", "json"))["items"][0]
    assert pod["metadata"]["annotations"]["hub.jupyter.org/username"] == "ada"
    name = pod["metadata"]["name"]
    assert kubectl("exec", name, "--", "id", "-u").strip() == "1000"
    written = subprocess.run(
        [
            *(HOME / "local_cluster/mlstack-test/bin/kubectl", "exec", name),
            *(f"--kubeconfig={HOME / 'local_cluster/mlstack-test/admin.kubeconfig'}", "--"),
            *("touch", "/home/jovyan/training/x"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "Read-only file system" in written.stderr


def test_a_server_outlives_the_hub(hub: Run) -> None:
    [before] = servers()
    kubectl("delete", "pod", "-l", "app.kubernetes.io/component=hub,app.kubernetes.io/name=jupyterhub")
    assert playbook("playbooks/verify.yaml", "--tags", "jupyterhub").status == 0
    assert servers() == [before]


def servers() -> list[str]:
    pods = json.loads(kubectl("get", "pods", "-l", "component=singleuser-server", "-o", "json"))["items"]
    return [pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"jupyterhub_volumes": [{"claim": "nothing", "path": "/data"}]},
            "there is no claim 'nothing' in the namespace",
        ),
        ({"jupyterhub_image": "127.0.0.1:9/nothing:1", "jupyterhub_wait_timeout": 25}, "127.0.0.1:9/nothing:1"),
        ({"jupyterhub_verify_code": "import nothing"}, "ModuleNotFoundError: No module named 'nothing'"),
        ({"jupyterhub_resources": {"cpu_guarantee": 100}, "jupyterhub_wait_timeout": 25}, "Insufficient cpu"),
    ],
)
def test_what_is_wrong_is_told(hub: Run, variables: dict[str, Any], message: str) -> None:
    run = playbook(*TAGS, "-e", json.dumps(variables))
    assert run.status != 0
    assert message in run.words


def test_profiles_node_port_and_any_user_under_the_strictest_rules(hub: Run) -> None:
    """As on OpenShift: users have high numbers, and whatever is not restricted is refused."""
    changes = {
        "mlstack_run_as_user": "1000660000",
        # What other users have written on the volumes is not theirs.
        "jupyterhub_verify_user": "restricted-verify",
        "jupyterhub_database": "sqlite:////srv/jupyterhub/jupyterhub.sqlite",
        "jupyterhub_service_type": "NodePort",
        "jupyterhub_node_port": 30800,
        "jupyterhub_ingress": {"host": "hub.example.com", "class": "none"},
        "jupyterhub_profiles": [{"name": "Small", "mem_limit": "1G", "default": True}, {"name": "GPU", "gpus": 1}],
    }
    kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted")
    try:
        assert playbook(*TAGS, "-e", json.dumps(changes)).status == 0
    finally:
        kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce-")
    [port] = json.loads(kubectl("get", "service/proxy-public", "-o", "json"))["spec"]["ports"]
    assert port["nodePort"] == 30800
    assert "hub.example.com" in kubectl("get", "ingress/jupyterhub", "-o", "yaml")


def test_removal(hub: Run) -> None:
    assert playbook(*TAGS).status == 0
    assert "ingress" not in kubectl("get", "ingresses", "-o", "name")
    assert playbook("playbooks/ai.yaml", "-e", "state=absent", "--tags", "jupyterhub").status == 0
    wait_for(lambda: servers() == [], 60)
    left = kubectl("get", KINDS, "-o", "name")
    assert not [name for name in left.splitlines() if name.rpartition("/")[2].startswith(("hub", "proxy", "jupyter"))]
    # What users have stays.
    assert "jupyterhub-homes" in kubectl("get", "persistentvolumeclaims", "-o", "name")
    assert list((HOME / "local_cluster" / HOME.name / "volumes/homes/home/ada").iterdir())
    assert playbook(*TAGS, "--check", "--diff").status == 0
    assert "deployment.apps/hub" not in kubectl("get", "deployments", "-o", "name")
    # As the first run has left it.
    assert playbook(*TAGS).status == 0
