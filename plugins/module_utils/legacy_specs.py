# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Jobs as they were written for earlier versions of the API, and what they are in the present one.

What a version left unsaid meant what its operator did by default; where that has changed since, it is written out.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    API_VERSION,
    OPERATOR_KINDS,
    PYTORCHJOB,
    RUN_POLICY_FIELDS,
    TFJOB,
    InvalidJobError,
    OperatorKind,
    as_dict,
    as_list,
    count_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import Json
from ansible_collections.mlstack.kubernetes.plugins.module_utils.volcano_specs import SCHEDULER

# The modules cannot read a manifest without it, and say so.
with contextlib.suppress(ImportError):
    import yaml

OLD_VERSIONS = (
    "kubeflow.org/v1beta2",
    "kubeflow.org/v1beta1",
    "kubeflow.org/v1alpha2",
    "kubeflow.org/v1alpha1",
    "tensorflow.org/v1alpha1",
    "mlkube.io/v1beta1",
)
KUBE_BATCH = "kube-batch"
RENAMED_SCHEDULER = f"{KUBE_BATCH!r}, which is no more, became {SCHEDULER}."
POD_GROUP_VERSION = "scheduling.volcano.sh/v1beta1"
# kube-batch's, before and after its move, and Volcano's own.
POD_GROUP_DOMAINS = ("scheduling.incubator.k8s.io", "scheduling.sigs.dev", "scheduling.volcano.sh")
GROUP_NAME = "scheduling.k8s.io/group-name"
OLD_GPU, GPU = "alpha.kubernetes.io/nvidia-gpu", "nvidia.com/gpu"
# What the API server writes into an object, and takes from nobody.
SERVER_FIELDS = (
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)
# PodGroup's fields, and their names in a job's schedulingPolicy.
GANG_FIELDS = {
    "minMember": "minAvailable",
    "queue": "queue",
    "priorityClassName": "priorityClass",
    "minResources": "minResources",
}
# Of what a cluster was built by hand.
CONTROLLERS = ("ReplicationController", "ReplicaSet", "Deployment", "StatefulSet", "Job", "Pod")
REPLICA_INDEX = "metadata.labels['training.kubeflow.org/replica-index']"


def to_v1(document: Json) -> tuple[Json, list[str]]:
    """The job (or PodGroup) in its present form, and a warning for each change; `document` itself stays as it is."""
    if not isinstance(document, dict):
        raise InvalidJobError([f"manifest: {document!r} is not a mapping; give a TFJob or a PyTorchJob."])
    if document.get("kind") == "PodGroup":
        return _pod_group_to_v1(document)
    kind = _kind_of(document)
    if kind is None:
        raise InvalidJobError([f"kind: {document.get('kind')!r} is no training job; give a TFJob or a PyTorchJob."])
    if document.get("apiVersion") not in (API_VERSION, *OLD_VERSIONS):
        raise InvalidJobError(
            [
                f"apiVersion: {document.get('apiVersion')!r} is no version of a {kind.kind}; write {API_VERSION}, or "
                f"one of {', '.join(OLD_VERSIONS)}, which are converted."
            ]
        )
    conversion = _Conversion(kind, copy.deepcopy(document))
    conversion.run()
    return conversion.job, conversion.warnings


def convert_documents(documents: list[Json]) -> tuple[list[Json], list[str]]:
    """The jobs that a file holds, in their present form, and the warnings of all of them."""
    documents = list(_flat(documents))
    if not any(_kind_of(document) for document in documents):
        refuse_plain_cluster(documents)
    jobs: list[tuple[Json, Json]] = []
    groups: list[Json] = []
    problems: list[str] = []
    warnings: list[str] = []
    for document in documents:
        title = f"{_title(document)}: " if len(documents) > 1 else ""
        if not _kind_of(document) and as_dict(document).get("kind") != "PodGroup":
            problems.append(f"{_title(document)}: is no training job; give TFJobs and PyTorchJobs alone.")
            continue
        try:
            converted, changes = to_v1(document)
        except InvalidJobError as error:
            problems += [title + problem for problem in error.problems]
            continue
        if converted["kind"] == "PodGroup":
            groups.append(converted)
        else:
            jobs.append((document, converted))
            warnings += [title + change for change in changes]
    for group in groups:
        try:
            warnings.append(_fold(group, jobs))
        except InvalidJobError as error:
            problems += error.problems
    if problems:
        raise InvalidJobError(problems)
    return [job for _document, job in jobs], warnings


