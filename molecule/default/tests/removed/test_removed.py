"""What is left of a registry that was removed: nothing."""

from __future__ import annotations

from testinfra.host import Host


def test_nothing_listens(host: Host) -> None:
    assert not host.socket("tcp://127.0.0.1:5543").is_listening


def test_no_process_is_left(host: Host) -> None:
    # Not the shell that runs this very command: the brackets keep its command line from matching.
    assert host.run("ps -eo args | grep '[m]lstack-molecule/registry'").stdout == ""


def test_no_file_is_left(host: Host) -> None:
    assert not host.file("/var/tmp/mlstack-molecule").exists


def test_no_mount_is_left(host: Host) -> None:
    assert "mlstack-molecule" not in host.file("/proc/mounts").content_string
