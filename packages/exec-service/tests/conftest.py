"""Assertions in the conformance suites are explained like those in the tests themselves."""

import pytest

pytest.register_assert_rewrite("store_samples", "store_values", "store_commits", "store_workers", "bus_suite")


@pytest.fixture
def rig(tmp_path, monkeypatch):
    """A directory to run services in, with the mock venue beside it."""
    from rig import Rig

    made = Rig(tmp_path, monkeypatch)
    yield made
    made.book.close()


pytest.register_assert_rewrite("rig", "harness", "invariants")
