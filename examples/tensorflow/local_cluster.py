# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of processes on this machine, for running an example without Kubernetes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time


def run_local_cluster(jobs: dict[str, int]) -> int:
    """Run this same command once for each task of `jobs`, told apart by TF_CONFIG as a TFJob's replicas are.

    Return the exit code of the first task that fails, after stopping the others; 0 when all have finished.
    """
    with contextlib.ExitStack() as held:
        # All ports are held while they are chosen, so that none is chosen twice.
        def address() -> str:
            return "{}:{}".format(*held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname())

        cluster = {job: [address() for _ in range(count)] for job, count in jobs.items()}

    running = []
    for job, count in jobs.items():
        for index in range(count):
            tf_config = {"cluster": cluster, "task": {"type": job, "index": index}}
            environment = os.environ | {"TF_CONFIG": json.dumps(tf_config)}
            running.append(subprocess.Popen([sys.executable, *sys.argv], env=environment))
    try:
        while running:
            for task in running:
                if task.poll():
                    return task.returncode
            running = [task for task in running if task.poll() is None]
            time.sleep(0.1)
        return 0
    finally:
        for task in running:
            task.terminate()
