"""After the removal."""

from __future__ import annotations

from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


def mounted(host: Host, path: str, options: str, command: str, user: int = 1000) -> str:
    """What the command of a user says on the client in the mounted export; nothing where it cannot be mounted."""
    inside = host.get_host(f"ansible://inside?ansible_inventory={host.backend.ansible_inventory}")
    mount = f"mount -t nfs -o {options},soft,timeo=50,retrans=2 10.231.77.11:{path} /mnt"
    as_user = f"setpriv --reuid={user} --regid={user} --clear-groups sh -c 'cd /mnt && {{ {command}; }}'"
    return str(inside.run(f"{mount} && {as_user}; umount /mnt").stdout).strip()


def test_nothing_of_the_role_is_exported_and_what_others_export_is(host: Host) -> None:
    assert mounted(host, "/srv/training", "vers=4.2", "echo mounted") == ""
    assert mounted(host, "/srv/foreign", "vers=4.2", "echo mounted") == "mounted"
    assert host.file("/srv/training").is_directory
    assert not host.file("/etc/exports.d/mlstack.exports").exists
