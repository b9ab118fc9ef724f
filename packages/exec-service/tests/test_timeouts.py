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
from exec_service.stores import StoreUnavailable
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
