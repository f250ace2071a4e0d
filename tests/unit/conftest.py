"""Make `ansible_collections.mlstack.kubernetes` importable from the checkout, as Ansible itself does."""

from __future__ import annotations

from pathlib import Path

from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
from hypothesis import configuration, settings

CHECKOUT = Path(__file__).resolve().parents[2]


def pytest_configure() -> None:
    # The same examples in every run; the database of examples is kept where Git and the tarball ignore it.
    settings.register_profile("repeatable", derandomize=True, deadline=None)
    settings.load_profile("repeatable")
    configuration.set_hypothesis_home_dir(CHECKOUT / ".cache" / "hypothesis")
    # The class is private, but pytest-ansible would not help: it uses the same class, writes a second tree of links
    # into the checkout, and sets ANSIBLE_COLLECTIONS_PATH, which overrides ansible.cfg in all playbooks that tests run.
    finder = _AnsibleCollectionFinder(paths=[str(CHECKOUT / ".collections")])
    # Only one finder can be installed, and another conftest or plugin may have installed one.
    finder._remove()
    finder._install()
