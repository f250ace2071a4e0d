"""Make `ansible_collections.mlstack.kubernetes` importable from the checkout, as Ansible itself does it."""

from __future__ import annotations

from pathlib import Path

from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

CHECKOUT = Path(__file__).resolve().parents[2]


def pytest_configure() -> None:
    finder = _AnsibleCollectionFinder(paths=[str(CHECKOUT / ".collections")])
    # Only one finder may be installed; another conftest or plugin may have come first.
    finder._remove()
    finder._install()
