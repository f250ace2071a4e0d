"""The second configuration."""

from __future__ import annotations

from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


def mounted(host: Host, path: str, options: str, command: str, user: int = 1000) -> str:
    """What the command of a user says on the client in the mounted export; nothing where it cannot be mounted."""
    inside = host.get_host(f"ansible://inside?ansible_inventory={host.backend.ansible_inventory}")
    mount = f"mount -t nfs -o {options},soft,timeo=50,retrans=2 10.231.77.11:{path} /mnt"
    as_user = f"setpriv --reuid={user} --regid={user} --clear-groups sh -c 'cd /mnt && {{ {command}; }}'"
    return str(inside.run(f"{mount} && {as_user}; umount /mnt").stdout).strip()


def test_version_3_is_served_too(host: Host) -> None:
    assert mounted(host, "/srv/training", "vers=3,nolock", "ls && echo mounted") == "mounted"
    assert mounted(host, "/srv/training", "vers=4.2", "ls && echo mounted") == "mounted"
    assert host.run("cat /proc/fs/nfsd/threads").stdout.strip() == "4"


def test_what_is_not_listed_any_more_is_not_exported(host: Host) -> None:
    assert mounted(host, "/srv/data", "vers=4.2", "echo mounted") == ""
    assert host.file("/srv/data").is_directory
