from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    PYTORCHJOB,
    SPEC_HASH,
    TFJOB,
    InvalidJobError,
    build,
    deciding_replicas,
    is_unchanged,
    replicas_of,
    spec_hash,
    validate,
    wanted_job,
    with_hash,
)

from .builders import tf_job, tf_params

FIXTURES = Path(__file__).parent / "fixtures"


def problems_of(kind: Any, job: Any, **how: Any) -> str:
    with pytest.raises(InvalidJobError) as caught:
        validate(kind, job, **how)
    return "\n".join(caught.value.problems)


def manifest(name: str) -> Any:
    return yaml.safe_load((FIXTURES / f"{name}.yaml").read_text())


def test_builds_the_whole_manifest() -> None:
    params = {
        "name": "mnist",
        "namespace": "research",
        "image": "registry.example.com:5000/team/trainer:1.0",
        "command": ["python3", "train.py"],
        "args": ["--epochs", "3"],
        "env": {"VERBOSE": True, "STEPS": 10, "TOKEN": {"valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}},
        "node_selector": {"gpu": "yes"},
        "image_pull_secrets": ["login"],
        "labels": {"team": "vision"},
        "replicas": {
            "chief": {"count": 1, "resources": {"requests": {"cpu": "250m"}}},
            "ps": {"count": 1, "command": ["python3", "ps.py"], "env": {"STEPS": 1}},
            "worker": {"count": 2, "restart_policy": "OnFailure"},
            "evaluator": None,
        },
        "volumes": [
            {"name": "work", "claim": "training", "mount_path": "/work"},
            {"name": "work", "claim": "training", "mount_path": "/logs", "sub_path": "logs"},
            {"name": "code", "config_map": "my-code", "mount_path": "/code", "read_only": True},
            {"name": "shm", "empty_dir": {}, "mount_path": "/dev/shm"},
        ],
        "run_policy": {
            "clean_pod_policy": "Running",
            "backoff_limit": 0,
            "ttl_seconds_after_finished": None,
            "scheduling_policy": {"min_available": 4, "queue": None},
        },
        "success_policy": "AllWorkers",
    }
    job = build(TFJOB, params)
    assert job == manifest("tfjob-from-parameters")
    validate(TFJOB, job)


def test_builds_a_pytorch_job() -> None:
    job = build(
        PYTORCHJOB, {"name": "ddp", "image": "t:1", "nproc_per_node": "1", "replicas": {"master": {"count": 1}}}
    )
    assert job["spec"]["nprocPerNode"] == "1"
    assert job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"] == [
        {"name": "pytorch", "image": "t:1"}
    ]


@pytest.mark.parametrize("name", ["tfjob-full", "pytorchjob-full"])
def test_accepts_full_manifests(name: str) -> None:
    job = manifest(name)
    validate({"TFJob": TFJOB, "PyTorchJob": PYTORCHJOB}[job["kind"]], job)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"name": "Bad_Name"}, "name: 'Bad_Name' is not a DNS label"),
        ({"name": "1st"}, "name: '1st' is not a DNS label"),
        ({"name": None}, "name: is missing"),
        ({"name": "a" * 60}, "'" + "a" * 60 + "' is too long"),
        ({"namespace": "Not_One"}, "namespace: 'Not_One' is not a namespace"),
        ({"image": None}, "replicas.chief.image: is missing"),
        ({"image": "Trainer:1"}, "replicas.chief.image: 'Trainer:1' is not an image name"),
        ({"image": "trainer 1"}, "is not an image name"),
        ({"replicas": None}, "replicas: {} names no role"),
        ({"replicas": {"worker": {"count": 0}}}, "replicas.worker.count: 0 is less than 1"),
        ({"replicas": {"chief": {"count": 2}}}, "replicas.chief.count: 2 is too many"),
        ({"replicas": {"chief": {}, "master": {}}}, "two names for one role; keep Chief"),
        ({"replicas": {"ps": {"count": 1}}}, "has nobody whose end would end the job; add Chief or Worker"),
        (
            {"resources": {"requests": {"memory": "lots"}}},
            "replicas.chief.resources.requests.memory: 'lots' is not a quantity",
        ),
        (
            {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "500m"}}},
            "replicas.chief.resources.requests.cpu: 2 is above the limit '500m'",
        ),
        ({"resources": {"limits": {"cpu": "-1"}}}, "'-1' is negative"),
        (
            {"run_policy": {"scheduling_policy": {"min_available": 9}}},
            "min_available: 9 is more than the job's 4 replicas",
        ),
        ({"run_policy": {"active_deadline_seconds": 0}}, "run_policy.active_deadline_seconds: 0 is not a whole number"),
        ({"env": [{"value": "1"}]}, "each needs a `name`"),
        ({"env": "A=1"}, "env: 'A=1' is neither"),
    ],
)
def test_names_parameter_value_and_cure(params: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidJobError) as caught:
        wanted_job(TFJOB, tf_params(**params), None)
    assert expected in str(caught.value)


