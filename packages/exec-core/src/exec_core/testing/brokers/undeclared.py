"""What a plugin does not declare: orders that ask for it, and the proof that the adapter sends none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Final

import pytest

from exec_core.errors import OrderUnsupported
from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.orders import Order
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Tradable

#: Something of each kind that anybody would understand. It need not exist at the venue: it must never get there.
_ANY: Final[Mapping[AssetClass, Instrument]] = MappingProxyType(
    {
        AssetClass.STOCK: Instrument("SPY"),
        AssetClass.ETF: Instrument("QQQ", AssetClass.ETF),
        AssetClass.OPTION: Instrument(
            "SPY", AssetClass.OPTION, expiry="20301220", strike=Decimal(500), right=Right.CALL
        ),
        AssetClass.FUTURE: Instrument("ES", AssetClass.FUTURE, expiry="203012"),
        AssetClass.FOREX: Instrument("EURUSD", AssetClass.FOREX),
        AssetClass.CRYPTO: Instrument("BTC", AssetClass.CRYPTO),
    }
)


def undeclared_tradable(stage: Stage, asset_class: AssetClass) -> Tradable:
    """Something of a kind that the plugin does not declare, with the figures of what can be traded."""
    return replace(stage.tradable, instrument=_ANY[asset_class])


async def check_nothing_is_sent(stage: Stage, order: Order) -> None:
    """The core refuses the order as undeclared; and the adapter itself, unguarded, lets nothing of it reach the venue.

    Any exception will do there, and so will an answer: what counts is that the venue holds no order.
    """
    session = await stage.session()
    with pytest.raises(OrderUnsupported):
        await session.place(order)
    await session.leave()
    sending = stage.follower.sending(order)
    async with stage.raw_broker() as adapter:
        with suppress(Exception):
            async with asyncio.timeout(stage.patience_seconds):
                await adapter.place_order(sending)
    session = await stage.session()
    await stage.all_told(session)
    expected = set(stage.follower.orders) - {order.client_order_id}
    sent = [known for known in await stage.venue.orders() if known.client_order_id not in expected]
    if sent:
        pytest.fail(f"the adapter sent what the plugin does not declare; the venue holds {sent}")
