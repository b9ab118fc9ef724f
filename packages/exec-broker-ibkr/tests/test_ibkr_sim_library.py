"""The libraries' own high level, which asks for more than the adapter does, meets the simulated TWS as it meets TWS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from exec_broker_ibkr.simulator.desk import Desk
from exec_broker_ibkr.simulator.listing import LISTING
from exec_broker_ibkr.simulator.market import Market
from exec_broker_ibkr.simulator.server import Simulator
from ibkr_sim_hall import DEADLINE

#: Either is enough; both together destroy each other's files.
LIBRARIES = [name for name in ("ib_insync", "ib_async") if find_spec(name) is not None]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    market = Market(LISTING)
    async with Simulator(market=market) as running:
        yield running


@pytest.fixture(params=LIBRARIES)
async def library(request: pytest.FixtureRequest) -> Any:
    # The older library looks for the loop of the thread, and on importing already (see `sdk`).
    asyncio.set_event_loop(asyncio.get_running_loop())
    return import_module(request.param)


@pytest.fixture
async def ib(library: Any, simulator: Simulator) -> AsyncIterator[Any]:
    connected = library.IB()
    await connected.connectAsync("127.0.0.1", simulator.port, clientId=9, timeout=DEADLINE)
    yield connected
    connected.disconnect()


async def until(ib: Any, condition: Callable[[], Any]) -> Any:
    """Wait for something to be so; whatever arrives wakes this."""
    async with asyncio.timeout(DEADLINE):
        while not (value := condition()):
            await ib.updateEvent
    return value


async def test_it_connects_with_all_that_it_asks_for(ib: Any, simulator: Simulator) -> None:
    assert ib.isConnected()
    assert ib.managedAccounts() == ["DU1234567"]
    assert ib.client.serverVersion() == 176
    values = {value.tag: value.value for value in ib.accountValues()}
    assert values["NetLiquidation"] == "1000000.00"
    assert {row.tag for row in await ib.accountSummaryAsync()} >= {"NetLiquidation", "BuyingPower"}
    assert (await ib.reqCurrentTimeAsync()).date() == simulator.book.now.date()
    assert simulator.not_understood == 0


async def test_an_order_is_filled_with_its_commission(ib: Any, library: Any) -> None:
    contract = library.Stock("AAPL", "SMART", "USD")
    await ib.qualifyContractsAsync(contract)
    assert contract.conId == 265598
    trade = ib.placeOrder(contract, library.MarketOrder("BUY", 10, tif="DAY", orderRef="X"))
    await until(ib, lambda: trade.fills and trade.fills[0].commissionReport.execId)
    assert (trade.orderStatus.status, trade.filled(), trade.remaining()) == ("Filled", 10, 0)
    assert trade.fills[0].execution.price == 235.15
    assert trade.fills[0].commissionReport.commission == 1
    assert trade.order.permId
    await until(ib, lambda: ib.positions())
    assert [(position.contract.symbol, position.position) for position in ib.positions()] == [("AAPL", 10)]


async def test_an_order_is_cancelled_and_shown_among_the_completed(ib: Any, library: Any) -> None:
    contract = library.Stock("AAPL", "SMART", "USD")
    trade = ib.placeOrder(contract, library.LimitOrder("BUY", 10, 200, tif="GTC", orderRef="Y"))
    await until(ib, lambda: trade.orderStatus.status == "Submitted")
    assert [one.order.orderRef for one in await ib.reqAllOpenOrdersAsync()] == ["Y"]
    ib.cancelOrder(trade.order)
    await until(ib, lambda: trade.orderStatus.status == "Cancelled")
    completed = await ib.reqCompletedOrdersAsync(False)
    assert [(one.order.orderRef, one.orderStatus.status, one.order.totalQuantity) for one in completed] == [
        ("Y", "Cancelled", 0)
    ]


async def test_a_refused_order_is_inactive(ib: Any, library: Any) -> None:
    contract = library.Stock("AAPL", "SMART", "USD")
    trade = ib.placeOrder(contract, library.LimitOrder("BUY", 1_000_000, 200, tif="DAY"))
    await until(ib, lambda: trade.orderStatus.status == "Inactive")
    assert 201 in [entry.errorCode for entry in trade.log]


async def test_who_comes_back_is_told_of_today(library: Any, simulator: Simulator) -> None:
    first = library.IB()
    await first.connectAsync("127.0.0.1", simulator.port, clientId=9, timeout=DEADLINE)
    contract = library.Stock("AAPL", "SMART", "USD")
    filled = first.placeOrder(contract, library.MarketOrder("BUY", 10, tif="DAY", orderRef="FILLED"))
    resting = first.placeOrder(contract, library.LimitOrder("BUY", 10, 200, tif="DAY", orderRef="RESTS"))
    await until(first, lambda: filled.isDone() and resting.orderStatus.status == "Submitted")
    first.disconnect()
    again = library.IB()
    await again.connectAsync("127.0.0.1", simulator.port, clientId=9, timeout=DEADLINE)
    assert [fill.execution.orderRef for fill in again.fills()] == ["FILLED"]
    assert [trade.order.orderRef for trade in again.openTrades()] == ["RESTS"]
    await until(again, lambda: again.fills()[0].commissionReport.execId)
    # Below its limit it trades, told to whoever has this client id now.
    Desk(simulator).price("AAPL", Decimal("199.5"))
    trade = again.openTrades()[0] if again.openTrades() else again.trades()[-1]
    await until(again, lambda: trade.isDone())
    assert trade.fills[0].execution.price == 199.5
    again.disconnect()


async def test_a_bracket_of_the_library(ib: Any, library: Any, simulator: Simulator) -> None:
    contract = library.Stock("AAPL", "SMART", "USD")
    await ib.qualifyContractsAsync(contract)
    orders = ib.bracketOrder("BUY", 10, 240, takeProfitPrice=250, stopLossPrice=220)
    for order in orders:
        order.tif = "GTC"
    trades = [ib.placeOrder(contract, order) for order in orders]
    await until(ib, lambda: trades[0].isDone())
    await until(ib, lambda: [one.orderStatus.status for one in trades[1:]] == ["Submitted", "PreSubmitted"])
    Desk(simulator).price("AAPL", Decimal("251"))
    await until(ib, lambda: [one.orderStatus.status for one in trades[1:]] == ["Filled", "Cancelled"])
