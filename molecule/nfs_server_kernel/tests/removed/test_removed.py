"""After the removal."""

from __future__ import annotations

from collections.abc import Callable

from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


def test_nothing_of_the_role_is_exported_and_what_others_export_is(host: Host, mounted: Callable[..., str]) -> None:
    assert mounted("/srv/training", "vers=4.2", "echo mounted") == ""
    assert mounted("/srv/foreign", "vers=4.2", "echo mounted") == "mounted"
    assert host.file("/srv/training").is_directory
    assert not host.file("/etc/exports.d/mlstack.exports").exists
