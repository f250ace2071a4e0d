from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json, UnreachableError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.preflight import (
    Findings,
    Preflight,
)

from .builders import tf_job
from .fake_api import FakeApi, unreachable

NAMESPACE = "/api/v1/namespaces/default"
CLAIM = f"{NAMESPACE}/persistentvolumeclaims/training"
STORAGE = [{"name": "work", "claim": "training", "mount_path": "/work"}]
NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
OPERATOR = f"{PODS}/training-operator"
QUEUES = "/apis/scheduling.volcano.sh/v1beta1/queues"
DEVICE_CLASSES = "/apis/resource.k8s.io/v1/deviceclasses"
GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}


def job_with(pod: dict[str, Any] | None = None, **params: Any) -> Json:
    """A job of a chief and a worker; `pod` goes into the pods as it is."""
    job = tf_job(**{"replicas": {"chief": {}, "worker": {}}, **params})
    for spec in job["spec"]["tfReplicaSpecs"].values():
        spec["template"]["spec"].update(pod or {})
    return job


def check(api: FakeApi, pod: dict[str, Any] | None = None, **params: Any) -> Findings:
    return Preflight(api).check(TFJOB, job_with(pod, **params))


def only(texts: list[str]) -> str:
    (text,) = texts
    return text


def put_node(api: FakeApi, name: str = "n", cpu: str = "4", **extra: Any) -> None:
    metadata = {"name": name, "labels": extra.pop("labels", {})}
    spec = extra.pop("spec", {})
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "110", **extra}
    api.put(f"{NODES}/{name}", {"metadata": metadata, "spec": spec, "status": {"allocatable": allocatable}})


def put_pod(api: FakeApi, cpu: str, node: str = "n", **extra: Any) -> None:
    metadata = {"name": "busy", "namespace": "default", "labels": extra.pop("labels", {})}
    spec = {"nodeName": node, "containers": [{"resources": {"requests": {"cpu": cpu}}}], **extra}
    api.put(f"{PODS}/busy", {"metadata": metadata, "spec": spec})


def put_claim(api: FakeApi, phase: str = "Bound", mode: str = "ReadWriteMany", **extra: Any) -> None:
    spec = {"accessModes": [mode], **extra.pop("spec", {})}
    api.put(CLAIM, {"metadata": {"name": "training", **extra}, "spec": spec, "status": {"phase": phase}})


def put_secret(api: FakeApi, name: str, *keys: str, kind: str = "Opaque") -> None:
    data = dict.fromkeys(keys, "c2VjcmV0")
    api.put(f"{NAMESPACE}/secrets/{name}", {"metadata": {"name": name}, "type": kind, "data": data})


def test_a_job_that_needs_nothing_has_nothing_amiss() -> None:
    assert check(FakeApi()) == Findings([], [])
    assert Preflight(FakeApi()).check(TFJOB, job_with()).problems == []


# -- the ground


def test_a_namespace_that_is_not_there_is_all_that_is_told() -> None:
    job = job_with(volumes=STORAGE)
    job["metadata"]["namespace"] = "nowhere"
    found = Preflight(FakeApi()).check(TFJOB, job)
    assert found.problems == ["namespace: 'nowhere' does not exist; create it or correct the name."]


def test_a_namespace_that_is_going() -> None:
    api = FakeApi()
    api.put(NAMESPACE, {"metadata": {"name": "default", "deletionTimestamp": "now"}})
    assert "is being deleted" in only(check(api).problems)


def test_a_kind_that_is_not_served() -> None:
    api = FakeApi()
    api.standing["/apis/kubeflow.org/v1"]["resources"].pop(0)
    assert "does not serve TFJob (kubeflow.org/v1)" in only(check(api).problems)
    api.unserved.add("/apis/kubeflow.org")
    assert "does not serve TFJob (kubeflow.org/v1)" in only(check(api).problems)


