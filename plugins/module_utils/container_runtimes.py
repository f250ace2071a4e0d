# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Container runtimes of a host, and the files in which they are told of NVIDIA's.

`nvidia-ctk` writes the entry for NVIDIA's runtime. It works on copies here, so that what it makes can be compared with
what is there, shown, and kept to a file of its own.

containerd merges the files that its `imports` name by plugin: a file with an entry for the CRI plugin takes the place
of all that other files say of that plugin. The file for NVIDIA's runtime has to repeat that, and is made of what
containerd says its configuration is without that file.
"""

from __future__ import annotations

import calendar
import glob
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from ansible_collections.mlstack.kubernetes.plugins.module_utils import whole_files

HANDLER = "nvidia"
PROGRAM = "/usr/bin/nvidia-container-runtime"
# Status, output and errors of a program.
Run = Callable[[Sequence[str]], tuple[int, str, str]]
# The text that files should have, by their paths; None for a file that should not be there.
Files = dict[str, str | None]

IMPORTS = re.compile(r"^[ \t]*imports[ \t]*=[ \t]*\[(?P<files>[^\]]*)\][ \t]*(?:#.*)?$", re.MULTILINE)
CRI_DISABLED = re.compile(r"^[ \t]*disabled_plugins[ \t]*=[ \t]*\[[^\]]*cri", re.MULTILINE)
QUOTED = re.compile(r"""["']([^"']+)["']""")
# Marks a line that was added, so that a removal finds it.
MARK = "# mlstack.kubernetes: nvidia_container_toolkit"
# The main file of a containerd that has none.
CREATED = "# Made by mlstack.kubernetes: nvidia_container_toolkit\nversion = 2\n"


class ConfigurationError(Exception):
    """What cannot be configured, with its cure."""


@dataclass(frozen=True)
class Runtime:
    """A container runtime: its units, of which a host has one, its main file and the file for NVIDIA's runtime.

    Without `drop_in` the runtime reads one file only; without both it finds NVIDIA's runtime by itself.
    """

    name: str
    units: tuple[str, ...]
    main: str = ""
    drop_in: str = ""


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("containerd", ("containerd",), "/etc/containerd/config.toml", "/etc/containerd/conf.d/99-nvidia.toml"),
        Runtime("crio", ("crio",), "/etc/crio/crio.conf", "/etc/crio/crio.conf.d/99-nvidia.toml"),
        Runtime("docker", ("docker",), "/etc/docker/daemon.json"),
        Runtime("k0s", ("k0scontroller", "k0sworker"), "", "/etc/k0s/containerd.d/nvidia.toml"),
        Runtime("k3s", ("k3s", "k3s-agent")),
    )
}


def read(path: str) -> str | None:
    return whole_files.read(path)[0]


def runner(run_command: Callable[..., tuple[int, str, str]], *before: str) -> Run:
    """Return what runs programs by a module's `run_command`, with words before each command.

    A program that is not there ends with 127, as in a shell.
    """

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        try:
            return run_command([*before, *command], handle_exceptions=False)
        except FileNotFoundError as error:
            return 127, "", str(error)

    return run


def imports_of(text: str) -> list[str]:
    """Return the files that a configuration of containerd imports, as patterns."""
    # Behind the first table a line of this form would belong to that table.
    found = IMPORTS.search(f"\n{text}".partition("\n[")[0])
    return QUOTED.findall(found["files"]) if found else []


def reads(text: str, main: str, drop_in: str) -> bool:
    """Return whether containerd with this main file reads the drop-in file."""
    return any(
        fnmatch(drop_in, os.path.normpath(os.path.join(os.path.dirname(main), pattern))) for pattern in imports_of(text)
    )


def with_import(text: str, drop_in: str) -> str:
    """Return the main file with the drop-in's directory among its imports."""
    pattern = os.path.join(os.path.dirname(drop_in), "*.toml")
    listed = ", ".join(json.dumps(name) for name in [*imports_of(text), pattern])
    line = f"imports = [{listed}] {MARK}"
    if imports_of(text):
        return IMPORTS.sub(lambda _: line, text, count=1)
    return f"{line}\n{text}"


