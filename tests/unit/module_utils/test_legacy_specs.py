from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import OPERATOR_KINDS, TFJOB, InvalidJobError
from ansible_collections.mlstack.kubernetes.plugins.module_utils.legacy_specs import (
    GROUP_NAME,
    OLD_VERSIONS,
    convert_documents,
    convert_volcano_jobs,
    refuse_plain_cluster,
    to_v1,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.validator import problems_of, validate
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volcano_specs import VOLCANO_JOB
from hypothesis import given
from hypothesis import strategies as st

from .builders import FIXTURES, manifest, tf_params
from .strategies import aged, anything, jobs, mutated

MASTER = """
apiVersion: tensorflow.org/v1alpha1
kind: TfJob
metadata: {name: digits, uid: 1-2-3, resourceVersion: "7"}
spec:
  RuntimeId: ab12
  tfImage: tensorflow:1.3
  schedulerName: kube-batch
  tensorboard: {logDir: /logs}
  terminationPolicy: {chief: {replicaName: MASTER, replicaIndex: 0}}
  cleanupPodPolicy: CleanRunning
  replica_specs:
    - tf_port: 3333
      template:
        metadata: {annotations: {scheduling.k8s.io/group-name: digits}}
        spec:
          restartPolicy: OnFailure
          containers:
            - name: tensorflow
              resources: {limits: {alpha.kubernetes.io/nvidia-gpu: 1}}
    - replicas: 2
      tfReplicaType: PS
      tfPort: 2222
      template:
        spec:
          containers: [{name: tensorflow, image: "ps:1"}]
status: {state: Running}
"""

MASTER_NOW = """
apiVersion: kubeflow.org/v1
kind: TFJob
metadata: {name: digits}
spec:
  runPolicy: {cleanPodPolicy: Running}
  tfReplicaSpecs:
    Chief:
      restartPolicy: OnFailure
      template:
        metadata: {}
        spec:
          schedulerName: volcano
          containers:
            - name: tensorflow
              image: tensorflow:1.3
              ports: [{name: tfjob-port, containerPort: 3333}]
              resources: {limits: {nvidia.com/gpu: 1}}
    PS:
      replicas: 2
      restartPolicy: Always
      template:
        spec:
          schedulerName: volcano
          containers: [{name: tensorflow, image: "ps:1"}]
"""

PYTORCH = """
apiVersion: kubeflow.org/v1alpha1
kind: PyTorchJob
metadata: {name: ddp}
spec:
  backend: tcp
  masterPort: "29500"
  replicaSpecs:
    - replicaType: MASTER
      template:
        spec:
          restartPolicy: OnFailure
          containers: [{name: pytorch, image: "t:1"}, {name: shipper, image: "s:1"}]
    - replicas: 3
      ReplicaType: WORKER
      template: {spec: {containers: [{name: pytorch, image: "t:1"}]}}
"""

PYTORCH_NOW = """
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: ddp}
spec:
  pytorchReplicaSpecs:
    Master:
      replicas: 1
      restartPolicy: OnFailure
      template:
        spec:
          containers:
            - {name: pytorch, image: "t:1", ports: [{name: pytorchjob-port, containerPort: 29500}]}
            - {name: shipper, image: "s:1"}
    Worker:
      replicas: 3
      restartPolicy: Always
      template: {spec: {containers: [{name: pytorch, image: "t:1"}]}}
"""


def converted(text: str) -> tuple[Any, str]:
    job, warnings = to_v1(yaml.safe_load(text))
    return job, "\n".join(warnings)


def refused(document: Any) -> str:
    with pytest.raises(InvalidJobError) as caught:
        to_v1(document)
    return str(caught.value)


def test_converts_the_first_tensorflow_jobs() -> None:
    job, warnings = converted(MASTER)
    assert job == yaml.safe_load(MASTER_NOW)
    validate(TFJOB, job)
    for said in (
        "apiVersion: 'tensorflow.org/v1alpha1' became kubeflow.org/v1.",
        "kind: 'TfJob' became TFJob.",
        "metadata.resourceVersion, metadata.uid, status: left out",
        "spec.replicaSpecs[0]: MASTER became the role Chief, which TF_CONFIG calls chief, not master.",
        "spec.replicaSpecs[0].tfPort: became the port tfjob-port of the container tensorflow.",
        "spec.replicaSpecs[1].tfPort: left out, as 2222 is the port anyway.",
        "spec.runtimeId: left out",
        "spec.tfImage: became the image of Chief.",
        "spec.tensorboard: left out: a job has no TensorBoard; run one by itself on '/logs'.",
        "spec.terminationPolicy: left out, as the end of Chief is the job's end anyway.",
        "spec.schedulerName: 'kube-batch' moved into the pods of each role.",
        "spec.tfReplicaSpecs.PS.template.spec.schedulerName: 'kube-batch', which is no more, became volcano.",
        "spec.tfReplicaSpecs.Chief.template.metadata.annotations: scheduling.k8s.io/group-name left out",
        "spec.cleanupPodPolicy: is called cleanPodPolicy.",
        "spec.cleanPodPolicy: 'CleanRunning' is called 'Running'.",
        "spec.cleanPodPolicy: moved to spec.runPolicy.cleanPodPolicy.",
        "spec.tfReplicaSpecs.Chief.template.spec.restartPolicy: 'OnFailure' became restartPolicy OnFailure of Chief.",
        "spec.tfReplicaSpecs.PS.template.spec.restartPolicy: 'Always' became restartPolicy Always of PS.",
        "containers[0].resources.limits.alpha.kubernetes.io/nvidia-gpu: is called nvidia.com/gpu.",
    ):
        assert said in warnings


def test_converts_the_first_pytorch_jobs() -> None:
    job, warnings = converted(PYTORCH)
    assert job == yaml.safe_load(PYTORCH_NOW)
    validate(OPERATOR_KINDS["PyTorchJob"], job)
    for said in (
        "spec.backend: 'tcp' left out: the program names its backend to init_process_group",
        "spec.masterPort: became the port pytorchjob-port of the container pytorch.",
        "spec.pytorchReplicaSpecs.Master.replicas: written as 1, which is no default any more.",
    ):
        assert said in warnings


def test_converts_roles_in_a_mapping() -> None:
    job, warnings = converted(
        """
        apiVersion: kubeflow.org/v1alpha2
        kind: TFJob
        metadata: {name: digits}
        spec:
          ttlSecondsAfterFinished: 60
          backoffLimit: 2
          tfReplicaSpecs:
            MASTER: {template: {spec: {containers: [{name: main, image: "t:1"}]}}}
            worker: {template: {spec: {restartPolicy: OnFailure, containers: [{name: tensorflow, image: "t:1"}]}}}
            PS: {replicas: 0}
        """
    )
    assert job == yaml.safe_load(
        """
        apiVersion: kubeflow.org/v1
        kind: TFJob
        metadata: {name: digits}
        spec:
          runPolicy: {cleanPodPolicy: Running, ttlSecondsAfterFinished: 60, backoffLimit: 2}
          tfReplicaSpecs:
            Master: {template: {spec: {containers: [{name: tensorflow, image: "t:1"}]}}}
            Worker: {template: {spec: {containers: [{name: tensorflow, image: "t:1"}]}}}
        """
    )
    assert warnings.splitlines() == [
        "apiVersion: 'kubeflow.org/v1alpha2' became kubeflow.org/v1.",
        "spec.tfReplicaSpecs.MASTER: became Master.",
        "spec.tfReplicaSpecs.worker: became Worker.",
        "spec.tfReplicaSpecs.PS: left out, as it has 0 replicas, of which the operator would make 1.",
        "spec.tfReplicaSpecs.Master.template.spec.containers[0].name: 'main' became tensorflow, by which the operator "
        "knows it.",
        "spec.tfReplicaSpecs.Worker.template.spec.restartPolicy: 'OnFailure' left out: it was overridden by Never, "
        "which stays.",
        "spec.ttlSecondsAfterFinished: moved to spec.runPolicy.ttlSecondsAfterFinished.",
        "spec.backoffLimit: moved to spec.runPolicy.backoffLimit.",
        "spec.runPolicy.cleanPodPolicy: written as Running: unlike today, the operator ended by default what still "
        "ran.",
    ]


def test_names_ports() -> None:
    job = yaml.safe_load(PYTORCH) | {"apiVersion": "kubeflow.org/v1beta1"}
    ports = [{"containerPort": 23456}, {"containerPort": 8080}, {"containerPort": 9090, "name": "metrics"}]
    containers = [{"name": "pytorch", "image": "t:1", "ports": ports}, {"name": "shipper", "ports": [{"hostPort": 1}]}]
    job["spec"] = {"pytorchReplicaSpecs": {"Worker": {"template": {"spec": {"containers": containers}}}}}
    now, warnings = to_v1(job)
    found = now["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    assert [port["name"] for port in found[0]["ports"]] == ["pytorchjob-port", "port-8080", "metrics"]
    assert found[1] == containers[1]
    path = "spec.pytorchReplicaSpecs.Worker.template.spec.containers.ports"
    assert warnings[1:] == [
        f"{path}: 23456 is called pytorchjob-port, as every port needs a name.",
        f"{path}: 8080 is called port-8080, as every port needs a name.",
    ]


def test_converts_early_v1() -> None:
    job = manifest("pytorchjob-full")
    expected = copy.deepcopy(job)
    expected["spec"] |= {"runPolicy": {"backoffLimit": 3}, "nprocPerNode": "2"}
    del job["spec"]["pytorchReplicaSpecs"]["Master"]["replicas"]
    job["spec"] |= {"backoffLimit": 3, "nprocPerNode": 2}
    assert to_v1(job) == (
        expected,
        [
            "spec.backoffLimit: moved to spec.runPolicy.backoffLimit.",
            "spec.pytorchReplicaSpecs.Master.replicas: written as 1, which is no default any more.",
            'spec.nprocPerNode: 2 became "2", as the API takes text.',
        ],
    )


@pytest.mark.parametrize(
    ("policy", "roles", "said"),
    [
        ({"chief": {"replicaName": "WORKER", "replicaIndex": 0}}, ["WORKER", "PS"], "as the end of Worker is"),
        (
            {"chief": {"replicaName": "WORKER", "replicaIndex": 0}},
            ["MASTER", "WORKER"],
            "cannot be kept: it names WORKER 0",
        ),
        ({"chief": {"replicaName": "MASTER", "replicaIndex": 1}}, ["MASTER"], "the job will end with Chief, the first"),
        ({}, ["MASTER"], "as the end of Chief is the job's end anyway"),
    ],
)
def test_says_what_becomes_of_termination_policies(policy: Any, roles: list[str], said: str) -> None:
    job = yaml.safe_load(MASTER)
    template = job["spec"].pop("replica_specs")[0]["template"]
    job["spec"]["replicaSpecs"] = [{"tfReplicaType": role, "template": copy.deepcopy(template)} for role in roles]
    job["spec"]["terminationPolicy"] = policy
    assert said in "\n".join(to_v1(job)[1])


def listed(*entries: Any, **spec: Any) -> Any:
    return {"apiVersion": "kubeflow.org/v1alpha1", "kind": "TFJob", "spec": {"replicaSpecs": list(entries), **spec}}


TEMPLATE: Any = {"spec": {"containers": [{"name": "tensorflow", "image": "t:1"}]}}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], "manifest: [] is not a mapping"),
        ({"kind": "MPIJob"}, "kind: 'MPIJob' is no training job; give a TFJob or a PyTorchJob"),
        (
            {"kind": "TFJob", "apiVersion": "kubeflow.org/v2"},
            "'kubeflow.org/v2' is no version of a TFJob; write kubeflow",
        ),
        ({"kind": "PodGroup", "apiVersion": "v1"}, "'v1' is no PodGroup of kube-batch or Volcano"),
        (listed(tfReplicaSpecs={}), "spec.replicaSpecs: stands beside spec.tfReplicaSpecs, which says the same"),
        (listed() | {"spec": {"replicaSpecs": {}}}, "spec.replicaSpecs: {} is not a list"),
        (listed("PS"), "spec.replicaSpecs[0]: 'PS' is not a mapping"),
        (listed({"tfReplicaType": "BOSS"}), "'BOSS' is not a role of a TFJob; use one of CHIEF, MASTER, WORKER, PS"),
        (listed({"template": TEMPLATE}, {"template": TEMPLATE}), "spec.replicaSpecs[1]: is a second Chief"),
        (listed({"tfReplicaType": "PS"}), "spec.replicaSpecs[0].template: is missing, and the operator has no program"),
        (listed({"template": TEMPLATE, "tfPort": "http"}), "tfPort: 'http' is not a port"),
        (
            {"kind": "TFJob", "apiVersion": "kubeflow.org/v1beta1", "spec": {"tfReplicaSpecs": {"PS": {}, "ps": {}}}},
            "spec.tfReplicaSpecs.ps: stands beside PS, which is the same role; keep one",
        ),
        (
            manifest("tfjob-full") | {"spec": {**manifest("tfjob-full")["spec"], "backoffLimit": 9}},
            "spec.backoffLimit: 9 is not 2 of spec.runPolicy.backoffLimit; keep one of them",
        ),
    ],
)
def test_says_what_cannot_be_converted(document: Any, expected: str) -> None:
    assert expected in refused(document)


