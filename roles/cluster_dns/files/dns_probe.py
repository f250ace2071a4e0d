# Copyright: mlstack.kubernetes contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Asks the cluster's DNS from inside a pod and prints what it was told, as one line of JSON.

It needs nothing but Python 3.10, so that it runs in any image with a Python. The file that it is called with says what
to ask; the servers and the search domains are those of the pod's own resolv.conf.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESOLV_CONF = Path("/etc/resolv.conf")
PORT = 53
TRANSPORTS = ("udp", "tcp")
TYPES = {"A": 1, "PTR": 12, "AAAA": 28}
STATUSES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
# A resolver asks again before it gives up, since one datagram may be lost.
ATTEMPTS = 2
# What was made a moment ago may have to become known first: how often and for how long it is asked for.
PATIENCE_SECONDS = 8.0
PAUSE_SECONDS = 0.5
# More unanswered look-ups than these say nothing new about the latency.
MOST_LOST = 3


class SilenceError(Exception):
    """The server did not answer; the text says in which way."""


class MalformedError(Exception):
    """What came is no answer to the question."""


@dataclass(frozen=True)
class Answer:
    status: str
    values: list[str]
    is_truncated: bool = False


@dataclass
class ResolvConf:
    nameservers: list[str] = field(default_factory=list)
    search: list[str] = field(default_factory=list)
    ndots: int = 1


# -- messages (RFC 1035)


def encode_query(number: int, name: str, kind: str) -> bytes:
    labels = [label.encode("idna" if not label.isascii() else "ascii") for label in name.rstrip(".").split(".")]
    if any(not 0 < len(label) < 64 for label in labels) or sum(len(label) + 1 for label in labels) > 254:
        raise MalformedError(f"{name} is no name that can be asked for")
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + question + struct.pack(">HH", TYPES[kind], 1)


def decode_answer(message: bytes, number: int, kind: str) -> Answer:
    try:
        answered, flags, questions, answers, _authorities, _additionals = struct.unpack_from(">HHHHHH", message)
        if answered != number or not flags & 0x8000:
            raise MalformedError("an answer to another question")
        offset = 12
        for _question in range(questions):
            offset = read_name(message, offset)[1] + 4
        values = []
        for _answer in range(answers):
            offset = read_name(message, offset)[1]
            what, _class, _ttl, length = struct.unpack_from(">HHIH", message, offset)
            offset += 10
            if what == TYPES[kind]:
                values.append(_value(message, offset, length, kind))
            offset += length
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise MalformedError(f"an answer that cannot be read ({error})") from error
    status = STATUSES.get(flags & 15, f"RCODE {flags & 15}")
    return Answer(status, sorted(values), bool(flags & 0x0200))


def _value(message: bytes, offset: int, length: int, kind: str) -> str:
    if kind == "PTR":
        return read_name(message, offset)[0].lower()
    return str(ipaddress.ip_address(message[offset : offset + length]))


def read_name(message: bytes, offset: int) -> tuple[str, int]:
    """Return the name that begins at `offset`, and the offset behind it."""
    labels: list[str] = []
    behind = 0
    lowest = offset
    while length := message[offset]:
        if length >= 0xC0:
            target = struct.unpack_from(">H", message, offset)[0] & 0x3FFF
            # A pointer leads back to what stood before; anything else could lead round in a circle.
            if target >= lowest:
                raise MalformedError("an answer whose names lead round in a circle")
            behind = behind or offset + 2
            offset = lowest = target
        else:
            labels.append(message[offset + 1 : offset + 1 + length].decode("ascii"))
            offset += 1 + length
    return ".".join(labels) + ".", behind or offset + 1


# -- servers


