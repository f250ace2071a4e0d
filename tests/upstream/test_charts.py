"""The real charts: told only what they know, installed, left alone by a second run, mended, removed without a trace."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import CHECKOUT, HOME, Run, finish, kubectl, playbook, start_playbook, wait_for

from .chart_keys import record
from .conftest import CHARTS, archive_name

RECORDED = CHECKOUT / "tests/unit/roles/charts"
MIRROR = "mirror.example.org"


@dataclass(frozen=True)
class Component:
    """A role that installs a chart; its files of tasks that do so, without the proof, which needs real containers."""

    role: str
    release: str
    namespace: str
    tasks: tuple[str, ...]
    variables: dict[str, Any] = field(default_factory=dict)


# DaemonSets would run on real nodes, too.
SIMULATED = {"nodeSelector": {"type": "kwok"}}
COMPONENTS = [
    Component("volcano", "volcano", "volcano-system", ("preflight", "owner", "install_upstream")),
    Component(
        "nfs_storage",
        "csi-driver-nfs",
        "kube-system",
        ("preflight", "install"),
        {
            "nfs_storage_mode": "csi",
            "nfs_storage_server": "nfs.example.org",
            "nfs_storage_share": "/srv/training",
            "nfs_storage_chart_values": {"node": SIMULATED},
        },
    ),
    Component(
        "nvidia_device_plugin",
        "nvidia-device-plugin",
        "nvidia-device-plugin",
        ("preflight", "install"),
        {"nvidia_device_plugin_chart_values": {"nfd": {"worker": SIMULATED}}},
    ),
    Component(
        "nvidia_device_plugin",
        "gpu-operator",
        "gpu-operator",
        ("preflight", "install"),
        {
            "nvidia_device_plugin_mode": "gpu_operator",
            "nvidia_device_plugin_chart_values": {"node-feature-discovery": {"worker": SIMULATED}},
        },
    ),
    Component(
        "jupyterhub",
        "jupyterhub",
        "jupyterhub",
        ("preflight", "found", "password", "images_upstream", "namespace", "install_upstream"),
        {"jupyterhub_volumes": [], "jupyterhub_namespace": "jupyterhub"},
    ),
]


@pytest.mark.parametrize("chart", CHARTS)
def test_the_recorded_keys_are_those_of_the_chart(charts: Path, chart: str, pytestconfig: pytest.Config) -> None:
    found = record(charts / archive_name(chart))
    file = RECORDED / f"{chart}.json"
    if pytestconfig.getoption("record"):
        file.write_text(json.dumps(found, indent=0) + "\n")
    assert json.loads(file.read_text()) == found


@pytest.fixture(scope="module", params=COMPONENTS, ids=lambda component: component.release)
def component(request: pytest.FixtureRequest, simulated: None) -> Component:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def before(component: Component) -> set[str]:
    """What is on the cluster without the component."""
    return objects()


@pytest.fixture(scope="module")
def installed(
    component: Component, before: set[str], chart_mirror: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """The first run, after one in check mode; and the removal at the end, where a test has failed before it."""
    play = written(component, tmp_path_factory.mktemp("play"))
    look = playbook(*play, *arguments(component, chart_mirror), "--check")
    assert look.status == 0
    assert objects() == before, "check mode has changed something"
    run = playbook(*play, *arguments(component, chart_mirror))
    yield run
    remove(component)


def test_the_chart_is_installed(component: Component, installed: Run) -> None:
    assert installed.status == 0
    assert releases(component) == {component.release: "deployed"}


def test_every_image_comes_from_the_mirror(component: Component, installed: Run) -> None:
    made = kubectl(
        "get", "deployments,daemonsets,statefulsets,jobs", f"--namespace={component.namespace}", "--output=json"
    )
    images = {
        image
        for item in json.loads(made)["items"]
        if item["metadata"].get("annotations", {}).get("meta.helm.sh/release-name") == component.release
        for image in re.findall(r'"image": "([^"]+)"', json.dumps(item))
    }
    assert images
    assert [image for image in sorted(images) if not image.startswith(f"{MIRROR}/")] == []


def test_a_second_run_changes_nothing(component: Component, installed: Run, chart_mirror: str, tmp_path: Path) -> None:
    run = playbook(*written(component, tmp_path), *arguments(component, chart_mirror))
    assert (run.status, run.changed) == (0, [])


def test_a_run_that_was_killed_is_mended(
    component: Component, installed: Run, chart_mirror: str, tmp_path: Path
) -> None:
    """What Helm would leave alone for ever: its note says that somebody is at work."""
    note = notes(component)[-1]["metadata"]["name"]
    kubectl("label", f"--namespace={component.namespace}", "--overwrite", f"secret/{note}", "status=pending-upgrade")
    run = playbook(*written(component, tmp_path), *arguments(component, chart_mirror))
    assert run.status == 0
    assert releases(component) == {component.release: "deployed"}


def test_the_removal_leaves_nothing(component: Component, installed: Run, before: set[str]) -> None:
    assert remove(component).status == 0
    assert sorted(objects() - before - {f"Namespace//{component.namespace}"}) == []
    again = remove(component)
    assert (again.status, again.changed) == (0, [])


def test_a_killed_installation_is_taken_up(simulated: None, chart_mirror: str, tmp_path: Path) -> None:
    [component] = [component for component in COMPONENTS if component.role == "nfs_storage"]
    play = [*written(component, tmp_path), *arguments(component, chart_mirror)]
    nodes = kubectl("get", "nodes", "--selector=type=kwok", "--output=jsonpath={.items[*].metadata.name}").split()
    # So that Helm waits for its pods.
    kubectl("cordon", *nodes)
    try:
        process = start_playbook(*play)
        wait_for(lambda: releases(component) == {component.release: "pending-install"}, 120)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        kubectl("uncordon", *nodes)
    try:
        run = finish(start_playbook(*play))
        assert run.status == 0
        assert releases(component) == {component.release: "deployed"}
    finally:
        remove(component)


def test_what_helm_says_is_told(simulated: None, chart_mirror: str, tmp_path: Path) -> None:
    [hub] = [component for component in COMPONENTS if component.role == "jupyterhub"]
    wrong = replace(hub, variables={**hub.variables, "jupyterhub_config": {"lowerCase": {}}})
    run = playbook(*written(wrong, tmp_path), *arguments(wrong, chart_mirror))
    assert run.status != 0
    assert "The chart jupyterhub" in run.words
    assert "lowerCase" in run.words
    password = (HOME / "jupyterhub/password").read_text().strip()
    assert password not in run.output


def written(component: Component, directory: Path) -> tuple[str]:
    """The path of a playbook that installs the component without proving it."""
    play = {
        "name": "Install a chart",
        "hosts": "kubernetes_api",
        "gather_facts": False,
        "tasks": [
            {
                "name": tasks,
                "ansible.builtin.include_role": {
                    "name": f"mlstack.kubernetes.{component.role}",
                    "tasks_from": f"{tasks}.yml",
                },
            }
            for tasks in component.tasks
        ],
    }
    file = directory / "install.json"
    file.write_text(json.dumps([play]))
    return (str(file),)


def arguments(component: Component, chart_mirror: str) -> tuple[str, str]:
    given = {
        "mlstack_supply": "upstream",
        "mlstack_chart_mirror": chart_mirror,
        "mlstack_image_registry_mirror": MIRROR,
        # Helm itself is no part of what is tried here.
        "helm_release_supply": "packages",
        **component.variables,
    }
    return "--extra-vars", json.dumps(given)


def remove(component: Component) -> Run:
    # Not with the stack's own supply: what is there says itself where it is from.
    data = {"jupyterhub_delete_homes": True, "nfs_storage_delete_claims": True}
    given = json.dumps({"helm_release_supply": "packages", **data, **component.variables})
    return playbook("playbooks/remove.yaml", "--tags", component.role, "--extra-vars", given)


def releases(component: Component) -> dict[str, str]:
    """The state of the release's latest revision, as Helm has noted it."""
    labels = [note["metadata"]["labels"] for note in notes(component)[-1:]]
    return {label["name"]: label["status"] for label in labels}


def notes(component: Component) -> list[dict[str, Any]]:
    """The Secrets in which Helm keeps the revisions of the release, the latest last."""
    selector = f"--selector=owner=helm,name={component.release}"
    found = kubectl("get", "secrets", f"--namespace={component.namespace}", selector, "--output=json")
    return sorted(json.loads(found)["items"], key=lambda note: int(note["metadata"]["labels"]["version"]))


def objects() -> set[str]:
    """Kinds, namespaces and names of what lasts on the cluster."""
    cluster = (
        "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,storageclasses,csidrivers,"
        "priorityclasses,validatingwebhookconfigurations,mutatingwebhookconfigurations,persistentvolumes"
    )
    inside = (
        "deployments,daemonsets,statefulsets,jobs,cronjobs,services,serviceaccounts,roles,rolebindings,configmaps,"
        "secrets,persistentvolumeclaims,networkpolicies,poddisruptionbudgets,ingresses"
    )
    template = "--output=jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{'\\n'}{end}"
    found = kubectl("get", cluster, template) + kubectl("get", inside, "--all-namespaces", template)
    # Every namespace has these.
    return {line for line in found.split() if line.split("/")[-1] not in ("default", "kube-root-ca.crt")}
