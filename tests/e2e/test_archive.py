"""The `upstream` supply's way of getting programs, from an archive of the same layout on a local HTTP server."""

from __future__ import annotations

import hashlib
import http.server
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .conftest import HOME, Run, playbook

PLAY = """
- hosts: local_cluster
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: mlstack.kubernetes.local_cluster
        tasks_from: "{{ item }}"
      loop: [preflight.yml, programs.yml]
"""


@pytest.fixture(scope="module")
def archive(stack: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release archive's layout, with the programs that the test cluster runs on."""
    path = tmp_path_factory.mktemp("release") / "kubernetes-server-linux-amd64.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for program in (HOME / "local_cluster/mlstack-test/bin/").iterdir():
            tar.add(program, f"kubernetes/server/bin/{program.name}")
    return path


@pytest.fixture(scope="module")
def url(archive: Path) -> Iterator[str]:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{archive.name}"
        server.shutdown()
        thread.join()


def get_programs(cache: Path, url: str, checksum: str) -> Run:
    play = cache / "play.yml"
    play.write_text(PLAY)
    return playbook(
        str(play),
        *("-e", f"mlstack_cache={cache}"),
        *("-e", f"local_cluster_archive_url={url}"),
        *("-e", f"local_cluster_archive_checksum={checksum}"),
        *("-e", '{"local_cluster_simulated_nodes": 0}'),
    )


def test_auto_takes_the_archive_where_it_answers(archive: Path, url: str, tmp_path: Path) -> None:
    checksum = "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest()
    run = get_programs(tmp_path, url, checksum)
    assert run.status == 0
    programs = [path for path in tmp_path.glob("programs/kubernetes-1.*/*") if path.is_file()]
    assert sorted(path.name for path in programs) == [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubeadm",
        "kubectl",
        "kubelet",
    ]
    assert get_programs(tmp_path, url, checksum).changed == []


def test_another_archive_than_the_pinned_one_is_refused(url: str, tmp_path: Path) -> None:
    run = get_programs(tmp_path, url, "sha256:" + 64 * "0")
    assert run.status != 0
    assert "checksum" in run.output
    assert not list(tmp_path.glob("programs/kubernetes-1.*/kubelet"))
