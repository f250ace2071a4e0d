"""containerd is as it was before, and nothing of the toolkit is left."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://fresh", "ansible://edited", "ansible://rocky"]


def test_containerd_is_as_before(host: Host) -> None:
    said = host.check_output("/shared/crictl --runtime-endpoint unix:///run/containerd/containerd.sock info")
    settings = json.loads(said)["config"]
    assert set(settings["containerd"]["runtimes"]) == {"runc"}
    assert settings["containerd"]["defaultRuntimeName"] == "runc"
    assert not host.file("/etc/containerd/conf.d/99-nvidia.toml").exists
    # dpkg knows what a configuration file was like when it was installed.
    if host.backend.get_hostname() == "fresh":
        assert "/etc/" not in host.run("dpkg --verify containerd").stdout


@pytest.mark.parametrize("name", ["nvidia-container-toolkit", "libnvidia-container1"])
def test_packages_are_gone(host: Host, name: str) -> None:
    assert not host.package(name).is_installed
    assert host.run("find /etc -name '*mlstack*'").stdout == ""
    assert not host.exists("dnf") or host.file("/etc/dnf/plugins/versionlock.list").content_string == ""
