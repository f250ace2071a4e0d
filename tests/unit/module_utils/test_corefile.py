"""What a Corefile says about loops and about the names of pods."""

from __future__ import annotations

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.corefile import loops, names_pods, server_blocks

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
