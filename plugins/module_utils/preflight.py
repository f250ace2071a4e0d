# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What can be known to be wrong before a job is created, asked of the API server without a trace left behind."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from ansible_collections.mlstack.kubernetes.plugins.module_utils.capacity import (
    Amounts,
    Demand,
    amounts_of,
    demand_of,
    device_hints,
    fits,
    format_amount,
    is_device,
    is_open,
    rooms_of,
    table,
    total_of,
    wants_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.cluster_view import (
    OPERATOR_LABEL,
    Absent,
    ClusterView,
    Job,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import (
    API_VERSION,
    Gang,
    JobKind,
    as_dict,
    as_list,
    replicas_of,
)
from ansible_collections.mlstack.kubernetes.plugins.module_utils.kube_api import ApiError, Json, KubeApi, pods_path
from ansible_collections.mlstack.kubernetes.plugins.module_utils.pod_group import SCHEDULING_API
from ansible_collections.mlstack.kubernetes.plugins.module_utils.references import (
    CLAIM,
    CONFIG_MAP,
    PRIORITY_CLASS,
    RUNTIME_CLASS,
    SECRET,
    SERVICE_ACCOUNT,
    Reference,
    references_of,
)

VOLCANO = "volcano"
# Schedulers that go by the nodes' labels, taints and allocatable resources, as these checks do.
KNOWN_SCHEDULERS = ("default-scheduler", VOLCANO)
PULL_SECRET_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
QUEUES = f"/apis/{SCHEDULING_API}/queues"
STORAGE_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
PRIORITY_CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
_CLUSTER_WIDE = {RUNTIME_CLASS: "/apis/node.k8s.io/v1/runtimeclasses", PRIORITY_CLASS: PRIORITY_CLASSES}
_NAMESPACED = {
    CLAIM: "persistentvolumeclaims",
    CONFIG_MAP: "configmaps",
    SECRET: "secrets",
    SERVICE_ACCOUNT: "serviceaccounts",
}
# What of a pod decides about its place, besides what it wants.
_PLACING = ("nodeName", "nodeSelector", "affinity", "tolerations", "schedulerName")
_CURE = (
    "Lower the requests or the number of replicas, let the pods go to more nodes, or add nodes. On a cluster that gets "
    "nodes on demand, switch these checks off with `preflight: false`."
)


NOBODY: Job = ("", "")


@dataclass(frozen=True)
class Findings:
    """What is to be said about a job: it would never run, or it will wait or may surprise."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class _Problem(str):
    """The job would never run."""


class _Caution(str):
    """The job will wait, or may surprise."""


_Finding = _Problem | _Caution


@dataclass(frozen=True)
class _Role:
    """The replicas of one role; `pod_name` is that of the first."""

    name: str
    count: int
    pod_name: str
    template: Json

    @property
    def pod(self) -> Json:
        return as_dict(self.template.get("spec"))


@dataclass(frozen=True)
class _Admission:
    """What the API server says of a pod named `probe`: how it would take it, or why not, or why not yet. Or nothing."""

    probe: str = ""
    pod: Json | None = None
    refusal: str = ""
    quota: str = ""


_UNKNOWN = _Admission()


class Preflight:
    """The checks of one module call, for any number of jobs and from any number of threads.

    No question is asked twice. One that the user may not ask is passed over: the job then shows the answer. ApiError
    and UnreachableError are raised where the server fails; as its answers are kept, a check can be repeated cheaply.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._cluster = ClusterView(api)
        # Jobs against which there is nothing, by all that is looked at. The jobs of a sweep are alike.
        self._fine: set[str] = set()
        # How often the API server failed for a moment, so that there was nothing to go by.
        self._failures = 0

    def check(self, kind: JobKind, job: Json) -> Findings:
        roles = _roles(kind, job)
        looked_at = _looked_at(kind, job, roles)
        if looked_at in self._fine:
            return Findings()
        failures = self._failures
        found = dict.fromkeys(self._findings(kind, job, roles))
        # The next job need not have pods that make room for it.
        if not found and failures == self._failures and self._replaced(job) == NOBODY:
            self._fine.add(looked_at)
        return Findings(
            [str(finding) for finding in found if isinstance(finding, _Problem)],
            [str(finding) for finding in found if isinstance(finding, _Caution)],
        )

    def _findings(self, kind: JobKind, job: Json, roles: Sequence[_Role]) -> Iterator[_Finding]:
        namespace = str(job["metadata"]["namespace"])
        ground = [*self._check_namespace(namespace), *self._check_operator(kind)]
        yield from ground
        if _has_problem(ground):
            return
        references = list(self._check_references(namespace, roles))
        yield from references
        # Without its objects a pod would be refused for a reason that is already told.
        is_tried = not _has_problem(references)
        admissions = [self._admission(namespace, role) if is_tried else _UNKNOWN for role in roles]
        yield from _check_admissions(roles, admissions)
        yield from self._check_scheduler(roles)
        demands = [self._demand(role, admission) for role, admission in zip(roles, admissions, strict=True)]
        gang = kind.gang(job)
        is_whole = _is_whole(gang, demands)
        yield from self._check_queue(gang, demands, is_whole)
        yield from self._check_capacity(job, demands, is_whole, kind.is_suspended(job))

    # -- the ground that a job stands on

    def _check_namespace(self, name: str) -> Iterator[_Finding]:
        namespace = self._cluster.look_up("/api/v1/namespaces", name)
        if namespace is Absent.MISSING:
            yield _Problem(f"namespace: {name!r} does not exist; create it or correct the name.")
        elif isinstance(namespace, dict) and namespace["metadata"].get("deletionTimestamp"):
            yield _Problem(f"namespace: {name!r} is being deleted and takes nothing new; wait, and create it anew.")

    def _check_operator(self, kind: JobKind) -> Iterator[_Finding]:
        group = self._cluster.ask(f"/apis/{kind.api_version}")
        if group is Absent.FORBIDDEN:
            return
        if kind.plural not in [as_dict(one).get("name") for one in as_list(as_dict(group).get("resources"))]:
            yield _Problem(f"The cluster does not serve {kind.name} ({kind.api_version}): install {kind.operator}.")
        elif kind.api_version == API_VERSION and (running := self._cluster.running_pods()) is not None:
            if not running.operators:
                yield _Caution(
                    f"No pod of the training operator is to be seen (label {'='.join(OPERATOR_LABEL)}): "
                    "unless it runs elsewhere, nothing will happen to the job."
                )
            elif not any(running.operators.values()):
                pods = ", ".join(running.operators)
                yield _Caution(f"The training operator is not ready (pod {pods}); the job waits until it is.")

    # -- what the pods refer to

    def _check_references(self, namespace: str, roles: Sequence[_Role]) -> Iterator[_Finding]:
        uses_of: dict[tuple[str, str], list[tuple[_Role, Reference]]] = {}
        for role in roles:
            for reference in references_of(role.pod):
                # A namespace's own account comes a moment after the namespace.
                if (reference.noun, reference.name) != (SERVICE_ACCOUNT, "default"):
                    uses_of.setdefault((reference.noun, reference.name), []).append((role, reference))
        for (noun, name), uses in uses_of.items():
            path = _CLUSTER_WIDE.get(noun) or f"/api/v1/namespaces/{namespace}/{_NAMESPACED[noun]}"
            answer = self._cluster.look_up(path, name)
            if answer is Absent.MISSING:
                where = f" in namespace {namespace!r}" if noun in _NAMESPACED else ""
                text = f"{_named(noun, name, uses)} does not exist{where}; create it or correct the name."
                if all(reference.dispensable for _role, reference in uses):
                    yield _Caution(f"{text} Until then images are pulled without it.")
                else:
                    yield _Problem(text)
            elif isinstance(answer, dict) and noun == CLAIM:
                replicas = sum({role.name: role.count for role, _reference in uses}.values())
                yield from self._check_claim(_named(noun, name, uses), answer, replicas)
            elif isinstance(answer, dict) and noun in (CONFIG_MAP, SECRET):
                yield from _check_contents(answer, noun, name, uses)

    def _check_claim(self, named: str, claim: Json, replicas: int) -> Iterator[_Finding]:
        spec = as_dict(claim.get("spec"))
        phase = as_dict(claim.get("status")).get("phase")
        if claim["metadata"].get("deletionTimestamp"):
            yield _Problem(
                f"{named} is being deleted and takes no new pods; wait until it is gone, and create it anew."
            )
        elif phase == "Lost":
            yield _Problem(f"{named} has lost its volume (phase Lost); create it anew, or bring the volume back.")
        elif phase == "Pending" and (cause := self._not_bound(spec.get("storageClassName"))):
            yield _Caution(f"{named} is not bound (phase Pending){cause}; the job waits until it is. See its events.")
        modes = as_list(spec.get("accessModes"))
        if replicas > 1 and modes == ["ReadWriteOncePod"]:
            yield _Problem(
                f"{named} can be used by one pod at a time (ReadWriteOncePod), and {replicas} replicas need it; "
                "use a claim with ReadWriteMany."
            )
        elif replicas > 1 and modes == ["ReadWriteOnce"] and len(self._cluster.nodes() or []) != 1:
            yield _Caution(
                f"{named} can be used on one node at a time (ReadWriteOnce), and {replicas} replicas need it: those on "
                "other nodes would not start. Use a claim with ReadWriteMany, or keep the replicas on one node."
            )

    def _not_bound(self, class_name: object) -> str:
        """Why a pending claim is not merely waiting for its first pod; empty where it is, or may be."""
        if not class_name:
            return " and has no StorageClass that would make its volume"
        storage_class = self._cluster.look_up(STORAGE_CLASSES, str(class_name))
        if storage_class is Absent.MISSING:
            return f" and its StorageClass {class_name!r} does not exist"
        at_once = isinstance(storage_class, dict) and storage_class.get("volumeBindingMode") != "WaitForFirstConsumer"
        return f", although its StorageClass {class_name!r} binds at once" if at_once else ""

    # -- whether the API server would take the pods

    def _admission(self, namespace: str, role: _Role) -> _Admission:
        """The operator's own schema does not look into pods: it would take the job and fail to make them."""
        skeleton = _skeleton(role.template)
        probe = "preflight-" + hashlib.sha256(skeleton.encode()).hexdigest()[:8]
        try:
            return self._cluster.once(("admission", namespace, skeleton), lambda: self._try(namespace, role, probe))
        except ApiError as error:
            if not error.is_transient:
                raise
            self._failures += 1
            return _UNKNOWN

    def _try(self, namespace: str, role: _Role, probe: str) -> _Admission:
        given = as_dict(role.template.get("metadata"))
        metadata = {key: value for key, value in given.items() if key in ("labels", "annotations")}
        pod: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**metadata, "name": probe},
            "spec": {**role.pod, "restartPolicy": "Never"},
        }
        try:
            taken = self._api.create(pods_path(namespace), pod, dry_run=True)
        except ApiError as error:
            if error.is_transient:
                raise
            if "exceeded quota" in error.message:
                return _Admission(probe, quota=error.message)
            return _UNKNOWN if _says_nothing(error) else _Admission(probe, refusal=error.message)
        return _Admission(probe, as_dict(taken.get("spec")))

    # -- whether somebody would let them in

    def _check_scheduler(self, roles: Sequence[_Role]) -> Iterator[_Finding]:
        theirs = [role.name for role in roles if role.pod.get("schedulerName") == VOLCANO]
        if not theirs or self._cluster.serves(SCHEDULING_API) is not False:
            return
        # Another scheduler may go by that name. Then it has bound pods, or holds a lease.
        running = self._cluster.running_pods()
        leases = self._cluster.ask("/apis/coordination.k8s.io/v1/leases", {"fieldSelector": f"metadata.name={VOLCANO}"})
        is_seen = running is not None and any(pod.node and pod.scheduler == VOLCANO for pod in running.pods)
        if is_seen or as_list(as_dict(leases).get("items")):
            return
        told = _Caution if running is None else _Problem
        yield told(
            f"{', '.join(theirs)}: schedulerName {VOLCANO!r} names a scheduler that is not there (the cluster does not "
            "serve Volcano's API), so the pods would wait for ever. Install Volcano, or leave schedulerName out."
        )

    def _check_queue(self, gang: Gang, demands: Sequence[Demand], is_whole: bool) -> Iterator[_Finding]:
        if gang.queue:
            queue = self._cluster.look_up(QUEUES, gang.queue)
            title = f"{gang.queue_field}: {gang.queue!r}"
            if queue is Absent.NOT_SERVED:
                yield _Caution(f"{title} has no effect, as the cluster has no Volcano; install it, or name no queue.")
            elif queue is Absent.MISSING:
                yield _Problem(f"{title} does not exist; create the Queue, or name one that does.")
            elif isinstance(queue, dict):
                asked = {gang.resources_field: amounts_of(gang.resources)}
                if is_whole:
                    asked["its replicas together"] = _total(demands)
                yield from _check_open_and_large(queue, title, asked)
        # One that pods have, too, is told of with what they refer to.
        if (
            gang.priority_class
            and not any(demand.pod.get("priorityClassName") == gang.priority_class for demand in demands)
            and self._cluster.look_up(PRIORITY_CLASSES, gang.priority_class) is Absent.MISSING
        ):
            yield _Caution(
                f"{gang.priority_class_field}: {gang.priority_class!r} does not exist, so the job has no priority in "
                "its queue; create it or correct the name."
            )

    # -- whether there is room

    def _demand(self, role: _Role, admission: _Admission) -> Demand:
        pod = admission.pod or role.pod
        devices = [resource for resource in wants_of(pod) if is_device(resource)]
        if admission.pod is None:
            # Where it could not be asked, admission may have tolerations to add.
            tolerations = [{"key": device, "operator": "Exists"} for device in devices]
            pod = {**pod, "tolerations": [*as_list(pod.get("tolerations")), *tolerations]}
        return demand_of(role.name, role.count, pod, (self._cluster.driver_resources() or ()) if devices else ())

    def _check_capacity(
        self, job: Json, demands: Sequence[Demand], is_gang: bool, is_suspended: bool
    ) -> Iterator[_Finding]:
        nodes = self._cluster.nodes()
        if nodes is None:
            return
        own = self._replaced(job)
        pods = json.dumps(
            [
                (demand.role, demand.count, sorted(demand.wants.items()), [demand.pod.get(name) for name in _PLACING])
                for demand in demands
            ],
            sort_keys=True,
            default=str,
        )
        yield from self._cluster.once(
            ("capacity", pods, own, is_gang, is_suspended),
            lambda: list(self._compare(nodes, own, demands, is_gang, is_suspended)),
        )

    def _replaced(self, job: Json) -> Job:
        """The job that this one replaces, whose pods make room for it."""
        running = self._cluster.running_pods()
        own: Job = (str(job["metadata"]["namespace"]), str(job["metadata"]["name"]))
        return own if running is not None and any(pod.job == own for pod in running.pods) else NOBODY

    def _compare(
        self, nodes: list[Json], own: Job, demands: Sequence[Demand], is_gang: bool, is_suspended: bool
    ) -> Iterator[_Finding]:
        running = self._cluster.running_pods()
        empty = rooms_of(nodes, demands)
        now = None if running is None else rooms_of(filter(is_open, nodes), demands, running.used(but_not_by=own))
        figures = "".join(f"\n    {row}" for row in table(demands, empty, now))
        fit = fits(demands, empty)
        if fit.possible is False:
            # Replicas that need not all run at once must still have room one by one.
            ones = [replace(demand, count=1) for demand in demands]
            is_never = is_gang or any(fits([one], empty).possible is False for one in ones)
            told = _Problem if is_never and not is_suspended and self._is_decisive(demands) else _Caution
            devices = sorted({resource for demand in demands for resource in demand.wants if is_device(resource)})
            hints = "".join(f"{hint} " for device in devices for hint in device_hints(device, nodes))
            yield told(f"The nodes, even empty, cannot hold the job: {fit.reason}.{figures}\n{hints}{_CURE}")
        elif fit.possible is None:
            yield _Caution(f"Whether the nodes, even empty, can hold all pods at once could not be found out.{figures}")
        elif now is not None and not is_suspended and not (waits := fits(demands, now)).possible:
            reason = waits.reason or "no way to place them all was found"
            yield _Caution(f"Not all pods can start now; some will wait for others to end: {reason}.{figures}")

    def _is_decisive(self, demands: Sequence[Demand]) -> bool:
        """Whether the nodes' figures are the last word."""
        schedulers = {demand.pod.get("schedulerName") or KNOWN_SCHEDULERS[0] for demand in demands}
        has_devices = any(is_device(resource) for demand in demands for resource in demand.wants)
        return schedulers <= set(KNOWN_SCHEDULERS) and not (has_devices and self._cluster.driver_resources() is None)