def convert_volcano_jobs(documents: list[Any]) -> tuple[list[Any], list[str]]:
    """The documents that a file holds, with Jobs of Volcano in their present form, and a warning for each change.

    Volcano began as kube-batch's jobs, with the same API.
    """
    documents = copy.deepcopy(list(_flat(documents)))
    warnings: list[str] = []
    for document in documents:
        if not isinstance(document, dict):
            continue
        warnings += _drop_server_fields(document)
        spec = as_dict(document.get("spec"))
        tasks = [as_dict(as_dict(as_dict(task).get("template")).get("spec")) for task in as_list(spec.get("tasks"))]
        places = {"spec": spec, **{f"spec.tasks[{index}].template.spec": pod for index, pod in enumerate(tasks)}}
        for path, place in places.items():
            if place.get("schedulerName") == KUBE_BATCH:
                place["schedulerName"] = SCHEDULER
                warnings.append(f"{path}.schedulerName: {RENAMED_SCHEDULER}")
    return documents, warnings


def _drop_server_fields(document: Json) -> list[str]:
    metadata = as_dict(document.get("metadata"))
    found = [f"metadata.{field}" for field in SERVER_FIELDS if metadata.pop(field, None) is not None]
    if document.pop("status", None) is not None:
        found.append("status")
    return [f"{', '.join(found)}: left out, as only the server writes them."] if found else []


def _flat(documents: Iterable[Any]) -> Iterator[Any]:
    for document in documents:
        if isinstance(document, dict) and str(document.get("kind")).endswith("List"):
            yield from _flat(as_list(document.get("items")))
        elif document is not None:
            yield document


def _title(document: object) -> str:
    if not isinstance(document, dict):
        return repr(document)
    return f"{document.get('kind')}/{as_dict(document.get('metadata')).get('name')}"


def _kind_of(document: object) -> OperatorKind | None:
    # The first version wrote it TfJob.
    name = str(as_dict(document).get("kind")).lower()
    return next((kind for kind in OPERATOR_KINDS.values() if kind.kind.lower() == name), None)


# -- one job


