"""Another version, another default, and a run that was killed; a refusal has changed nothing."""

from __future__ import annotations

import json

from testinfra.host import Host


def default_runtime(host: Host) -> str:
    said = host.check_output("/shared/crictl --runtime-endpoint unix:///run/containerd/containerd.sock info")
    return str(json.loads(said)["config"]["containerd"]["defaultRuntimeName"])


def at(host: Host, name: str) -> Host:
    return host.get_host(f"ansible://{name}?ansible_inventory={host.backend.ansible_inventory}")


testinfra_hosts = ["ansible://fresh"]


def test_the_killed_run_was_finished(host: Host) -> None:
    assert default_runtime(host) == "nvidia"


def test_a_default_is_taken_back(host: Host) -> None:
    edited = at(host, "edited")
    assert default_runtime(edited) == "runc"
    assert edited.package("nvidia-container-toolkit").version == "1.20.0-1"
    assert edited.package("libnvidia-container1").version == "1.20.0-1"


def test_the_killed_installation_was_finished(host: Host) -> None:
    assert at(host, "edited").check_output("dpkg --audit") == ""


def test_a_version_is_taken_back_with_dnf(host: Host) -> None:
    rocky = at(host, "rocky")
    assert rocky.package("nvidia-container-toolkit").version == "1.19.1"
    assert rocky.package("libnvidia-container1").version == "1.19.1"
    assert rocky.check_output("cat /etc/dnf/plugins/versionlock.list") == "*nvidia-container*-1.19.1-*"


def test_a_refusal_changes_nothing(host: Host) -> None:
    plain = at(host, "plain")
    assert not plain.package("nvidia-container-toolkit").is_installed
    assert not plain.file("/etc/containerd/conf.d/99-nvidia.toml").exists