def test_an_operator_that_does_not_run() -> None:
    api = FakeApi()
    api.standing[OPERATOR]["status"] = {}
    assert "not ready (pod training-operator)" in only(check(api).warnings)
    del api.standing[OPERATOR]
    assert "No pod of the training operator is to be seen" in only(check(api).warnings)
    api.failures[PODS] = [ApiError(403, "Forbidden", "may not")]
    assert check(api) == Findings([], [])


# -- references


def test_names_every_missing_object_once() -> None:
    volumes = [
        *STORAGE,
        {"name": "code", "config_map": "code", "mount_path": "/code"},
        {"name": "key", "secret": "key", "mount_path": "/key"},
    ]
    env = {"TOKEN": {"valueFrom": {"secretKeyRef": {"name": "token", "key": "k"}}}}
    api = FakeApi()
    api.put(f"{NAMESPACE}/configmaps/code", {"metadata": {"name": "code"}})
    ending = "does not exist in namespace 'default'; create it or correct the name."
    assert check(api, volumes=volumes, env=env).problems == [
        f"PersistentVolumeClaim 'training', which Chief, Worker refer to (volumes[0].persistentVolumeClaim), {ending}",
        f"Secret 'key', which Chief, Worker refer to (volumes[2].secret), {ending}",
        f"Secret 'token', which Chief, Worker refer to (containers[0].env[0].valueFrom.secretKeyRef), {ending}",
    ]


PROJECTED = {"name": "all", "projected": {"sources": [{"secret": {"name": "key"}}, {"configMap": {"name": "code"}}]}}


@pytest.mark.parametrize(
    ("pod", "noun"),
    [
        ({"volumes": [PROJECTED]}, "Secret 'key'"),
        ({"volumes": [PROJECTED]}, "ConfigMap 'code'"),
        ({"volumes": [{"csi": {"nodePublishSecretRef": {"name": "key"}}}]}, "Secret 'key'"),
        ({"initContainers": [{"envFrom": [{"configMapRef": {"name": "code"}}]}]}, "ConfigMap 'code'"),
        ({"initContainers": [{"envFrom": [{"secretRef": {"name": "key"}}]}]}, "Secret 'key'"),
        ({"serviceAccountName": "trainer"}, "ServiceAccount 'trainer'"),
        ({"runtimeClassName": "nvidia"}, "RuntimeClass 'nvidia'"),
        ({"priorityClassName": "high"}, "PriorityClass 'high'"),
    ],
)
def test_everything_that_a_pod_needs_must_be_there(pod: dict[str, Any], noun: str) -> None:
    told = [text for text in check(FakeApi(), pod).problems if noun in text]
    assert "does not exist" in only(told)


def test_what_is_optional_or_comes_by_itself_may_be_missing() -> None:
    env = {"TOKEN": {"valueFrom": {"secretKeyRef": {"name": "token", "key": "k", "optional": True}}}}
    assert check(FakeApi(), {"serviceAccountName": "default"}, env=env) == Findings([], [])


