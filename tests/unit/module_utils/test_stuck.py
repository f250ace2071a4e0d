from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import PYTORCHJOB, TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.stuck import (
    Patience,
    Stuck,
    find_stuck,
    has_come_to_images,
)

from .builders import ended, event, pod, running, tf_job, waiting
from .fake_api import FakeApi, unreachable


def found(pods: list[Any], events: list[Any] = []) -> list[tuple[str, str]]:  # noqa: B006
    troubles = find_stuck(
        TFJOB, tf_job(replicas={"chief": {}}), {item["metadata"]["name"]: item for item in pods}, events
    )
    return [(trouble.subject, trouble.reason) for trouble in troubles]


@pytest.mark.parametrize(
    "reason",
    ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "RunContainerError"],
)
def test_sees_waiting_reasons(reason: str) -> None:
    assert found([pod("mnist-chief-0", waiting(reason))]) == [("mnist-chief-0", reason)]


def test_sees_init_containers() -> None:
    status = {"initContainerStatuses": [{"name": "init-pytorch", "state": waiting("ImagePullBackOff")}]}
    assert found([pod("mnist-chief-0", status=status)]) == [("mnist-chief-0", "ImagePullBackOff")]


@pytest.mark.parametrize(("restarts", "lost"), [(1, []), (5, [("mnist-chief-0", "CrashLoopBackOff")])])
def test_a_crash_loop_needs_some_crashes(restarts: int, lost: list[Any]) -> None:
    assert found([pod("mnist-chief-0", waiting("CrashLoopBackOff"), restarts=restarts)]) == lost


def test_a_worker_that_does_not_find_a_running_master() -> None:
    params = {"name": "mnist", "image": "trainer:1", "replicas": {"master": {}, "worker": {}}}
    job = {**PYTORCHJOB.build(params)}
    init = {"initContainerStatuses": [{"name": "init-pytorch", "state": running()}]}
    worker = pod("mnist-worker-0", phase="Pending", status=init)
    master = pod("mnist-master-0")
    master["status"]["containerStatuses"] = [{"name": "pytorch", "state": running()}]
    pods = {"mnist-worker-0": worker}
    assert list(find_stuck(PYTORCHJOB, job, pods, [])) == []
    pods["mnist-master-0"] = master
    (trouble,) = find_stuck(PYTORCHJOB, job, pods, [])
    assert (trouble.subject, trouble.reason) == ("mnist-worker-0", "InitContainerWaiting")
    patience = Patience(grace=1)
    assert patience.lost_with([trouble], 0) == patience.lost_with([trouble], 119) == []
    assert patience.lost_with([trouble], 120) == [trouble]


def test_grace_by_reason() -> None:
    trouble = Stuck("mnist-chief-0", "ErrImagePull", "")
    patience = Patience(grace=1, grace_for={"ErrImagePull": 60})
    assert patience.lost_with([trouble], 0) == patience.lost_with([trouble], 59) == []
    assert patience.lost_with([trouble], 60) == [trouble]


def test_sees_what_cannot_be_scheduled() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    assert found([pod("mnist-chief-0", phase="Pending", status={"conditions": [condition]})]) == [
        ("mnist-chief-0", "Unschedulable")
    ]


def test_sees_mount_failures_until_the_container_starts() -> None:
    failure = event("FailedMount", "no such volume", "pod-mnist-chief-0")
    assert found([pod("mnist-chief-0", waiting("ContainerCreating"))], [failure]) == [("mnist-chief-0", "FailedMount")]
    assert found([pod("mnist-chief-0", running())], [failure]) == []


def test_a_mount_that_failed_at_first_is_no_trouble_any_more() -> None:
    """Its event stays for an hour, be it that the image is pulled for long or that there is none."""
    failure = event("FailedMount", "failed to sync configmap cache", "pod-mnist-chief-0")
    condition = {"type": "PodReadyToStartContainers", "status": "True"}
    pulling = pod("mnist-chief-0", waiting("ContainerCreating"), phase="Pending")
    pulling["status"]["conditions"] = [condition]
    assert found([pulling], [failure]) == []
    condition["status"] = "False"
    assert found([pulling], [failure]) == [("mnist-chief-0", "FailedMount")]
    no_image = pod("mnist-chief-0", waiting("ErrImagePull"), phase="Pending")
    assert found([no_image], [failure]) == [("mnist-chief-0", "ErrImagePull")]
    init = {"initContainerStatuses": [{"name": "prepare", "state": running()}]}
    assert found([pod("mnist-chief-0", waiting("PodInitializing"), status=init)], [failure]) == []


def test_sees_refused_pods_until_all_are_there() -> None:
    refusal = event("FailedCreatePod", "forbidden", "uid-1", name="mnist")
    assert found([], [refusal]) == [("mnist", "FailedCreatePod")]
    assert found([pod("mnist-chief-0", running())], [refusal]) == []


def test_healthy_ended_and_vanishing_pods_are_not_stuck() -> None:
    assert found([pod("mnist-chief-0", running())]) == []
    assert found([pod("mnist-chief-0", ended(1), phase="Failed")]) == []
    leaving = pod("mnist-chief-0", waiting("ImagePullBackOff"), metadata={"deletionTimestamp": "now"})
    assert found([leaving]) == []


def test_patience_counts_from_the_first_sight() -> None:
    patience = Patience(10)
    pull, back_off = Stuck("p", "ErrImagePull", "m"), Stuck("p", "ImagePullBackOff", "m")
    assert patience.lost_with([pull], 100) == []
    # The kubelet alternates between the two.
    assert patience.lost_with([back_off], 105) == []
    assert patience.lost_with([pull], 110) == [pull]


def test_patience_starts_anew_after_a_good_moment() -> None:
    patience = Patience(10)
    trouble = Stuck("p", "CreateContainerError", "m")
    patience.lost_with([trouble], 100)
    patience.lost_with([], 105)
    assert patience.lost_with([trouble], 112) == []
    patience.renew(trouble, 120)
    assert patience.lost_with([trouble], 129) == []
    assert patience.lost_with([trouble], 130) == [trouble]


def test_a_bad_image_name_gets_no_grace() -> None:
    assert Patience(10).lost_with([Stuck("p", "InvalidImageName", "m")], 100)


@pytest.mark.parametrize("reason", ["FailedMount", "FailedAttachVolume", "CreateContainerConfigError"])
@pytest.mark.parametrize(("grace", "seconds"), [(0, 30), (45, 45)])
def test_what_the_kubelet_tries_again_is_borne_with(reason: str, grace: float, seconds: float) -> None:
    trouble = Stuck("p", reason, "no relationship found between node 'n' and this object")
    patience = Patience(grace)
    assert patience.lost_with([trouble], 0) == patience.lost_with([trouble], seconds - 1) == []
    assert patience.lost_with([trouble], seconds) == [trouble]
    wanted = Patience(grace, {reason: 3})
    wanted.lost_with([trouble], 0)
    assert wanted.lost_with([trouble], 3) == [trouble]


def test_a_server_that_pushes_back_says_nothing_of_volumes() -> None:
    api, events = FakeApi(), "/api/v1/namespaces/default/events"
    waits = pod("mnist-chief-0", waiting("ContainerCreating"), phase="Pending")
    api.failures[events] = [ApiError(429, "TooManyRequests", "too many requests"), unreachable()]
    assert has_come_to_images(api, waits) is None
    assert has_come_to_images(api, waits) is None
    assert has_come_to_images(api, waits) is False
    api.put(f"{events}/a", event("Pulled", "already present", waits["metadata"]["uid"]))
    assert has_come_to_images(api, waits) is True