class _Conversion:
    """Turns one job into its present form, step by step, and notes each change."""

    def __init__(self, kind: OperatorKind, job: Json) -> None:
        self.kind = kind
        self.job = job
        self.warnings: list[str] = []
        self._spec = as_dict(job.get("spec"))
        self._is_old = job["apiVersion"] != API_VERSION

    def run(self) -> None:
        if self._is_old:
            self._convert_head()
            listed = self._take("replicaSpecs")
            if listed is not None:
                self._convert_list(listed)
            self._convert_images()
            self._drop_fields()
            self._move_fields()
            self._convert_roles()
            self._convert_pods(were_in_force=listed is not None)
        self.warnings += _drop_server_fields(self.job)
        self._convert_pull_policies()
        self._convert_run_policy()
        self._convert_scheduler()
        self._convert_gpus()
        if self.kind is PYTORCHJOB:
            self._convert_pytorch()

    def _note(self, field: str, text: str) -> None:
        self.warnings.append(f"{field}: {text}")

    def _take(self, name: str, place: Json | None = None) -> Any:
        """The value of a field, which is taken away; old servers read names in any case, very old ones with `_`."""
        place = self._spec if place is None else place
        for key in list(place):
            if str(key).replace("_", "").lower() == name.lower():
                return place.pop(key)
        return None

    def _roles(self) -> dict[str, Json]:
        specs = as_dict(self._spec.get(self.kind.specs_field))
        return {role: spec for role, spec in specs.items() if isinstance(spec, dict)}

    def _leader(self) -> str | None:
        """The role whose end is the job's end."""
        return next((role for role in (*self.kind.leaders, "Worker") if role in self._roles()), None)

    def _pods(self) -> Iterator[tuple[str, str, Json]]:
        """(role, path of the pod, pod) of each role that has one."""
        for role, spec in self._roles().items():
            pod = as_dict(spec.get("template")).get("spec")
            if isinstance(pod, dict):
                yield role, f"spec.{self.kind.specs_field}.{role}.template.spec", pod

    def _convert_head(self) -> None:
        self._note("apiVersion", f"{self.job['apiVersion']!r} became {API_VERSION}.")
        self.job["apiVersion"] = API_VERSION
        if self.job["kind"] != self.kind.kind:
            self._note("kind", f"{self.job['kind']!r} became {self.kind.kind}.")
            self.job["kind"] = self.kind.kind

    # -- v1alpha1, which had the roles in a list

    def _convert_list(self, listed: object) -> None:
        path = f"spec.{self.kind.specs_field}"
        if self.kind.specs_field in self._spec:
            raise InvalidJobError([f"spec.replicaSpecs: stands beside {path}, which says the same; keep one of them."])
        if not isinstance(listed, list):
            raise InvalidJobError([f"spec.replicaSpecs: {listed!r} is not a list; give one entry for each role."])
        roles: Json = {}
        for index, entry in enumerate(listed):
            role, spec = self._convert_entry(entry, f"spec.replicaSpecs[{index}]")
            if role in roles:
                raise InvalidJobError(
                    [f"spec.replicaSpecs[{index}]: is a second {role}, and a role has one template; make one of both."]
                )
            roles[role] = spec
        self._spec[self.kind.specs_field] = roles
        if "Master" in roles:
            self._name_port(roles["Master"], self._take("masterPort"), "spec.masterPort")

    def _convert_entry(self, entry: object, path: str) -> tuple[str, Json]:
        if not isinstance(entry, dict):
            raise InvalidJobError([f"{path}: {entry!r} is not a mapping; give `replicas` and `template`."])
        spec = dict(entry)
        old = self._take("tfReplicaType", spec) or self._take("replicaType", spec) or "MASTER"
        role = self.kind.role_named(str(old))
        if role is None:
            names = ", ".join(name.upper() for name in self.kind.roles)
            raise InvalidJobError([f"{path}: {old!r} is not a role of a {self.kind.kind}; use one of {names}."])
        if role == "Master" and self.kind is TFJOB:
            # TensorFlow 2 knows no master.
            role = "Chief"
            self._note(path, f"{old} became the role Chief, which TF_CONFIG calls chief, not master.")
        else:
            self._note(path, f"{old} became the role {role}.")
        if not isinstance(spec.get("template"), dict):
            raise InvalidJobError(
                [
                    f"{path}.template: is missing, and the operator has no program of its own for {old} any more; "
                    "give a template whose container runs one."
                ]
            )
        if self._take("isDefaultPS", spec) is not None:
            self._note(f"{path}.isDefaultPS", "left out, as the operator has no parameter server of its own any more.")
        for name in ("tfPort", "masterPort"):
            self._name_port(spec, self._take(name, spec), f"{path}.{name}")
        return role, spec

    def _name_port(self, spec: Json, port: object, field: str) -> None:
        if port is None:
            return
        if not str(port).isdecimal():
            raise InvalidJobError([f"{field}: {port!r} is not a port; write a number from 1 to 65535."])
        if int(str(port)) == self.kind.port:
            self._note(field, f"left out, as {port} is the port anyway.")
            return
        number = int(str(port))
        for container in map(as_dict, as_list(as_dict(as_dict(spec.get("template")).get("spec")).get("containers"))):
            if container.get("name") == self.kind.container:
                others = [
                    entry for entry in as_list(container.get("ports")) if as_dict(entry).get("containerPort") != number
                ]
                container["ports"] = [*others, {"name": self.kind.port_name, "containerPort": number}]
        self._note(field, f"became the port {self.kind.port_name} of the container {self.kind.container}.")

    def _convert_images(self) -> None:
        for field in ("tfImage", "pytorchImage"):
            image = self._take(field)
            if image is None:
                continue
            lacking = {
                role: container
                for role, _path, pod in self._pods()
                for container in map(as_dict, as_list(pod.get("containers")))
                if container.get("name") == self.kind.container and not container.get("image")
            }
            for container in lacking.values():
                container["image"] = image
            roles = ", ".join(lacking)
            text = f"became the image of {roles}." if roles else "left out, as every container has its own."
            self._note(f"spec.{field}", text)

    def _drop_fields(self) -> None:
        if self._take("runtimeId") is not None:
            self._note("spec.runtimeId", "left out, as the operator names pods after the job.")
        if (board := self._take("tensorBoard")) is not None:
            logs = as_dict(board).get("logDir")
            self._note("spec.tensorboard", f"left out: a job has no TensorBoard; run one by itself on {logs!r}.")
        if (backend := self._take("backend")) is not None:
            self._note(
                "spec.backend",
                f"{backend!r} left out: the program names its backend to init_process_group, and PyTorch has no tcp "
                "any more; use gloo or nccl.",
            )
        if self._take("masterPort") is not None:
            self._note("spec.masterPort", "left out, as the job has no Master.")
        if (policy := self._take("terminationPolicy")) is not None:
            self._drop_termination(policy)

    def _move_fields(self) -> None:
        if (name := self._take("schedulerName")) is not None:
            for _role, _path, pod in self._pods():
                pod.setdefault("schedulerName", name)
            self._note("spec.schedulerName", f"{name!r} moved into the pods of each role.")
        if (clean := self._take("cleanupPodPolicy")) is not None:
            self._note("spec.cleanupPodPolicy", "is called cleanPodPolicy.")
            self._spec.setdefault("cleanPodPolicy", clean)
        clean = str(self._spec.get("cleanPodPolicy"))
        if clean.startswith("Clean"):
            self._spec["cleanPodPolicy"] = clean.removeprefix("Clean")
            self._note("spec.cleanPodPolicy", f"{clean!r} is called {self._spec['cleanPodPolicy']!r}.")

    def _drop_termination(self, policy: object) -> None:
        chief = as_dict(as_dict(policy).get("chief") or as_dict(policy).get("master"))
        name = str(chief.get("replicaName") or "MASTER")
        index = chief.get("replicaIndex") or chief.get("replicaRank") or 0
        leader = self._leader()
        decider = self.kind.role_named(name)
        same = leader in self.kind.leaders if decider in self.kind.leaders else decider == leader
        if same and index == 0:
            self._note("spec.terminationPolicy", f"left out, as the end of {leader} is the job's end anyway.")
        else:
            self._note(
                "spec.terminationPolicy",
                f"cannot be kept: it names {name} {index}, and the job will end with {leader}, the first of them.",
            )

    # -- v1alpha1 to v1beta2

    def _convert_roles(self) -> None:
        path = f"spec.{self.kind.specs_field}"
        specs = as_dict(self._spec.get(self.kind.specs_field))
        for name, spec in list(specs.items()):
            role = self.kind.role_named(str(name)) or name
            if role != name:
                if role in specs:
                    raise InvalidJobError([f"{path}.{name}: stands beside {role}, which is the same role; keep one."])
                specs[role] = specs.pop(name)
                self._note(f"{path}.{name}", f"became {role}.")
            replicas = as_dict(spec).get("replicas")
            if replicas == 0 and not isinstance(replicas, bool):
                del specs[role]
                self._note(f"{path}.{role}", "left out, as it has 0 replicas, of which the operator would make 1.")

    def _convert_pods(self, were_in_force: bool) -> None:
        """`were_in_force` says whether the pods' own restart policies were; later roles had one beside the template."""
        for role, path, pod in self._pods():
            spec = self._roles()[role]
            own = pod.pop("restartPolicy", None)
            if were_in_force:
                policy = own or "Always"
                # The operator saw the end even of a container that was started again.
                wanted = "OnFailure" if policy == "Always" and role == self._leader() else policy
                spec.setdefault("restartPolicy", wanted)
                self._note(f"{path}.restartPolicy", f"{policy!r} became restartPolicy {wanted} of {role}.")
            elif own is not None:
                policy = spec.get("restartPolicy") or self.kind.restart_policy
                self._note(f"{path}.restartPolicy", f"{own!r} left out: it was overridden by {policy}, which stays.")
            containers = [container for container in as_list(pod.get("containers")) if isinstance(container, dict)]
            if len(containers) == 1 and containers[0].get("name") != self.kind.container:
                self._note(
                    f"{path}.containers[0].name",
                    f"{containers[0].get('name')!r} became {self.kind.container}, by which the operator knows it.",
                )
                containers[0]["name"] = self.kind.container
            for container in containers:
                if container.get("name") == self.kind.container:
                    self._name_ports(container, path)

    def _name_ports(self, container: Json, path: str) -> None:
        """The Services had only the one port that the replicas share; today they have all, which then need names."""
        ports = [port for port in as_list(container.get("ports")) if isinstance(port, dict)]
        for port in ports:
            number = port.get("containerPort")
            if port.get("name") or number is None:
                continue
            shared = number == self.kind.port and self.kind.port_name not in (other.get("name") for other in ports)
            port["name"] = self.kind.port_name if shared else f"port-{number}"
            self._note(f"{path}.containers.ports", f"{number} is called {port['name']}, as every port needs a name.")

    # -- all versions: early v1 still had the run policy in the spec, and pruned what it did not know

    def _convert_pull_policies(self) -> None:
        for role, _path, pod in self._pods():
            policy = self._roles()[role].pop("imagePullPolicy", None)
            if policy is None:
                continue
            for container in as_list(pod.get("containers")):
                if isinstance(container, dict):
                    container.setdefault("imagePullPolicy", policy)
            self._note(f"spec.{self.kind.specs_field}.{role}.imagePullPolicy", f"{policy!r} moved into its containers.")

    def _convert_run_policy(self) -> None:
        moved = [field for field in RUN_POLICY_FIELDS if field in self._spec]
        if not isinstance(self._spec.get("runPolicy") or {}, dict) or not self._roles() or not (moved or self._is_old):
            return
        policy = self._spec.get("runPolicy") or {}
        for field in moved:
            value = self._spec.pop(field)
            if policy.setdefault(field, value) != value:
                raise InvalidJobError(
                    [f"spec.{field}: {value!r} is not {policy[field]!r} of spec.runPolicy.{field}; keep one of them."]
                )
            self._note(f"spec.{field}", f"moved to spec.runPolicy.{field}.")
        if self.kind is TFJOB and not policy.get("cleanPodPolicy"):
            policy["cleanPodPolicy"] = "Running"
            self._note(
                "spec.runPolicy.cleanPodPolicy",
                "written as Running: unlike today, the operator ended by default what still ran.",
            )
        if policy:
            self._spec["runPolicy"] = policy

    def _convert_scheduler(self) -> None:
        for role, path, pod in self._pods():
            if pod.get("schedulerName") != KUBE_BATCH:
                continue
            pod["schedulerName"] = SCHEDULER
            self._note(f"{path}.schedulerName", RENAMED_SCHEDULER)
            if _drop_annotation(self._roles()[role]):
                self._note(
                    f"{path.removesuffix('.spec')}.metadata.annotations",
                    f"{GROUP_NAME} left out, as the operator makes the PodGroup and sets it.",
                )

    def _convert_gpus(self) -> None:
        for _role, path, pod in self._pods():
            for index, container in enumerate(map(as_dict, as_list(pod.get("containers")))):
                for group, quantities in as_dict(container.get("resources")).items():
                    if isinstance(quantities, dict) and OLD_GPU in quantities:
                        quantities.setdefault(GPU, quantities.pop(OLD_GPU))
                        self._note(f"{path}.containers[{index}].resources.{group}.{OLD_GPU}", f"is called {GPU}.")

    def _convert_pytorch(self) -> None:
        master = self._roles().get("Master")
        if master is not None and master.get("replicas") is None:
            master["replicas"] = 1
            self._note(f"spec.{self.kind.specs_field}.Master.replicas", "written as 1, which is no default any more.")
        processes = self._spec.get("nprocPerNode")
        if isinstance(processes, int) and not isinstance(processes, bool):
            self._spec["nprocPerNode"] = str(processes)
            self._note("spec.nprocPerNode", f'{processes} became "{processes}", as the API takes text.')