def _has_problem(findings: Iterable[_Finding]) -> bool:
    return any(isinstance(finding, _Problem) for finding in findings)


def _roles(kind: JobKind, job: Json) -> list[_Role]:
    specs = kind.replica_specs(job)
    replicas = replicas_of(kind, job)
    counts = Counter(replica.role for replica in replicas)
    return [
        _Role(replica.role, counts[replica.role], replica.pod, as_dict(specs[replica.role].get("template")))
        for replica in replicas
        if replica.index == 0
    ]


def _looked_at(kind: JobKind, job: Json, roles: Sequence[_Role]) -> str:
    """All of a job that the checks go by; equal for jobs that differ only in their names and what programs are told."""
    parts = [(role.name, role.count, _skeleton(role.template)) for role in roles]
    # Its group is named after the job.
    gang = replace(kind.gang(job), group="")
    return repr((kind.name, job["metadata"]["namespace"], parts, gang, kind.is_suspended(job)))


def _is_whole(gang: Gang, demands: Iterable[Demand]) -> bool:
    """Whether all replicas must run before anything happens; else the job says itself that fewer will do."""
    return gang.least is None or gang.least >= sum(demand.count for demand in demands)


def _total(demands: Iterable[Demand]) -> dict[str, Decimal]:
    return total_of(
        {resource: demand.count * amount for resource, amount in demand.wants.items()} for demand in demands
    )


