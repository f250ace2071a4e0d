"""Runs in a pod: writes a file to a shared volume, reads it, or deletes it, and prints what it saw as one line of JSON.

volume_probe.py write|read|delete PATH TOKEN
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

SYNCS = 20
# A file that another node has just written may not be seen at once: clients keep what they know of a directory.
READ_SECONDS = 60.0


def write(path: Path, token: str) -> dict[str, object]:
    """Milliseconds that each of some writes took until it was on the server's disk."""
    times = []
    with path.open("w") as file:
        for _ in range(SYNCS):
            begin = time.monotonic()
            file.write("." * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(round(1000 * (time.monotonic() - begin), 2))
        file.write(token)
    return {"sync_milliseconds": sorted(times)}


def read(path: Path, token: str) -> dict[str, object]:
    """Seconds until the file of the other node was there."""
    begin = time.monotonic()
    while True:
        try:
            if path.read_text().endswith(token):
                return {"seconds": round(time.monotonic() - begin, 2)}
            problem = "it has other contents"
        except OSError as error:
            problem = str(error)
        if time.monotonic() - begin > READ_SECONDS:
            return {"problem": f"what another node has written is not seen within {READ_SECONDS:.0f} s: {problem}"}
        time.sleep(0.2)


def delete(path: Path, token: str) -> dict[str, object]:
    path.unlink(missing_ok=True)
    return {}


if __name__ == "__main__":
    action, place, text = sys.argv[1:]
    try:
        seen = {"write": write, "read": read, "delete": delete}[action](Path(place), text)
    except OSError as failure:
        seen = {"problem": f"user {os.getuid()} cannot {action}: {failure}"}
    print(json.dumps({"user": os.getuid(), **seen}))
