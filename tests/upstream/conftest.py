"""The roles' `upstream` supply with the real charts, on a cluster whose nodes are simulated.

MLSTACK_TEST_CHARTS names a directory with the charts' archives. Without it they are downloaded into .cache/charts from
where the roles would take them.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import tarfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.conftest import CHECKOUT, kubectl

# By the names of their roles' variables in defaults/main.yml: repository and version.
CHARTS = {
    "csi-driver-nfs": ("nfs_storage", "nfs_storage_chart_repository", "nfs_storage_chart_version"),
    "gpu-operator": (
        "nvidia_device_plugin",
        "nvidia_device_plugin_operator_chart_repository",
        "nvidia_device_plugin_operator_version",
    ),
    "jupyterhub": ("jupyterhub", "jupyterhub_chart_repository", "jupyterhub_chart_version"),
    "nvidia-device-plugin": (
        "nvidia_device_plugin",
        "nvidia_device_plugin_chart_repository",
        "nvidia_device_plugin_version",
    ),
    "volcano": ("volcano", "volcano_chart_repository", "volcano_version"),
}
# gpu-operator's versions begin with a v, in its chart too.
WITH_V = {"gpu-operator"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write the keys of the charts down for the unit tests")


def pinned(chart: str) -> tuple[str, str]:
    """Where the role takes the chart from, and which release of it."""
    role, repository, version = CHARTS[chart]
    defaults = yaml.safe_load((CHECKOUT / "roles" / role / "defaults/main.yml").read_text())
    # The last text of an expression that puts a mirror before the address.
    address = defaults[repository].replace("'", "").split("}}")
    where = address[-1].strip() or address[0].split("https://")[1].split(" ")[0]
    number = str(defaults[version])
    return f"https://{where.strip('/')}", number if chart in WITH_V else number.removeprefix("v")


def archive_name(chart: str) -> str:
    return f"{chart}-{pinned(chart)[1]}.tgz"


@pytest.fixture(scope="session")
def charts() -> Path:
    """The directory with the archives of all charts."""
    if given := os.environ.get("MLSTACK_TEST_CHARTS"):
        directory = Path(given)
    else:
        directory = CHECKOUT / ".cache/charts"
        directory.mkdir(parents=True, exist_ok=True)
        for chart in CHARTS:
            if not (directory / archive_name(chart)).exists():
                _download(chart, directory)
    if missing := [name for name in map(archive_name, CHARTS) if not (directory / name).exists()]:
        raise pytest.UsageError(f"{directory} lacks {', '.join(missing)}; put the charts' archives there.")
    return directory


def _download(chart: str, directory: Path) -> None:
    repository, version = pinned(chart)
    try:
        entries = yaml.safe_load(_fetched(f"{repository}/index.yaml"))["entries"][chart]
        entry = next(entry for entry in entries if entry["version"] == version)
        packed = _fetched(urllib.parse.urljoin(f"{repository}/", entry["urls"][0]))
    except (urllib.error.URLError, StopIteration) as error:
        raise pytest.UsageError(
            f"The chart {chart} {version} cannot be downloaded from {repository}: {error}. Name a directory that has "
            f"{archive_name(chart)} with MLSTACK_TEST_CHARTS."
        ) from error
    assert hashlib.sha256(packed).hexdigest() == entry["digest"], f"{chart} is not what its repository says"
    (directory / archive_name(chart)).write_bytes(packed)


def _fetched(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=20) as answer:
        return bytes(answer.read())


@pytest.fixture(scope="session")
def chart_mirror(charts: Path) -> Iterator[str]:
    """The address of a mirror of all chart repositories on this machine."""
    index = yaml.safe_dump(
        {"apiVersion": "v1", "entries": {chart: [_entry(charts, chart)] for chart in CHARTS}}
    ).encode()

    class Repository(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # All repositories have all charts.
            name = Path(self.path).name
            content = index if name == "index.yaml" else (charts / name).read_bytes()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Repository) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _entry(charts: Path, chart: str) -> dict[str, Any]:
    """What the index of a repository says of a chart."""
    file = charts / archive_name(chart)
    with tarfile.open(file) as packed:
        described = packed.extractfile(f"{chart}/Chart.yaml")
        assert described
        metadata: dict[str, Any] = yaml.safe_load(described.read())
    return {**metadata, "urls": [file.name], "digest": hashlib.sha256(file.read_bytes()).hexdigest()}


@pytest.fixture(scope="session")
def simulated() -> Iterator[None]:
    """Only simulated nodes take pods, and they take any. What is to come to an end there does so at once."""
    nodes = kubectl("get", "nodes", "--output=jsonpath={.items[*].metadata.name}").split()
    fake = kubectl("get", "nodes", "--selector=type=kwok", "--output=jsonpath={.items[*].metadata.name}").split()
    real = [name for name in nodes if name not in fake]
    kubectl("cordon", *real)
    kubectl("taint", "nodes", *fake, "kwok.x-k8s.io/node=fake:NoSchedule-")
    is_over = threading.Event()
    ending = threading.Thread(target=_end_jobs, args=(is_over,))
    ending.start()
    try:
        yield
    finally:
        is_over.set()
        ending.join()
        kubectl("taint", "nodes", *fake, "kwok.x-k8s.io/node=fake:NoSchedule")
        kubectl("uncordon", *real)


def _end_jobs(is_over: threading.Event) -> None:
    """Let the pods of Jobs succeed: charts wait for those of their hooks."""
    while not is_over.wait(1):
        for pod in json.loads(kubectl("get", "pods", "--all-namespaces", "--output=json"))["items"]:
            owners = [owner["kind"] for owner in pod["metadata"].get("ownerReferences", [])]
            if owners == ["Job"] and pod["status"]["phase"] == "Running":
                place = f"--namespace={pod['metadata']['namespace']}"
                with suppress(subprocess.CalledProcessError):
                    # It may be gone.
                    kubectl(
                        *("patch", "pod", pod["metadata"]["name"], place, "--subresource=status"),
                        '--patch={"status": {"phase": "Succeeded"}}',
                    )
