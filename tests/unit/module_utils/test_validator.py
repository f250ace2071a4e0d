from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    OPERATOR_KINDS,
    PYTORCHJOB,
    TFJOB,
    InvalidJobError,
    JobKind,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.manifest_problems import (
    DOUBTS,
    EVALUATOR_WITH_PS,
    EXIT_CODE_WITH_BACKOFF_LIMIT,
    SUCCESS_POLICY_WITH_CHIEF,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.validator import problems_of, validate, wanted_job
from hypothesis import given
from hypothesis import strategies as st

from .builders import manifest, tf_params
from .strategies import anything, jobs, mutated, parameters


def told(kind: JobKind, job: Any, **how: Any) -> str:
    with pytest.raises(InvalidJobError) as caught:
        validate(kind, job, **how)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("name", ["tfjob-full", "pytorchjob-full"])
def test_accepts_full_manifests(name: str) -> None:
    job = manifest(name)
    validate(OPERATOR_KINDS[job["kind"]], job)


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


def edited(*path: Any, value: Any, of: str = "tfjob-full") -> Any:
    """A valid job with one thing changed."""
    job = copy.deepcopy(manifest(of))
    *parents, last = path
    place = job
    for step in parents:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
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
    assert expected in told(TFJOB, job)


POD = (*ROLES, "Worker", "template", "spec")
TRAINING = (*POD, "containers", 0)
RESOURCES = (*TRAINING, "resources")


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (None, "manifest: None is not a mapping; give a TFJob"),
        (edited("metadata", value=[]), "metadata: [] is not a mapping"),
        (edited("metadata", "name", value=5), "metadata.name: 5 is not a DNS label"),
        (edited("metadata", "labels", value={"team": 1}), "metadata.labels: 'team' has the value 1, which is not text"),
        (edited("metadata", "labels", value={"team": "a b"}), "'team' has the value 'a b', which is not a label's"),
        (edited("metadata", "labels", value={"-": "a"}), "metadata.labels: '-' is not a key"),
        (edited("metadata", "labels", value={"A.b/c/d": "a"}), "'A.b/c/d' is not a key; write a name, or domain/name"),
        (edited("metadata", "labels", value=["team"]), "metadata.labels: ['team'] is not a mapping"),
        (
            edited("metadata", "annotations", value={"a": None}),
            "annotations: 'a' has the value None, which is not text",
        ),
        (edited("metadata", "annotations", value={1: "a"}), "metadata.annotations: 1 is not a key"),
        (edited(*ROLES, "Worker", "replicas", value=2**40), "is not a whole number; write one from 1"),
        (edited(*ROLES, "Master", value={"replicas": 1}), "Master.template.spec.containers: is empty"),
        (edited(*ROLES, "Evaluator", value={}), "Evaluator: goes with PS into one cluster"),
        (
            edited(*ROLES, "Worker", "restartPolicy", value="Always"),
            "'Always' restarts training that has ended, so that",
        ),
        (edited(*ROLES, "Worker", "restartPolicy", value="ExitCode"), "whose restarts backoffLimit does not count"),
        (
            edited(*POD, "restartPolicy", value="Never"),
            "template.spec.restartPolicy: 'Never' is overridden by OnFailure, which holds for Worker; "
            "write it as spec.tfReplicaSpecs.Worker.restartPolicy",
        ),
        (edited("spec", "successPolicy", value="All"), "spec.successPolicy: 'All' is unknown; write AllWorkers"),
        (edited("spec", "ttlSecondsAfterFinished", value=1), "move it to spec.runPolicy.ttlSecondsAfterFinished"),
        (edited("spec", "backoffLimit", value=1), "spec.backoffLimit: belongs in runPolicy and has no effect here"),
        (edited("spec", "schedulingPolicy", value={}), "move it to spec.runPolicy.schedulingPolicy"),
        (edited("spec", "runPolicy", "suspend", value="yes"), "suspend: 'yes' is neither true nor false"),
        (edited("spec", "runPolicy", "managedBy", value="me"), "managedBy: 'me' is unknown; use one of kubeflow.org/"),
        (edited("spec", "runPolicy", "activeDeadlineSeconds", value=0), "0 is not a whole number from 1"),
        (edited("spec", "runPolicy", "ttlSecondsAfterFinished", value=1.5), "1.5 is not a whole number from 0"),
        (
            edited("spec", "runPolicy", "schedulingPolicy", value=7),
            "spec.runPolicy.schedulingPolicy: 7 is not a mapping",
        ),
        (edited("spec", "runPolicy", "schedulingPolicy", "queue", value=7), "schedulingPolicy.queue: 7 is not a name"),
        (edited("spec", "runPolicy", "schedulingPolicy", "minAvailable", value=0), "minAvailable: 0 is not a whole"),
        (
            edited("spec", "runPolicy", "schedulingPolicy", "minAvailable", value=4),
            "4 is more than the job's 3 replicas",
        ),
        (
            edited("spec", "runPolicy", "schedulingPolicy", "minResources", value={"cpu": "x"}),
            "schedulingPolicy.minResources.cpu: 'x' is not a quantity",
        ),
        (edited(*POD, "containers", value="one"), "containers: 'one' is not a list"),
        (edited(*POD, "containers", 1, value=[]), "containers[1]: [] is not a mapping"),
        (edited(*POD, "containers", 1, "name", value="tensorflow"), "'tensorflow' names several containers"),
        (edited(*POD, "containers", 1, "name", value="side_car"), "containers[1].name: 'side_car' is not a DNS label"),
        (
            edited(*POD, "initContainers", value=[{"name": "sidecar", "image": "a"}]),
            "'sidecar' names several containers",
        ),
        (edited(*POD, "initContainers", value=[{"name": "first"}]), "initContainers[0].image: is missing"),
        (
            edited(*POD, "nodeSelector", value={"gpu": True}),
            "nodeSelector: 'gpu' has the value True, which is not text",
        ),
        (edited(*TRAINING, "command", value="python train.py"), "command: 'python train.py' is not a list of texts"),
        (edited(*TRAINING, "args", value=["--steps", 3]), "args: ['--steps', 3] is not a list of texts"),
        (edited(*RESOURCES, value=[]), "containers[0].resources: [] is not a mapping"),
        (edited(*RESOURCES, "limits", value={"nvidia.com/gpu": 0.5}), "0.5 is not a whole number, and nvidia.com/gpu"),
        (
            edited(*RESOURCES, "requests", value={"nvidia.com/gpu": 2}),
            "2 is not the limit 1, and nvidia.com/gpu cannot",
        ),
        (edited(*RESOURCES, "requests", value={"amd.com/gpu": 1}), "1 is not the limit None, and amd.com/gpu cannot"),
        (
            edited(*RESOURCES, "requests", value={"memory": "512m"}),
            "resources.requests.memory: '512m' is thousandths of a byte; write 512Mi or 512Gi",
        ),
        (edited(*RESOURCES, "limits", value={"memory": 512}), "512 is less than 1 MiB; write 512Mi or 512Gi"),
        (edited(*RESOURCES, "limits", value={"gpu": 1}), "'gpu' is no resource that containers have"),
        (edited(*RESOURCES, "limits", value={"cpu": True}), "limits.cpu: True is not a quantity"),
        (edited(*RESOURCES, "limits", value={"cpu": "1e99999999999999999999"}), "is not a quantity"),
        (
            edited(*TRAINING, "ports", value=[{"name": "tfjob-port"}]),
            "ports[0].containerPort: None is not a whole number",
        ),
        (
            edited(*TRAINING, "ports", value=[{"containerPort": 70000, "name": "a"}]),
            "70000 is not a whole number from 1 to",
        ),
        (
            edited(*TRAINING, "ports", value=[{"containerPort": 80}]),
            "ports[0].name: is missing, without which the pod gets",
        ),
        (
            edited(*TRAINING, "ports", value=[{"containerPort": 80, "name": "The Port"}]),
            "'The Port' is not a port's name",
        ),
        (
            edited(*TRAINING, "ports", value=[{"containerPort": port, "name": "tfjob-port"} for port in (1, 2)]),
            "containers[0].ports: 'tfjob-port' names several ports",
        ),
        (
            edited(*TRAINING, "ports", value=[{"containerPort": 2222, "name": "grpc"}]),
            "ports: 2222 comes twice, where 2222 is tfjob-port unless you give one of that name",
        ),
        (edited(*TRAINING, "env", value={"A": "1"}), "env: {'A': '1'} is not a list"),
        (edited(*TRAINING, "env", value=[{"name": "A=B"}]), "env[0].name: 'A=B' is not a variable's name"),
        (
            edited(*TRAINING, "env", value=[{"name": "A", "value": 1}]),
            "env[0].value: 1 is not text; write it in quotes",
        ),
        (edited(*TRAINING, "env", value=[{"name": "A"}, {"name": "A"}]), "env: 'A' names several variables"),
        (
            edited(*TRAINING, "env", value=[{"name": "A", "value": "1", "valueFrom": {}}]),
            "has both value and valueFrom",
        ),
        (edited(*TRAINING, "env", value=[{"name": "TF_CONFIG", "value": "{}"}]), "'TF_CONFIG' is set by the operator"),
        (
            edited(*TRAINING, "volumeMounts", value=[{"name": "w", "mountPath": "/w"}]),
            "'w' is none of the pod's volumes",
        ),
        (edited(*POD, "volumes", value=[{"name": "w"}, {"name": "w"}]), "volumes: 'w' names several volumes"),
        (edited(*POD, "volumes", value=[{"name": "W"}]), "volumes[0].name: 'W' is not a DNS label"),
        (
            edited(*POD, "volumes", value=[{"name": "w", "emptyDir": {}, "secret": {"secretName": "s"}}]),
            "volumes[0]: has several sources, emptyDir, secret; keep one",
        ),
    ],
)
def test_finds_what_cannot_work(job: Any, expected: str) -> None:
    assert expected in told(TFJOB, job)


