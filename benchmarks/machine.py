# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the measurements were made with."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import ansible_collections.kubernetes.core as kubernetes_core
import yaml

from .jobs import Jobs, manifest
from .processes import CHECKOUT
from .tools import SDK_PYTHON, SUBMITTERS, TOOLS, Bench

_SDK_VERSION = "import importlib.metadata as m; print(m.version('kubeflow-training'), m.version('kubernetes'))"


def describe(bench: Bench) -> dict[str, str]:
    processor = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    core = json.loads((Path(next(iter(kubernetes_core.__path__))) / "MANIFEST.json").read_text())
    kubectl = json.loads(_output(bench.kubectl, "version", "--client", "-o", "json"))
    sdk, sdk_client = _output(str(SDK_PYTHON), "-c", _SDK_VERSION).split()
    return {
        "Processor": f"{os.cpu_count()} cores, {processor[1] if processor else platform.machine()}",
        "Memory": f"{memory:.0f} GiB",
        "Kernel": platform.release(),
        "Kubernetes": bench.cluster.version,
        "kubectl": kubectl["clientVersion"]["gitVersion"],
        "Python": platform.python_version(),
        "ansible-core": importlib.metadata.version("ansible-core"),
        "kubernetes.core": core["collection_info"]["version"],
        "kubernetes (Python)": importlib.metadata.version("kubernetes"),
        "kubeflow-training": f"{sdk}, with kubernetes {sdk_client}",
    }


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commands(bench: Bench) -> dict[str, str]:
    """What is run for each tool, for one job; of a playbook its tasks."""
    with tempfile.TemporaryDirectory() as name:
        jobs = Jobs(Path(name), "bench", [manifest("bench", 0)])
        settings = bench.cluster.settings
        shown = {
            f"{name}/": "",
            f"{CHECKOUT}/": "",
            f"{Path(sys.executable).parent}/": "",
            str(bench.cluster.kubeconfig): '"$KUBECONFIG"',
            bench.kubectl: "kubectl",
            settings.ssl_ca_cert: "ca.crt",
            settings.cert_file: "client.crt",
            settings.key_file: "client.key",
        }
        found = {}
        for tool in TOOLS:
            text = " ".join(tool.command(bench, jobs))
            if (playbook := Path(name) / "playbook.yaml").exists():
                text += "\n" + yaml.safe_dump(yaml.safe_load(playbook.read_text())[0]["tasks"], sort_keys=False)
                playbook.unlink()
            for path, instead in shown.items():
                text = text.replace(path, instead)
            found[tool.name if tool in SUBMITTERS else f"{tool.name}, waiting"] = text.strip()
        return found