# -- files


GANG = """
apiVersion: scheduling.incubator.k8s.io/v1alpha1
kind: PodGroup
metadata: {name: gang}
spec: {minMember: 3, queue: fast, priorityClassName: high}
"""


def gang_member(name: str = "full", group: str | None = "gang") -> Any:
    job = manifest("tfjob-full")
    job["metadata"] = {"name": name}
    if group:
        for spec in job["spec"]["tfReplicaSpecs"].values():
            spec["template"]["metadata"] = {"annotations": {GROUP_NAME: group}}
            spec["template"]["spec"]["schedulerName"] = "kube-batch"
    return job


def test_converts_a_pod_group() -> None:
    group, warnings = converted(GANG)
    assert group == {**yaml.safe_load(GANG), "apiVersion": "scheduling.volcano.sh/v1beta1"}
    assert "became scheduling.volcano.sh/v1beta1" in warnings
    assert to_v1(group) == (group, [])


@pytest.mark.parametrize("job", [gang_member(), gang_member("gang", group=None)], ids=["annotated", "of its name"])
def test_a_pod_group_becomes_part_of_its_job(job: Any) -> None:
    (found,), warnings = convert_documents([yaml.safe_load(GANG), job])
    assert found["spec"]["runPolicy"]["schedulingPolicy"] == {
        "minAvailable": 3,
        "queue": "fast",
        "priorityClass": "high",
    }
    assert GROUP_NAME not in str(found)
    assert "kube-batch" not in str(found)
    assert warnings[-1] == (
        f"PodGroup/gang: became spec.runPolicy.schedulingPolicy of TFJob/{job['metadata']['name']} (minAvailable 3, "
        "queue fast, priorityClass high), of which the operator makes the PodGroup."
    )
    validate(TFJOB, found)
    assert convert_documents([found]) == ([found], [])


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([gang_member(group=None)], "PodGroup/gang: is the gang of no job here"),
        ([gang_member() | {"metadata": {"name": "a", "namespace": "other"}}], "is the gang of no job here"),
        ([gang_member("a"), gang_member("b")], "PodGroup/gang: is one gang of several jobs, TFJob/a, TFJob/b"),
    ],
)
def test_a_pod_group_needs_one_job(others: list[Any], expected: str) -> None:
    with pytest.raises(InvalidJobError, match=expected):
        convert_documents([yaml.safe_load(GANG), *others])


