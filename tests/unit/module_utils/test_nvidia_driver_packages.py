"""One version of the driver for all of its packages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.mlstack.kubernetes.plugins.module_utils.nvidia_driver_packages import (
    Apt,
    Choice,
    Dnf,
    Installed,
    UnansweredError,
    choose,
    installed_driver,
    parse_madison,
)

PACKAGES = ["nvidia-driver-cuda", "nvidia-kernel-open-dkms"]
OFFERED = {
    "nvidia-driver-cuda": ["590.44.01-1", "580.105.08-1", "580.95.05-1"],
    "nvidia-kernel-open-dkms": ["590.44.01-1", "580.95.05-1"],
    "linux-headers-6.1": ["6.1.140-1"],
}
HEADERS = ["linux-headers-6.1"]


def installed(version: str) -> dict[str, str]:
    return {**dict.fromkeys(PACKAGES, version), "linux-headers-6.1": "6.1.99-1"}


def test_versions_are_read_newest_first_and_once() -> None:
    output = (
        "nvidia-smi | 580.95.05-1 | http://mirror/a  Packages\n"
        "nvidia-smi | 535.1-1 | http://mirror/b bookworm/non-free amd64 Packages\n"
        "nvidia-smi | 535.1-1 | http://mirror/c bookworm/non-free amd64 Packages\n"
        "W: Unable to locate package x\n"
    )
    assert parse_madison(output) == {"nvidia-smi": ["580.95.05-1", "535.1-1"]}


class Host:
    """Programs of a package manager, with what they print."""

    def __init__(self, output: str, status: int = 0, errors: str = "") -> None:
        self.answer = (status, output, errors)

    def __call__(self, _command: Sequence[str]) -> tuple[int, str, str]:
        return self.answer


def test_removed_packages_are_not_installed(tmp_path: Path) -> None:
    output = (
        "a\t1\tinstall\tinstalled\nb\t2\tdeinstall\tconfig-files\nc\t\tunknown\tnot-installed\nd\t3\thold\tinstalled\n"
    )
    assert Apt(Host(output), str(tmp_path)).installed([]) == Installed({"a": "1", "d": "3"}, {"d"})


def test_apt_tells_what_was_interrupted(tmp_path: Path) -> None:
    output = "a\t1\tinstall\thalf-configured\nb\t2\tinstall\tunpacked\n"
    assert Apt(Host(output), str(tmp_path)).installed([]).unfinished == ["a", "b"]
    (tmp_path / "0001").touch()
    assert Apt(Host(""), str(tmp_path)).installed([]).unfinished == ["dpkg"]


@pytest.mark.parametrize(("manager", "program"), [(Apt, "dpkg-query"), (Dnf, "rpm")])
def test_a_package_manager_that_does_not_answer_is_no_empty_host(manager: type[Apt] | type[Dnf], program: str) -> None:
    with pytest.raises(UnansweredError, match=f"{program} ended with 2: database is broken"):
        manager(Host("", 2, "database is broken\n")).installed([])
    with pytest.raises(UnansweredError, match="apt-cache ended with 100: no lists"):
        Apt(Host("", 100, "no lists")).offered(["nvidia-smi"])


KERNEL = "kernel-devel-5.14.0-570.el9.x86_64"
RPMS = (
    "nvidia-driver-cuda\t3:580.95.05-1.el9\tx86_64\n"
    "kernel-devel\t0:5.14.0-503.el9\tx86_64\n"
    "kernel-devel\t0:5.14.0-570.el9\tx86_64\n"
)


def test_dnf_knows_packages_by_the_names_that_are_asked_for(tmp_path: Path) -> None:
    installed = Dnf(Host(RPMS), str(tmp_path / "none")).installed(["nvidia-driver-cuda", KERNEL, "dkms"])
    assert installed.versions == {
        "nvidia-driver-cuda": "3:580.95.05-1.el9",
        "kernel-devel": "5.14.0-570.el9",
        KERNEL: "5.14.0-570.el9",
    }
    # Several kernels are no interrupted installation.
    assert (installed.held, installed.unfinished) == (set(), [])


def test_dnf_tells_what_was_interrupted(tmp_path: Path) -> None:
    output = RPMS + "nvidia-driver-cuda\t3:590.44.01-1.el9\tx86_64\n"
    assert Dnf(Host(output), str(tmp_path / "none")).installed([]).unfinished == ["nvidia-driver-cuda"]


def test_dnf_holds_what_is_locked_to_its_version_and_not_to_its_branch(tmp_path: Path) -> None:
    locks = tmp_path / "versionlock.list"
    for line, held in (
        ("*nvidia*-580.95.05-*", {"nvidia-driver-cuda"}),
        ("*nvidia*-580.*-*", set()),
        ("# *nvidia*-580.95.05-*", set()),
        ("!*nvidia*-580.95.05-*", set()),
    ):
        locks.write_text(f"{line}\n")
        assert Dnf(Host(RPMS), str(locks)).installed([]).held == held


def test_dnf_offers_newest_first() -> None:
    output = (
        "nvidia-driver-cuda\t3:580.95.05-1.el9\tx86_64\n"
        "nvidia-driver-cuda\t3:580.105.08-1.el9\tx86_64\n"
        "nvidia-driver-cuda\t3:580.95.05-1.el9\tx86_64\n"
        "kernel-devel\t0:5.14.0-570.el9\tx86_64\n"
    )
    offered, errors = Dnf(Host(output)).offered(["nvidia-driver-cuda", KERNEL, "dkms"])
    assert offered == {
        "nvidia-driver-cuda": ["3:580.105.08-1.el9", "3:580.95.05-1.el9"],
        KERNEL: ["5.14.0-570.el9"],
    }
    assert errors == ""
    assert Dnf(Host("", 1, "Error: Failed to download metadata\n")).offered(["a"]) == (
        {},
        "Error: Failed to download metadata",
    )


def test_packages_are_named_as_their_manager_takes_them() -> None:
    assert Apt(Host("")).exactly("nvidia-smi", "535.1-1") == "nvidia-smi=535.1-1"
    assert Dnf(Host("")).exactly("nvidia-driver-cuda", "3:580.95.05-1.el9") == "nvidia-driver-cuda-3:580.95.05-1.el9"
    assert Dnf(Host("")).exactly(KERNEL, "5.14.0-570.el9") == KERNEL


def test_newest_version_that_all_packages_have() -> None:
    choice = choose(PACKAGES, HEADERS, "580", OFFERED, {})
    assert choice.version == "580.95.05"
    assert choice.packages == {**dict.fromkeys(PACKAGES, "580.95.05-1"), "linux-headers-6.1": "6.1.140-1"}
    assert choose(PACKAGES, [], "", OFFERED, {}).version == "590.44.01"


def test_what_is_installed_stays_while_it_is_what_is_wanted() -> None:
    assert choose(PACKAGES, HEADERS, "590", OFFERED, installed("590.1-1")).version == "590.1"
    assert choose(PACKAGES, HEADERS, "", OFFERED, installed("470.1-1")).version == "470.1"
    assert choose(PACKAGES, HEADERS, "590", OFFERED, installed("590.1-1")).packages["linux-headers-6.1"] == "6.1.99-1"


def test_other_branch_and_half_of_a_driver_are_replaced() -> None:
    assert choose(PACKAGES, HEADERS, "580", OFFERED, installed("590.44.01-1")).version == "580.95.05"
    assert choose(PACKAGES, HEADERS, "580", OFFERED, {PACKAGES[0]: "580.105.08-1"}).version == "580.95.05"


def test_what_is_missing_is_named() -> None:
    assert choose(PACKAGES, HEADERS, "580.105.08", OFFERED, {}) == Choice(missing=["nvidia-kernel-open-dkms"])
    assert choose(PACKAGES, HEADERS, "600", OFFERED, {}) == Choice(missing=PACKAGES)
    assert choose(PACKAGES, ["linux-headers-7"], "580", OFFERED, {}) == Choice(missing=["linux-headers-7"])


def test_companion_follows_the_driver_as_closely_as_it_is_offered() -> None:
    offered = {**OFFERED, "nvidia-persistenced": ["590.44.01-1", "580.95.05-1", "580.65.06-1", "535.1-1"]}

    def persistenced(wanted: str, present: dict[str, str]) -> str:
        return choose(PACKAGES, ["nvidia-persistenced"], wanted, offered, present).packages["nvidia-persistenced"]

    assert persistenced("590", {}) == "590.44.01-1"
    assert persistenced("580", {"nvidia-persistenced": "590.44.01-1"}) == "580.95.05-1"
    present = dict.fromkeys(PACKAGES, "580.1-1")
    assert persistenced("580", {**present, "nvidia-persistenced": "580.65.06-1"}) == "580.65.06-1"


def test_driver_is_what_has_its_version_and_never_a_kernel() -> None:
    kernel = "linux-modules-nvidia-580-server-open-generic"
    versions = {
        kernel: "6.8.0-60.63+1",
        "linux-image-6.8.0-60-generic": "6.8.0-60.63",
        "nvidia-utils-580-server": "580.95.05-0ubuntu0.24.04.1",
        "nvidia-compute-utils-580-server": "580.95.05-0ubuntu0.24.04.1",
        "nvidia-container-toolkit": "1.20.0-1",
        "unrelated": "580.95.05-1",
    }
    driver = ["nvidia-compute-utils-580-server", "nvidia-utils-580-server"]
    assert installed_driver([kernel, "nvidia-utils-580-server"], versions) == ("580.95.05", driver)
    assert installed_driver([kernel], versions) == ("", [])
