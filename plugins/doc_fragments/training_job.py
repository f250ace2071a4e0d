# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the documentation of tfjob and pytorchjob has in common."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  name:
    description:
      - Name of the job, and the beginning of its pods' names.
      - Not needed with O(definition) or O(src) that hold one.
    type: str
  namespace:
    description: Namespace of the job. V(default) where neither this nor the manifest names one.
    type: str
  state:
    description:
      - V(present) makes the job where it is not there, and with O(wait) waits for its end.
        A job that is there with the same spec is left alone, even when it has long succeeded.
      - V(suspended) deletes the job's pods and keeps the job, with O(wait) until they are gone. V(resumed) lets it run
        again. A job that has finished is left alone. One that is not there is made where the task describes it.
      - V(restarted) deletes the job and runs it anew, with the spec that it has where the task describes no other.
      - V(absent) deletes the job, and with O(wait) waits until its pods are gone. Other options do not matter then.
    type: str
    choices: [present, suspended, resumed, restarted, absent]
    default: present
  jobs:
    description:
      - Several jobs for one task, each a mapping with C(name) and any of the options that describe a job.
      - What a job does not say is taken from the task's own options. Mappings such as O(env), O(labels) and
        O(replicas) are merged.
      - They are read by one request and followed by one watch. All are checked before the first is made.
      - Hundreds of jobs are handed over faster as manifests in O(src).
    type: list
    elements: dict
  image:
    description: Image of the training containers. Needed here or in each role, unless a manifest is given.
    type: str
  image_pull_policy:
    description: When the nodes pull the image.
    type: str
    choices: [Always, IfNotPresent, Never]
  image_pull_secrets:
    description: Names of the secrets to log in to the image's registry with.
    type: list
    elements: str
  command:
    description: Command of the training containers, in place of the image's entry point.
    type: list
    elements: str
  args:
    description: Arguments of the command.
    type: list
    elements: str
  working_dir:
    description: Directory in which the command starts.
    type: str
  env:
    description:
      - Environment variables, as a mapping of names to values or as a list of Kubernetes env entries.
      - A value that is a mapping is taken as the rest of such an entry, for example C(valueFrom).
      - A role's own variables are added to those of the job.
    type: raw
  resources:
    description: Resource C(requests) and C(limits) of each training container, in Kubernetes' own form.
    type: dict
  restart_policy:
    description:
      - What happens when a training container fails. V(Never) where neither the job nor the role says anything,
        so that a failure ends the job with its cause still readable.
    type: str
    choices: [Always, OnFailure, Never, ExitCode]
  node_selector:
    description: Labels that a node must have.
    type: dict
  tolerations:
    description: Tolerations of the pods, in Kubernetes' own form.
    type: list
    elements: dict
  service_account_name:
    description: Service account of the pods.
    type: str
  security_context:
    description: Security context of the pods, in Kubernetes' own form; for example C(fsGroup) for their volumes.
    type: dict
  volumes:
    description: Volumes that every replica mounts. Each has one of O(volumes[].claim), O(volumes[].config_map),
      O(volumes[].secret) and O(volumes[].empty_dir).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the volume. Two entries of one name mount one volume at two places.
        type: str
        required: true
      mount_path:
        description: Directory in the container.
        type: str
        required: true
      sub_path:
        description: Directory in the volume to mount instead of its root.
        type: str
      read_only:
        description: Whether to mount it read-only.
        type: bool
        default: false
      claim:
        description: Name of a PersistentVolumeClaim.
        type: str
      config_map:
        description: Name of a ConfigMap.
        type: str
      secret:
        description: Name of a Secret.
        type: str
      empty_dir:
        description: An empty directory, on disk with V({}), or in memory with C(medium) set to V(Memory).
        type: dict
  run_policy:
    description: How the job as a whole is run.
    type: dict
    suboptions:
      clean_pod_policy:
        description:
          - Which pods are deleted when the job has finished; the operator's own default is V(None).
          - A pod's log goes with the pod. With V(None) processes that do not end by themselves keep their resources.
        type: str
        choices: ['None', 'Running', 'All']
      ttl_seconds_after_finished:
        description: Seconds after its end at which the job is deleted.
        type: int
      active_deadline_seconds:
        description:
          - Seconds after which the operator ends the job. It may not notice on a job where nothing happens;
            O(wait_timeout) does not depend on it.
        type: int
      backoff_limit:
        description: Number of restarts after which the job fails.
        type: int
      suspend:
        description: Whether the job is made without pods for now. It is then not waited for.
        type: bool
      scheduling_policy:
        description: For gang scheduling.
        type: dict
        suboptions:
          min_available:
            description: Number of replicas that must fit at once.
            type: int
          queue:
            description: Queue of the gang scheduler.
            type: str
          min_resources:
            description: Resources that must be free at once.
            type: dict
          priority_class:
            description: Priority class of the group.
            type: str
          schedule_timeout_seconds:
            description: Seconds to try to place the group.
            type: int
  labels:
    description: Labels of the job.
    type: dict
  annotations:
    description: Annotations of the job.
    type: dict
  definition:
    description:
      - The job as a full manifest, a mapping or YAML text, or several as a list or as many documents. It is taken as
        it is, and excludes the options that describe a job by parts.
      - Jobs of earlier API versions are converted to the one that runs today, with a warning for each change; see
        P(mlstack.kubernetes.to_v1#filter).
    type: raw
    aliases: [resource_definition]
  src:
    description:
      - File or URL that holds the job, or several, as full manifests in YAML or JSON. Excludes O(definition).
    type: path
  accept:
    description:
      - What is refused because it hardly ever does what was meant, and is to be made all the same, with a warning.
      - V(evaluator_with_ps) is for programs that take the evaluator out of C(TF_CONFIG) themselves, such as the
        Estimators of TensorFlow 1.
      - V(success_policy_with_chief) is for specs that are shared between jobs with and without a chief, whose end is
        the job's end in any case.
      - V(exit_code_with_backoff_limit) is for jobs that are to survive any number of evictions; only
        C(run_policy.active_deadline_seconds) or somebody who looks after them then ends one that never recovers.
    type: list
    elements: str
    choices: [evaluator_with_ps, success_policy_with_chief, exit_code_with_backoff_limit]
    default: []
  preflight:
    description:
      - Whether to look, before a job is made, for what would keep it from ever running on this cluster.
    type: bool
    default: true
  max_parallel:
    description: With several jobs, how many of those that have not finished there may be at a time. V(0) is for all.
    type: int
    default: 0
  wait:
    description: Whether to wait until the jobs have finished, or are gone with O(state=absent).
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait for each job from its submission. After that the task fails, and the job goes on.
      - An API server that restarts meanwhile is waited for.
    type: int
    default: 600
  stall_timeout:
    description:
      - Seconds without any news of a job after which the task fails, and the job goes on. News is a change of the job,
        of a pod, or a line in the log of any replica. V(0) sets no such limit.
    type: int
    default: 0
  grace:
    description:
      - Seconds to bear with a state that does not heal by itself before the task fails. That is an image that
        cannot be pulled, a volume that cannot be mounted, a ConfigMap or Secret that is missing, pods that the API
        server refuses, a container that crashes again and again, and a pod that would fit no node even if that were
        empty.
      - A volume that cannot be mounted, or a ConfigMap or Secret that is missing, is borne with for 30 seconds at
        least, since the kubelet comes back to such a pod after up to 15; a volume also for as long as the pod pulls its
        images.
      - A pod that fits some node and waits for its turn is waited for without this limit. Where nodes are made on
        demand, give a time in which one comes up.
    type: int
    default: 12
  grace_for:
    description:
      - Seconds by reason, where these differ from O(grace), for example C(ErrImagePull), C(ImagePullBackOff),
        C(Unschedulable), C(FailedMount), C(CreateContainerConfigError), C(CrashLoopBackOff) or C(FailedCreatePod).
      - C(InvalidImageName) has 0 of its own, and C(InitContainerWaiting), a PyTorch worker that does not find a master
        that runs, 120.
      - C(NotEnqueued), a gang that its queue does not let in, is waited for without a limit unless it has one here.
    type: dict
    default: {}
  max_crashes:
    description: How often a container that is restarted may crash before O(grace) begins to count.
    type: int
    default: 5
  metrics:
    description:
      - Regular expressions by the metric's name, each with a group C(value). They are looked for in the log of the
        replica that decides the job, which is read while it is written.
    type: dict
    default: {}
  follow:
    description: Whether to show the log of the replica that decides the job while it runs.
    type: bool
    default: false
  log_dir:
    description:
      - Directory on the controller that gets the whole log of every replica, as C(namespace/job/replica.log). They are
        written while the job runs, so they outlast its pods.
    type: path
  progress_file:
    description:
      - File that gets a line whenever something has changed. Where it is not given, and the output is for people, the
        lines are shown while the task runs.
    type: path
  on_change:
    description:
      - What to do where the job is there with another spec. The operator does not bring running pods to a new spec.
      - V(recreate) deletes it with its pods and makes it anew, after the API server has accepted the new one in a
        dry run.
      - V(ignore) leaves it as it is, and goes on with it.
    type: str
    choices: [fail, recreate, ignore]
    default: fail
  on_failed:
    description: What to do where the job is there with the same spec and has failed earlier; V(recreate) runs it again.
    type: str
    choices: [fail, recreate]
    default: fail
  on_stuck:
    description:
      - What to do with a job that this task has made and whose replicas never all started; see O(grace).
      - Its diagnosis is returned in either case. A job that has once fully started is never deleted.
    type: str
    choices: [delete, keep]
    default: delete
requirements:
  - python >= 3.10
  - kubernetes >= 24.2.0
  - PyYAML >= 3.11
  - openshift, with requests-oauthlib (only to log in to OpenShift by O(username) and O(password))
notes:
  - Names, roles, counts, images, quantities and policies are checked before the API server is asked. Then the objects
    that the volumes and variables refer to must exist, and a server dry run of a pod of each role must pass.
  - The job carries a hash of its spec in the annotation C(mlstack.kubernetes/spec-hash).
attributes:
  check_mode:
    description: By a dry run on the API server with strict field validation.
    support: full
  diff_mode:
    description: Shows labels, annotations and spec.
    support: full
"""
