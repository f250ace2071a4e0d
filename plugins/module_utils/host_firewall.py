# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Lets named clients reach ports of a host through the firewall that runs there. Other rules are not touched."""

from __future__ import annotations

import ipaddress
import itertools
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

# Runs a command; its status and what it said.
Run = Callable[[Sequence[str]], tuple[int, str]]
ANY = "any"


class FirewallError(Exception):
    """A firewall does not do what it is told; the text is what it says."""


@dataclass(frozen=True, order=True)
class Access:
    """A network or address, or `any`, that may reach a port."""

    source: str
    port: int
    protocol: str


class Firewall(Protocol):
    name: str

    def is_running(self) -> bool: ...

    def current(self) -> set[Access]:
        """What this collection has let in."""
        ...

    def allow(self, access: Access) -> None: ...

    def forget(self, access: Access) -> None: ...


def wanted(sources: Iterable[str], ports: Iterable[str]) -> set[Access]:
    """Raises ValueError where a source or a port is none."""
    parsed = []
    for port in ports:
        number, _, protocol = port.partition("/")
        if not number.isdigit() or not 0 < int(number) < 65536 or protocol not in ("tcp", "udp"):
            raise ValueError(f"ports: {port!r} is no port; write a number and tcp or udp, such as 2049/tcp.")
        parsed.append((int(number), protocol))
    return {Access(_source(source), number, protocol) for source in sources for number, protocol in parsed}


def _source(source: str) -> str:
    if source in (ANY, "*"):
        return ANY
    try:
        # As firewalls write it: 10.0.0.7/8 is 10.0.0.0/8.
        network = ipaddress.ip_network(source, strict=False)
    except ValueError as error:
        raise ValueError(f"sources: {source!r} is neither a network nor an address nor any.") from error
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def settle(firewall: Firewall, accesses: set[Access], is_check: bool) -> tuple[list[Access], list[Access]]:
    """Make what the firewall lets in what is wanted; return what was missing, and what was too much."""
    current = firewall.current()
    missing, surplus = sorted(accesses - current), sorted(current - accesses)
    if not is_check:
        for access in missing:
            firewall.allow(access)
        for access in surplus:
            firewall.forget(access)
    return missing, surplus


class Ufw:
    """Rules are known by their comment."""

    name = "ufw"

    def __init__(self, run: Run, label: str) -> None:
        self._run = run
        self._comment = f"mlstack {label}"

    def is_running(self) -> bool:
        status, said = self._run(["ufw", "status"])
        return status == 0 and said.startswith("Status: active")

    def current(self) -> set[Access]:
        found = set()
        for line in self._told("ufw", "show", "added").splitlines():
            words = shlex.split(line) if line.startswith("ufw ") else []
            if words[-2:] != ["comment", self._comment]:
                continue
            after = dict(itertools.pairwise(words))
            # ufw writes a rule for everybody in short: ufw allow 2049/tcp.
            short = re.fullmatch(r"(\d+)/(tcp|udp)", words[2])
            source, port, protocol = (
                (ANY, short[1], short[2])
                if short
                else (after.get("from", ANY), after.get("port", "0"), after.get("proto", ""))
            )
            found.add(Access(source, int(port), protocol))
        return found

    def allow(self, access: Access) -> None:
        self._told("ufw", *self._rule(access), "comment", self._comment)

    def forget(self, access: Access) -> None:
        self._told("ufw", "delete", *self._rule(access))

    def _rule(self, access: Access) -> list[str]:
        return [
            "allow", "proto", access.protocol, "from", access.source, "to", "any", "port", str(access.port)
        ]  # fmt: skip

    def _told(self, *command: str) -> str:
        status, said = self._run(command)
        if status != 0:
            raise FirewallError(f"{' '.join(command)}: {said.strip()}")
        return said


class Firewalld:
    """Rules are known by their priority, since they have no comments; it also puts them before what refuses."""

    name = "firewalld"
    _known = re.compile(
        r'rule priority="(?P<priority>-?\d+)"(?: family="ipv[46]" source address="(?P<source>[^"]+)")? '
        r'port port="(?P<port>\d+)" protocol="(?P<protocol>\w+)" accept'
    )

    def __init__(self, run: Run, priority: int, zone: str = "") -> None:
        self._run = run
        self._priority = priority
        self._zone = [f"--zone={zone}"] if zone else []

    def is_running(self) -> bool:
        status, said = self._run(["firewall-cmd", "--state"])
        return status == 0 and said.strip() == "running"

    def current(self) -> set[Access]:
        """What it lets in now and after its next start."""
        return self._listed() & self._listed("--permanent")

    def allow(self, access: Access) -> None:
        for when in ([], ["--permanent"]):
            self._told(*when, f"--add-rich-rule={self._rule(access)}")

    def forget(self, access: Access) -> None:
        for when in ([], ["--permanent"]):
            self._told(*when, f"--remove-rich-rule={self._rule(access)}")

    def _listed(self, *when: str) -> set[Access]:
        found = set()
        for line in self._told(*when, "--list-rich-rules").splitlines():
            rule = self._known.fullmatch(line.strip())
            if rule and int(rule["priority"]) == self._priority:
                found.add(Access(rule["source"] or ANY, int(rule["port"]), rule["protocol"]))
        return found

    def _rule(self, access: Access) -> str:
        family = "ipv6" if ":" in access.source else "ipv4"
        source = "" if access.source == ANY else f' family="{family}" source address="{access.source}"'
        return f'rule priority="{self._priority}"{source} port port="{access.port}" protocol="{access.protocol}" accept'

    def _told(self, *options: str) -> str:
        command = ["firewall-cmd", *self._zone, *options]
        status, said = self._run(command)
        if status != 0:
            raise FirewallError(f"{' '.join(command)}: {said.strip()}")
        return said
