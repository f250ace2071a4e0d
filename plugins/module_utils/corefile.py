# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""A Corefile, the configuration of CoreDNS: what it says about loops and the names of pods, and stub domains in it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

DNS_PORT = 53
_PLUGINS_THAT_FORWARD = ("forward", "proxy")
_DOMAIN = r"(?:[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?"
# Between these lines, and nowhere else, a Corefile is changed.
BEGIN = "# BEGIN stub domains of mlstack.kubernetes.cluster_dns"
END = "# END stub domains of mlstack.kubernetes.cluster_dns"


class InvalidStubDomainError(Exception):
    """A stub domain that CoreDNS would not start with."""


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


# -- stub domains


def with_stub_domains(corefile: str, domains: Mapping[str, Sequence[str]]) -> str:
    """The Corefile with these domains, each with its servers, and no others of ours. All else stays as it is."""
    foreign = without_stub_domains(corefile)
    if not domains:
        return foreign
    blocks = server_blocks(foreign)
    taken = {zone.partition(":")[0].rstrip(".") for block in blocks for zone in block.zones} - {""}
    # Containers that may not bind port 53 have CoreDNS listen at another one, to which the Service leads.
    port = next((port for block in blocks if _is_root(block) for port in block.ports), DNS_PORT)
    part = []
    for domain, servers in domains.items():
        # Whatever else it were would be read as a part of the Corefile.
        if not re.fullmatch(_DOMAIN, domain):
            raise InvalidStubDomainError(f"{domain!r} is no domain; write corp.example, in lower case.")
        if domain in taken:
            raise InvalidStubDomainError(f"{domain}: the Corefile has a server for it already; change it there.")
        for server in servers:
            _check_server(domain, server)
        if not servers:
            raise InvalidStubDomainError(f"{domain}: name at least one server.")
        part.append(f"{domain}:{port} {{\n    errors\n    cache 30\n    forward . {' '.join(servers)}\n}}\n")
    return f"{foreign}\n{BEGIN}\n{''.join(part)}{END}\n"


def without_stub_domains(corefile: str) -> str:
    return re.sub(f"\n{BEGIN}\n.*?{END}\n", "", corefile, flags=re.DOTALL)


def stub_part(corefile: str) -> str:
    found = re.search(f"{BEGIN}\n.*?{END}\n", corefile, flags=re.DOTALL)
    return found[0] if found else ""


def _is_root(block: ServerBlock) -> bool:
    return any(zone.rpartition("://")[2].partition(":")[0] == "." for zone in block.zones)


def _check_server(domain: str, server: str) -> None:
    host, colon, port = server.rpartition(":")
    has_port = bool(colon) and (":" not in host or host.endswith("]"))
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]") if has_port else server)
        if has_port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(port)
    except ValueError:
        raise InvalidStubDomainError(
            f"{domain}: {server!r} is no address of a server; write 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353."
        ) from None