def test_a_pod_group_does_not_override() -> None:
    job = gang_member()
    job["spec"]["runPolicy"]["schedulingPolicy"] = {"queue": "slow"}
    with pytest.raises(InvalidJobError, match=r"'fast' is not 'slow' of spec\.runPolicy\.schedulingPolicy\.queue of"):
        convert_documents([yaml.safe_load(GANG), job])


def test_every_problem_of_a_file_is_told_with_its_document() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "board"}}
    with pytest.raises(InvalidJobError) as caught:
        convert_documents([service, {"kind": "TFJob", "apiVersion": "v7"}, None, "text", manifest("tfjob-full")])
    assert [problem.partition(" is ")[0] for problem in caught.value.problems] == [
        "Service/board:",
        "TFJob/None: apiVersion: 'v7'",
        "'text':",
    ]


def test_a_file_may_hold_several_jobs_and_lists() -> None:
    old = yaml.safe_load(MASTER)
    now, warnings = to_v1(old)
    full = manifest("tfjob-full")
    found, told = convert_documents([{"apiVersion": "v1", "kind": "List", "items": [old, full]}])
    assert found == [now, full]
    assert told == [f"TfJob/digits: {warning}" for warning in warnings]
    assert convert_documents([old]) == ([now], warnings)
    assert convert_documents([]) == ([], [])