def test_a_missing_key_is_told_without_any_value() -> None:
    api = FakeApi()
    put_secret(api, "token", "user", "password")
    env = {"TOKEN": {"valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}}}
    problem = only(check(api, env=env).problems)
    assert "has no key 'token' (it has password, user)" in problem
    assert "c2VjcmV0" not in problem
    put_secret(api, "token", "token")
    assert check(api, env=env).problems == []
    items = {"volumes": [{"name": "c", "configMap": {"name": "code", "items": [{"key": "train.py"}]}}]}
    api.put(f"{NAMESPACE}/configmaps/code", {"metadata": {"name": "code"}})
    assert "has no key 'train.py' (it is empty)" in only(check(api, items).problems)
    api.put(f"{NAMESPACE}/configmaps/code", {"metadata": {"name": "code"}, "binaryData": {"train.py": ""}})
    assert check(api, items).problems == []


def test_a_pull_secret_is_not_indispensable() -> None:
    api = FakeApi()
    found = check(api, image_pull_secrets=["registry"])
    assert found.problems == []
    assert "Secret 'registry', which Chief, Worker refer to (imagePullSecrets[0])" in only(found.warnings)
    put_secret(api, "registry")
    assert "has the type 'Opaque'" in only(check(api, image_pull_secrets=["registry"]).warnings)
    put_secret(api, "registry", kind="kubernetes.io/dockerconfigjson")
    assert check(api, image_pull_secrets=["registry"]).warnings == []


def test_what_may_not_be_asked_is_passed_over() -> None:
    class Mute(FakeApi):
        def get(self, path: str, query: Any = None) -> Json:
            self.calls.append(("get", path))
            raise ApiError(403, "Forbidden", "may not")

        def create(self, path: str, body: Json, dry_run: bool = False) -> Json:
            raise ApiError(403, "Forbidden", 'User "x" cannot create resource "pods" in API group ""')

    api = Mute()
    policy = {"scheduling_policy": {"queue": "research", "priority_class": "high"}}
    pod = {"schedulerName": "volcano", "runtimeClassName": "nvidia"}
    assert check(api, pod, volumes=STORAGE, run_policy=policy, **GPU) == Findings([], [])
    assert CLAIM in [path for _verb, path in api.calls]


def test_a_server_that_fails_is_not_an_answer() -> None:
    api = FakeApi()
    put_claim(api)
    preflight = Preflight(api)
    for error in (ApiError(503, "ServiceUnavailable", "starting"), unreachable()):
        api.failures[CLAIM] = [error]
        with pytest.raises((ApiError, UnreachableError)):
            preflight.check(TFJOB, job_with(volumes=STORAGE))
    assert preflight.check(TFJOB, job_with(volumes=STORAGE)) == Findings([], [])


# -- claims


@pytest.mark.parametrize(
    ("claim", "problem", "warning"),
    [
        ({}, "", ""),
        ({"phase": "Lost"}, "has lost its volume", ""),
        ({"deletionTimestamp": "now"}, "is being deleted", ""),
        ({"phase": "Pending"}, "", "has no StorageClass"),
        ({"phase": "Pending", "spec": {"storageClassName": "lazy"}}, "", ""),
        ({"phase": "Pending", "spec": {"storageClassName": "eager"}}, "", "'eager' binds at once"),
        ({"phase": "Pending", "spec": {"storageClassName": "none"}}, "", "StorageClass 'none' does not exist"),
        ({"mode": "ReadWriteOnce"}, "", "2 replicas need it: those on other nodes would not start"),
        ({"mode": "ReadWriteOncePod"}, "one pod at a time", ""),
    ],
)
def test_claims(claim: dict[str, Any], problem: str, warning: str) -> None:
    api = FakeApi()
    for name, mode in (("lazy", "WaitForFirstConsumer"), ("eager", "Immediate")):
        path = f"/apis/storage.k8s.io/v1/storageclasses/{name}"
        api.put(path, {"metadata": {"name": name}, "volumeBindingMode": mode})
    put_claim(api, **claim)
    found = check(api, volumes=STORAGE)
    for texts, wanted in ((found.problems, problem), (found.warnings, warning)):
        assert len(texts) == bool(wanted)
        assert all(wanted in text and "PersistentVolumeClaim 'training'" in text for text in texts)


def test_one_node_or_one_replica_may_share_a_claim_of_one_node() -> None:
    api = FakeApi()
    put_claim(api, mode="ReadWriteOnce")
    assert check(api, volumes=STORAGE, replicas={"chief": {}}).warnings == []
    put_node(api)
    assert check(api, volumes=STORAGE).warnings == []
    put_node(api, "m")
    assert len(check(api, volumes=STORAGE).warnings) == 1


# -- admission


@pytest.mark.parametrize(
    ("error", "problems", "warnings"),
    [
        (ApiError(422, "Invalid", 'Pod "{name}" is invalid: spec.containers[0].env[0].name'), 1, 0),
        (ApiError(403, "Forbidden", 'pods "{name}" is forbidden: violates PodSecurity "restricted:latest"'), 1, 0),
        (ApiError(403, "Forbidden", 'pods "{name}" is forbidden: exceeded quota: small'), 0, 1),
        (ApiError(403, "Forbidden", 'User "x" cannot create resource "pods" in API group ""'), 0, 0),
        (ApiError(403, "Forbidden", 'error looking up service account: serviceaccount "default" not found'), 0, 0),
        (ApiError(400, "BadRequest", 'admission webhook "x" does not support dry run'), 0, 0),
        (ApiError(409, "AlreadyExists", "already exists"), 0, 0),
        (ApiError(503, "ServiceUnavailable", "starting"), 0, 0),
    ],
)
def test_pods_are_tried(error: ApiError, problems: int, warnings: int) -> None:
    tried = []

    def refuse(path: str, body: Json) -> None:
        tried.append(path)
        raise ApiError(error.status, error.reason, error.message.format(name=body["metadata"]["name"]))

    api = FakeApi()
    api.on_dry_run = refuse
    found = check(api)
    assert set(tried) == {f"{NAMESPACE}/pods"}
    assert (len(found.problems), len(found.warnings)) == (problems, warnings)
    for text in found.problems + found.warnings:
        assert "Chief, Worker: " in text or "Chief, Worker have" in text
        # Under the name that the pod would have.
        assert error.message.format(name="mnist-chief-0") in text
    assert api.writes == []


def test_a_pod_without_its_objects_is_not_tried() -> None:
    api = FakeApi()
    api.on_dry_run = lambda path, body: pytest.fail("tried")
    assert len(check(api, volumes=STORAGE).problems) == 1


def test_a_trial_that_failed_for_a_moment_is_made_again() -> None:
    api = FakeApi()
    errors = [ApiError(503, "ServiceUnavailable", "starting")] * 2

    def refuse(path: str, body: Json) -> None:
        raise errors.pop() if errors else ApiError(422, "Invalid", "no such field")

    api.on_dry_run = refuse
    preflight = Preflight(api)
    assert preflight.check(TFJOB, job_with()).problems == []
    assert "no such field" in only(preflight.check(TFJOB, job_with()).problems)


# -- queues and schedulers


@pytest.fixture
def volcano() -> FakeApi:
    api = FakeApi()
    api.unserved.discard("/apis/scheduling.volcano.sh")
    api.standing["/apis/scheduling.volcano.sh/v1beta1"] = {"resources": [{"name": "queues"}]}
    capability = {"cpu": "4", "nvidia.com/gpu": 2}
    for name, state in (("open", "Open"), ("closed", "Closed"), ("closing", "Closing"), ("odd", "Unknown")):
        queue = {"metadata": {"name": name}, "spec": {"capability": capability}, "status": {"state": state}}
        api.put(f"{QUEUES}/{name}", queue)
    api.put(f"{QUEUES}/new", {"metadata": {"name": "new"}, "spec": {}})
    return api


def in_queue(name: str, **policy: Any) -> dict[str, Any]:
    return {"run_policy": {"scheduling_policy": {"queue": name, **policy}}}


def cpus(number: int) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": number}}}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (in_queue("open"), ""),
        (in_queue("new"), ""),
        (in_queue("none"), "'none' does not exist; create the Queue"),
        (in_queue("closed"), "is Closed and takes no jobs"),
        (in_queue("closing"), "is Closing and takes no jobs"),
        (in_queue("odd"), "is Unknown and takes no jobs"),
        ({**in_queue("open"), **cpus(2)}, ""),
        ({**in_queue("open"), **cpus(3)}, "never gives out more than 4 of cpu (capability), and its replicas together"),
        ({**in_queue("new"), **cpus(300)}, ""),
        # The job says itself that fewer will do.
        ({**in_queue("open", min_available=1), **cpus(3)}, ""),
        (in_queue("open", min_resources={"nvidia.com/gpu": 3}), "and spec.runPolicy.schedulingPolicy.minResources ask"),
        (in_queue("open", min_resources={"memory": "1Ti"}), ""),
    ],
)
def test_queues(volcano: FakeApi, params: dict[str, Any], words: str) -> None:
    found = check(volcano, **params)
    assert found.warnings == []
    assert len(found.problems) == bool(words)
    assert all(text.startswith("spec.runPolicy.schedulingPolicy.queue: ") for text in found.problems)
    assert all(words in text for text in found.problems)


