"""The proof of shared volumes: one that every node mounts, and one of NFS, for which these nodes have no client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import HOME, NODE, Run, kubectl, playbook

pytestmark = pytest.mark.extended

TAGS = ("playbooks/ai.yaml", "--tags", "nfs_storage")
OTHER_NODE = NODE.replace("-1", "-2")


def storage(**variables: Any) -> Run:
    variables = {f"nfs_storage_{name}": value for name, value in variables.items()}
    return playbook(*TAGS, "-e", json.dumps(variables))


def left() -> str:
    return kubectl("get", "pods,configmaps", "-A", "-l", "mlstack.kubernetes/proof=volume", "-o", "name")


def test_every_node_shares_the_volume_of_the_trainings(stack: Run) -> None:
    run = storage(mode="none", verify_claim="default/training")
    assert (run.status, run.changed) == (0, [])
    assert f"{NODE}: writes, " in run.words
    assert f"{OTHER_NODE}: reads" in run.words
    assert "mlstack-test-simulated-0 (simulated)" in run.words
    assert left() == ""
    volume = HOME / "local_cluster" / HOME.name / "volumes/training"
    assert list(volume.glob(".volume-proof-*")) == []


def test_a_user_who_may_not_write_is_told(stack: Run) -> None:
    volume = HOME / "local_cluster" / HOME.name / "volumes/training"
    mode = volume.stat().st_mode
    volume.chmod(0o755)
    try:
        run = storage(mode="none", verify_claim="default/training")
    finally:
        volume.chmod(mode)
    assert run.status != 0
    assert f"{NODE}: user 1000 cannot write: [Errno 13] Permission denied" in run.words
    assert left() == ""


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ("default/nothing", "the claim default/nothing does not exist"),
        ("default/hub-db-dir", "the claim default/hub-db-dir has the access modes ReadWriteOnce"),
    ],
)
def test_a_claim_that_cannot_be_shared_is_told(stack: Run, claim: str, message: str) -> None:
    run = storage(mode="none", verify_claim=claim)
    assert run.status != 0
    assert message in run.words


def test_static_volumes_of_nfs(stack: Run) -> None:
    claims = [{"name": "nfs-test", "size": "1Gi", "path": "test"}]
    # The address is reserved for documentation: nobody is there.
    server = {"server": "192.0.2.1", "share": "/srv", "claims": claims, "wait_timeout": 40}
    check = playbook(*TAGS, "--check", "--diff", "-e", json.dumps({f"nfs_storage_{k}": v for k, v in server.items()}))
    assert check.status == 0
    assert "nfs-test" not in kubectl("get", "persistentvolumeclaims", "-o", "name")
    try:
        run = storage(**server)
        assert run.status != 0
        assert "the volume cannot be mounted" in run.words
        claim = json.loads(kubectl("get", "persistentvolumeclaim/nfs-test", "-o", "json"))
        assert (claim["status"]["phase"], claim["spec"]["volumeName"]) == ("Bound", "nfs-default-nfs-test")
        volume = json.loads(kubectl("get", "persistentvolume/nfs-default-nfs-test", "-o", "json"))
        assert volume["spec"]["nfs"] == {"server": "192.0.2.1", "path": "/srv/test"}
        again = storage(**server)
        assert again.changed == []
        assert left() == ""
        # Claims with data stay, unless it is asked for.
        kept = playbook("playbooks/remove.yaml", "--tags", "nfs_storage")
        assert (kept.status, kept.changed) == (0, [])
    finally:
        removed = playbook("playbooks/remove.yaml", "--tags", "nfs_storage", "-e", "nfs_storage_delete_claims=true")
    assert removed.status == 0
    assert "nfs-test" not in kubectl("get", "persistentvolumeclaims,persistentvolumes", "-o", "name")
