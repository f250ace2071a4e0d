"""Volcano beside the training operator: its own proof, its second run, and what it leaves behind."""

from __future__ import annotations

from .conftest import Run, kubectl, playbook

TAGS = ("--tags", "volcano")


def test_volcano_proves_itself_and_leaves_nothing(stack: Run) -> None:
    checked = playbook("playbooks/ai.yaml", *TAGS, "--check")
    assert checked.status == 0
    assert "volcano.sh" not in kubectl("get", "crds", "-o", "name")
    first = playbook("playbooks/ai.yaml", *TAGS)
    assert first.status == 0
    assert first.changed
    again = playbook("playbooks/ai.yaml", *TAGS)
    assert (again.status, again.changed) == (0, [])
    assert playbook("playbooks/remove.yaml", *TAGS).status == 0
    left = kubectl(
        "get",
        "crds,validatingwebhookconfigurations,mutatingwebhookconfigurations,clusterroles,priorityclasses",
        "-o",
        "name",
    )
    assert "volcano" not in left
