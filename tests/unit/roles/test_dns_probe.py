"""The program that asks the cluster's DNS: its messages, its resolver, and what it makes of bad servers."""

from __future__ import annotations

import importlib.util
import ipaddress
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

PROGRAM = Path(__file__).resolve().parents[3] / "roles/cluster_dns/files/dns_probe.py"
SPEC = importlib.util.spec_from_file_location("dns_probe", PROGRAM)
assert SPEC and SPEC.loader
dns_probe = importlib.util.module_from_spec(SPEC)
# Dataclasses look their module up.
sys.modules["dns_probe"] = dns_probe
SPEC.loader.exec_module(dns_probe)

SERVICE = "kubernetes.default.svc.cluster.local."
SEARCH = ["verify.svc.cluster.local", "svc.cluster.local", "cluster.local"]
NAMES = st.lists(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True), min_size=1, max_size=5)


def packed(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def reply(query: bytes, records: dict[tuple[str, int], list[str]], flags: int = 0) -> bytes:
    """What a server with these records answers; the names in it are pointers to the question, as in real life."""
    name, behind = dns_probe.read_name(query, 12)
    (kind,) = struct.unpack_from(">H", query, behind)
    values = records.get((name, kind), [])
    known = any(name == other for other, _kind in records)
    answers = b""
    for value in values:
        data = packed(value) if kind == 12 else ipaddress.ip_address(value).packed
        answers += struct.pack(">HHHIH", 0xC00C, kind, 1, 5, len(data)) + data
    status = flags & 15 or (0 if known else 3)
    head = query[:2] + struct.pack(">HHHHH", 0x8180 | flags | status, 1, len(values), 0, 0)
    return head + query[12 : behind + 4] + answers


Answering = Callable[[bytes, str], bytes | None]


@contextmanager
def server(answering: Answering) -> Iterator[int]:
    """A DNS server on UDP and TCP; where `answering` returns None it stays silent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.1", 0)) as tcp:
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))

        def serve_udp() -> None:
            while True:
                try:
                    query, sender = udp.recvfrom(512)
                except OSError:
                    return
                if not query:
                    return
                if (message := answering(query, "udp")) is not None:
                    udp.sendto(message, sender)

        def serve_tcp() -> None:
            while True:
                try:
                    connection, _sender = tcp.accept()
                except OSError:
                    return
                with connection:
                    if len(length := connection.recv(2)) < 2:
                        return
                    message = answering(connection.recv(struct.unpack(">H", length)[0]), "tcp")
                    # In two parts, as the network may bring it.
                    if message is not None:
                        whole = struct.pack(">H", len(message)) + message
                        connection.sendall(whole[:7])
                        connection.sendall(whole[7:])

        threads = [threading.Thread(target=serve) for serve in (serve_udp, serve_tcp)]
        for thread in threads:
            thread.start()
        try:
            yield port
        finally:
            # Closing a socket wakes nobody who waits on it; an empty message does.
            udp.sendto(b"", ("127.0.0.1", port))
            socket.create_connection(("127.0.0.1", port)).close()
            for thread in threads:
                thread.join(5)


RECORDS = {
    (SERVICE, 1): ["10.96.0.1"],
    ("1.0.96.10.in-addr.arpa.", 12): [SERVICE],
    ("headless.verify.svc.cluster.local.", 1): ["192.0.2.2", "192.0.2.1"],
    ("10-97-0-7.verify.pod.cluster.local.", 1): ["10.97.0.7"],
    ("example.org.", 1): ["198.51.100.7"],
}
CHECKS = [
    {"check": "service", "name": "kubernetes.default", "type": "A", "expected": ["10.96.0.1"]},
    {"check": "service", "name": SERVICE, "type": "A", "expected": ["10.96.0.1"]},
    {"check": "headless", "name": "headless", "type": "A", "expected": ["192.0.2.1", "192.0.2.2"], "fresh": True},
    {"check": "pod", "name": "{address}.verify.pod.cluster.local.", "type": "A", "expected": ["{address}"]},
    {"check": "reverse", "name": "1.0.96.10.in-addr.arpa.", "type": "PTR", "expected": [SERVICE]},
    {"check": "external", "name": "example.org", "type": "A", "expected": []},
]
RESOLV_CONF = f"# made by the kubelet\nsearch {' '.join(SEARCH)}\nnameserver 127.0.0.1\noptions edns0 ndots:5\n"


def run(answering: Answering, **changes: Any) -> dict[str, Any]:
    with server(answering) as port:
        plan = {
            "checks": CHECKS,
            "lookups": 5,
            "measured": {"name": SERVICE, "type": "A"},
            "timeout": 0.2,
            "port": port,
        }
        result: dict[str, Any] = dns_probe.probe({**plan, **changes}, RESOLV_CONF, "10.97.0.7")
        return result


def failures(result: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(check["transport"], check["question"]): check["told"] for check in result["checks"] if not check["passed"]}


def test_a_good_server_passes_every_check_over_both_transports() -> None:
    result = run(lambda query, _transport: reply(query, RECORDS))
    assert failures(result) == {}
    assert len(result["checks"]) == 2 * len(CHECKS)
    assert (result["nameservers"], result["search"], result["ndots"]) == (["127.0.0.1"], SEARCH, 5)
    assert [(way["transport"], way["lost"], len(way["milliseconds"])) for way in result["latency"]] == [
        ("udp", 0, 5),
        ("tcp", 0, 5),
    ]


def test_a_wrong_address_is_told() -> None:
    result = run(lambda query, _transport: reply(query, RECORDS | {(SERVICE, 1): ["10.96.0.9"]}))
    assert failures(result) == {
        (transport, f"{name} A"): "10.96.0.9"
        for transport in ("udp", "tcp")
        for name in ("kubernetes.default", SERVICE)
    }


def test_every_name_that_was_tried_is_told() -> None:
    checks = [{"check": "external", "name": "nowhere.example", "type": "A", "expected": []}]
    result = run(lambda query, _transport: reply(query, RECORDS), checks=checks)
    assert failures(result)["udp", "nowhere.example A"] == ", ".join(
        f"NXDOMAIN for nowhere.example.{domain}" for domain in [f"{domain}." for domain in SEARCH] + [""]
    )


def test_a_name_without_addresses_is_no_answer() -> None:
    records = {key: value for key, value in RECORDS.items() if key[0] != SERVICE} | {(SERVICE, 28): ["2001:db8::1"]}
    result = run(lambda query, _transport: reply(query, records))
    assert failures(result)["tcp", f"{SERVICE} A"] == f"no A record for {SERVICE}"


def test_a_transport_without_answers_keeps_the_other_one_out_of_it() -> None:
    asked = []

    def answering(query: bytes, transport: str) -> bytes | None:
        asked.append(transport)
        return reply(query, RECORDS) if transport == "tcp" else None

    result = run(answering)
    assert {transport for transport, _question in failures(result)} == {"udp"}
    assert set(failures(result).values()) == {"no answer within 0.2 s"}
    # Once for each attempt, and then no more.
    assert asked.count("udp") == dns_probe.ATTEMPTS
    assert [way["transport"] for way in result["latency"]] == ["tcp"]


def test_one_lost_datagram_fails_no_check_and_is_counted_as_lost() -> None:
    lost = iter([True])
    assert failures(run(lambda query, _transport: None if next(lost, False) else reply(query, RECORDS))) == {}
    seen = []

    def forgetful(query: bytes, transport: str) -> bytes | None:
        seen.append(transport)
        return None if transport == "udp" and seen.count("udp") in (2, 4) else reply(query, RECORDS)

    (udp, _tcp) = run(forgetful, checks=[])["latency"]
    assert (udp["lost"], len(udp["milliseconds"])) == (2, 3)


def test_silence_about_outside_names_hides_nothing_else() -> None:
    def answering(query: bytes, _transport: str) -> bytes | None:
        return None if b"example" in query else reply(query, RECORDS)

    result = run(answering, checks=[CHECKS[-1], *CHECKS[:-1]])
    assert set(failures(result)) == {(transport, "example.org A") for transport in ("udp", "tcp")}
    assert len(result["latency"]) == 2


def test_what_was_just_made_is_awaited() -> None:
    asked = []

    def answering(query: bytes, transport: str) -> bytes:
        asked.append(transport)
        known = RECORDS if asked.count(transport) > len(SEARCH) + 1 else {}
        return reply(query, known)

    assert failures(run(answering, checks=[CHECKS[2]])) == {}


def test_nobody_listening_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    plan = {"checks": CHECKS, "lookups": 5, "measured": {"name": SERVICE, "type": "A"}, "timeout": 0.2, "port": port}
    result = dns_probe.probe(plan, RESOLV_CONF, "10.97.0.7")
    assert set(failures(result).values()) == {"no answer (Connection refused)"}
    assert result["latency"] == []


def test_a_long_answer_is_fetched_over_tcp() -> None:
    def answering(query: bytes, transport: str) -> bytes:
        return reply(query, RECORDS if transport == "tcp" else {}, 0x0200 if transport == "udp" else 0)

    assert failures(run(answering)) == {}


@pytest.mark.parametrize("rubbish", [b"", b"\0", b"\xff" * 40, b"\0" * 12])
def test_rubbish_is_not_taken_for_an_answer(rubbish: bytes) -> None:
    result = run(lambda _query, _transport: rubbish, checks=CHECKS[:1])
    assert {transport for transport, _question in failures(result)} == {"udp", "tcp"}


@given(NAMES, st.integers(0, 65535), st.lists(st.ip_addresses(v=4), max_size=4))
def test_answers_are_read_as_they_were_written(labels: list[str], number: int, addresses: list[Any]) -> None:
    name = ".".join(labels) + "."
    query = dns_probe.encode_query(number, name, "A")
    values = [str(address) for address in addresses]
    answer = dns_probe.decode_answer(reply(query, {(name, 1): values}), number, "A")
    assert answer == dns_probe.Answer("NOERROR", sorted(values))


@given(st.binary(max_size=80))
def test_no_message_whatever_is_more_than_malformed(tail: bytes) -> None:
    for message in (tail, b"\0\1\x81\x80\0\1\0\3\0\0\0\0" + tail):
        with suppress(dns_probe.MalformedError):
            dns_probe.decode_answer(message, 1, "PTR")


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64, ".".join(["a" * 60] * 5)])
def test_impossible_names_are_told(name: str) -> None:
    with pytest.raises(dns_probe.MalformedError, match="no name that can be asked for"):
        dns_probe.encode_query(1, name, "A")


@pytest.mark.parametrize(
    ("name", "ndots", "expected"),
    [
        ("example.org.", 5, ["example.org."]),
        ("example.org", 5, ["example.org.a.b.", "example.org.c.", "example.org."]),
        ("example.org", 1, ["example.org.", "example.org.a.b.", "example.org.c."]),
        ("headless", 1, ["headless.a.b.", "headless.c.", "headless."]),
    ],
)
def test_search_domains(name: str, ndots: int, expected: list[str]) -> None:
    assert dns_probe.candidates(name, dns_probe.ResolvConf([], ["a.b", "c"], ndots)) == expected


def test_resolv_conf_is_read_as_resolvers_read_it() -> None:
    text = (
        "nameserver 10.96.0.10\nsearch old\n; search no\nsearch a.b. c\nnameserver fd00::a\noptions ndots:2 timeout:1\n"
    )
    assert dns_probe.read_resolv_conf(text) == dns_probe.ResolvConf(["10.96.0.10", "fd00::a"], ["a.b", "c"], 2)
    assert dns_probe.read_resolv_conf("") == dns_probe.ResolvConf([], [], 1)
