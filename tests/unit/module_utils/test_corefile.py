"""What a Corefile says about loops and about the names of pods, and stub domains in it."""

from __future__ import annotations

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.corefile import (
    InvalidStubDomainError,
    loops,
    names_pods,
    server_blocks,
    stub_part,
    with_stub_domains,
    without_stub_domains,
)
from hypothesis import given
from hypothesis import strategies as st

COREFILE = """
.:1053 {
    errors
    # forward . 127.0.0.1
    kubernetes cluster.local in-addr.arpa {
        pods insecure
        ttl 5
    }
    forward . FORWARD {
        max_concurrent 1000
    }
}
example.org:53, example.net:5353 {
    forward . 192.0.2.53
}
"""


def test_blocks_have_their_zones_ports_and_lines() -> None:
    main, stub = server_blocks(COREFILE)
    assert (main.zones, main.ports) == ([".:1053"], {1053})
    assert (stub.zones, stub.ports) == (["example.org:53", "example.net:5353"], {53, 5353})
    assert ["pods", "insecure"] in main.lines
    assert stub.lines == [["forward", ".", "192.0.2.53"]]
    assert server_blocks(". {\n}")[0].ports == {53}


@pytest.mark.parametrize(
    ("targets", "is_loop"),
    [
        ("/etc/resolv.conf", False),
        ("192.0.2.1 192.0.2.2", False),
        ("192.0.2.1 10.96.0.10", True),
        ("dns://10.96.0.10:53", True),
        ("tls://10.96.0.10", False),
        # Nothing of CoreDNS listens there: a cache beside it, perhaps.
        ("127.0.0.1", False),
        ("127.0.0.1:1053", True),
        ("[::1]:1053", True),
        ("0.0.0.0:1053", True),
        ("fd00::a", True),
    ],
)
def test_loops(targets: str, is_loop: bool) -> None:
    found = loops(COREFILE.replace("FORWARD", targets), ["10.96.0.10", "fd00::a"])
    assert found == ([f"forward . {targets}"] if is_loop else [])


def test_a_loop_in_a_stub_domain_is_found() -> None:
    assert loops("example.org {\n  forward . 127.0.0.1\n}", []) == ["forward . 127.0.0.1"]


@pytest.mark.parametrize(
    ("option", "named"), [("pods insecure", True), ("pods verified", True), ("pods disabled", False), ("", False)]
)
def test_names_of_pods(option: str, named: bool) -> None:
    assert names_pods(COREFILE.replace("pods insecure", option)) is named


def test_stub_domains_stand_behind_all_else_at_the_port_of_the_main_server() -> None:
    changed = with_stub_domains(COREFILE, {"corp.example": ["192.0.2.53", "[2001:db8::53]:5353"]})
    assert changed == COREFILE + (
        "\n# BEGIN stub domains of mlstack.kubernetes.cluster_dns\n"
        "corp.example:1053 {\n    errors\n    cache 30\n    forward . 192.0.2.53 [2001:db8::53]:5353\n}\n"
        "# END stub domains of mlstack.kubernetes.cluster_dns\n"
    )
    assert stub_part(changed) == changed[len(COREFILE) + 1 :]
    assert "corp.example:53 {" in with_stub_domains(". {\n}\n", {"corp.example": ["192.0.2.53"]})


LINES = st.lists(st.sampled_from([".:53 {", "}", "    errors", "", "# BEGIN stub domains", "a.example {", "\t# END"]))


@given(LINES.map("\n".join), st.booleans(), st.sets(st.sampled_from(["b.example", "c.example", "d"])))
def test_the_way_back_is_exact(lines: str, newline: bool, domains: set[str]) -> None:
    corefile = lines + "\n" * newline
    wanted = {domain: ["192.0.2.53"] for domain in sorted(domains)}
    changed = with_stub_domains(corefile, {"first.example": ["192.0.2.1"]})
    again = with_stub_domains(changed, wanted)
    assert again == with_stub_domains(corefile, wanted)
    assert with_stub_domains(again, wanted) == again
    assert without_stub_domains(again) == with_stub_domains(again, {}) == corefile


def test_what_others_change_meanwhile_is_kept() -> None:
    changed = with_stub_domains(COREFILE, {"corp.example": ["192.0.2.53"]}).replace("ttl 5", "ttl 30") + "more {\n}\n"
    assert without_stub_domains(changed) == COREFILE.replace("ttl 5", "ttl 30") + "more {\n}\n"


@pytest.mark.parametrize(
    ("domain", "servers", "message"),
    [
        ("example.org", ["192.0.2.53"], "the Corefile has a server for it already"),
        ("Corp.example", ["192.0.2.53"], "is no domain"),
        ("corp.example.", ["192.0.2.53"], "is no domain"),
        ("x {", ["192.0.2.53"], "is no domain"),
        ("corp.example", [], "name at least one server"),
        ("corp.example", ["ns.corp.example"], "'ns.corp.example' is no address of a server"),
        ("corp.example", ["192.0.2.53:x"], "is no address of a server"),
        ("corp.example", ["192.0.2.53:0"], "is no address of a server"),
        ("corp.example", ["192.0.2.53:53 }"], "is no address of a server"),
        ("corp.example", ["2001:db8::53 evil"], "is no address of a server"),
    ],
)
def test_what_coredns_would_not_start_with_is_refused(domain: str, servers: list[str], message: str) -> None:
    with pytest.raises(InvalidStubDomainError, match=message):
        with_stub_domains(COREFILE, {domain: servers})


@pytest.mark.parametrize("server", ["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"])
def test_addresses_of_servers(server: str) -> None:
    assert f"forward . {server}\n" in with_stub_domains(COREFILE, {"corp.example": [server]})
