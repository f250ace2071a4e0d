"""A control host that is reached by SSH: progress is shown here, and logs are brought here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from .conftest import CHECKOUT, HOME, Run, kubectl

SECONDS = 6


@dataclass(frozen=True)
class Host:
    inventory: Path
    environment: dict[str, str]


def run(*command: object, **options: object) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Debian's SSH server on a port of its own, unpacked and not installed: it must not stay."""
    directory = tmp_path_factory.mktemp("ssh")
    run("apt-get", "download", "openssh-server", "openssh-sftp-server", "libwrap0", cwd=directory)
    for package in directory.glob("*.deb"):
        run("dpkg-deb", "--extract", package, directory)
    for key in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/user.pub\n"
        f"StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nMaxSessions 20\n"
        f"Subsystem sftp {directory}/usr/lib/openssh/sftp-server\n"
    )
    # The server wants a user of its own and a directory, which only it gets to see.
    (directory / "passwd").write_text(
        Path("/etc/passwd").read_text() + "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    )
    start = (
        f"mount --bind {directory}/passwd /etc/passwd && mount -t tmpfs none /run && mkdir -m 755 /run/sshd && "
        f"exec {directory}/usr/sbin/sshd -D -e -f {directory}/sshd_config"
    )
    libraries = {**os.environ, "LD_LIBRARY_PATH": str(next(directory.glob("**/libwrap.so.0")).parent)}
    server = subprocess.Popen(["unshare", "--mount", "sh", "-c", start], env=libraries, stderr=subprocess.DEVNULL)
    inventory = directory / "hosts.ini"
    inventory.write_text(
        f"control ansible_host=127.0.0.1 ansible_port={port} ansible_user=root "
        f"ansible_ssh_private_key_file={directory}/user ansible_python_interpreter={sys.executable} "
        f"ansible_ssh_common_args='-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no'\n"
    )
    try:
        wait_until_listening(port)
        yield Host(inventory, {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"})
    finally:
        server.terminate()
        server.wait()


def wait_until_listening(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert time.monotonic() < end, "the SSH server did not start"
            time.sleep(0.1)


def play(host: Host, directory: Path, **environment: str) -> Run:
    """Runs a job that logs once a second, with its logs brought to `directory`."""
    image = kubectl("get", "tfjob", "training-operator-verify", "-n", "kubeflow", "-o", "jsonpath={..image}").split()[0]
    task = {
        "mlstack.kubernetes.tfjob": {
            "kubeconfig": str(HOME / "local_cluster/mlstack-test/admin.kubeconfig"),
            "name": "remote",
            "image": image,
            "command": ["sh", "-c", f"for i in $(seq {SECONDS}); do echo loss=$((9 - i)); sleep 1; done"],
            "replicas": {"chief": {}, "worker": {"count": 1}},
            "metrics": {"loss": r"loss=(?P<value>\d+)"},
            "log_dir": str(directory / "logs"),
            "follow": True,
        },
        "register": "done",
    }
    absent = {"mlstack.kubernetes.tfjob": {**task["mlstack.kubernetes.tfjob"], "state": "absent"}}  # type: ignore[dict-item]
    path = directory / "play.yaml"
    show = {"ansible.builtin.debug": {"var": "done.log_files"}}
    path.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task, show, absent]}]))
    playbook = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [playbook, "-i", host.inventory, path],
        cwd=CHECKOUT,
        env={**host.environment, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    print(done.stdout)
    return Run(done.returncode, done.stdout)


def test_progress_and_logs_come_from_another_host(stack: Run, host: Host, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob(".mlstack-*"))
    done = play(host, tmp_path)
    assert done.status == 0
    assert "  TFJob default/remote: Running, pods 2/2 running" in done.output
    assert "  remote chief-0 | loss=8" in done.output
    # A line is shown while the job runs, not at its end.
    assert done.output.index("remote chief-0 | loss=8") < done.output.index("ok: [control]")
    for replica in ("chief-0", "worker-0"):
        lines = (tmp_path / f"logs/default/remote/{replica}.log").read_text().splitlines()
        assert lines == [f"loss={9 - step}" for step in range(1, SECONDS + 1)]
    assert str(tmp_path / "logs/default/remote/worker-0.log") in done.output
    assert set(Path("/tmp").glob(".mlstack-*")) == before


def test_programs_that_read_the_output_are_not_disturbed(stack: Run, host: Host, tmp_path: Path) -> None:
    done = play(host, tmp_path, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json")
    assert done.status == 0
    assert "TFJob default/remote: Running" not in done.output
