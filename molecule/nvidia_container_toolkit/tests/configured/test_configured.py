"""What the running containerd says of itself, asked through the CRI."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://gpu_nodes"]

VERSIONS = {"fresh": "1.20.0-1", "edited": "1.19.1-1", "rocky": "1.20.0"}
DEFAULTS = {"fresh": "nvidia", "edited": "runc", "rocky": "nvidia"}
PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)


def name_of(host: Host) -> str:
    return str(host.backend.get_hostname())


@pytest.fixture
def settings(host: Host) -> dict[str, Any]:
    if name_of(host) == "plain":
        pytest.skip("plain has no GPU")
    said = host.check_output("/shared/crictl --runtime-endpoint unix:///run/containerd/containerd.sock info")
    found: dict[str, Any] = json.loads(said)["config"]
    return found


def test_it_runs_with_nvidias_runtime(host: Host, settings: dict[str, Any]) -> None:
    runtime = settings["containerd"]["runtimes"]["nvidia"]
    assert runtime["options"]["BinaryName"] == "/usr/bin/nvidia-container-runtime"
    assert settings["containerd"]["defaultRuntimeName"] == DEFAULTS[name_of(host)]
    assert set(settings["containerd"]["runtimes"]) == {"nvidia", "runc"}


def test_what_others_configured_is_still_so(host: Host, settings: dict[str, Any]) -> None:
    if name_of(host) == "edited":
        assert settings["sandboxImage"] == "registry.example/pause:1"
        assert settings["registry"]["configPath"] == "/etc/containerd/certs.d"
    else:
        # Of Debian's own file.
        assert settings["cni"]["binDir"] == "/usr/lib/cni"


def test_packages_are_held(host: Host, settings: dict[str, Any]) -> None:
    assert [host.package(name).version for name in PACKAGES] == [VERSIONS[name_of(host)]] * len(PACKAGES)
    if name_of(host) == "rocky":
        assert host.check_output("cat /etc/dnf/plugins/versionlock.list") == "*nvidia-container*-1.20.0-*"
        # The newer version is offered, and not taken.
        assert "Nothing to do" in host.run("dnf --assumeno upgrade").stdout
    else:
        assert set(PACKAGES) <= set(host.check_output("apt-mark showhold").split())


def test_only_one_line_of_the_main_file_is_new(host: Host, settings: dict[str, Any]) -> None:
    main = host.file("/etc/containerd/config.toml").content_string
    if name_of(host) == "edited":
        assert "mlstack" not in main
        assert host.file("/etc/containerd/config.toml").content_string.startswith("# By hand.\n")
    else:
        assert [line for line in main.splitlines() if "mlstack" in line] == main.splitlines()[:1]
    assert host.file("/etc/containerd/conf.d/99-nvidia.toml").mode == 0o644


def test_a_host_without_gpu_is_passed_over(host: Host) -> None:
    if name_of(host) != "plain":
        pytest.skip("it has a GPU")
    assert not host.package("nvidia-container-toolkit").is_installed
    assert not host.file("/etc/containerd").exists