# -- gangs


def _pod_group_to_v1(document: Json) -> tuple[Json, list[str]]:
    version = document.get("apiVersion")
    if str(version).partition("/")[0] not in POD_GROUP_DOMAINS:
        raise InvalidJobError(
            [f"apiVersion: {version!r} is no PodGroup of kube-batch or Volcano; write {POD_GROUP_VERSION}."]
        )
    group = copy.deepcopy(document)
    if version == POD_GROUP_VERSION:
        return group, []
    group["apiVersion"] = POD_GROUP_VERSION
    return group, [f"apiVersion: {version!r} became {POD_GROUP_VERSION}."]


def _fold(group: Json, jobs: list[tuple[Json, Json]]) -> str:
    """Writes the group into the job whose gang it describes, and says so."""
    name = as_dict(group.get("metadata")).get("name")
    members = [
        job
        for document, job in jobs
        if _namespace(job) == _namespace(group)
        and (name == as_dict(job.get("metadata")).get("name") or name in _group_names(document))
    ]
    title = _title(group)
    if not members:
        raise InvalidJobError(
            [f"{title}: is the gang of no job here; annotate the job's pods with {GROUP_NAME}, or leave it out."]
        )
    if len(members) > 1:
        names = ", ".join(map(_title, members))
        raise InvalidJobError([f"{title}: is one gang of several jobs, {names}; give each job a group of its own."])
    (job,) = members
    spec = as_dict(job.get("spec"))
    policy = spec.setdefault("runPolicy", {})
    scheduling = policy.setdefault("schedulingPolicy", {}) if isinstance(policy, dict) else None
    if not isinstance(scheduling, dict):
        raise InvalidJobError([f"{title}: finds no mapping in spec.runPolicy.schedulingPolicy of {_title(job)}."])
    fields = as_dict(group.get("spec"))
    folded = {field: fields[old] for old, field in GANG_FIELDS.items() if fields.get(old) is not None}
    for field, value in folded.items():
        if scheduling.setdefault(field, value) != value:
            raise InvalidJobError(
                [
                    f"{title}: {value!r} is not {scheduling[field]!r} of spec.runPolicy.schedulingPolicy.{field} of "
                    f"{_title(job)}; keep one of them."
                ]
            )
    for role_spec in as_dict(spec.get(OPERATOR_KINDS[job["kind"]].specs_field)).values():
        _drop_annotation(as_dict(role_spec))
    said = ", ".join(f"{field} {value}" for field, value in folded.items())
    return (
        f"{title}: became spec.runPolicy.schedulingPolicy of {_title(job)} ({said}), of which the operator makes the "
        "PodGroup."
    )


