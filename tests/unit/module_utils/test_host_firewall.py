"""Rules for ports in firewalls that are played here; the real ones are asked by the Molecule scenario nfs_server."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.host_firewall import (
    Access,
    Firewalld,
    FirewallError,
    Ufw,
    settle,
    wanted,
)

NFS = "2049/tcp"


class PlayedUfw:
    """Keeps rules and shows them as ufw does."""

    def __init__(self) -> None:
        self.rules = ["allow 22/tcp", "allow from 10.9.0.0/16 to any port 2049 proto tcp comment 'somebody else'"]

    def run(self, command: Sequence[str]) -> tuple[int, str]:
        words = list(command[1:])
        if words == ["status"]:
            return 0, "Status: active\n"
        if words == ["show", "added"]:
            return 0, "Added user rules (see 'ufw status' for running firewall):\n" + "".join(
                f"ufw {rule}\n" for rule in self.rules
            )
        comment = words.index("comment") if "comment" in words else len(words)
        delete = words[0] == "delete"
        rule = words[delete:comment]
        proto, source, port = rule[2], rule[4], rule[8]
        text = f"allow {port}/{proto}" if source == "any" else f"allow from {source} to any port {port} proto {proto}"
        if delete:
            [found] = [known for known in self.rules if known.startswith(text) and "mlstack" in known]
            self.rules.remove(found)
        else:
            self.rules.append(f"{text} comment {shlex.quote(words[comment + 1])}")
        return 0, "Rule added\n"


class PlayedFirewalld:
    """Keeps rules, those of now and those for later."""

    def __init__(self) -> None:
        foreign = 'rule family="ipv4" source address="10.9.0.0/16" port port="2049" protocol="tcp" accept'
        self.rules: dict[bool, list[str]] = {False: [foreign], True: [foreign]}

    def run(self, command: Sequence[str]) -> tuple[int, str]:
        if command[1] == "--state":
            return 0, "running\n"
        rules = self.rules["--permanent" in command]
        action, _, rule = command[-1].partition("=")
        if action == "--list-rich-rules":
            return 0, "\n".join(rules) + "\n"
        if action == "--add-rich-rule":
            rules.append(rule)
        elif rule in rules:
            rules.remove(rule)
        else:
            return 34, "Error: NOT_ENABLED"
        return 0, "success\n"


@pytest.fixture(params=["ufw", "firewalld"])
def firewall(request: pytest.FixtureRequest) -> Ufw | Firewalld:
    return Ufw(PlayedUfw().run, "nfs") if request.param == "ufw" else Firewalld(PlayedFirewalld().run, -2049)


@pytest.mark.parametrize("source", ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "any"])
def test_rules_come_stay_and_go(firewall: Ufw | Firewalld, source: str) -> None:
    accesses = wanted([source], [NFS])
    assert firewall.is_running()
    # What others have let in is not ours.
    assert firewall.current() == set()
    assert settle(firewall, accesses, is_check=True) == (sorted(accesses), [])
    assert firewall.current() == set()
    assert settle(firewall, accesses, is_check=False) == (sorted(accesses), [])
    assert settle(firewall, accesses, is_check=False) == ([], [])
    other = wanted(["10.0.0.1"], [NFS, "20048/tcp"])
    assert settle(firewall, other, is_check=False) == (sorted(other), sorted(accesses))
    assert firewall.current() == other
    settle(firewall, set(), is_check=False)
    assert firewall.current() == set()


def test_a_rule_that_would_be_gone_after_a_boot_is_made_again() -> None:
    played = PlayedFirewalld()
    firewall = Firewalld(played.run, -2049)
    [access] = wanted(["10.0.0.0/8"], [NFS])
    firewall.allow(access)
    played.rules[True] = []
    assert settle(firewall, {access}, is_check=False) == ([access], [])


def test_sources_are_written_as_firewalls_write_them() -> None:
    assert wanted(["10.0.0.7/8", "192.0.2.7/32", "*"], [NFS]) == {
        Access("10.0.0.0/8", 2049, "tcp"),
        Access("192.0.2.7", 2049, "tcp"),
        Access("any", 2049, "tcp"),
    }


@pytest.mark.parametrize(
    ("sources", "ports", "message"),
    [
        (["nobody"], [NFS], "sources: 'nobody' is neither"),
        (["10.0.0.0/8"], ["2049"], "ports: '2049' is no port"),
        (["10.0.0.0/8"], ["99999/tcp"], "ports: '99999/tcp' is no port"),
    ],
)
def test_what_is_no_client_or_port_is_told(sources: list[str], ports: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wanted(sources, ports)


def test_what_a_firewall_says_is_told() -> None:
    firewall = Ufw(lambda command: (1, "ERROR: Couldn't write"), "nfs")
    with pytest.raises(FirewallError, match="Couldn't write"):
        firewall.current()