def without_import(text: str, drop_in: str) -> str:
    """Return the main file as it was before `with_import`."""
    pattern = os.path.join(os.path.dirname(drop_in), "*.toml")
    lines = []
    for line in text.splitlines(keepends=True):
        if line.rstrip().endswith(MARK):
            others = [name for name in imports_of(line) if name != pattern]
            if not others:
                continue
            line = f"imports = [{', '.join(json.dumps(name) for name in others)}]\n"
        lines.append(line)
    return "".join(lines)


def without_drop_in(text: str, main: str, drop_in: str) -> str:
    """Return the main file with its imports one by one, and the drop-in not among them."""
    directory = os.path.dirname(main)
    files = [
        name
        for pattern in imports_of(text)
        for name in sorted(glob.glob(os.path.join(directory, pattern)))
        if os.path.normpath(name) != drop_in
    ]
    return IMPORTS.sub(lambda _: f"imports = {json.dumps(files)}", text, count=1)


def call(run: Run, *command: str) -> str:
    status, output, errors = run(command)
    if status != 0:
        raise ConfigurationError(f"`{' '.join(command)}` ended with {status}: {(errors or output).strip()[-600:]}")
    return output


def configured(run: Run, engine: str, source: str, options: Sequence[str], drop_in: bool) -> str:
    """Return what nvidia-ctk makes of a configuration: the file for NVIDIA's runtime, or the only file there is."""
    with tempfile.TemporaryDirectory(prefix="mlstack-") as directory:
        main, own = os.path.join(directory, "main"), os.path.join(directory, "own")
        with open(main, "w", encoding="utf-8") as stream:
            stream.write(source)
        command = ["nvidia-ctk", "runtime", "configure", f"--runtime={engine}", f"--config={main}", *options]
        if drop_in:
            command += ["--config-source=file", f"--drop-in-config={own}"]
        call(run, *command)
        return read(own if drop_in else main) or ""


def containerd_source(run: Run, text: str, runtime: Runtime) -> str:
    """Return containerd's whole configuration without the file for NVIDIA's runtime."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as stream:
        stream.write(without_drop_in(text, runtime.main, runtime.drop_in))
        stream.flush()
        dump = call(run, "containerd", "--config", stream.name, "config", "dump")
    # It names the file that it was given, which is gone by then.
    return IMPORTS.sub("imports = []", dump, count=1)


def problem(runtime: Runtime, add_import: bool) -> str:
    """Return what keeps the runtime from being told of NVIDIA's, with its cure; empty where nothing does."""
    text = read(runtime.main) if runtime.main else None
    if text is None:
        return ""
    if runtime.name == "docker":
        try:
            json.loads(text or "{}")
        except ValueError as error:
            return f"{runtime.main}: it is not JSON ({error}); mend it first."
    if runtime.name == "containerd":
        if CRI_DISABLED.search(text):
            return (
                f"{runtime.main}: disabled_plugins has cri, without which Kubernetes cannot use containerd. Take it "
                "out, or leave containerd out."
            )
        if re.search(r"^version[ \t]*=[ \t]*1\b|\A(?![\s\S]*^version[ \t]*=)", text, re.MULTILINE):
            return (
                f"{runtime.main}: it is of version 1, with which containerd reads no further files. Have it written "
                "anew: containerd config migrate"
            )
        if not reads(text, runtime.main, runtime.drop_in) and not add_import:
            return (
                f"{runtime.main}: containerd does not read {runtime.drop_in}. Write imports = "
                f'["{os.path.dirname(runtime.drop_in)}/*.toml"] above its first table, or have that line added.'
            )
    return ""


