"""What only Volcano does with a job: queues that let it in or not, restarts of the whole gang."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import wait_for
from .jobs import KINDS

VOLCANO = KINDS[2]
CPU = {"requests": {"cpu": "1"}}


@pytest.fixture
def queue(custom: Any) -> Iterator[str]:
    """A queue with room for three CPUs."""
    api = ("scheduling.volcano.sh", "v1beta1")
    name = f"mlstack-test-{uuid.uuid4().hex[:8]}"
    body = {
        "apiVersion": "/".join(api),
        "kind": "Queue",
        "metadata": {"name": name},
        "spec": {"capability": {"cpu": "3"}, "reclaimable": False},
    }
    custom.create_cluster_custom_object(*api, "queues", body)
    wait_for(
        lambda: custom.get_cluster_custom_object(*api, "queues", name).get("status", {}).get("state") == "Open",
    )
    yield name
    # It can be deleted once its last job has gone.
    wait_for(lambda: _is_deleted(custom, api, name))


def _is_deleted(custom: Any, api: tuple[str, str], name: str) -> bool:
    custom.patch_cluster_custom_object(*api, "queues", name, {"status": {"state": "Closed"}})
    try:
        custom.delete_cluster_custom_object(*api, "queues", name)
    except Exception as error:
        # The webhook refuses it for now.
        assert getattr(error, "status", None) in (400, 403, 404, 409), error
        return getattr(error, "status", None) == 404
    return True


def in_queue(queue: str) -> dict[str, Any]:
    return {"resources": CPU, "run_policy": {"scheduling_policy": {"queue": queue}}}


def test_a_gang_waits_for_room_in_its_queue(namespace: str, queue: str, start: Any, kubelet: Any) -> None:
    start(VOLCANO.task("first", namespace, wait=False, **in_queue(queue))).finish()
    kubelet.wait_until_running("first", 3)
    late, impatient, large, gone, gone_too = start(
        {**VOLCANO.task("late", namespace, wait_timeout=6, **in_queue(queue)), "ignore_errors": True},
        {
            **VOLCANO.task("impatient", namespace, wait_timeout=60, grace_for={"NotEnqueued": 3}, **in_queue(queue)),
            "ignore_errors": True,
        },
        {
            **VOLCANO.task("large", namespace, replicas={"worker": {"count": 4}}, **in_queue(queue)),
            "ignore_errors": True,
        },
        VOLCANO.removal("late", namespace),
        VOLCANO.removal("first", namespace),
    ).finish()
    assert "has not finished within 6 seconds" in late["msg"]
    assert late["diagnosis"]["pod_group"]["phase"] == "Pending"
    assert f"queue {queue} (Open); has given out cpu 3" in late["msg"]
    assert "What to do: All pods of the gang must fit at once" in late["msg"]
    assert f"NotEnqueued: the queue {queue} has not let it in" in impatient["msg"]
    assert "It was deleted again." in impatient["msg"]
    assert f"spec.queue: '{queue}' never gives out more than 3 of cpu" in large["msg"]
    assert gone["changed"]
    assert gone_too["changed"]


def test_a_failed_pod_restarts_the_whole_gang(namespace: str, start: Any, kubelet: Any) -> None:
    playbook = start(VOLCANO.task("again", namespace, wait_timeout=90, run_policy={"backoff_limit": 1}))
    kubelet.wait_until_running("again", 3)
    first = {pod.metadata.uid for pod in kubelet.pods("again").values()}
    kubelet.end("again-worker-1", 1)
    wait_for(
        lambda: len(uids := {pod.metadata.uid for pod in kubelet.pods("again").values()}) == 3 and not uids & first
    )
    kubelet.wait_until_running("again", 3)
    kubelet.end("again-worker-0", 1)
    (task,) = playbook.finish()
    assert task.failed
    assert task["state"] == "Failed"
    assert "VolcanoJob" in task["msg"]
    assert task["diagnosis"]["causes"][0]["exit_code"] == 1


def test_is_not_made_suspended(namespace: str, start: Any, custom: Any) -> None:
    (task,) = start(VOLCANO.task("later", namespace, state="suspended")).finish()
    assert "can only be suspended once it is there" in task["msg"]
    assert custom.list_namespaced_custom_object(*VOLCANO.api, namespace, VOLCANO.plural)["items"] == []