def mounted(*mounts: Any) -> Any:
    job = edited(*POD, "volumes", value=[{"name": "w", "emptyDir": {}}])
    job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "w", **mount} for mount in mounts
    ]
    return job


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (mounted({"mountPath": "work"}), "volumeMounts[0].mountPath: 'work' is not an absolute path"),
        (mounted({}), "volumeMounts[0].mountPath: None is not an absolute path"),
        (mounted({"mountPath": "/a"}, {"mountPath": "/a/"}), "'/a' names several mount paths"),
        (mounted({"mountPath": "/a", "subPath": "b/../../c"}), "subPath: 'b/../../c' is not a path inside the volume"),
    ],
)
def test_finds_mounts_that_cannot_work(job: Any, expected: str) -> None:
    assert expected in told(TFJOB, job)
    validate(TFJOB, mounted({"mountPath": "/a"}, {"mountPath": "/b", "subPath": "c"}))


def test_a_program_alone_may_have_its_own_tf_config() -> None:
    job = TFJOB.build({"name": "alone", "image": "t:1", "env": {"TF_CONFIG": "{}"}, "replicas": {"worker": {}}})
    validate(TFJOB, job)
    job["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] = 2
    assert "'TF_CONFIG' is set by the operator" in told(TFJOB, job)


def test_a_sidecar_may_have_its_own_tf_config() -> None:
    validate(TFJOB, edited(*POD, "containers", 1, "env", value=[{"name": "TF_CONFIG", "value": "{}"}]))


def test_counts_are_not_counted_through() -> None:
    job = edited(*ROLES, "Worker", "replicas", value=2 * 10**9)
    job["metadata"]["name"] = "a" * 45
    validate(TFJOB, job)
    job["metadata"]["name"] = "a" * 46
    assert "-worker-1999999999' would have 64 characters of at most 63; shorten it by 1" in told(TFJOB, job)


def test_success_policy_says_nothing_with_a_chief() -> None:
    params = tf_params(success_policy="AllWorkers")
    with pytest.raises(InvalidJobError, match="success_policy: 'AllWorkers' has no effect, as the end of Chief is"):
        wanted_job(TFJOB, params, None)
    wanted_job(TFJOB, {**params, "replicas": {"worker": {"count": 2}}}, None)


def test_parameter_servers_may_always_restart() -> None:
    validate(TFJOB, edited(*ROLES, "PS", "restartPolicy", value="Always"))


def test_exit_codes_go_without_a_limit() -> None:
    job = edited(*ROLES, "Worker", "restartPolicy", value="ExitCode")
    job["spec"]["runPolicy"]["backoffLimit"] = 0
    validate(TFJOB, job)


def test_a_pod_may_repeat_its_restart_policy() -> None:
    validate(TFJOB, edited(*POD, "restartPolicy", value="OnFailure"))


def test_one_parameter_has_one_problem() -> None:
    volume = {"name": "w", "empty_dir": {}, "mount_path": "relative"}
    with pytest.raises(InvalidJobError) as caught:
        wanted_job(TFJOB, tf_params(volumes=[volume]), None)
    assert caught.value.problems == ["volumes[0].mount_path: 'relative' is not an absolute path; begin it with `/`."]


# -- PyTorch


def elastic(workers: int, master: bool = False, **policy: Any) -> Any:
    job = edited("spec", "elasticPolicy", value=policy, of="pytorchjob-full")
    job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] = workers
    if not master:
        del job["spec"]["pytorchReplicaSpecs"]["Master"]
    return job


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (elastic(2, minReplicas=3, maxReplicas=2), "elasticPolicy.minReplicas: 3 is more than maxReplicas 2"),
        (elastic(2, minReplicas=3), "minReplicas: 3 is more than the job's 2 replicas, which would wait"),
        (elastic(4, minReplicas=1, maxReplicas=3), "maxReplicas: 3 is less than the job's 4 replicas, of which some"),
        (elastic(3, master=True, maxReplicas=3), "write at least 4, as the Master counts too"),
        (elastic(3, master=True, maxRestarts=1), "maxReplicas: 3 is less than the job's 4 replicas"),
        (elastic(2, minReplicas=0), "minReplicas: 0 is not a whole number from 1"),
        (elastic(2, maxRestarts=-1), "maxRestarts: -1 is not a whole number from 0"),
        (elastic(2, rdzvPort=0), "rdzvPort: 0 is not a whole number from 1 to 65535"),
        (elastic(2, rdzvBackend="zookeeper"), "rdzvBackend: 'zookeeper' is unknown; use one of c10d"),
        (elastic(2, rdzvConf=[]), "rdzvConf: is empty, at which the operator stumbles"),
        (
            edited("spec", "elasticPolicy", value="yes", of="pytorchjob-full"),
            "spec.elasticPolicy: 'yes' is not a mapping",
        ),
    ],
)
def test_finds_elastic_policies_that_cannot_work(job: Any, expected: str) -> None:
    assert expected in told(PYTORCHJOB, job)