def test_a_queue_without_volcano_has_no_effect() -> None:
    found = check(FakeApi(), **in_queue("open"))
    assert found.problems == []
    assert "'open' has no effect, as the cluster has no Volcano" in only(found.warnings)


def test_a_priority_in_the_queue_that_is_not_there(volcano: FakeApi) -> None:
    found = check(volcano, **in_queue("open", priority_class="high"))
    assert found.problems == []
    assert "priorityClass: 'high' does not exist" in only(found.warnings)


BY_VOLCANO = {"schedulerName": "volcano"}


def test_a_scheduler_that_is_not_there(volcano: FakeApi) -> None:
    assert "Chief, Worker: schedulerName 'volcano'" in only(check(FakeApi(), BY_VOLCANO).problems)
    assert check(FakeApi(), {"schedulerName": "other"}) == Findings([], [])
    assert check(volcano, BY_VOLCANO) == Findings([], [])


def test_another_scheduler_may_go_by_that_name() -> None:
    api = FakeApi()
    put_pod(api, "1", schedulerName="volcano")
    assert check(api, BY_VOLCANO) == Findings([], [])
    # One that waits for it proves nothing.
    put_pod(api, "1", node="", schedulerName="volcano")
    assert len(check(api, BY_VOLCANO).problems) == 1
    api.put("/apis/coordination.k8s.io/v1/leases/volcano", {"metadata": {"name": "volcano"}})
    assert check(api, BY_VOLCANO) == Findings([], [])