def edited(*path: Any, value: Any) -> Any:
    job = copy.deepcopy(manifest("tfjob-full"))
    *parents, last = path
    place = job
    for step in parents:
        place = place[step]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return job


ROLES = ("spec", "tfReplicaSpecs")


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (edited("kind", value="PyTorchJob"), "kind: 'PyTorchJob' is not TFJob"),
        (edited("apiVersion", value="kubeflow.org/v1beta2"), "apiVersion: 'kubeflow.org/v1beta2' is not served"),
        (edited("spec", value=None), "spec.tfReplicaSpecs: None names no role"),
        (edited("spec", value=["nonsense"]), "names no role"),
        (edited(*ROLES, "worker", value={}), "'worker' is not a role of a TFJob; write Worker"),
        (edited(*ROLES, "Boss", value={}), "'Boss' is not a role of a TFJob; use one of Chief"),
        (edited(*ROLES, "Worker", value=[]), "spec.tfReplicaSpecs.Worker: [] is not a mapping"),
        (edited(*ROLES, "Worker", "replicas", value="2"), "'2' is not a whole number"),
        (edited(*ROLES, "Worker", "replicas", value=True), "True is not a whole number"),
        (edited(*ROLES, "Worker", "restartPolicy", value="Sometimes"), "'Sometimes' is not a restart policy"),
        (edited(*ROLES, "Worker", "template", value=None), "containers: is empty; give one container named tensorflow"),
        (
            edited(*ROLES, "Worker", "template", "spec", "containers", 0, "name", value="main"),
            "'main, sidecar' has none named tensorflow",
        ),
        (edited("spec", "runPolicy", "cleanPodPolicy", value="Some"), "cleanPodPolicy: 'Some' is unknown"),
        (edited("spec", "runPolicy", value="fast"), "spec.runPolicy: 'fast' is not a mapping"),
        (edited("spec", "runPolicy", "backoffLimit", value=-1), "backoffLimit: -1 is not a whole number from 0"),
    ],
)
def test_names_field_value_and_cure(job: Any, expected: str) -> None:
    assert expected in problems_of(TFJOB, job)


def test_pytorch_master_needs_its_count() -> None:
    job = manifest("pytorchjob-full")
    del job["spec"]["pytorchReplicaSpecs"]["Master"]["replicas"]
    assert "Master.replicas: is missing, and the operator has no default for Master; write 1" in problems_of(
        PYTORCHJOB, job
    )


@pytest.mark.parametrize("value", ["auto", "gpu", 2, "2"])
def test_accepts_processes_per_node(value: object) -> None:
    job = manifest("pytorchjob-full")
    job["spec"]["nprocPerNode"] = value
    validate(PYTORCHJOB, job)


def test_refuses_odd_processes_per_node() -> None:
    job = manifest("pytorchjob-full")
    job["spec"]["nprocPerNode"] = "many"
    assert "spec.nprocPerNode: 'many' is not a number of processes" in problems_of(PYTORCHJOB, job)


def test_a_name_just_short_enough_is_accepted() -> None:
    # "-worker-1" has nine characters
    wanted_job(TFJOB, tf_params(name="a" * 54, replicas={"worker": {"count": 2}}), None)
    with pytest.raises(InvalidJobError, match="shorten it by 1"):
        wanted_job(TFJOB, tf_params(name="a" * 55, replicas={"worker": {"count": 2}}), None)


# -- sources


def test_a_definition_is_taken_as_it_is() -> None:
    given = manifest("tfjob-full")
    job = wanted_job(TFJOB, {"definition": given}, [given])
    assert job == given
    assert job is not given