@pytest.mark.parametrize(
    "job",
    [
        elastic(2, maxRestarts=3),
        elastic(2, minReplicas=1, maxReplicas=4, rdzvBackend="c10d"),
        elastic(3, master=True, minReplicas=1, maxReplicas=4),
        elastic(2, minReplicas=3, maxReplicas=5, metrics=[{"type": "Resource"}]),
        elastic(3, master=True, standalone=True),
    ],
)
def test_accepts_elastic_policies(job: Any) -> None:
    validate(PYTORCHJOB, job)


def test_elastic_jobs_need_workers() -> None:
    job = elastic(1, master=True, maxRestarts=1)
    del job["spec"]["pytorchReplicaSpecs"]["Worker"]
    assert "spec.elasticPolicy: needs the role Worker" in told(PYTORCHJOB, job)


@pytest.mark.parametrize("name", ["MASTER_ADDR", "RANK", "WORLD_SIZE", "PET_NNODES"])
def test_the_master_sets_the_addresses(name: str) -> None:
    params = {"name": "ddp", "image": "t:1", "env": {name: "1"}, "replicas": {"master": {}, "worker": {}}}
    assert f"replicas.worker.env[0].name: {name!r} is set by the operator" in told(
        PYTORCHJOB, PYTORCHJOB.build(params), from_parameters=True
    )