def _named(noun: str, name: str, uses: Sequence[tuple[_Role, Reference]]) -> str:
    roles = list(dict.fromkeys(role.name for role, _reference in uses))
    verb = "refer" if len(roles) > 1 else "refers"
    return f"{noun} {name!r}, which {', '.join(roles)} {verb} to ({uses[0][1].field}),"


def _check_contents(answer: Json, noun: str, name: str, uses: Sequence[tuple[_Role, Reference]]) -> Iterator[_Finding]:
    """Keys that are wanted and not there; of a Secret, never more than the names of its keys is told."""
    has = sorted({**as_dict(answer.get("data")), **as_dict(answer.get("binaryData"))})
    by_key: dict[str, list[tuple[_Role, Reference]]] = {}
    for role, reference in uses:
        for key in reference.keys:
            if key not in has:
                by_key.setdefault(key, []).append((role, reference))
    for key, using in by_key.items():
        there = f"it has {', '.join(has)}" if has else "it is empty"
        yield _Problem(f"{_named(noun, name, using)} has no key {key!r} ({there}); add it or correct the key.")
    pulling = [use for use in uses if use[1].dispensable]
    if pulling and noun == SECRET and answer.get("type", "") not in PULL_SECRET_TYPES:
        yield _Caution(
            f"{_named(noun, name, pulling)} has the type {answer.get('type')!r}, with which no image can be pulled; "
            f"make it one of type {PULL_SECRET_TYPES[0]}."
        )


