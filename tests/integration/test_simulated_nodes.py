"""The nodes that tests and benchmarks run jobs on."""

from __future__ import annotations

import datetime

from kubernetes import client

from .conftest import wait_for


def test_they_say_that_they_are_alive(core: client.CoreV1Api) -> None:
    """Without a lease that is renewed Kubernetes takes them, and so their pods, for not ready, time and again."""
    names = {node.metadata.name for node in core.list_node(label_selector="type=kwok").items}
    assert names

    def renewed() -> bool:
        now = datetime.datetime.now(datetime.UTC)
        leases = client.CoordinationV1Api().list_namespaced_lease("kube-node-lease").items
        ages = {
            lease.metadata.name: (now - lease.spec.renew_time).total_seconds()
            for lease in leases
            if lease.metadata.name in names and lease.spec.renew_time
        }
        return set(ages) == names and max(ages.values()) < 40

    wait_for(renewed, 60)
