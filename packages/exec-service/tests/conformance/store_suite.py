"""What every `Store` must pass. Subclass `StoreSuite`, and give it a factory of stores on one and the same data."""

from __future__ import annotations

from store_archiving import ArchivingSuite
from store_commits import CommitSuite
from store_samples import OpenStore
from store_signals import SignalSuite
from store_values import ValueSuite
from store_workers import WorkerSuite

__all__ = ["OpenStore", "StoreSuite"]


class StoreSuite(ValueSuite, CommitSuite, ArchivingSuite, SignalSuite, WorkerSuite):
    """The promises of `Store`, as tests. The subclass gives the fixture `open_store`."""