def test_what_is_no_job_is_refused() -> None:
    with pytest.raises(InvalidJobError, match="Deployment/web: is no training job; give TFJobs and PyTorchJobs alone"):
        convert_documents([{"kind": "Deployment", "metadata": {"name": "web"}}])


# -- clusters built by hand


def plain_cluster() -> list[Any]:
    return list(yaml.safe_load_all((FIXTURES / "plain-cluster.yaml").read_text()))


def replacement(documents: list[Any]) -> Any:
    with pytest.raises(InvalidJobError) as caught:
        convert_documents(documents)
    message, _newline, text = str(caught.value).partition("\n")
    assert message.endswith("and run this TFJob instead:")
    job = yaml.safe_load(text)
    validate(TFJOB, job)
    return job


def test_a_plain_cluster_is_refused_with_the_job_for_it() -> None:
    documents = plain_cluster()
    before = copy.deepcopy(documents)
    assert replacement(documents) == manifest("plain-cluster-replaced")
    assert documents == before


def test_roles_are_known_by_names_too() -> None:
    documents = [
        {
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "lab"},
            "spec": {
                "replicas": replicas,
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"image": f"{name}:1"}]}},
            },
        }
        for name, labels, replicas in (("one", {"role": "ps"}, 8), ("cnn-worker", {}, 16), ("web", {}, 1))
    ]
    job = replacement(documents)
    assert job["metadata"] == {"name": "one", "namespace": "lab"}
    specs = job["spec"]["tfReplicaSpecs"]
    assert {role: spec["replicas"] for role, spec in specs.items()} == {"PS": 8, "Worker": 16}
    assert specs["PS"]["template"]["spec"]["containers"] == [{"image": "one:1", "name": "tensorflow"}]