def ask(server: str, transport: str, name: str, kind: str, timeout: float, port: int = PORT) -> Answer:
    """Ask a server once, and over TCP where its answer is too long for a datagram."""
    number = random.randrange(1 << 16)
    query = encode_query(number, name, kind)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(family, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect((server, port))
            if transport == "udp":
                connection.send(query)
                answer = _receive(connection, number, kind, deadline)
            else:
                connection.sendall(struct.pack(">H", len(query)) + query)
                (length,) = struct.unpack(">H", _read(connection, 2, deadline))
                answer = decode_answer(_read(connection, length, deadline), number, kind)
    except TimeoutError:
        raise SilenceError(f"no answer within {timeout:g} s") from None
    except OSError as error:
        raise SilenceError(f"no answer ({error.strerror or error})") from error
    if answer.is_truncated and transport == "udp":
        return ask(server, "tcp", name, kind, timeout, port)
    return answer


def _receive(connection: socket.socket, number: int, kind: str, deadline: float) -> Answer:
    while True:
        message = connection.recv(65535)
        try:
            return decode_answer(message, number, kind)
        except MalformedError:
            # A late answer to an earlier question, or nobody's: the right one may still come.
            _limit(connection, deadline)


def _read(connection: socket.socket, length: int, deadline: float) -> bytes:
    message = b""
    while len(message) < length:
        _limit(connection, deadline)
        part = connection.recv(length - len(message))
        if not part:
            raise ConnectionResetError(None, "the server closed the connection")
        message += part
    return message


def _limit(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


# -- the resolver of a pod


def read_resolv_conf(text: str) -> ResolvConf:
    found = ResolvConf()
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or line[0] in "#;":
            continue
        if words[0] == "nameserver":
            found.nameservers.append(words[1])
        elif words[0] in ("search", "domain"):
            found.search = [domain.strip(".") for domain in words[1:]]
        elif words[0] == "options":
            for option in words[1:]:
                key, _colon, value = option.partition(":")
                if key == "ndots" and value.isdigit():
                    found.ndots = int(value)
    return found


def candidates(name: str, conf: ResolvConf) -> list[str]:
    """Return the fully qualified names that a resolver tries for `name`, in its order."""
    if name.endswith("."):
        return [name]
    searched = [f"{name}.{domain}." for domain in conf.search if domain]
    absolute = f"{name}."
    return [absolute, *searched] if name.count(".") >= conf.ndots else [*searched, absolute]


Asker = Callable[[str, str], Answer]


def look_up(check: dict[str, Any], conf: ResolvConf, asker: Asker) -> tuple[list[str], str]:
    """Resolve the name of a check as a pod would; return the values, and what was answered in words."""
    told: list[str] = []
    for candidate in candidates(check["name"], conf):
        answer = asker(candidate, check["type"])
        if answer.status == "NOERROR" and answer.values:
            return answer.values, ", ".join(answer.values)
        told.append(
            f"{answer.status if answer.status != 'NOERROR' else 'no ' + check['type'] + ' record'} for {candidate}"
        )
    return [], ", ".join(told)


def passes(check: dict[str, Any], values: list[str]) -> bool:
    """Whether the values are those expected; of an outside name nobody knows them beforehand."""
    return values == sorted(check["expected"]) if check["expected"] else bool(values)


def run_checks(plan: dict[str, Any], conf: ResolvConf, server: str, transport: str) -> list[dict[str, Any]]:
    end = time.monotonic() + PATIENCE_SECONDS
    silence = ""
    results = []

    def asker(name: str, kind: str) -> Answer:
        for _attempt in range(ATTEMPTS - 1):
            with suppress(SilenceError):
                return _ask(plan, server, transport, name, kind)
        return _ask(plan, server, transport, name, kind)

    for check in plan["checks"]:
        values: list[str] = []
        told = silence
        # A server that was silent before would only make everybody wait again.
        while not silence:
            try:
                values, told = look_up(check, conf, asker)
            except SilenceError as error:
                told = str(error)
                # About an outside name it may be silent because others are.
                if check["expected"]:
                    silence = told
                break
            except MalformedError as error:
                told = str(error)
            if passes(check, values) or not check.get("fresh") or time.monotonic() >= end:
                break
            time.sleep(PAUSE_SECONDS)
        results.append(
            {
                "check": check["check"],
                "question": f"{check['name']} {check['type']}",
                "expected": check["expected"],
                "server": server,
                "transport": transport,
                "told": told,
                "silent": bool(silence),
                "passed": passes(check, values),
            }
        )
    return results


def _ask(plan: dict[str, Any], server: str, transport: str, name: str, kind: str) -> Answer:
    return ask(server, transport, name, kind, plan["timeout"], plan.get("port", PORT))


def measure(plan: dict[str, Any], server: str, transport: str) -> dict[str, Any]:
    """Look one name up many times; return how long each took, in milliseconds, and how many were lost."""
    lost, taken = 0, []
    for _time in range(plan["lookups"]):
        begin = time.perf_counter()
        try:
            _ask(plan, server, transport, plan["measured"]["name"], plan["measured"]["type"])
        except (SilenceError, MalformedError):
            lost += 1
            if lost == MOST_LOST:
                break
        else:
            taken.append(round((time.perf_counter() - begin) * 1000, 2))
    return {"server": server, "transport": transport, "lost": lost, "milliseconds": taken}


def filled_in(plan: dict[str, Any], address: str) -> dict[str, Any]:
    """Return the plan with this pod's own address, which nobody knew when the plan was made."""
    dashed = address.replace(".", "-").replace(":", "-")
    checks = [
        {
            **check,
            "name": check["name"].replace("{address}", dashed),
            "expected": [value.replace("{address}", address) for value in check["expected"]],
        }
        for check in plan["checks"]
    ]
    return {**plan, "checks": checks}


def probe(plan: dict[str, Any], resolv_conf: str, address: str) -> dict[str, Any]:
    plan = filled_in(plan, address)
    conf = read_resolv_conf(resolv_conf)
    servers = list(dict.fromkeys([*conf.nameservers, *plan.get("servers", [])]))
    ways = [(server, transport) for server in servers for transport in TRANSPORTS]
    with ThreadPoolExecutor(max_workers=max(1, len(ways))) as executor:
        several = list(executor.map(lambda way: run_checks(plan, conf, *way), ways))
    # One after the other, so that nothing but the network and the server takes time.
    answering = [
        way for way, results in zip(ways, several, strict=True) if not any(result["silent"] for result in results)
    ]
    return {
        "nameservers": conf.nameservers,
        "search": conf.search,
        "ndots": conf.ndots,
        "checks": [result for results in several for result in results],
        "latency": [measure(plan, *way) for way in answering],
    }


if __name__ == "__main__":
    print(json.dumps(probe(json.loads(Path(sys.argv[1]).read_text()), RESOLV_CONF.read_text(), os.environ["POD_IP"])))
