"""What a kernel's client may do with the exports."""

from __future__ import annotations

from testinfra.host import Host

testinfra_hosts = ["ansible://server"]


def mounted(host: Host, path: str, options: str, command: str, user: int = 1000) -> str:
    """What the command of a user says on the client in the mounted export; nothing where it cannot be mounted."""
    inside = host.get_host(f"ansible://inside?ansible_inventory={host.backend.ansible_inventory}")
    mount = f"mount -t nfs -o {options},soft,timeo=50,retrans=2 10.231.77.11:{path} /mnt"
    as_user = f"setpriv --reuid={user} --regid={user} --clear-groups sh -c 'cd /mnt && {{ {command}; }}'"
    return str(inside.run(f"{mount} && {as_user}; umount /mnt").stdout).strip()


def test_the_kernel_serves_now_and_at_each_boot(host: Host) -> None:
    service = host.service("nfs-kernel-server")
    assert service.is_running
    assert service.is_enabled
    assert "4.2" in host.run("cat /proc/fs/nfsd/versions").stdout
    assert "-3" in host.run("cat /proc/fs/nfsd/versions").stdout.split()


def test_a_client_writes_as_the_owner_and_not_as_root(host: Host) -> None:
    assert mounted(host, "/srv/training", "vers=4.2", "touch x && stat -c %u x && rm x") == "1000"
    assert mounted(host, "/srv/training", "vers=4.2", "echo entered", user=0) == ""


def test_a_read_only_export_takes_nothing(host: Host) -> None:
    host.run_expect([0], "chmod 0777 /srv/data")
    assert mounted(host, "/srv/data", "vers=4.2", "echo mounted; touch x && echo written") == "mounted"


def test_version_3_is_not_served(host: Host) -> None:
    assert mounted(host, "/srv/training", "vers=3", "echo mounted") == ""


def test_what_others_export_is_served(host: Host) -> None:
    assert mounted(host, "/srv/foreign", "vers=4.2", "echo mounted") == "mounted"