@pytest.mark.parametrize(
    ("params", "documents", "expected"),
    [
        ({"image": "x:1", "src": "job.yaml"}, [{}], "image: cannot go with `src`"),
        ({"definition": "", "labels": {"a": "b"}}, [{}], "labels: cannot go with `definition`"),
        ({"src": "job.yaml"}, [{}, {}], "src: holds 2 documents; give one TFJob"),
        ({"src": "job.yaml"}, [], "src: holds 0 documents"),
        ({"src": "job.yaml"}, ["text"], "is not a mapping"),
        ({"src": "job.yaml", "name": "other"}, [{"metadata": {"name": "this"}}], "'other' is not metadata.name 'this'"),
        ({"src": "job.yaml"}, [{"metadata": []}], "metadata: [] is not a mapping"),
        ({"src": "job.yaml"}, [{}], "kind: None is not TFJob"),
    ],
)
def test_exactly_one_source(params: dict[str, Any], documents: list[Any], expected: str) -> None:
    with pytest.raises(InvalidJobError) as caught:
        wanted_job(TFJOB, params, documents)
    assert expected in str(caught.value)


def test_name_and_namespace_complete_a_definition() -> None:
    given = manifest("tfjob-full")
    del given["metadata"]["name"], given["metadata"]["namespace"]
    job = wanted_job(TFJOB, {"definition": given, "name": "other"}, [given])
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("other", "default")


# -- replicas


def test_lists_replicas() -> None:
    assert [replica.pod for replica in replicas_of(TFJOB, tf_job())] == [
        "mnist-chief-0",
        "mnist-worker-0",
        "mnist-worker-1",
        "mnist-ps-0",
    ]


@pytest.mark.parametrize(
    ("replicas", "more", "deciding"),
    [
        ({"chief": {}, "worker": {"count": 2}}, {}, ["chief-0"]),
        ({"ps": {}, "worker": {"count": 2}}, {}, ["worker-0"]),
        ({"worker": {"count": 2}}, {"success_policy": "AllWorkers"}, ["worker-0", "worker-1"]),
    ],
)
def test_knows_who_decides(replicas: Any, more: Any, deciding: list[str]) -> None:
    job = tf_job(replicas=replicas, **more)
    assert [replica.name for replica in deciding_replicas(TFJOB, job)] == deciding


def test_all_pytorch_workers_decide_without_a_master() -> None:
    job = build(PYTORCHJOB, {"name": "ddp", "image": "t:1", "replicas": {"worker": {"count": 2}}})
    assert [replica.name for replica in deciding_replicas(PYTORCHJOB, job)] == ["worker-0", "worker-1"]


# -- comparing


def live_copy(job: Any) -> Any:
    """What the API server makes of a job."""
    live = copy.deepcopy(with_hash(job))
    live["metadata"].update(uid="u", generation=1)
    live["spec"].setdefault("runPolicy", {})["suspend"] = False
    live["status"] = {"conditions": []}
    return live


def test_the_same_job_is_unchanged() -> None:
    job = build(TFJOB, tf_params())
    assert is_unchanged(live_copy(job), job)


def test_a_null_is_as_good_as_nothing() -> None:
    job = build(TFJOB, tf_params())
    job["spec"]["runPolicy"] = {"ttlSecondsAfterFinished": None, "suspend": False}
    assert is_unchanged(live_copy(job), job)


@pytest.mark.parametrize(
    "params",
    [
        {"image": "other:1"},
        {"env": {"A": 1}},
        {"labels": {"a": "b"}},
        {"replicas": {"chief": {}, "worker": {"count": 3}}},
    ],
)
def test_a_change_is_seen(params: dict[str, Any]) -> None:
    assert not is_unchanged(live_copy(build(TFJOB, tf_params())), build(TFJOB, tf_params(**params)))


def test_what_was_left_out_is_seen() -> None:
    before, after = build(TFJOB, tf_params(working_dir="/x")), build(TFJOB, tf_params())
    assert not is_unchanged(live_copy(before), after)


def test_an_edit_in_the_cluster_is_seen() -> None:
    job = build(TFJOB, tf_params())
    live = live_copy(job)
    live["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] = 5
    assert not is_unchanged(live, job)


def test_a_job_without_a_hash_is_compared() -> None:
    job = build(TFJOB, tf_params())
    live = live_copy(job)
    del live["metadata"]["annotations"][SPEC_HASH]
    assert is_unchanged(live, job)
    live["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] = 5
    assert not is_unchanged(live, job)


def test_the_hash_does_not_hang_on_order_or_status() -> None:
    job = build(TFJOB, tf_params())
    turned = {key: job[key] for key in reversed(job)}
    turned["status"] = {"conditions": []}
    assert spec_hash(turned) == spec_hash(job) == spec_hash(with_hash(job))
