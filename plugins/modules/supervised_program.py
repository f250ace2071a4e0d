#!/usr/bin/python
# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: supervised_program
short_description: Keep one long-lived program running under systemd or runit
version_added: 0.1.0
author:
  - mlstack.kubernetes contributors (@mlstack)
description:
  - Writes the start script of a program and keeps the program running, starting it again when it dies.
  - Where systemd is the first process, it is a systemd unit. Elsewhere it is a service directory with a C(runsv)
    of its own and a size-bounded log below C(log/main).
  - The program is restarted when its script or a file that it reads is no longer what it was at the last start.
    The state at the last start is kept in the service directory, so that an interrupted run loses no restart.
requirements:
  - runit, where systemd is not the first process
options:
  name:
    description: Name of the program, and of the systemd unit.
    type: str
    required: true
  directory:
    description: Service directory. It belongs to the service as a whole and is removed with it.
    type: path
    required: true
  script:
    description: Text of the start script, which must end in C(exec). Required unless O(state=absent).
    type: str
  watched:
    description: Files that the program reads at its start. It is restarted when one of them changed.
    type: list
    elements: path
    default: []
  state:
    description:
      - With V(started) the program runs, with V(restarted) it is started anew in any case.
      - With V(absent) the program is stopped and the directory and the unit are removed.
    type: str
    choices: [started, restarted, absent]
    default: started
  stop_timeout:
    description: Seconds that the program has for its end after SIGTERM, before it is killed.
    type: int
    default: 20
  delegate:
    description: Whether systemd hands the unit's cgroup over to the program, as container runtimes want it.
    type: bool
    default: false
  log_size:
    description: Largest size of one log file in bytes. Ten old ones are kept. Used by runit only.
    type: int
    default: 2000000
attributes:
  check_mode:
    description: Says what would change and does nothing.
    support: full
  diff_mode:
    description: Shows the start script and the unit before and after.
    support: full
"""

EXAMPLES = r"""
- name: Keep etcd running
  mlstack.kubernetes.supervised_program:
    name: example-etcd
    directory: /var/lib/example/etcd/service
    script: |
      #!/bin/sh
      exec etcd --config-file /etc/example/etcd.yaml
    watched: [/etc/example/etcd.yaml]
"""

RETURN = r"""
action:
  description: What was done, or would be done in check mode.
  returned: success
  type: str
  sample: started
service_manager:
  description: What keeps the program running.
  returned: success
  type: str
  sample: runit
log:
  description: Where to read what the program says.
  returned: success
  type: str
  sample: /var/lib/example/etcd/service/log/main/current
"""

import contextlib
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ServiceError(Exception):
    """The service could not be brought to the wanted state."""


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def write(path: str, content: str, mode: int) -> None:
    """Replace the file in one step: a shell that still reads the old script is not disturbed."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
    os.replace(temporary, path)


