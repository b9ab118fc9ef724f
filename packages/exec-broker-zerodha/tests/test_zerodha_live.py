"""Kite itself, on request only (``ZERODHA_LIVE_TEST=1``): whose account it is, and what it holds. It only reads.

Needs ``ZERODHA_API_KEY`` and today's token (``ZERODHA_TOKEN_FILE`` or ``ZERODHA_ACCESS_TOKEN``); no static IP.
"""

from __future__ import annotations

import os
from decimal import Decimal

import pytest
from exec_core import BrokerFactory, Instrument, Order, OrderRequest, OrderType, Side, SignalId
from exec_core.identifiers import AccountId

pytestmark = pytest.mark.skipif(
    os.environ.get("ZERODHA_LIVE_TEST") != "1", reason="asks Kite itself: only with ZERODHA_LIVE_TEST=1"
)


async def test_everything_that_is_asked_is_answered() -> None:
    mode = os.environ.get("ZERODHA_LIVE_MODE", "live")
    request = OrderRequest(
        SignalId("live-never-sent"),
        AccountId("live"),
        "Smoke test",
        Instrument("INFY"),
        Side.BUY,
        OrderType.MARKET,
        quantity=Decimal(1),
    )
    async with BrokerFactory.create_broker({"broker": "zerodha", "account_id": "live", "mode": mode}) as broker:
        assert broker.availability().is_ready
        found = await broker.find_order(Order.new(request))
        assert found.view.complete
        assert not found.has_trace
        assert (await broker.open_orders()).view.complete
        assert (await broker.positions()).view.complete
        assert (await broker.account()).currency == "INR"
