"""Last of all: what the stack leaves behind on the machine, which is nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .conftest import HOME, NODE, playbook, processes_of

SYSCTLS = [
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "net/ipv4/ip_forward",
    "net/netfilter/nf_conntrack_max",
]


def machine() -> dict[str, object]:
    """What the stack could change of the machine, processes and files apart."""
    return {
        "mounts": [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()],
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/*") if path.is_dir()),
        "links": subprocess.run(["ip", "-brief", "link"], check=True, stdout=subprocess.PIPE, text=True).stdout,
        "rules": subprocess.run(["iptables-save"], stdout=subprocess.PIPE, text=True).stdout,
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("*")),
        "kubelet": Path("/var/lib/kubelet").exists(),
        "sysctls": {name: Path("/proc/sys", name).read_text() for name in SYSCTLS if Path("/proc/sys", name).exists()},
    }


def test_nothing_is_left() -> None:
    assert playbook("playbooks/remove.yaml").status == 0
    before = machine()
    assert playbook("playbooks/ai.yaml", "--check", "--diff").status == 0
    assert machine() == before
    assert playbook("playbooks/ai.yaml", "--tags", "registry,local_cluster").status == 0
    assert NODE in machine()["namespaces"]  # type: ignore[operator]
    assert processes_of(str(HOME))

    assert playbook("playbooks/remove.yaml").status == 0
    assert machine() == before
    assert processes_of(str(HOME)) == []
    assert not HOME.exists()
    assert not Path("/run/mlstack/mlstack-test").exists()

    again = playbook("playbooks/remove.yaml")
    assert (again.status, again.changed) == (0, [])