def _check_admissions(roles: Sequence[_Role], admissions: Sequence[_Admission]) -> Iterator[_Finding]:
    by_admission: dict[tuple[str, str, str], list[_Role]] = {}
    for role, admission in zip(roles, admissions, strict=True):
        by_admission.setdefault((admission.probe, admission.refusal, admission.quota), []).append(role)
    for (probe, refusal, quota), alike in by_admission.items():
        names = ", ".join(role.name for role in alike)
        pod = alike[0].pod_name
        if refusal:
            yield _Problem(f"The API server would refuse the pods of {names}: {refusal.replace(probe, pod)}")
        if quota:
            yield _Caution(
                f"The pods of {names} have to wait until the namespace's quota has room for them: "
                f"{quota.replace(probe, pod)}"
            )


def _skeleton(template: Json) -> str:
    """What of a pod template decides about its admission and its place: all but what the program is told."""
    pod = dict(as_dict(template.get("spec")))
    for group in ("initContainers", "containers"):
        if isinstance(pod.get(group), list):
            pod[group] = [_untold(as_dict(container)) for container in pod[group]]
    return json.dumps({**template, "spec": pod}, sort_keys=True, default=str)


def _untold(container: Json) -> Json:
    rest = {key: value for key, value in container.items() if key not in ("args", "command")}
    if isinstance(rest.get("env"), list):
        rest["env"] = [{**as_dict(entry), "value": None} for entry in rest["env"]]
    return rest


def _says_nothing(error: ApiError) -> bool:
    """Answers that are about the user's rights or the moment, not about the pod."""
    return (
        error.status == 409
        or 'cannot create resource "pods"' in error.message
        or "does not support dry run" in error.message
        # A namespace's own account comes a moment after the namespace.
        or 'serviceaccount "default" not found' in error.message
    )


def _check_open_and_large(queue: Json, title: str, asked: Mapping[str, Amounts]) -> Iterator[_Finding]:
    state = as_dict(queue.get("status")).get("state")
    if state not in (None, "", "Open"):
        yield _Problem(f"{title} is {state} and takes no jobs; open it, or name another queue.")
    capability = amounts_of(as_dict(queue.get("spec")).get("capability"))
    for resource, most in capability.items():
        for what, amounts in asked.items():
            if amounts.get(resource, 0) > most:
                yield _Problem(
                    f"{title} never gives out more than {format_amount(resource, most)} of {resource} (capability), "
                    f"and {what} ask for {format_amount(resource, amounts[resource])}; ask for less, raise the "
                    "capability, or name a larger queue."
                )
                break
