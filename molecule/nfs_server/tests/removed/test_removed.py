"""What was exported is not any more, and is still there; what somebody else exports is served."""

from __future__ import annotations

from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


def test_only_what_others_export_is_served(host: Host) -> None:
    there = host.get_host(f"ansible://outside?ansible_inventory={host.backend.ansible_inventory}")
    for path, is_allowed in (("/srv/training", False), ("/srv/foreign", True)):
        asked = there.run(f"timeout 20 nfs-ls 'nfs://10.231.77.11{path}?version=4&uid=1000&gid=1000'")
        assert (asked.rc == 0) == is_allowed, asked


def test_only_rules_of_others_are_left_in_the_firewall(host: Host) -> None:
    rules = host.run("ufw show added").stdout
    assert "mlstack" not in rules
    assert "comment 'somebody else'" in rules


def test_directories_stay(host: Host) -> None:
    assert host.file("/srv/training").is_directory
    assert not host.file("/etc/ganesha/mlstack.conf").exists
    assert not host.file("/etc/systemd/system/nfs-ganesha.service.d/mlstack.conf").exists


def test_nothing_is_left_with_dnf_and_firewalld(host: Host) -> None:
    rocky = host.get_host(f"ansible://rocky?ansible_inventory={host.backend.ansible_inventory}")
    assert rocky.check_output("firewall-cmd --list-rich-rules; firewall-cmd --permanent --list-rich-rules") == ""
    assert not rocky.service("nfs-ganesha").is_running
    assert not rocky.file("/etc/ganesha/mlstack.conf").exists
    assert rocky.file("/srv/training").is_directory