def _namespace(document: Json) -> str:
    return as_dict(document.get("metadata")).get("namespace") or "default"


def _group_names(value: object) -> set[object]:
    """The groups that any pod of a job, of whatever version, is annotated with."""
    if isinstance(value, list):
        return set().union(*map(_group_names, value))
    if not isinstance(value, dict):
        return set()
    own = value.get(GROUP_NAME)
    return set().union({own} if isinstance(own, str) else (), *map(_group_names, value.values()))


def _drop_annotation(role_spec: Json) -> bool:
    """Takes the name of the group, which the operator sets, from the pods of a role; whether there was one."""
    metadata = as_dict(as_dict(role_spec.get("template")).get("metadata"))
    annotations = as_dict(metadata.get("annotations"))
    if annotations.pop(GROUP_NAME, None) is None:
        return False
    if not annotations:
        del metadata["annotations"]
    return True


# -- clusters of parameter servers and workers built by hand

_ROLE = re.compile(r"(?:^|[^a-z])(ps|param(?:eter)?-?server|worker|chief|master)(?=[^a-z]|$)")
_HOSTS = re.compile(r"[\w.-]+:\d+(,[\w.-]+:\d+)*")
_FLAG = re.compile(r"(--?(ps|worker|chief|master)_hosts|--?job_name|--?task_(?:index|id))(=|\s+|$)([^\s;&|]+)?")


