"""Contracts that the tests of both ends of the wire use, and the client library of this environment."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from exec_broker_ibkr.connection.sdk import Sdk, load
from exec_broker_ibkr.messages import TwsContract, TwsLeg

STOCK = TwsContract("STK", "AAPL", 265598, exchange="SMART", currency="USD", local_symbol="AAPL", trading_class="NMS")
OPTION = TwsContract(
    "OPT",
    "SPY",
    77,
    "20271217",
    Decimal("600.5"),
    "C",
    Decimal(100),
    "SMART",
    "",
    "USD",
    "SPY   271217C00600500",
    "SPY",
)
BAG = TwsContract(
    "BAG",
    "SPY",
    exchange="SMART",
    currency="USD",
    legs=(TwsLeg(101, 1, "BUY", "SMART"), TwsLeg(102, 2, "SELL", "SMART")),
)


def loaded_sdk() -> Sdk:
    """The client library, imported outside of any loop that runs."""
    return asyncio.run(load())
