# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the controller does for tfjob and pytorchjob: finds their files, shows their progress, fetches their logs."""

from __future__ import annotations

import copy
import os
import shlex
import tempfile
import threading
import uuid
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.utils.display import Display
from ansible_collections.kubernetes.core.plugins.action.k8s_info import ActionModule as KubernetesAction

display = Display()

# Callbacks whose output is for people who sit before it. What programs read is left as it is.
SHOWN_BY = ("default", "ansible.builtin.default", "debug", "ansible.posix.debug", "yaml", "community.general.yaml")
BETWEEN_READS = 0.5
BETWEEN_REMOTE_READS = 2.0


class ActionModule(KubernetesAction):
    """Runs the module as any other, while a thread reads the file to which the module writes its progress."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> Any:
        args = dict(self._task.args)
        is_remote = self._connection.transport != "local"
        log_dir = args.get("log_dir")
        if log_dir:
            log_dir = self._loader.path_dwim(str(log_dir))
            args["log_dir"] = self._remote_directory() if is_remote else log_dir
        progress = None
        if self._is_shown() and not args.get("progress_file"):
            progress = _RemoteFile(self) if is_remote else _LocalFile()
            args["progress_file"] = progress.path
        self._task.args = args
        try:
            if progress:
                progress.start()
            result = super().run(tmp, task_vars)
        finally:
            if progress:
                progress.finish()
        if log_dir and is_remote:
            self._fetch_logs(result, args["log_dir"], log_dir)
        return result

    def _is_shown(self) -> bool:
        is_for_people = constants.DEFAULT_STDOUT_CALLBACK in SHOWN_BY and not context.CLIARGS.get("one_line")
        return is_for_people and not self._task.no_log and not self._task.async_val

    # -- logs from another host

    def _remote_directory(self) -> str:
        return f"/tmp/.mlstack-logs-{uuid.uuid4().hex}"

    def _fetch_logs(self, result: dict[str, Any], remote: str, local: str) -> None:
        """Brings the logs to the controller, and tells of them by their paths there."""
        for entry in [result, *(result.get("jobs") or [])]:
            fetched = []
            for path in entry.get("log_files") or []:
                target = Path(local) / Path(path).relative_to(remote)
                target.parent.mkdir(parents=True, exist_ok=True)
                self._connection.fetch_file(path, str(target))
                fetched.append(str(target))
            if fetched:
                entry["log_files"] = fetched
        self._low_level_execute_command(f"rm -rf {shlex.quote(remote)}")


class _File(threading.Thread):
    """Shows what comes into a file while the module runs."""

    path: str
    pause = BETWEEN_READS

    def __init__(self) -> None:
        super().__init__(name="progress", daemon=True)
        self._is_over = threading.Event()
        self._shown = 0

    def run(self) -> None:
        while not self._is_over.wait(self.pause):
            self._show()

    def finish(self) -> None:
        """Shows the last lines; to be called when the module has ended."""
        self._is_over.set()
        self.join()
        self._show()
        self._remove()

    def _show(self) -> None:
        text = self._read(self._shown)
        # A line that is not complete is for the next time.
        lines, newline, _rest = text.rpartition(b"\n")
        if newline:
            self._shown += len(lines) + 1
            for line in lines.split(b"\n"):
                display.display("  " + line.decode(errors="replace"), color=constants.COLOR_VERBOSE)

    def _read(self, offset: int) -> bytes:
        raise NotImplementedError

    def _remove(self) -> None:
        raise NotImplementedError


class _LocalFile(_File):
    def __init__(self) -> None:
        super().__init__()
        descriptor, self.path = tempfile.mkstemp(prefix="mlstack-progress-")
        os.close(descriptor)

    def _read(self, offset: int) -> bytes:
        with open(self.path, "rb") as stream:
            stream.seek(offset)
            return stream.read()

    def _remove(self) -> None:
        os.unlink(self.path)


class _RemoteFile(_File):
    """Reads by commands of its own on the connection; on one that cannot do that the progress is not shown."""

    pause = BETWEEN_REMOTE_READS

    def __init__(self, action: ActionModule) -> None:
        super().__init__()
        self._action = action
        self.path = f"/tmp/.mlstack-progress-{uuid.uuid4().hex}"
        # Options and control socket are shared, the state of a running command is not.
        self._connection = copy.copy(action._connection)

    def _read(self, offset: int) -> bytes:
        try:
            status, output, _errors = self._connection.exec_command(
                f"tail -c +{offset + 1} {shlex.quote(self.path)} 2>/dev/null", sudoable=False
            )
        except Exception:
            # Whatever a connection raises: the task itself will tell what is wrong with it.
            self._is_over.set()
            return b""
        return output if status == 0 and isinstance(output, bytes) else b""

    def _remove(self) -> None:
        # By the user that the module ran as.
        self._action._low_level_execute_command(f"rm -f {shlex.quote(self.path)}")
