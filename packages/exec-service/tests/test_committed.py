"""The committed state: what is in memory, what is read from the store, and what is known not to exist."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exec_core import Instrument, Order, OrderRequest, OrderType, Side
from exec_core.identifiers import AccountId, BrokerOrderId, SignalId
from exec_core.orders import OrderStatus
from exec_service import committed, journal
from exec_service.committed import CommittedState
from exec_service.records import OrderRecord, Source
from exec_service.stores import ORDERS, POSITIONS, Write
from exec_service.stores.sqlite import SqliteStore
from exec_service.units import NotLoaded

NOW = datetime(2026, 1, 5, 15, tzinfo=UTC)


def record(name: str, status: OrderStatus = OrderStatus.PENDING) -> OrderRecord:
    request = OrderRequest(
        SignalId(name), AccountId("acc_1"), "test", Instrument("SPY"), Side.BUY, OrderType.MARKET, Decimal(1)
    )
    order = replace(Order.new(request), status=status, broker_order_ids=(BrokerOrderId(f"B-{name}"),), revision=1)
    return OrderRecord(order, Source("digest", NOW), 1, "mock")


async def test_what_an_adopted_account_does_not_hold_is_known_without_asking(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        state = CommittedState(store)
        with pytest.raises(NotLoaded):
            state.cached_open_position("key", "acc_1")
        # Another service's, without a key and an exact part of ours: it stays unread.
        await store.commit([Write(POSITIONS, "theirs", None, {"account_id": "acc_1", "status": "OPEN", "quantity": 5})])
        await state.adopt_all("acc_1")
        assert state.cached_open_position("key", "acc_1") is None
        with pytest.raises(NotLoaded):
            state.cached_open_position("key", "acc_2")
        state.forget("acc_1")
        with pytest.raises(NotLoaded):
            state.cached_open_position("key", "acc_1")


async def test_of_ended_orders_the_newest_stay_and_older_ones_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committed, "ENDED_ORDERS_KEPT", 1)
    working = record("w", OrderStatus.SUBMITTED)
    old, new = (record(name, OrderStatus.CANCELLED) for name in ("o", "n"))
    async with SqliteStore(tmp_path) as store:
        await store.commit([Write(ORDERS, one.id, 0, journal.order_document(one)) for one in (working, old, new)])
        state = CommittedState(store)
        for one in (working, old, new):
            state.adopt(one)
        assert [entry.record.id for entry in state.live("acc_1")] == [working.id]
        assert state.get(new.id) is not None
        assert state.get(old.id) is None
        assert await state.find_by_broker_id("acc_1", BrokerOrderId("B-o")) == old.id
        found = await state.find(old.id)
        assert found is not None
        assert found.order.status is OrderStatus.CANCELLED
        assert state.get(new.id) is None, "the one that was read again has taken its place"


async def test_an_order_that_nobody_has_is_none(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        state = CommittedState(store)
        assert await state.find(record("nobody").id) is None
        assert await state.find_by_broker_id("acc_1", BrokerOrderId("B-nobody")) is None


async def test_orders_fetched_together_are_found_by_either_id_and_never_replace_what_came_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, newer = (record(name, OrderStatus.FILLED) for name in ("a", "b", "c"))
    async with SqliteStore(tmp_path) as store:
        await store.commit([Write(ORDERS, one.id, 0, journal.order_document(one)) for one in (ours, theirs, newer)])
        state = CommittedState(store)
        load = store.load

        async def while_it_changes(*arguments: Any, **named: Any) -> Any:
            found = await load(*arguments, **named)
            state.adopt(replace(newer, order=replace(newer.order, revision=2)))
            return found

        monkeypatch.setattr(store, "load", while_it_changes)
        await state.prefetch("acc_1", [ours.id, newer.id], [BrokerOrderId("B-b"), BrokerOrderId("nobody's")])
        assert {one.id for one in (ours, theirs, newer) if state.get(one.id) is not None} == {
            ours.id, theirs.id, newer.id,
        }  # fmt: skip
        entry = state.get(newer.id)
        assert entry is not None
        assert entry.order.revision == 2
        assert state.knows_broker_id("acc_1", BrokerOrderId("B-b"))
        assert not state.knows_broker_id("acc_1", BrokerOrderId("nobody's"))

        async def not_asked(*_arguments: Any, **_named: Any) -> Any:
            raise AssertionError("all of it is in memory")

        monkeypatch.setattr(store, "load", not_asked)
        await state.prefetch("acc_1", [ours.id, newer.id], [BrokerOrderId("B-b")])
