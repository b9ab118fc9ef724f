"""What people do at the venue."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from exec_broker_mock.desk import ImpossibleAction


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