def test_workers_without_a_master_may_set_addresses() -> None:
    params = {"name": "ddp", "image": "t:1", "env": {"MASTER_ADDR": "db"}, "replicas": {"worker": {"count": 2}}}
    validate(PYTORCHJOB, PYTORCHJOB.build(params))


def test_pytorch_master_needs_its_count() -> None:
    job = manifest("pytorchjob-full")
    del job["spec"]["pytorchReplicaSpecs"]["Master"]["replicas"]
    assert "Master.replicas: is missing, and the operator has no default for Master; write 1" in told(PYTORCHJOB, job)


@pytest.mark.parametrize("value", ["auto", "cpu", "2"])
def test_accepts_processes_per_node(value: object) -> None:
    job = manifest("pytorchjob-full")
    job["spec"]["nprocPerNode"] = value
    validate(PYTORCHJOB, job)


def test_processes_per_node_are_text() -> None:
    job = edited("spec", "nprocPerNode", value=2, of="pytorchjob-full")
    assert 'spec.nprocPerNode: 2 is a number where the API takes text; write "2" in quotes' in told(PYTORCHJOB, job)


def test_processes_per_node_are_said_once() -> None:
    job = elastic(2, nProcPerNode=2)
    validate(PYTORCHJOB, job)
    job["spec"]["nprocPerNode"] = "2"
    assert "elasticPolicy.nProcPerNode: says the same as spec.nprocPerNode" in told(PYTORCHJOB, job)


