"""The venue that the conformance kit drives: its truth, without an adapter; what it says of itself."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exec_broker_zerodha.conformance import ZerodhaVenue
from exec_core.instruments import AssetClass
from exec_core.orders import OrderType, TimeInForce
from exec_core.reports import ReportStatus
from exec_core.sides import Side
from exec_core.testing import Ability


@pytest.fixture
async def venue() -> AsyncIterator[ZerodhaVenue]:
    async with ZerodhaVenue() as entered:
        yield entered


@pytest.fixture
async def client(venue: ZerodhaVenue) -> AsyncIterator[Any]:
    from kiteconnect import KiteConnect

    settings = venue.config.settings
    made = KiteConnect(settings["api_key"], settings["access_token"], root=settings["api_root"], timeout=60)
    made.reqsession.trust_env = False
    yield made
    made.reqsession.close()


async def place(client: Any, **changes: Any) -> str:
    values = {
        "variety": "regular",
        "exchange": "NSE",
        "tradingsymbol": "RELIANCE",
        "transaction_type": "BUY",
        "quantity": 10,
        "product": "MIS",
        "order_type": "LIMIT",
        "price": "1400.10",
        "validity": "DAY",
        "tag": "OURS",
    } | changes
    order_id: str = await asyncio.to_thread(client.place_order, **values)
    return order_id


async def test_the_truth_is_what_was_asked_whatever_kite_shows(venue: ZerodhaVenue, client: Any) -> None:
    await place(client, order_type="MARKET", price=None, market_protection=-1, validity="IOC")
    await place(client, order_type="SL-M", price=None, trigger_price="1410.10", market_protection=-1)
    await place(client, order_type="SL", trigger_price="1410.10", transaction_type="SELL")
    await place(client)
    market, stop, stop_limit, limit = await venue.orders()
    assert (market.order_type, market.limit_price, market.time_in_force) == (OrderType.MARKET, None, TimeInForce.IOC)
    assert (stop.order_type, stop.status, stop.stop_price) == (OrderType.STOP, ReportStatus.HELD, Decimal("1410.10"))
    assert (stop_limit.order_type, stop_limit.side, stop_limit.limit_price) == (
        OrderType.STOP_LIMIT,
        Side.SELL,
        Decimal("1400.10"),
    )
    assert (limit.client_order_id, limit.symbol, limit.quantity) == ("OURS", "RELIANCE", 10)
    assert all(order.is_open for order in (market, stop, stop_limit, limit))


async def test_what_a_method_made_happen_is_in_the_truth_and_on_the_wire(venue: ZerodhaVenue, client: Any) -> None:
    order_id = await place(client)
    execution = await venue.fill(order_id, Decimal(4), Decimal("1400.05"))
    (row,) = await asyncio.to_thread(client.trades)
    assert execution.execution_id == f"NSE:{row['trade_id']}:{order_id}"
    assert execution.time.astimezone().replace(microsecond=0) == execution.time
    await venue.modify(order_id, quantity=Decimal(8), limit_price=Decimal("1399.90"))
    stranger = await venue.trade_by_hand(venue.tradable(AssetClass.STOCK), Side.SELL, Decimal(3))
    assert stranger.client_order_id is None
    await venue.expire(order_id)
    await venue.reject(stranger.broker_order_id, "No.")
    ours, theirs = await venue.orders()
    assert (ours.status, ours.quantity, ours.limit_price) == (ReportStatus.EXPIRED, 8, Decimal("1399.90"))
    assert ours.executions == (execution,)
    assert theirs.status is ReportStatus.REJECTED


async def test_trouble_ends_when_it_is_told_to(venue: ZerodhaVenue, client: Any) -> None:
    await venue.fail_questions()
    with pytest.raises(Exception, match="Request failed"):
        await asyncio.to_thread(client.orders)
    await venue.answer_in_part()
    with pytest.raises(Exception, match="IncompleteRead"):
        await asyncio.to_thread(client.orders)
    order_id = await place(client)
    await venue.answer_questions()
    assert len(await asyncio.to_thread(client.orders)) == 1
    await venue.forbid_login()
    with pytest.raises(Exception, match="access_token"):
        await place(client)
    await venue.allow_login()
    await venue.hold_cancels()
    await asyncio.to_thread(client.cancel_order, "regular", order_id)
    assert (await venue.orders())[0].is_open
    await venue.lose_next_answer(taken=True)
    with pytest.raises(OSError, match="Connection aborted"):
        await place(client)
    assert len(await venue.orders()) == 2
    await venue.begin_new_day()
    assert await asyncio.to_thread(client.orders) == []
    assert [order.status for order in await venue.orders()] == [ReportStatus.EXPIRED] * 2


@pytest.mark.parametrize("asset_class", [AssetClass.STOCK, AssetClass.ETF, AssetClass.FUTURE, AssetClass.OPTION])
async def test_what_can_be_traded_is_listed_and_on_its_grid(
    venue: ZerodhaVenue, client: Any, asset_class: AssetClass
) -> None:
    tradable = venue.tradable(asset_class)
    instrument = tradable.instrument
    assert tradable.price % tradable.price_increment == 0
    assert tradable.quantity % tradable.quantity_increment == 0
    listed = await asyncio.to_thread(client.instruments, instrument.exchange)
    found = [
        one
        for one in listed
        if one["name" if instrument.expiry else "tradingsymbol"] == instrument.symbol
        and (not instrument.expiry or f"{one['expiry']:%Y%m%d}" == instrument.expiry)
        and one["instrument_type"] == {"FUTURE": "FUT", "OPTION": "CE"}.get(asset_class, "EQ")
        and (instrument.strike is None or Decimal(str(one["strike"])) == instrument.strike)
    ]
    assert len(found) == 1
    product = tradable.product or ("NRML" if instrument.expiry else "CNC")
    await place(
        client,
        exchange=instrument.exchange,
        tradingsymbol=found[0]["tradingsymbol"],
        quantity=int(tradable.quantity + tradable.quantity_increment),
        price=str(tradable.price + 7 * tradable.price_increment),
        product=product,
    )
    (order,) = await venue.orders()
    assert order.symbol == instrument.symbol


async def test_its_secrets_are_those_of_its_settings_and_its_folder_goes(venue: ZerodhaVenue) -> None:
    settings = venue.config.settings
    assert {settings["api_key"], settings["access_token"]} == set(venue.secrets)
    async with ZerodhaVenue() as another:
        assert another.config.settings["data_dir"] != settings["data_dir"]
        left = Path(another.config.settings["data_dir"])
        assert await asyncio.to_thread(left.is_dir)
    assert not await asyncio.to_thread(left.exists)
    ZerodhaVenue()  # never entered, as for a card that is skipped: there is nothing of it to clean up
    gc.collect()
    assert set(venue.cannot) == {Ability.CORRECT, Ability.BILL_LATE}
