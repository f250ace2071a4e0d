"""A signed repository of packages without content, which stand for those of Red Hat's distributions.

    red_hat.py DIRECTORY NAME=VERSION…

What is asked of them comes with the machine (see tasks/red_hat.yml), which has it from Debian.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from packages import Package, publish_rpm, run

# Each of them has these.
BASE = [
    Package("bash", "5.1.8-9.el9", {"Provides": "/bin/sh"}),
    Package("python3-dnf-plugin-versionlock", "4.3.0-20.el9"),
]


def main(target: Path, versions: Mapping[str, str]) -> None:
    packages = [*BASE, *(Package(name, version) for name, version in versions.items())]
    with tempfile.TemporaryDirectory() as home:
        publish_rpm(packages, target / "el9", Path(home), [target / "el9/key.asc"])
        run("gpgconf", "--homedir", home, "--kill", "all")


if __name__ == "__main__":
    main(Path(sys.argv[1]), dict(argument.split("=") for argument in sys.argv[2:]))
