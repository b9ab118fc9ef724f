"""Answers about an account: traces, open orders, positions, money."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from exec_core import AssetClass, Instrument, OrderType, Side


async def test_a_look_up_is_complete_since_the_book_was_begun(far, connect, new_order):
    begun = far.clock()
    far.clock.pass_by(5)
    broker = await connect()
    found = await broker.find_order(new_order())
    assert not found.has_trace
    assert (found.view.complete, found.view.covers_from, found.view.as_of) == (True, begun, far.clock())
    assert found.view.proves_absence_since(far.clock())


async def test_an_order_is_found_by_its_broker_order_id_too(far, connect, new_order):
    broker = await connect()
    placed = await broker.place_order(new_order())
    stranger = replace(new_order("stranger"), broker_order_ids=(placed.broker_order_id, "mock-77", "x"))
    found = await broker.find_order(stranger)
    assert [report.client_order_id for report in found.orders] == [new_order().client_order_id]


async def test_open_orders_are_those_that_can_still_trade_and_prove_no_absence(far, connect, new_order):
    broker = await connect()
    await broker.place_order(new_order("done"))
    await broker.place_order(new_order("limit", order_type=OrderType.LIMIT, limit_price=Decimal(1)))
    await broker.place_order(new_order("stop", order_type=OrderType.STOP, stop_price=Decimal(900)))
    snapshot = await broker.open_orders()
    assert [report.status.value for report in snapshot.items] == ["WORKING", "HELD"]
    assert snapshot.view.covers_from is None
    assert snapshot.view.complete


async def test_positions_fold_executions_at_average_cost_across_a_flip(far, connect, new_order):
    broker = await connect()
    await broker.place_order(new_order("1", reference_price=Decimal(10)))
    await broker.place_order(new_order("2", reference_price=Decimal(20)))
    held = (await broker.positions()).items
    assert [(one.quantity, one.average_price) for one in held] == [(Decimal(200), Decimal(15))]
    await broker.place_order(new_order("3", side=Side.SELL, quantity=Decimal(150), reference_price=Decimal(99)))
    held = (await broker.positions()).items
    assert [(one.quantity, one.average_price) for one in held] == [(Decimal(50), Decimal(15))]
    await broker.place_order(new_order("4", side=Side.SELL, quantity=Decimal(80), reference_price=Decimal(30)))
    held = (await broker.positions()).items
    assert [(one.instrument, one.quantity, one.average_price) for one in held] == [
        (Instrument("SPY"), Decimal(-30), Decimal(30))
    ]
    await broker.place_order(new_order("5", quantity=Decimal(30)))
    assert (await broker.positions()).items == ()


async def test_positions_are_kept_per_instrument_as_it_was_ordered(far, connect, new_order):
    call = Instrument("SPY", AssetClass.OPTION, expiry="20261218", strike=Decimal("500.5"), currency="USD")
    broker = await connect()
    await broker.place_order(new_order("stock"))
    await broker.place_order(new_order("option", instrument=call, quantity=Decimal(2)))
    held = {one.instrument: one.quantity for one in (await broker.positions()).items}
    assert held == {Instrument("SPY"): Decimal(100), call: Decimal(2)}


async def test_the_account_counts_cash_commission_and_what_is_held_with_its_multiplier(far, connect, new_order):
    broker = await connect(cash=Decimal(100000), commission=Decimal(2))
    option = Instrument("SPY", AssetClass.OPTION, expiry="20261218", strike=Decimal(500))
    await broker.place_order(new_order(instrument=option, quantity=Decimal(3), reference_price=Decimal(10)))
    account = await broker.account()
    assert (account.currency, account.cash, account.equity) == ("USD", Decimal(96998), Decimal(99998))
    assert account.buying_power == Decimal(96998)


async def test_the_equity_is_not_told_where_something_is_held_in_another_currency(far, connect, new_order):
    broker = await connect()
    await broker.place_order(new_order(instrument=Instrument("SAP", currency="EUR")))
    account = await broker.account()
    assert account.equity is None
    assert account.cash == Decimal(1_000_000)


async def test_positions_are_kept_per_product(far, connect, new_order):
    broker = await connect()
    await broker.place_order(new_order("1", product="CNC"))
    await broker.place_order(new_order("2", product="MIS", side=Side.SELL, quantity=Decimal(30)))
    await broker.place_order(new_order("3", quantity=Decimal(5)))
    held = (await broker.positions()).items
    assert [(one.instrument.symbol, one.product, one.quantity) for one in held] == [
        ("SPY", "CNC", 100),
        ("SPY", "MIS", -30),
        ("SPY", None, 5),
    ]
