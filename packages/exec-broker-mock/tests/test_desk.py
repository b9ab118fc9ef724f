"""What people do at the venue."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from exec_broker_mock import reporting
from exec_broker_mock.desk import ImpossibleAction
from exec_core import Instrument, OrderTerms, OrderType, ReportStatus, Side


@pytest.fixture
async def resting(connect, new_order):
    """An order that waits long for its fill, and its session."""
    broker = await connect(fill_delay_seconds=3600)
    return broker, (await broker.place_order(new_order())).broker_order_id


@pytest.mark.parametrize(("action", "status"), [("cancel", "CANCELLED"), ("expire", "EXPIRED"), ("reject", "REJECTED")])
async def test_an_order_is_ended_by_hand_and_its_session_hears_of_it(far, resting, listen, state, action, status):
    broker, name = resting
    hearing = asyncio.create_task(listen(broker, lambda heard: status in heard.statuses))
    getattr(far.desk, action)(name, "somebody wished it")
    assert (await hearing).orders[-1].reason == "somebody wished it"
    far.pass_by(7200)
    assert state() == [(status, Decimal(0))]
    with pytest.raises(ImpossibleAction, match=f"is {status} already"):
        getattr(far.desk, action)(name)


async def test_a_part_is_filled_by_hand_and_the_schedule_fills_the_rest(far, resting, fills, state):
    _, name = resting
    far.desk.fill(name, Decimal(40), Decimal(200))
    assert state() == [("WORKING", Decimal(40))]
    far.pass_by(3600)
    assert fills() == [(Decimal(40), Decimal(200)), (Decimal(60), Decimal("235.15"))]
    assert state() == [("FILLED", Decimal(100))]


async def test_a_fill_by_hand_takes_what_is_left_at_the_market_price(far, resting, fills, state):
    _, name = resting
    far.desk.fill(name)
    far.pass_by(7200)
    assert fills() == [(Decimal(100), Decimal("235.15"))]
    with pytest.raises(ImpossibleAction, match="what quantity"):
        far.desk.fill(name)


async def test_a_late_fill_leaves_a_cancelled_order_cancelled_unless_it_completes_it(far, resting, state):
    _, name = resting
    far.desk.cancel(name)
    far.desk.fill(name, Decimal(30))
    assert state() == [("CANCELLED", Decimal(30))]
    far.desk.fill(name, Decimal(70))
    assert state() == [("FILLED", Decimal(100))]
    far.desk.fill(name, Decimal(1))
    assert state() == [("FILLED", Decimal(101))]


async def test_a_correction_has_the_same_execution_id_and_a_higher_number(far, connect, new_order, listen):
    broker = await connect()
    name = (await broker.place_order(new_order())).broker_order_id
    far.desk.correct(name, price=Decimal(236))
    heard = await listen(broker, lambda heard: heard.orders)
    assert [(one.fill.correction, one.fill.price) for one in heard.fills] == [(0, Decimal("235.15")), (1, Decimal(236))]
    assert len({one.fill.execution_id for one in heard.fills}) == 1
    found = await broker.find_order(new_order())
    assert [(one.fill.correction, one.fill.price, one.fill.quantity) for one in found.fills] == [
        (1, Decimal(236), Decimal(100))
    ]
    with pytest.raises(ImpossibleAction, match="nothing new"):
        far.desk.correct(name, price=Decimal(236))


async def test_a_bust_takes_an_execution_back(far, connect, new_order, listen, state):
    broker = await connect(partial_fills=2)
    name = (await broker.place_order(new_order())).broker_order_id
    first = (await broker.find_order(new_order())).fills[0].fill.execution_id
    far.desk.bust(name, first)
    heard = await listen(broker, lambda heard: heard.orders)
    busted = [one.fill for one in heard.fills if one.fill.correction]
    assert [(fill.execution_id, fill.quantity) for fill in busted] == [(first, Decimal(0))]
    assert state() == [("FILLED", Decimal(50))]
    assert (await broker.positions()).items[0].quantity == Decimal(50)


async def test_what_cannot_be_done_says_why_and_changes_nothing(far, resting, state):
    _, name = resting
    for action in (
        lambda: far.desk.cancel("mock-999"),
        lambda: far.desk.cancel("nonsense"),
        lambda: far.desk.correct(name),
        lambda: far.desk.bust(name, "nonsense"),
        lambda: far.desk.fill(name, Decimal(-1)),
    ):
        with pytest.raises(ImpossibleAction):
            action()
    assert state() == [("WORKING", Decimal(0))]


async def limited(connect, new_order, **changes):
    """A resting order with a limit, and its session."""
    broker = await connect(fill_delay_seconds=3600)
    order = new_order(order_type=OrderType.LIMIT, limit_price=Decimal(240), **changes)
    return broker, (await broker.place_order(order)).broker_order_id


def terms(reports):
    return [(report.terms.quantity, report.terms.limit_price) if report.terms else None for report in reports]


async def test_an_order_is_modified_by_hand_and_worked_on_its_new_terms(far, connect, new_order, listen, fills):
    broker, name = await limited(connect, new_order)
    far.desk.modify(name, quantity=Decimal(60), limit_price=Decimal(239))
    heard = await listen(broker, lambda heard: heard.orders)
    assert terms(heard.orders) == [(60, 239)]
    (listed,) = (await broker.open_orders()).items
    assert listed.terms == OrderTerms(Decimal(60), Decimal(239), None, Side.BUY, Instrument("SPY"))
    far.pass_by(3600)
    assert fills() == [(Decimal(60), Decimal("235.15"))]
    found = await broker.find_order(new_order())
    assert [report.status for report in found.orders] == [ReportStatus.FILLED]
    assert terms(found.orders) == [(60, 239)]


async def test_each_state_is_told_with_the_terms_that_held_then(far, connect, new_order, account):
    _, name = await limited(connect, new_order)
    for quantity in (60, 80):
        far.pass_by(1)
        far.desk.modify(name, quantity=Decimal(quantity))
    far.pass_by(1)
    far.desk.cancel(name)
    with far.book.transaction(write=False):
        told = reporting.news(far.book, account, 0).reports
    assert terms(told) == [(100, 240), (60, 240), (80, 240), None]
    assert len({report.venue_time for report in told}) == 4


async def test_a_modification_makes_happen_what_it_makes_possible(far, connect, new_order, state):
    broker = await connect()
    low = await broker.place_order(new_order("low", order_type=OrderType.LIMIT, limit_price=Decimal(200)))
    stop = await broker.place_order(new_order("stop", order_type=OrderType.STOP, stop_price=Decimal(300)))
    assert state() == [("WORKING", Decimal(0)), ("HELD", Decimal(0))]
    far.desk.modify(low.broker_order_id, limit_price=Decimal(236))
    far.desk.modify(stop.broker_order_id, stop_price=Decimal(230))
    assert state() == [("FILLED", Decimal(100)), ("FILLED", Decimal(100))]


async def test_lowered_to_what_is_filled_an_order_is_complete(far, connect, new_order, state):
    _, name = await limited(connect, new_order)
    far.desk.fill(name, Decimal(40))
    with pytest.raises(ImpossibleAction, match="40 of it is filled already"):
        far.desk.modify(name, quantity=Decimal(39))
    far.desk.modify(name, quantity=Decimal(40))
    far.pass_by(7200)
    assert state() == [("FILLED", Decimal(40))]
    with pytest.raises(ImpossibleAction, match="is FILLED already"):
        far.desk.modify(name, quantity=Decimal(50))


async def test_what_cannot_be_modified_says_why_and_changes_nothing(far, connect, new_order):
    broker, name = await limited(connect, new_order)
    in_cash = (await broker.place_order(new_order("cash", cash_quantity=Decimal(500)))).broker_order_id
    for wanted, why in (
        ((name, {"stop_price": Decimal(1)}), "no stop price to modify"),
        ((name, {"quantity": Decimal(0)}), "0 is no quantity"),
        ((name, {"limit_price": Decimal("NaN")}), "NaN is no limit price"),
        ((name, {"quantity": Decimal(100)}), "nothing new"),
        ((name, {}), "nothing new"),
        ((in_cash, {"quantity": Decimal(5)}), "no quantity to modify"),
    ):
        with pytest.raises(ImpossibleAction, match=why):
            far.desk.modify(wanted[0], **wanted[1])
    assert terms((await broker.find_order(new_order())).orders) == [(100, 240)]


async def test_an_order_of_somebody_else_is_listed_with_its_terms(connect, new_order):
    broker = await connect(fill_delay_seconds=3600)
    person = await connect(fill_delay_seconds=3600)
    await person.place_order(new_order("a person's", side=Side.SELL, quantity=Decimal(7)))
    (listed,) = (await broker.open_orders()).items
    assert listed.terms == OrderTerms(Decimal(7), None, None, Side.SELL, Instrument("SPY"))