def test_who_cannot_see_pods_is_only_warned_of_it() -> None:
    api = FakeApi()
    api.failures[PODS] = [ApiError(403, "Forbidden", "may not")]
    found = check(api, BY_VOLCANO)
    assert found.problems == []
    assert "not there" in only(found.warnings)


# -- room


def test_a_job_that_no_node_could_ever_hold_is_refused_with_a_table() -> None:
    api = FakeApi()
    put_node(api)
    put_node(api, "m", cpu="8")
    put_pod(api, "3")
    found = check(api, replicas={"chief": cpus(1), "worker": {"count": 3, **cpus(6)}})
    assert found.warnings == []
    assert only(found.problems).split("\n") == [
        "The nodes, even empty, cannot hold the job: the nodes have places for 1 of the 3 replicas of Worker.",
        "    role    resource  wanted  largest node  all nodes  free now",
        "    Chief   cpu       1 x 1   8             12         9, at most 8 on one node",
        "    Worker  cpu       3 x 6   8             12         9, at most 8 on one node",
        "Lower the requests or the number of replicas, let the pods go to more nodes, or add nodes. "
        "On a cluster that gets nodes on demand, switch these checks off with `preflight: false`.",
    ]


def test_a_job_that_fits_when_others_have_ended_is_only_warned_of() -> None:
    api = FakeApi()
    put_node(api)
    assert check(api, **cpus(2)) == Findings([], [])
    put_pod(api, "3")
    found = check(api, **cpus(2))
    assert found.problems == []
    assert "no node takes a replica of Chief, Worker (1 node: too little cpu)" in only(found.warnings)
    assert "1, at most 1 on one node" in only(found.warnings)


def test_the_pods_of_the_job_that_is_replaced_make_room() -> None:
    api = FakeApi()
    put_node(api)
    put_pod(api, "3", labels={"training.kubeflow.org/job-name": "mnist"})
    assert check(api, **cpus(2)) == Findings([], [])
    put_pod(api, "3", labels={"training.kubeflow.org/job-name": "other"})
    assert len(check(api, **cpus(2)).warnings) == 1


def test_a_node_that_is_not_ready_has_nothing_free_now() -> None:
    api = FakeApi()
    put_node(api, spec={"unschedulable": True})
    found = check(api, **cpus(2))
    assert found.problems == []
    assert "some will wait" in only(found.warnings)


