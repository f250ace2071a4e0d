"""What a site without internet needs: listed, saved to a directory, loaded from there, and nothing done twice."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import HOME, Run, kubectl, playbook

pytestmark = pytest.mark.extended

REGISTRY = HOME / "registry/mlstack-test"
ARCHIVE = b"a release archive"
# Of the role volcano's chart.
VERSION = "1.14.1"


@pytest.fixture(scope="module")
def image(stack: Run) -> str:
    """An image that a registry has."""
    found = kubectl("get", "tfjob/training-operator-verify", "-n", "kubeflow", "-o", "jsonpath={.spec..image}")
    return found.split()[0]


def chart(image: str) -> bytes:
    """A chart that is called as the role's, with one container."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": [{"name": "x", "image": image}]},
    }
    files = {
        "Chart.yaml": {"apiVersion": "v2", "name": "volcano", "version": VERSION},
        "templates/pod.yaml": pod,
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            text = yaml.safe_dump(content).encode()
            member = tarfile.TarInfo(f"volcano/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return packed.getvalue()


@pytest.fixture(scope="module")
def upstream(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of what would be the internet: a chart repository and a release archive."""
    directory = tmp_path_factory.mktemp("upstream")
    packed = chart(image)
    repository = directory / "volcano-sh.github.io/helm-charts"
    repository.mkdir(parents=True)
    (repository / f"volcano-{VERSION}.tgz").write_bytes(packed)
    entry = {
        "apiVersion": "v2",
        "name": "volcano",
        "version": VERSION,
        "urls": [f"volcano-{VERSION}.tgz"],
        "digest": hashlib.sha256(packed).hexdigest(),
    }
    (repository / "index.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "entries": {"volcano": [entry]}}))
    (directory / "helm.tar.gz").write_bytes(ARCHIVE)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def carry(directory: Path, upstream: str, mode: str, **variables: Any) -> Run:
    given: dict[str, Any] = {
        "carry_directory": str(directory),
        "carry_mode": mode,
        "carry_components": ["volcano", "helm_release"],
        "mlstack_chart_mirror": upstream,
        "helm_release_supply": "packages",
        "helm_release_archive_url": f"{upstream}/helm.tar.gz",
        "helm_release_archive_checksum": f"sha256:{hashlib.sha256(ARCHIVE).hexdigest()}",
        "registry_mirror_auth_file": str(REGISTRY / "auth.json"),
        "registry_mirror_ca_certificate": str(REGISTRY / "ca.crt"),
        **variables,
    }
    return playbook("playbooks/carry.yaml", "--extra-vars", json.dumps(given))


def test_a_directory_carries_all_that_is_needed(image: str, upstream: str, tmp_path: Path) -> None:
    wanted = {"volcano_verify_image": image}
    assert carry(tmp_path, upstream, "list", **wanted).status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["charts.txt", "files.txt", "images.txt"]
    assert (tmp_path / "images.txt").read_text() == f"{image}\n"
    assert (tmp_path / "files.txt").read_text().startswith(f"{upstream}/helm.tar.gz sha256:")
    repository = f"{upstream}/volcano-sh.github.io/helm-charts"
    assert (tmp_path / "charts.txt").read_text() == f"{repository} volcano {VERSION}\n"

    run = carry(tmp_path, upstream, "save", **wanted)
    assert run.status == 0
    again = carry(tmp_path, upstream, "save", **wanted)
    assert (again.status, again.changed) == (0, [])
    host = upstream.removeprefix("http://")
    assert (tmp_path / "files" / host / "helm.tar.gz").read_bytes() == ARCHIVE
    charts = tmp_path / "charts" / host / "volcano-sh.github.io/helm-charts"
    index = yaml.safe_load((charts / "index.yaml").read_text())
    assert (charts / index["entries"]["volcano"][0]["urls"][0]).is_file()

    path = {"registry_mirror_path": "site", **wanted}
    loaded = carry(tmp_path, upstream, "load", **path)
    assert loaded.status == 0
    assert "mlstack_image_registry_mirror: 127.0.0.1:15443/site" in loaded.words
    again = carry(tmp_path, upstream, "load", **path)
    assert (again.status, again.changed) == (0, [])


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"carry_directory": "disk"}, "carry_directory: 'disk' is no absolute path"),
        ({"carry_mode": "burn"}, "carry_mode: 'burn' is none of list, save and load"),
        ({"volcano_version": "v9"}, "The chart volcano 9 from"),
        ({"carry_images": ["127.0.0.1:15443/mlstack/nothing:1"]}, "127.0.0.1:15443/mlstack/nothing:1: "),
    ],
)
def test_what_cannot_be_had_is_told(
    image: str, upstream: str, tmp_path: Path, variables: dict[str, Any], message: str
) -> None:
    run = carry(tmp_path, upstream, "save", **{"volcano_verify_image": image, **variables})
    assert run.status != 0
    assert message in run.words
