"""What the package manager of a host says, apt or dnf."""

from __future__ import annotations

import pytest
from testinfra.host import Host


class Packages:
    def __init__(self, host: Host) -> None:
        self._host = host
        self.is_rpm = bool(host.exists("dnf"))

    def driver(self) -> dict[str, str]:
        """The installed packages of the driver, with their versions."""
        if self.is_rpm:
            shown = self._host.check_output("rpm --query --all --queryformat 'installed %{NAME} %{EVR}\\n'")
        else:
            shown = self._host.check_output(
                "dpkg-query --show --showformat='${db:Status-Status} ${Package} ${Version}\\n'"
            )
        rows = [line.split(" ") for line in shown.splitlines()]
        return {row[1]: row[2] for row in rows if row[0] == "installed" and ("nvidia" in row[1] or "libcuda" in row[1])}

    def held(self) -> set[str]:
        """Packages of the driver, or patterns of them, whose version is held."""
        command = "cat /etc/dnf/plugins/versionlock.list" if self.is_rpm else "apt-mark showhold"
        return set(self._host.check_output(command).split())

    def updates(self) -> str:
        """What an update of the host would install."""
        command = "dnf --assumeno upgrade" if self.is_rpm else "apt-get --simulate --quiet dist-upgrade"
        return str(self._host.run(command).stdout)

    def unfinished(self) -> str:
        """What an interrupted installation has left."""
        return str(self._host.check_output("dnf --quiet repoquery --duplicates" if self.is_rpm else "dpkg --audit"))


@pytest.fixture
def packages(host: Host) -> Packages:
    return Packages(host)
