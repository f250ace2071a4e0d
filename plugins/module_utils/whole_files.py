# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Text files that are there as a whole, or as they were before."""

from __future__ import annotations

import os
import stat
import tempfile


def read(path: str) -> tuple[str | None, int | None]:
    """Return text and mode of a file, or two Nones where it does not exist."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read(), stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
    except FileNotFoundError:
        return None, None


def write(path: str, content: str, mode: int, directory_mode: int = 0o755) -> None:
    """Replace the file in one step, so that nobody reads half of it."""
    parent = os.path.dirname(path)
    os.makedirs(parent, mode=directory_mode, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".mlstack-", dir=parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
            os.fchmod(handle, mode)
            stream.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
