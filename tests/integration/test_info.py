"""Jobs are listed as they are, and a report is written once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import wait_for
from .jobs import KINDS, Kind


def info(namespace: str, **options: Any) -> dict[str, Any]:
    return {"mlstack.kubernetes.training_job_info": {"namespace": namespace, **options}}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
def test_tells_of_jobs_that_run_and_that_failed(kind: Kind, namespace: str, start: Any, kubelet: Any) -> None:
    start(
        kind.task("alive", namespace, wait=False, labels={"sweep": "one"}),
        kind.task("bad", namespace, wait=False, run_policy={"backoff_limit": 0}, restart_policy="Never"),
    ).finish()
    for job in ("alive", "bad"):
        kubelet.wait_until_running(job, 3)
    kubelet.end("bad-worker-1", 3)
    start(kind.task("bad", namespace, wait_timeout=60)).finish()
    everything, selected, failed, elsewhere = start(
        info(namespace),
        info(namespace, selector="sweep=one", kinds=[kind.kind]),
        info(namespace, states=["Failed"], diagnosis=True, logs=True),
        info(namespace, name="absent"),
    ).finish()
    found = {job["name"]: job for job in everything["jobs"]}
    assert {name: job["state"] for name, job in found.items()} == {"alive": "Running", "bad": "Failed"}
    assert found["alive"]["kind"] == kind.kind
    assert found["alive"]["spec_hash"].startswith("sha256:")
    assert not found["alive"]["spec_edited"]
    assert [row["phase"] for row in found["alive"]["replicas"]] == ["Running"] * 3
    assert [job["name"] for job in selected["jobs"]] == ["alive"]
    (bad,) = failed["jobs"]
    assert bad["diagnosis"]["causes"][0]["replica"] == "worker-1"
    assert bad["diagnosis"]["causes"][0]["exit_code"] == 3
    # Simulated nodes have no logs.
    assert [row["log"] for row in bad["replicas"]] == [None] * 3
    assert elsewhere["jobs"] == []


def test_a_batch_is_verified_with_a_report(
    namespace: str, start: Any, kubelet: Any, core: Any, custom: Any, tmp_path: Path
) -> None:
    kind = KINDS[0]
    names = ["one", "two"]
    start(*(kind.task(name, namespace, wait=False, labels={"batch": "a"}) for name in names)).finish()
    for name in names:
        kubelet.wait_until_running(name, 3)
    for name, code in (("one", 0), ("two", 3)):
        for replica in ("worker-0", "worker-1", "chief-0"):
            kubelet.end(f"{name}-{replica}", code if replica == "worker-1" else 0)
    start(*({**kind.task(name, namespace, wait_timeout=60), "ignore_errors": True} for name in names)).finish()
    report = str(tmp_path / "report")
    verify = {
        "mlstack.kubernetes.training_job_verify": {
            "kind": kind.kind,
            "namespace": namespace,
            "selector": "batch=a",
            "report": report,
        },
        "ignore_errors": True,
    }
    first = start(verify).finish()[0]
    assert first.failed
    assert "1 of 2 TFJobs" in first["msg"]
    assert "two: worker-1: wanted it to run, and exit code 0 if it ends, saw 3" in first["msg"]
    assert {job["name"]: not job["unmet"] for job in first["jobs"]} == {"one": True, "two": False}
    assert first["changed"]

    def versions() -> list[str]:
        jobs = custom.list_namespaced_custom_object("kubeflow.org", "v1", namespace, "tfjobs")["items"]
        rest = [*core.list_namespaced_pod(namespace).items, *core.list_namespaced_event(namespace).items]
        return [job["metadata"]["resourceVersion"] for job in jobs] + [item.metadata.resource_version for item in rest]

    def undisturbed() -> list[Any]:
        before = versions()
        tasks = start(verify, verify).finish()
        # What came meanwhile, such as a late event, belongs into the report.
        return tasks if versions() == before else []

    assert [task["changed"] for task in wait_for(undisturbed, 60)][-1] is False
    assert "1 of 2 training jobs are as wanted" in Path(report, "report.html").read_text()