def digest_of(files: dict[str, str], watched: list[str]) -> str:
    """Return one hash of everything that a start of the program depends on."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path}\0{files[path]}\0".encode("utf-8", "surrogateescape"))
    for path in sorted(watched):
        digest.update(f"{path}\0".encode())
        try:
            with open(path, "rb") as stream:
                digest.update(hashlib.sha256(stream.read()).digest())
        except FileNotFoundError:
            digest.update(b"missing")
    return digest.hexdigest()


def run(*command: str) -> str:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode:
        raise ServiceError(f"{' '.join(command)}: {(result.stderr or result.stdout).strip()}")
    return result.stdout


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition holds, and return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class Runit:
    """A service directory and the runsv that watches over it."""

    name = "runit"

    def __init__(self, params: dict[str, Any]) -> None:
        self.directory: str = params["directory"]
        self.stop_timeout: int = params["stop_timeout"]
        self.log = os.path.join(self.directory, "log/main/current")
        self.files = {
            os.path.join(self.directory, "run"): params["script"] or "",
            os.path.join(self.directory, "log/run"): "#!/bin/sh\nexec svlogd -tt ./main\n",
            os.path.join(self.directory, "log/main/config"): f"s{params['log_size']}\nn10\n",
        }

    def exists(self) -> bool:
        return os.path.isdir(self.directory)

    def supervised(self) -> bool:
        """Return whether a runsv reads its control pipe."""
        try:
            os.close(os.open(os.path.join(self.directory, "supervise/ok"), os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO):
                return False
            raise
        return True

    def status(self) -> tuple[bool, int]:
        """Return whether runsv wants the program up, and the program's process ID, 0 where it does not run."""
        try:
            with open(os.path.join(self.directory, "supervise/status"), "rb") as stream:
                record = stream.read(20)
        except FileNotFoundError:
            return False, 0
        return record[17:18] == b"u", int.from_bytes(record[12:16], "little")

    def running(self) -> bool:
        return self.supervised() and self.status()[0]

    def start(self) -> None:
        if self.supervised():
            self.stop()
            self.control("u")
        else:
            self.end_orphans()
            self.start_supervisor()
        if not wait(lambda: self.running() and self.status()[1] > 0, 10):
            raise ServiceError(f"runsv {self.directory}: did not start the program within 10 seconds; see {self.log}")

    def start_supervisor(self) -> None:
        runsv = shutil.which("runsv", path=PATH)
        if not runsv:
            raise ServiceError("runsv: not found; install the package runit")
        # A session of its own and closed descriptors: the supervisor outlives the connection that started it.
        subprocess.run(
            ["setsid", "--fork", runsv, self.directory],
            check=True,
            cwd="/",
            env={"PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            umask=0o022,
        )

    def stop(self) -> None:
        self.control("d")
        if not wait(lambda: self.status()[1] == 0, self.stop_timeout):
            self.control("k")
            if not wait(lambda: self.status()[1] == 0, 10):
                raise ServiceError(f"process {self.status()[1]} did not end when it was killed")

    def remove(self) -> None:
        if self.supervised():
            self.stop()
            self.control("x")
            # The logger ends with the last process that writes to it; one that the program left behind may do so still.
            wait(lambda: not self.supervised(), 3)
        self.end_orphans()
        if not wait(lambda: not self.supervised(), 5):
            raise ServiceError(f"runsv {self.directory}: did not end")
        shutil.rmtree(self.directory)

    def control(self, command: str) -> None:
        with open(os.path.join(self.directory, "supervise/control"), "w", encoding="ascii") as pipe:
            pipe.write(command)

    def end_orphans(self) -> None:
        """End the program and the logger that runsv left behind."""
        for part in ("", "log"):
            record = os.path.join(self.directory, part, "supervise/pid")
            pid = (read(record) or "").strip()
            if pid.isdigit() and self.started_with(int(pid), record):
                self.end(int(pid), record)

    def started_with(self, pid: int, record: str) -> bool:
        """Return whether the process of the record is alive. A later one that got its number is not it."""
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
                fields = stream.read().rpartition(")")[2].split()
            with open("/proc/uptime", encoding="utf-8") as stream:
                uptime = float(stream.read().split()[0])
            age = uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK")
            # A zombie has ended, even if nobody has asked for its exit status.
            return fields[0] != "Z" and abs(time.time() - age - os.stat(record).st_mtime) < 5
        except (FileNotFoundError, ProcessLookupError):
            return False

    def end(self, pid: int, record: str) -> None:
        for number, seconds in ((signal.SIGTERM, self.stop_timeout), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if wait(lambda: not self.started_with(pid, record), seconds):
                return
        raise ServiceError(f"process {pid} did not end when it was killed")


class Systemd:
    """A unit of systemd."""

    name = "systemd"

    def __init__(self, params: dict[str, Any]) -> None:
        self.directory: str = params["directory"]
        self.unit = f"{params['name']}.service"
        self.path = f"/etc/systemd/system/{self.unit}"
        self.log = f"journalctl --unit {self.unit}"
        self.files = {
            os.path.join(self.directory, "run"): params["script"] or "",
            self.path: "\n".join(
                [
                    "[Unit]",
                    f"Description={params['name']}",
                    "After=network-online.target",
                    "Wants=network-online.target",
                    "StartLimitIntervalSec=0",
                    "",
                    "[Service]",
                    f"ExecStart={self.directory}/run",
                    "Restart=always",
                    "RestartSec=1",
                    "KillMode=control-group",
                    f"TimeoutStopSec={params['stop_timeout']}",
                    *(["Delegate=yes", "TasksMax=infinity"] if params["delegate"] else []),
                    "",
                    "[Install]",
                    "WantedBy=multi-user.target",
                    "",
                ]
            ),
        }

    def exists(self) -> bool:
        return os.path.isdir(self.directory) or os.path.exists(self.path)

    def running(self) -> bool:
        states = ("active", "activating", "reloading")
        state = subprocess.run(["systemctl", "is-active", self.unit], capture_output=True, text=True).stdout.strip()
        enabled = subprocess.run(["systemctl", "is-enabled", "--quiet", self.unit], capture_output=True)
        return state in states and enabled.returncode == 0

    def start(self) -> None:
        run("systemctl", "daemon-reload")
        run("systemctl", "enable", "--quiet", self.unit)
        run("systemctl", "restart", self.unit)

    def remove(self) -> None:
        if os.path.exists(self.path):
            run("systemctl", "disable", "--quiet", "--now", self.unit)
            os.unlink(self.path)
            run("systemctl", "daemon-reload")
        if os.path.isdir(self.directory):
            shutil.rmtree(self.directory)


def ensure(service: Runit | Systemd, params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the service to the wanted state and return what was done."""
    result: dict[str, Any] = {"changed": True, "action": "none", "service_manager": service.name, "log": service.log}
    if params["state"] == "absent":
        if not service.exists():
            return {**result, "changed": False}
        if not check_mode:
            service.remove()
        return {**result, "action": "removed"}

    record = os.path.join(service.directory, "started")
    wanted = digest_of(service.files, params["watched"])
    running = service.running()
    changed_files = {path: read(path) for path, content in service.files.items() if read(path) != content}
    result["diff"] = [
        {"before_header": path, "after_header": path, "before": before or "", "after": service.files[path]}
        for path, before in changed_files.items()
    ]
    if running and not changed_files and read(record) == wanted and params["state"] == "started":
        return {**result, "changed": False}
    if not check_mode:
        for path, content in service.files.items():
            write(path, content, 0o755 if os.path.basename(path) == "run" else 0o644)
        service.start()
        write(record, wanted, 0o644)
    return {**result, "action": "restarted" if running else "started"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "directory": {"type": "path", "required": True},
            "script": {"type": "str"},
            "watched": {"type": "list", "elements": "path", "default": []},
            "state": {"type": "str", "choices": ["started", "restarted", "absent"], "default": "started"},
            "stop_timeout": {"type": "int", "default": 20},
            "delegate": {"type": "bool", "default": False},
            "log_size": {"type": "int", "default": 2_000_000},
        },
        required_if=[("state", "started", ["script"]), ("state", "restarted", ["script"])],
        supports_check_mode=True,
    )
    # The directory exists exactly where systemd is the first process.
    systemd = os.path.isdir("/run/systemd/system")
    service = Systemd(module.params) if systemd else Runit(module.params)
    try:
        module.exit_json(**ensure(service, module.params, module.check_mode))
    except (OSError, ServiceError) as error:
        module.fail_json(msg=f"{module.params['name']}: {error}", log=service.log)


if __name__ == "__main__":
    main()
