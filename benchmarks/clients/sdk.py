# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The kubeflow-training SDK: submits jobs one by one as its documentation does, or waits for one.

Arguments: a kubeconfig, a namespace, and `submit` with a file of JSON lines or `wait` with a job's name.
"""

from __future__ import annotations

import json
import sys
import time

from kubeflow.training import KubeflowOrgV1TFJob, TrainingClient
from kubernetes.client import V1ObjectMeta


def submit(client: TrainingClient, namespace: str, file: str) -> None:
    with open(file, encoding="utf-8") as stream:
        for line in stream:
            manifest = json.loads(line)
            job = KubeflowOrgV1TFJob(
                api_version=manifest["apiVersion"],
                kind=manifest["kind"],
                metadata=V1ObjectMeta(**manifest["metadata"]),
                spec=manifest["spec"],
            )
            client.create_job(job, namespace=namespace)


def wait(client: TrainingClient, namespace: str, name: str) -> None:
    """Prints when the SDK has given its answer: the job, or the error that it has failed."""
    try:
        client.wait_for_job_conditions(name, namespace=namespace, job_kind="TFJob")
    except RuntimeError as error:
        print(error, file=sys.stderr)
    print(json.dumps({"returned": time.time()}))


def main(kubeconfig: str, namespace: str, action: str, subject: str) -> None:
    client = TrainingClient(config_file=kubeconfig, namespace=namespace, job_kind="TFJob")
    {"submit": submit, "wait": wait}[action](client, namespace, subject)


if __name__ == "__main__":
    main(*sys.argv[1:])
