"""What the store's conformance suite is made of: fixtures, values that must survive, and short ways to say things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from exec_service.stores import (
    FILLS,
    ORDERS,
    Document,
    SignalChange,
    Store,
    WorkerState,
    Write,
)

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]

#: For what must happen: only a failing test waits so long.
PATIENCE_SECONDS = 60.0
#: For what must not happen.
MOMENT_SECONDS = 0.2

NOON = datetime(2026, 3, 2, 12, 0, 0, 123000, tzinfo=UTC)

VALUES: dict[str, Any] = {
    "no value": None,
    "true": True,
    "false": False,
    "zero": 0,
    "largest whole number": 2**63 - 1,
    "smallest whole number": -(2**63),
    "float": 0.1,
    "whole float": 100.0,
    "tiny float": 5e-324,
    "negative zero": -0.0,
    "decimal": Decimal("235.15"),
    "decimal with trailing zeros": Decimal("100.00"),
    "whole decimal": Decimal("100"),
    "decimal of 34 digits": Decimal("1234567890123456789012345678.901234"),
    "another of 34 digits": Decimal("-0.1234567890123456789012345678901234"),
    "decimal with exponent": Decimal("1E+3"),
    "text": "naïve ₹ ⏱ 中文 \U0001f600",
    "empty text": "",
    "text with NUL and quotes": "a\0b'\"\\\n",
    "time": NOON,
    "time before the epoch": datetime(1901, 1, 1, tzinfo=UTC),
    "list": [1, [Decimal("1.10"), []], {"at": NOON}],
    "empty dict": {},
    "keys of all kinds": {"a.b": 1, "$decimal": "1", "$time": {"$set": 2}, "$$": 3, "with space": 4, "": 5},
    "a dict that looks like a decimal": {"$decimal": "1.50"},
    "a dict that looks like a time": {"$time": "2026-03-02T12:00:00.000+00:00"},
}

UNSTORABLE: dict[str, Any] = {
    "a naive time": datetime(2026, 3, 2),  # noqa: DTZ001  # the point
    "a decimal of 35 digits": Decimal("1." + "1" * 34),
    "a decimal that is no number": Decimal("NaN"),
    "an infinite decimal": Decimal("Infinity"),
    "a float that is no number": float("nan"),
    "an infinite float": float("inf"),
    "a whole number of 65 bits": 2**63,
    "half a surrogate pair": "\ud800",
    "half a surrogate pair in a key": {"\ud800": 1},
    "a key that is no text": {1: 1},
    "a key with NUL": {"a\0b": 1},
    "an object": object(),
    "a set": {1},
}


def exactly(value: Any) -> Any:
    """`value` beside its type, all the way down: 1, 1.0, True and Decimal(1) are equal, and must not be confused."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exactly(item) for item in value]
    return (type(value).__name__, str(value))


def order(key: str, revision: int = 1, **fields: Any) -> dict[str, Any]:
    return {"_id": key, "revision": revision, "signal_id": f"signal of {key}", "leg_index": 0, **fields}


def new(collection: str, document: dict[str, Any]) -> Write:
    return Write(collection, document["_id"], 0, document)


def position(key: str, position_key: str, status: str = "OPEN", revision: int = 1) -> dict[str, Any]:
    return {"_id": key, "revision": revision, "position_key": position_key, "status": status}


def ids(documents: list[dict[str, Any]]) -> list[str]:
    return [document["_id"] for document in documents]


async def only(store: Store, collection: str, key: str) -> dict[str, Any]:
    (document,) = await store.load(collection, {"_id": key})
    return document


async def tell(
    store: Store, names: Sequence[str], signal_id: str, merge: Callable[[Document | None], Document | None]
) -> None:
    """Make one change to a signal's document, and raise what keeps it from being made."""
    (error,) = await store.update_signals([SignalChange(names, signal_id, merge)])
    if error is not None:
        raise error


async def assert_every_commit_is_whole(store: Store, acknowledged: int) -> None:
    """After a kill: no numbered commit that was acknowledged is lost, at most one more is there, none is half done."""
    written = {int(document["_id"]) for document in await store.load(ORDERS)}
    fills = [int(document["client_order_id"]) for document in await store.load(FILLS)]
    assert written >= set(range(1, acknowledged + 1))
    assert written <= set(range(1, acknowledged + 2))
    assert (await only(store, "accounts", "a"))["newest"] == max(written)
    assert sorted(fills) == sorted(list(written) * 10)


async def worker(store: Store, worker_id: str) -> WorkerState:
    (state,) = [state for state in await store.workers() if state.worker_id == worker_id]
    return state


async def until(store: Store, worker_id: str, condition: Callable[[WorkerState], bool]) -> WorkerState:
    """Wait until the worker's state fulfils the condition; only time can change it, so look again and again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if condition(state := await worker(store, worker_id)):
                return state
            await asyncio.sleep(0.01)


class StoreFixtures:
    """A store, and another on the same data."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """A factory; each store it makes is a connection of its own to the same, at first empty, data."""
        raise NotImplementedError("a conformance test class gives its own open_store fixture")

    @pytest.fixture
    async def store(self, open_store: OpenStore) -> AsyncIterator[Store]:
        async with open_store() as store:
            yield store

    @pytest.fixture
    async def other(self, store: Store, open_store: OpenStore) -> AsyncIterator[Store]:
        """A second store on the same data."""
        async with open_store() as other:
            yield other
