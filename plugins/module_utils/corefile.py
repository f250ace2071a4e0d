# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What a Corefile, the configuration of CoreDNS, says about loops and about the names of pods."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, field

DNS_PORT = 53
_PLUGINS_THAT_FORWARD = ("forward", "proxy")


@dataclass
class ServerBlock:
    """One server: the zones that it answers for, and its lines, each as words; those in braces follow their plugin."""

    zones: list[str]
    lines: list[list[str]] = field(default_factory=list)

    @property
    def ports(self) -> set[int]:
        return {_port_of(zone.rpartition(":")[2]) if ":" in zone else DNS_PORT for zone in self.zones}


def server_blocks(corefile: str) -> list[ServerBlock]:
    blocks: list[ServerBlock] = []
    depth = 0
    for line in corefile.splitlines():
        words = re.sub(r"(^|\s)#.*", "", line).split()
        opens, closes = words[-1:] == ["{"], words[:1] == ["}"]
        words = words[closes : len(words) - opens]
        if closes:
            depth -= 1
        if words and depth == 0:
            blocks.append(ServerBlock([zone.rstrip(",") for zone in words]))
        elif words and blocks:
            blocks[-1].lines.append(words)
        depth += opens
    return blocks


def loops(corefile: str, own_addresses: Collection[str]) -> list[str]:
    """Forwards that lead back to the cluster's own DNS: to loopback at a port of its own, or to its Service."""
    return [
        " ".join(line)
        for block in server_blocks(corefile)
        for line in block.lines
        if line[0] in _PLUGINS_THAT_FORWARD
        and any(_leads_back(target, block.ports, own_addresses) for target in line[2:])
    ]


def _leads_back(target: str, ports: Collection[int], own_addresses: Collection[str]) -> bool:
    host, port = _address_and_port(target)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # The name of a file with the addresses, which only the node has.
        return False
    if address.is_loopback or address.is_unspecified:
        return port in ports
    return port == DNS_PORT and str(address) in own_addresses


def _address_and_port(target: str) -> tuple[str, int]:
    scheme, _slashes, rest = target.rpartition("://")
    if scheme == "tls":
        return rest, 853
    bracketed = re.fullmatch(r"\[(.+)\](?::(\d+))?", rest)
    if bracketed:
        return bracketed[1], _port_of(bracketed[2] or "")
    host, colon, port = rest.rpartition(":")
    return (host, _port_of(port)) if colon and ":" not in host else (rest, DNS_PORT)


def _port_of(text: str) -> int:
    return int(text) if text.isdigit() else DNS_PORT


def names_pods(corefile: str) -> bool:
    """Whether pods have names of their addresses: the plugin kubernetes gives them only where it is told to."""
    return any(
        line[0] == "pods" and line[1:] != ["disabled"] for block in server_blocks(corefile) for line in block.lines
    )