@dataclass
class _Tasks:
    """The tasks of one role: pods with one template, of one or several controllers."""

    controllers: list[Json]

    @property
    def pod(self) -> Json:
        first = self.controllers[0]
        return as_dict(first.get("spec")) if first["kind"] == "Pod" else as_dict(_template(first).get("spec"))

    @property
    def container(self) -> Json:
        return as_dict(next(iter(as_list(self.pod.get("containers"))), None))

    @property
    def count(self) -> int:
        return sum(count_of(as_dict(controller.get("spec"))) for controller in self.controllers)

    @property
    def port(self) -> int:
        ports = [as_dict(port).get("containerPort") for port in as_list(self.container.get("ports"))]
        return next((port for port in ports if isinstance(port, int)), TFJOB.port)


def refuse_plain_cluster(documents: list[Json]) -> None:
    """InvalidJobError where documents are a TensorFlow cluster of controllers and Services, with the TFJob for it."""
    roles: dict[str, _Tasks] = {}
    for document in map(as_dict, documents):
        role = _role_of(document) if document.get("kind") in CONTROLLERS else None
        if role:
            roles.setdefault(role, _Tasks([])).controllers.append(document)
    if "PS" not in roles or not roles.keys() & {"Chief", "Worker"}:
        return
    titles = ", ".join(_title(controller) for tasks in roles.values() for controller in tasks.controllers)
    job = yaml.safe_dump(_replacement(roles, list(map(as_dict, documents))), sort_keys=False, width=120)
    raise InvalidJobError(
        [
            f"{titles}: are parameter servers and workers that nobody watches and that never end; take them away with "
            f"their Services and ConfigMaps, and run this TFJob instead:\n{job}"
        ]
    )


