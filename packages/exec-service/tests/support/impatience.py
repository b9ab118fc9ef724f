"""A MongoDB store that soon gives up: what tests use that wait for it to do so."""

from __future__ import annotations

from exec_service.stores.mongo import MongoStore


def grow_impatient(store: MongoStore, seconds: float) -> None:
    """From now on it waits no longer than `seconds`. It is opened with patience: a busy server may take longer."""
    store._connection.timeout_seconds = seconds