@pytest.mark.parametrize(
    ("pod", "spec"),
    [
        ({}, {"runPolicy": {"suspend": True}}),
        ({}, {"runPolicy": {"schedulingPolicy": {"minAvailable": 1}}}),
        ({}, {"elasticPolicy": {"minReplicas": 1}}),
        ({"schedulerName": "my-scheduler"}, {}),
    ],
)
def test_what_is_not_certain_is_a_warning(pod: dict[str, Any], spec: dict[str, Any]) -> None:
    api = FakeApi()
    put_node(api)
    job = job_with(pod, **cpus(3))
    job["spec"].update(spec)
    found = Preflight(api).check(TFJOB, job)
    assert found.problems == []
    assert "places for 1 of the 2 replicas" in only(found.warnings)


def test_each_replica_of_a_flexible_job_must_fit_all_the_same() -> None:
    api = FakeApi()
    put_node(api)
    job = job_with(**cpus(5))
    job["spec"]["elasticPolicy"] = {"minReplicas": 1}
    assert "no node takes a replica" in only(Preflight(api).check(TFJOB, job).problems)


def test_what_admission_adds_counts() -> None:
    class Mutating(FakeApi):
        def create(self, path: str, body: Json, dry_run: bool = False) -> Json:
            body["spec"]["overhead"] = {"cpu": "2"}
            body["spec"]["tolerations"] = [{"key": "gpu", "operator": "Exists"}]
            return body

    api = Mutating()
    put_node(api, cpu="7", spec={"taints": [{"key": "gpu", "effect": "NoSchedule"}]})
    assert check(api, **cpus(1)).problems == []
    assert "places for 1 of the 2 replicas" in only(check(api, **cpus(2)).problems)


def test_gpus() -> None:
    api = FakeApi()
    put_node(api)
    assert "(1 node: no nvidia.com/gpu)" in only(check(api, **GPU).problems)
    put_node(api, **{"nvidia.com/gpu.shared": "8"})
    assert "No node offers nvidia.com/gpu, but there is nvidia.com/gpu.shared" in only(check(api, **GPU).problems)
    put_node(api, **{"nvidia.com/gpu": "8"})
    assert check(api, **GPU) == Findings([], [])


def test_a_taint_for_gpus_may_be_tolerated_by_admission() -> None:
    api = FakeApi()
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    put_node(api, spec={"taints": [taint]}, **{"nvidia.com/gpu": "8"})
    assert "taint nvidia.com/gpu=present:NoSchedule is not tolerated" in only(check(api, **GPU).problems)

    def may_not(path: str, body: Json) -> None:
        raise ApiError(403, "Forbidden", 'User "x" cannot create resource "pods" in API group ""')

    api.on_dry_run = may_not
    assert check(api, **GPU) == Findings([], [])


def test_gpus_that_a_driver_allocates_are_counted_by_no_node() -> None:
    api = FakeApi()
    put_node(api)
    by_class = {"resources": {"limits": {"deviceclass.resource.kubernetes.io/gpu": 1}}}
    assert check(api, **by_class) == Findings([], [])
    api.unserved.discard("/apis/resource.k8s.io")
    api.standing["/apis/resource.k8s.io/v1"] = {"resources": []}
    api.put(f"{DEVICE_CLASSES}/gpu", {"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "nvidia.com/gpu"}})
    assert check(api, **GPU) == Findings([], [])
    # Whether it is so may not be asked.
    api.failures[DEVICE_CLASSES] = [ApiError(403, "Forbidden", "may not")]
    found = check(api, **GPU)
    assert found.problems == []
    assert "no nvidia.com/gpu" in only(found.warnings)
    # No driver allocates anything.
    api.unserved.add("/apis/resource.k8s.io/v1")
    api.unserved.discard("/apis/resource.k8s.io")
    assert len(check(api, **GPU).problems) == 1


# -- many jobs


def sweep(number: int) -> list[Json]:
    return [
        job_with(
            name=f"mnist-{index}",
            volumes=STORAGE,
            args=[f"--seed={index}"],
            command=["python", f"train{index}.py"],
            env={"SEED": str(index)},
            **cpus(2),
        )
        for index in range(number)
    ]


def crowded_api() -> tuple[FakeApi, list[str]]:
    """With a claim that is a problem for each of its jobs, and room for none at the moment."""
    api = FakeApi()
    put_claim(api, mode="ReadWriteOnce")
    for name in ("n", "m"):
        put_node(api, name, cpu="2")
    put_pod(api, "1")
    tried: list[str] = []
    api.on_dry_run = lambda path, body: tried.append(body["metadata"]["name"])
    return api, tried


EVERY_QUESTION_ONCE = Counter([NAMESPACE, "/apis/kubeflow.org/v1", PODS, CLAIM, NODES])


def test_five_hundred_jobs_ask_no_more_than_one() -> None:
    api, tried = crowded_api()
    preflight = Preflight(api)
    found = [preflight.check(TFJOB, job) for job in sweep(500)]
    assert Counter(path for _verb, path in api.calls) == EVERY_QUESTION_ONCE
    assert len(tried) == 1
    assert all(len(one.warnings) == 2 and not one.problems for one in found)


def test_many_threads_ask_no_more_than_one() -> None:
    api, tried = crowded_api()
    preflight = Preflight(api)
    jobs = sweep(60)
    alone = [Preflight(crowded_api()[0]).check(TFJOB, job) for job in jobs]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda job: preflight.check(TFJOB, job), jobs))
    assert together == alone
    assert Counter(path for _verb, path in api.calls) == EVERY_QUESTION_ONCE
    assert len(tried) == 1