def test_processes_on_gpus_need_gpus() -> None:
    gpus = {"resources": {"limits": {"nvidia.com/gpu": 2}}}
    params = {"name": "ddp", "image": "t:1", "nproc_per_node": "gpu", "replicas": {"master": gpus, "worker": {}}}
    message = told(PYTORCHJOB, PYTORCHJOB.build(params), from_parameters=True)
    assert message.startswith("replicas.worker: asks for no GPU, which nprocPerNode gpu needs")
    assert "replicas.master" not in message
    validate(PYTORCHJOB, PYTORCHJOB.build({**params, "replicas": {"master": gpus}}))


def test_refuses_odd_processes_per_node() -> None:
    job = manifest("pytorchjob-full")
    job["spec"]["nprocPerNode"] = "many"
    assert "spec.nprocPerNode: 'many' is not a number of processes" in told(PYTORCHJOB, job)


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


# -- whatever comes


@given(anything)
def test_anything_gives_problems_and_no_error(job: Any) -> None:
    for kind in OPERATOR_KINDS.values():
        assert list(problems_of(kind, job))


@given(st.sampled_from(list(OPERATOR_KINDS.values())), anything, anything)
def test_any_spec_gives_problems_and_no_error(kind: JobKind, metadata: Any, spec: Any) -> None:
    job = {"apiVersion": "kubeflow.org/v1", "kind": kind.kind, "metadata": metadata, "spec": spec}
    assert list(problems_of(kind, job))


@given(jobs().flatmap(mutated))
def test_a_damaged_job_gives_no_error(job: Any) -> None:
    kind = OPERATOR_KINDS.get(str(job.get("kind")), TFJOB) if isinstance(job, dict) else TFJOB
    before = copy.deepcopy(job)
    for path, text in problems_of(kind, job):
        assert path.strip(".") == path != ""
        assert text.endswith("."), "a sentence"
        assert len(text) < 600
    assert job == before


@given(st.data(), st.sampled_from(list(OPERATOR_KINDS.values())))
def test_what_is_built_from_parameters_is_valid(data: st.DataObject, kind: JobKind) -> None:
    params = data.draw(parameters(kind))
    job = wanted_job(kind, params, None)
    assert list(problems_of(kind, json.loads(json.dumps(job)))) == []
    assert wanted_job(kind, {"definition": job}, [job]) == job


WORKER = manifest("tfjob-full")["spec"]["tfReplicaSpecs"]["Worker"]
DOUBTFUL = {
    EVALUATOR_WITH_PS: (edited(*ROLES, "Evaluator", value=WORKER), "Evaluator"),
    SUCCESS_POLICY_WITH_CHIEF: (TFJOB.build(tf_params(success_policy="AllWorkers")), "spec.successPolicy"),
    EXIT_CODE_WITH_BACKOFF_LIMIT: (edited(*ROLES, "Worker", "restartPolicy", value="ExitCode"), "restartPolicy"),
}


def test_there_is_an_example_of_every_doubt() -> None:
    assert set(DOUBTFUL) == set(DOUBTS)


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_doubt_can_be_accepted(doubt: str) -> None:
    job, field = DOUBTFUL[doubt]
    warnings: list[str] = []
    with pytest.raises(InvalidJobError, match=rf"Where it is meant so, say `accept: \[{doubt}\]`\.") as caught:
        validate(TFJOB, job, accept=set(DOUBTS) - {doubt}, warn=warnings.append)
    assert (len(caught.value.problems), warnings) == (1, [])
    validate(TFJOB, job, accept=[doubt], warn=warnings.append)
    (warning,) = warnings
    assert field in warning
    assert "accept" not in warning


def test_what_cannot_work_is_refused_whatever_is_accepted() -> None:
    job = edited(*ROLES, "Worker", "replicas", value=0)
    with pytest.raises(InvalidJobError):
        validate(TFJOB, job, accept=DOUBTS)


def test_a_generated_name_is_none() -> None:
    job = edited("metadata", value={"generateName": "trainer-"})
    assert "metadata.name: is missing, and with generateName each run would make another job; give the" in told(
        TFJOB, job
    )
