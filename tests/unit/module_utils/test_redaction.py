from __future__ import annotations

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.course import Course
from ansible_collections.mlstack.kubernetes.plugins.module_utils.job_specs import TFJOB
from ansible_collections.mlstack.kubernetes.plugins.module_utils.redaction import HIDDEN, redacted, secrets_of
from hypothesis import given
from hypothesis import strategies as st

from .builders import ended, pod, tf_job, tf_params

# In two parts each, so that nobody who looks for leaked secrets finds any here.
TOKENS = [
    "hf_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6",
    "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "AKIA" + "A1B2C3D4E5F6G7H8",
    "xoxb-" + "123456789012-abcdefghijkl",
    "sk-" + "proj-a1B2c3D4e5F6g7H8i9J0k1L2",
    "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXBhcnQ",
]


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_are_known_by_their_form(token: str) -> None:
    assert redacted(f"logging in with {token} at step 3", ()) == f"logging in with {HIDDEN} at step 3"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("db_password=hunter22 step=1", f"db_password={HIDDEN} step=1"),
        ('{"api_key": "abcdef"}', f'{{"api_key": "{HIDDEN}"}}'),
        ("Authorization: Bearer abcdefghij", f"Authorization: Bearer {HIDDEN}"),
        ("s3://key:verysecret@host/path", f"s3://key:{HIDDEN}@host/path"),
        ("tokens=1000 loss=0.5", "tokens=1000 loss=0.5"),
        ("exit code 137: killed by SIGKILL", "exit code 137: killed by SIGKILL"),
        ("a task-based sk-learn run, hf_hub, eyJ", "a task-based sk-learn run, hf_hub, eyJ"),
    ],
)
def test_secrets_are_known_by_their_names(line: str, expected: str) -> None:
    assert redacted({"log": [line]}, ()) == {"log": [expected]}


def test_variables_of_all_containers_are_known() -> None:
    job = TFJOB.build(tf_params(env={"API_TOKEN": "first-secret", "EPOCHS": "3-epochs-long"}))
    spec = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    spec["initContainers"] = [{"name": "fetch", "env": [{"name": "FETCH_PASSWORD", "value": "second-secret"}]}]
    assert set(secrets_of(TFJOB, job)) == {"first-secret", "second-secret"}


def test_a_failed_job_does_not_tell_its_secrets() -> None:
    job = tf_job(conditions=("Failed",), replicas={"chief": {}}, env={"WANDB_API_KEY": "very-secret-value"})
    course = Course(TFJOB, "default", "mnist", live=job)
    course.take_in_pod("mnist-chief-0", pod("mnist-chief-0", ended(1)))
    course.logs["mnist-chief-0"] = ["wandb: cannot log in with very-secret-value"]
    failure = course.failure("It failed.")
    assert f"wandb: cannot log in with {HIDDEN}" in str(failure)
    assert failure.result["diagnosis"]["causes"][0]["log"] == [f"wandb: cannot log in with {HIDDEN}"]


@given(st.text(), st.lists(st.text(), max_size=3))
def test_any_text_can_be_looked_through(text: str, secrets: list[str]) -> None:
    clean = redacted(text, secrets)
    assert not any(secret in clean.replace(HIDDEN, "") for secret in secrets if len(secret) >= 6)