def test_what_differs_is_tried_anew() -> None:
    api, tried = crowded_api()
    preflight = Preflight(api)
    for job in (job_with(), job_with(image="other:1"), job_with(env={"A": "1"}), job_with(env={"B": "1"})):
        preflight.check(TFJOB, job)
    assert len(set(tried)) == len(tried) == 4


def test_jobs_that_ask_for_different_room_get_different_answers() -> None:
    api = FakeApi()
    put_node(api, labels={"zone": "a"})
    preflight = Preflight(api)
    for params, fits in (
        (cpus(2), True),
        (cpus(3), False),
        ({**cpus(2), "node_selector": {"zone": "a"}}, True),
        ({**cpus(2), "node_selector": {"zone": "b"}}, False),
        ({**cpus(2), "replicas": {"chief": {}, "worker": {"count": 2}}}, False),
        ({**cpus(2), "image": "other:1"}, True),
    ):
        assert bool(preflight.check(TFJOB, job_with(**params)).problems) is not fits


def test_the_room_that_a_replaced_job_makes_is_not_for_others() -> None:
    api = FakeApi()
    put_node(api, cpu="4")
    put_pod(api, "3", labels={"training.kubeflow.org/job-name": "one"})
    preflight = Preflight(api)
    assert preflight.check(TFJOB, job_with(name="one", **cpus(2))) == Findings([], [])
    assert "some will wait" in only(preflight.check(TFJOB, job_with(name="two", **cpus(2))).warnings)


def test_a_job_like_one_that_is_fine_is_not_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    find = Preflight._findings

    def findings(self: Preflight, kind: Any, job: Json, roles: Any) -> Any:
        looked_at.append(job["metadata"]["name"])
        return find(self, kind, job, roles)

    monkeypatch.setattr(Preflight, "_findings", findings)
    api = FakeApi()
    put_node(api)
    preflight = Preflight(api)
    for number in range(3):
        job = job_with(name=f"job-{number}", args=["--seed", str(number)])
        assert preflight.check(TFJOB, job) == Findings([], [])
    preflight.check(TFJOB, job_with(name="other", image="other:1"))
    assert looked_at == ["job-0", "other"]


def test_a_refusal_speaks_of_each_jobs_own_pods() -> None:
    def refuse(path: str, body: Json) -> None:
        raise ApiError(422, "Invalid", f"Pod {body['metadata']['name']} is invalid")

    api = FakeApi()
    api.on_dry_run = refuse
    preflight = Preflight(api)
    for name in ("one", "two"):
        problem = only(preflight.check(TFJOB, job_with(name=name)).problems)
        assert f"Pod {name}-chief-0 is invalid" in problem