def configuration(run: Run, runtime: Runtime, options: Sequence[str], add_import: bool) -> Files:
    """Return the files with which the runtime knows NVIDIA's.

    Raises ConfigurationError where something keeps it from that.
    """
    if trouble := problem(runtime, add_import):
        raise ConfigurationError(trouble)
    if runtime.name == "containerd":
        text = read(runtime.main)
        new = CREATED if text is None else text
        if not reads(new, runtime.main, runtime.drop_in):
            new = with_import(new, runtime.drop_in)
        own = configured(run, "containerd", containerd_source(run, new, runtime), options, drop_in=True)
        return {runtime.drop_in: own, runtime.main: new}
    if runtime.name == "docker":
        text = read(runtime.main)
        new = configured(run, "docker", text or "{}", options, drop_in=False)
        # Written anew only where it says another thing.
        return {runtime.main: new if json.loads(new) != json.loads(text or "{}") else text}
    if runtime.drop_in:
        engine = "crio" if runtime.name == "crio" else "containerd"
        own = configured(
            run, engine, "", [option for option in options if engine != "crio" or "cdi" not in option], True
        )
        return {runtime.drop_in: own}
    return {}


def removal(runtime: Runtime) -> Files:
    """Return the files of a runtime that does not know NVIDIA's any more."""
    if runtime.name == "docker":
        text = read(runtime.main)
        settings = json.loads(text or "{}")
        before = json.dumps(settings)
        runtimes = settings.get("runtimes", {})
        runtimes.pop(HANDLER, None)
        if not runtimes:
            settings.pop("runtimes", None)
        if settings.get("default-runtime") == HANDLER:
            del settings["default-runtime"]
        return {runtime.main: text if json.dumps(settings) == before else json.dumps(settings, indent=4) + "\n"}
    files: Files = {runtime.drop_in: None} if runtime.drop_in else {}
    if runtime.name == "containerd" and (text := read(runtime.main)) is not None:
        files[runtime.main] = None if CREATED in text else without_import(text, runtime.drop_in)
    return files


def unit_of(run: Run, runtime: Runtime) -> str:
    """Return the name of the runtime's unit that systemd knows, empty where it knows none."""
    for unit in runtime.units:
        status, output, _errors = run(["systemctl", "show", "--property=LoadState", "--value", unit])
        if status == 0 and output.strip() == "loaded":
            return unit
    return ""


def found(run: Run) -> list[Runtime]:
    """Return the runtimes of this host. Where Kubernetes brings its own, that alone."""
    there = [runtime for runtime in RUNTIMES.values() if unit_of(run, runtime)]
    bundled = [runtime for runtime in there if runtime.name in ("k0s", "k3s")]
    if bundled:
        return bundled
    # Docker's own packages bring a containerd in which Kubernetes' plugin is off.
    return [
        runtime
        for runtime in there
        if runtime.name != "containerd" or not CRI_DISABLED.search(read(runtime.main) or "")
    ]


def started(run: Run, unit: str) -> float | None:
    """Return when the unit's program was started, in seconds since 1970; None where it does not run."""
    # In words that all versions of systemd have: --timestamp=unix came with 251.
    command = ["env", "TZ=UTC", "LC_ALL=C", "systemctl", "show", "--property=ActiveState,ExecMainStartTimestamp", unit]
    values = dict(line.split("=", 1) for line in call(run, *command).splitlines() if "=" in line)
    stamp = values.get("ExecMainStartTimestamp", "")
    if values.get("ActiveState") != "active" or not stamp:
        return None
    _weekday, day, hour, zone = stamp.split()
    return float(calendar.timegm(time.strptime(f"{day} {hour} {zone}", "%Y-%m-%d %H:%M:%S %Z")))


def is_stale(run: Run, unit: str, paths: Sequence[str]) -> bool:
    """Return whether the unit runs since before one of the files came."""
    since = started(run, unit)
    # Not the time of modification: packages bring theirs along.
    times = [os.stat(path).st_ctime for path in paths if os.path.exists(path)]
    return since is not None and any(int(time) > since for time in times)


def handlers(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the handlers of a CRI, with the program of each, by what it says of its configuration."""
    containerd = settings.get("config", {}).get("containerd", {})
    return {
        name: str((runtime.get("options") or {}).get("BinaryName", ""))
        for name, runtime in (containerd.get("runtimes") or {}).items()
    }
