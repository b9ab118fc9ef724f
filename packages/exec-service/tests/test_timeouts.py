"""Cancels are seen through: what fails on the way is tried again until the order has ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from exec_core import Instrument, Order, OrderRequest, OrderType, Side
from exec_core.identifiers import AccountId, SignalId
from exec_core.orders import CancelRequest, OrderStatus, ReasonCode
from exec_service import timeouts
from exec_service.records import OrderRecord, Source
from exec_service.stores import LeaseLost, StoreUnavailable
from exec_service.timeouts import Canceller
from exec_service.units import Entry

NOW = datetime(2026, 1, 5, 15, tzinfo=UTC)
REQUEST = OrderRequest(
    SignalId("sig"), AccountId("acc_1"), "test", Instrument("SPY"), Side.BUY, OrderType.MARKET, Decimal(1)
)


def entry() -> Entry:
    """An order at the broker that somebody wants cancelled."""
    wanted = CancelRequest(ReasonCode.CANCELLED_BY_USER, "asked", NOW)
    order = replace(Order.new(REQUEST), status=OrderStatus.SUBMITTED, cancel=wanted)
    return Entry(OrderRecord(order, Source("digest", NOW), 1, "mock"))


async def test_a_store_that_is_away_does_not_end_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "FIRST_CANCEL_WAIT_SECONDS", 0.001)
    wanted, asked = entry(), asyncio.Event()
    answers: list[Any] = [StoreUnavailable("away"), wanted]

    class Ledger:
        changed: list[Any] = []  # noqa: RUF012  # never shared

        async def find(self, _order_id: str) -> Entry:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        def get(self, _order_id: str) -> Entry:
            return wanted

    async def cancel_order(_order: Order) -> None:
        asked.set()

    session: Any = SimpleNamespace(broker=SimpleNamespace(cancel_order=cancel_order))
    ledger: Any = Ledger()
    execution: Any = None
    canceller = Canceller(
        "acc_1", execution, ledger, session, lambda: NOW, default_seconds=0, look=lambda _order_id: None
    )
    canceller.watch(wanted)
    async with asyncio.timeout(30):
        await asked.wait()
    await canceller.stop()


async def test_a_time_out_of_an_account_that_is_anothers_by_now_is_left_to_that_one() -> None:
    order = replace(entry().order, cancel=None, acknowledged_at=NOW, working_since=NOW)
    late = Entry(OrderRecord(order, Source("digest", NOW), 1, "mock"))
    asked: asyncio.Future[asyncio.Task[Any] | None] = asyncio.get_running_loop().create_future()

    async def submit(_decide: object) -> None:
        asked.set_result(asyncio.current_task())
        raise LeaseLost("taken over")

    execution: Any = None
    ledger: Any = SimpleNamespace(changed=[], get=lambda _order_id: late, submit=submit)
    session: Any = None
    later = NOW.replace(hour=16)
    canceller = Canceller(
        "acc_1", execution, ledger, session, lambda: later, default_seconds=60, look=lambda _order_id: None
    )
    canceller.start()
    canceller.watch(late)
    async with asyncio.timeout(60):
        task = await asked
        assert task is not None
        await asyncio.wait([task])
    assert task.exception() is None
    await canceller.stop()
