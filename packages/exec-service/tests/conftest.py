"""Assertions in the conformance suites are explained like those in the tests themselves."""

import sys

import pytest

pytest.register_assert_rewrite(
    "store_samples", "store_values", "store_commits", "store_archiving", "store_workers", "bus_suite"
)


@pytest.fixture
def rig(tmp_path, monkeypatch):
    """A directory to run services in, with the mock venue beside it."""
    from rig import Rig

    made = Rig(tmp_path, monkeypatch)
    yield made
    made.book.close()


@pytest.fixture(autouse=True)
def _sockets_of_the_driver():
    """What a MongoDB client left behind must not be blamed on whichever test the collector runs in."""
    yield
    if "pymongo" in sys.modules:
        from driver_sockets import let_go

        let_go()


pytest.register_assert_rewrite("rig", "harness", "invariants")
