"""Make `ansible_collections.mlstack.kubernetes` importable from the checkout, as Ansible itself does it."""

from __future__ import annotations

from pathlib import Path

from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
from hypothesis import configuration, settings

CHECKOUT = Path(__file__).resolve().parents[2]


def pytest_configure() -> None:
    # The same examples in every run, and what they need in a place that neither Git nor the tarball looks at.
    settings.register_profile("repeatable", derandomize=True, deadline=None)
    settings.load_profile("repeatable")
    configuration.set_hypothesis_home_dir(CHECKOUT / ".cache" / "hypothesis")
    finder = _AnsibleCollectionFinder(paths=[str(CHECKOUT / ".collections")])
    # Only one finder may be installed; another conftest or plugin may have come first.
    finder._remove()
    finder._install()