def _role_of(controller: Json) -> str | None:
    """The role by the program's arguments, else by the names that the controller goes by."""
    container = _Tasks([controller]).container
    if not container:
        return None
    words = " ".join(map(str, as_list(container.get("command")) + as_list(container.get("args"))))
    job_name = re.search(r"--?job_name(?:=|\s+)[\"']?(\w+)", words)
    if job_name:
        return _role_in(job_name.group(1))
    metadata = as_dict(controller.get("metadata"))
    names = [metadata.get("name"), *as_dict(as_dict(_template(controller).get("metadata")).get("labels")).values()]
    return next((role for role in map(_role_in, names) if role), None)


def _role_in(name: object) -> str | None:
    found = _ROLE.search(str(name))
    if found is None:
        return None
    return {"worker": "Worker", "chief": "Chief", "master": "Chief"}.get(found.group(1), "PS")


def _template(controller: Json) -> Json:
    return as_dict(as_dict(controller.get("spec")).get("template"))


def _replacement(roles: dict[str, _Tasks], documents: list[Json]) -> Json:
    first = as_dict(roles["PS"].controllers[0].get("metadata"))
    name = re.sub(r"[^a-z0-9]+", "-", _ROLE.split(str(first.get("name")).lower())[0]).strip("-")
    name = name if re.match("[a-z]", name) else "training"
    hosts = {
        role: ",".join(f"{name}-{role.lower()}-{index}:{tasks.port}" for index in range(tasks.count))
        for role, tasks in roles.items()
    }
    data = {
        str(as_dict(document.get("metadata")).get("name")): as_dict(document.get("data"))
        for document in documents
        if document.get("kind") == "ConfigMap"
    }
    metadata = {"name": name} | ({"namespace": first["namespace"]} if first.get("namespace") else {})
    specs = {role: _replica_spec(roles[role], hosts, data) for role in TFJOB.roles if role in roles}
    return {
        "apiVersion": API_VERSION,
        "kind": TFJOB.kind,
        "metadata": metadata,
        "spec": {"runPolicy": {"cleanPodPolicy": "Running"}, TFJOB.specs_field: specs},
    }


