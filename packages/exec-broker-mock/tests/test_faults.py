"""Each scripted fault, seen through the guard that every user of a broker has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from exec_broker_mock.faults import NEED_SECONDS, FaultKind
from exec_core import (
    AuthenticationFailed,
    AvailabilityState,
    BrokerFactory,
    CancelRejected,
    ConnectionFailed,
    Instrument,
    NotSent,
    OrderRejected,
    OrderType,
    OutcomeUnknown,
)
from exec_core.plugins import load_broker_plugin


@pytest.fixture
async def impatient(account):
    """A session whose calls are given up after a moment."""
    plugin = replace(load_broker_plugin("mock"), call_timeout_seconds=0.3)
    config = {"broker": "mock", "account_id": account, "settings": {}}
    guarded = BrokerFactory.create_broker(config)
    guarded.plugin = plugin
    async with guarded:
        yield guarded


async def test_the_answer_is_lost_after_the_order_was_accepted(far, connect, new_order, state):
    far.faults.script("lose-answer")
    broker = await connect()
    with pytest.raises(OutcomeUnknown, match="reset"):
        await broker.place_order(new_order())
    assert state() == [("FILLED", Decimal(100))]
    assert (await broker.find_order(new_order())).has_trace


async def test_the_answer_is_lost_before_the_order_was_accepted(far, connect, new_order, state):
    far.faults.script("lose-order")
    broker = await connect()
    with pytest.raises(OutcomeUnknown, match="reset"):
        await broker.place_order(new_order())
    found = await broker.find_order(new_order())
    assert not found.has_trace
    assert found.view.complete
    assert state() == []


async def test_the_connection_is_refused_and_provably_nothing_was_sent(far, connect, new_order, state):
    far.faults.script("refuse", count=2)
    broker = await connect()
    for _ in range(2):
        with pytest.raises(ConnectionFailed):
            await broker.place_order(new_order())
    assert state() == []
    await broker.place_order(new_order())
    assert state() == [("FILLED", Decimal(100))]


@pytest.mark.parametrize(("kind", "expected"), [("hang", [("FILLED", Decimal(100))]), ("hang-before", [])])
async def test_an_answer_that_never_comes_leaves_the_outcome_unknown(far, impatient, new_order, state, kind, expected):
    far.faults.script(kind)
    with pytest.raises(OutcomeUnknown, match="no answer"):
        await impatient.place_order(new_order())
    assert state() == expected


async def test_a_hanging_order_holds_up_no_other(far, connect, new_order, state):
    far.faults.script("hang", signal_id="stuck")
    broker = await connect()
    stuck = asyncio.create_task(broker.place_order(new_order("stuck")))
    await broker.place_order(new_order("other"))
    assert not stuck.done()
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)


async def test_the_answer_is_delayed_by_the_venues_clock(far, connect, new_order, state, eventually):
    far.faults.script("delay", seconds=30)
    broker = await connect()
    placing = asyncio.create_task(broker.place_order(new_order()))
    await eventually(state)
    for _ in range(2):  # calls are answered in order: the order's answer would have been here by now
        await broker.find_order(new_order())
    assert not placing.done()
    far.pass_by(30)
    assert (await placing).broker_order_id


async def test_an_order_is_rejected_on_demand_at_once_or_later(far, connect, new_order, state):
    far.faults.script("reject", symbol="AAA", reason="Market closed")
    far.faults.script("reject-late", symbol="BBB")
    broker = await connect()
    with pytest.raises(OrderRejected, match="Market closed"):
        await broker.place_order(new_order("a", instrument=Instrument("AAA")))
    await broker.place_order(new_order("b", instrument=Instrument("BBB")))
    assert state() == [("REJECTED", Decimal(0)), ("REJECTED", Decimal(0))]
    found = await broker.find_order(new_order("b"))
    assert found.orders[0].reason == "Insufficient margin"


async def test_reports_are_delivered_twice(far, connect, new_order, listen):
    far.faults.script("duplicate", count=2)
    broker = await connect()
    await broker.place_order(new_order())
    heard = await listen(broker, lambda heard: len(heard.reports) == 4)
    assert heard.fills[0] == heard.fills[1]
    assert heard.statuses == ["FILLED", "FILLED"]


async def test_a_batch_of_reports_is_delivered_in_reverse(far, connect, new_order, listen):
    broker = await connect()
    await broker.place_order(new_order())
    assert (await listen(broker, lambda heard: len(heard.reports) == 2)).reports[0].__class__.__name__ == "FillReport"
    far.faults.script("reorder")
    heard = await listen(broker, lambda heard: len(heard.reports) == 2)
    assert [type(report).__name__ for report in heard.reports] == ["OrderReport", "FillReport"]
    heard = await listen(broker, lambda heard: len(heard.reports) == 2)
    assert [type(report).__name__ for report in heard.reports] == ["FillReport", "OrderReport"]


async def test_a_disconnect_ends_the_session_and_keeps_others_out_until_it_is_over(
    far, connect, new_order, account, eventually
):
    broker = await connect()
    stream = broker.reports()
    waiting = asyncio.create_task(anext(stream))
    assert broker.availability().is_ready
    far.faults.script("disconnect", account_id=account, seconds=60, reason="Gateway restart")
    with pytest.raises(ConnectionFailed, match="Gateway restart"):
        async with asyncio.timeout(60):
            await waiting
    with pytest.raises(NotSent):
        await broker.place_order(new_order())
    with pytest.raises(ConnectionFailed):
        await broker.find_order(new_order())
    await eventually(lambda: not broker.availability().is_ready)
    assert broker.availability().state is AvailabilityState.DISCONNECTED
    assert broker.availability().reason == "Gateway restart"
    with pytest.raises(ConnectionFailed):
        await connect()
    far.pass_by(60)
    with pytest.raises(NotSent):
        await broker.place_order(new_order())  # this session stays lost
    fresh = await connect()
    assert fresh.availability().is_ready
    await fresh.place_order(new_order())


async def test_a_disconnect_that_is_over_before_anybody_looked_has_still_lost_the_session(far, connect, listen):
    broker = await connect()
    far.faults.script("disconnect", seconds=1)
    far.clock.pass_by(2)
    with pytest.raises(ConnectionFailed):
        await listen(broker, lambda heard: heard.reports)


async def test_a_disconnect_of_one_account_leaves_the_others_alone(far, connect, new_order):
    far.faults.script("disconnect", account_id="somebody else", seconds=60)
    broker = await connect()
    await broker.place_order(new_order())


async def test_a_login_is_needed_for_a_while(far, connect, new_order, eventually):
    broker = await connect()
    far.faults.script("login", seconds=60)
    with pytest.raises(AuthenticationFailed):
        await broker.place_order(new_order())
    await eventually(lambda: not broker.availability().is_ready)
    assert broker.availability().state is AvailabilityState.LOGIN_NEEDED
    with pytest.raises(AuthenticationFailed):
        await connect()
    far.clock.pass_by(60)
    assert broker.availability().is_ready
    await broker.place_order(new_order())


async def test_a_commission_comes_after_its_execution(far, connect, new_order, listen):
    far.faults.script("late-commission", seconds=10)
    broker = await connect()
    await broker.place_order(new_order())
    heard = await listen(broker, lambda heard: heard.fills)
    assert heard.fills[0].fill.commission is None
    assert (await broker.find_order(new_order())).fills[0].fill.commission is None
    waiting = asyncio.create_task(listen(broker, lambda heard: heard.commissions))
    far.pass_by(10)
    heard = await waiting
    assert heard.commissions[0].commission.amount == Decimal(1)
    assert heard.commissions[0].execution_id == heard.fills[0].fill.execution_id
    assert (await broker.find_order(new_order())).fills[0].fill.commission.amount == Decimal(1)


async def test_a_hidden_order_is_shown_nowhere_until_its_time_has_come(far, connect, new_order, listen, state):
    far.faults.script("hidden", seconds=20)
    broker = await connect(fill_delay_seconds=5, partial_fills=2)
    await broker.place_order(new_order())
    await broker.place_order(new_order("plain"))
    assert len((await broker.open_orders()).items) == 1
    far.pass_by(19)
    assert state() == [("FILLED", Decimal(100)), ("FILLED", Decimal(100))]
    found = await broker.find_order(new_order())
    assert not found.has_trace
    assert found.view.complete
    heard = await listen(broker, lambda heard: "FILLED" in heard.statuses)
    assert {report.client_order_id for report in heard.reports} == {new_order("plain").client_order_id}
    stream = broker.reports()
    for _ in heard.reports:
        await anext(stream)  # what the other order's present state comes to
    waiting = asyncio.create_task(anext(stream))
    far.pass_by(1)
    revealed = [await waiting, await anext(stream), await anext(stream)]
    await stream.aclose()
    assert [type(report).__name__ for report in revealed] == ["FillReport", "FillReport", "OrderReport"]
    assert {report.client_order_id for report in revealed} == {new_order().client_order_id}
    assert len((await broker.find_order(new_order())).fills) == 2


async def test_a_session_that_listens_already_hears_nothing_of_a_hidden_order(far, connect, new_order, listen):
    far.faults.script("hidden", seconds=20)
    broker = await connect()
    hearing = asyncio.create_task(listen(broker, lambda heard: heard.orders))
    await asyncio.sleep(0)
    await broker.place_order(new_order())
    await broker.place_order(new_order("plain"))
    heard = await hearing
    assert {report.client_order_id for report in heard.reports} == {new_order("plain").client_order_id}


async def test_an_incomplete_view_shows_nothing_and_proves_nothing(far, connect, new_order):
    broker = await connect()
    await broker.place_order(new_order())
    far.faults.script("incomplete", client_order_id=new_order().client_order_id)
    found = await broker.find_order(new_order())
    assert not found.has_trace
    assert not found.view.proves_absence_since(far.clock() - timedelta(0))
    assert (await broker.find_order(new_order())).has_trace


async def test_a_failed_look_up_is_no_answer(far, connect, new_order):
    broker = await connect()
    far.faults.script("lookup-fails")
    with pytest.raises(ConnectionFailed):
        await broker.find_order(new_order())


@pytest.mark.parametrize("question", ["open_orders", "positions", "account"])
async def test_a_question_about_the_account_fails_as_often_as_scripted(far, connect, account, question):
    broker = await connect()
    far.faults.script("list-fails", account_id=account)
    with pytest.raises(ConnectionFailed, match="reset"):
        await getattr(broker, question)()
    await getattr(broker, question)()


async def test_an_incomplete_answer_about_the_account_says_so(far, connect, new_order):
    broker = await connect()
    await broker.place_order(new_order())
    await broker.place_order(new_order("rests", order_type=OrderType.LIMIT, limit_price=Decimal(1)))
    far.faults.script("list-incomplete", count=3)
    for snapshot in (await broker.open_orders(), await broker.positions()):
        assert snapshot.items == ()
        assert not snapshot.view.complete
    told = await broker.account()
    assert (told.equity, told.cash, told.buying_power) == (None, None, None)
    for snapshot in (await broker.open_orders(), await broker.positions()):
        assert len(snapshot.items) == 1
        assert snapshot.view.complete


async def test_a_fault_of_lists_does_not_concern_look_ups_nor_the_other_way_round(far, connect, new_order):
    broker = await connect()
    await broker.place_order(new_order())
    far.faults.script("list-fails")
    assert (await broker.find_order(new_order())).has_trace
    far.faults.clear()
    far.faults.script("lookup-fails")
    assert (await broker.positions()).items


async def test_some_kinds_are_cleared_and_the_others_stay(far, connect, new_order):
    far.faults.script("disconnect", seconds=60)
    far.faults.script("refuse")
    far.faults.script("lookup-fails")
    far.faults.clear(FaultKind.DISCONNECT, FaultKind.LOOKUP_FAILS)
    broker = await connect()
    await broker.find_order(new_order())
    with pytest.raises(ConnectionFailed, match="refuses"):
        await broker.place_order(new_order())


async def test_a_cancel_is_ignored(far, connect, new_order, state):
    far.faults.script("cancel-ignored")
    broker = await connect(fill_delay_seconds=60)
    await broker.place_order(new_order())
    await broker.cancel_order(new_order())
    far.pass_by(30)
    assert state() == [("WORKING", Decimal(0))]
    await broker.cancel_order(new_order())
    assert state() == [("CANCELLED", Decimal(0))]


async def test_the_answer_to_a_cancel_is_lost(far, connect, new_order, state):
    far.faults.script("cancel-lost")
    broker = await connect(fill_delay_seconds=60)
    await broker.place_order(new_order())
    with pytest.raises(ConnectionFailed, match="cancel"):
        await broker.cancel_order(new_order())
    assert state() == [("CANCELLED", Decimal(0))]
    with pytest.raises(CancelRejected):
        await broker.cancel_order(new_order())


@pytest.mark.parametrize("match", ["account_id", "symbol", "client_order_id", "signal_id"])
async def test_a_fault_waits_for_the_order_that_it_is_meant_for(far, connect, new_order, account, match):
    target = new_order("meant", instrument=Instrument("TSLA"))
    values = {
        "account_id": "somebody else",
        "symbol": "TSLA",
        "client_order_id": target.client_order_id,
        "signal_id": "meant",
    }
    far.faults.script("refuse", **{match: values[match]})
    broker = await connect()
    await broker.place_order(new_order("other"))
    if match == "account_id":
        await broker.place_order(target)
    else:
        with pytest.raises(ConnectionFailed):
            await broker.place_order(target)


async def test_a_fault_is_used_up_after_its_count_even_when_orders_come_together(far, connect, new_order, state):
    far.faults.script("refuse", count=5)
    broker = await connect()
    sends = [broker.place_order(new_order(f"sig-{number}")) for number in range(16)]
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert sum(isinstance(outcome, ConnectionFailed) for outcome in outcomes) == 5
    assert len(state()) == 11


async def test_cleared_faults_do_nothing(far, connect, new_order):
    far.faults.script("refuse")
    far.faults.script("login", seconds=60)
    far.faults.clear()
    await (await connect()).place_order(new_order())


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_fault_says_what_it_lacks_or_does_not_take(far, kind):
    wrong = {} if kind in NEED_SECONDS else {"seconds": 1}
    with pytest.raises(ValueError, match="seconds"):
        far.faults.script(kind, **wrong)
    right = {"seconds": 1} if kind in NEED_SECONDS else {}
    with pytest.raises(ValueError, match="count"):
        far.faults.script(kind, count=0, **right)
    assert far.faults.script(kind, **right) > 0