def test_workers_alone_are_no_plain_cluster() -> None:
    refuse_plain_cluster([document for document in plain_cluster() if "ps" not in document["metadata"]["name"]])


def test_another_port_is_kept() -> None:
    documents = plain_cluster()
    for document in documents:
        for container in document["spec"]["template"]["spec"]["containers"] if "template" in str(document) else []:
            container["ports"] = [{"containerPort": 3333}]
    worker = replacement(documents)["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    assert worker["ports"] == [{"name": "tfjob-port", "containerPort": 3333}]
    assert "--ps_hosts=digits-ps-0:3333,digits-ps-1:3333" in worker["args"]


# -- whatever comes


@given(jobs())
def test_a_present_job_stays_as_it_is(job: Any) -> None:
    assert to_v1(job) == (job, [])


@given(jobs(), st.sampled_from(OLD_VERSIONS[:4]))
def test_an_aged_job_comes_back(job: Any, version: str) -> None:
    roles = job["spec"][OPERATOR_KINDS[job["kind"]].specs_field]
    if version.endswith("v1alpha1") and job["kind"] == "TFJob" and "Master" in roles:
        # By this name it is not known any more.
        job["spec"]["tfReplicaSpecs"] = {"Chief" if role == "Master" else role: spec for role, spec in roles.items()}
    old = aged(job, version)
    before = copy.deepcopy(old)
    now, warnings = to_v1(old)
    if job["kind"] == "TFJob":
        job["spec"].setdefault("runPolicy", {}).setdefault("cleanPodPolicy", "Running")
    assert now == job
    assert list(problems_of(OPERATOR_KINDS[job["kind"]], now)) == []
    assert warnings
    assert old == before
    assert to_v1(now) == (now, [])


@given(st.tuples(jobs(), st.sampled_from(OLD_VERSIONS)).map(lambda both: aged(*both)).flatmap(mutated))
def test_a_damaged_old_job_gives_no_error_but_ours(document: Any) -> None:
    try:
        job, _warnings = to_v1(document)
    except InvalidJobError as error:
        assert all(problem.endswith(".") for problem in error.problems)
    else:
        assert to_v1(job) == (job, [])
        list(problems_of(OPERATOR_KINDS.get(str(job["kind"]), TFJOB), job))


@given(st.lists(anything | jobs().flatmap(mutated) | st.sampled_from(plain_cluster()).flatmap(mutated), max_size=4))
def test_any_file_gives_jobs_or_our_error(documents: list[Any]) -> None:
    try:
        found, _warnings = convert_documents(documents)
    except InvalidJobError as error:
        assert all(error.problems)
    else:
        assert convert_documents(found) == (found, [])


@given(mutated(plain_cluster()))
def test_a_damaged_plain_cluster_is_refused_in_our_words(documents: Any) -> None:
    with pytest.raises(InvalidJobError):
        convert_documents(documents)


def test_a_present_job_as_the_server_shows_it_can_be_made_again() -> None:
    job = TFJOB.build(tf_params())
    shown = copy.deepcopy(job)
    shown["metadata"].update(uid="1-2-3", resourceVersion="7", creationTimestamp="2026-01-02T03:04:05Z", generation=1)
    shown["status"] = {"conditions": []}
    converted, warnings = to_v1(shown)
    assert converted == job
    assert len(warnings) == 1
    assert "status: left out, as only the server writes them." in warnings[0]


@pytest.mark.parametrize("version", ["kubeflow.org/v1", "kubeflow.org/v1beta2"])
def test_a_pull_policy_of_a_role_becomes_that_of_its_containers(version: str) -> None:
    job = {**TFJOB.build(tf_params(replicas={"worker": {"count": 1}})), "apiVersion": version}
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    worker["imagePullPolicy"] = "Always"
    worker["template"]["spec"]["containers"].append({"name": "sidecar", "image": "a", "imagePullPolicy": "Never"})
    converted, warnings = to_v1(job)
    now = converted["spec"]["tfReplicaSpecs"]["Worker"]
    assert "imagePullPolicy" not in now
    assert [one["imagePullPolicy"] for one in now["template"]["spec"]["containers"]] == ["Always", "Never"]
    assert "spec.tfReplicaSpecs.Worker.imagePullPolicy: 'Always' moved into its containers." in warnings


def test_a_volcano_job_of_kube_batch_goes_to_volcano() -> None:
    job = VOLCANO_JOB.build(tf_params(replicas={"worker": {}}))
    old = copy.deepcopy(job)
    old["spec"]["schedulerName"] = "kube-batch"
    old["spec"]["tasks"][0]["template"]["spec"]["schedulerName"] = "kube-batch"
    old["metadata"]["uid"] = "1-2-3"
    job["spec"]["schedulerName"] = job["spec"]["tasks"][0]["template"]["spec"]["schedulerName"] = "volcano"
    jobs, warnings = convert_volcano_jobs([{"kind": "List", "items": [old]}])
    assert jobs == [job]
    assert warnings == [
        "metadata.uid: left out, as only the server writes them.",
        "spec.schedulerName: 'kube-batch', which is no more, became volcano.",
        "spec.tasks[0].template.spec.schedulerName: 'kube-batch', which is no more, became volcano.",
    ]


@given(st.lists(anything, max_size=2))
def test_any_volcano_file_is_read(documents: list[Any]) -> None:
    convert_volcano_jobs(documents)