def _replica_spec(tasks: _Tasks, hosts: dict[str, str], data: dict[str, Json]) -> Json:
    pod = copy.deepcopy(tasks.pod)
    restart = pod.pop("restartPolicy", "Always")
    container = as_dict(pod["containers"][0])
    container["name"] = TFJOB.container
    container.pop("ports", None)
    if tasks.port != TFJOB.port:
        container["ports"] = [{"name": TFJOB.port_name, "containerPort": tasks.port}]
    for field in ("command", "args"):
        if isinstance(container.get(field), list):
            container[field] = _with_flags(container[field], hosts)
    env = [_with_hosts(entry, hosts, data) for entry in as_list(container.get("env"))]
    env = [entry for entry in env if as_dict(entry).get("name") != "TASK_INDEX"]
    if "$(TASK_INDEX)" in str(container):
        env.append({"name": "TASK_INDEX", "valueFrom": {"fieldRef": {"fieldPath": REPLICA_INDEX}}})
    if env:
        container["env"] = env
    # Controllers start again whatever ends; a job is to end.
    return {
        "replicas": tasks.count,
        "restartPolicy": "OnFailure" if restart == "Always" else restart,
        "template": {"spec": pod},
    }


def _with_flags(words: list[Any], hosts: dict[str, str]) -> list[str]:
    """The command line with the addresses of the job's own pods, and each pod's own index.

    A flag and its value may be one word, two words, or part of a script.
    """

    def value_of(flag: str, old: str) -> str:
        if flag.lstrip("-").startswith("task_"):
            return "$(TASK_INDEX)"
        role = _role_in(flag.lstrip("-")) if flag.endswith("_hosts") else None
        # A variable's value is put right where it is set.
        return hosts.get(role or "", old) if not old.startswith("$") else old

    def replaced(match: re.Match[str]) -> str:
        flag, _role, gap, old = match.groups()
        return match.group() if old is None else f"{flag}{gap}{value_of(flag, old)}"

    changed: list[str] = []
    for word in map(str, words):
        flag = _FLAG.fullmatch(changed[-1]) if changed else None
        changed.append(value_of(flag.group(1), word) if flag and not flag.group(4) else _FLAG.sub(replaced, word))
    return changed


def _with_hosts(entry: Any, hosts: dict[str, str], data: dict[str, Json]) -> Any:
    """A variable that lists hosts, itself or by a ConfigMap, with those of the job."""
    entry = as_dict(entry)
    reference = as_dict(as_dict(entry.get("valueFrom")).get("configMapKeyRef"))
    value = entry.get("value") or data.get(str(reference.get("name")), {}).get(str(reference.get("key")))
    if not isinstance(value, str) or not _HOSTS.fullmatch(value.strip()):
        return entry
    return {"name": entry.get("name"), "value": hosts.get(_role_in(value) or "", value)}
