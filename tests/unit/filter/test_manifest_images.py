"""The images that manifests name."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mlstack.kubernetes.plugins.filter.manifest_images import manifest_images

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("kubeflow/operator:v1", "docker.io/kubeflow/operator:v1"),
        ("quay.io/a/b:1", "quay.io/a/b:1"),
        ("localhost/a", "localhost/a:latest"),
        ("registry:5000/a", "registry:5000/a:latest"),
        (f"quay.io/a/b@{DIGEST}", f"quay.io/a/b@{DIGEST}"),
        (f"quay.io/a/b:1@{DIGEST}", f"quay.io/a/b:1@{DIGEST}"),
    ],
)
def test_a_name_is_completed(given: str, image: str) -> None:
    assert manifest_images({"spec": {"containers": [{"image": given}]}}) == [image]


def test_all_kinds_of_places_are_found_and_each_image_is_named_once() -> None:
    text = """
kind: Deployment
spec:
  template:
    spec:
      initContainers: [{name: init, image: 'quay.io/a/init:1'}]
      containers:
        - image: quay.io/a/main:2
          args: [--helper-image=quay.io/a/helper:3, --image=plain, --imagePullPolicy=Always]
          env:
            - {name: DRIVER_IMAGE, value: 'nvcr.io/nvidia/driver:4'}
            - {name: IMAGE_PULL_POLICY, value: Always}
---
kind: ClusterPolicy
spec:
  driver: {repository: nvcr.io/nvidia, image: driver, version: '5'}
  toolkit: {repository: nvcr.io/nvidia/k8s, image: container-toolkit, version: 'sha256:%s'}
  empty: {image: ''}
---
kind: Pod
spec: {containers: [{image: 'quay.io/a/main:2'}]}
---
""" % ("0" * 64)
    assert manifest_images(text) == [
        "nvcr.io/nvidia/driver:4",
        "nvcr.io/nvidia/driver:5",
        f"nvcr.io/nvidia/k8s/container-toolkit@{DIGEST}",
        "quay.io/a/helper:3",
        "quay.io/a/init:1",
        "quay.io/a/main:2",
    ]


def test_what_is_no_yaml_is_told() -> None:
    with pytest.raises(AnsibleFilterError, match="cannot read this YAML"):
        manifest_images("a: [")
