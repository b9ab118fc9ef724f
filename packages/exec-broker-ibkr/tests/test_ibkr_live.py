"""A real paper account, on request only (``IBKR_LIVE_TEST=1``): rest and cancel, buy one share, sell it, be flat.

``IBKR_HOST``, ``IBKR_PORT``, ``IBKR_CLIENT_ID`` and ``IBKR_ACCOUNT`` say where; ``IBKR_LIVE_SYMBOL`` what (F).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from decimal import Decimal

import pytest
from exec_core import (
    BrokerFactory,
    FillReport,
    Instrument,
    Order,
    OrderReport,
    OrderRequest,
    OrderType,
    Report,
    ReportStatus,
    Side,
    SignalId,
    TimeInForce,
)
from exec_core.guard import GuardedBroker
from exec_core.identifiers import AccountId

pytestmark = pytest.mark.skipif(
    os.environ.get("IBKR_LIVE_TEST") != "1", reason="trades in a real paper account: only with IBKR_LIVE_TEST=1"
)
ONE = Decimal(1)
#: No stock of that size trades so low.
FAR_BELOW = Decimal("1.00")
PATIENCE = 60.0


class Tape:
    """What the account's reports say, as they come."""

    def __init__(self, broker: GuardedBroker) -> None:
        self._heard: list[Report] = []
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._listen(broker))

    async def _listen(self, broker: GuardedBroker) -> None:
        async for report in broker.reports():
            self._heard.append(report)
            self._news.set()

    async def until(self, order: Order, holds: Callable[[list[Report]], bool], what: str) -> None:
        """Wait until it holds of the reports about the order."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds([one for one in self._heard if one.client_order_id == order.client_order_id]):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"not within {PATIENCE:g} s: {what}; is the market open?")


def an_order(name: str, side: Side, order_type: OrderType, limit_price: Decimal | None = None) -> Order:
    request = OrderRequest(
        SignalId(f"live-{name}-{time.time_ns()}"),  # a paper account remembers: never the same order twice
        AccountId("live"),
        "Smoke test",
        Instrument(os.environ.get("IBKR_LIVE_SYMBOL", "F")),
        side,
        order_type,
        quantity=ONE,
        limit_price=limit_price,
        time_in_force=TimeInForce.DAY,
    )
    return Order.new(request)


def filled(reports: list[Report]) -> bool:
    return sum(one.fill.quantity for one in reports if isinstance(one, FillReport)) == ONE


def cancelled(reports: list[Report]) -> bool:
    return any(isinstance(one, OrderReport) and one.status is ReportStatus.CANCELLED for one in reports)


async def held(broker: GuardedBroker, symbol: str) -> Decimal:
    positions = await broker.positions()
    return sum((one.quantity for one in positions.items if one.instrument.symbol == symbol), Decimal(0))


async def test_orders_rest_fill_and_leave_nothing_behind() -> None:
    config = {"broker": "ibkr", "account_id": "live", "mode": "paper"}  # a live account is refused by this
    async with BrokerFactory.create_broker(config) as broker:
        tape = Tape(broker)
        try:
            resting = an_order("rest", Side.BUY, OrderType.LIMIT, FAR_BELOW)
            before = await held(broker, resting.request.instrument.symbol)
            await broker.place_order(resting)
            assert (await broker.find_order(resting)).has_trace
            await broker.cancel_order(resting)
            await tape.until(resting, cancelled, "the resting order is cancelled")

            bought = an_order("buy", Side.BUY, OrderType.MARKET)
            await broker.place_order(bought)
            await tape.until(bought, filled, "one share is bought")
            sold = an_order("sell", Side.SELL, OrderType.MARKET)
            await broker.place_order(sold)
            await tape.until(sold, filled, "it is sold again")
            assert await held(broker, resting.request.instrument.symbol) == before
            assert (await broker.account()).equity is not None
        finally:
            tape.task.cancel()
            await asyncio.gather(tape.task, return_exceptions=True)
