"""How orders are executed: prices, limits, stops, slices, cash, times in force, rejections, cancels."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from exec_core import AssetClass, CancelRejected, Instrument, OrderRejected, OrderType, OrderUnsupported, Side
from exec_core.orders import TimeInForce
from exec_core.reports import ReportStatus

LIMIT = {"order_type": OrderType.LIMIT}
STOP = {"order_type": OrderType.STOP}


async def test_a_market_order_fills_at_its_reference_price(far, connect, new_order, state, fills):
    broker = await connect(prices={"SPY": Decimal(1)})
    await broker.place_order(new_order())
    assert state() == [("FILLED", Decimal(100))]
    assert fills() == [(Decimal(100), Decimal("235.15"))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Decimal("7.5")),
        ({**LIMIT, "limit_price": Decimal(9)}, Decimal("7.5")),
        ({"instrument": Instrument("XYZ")}, Decimal(100)),
        ({**LIMIT, "limit_price": Decimal(9), "instrument": Instrument("XYZ")}, Decimal(9)),
        ({**STOP, "stop_price": Decimal(8), "instrument": Instrument("XYZ")}, Decimal(8)),
    ],
)
async def test_without_a_reference_price_the_settings_then_the_orders_own_prices_then_100_count(
    far, connect, new_order, fills, changes, expected
):
    broker = await connect(prices={"SPY": Decimal("7.5")})
    await broker.place_order(new_order(reference_price=None, **changes))
    assert fills() == [(Decimal(100), expected)]


async def test_a_price_set_before_an_order_comes_gives_way_to_the_orders_own_and_beats_the_settings(
    far, connect, new_order, fills
):
    far.venue.set_price("SPY", Decimal(50))
    broker = await connect(prices={"SPY": Decimal(7)})
    await broker.place_order(new_order("own", reference_price=Decimal(60)))
    await broker.place_order(new_order("none", reference_price=None))
    assert fills() == [(Decimal(100), Decimal(60)), (Decimal(100), Decimal(50))]


@pytest.mark.parametrize(
    ("side", "away", "through", "limit"),
    [
        (Side.BUY, Decimal("100.01"), Decimal(98), Decimal(100)),
        (Side.SELL, Decimal("99.99"), Decimal(102), Decimal(100)),
    ],
)
async def test_a_limit_order_rests_until_the_price_is_through_and_fills_at_the_better_price(
    far, connect, new_order, state, fills, side, away, through, limit
):
    broker = await connect()
    await broker.place_order(new_order(side=side, limit_price=limit, reference_price=away, **LIMIT))
    assert state() == [("WORKING", Decimal(0))]
    far.venue.set_price("QQQ", through)
    assert state() == [("WORKING", Decimal(0))]
    far.venue.set_price("SPY", through)
    assert state() == [("FILLED", Decimal(100))]
    assert fills() == [(Decimal(100), through)]


async def test_a_limit_order_fills_when_the_price_is_just_at_its_limit(far, connect, new_order, state):
    broker = await connect()
    await broker.place_order(new_order(limit_price=Decimal(100), reference_price=Decimal(100), **LIMIT))
    assert state() == [("FILLED", Decimal(100))]


async def test_a_limit_order_whose_price_goes_away_during_the_delay_is_not_filled_worse_than_its_limit(
    far, connect, new_order, state, fills
):
    broker = await connect(fill_delay_seconds=5)
    await broker.place_order(new_order(limit_price=Decimal(100), reference_price=Decimal(100), **LIMIT))
    far.pass_by(3)
    far.venue.set_price("SPY", Decimal(101))
    far.pass_by(60)
    assert state() == [("WORKING", Decimal(0))]
    far.venue.set_price("SPY", Decimal(99))
    far.pass_by(4.9)
    assert fills() == []
    far.pass_by(0.1)
    assert fills() == [(Decimal(100), Decimal(99))]


@pytest.mark.parametrize(
    ("side", "before", "at"),
    [(Side.BUY, Decimal("104.99"), Decimal(105)), (Side.SELL, Decimal("105.01"), Decimal(105))],
)
async def test_a_stop_order_is_held_until_its_trigger_then_fills_at_market(
    far, connect, new_order, state, fills, side, before, at
):
    broker = await connect(fill_delay_seconds=1)
    placed = await broker.place_order(new_order(side=side, stop_price=Decimal(105), reference_price=before, **STOP))
    assert placed.status is ReportStatus.HELD
    far.pass_by(3600)
    assert state() == [("HELD", Decimal(0))]
    far.venue.set_price("SPY", at)
    assert state() == [("WORKING", Decimal(0))]
    worse = at + 3 * side.sign
    far.venue.set_price("SPY", worse)
    far.pass_by(1)
    assert state() == [("FILLED", Decimal(100))]
    assert fills() == [(Decimal(100), worse)]


async def test_a_stop_limit_order_behaves_as_a_limit_order_once_triggered(far, connect, new_order, state, fills):
    broker = await connect()
    stop_limit = {"order_type": OrderType.STOP_LIMIT, "stop_price": Decimal(105), "limit_price": Decimal(106)}
    await broker.place_order(new_order(reference_price=Decimal(100), **stop_limit))
    assert state() == [("HELD", Decimal(0))]
    far.venue.set_price("SPY", Decimal(110))
    assert state() == [("WORKING", Decimal(0))]
    far.venue.set_price("SPY", Decimal(106))
    assert fills() == [(Decimal(100), Decimal(106))]


async def test_an_immediate_order_that_cannot_fill_at_once_is_cancelled_with_a_reason(
    far, connect, new_order, state, listen
):
    broker = await connect()
    ioc = {"time_in_force": TimeInForce.IOC}
    await broker.place_order(new_order("limit", limit_price=Decimal(9), reference_price=Decimal(10), **LIMIT, **ioc))
    await broker.place_order(new_order("stop", stop_price=Decimal(11), reference_price=Decimal(10), **STOP, **ioc))
    assert state() == [("CANCELLED", Decimal(0)), ("CANCELLED", Decimal(0))]
    heard = await listen(broker, lambda heard: len(heard.orders) == 2)
    assert all(report.reason for report in heard.orders)


async def test_an_immediate_order_in_slices_fills_the_first_and_is_cancelled_for_the_rest(
    far, connect, new_order, state, fills, listen
):
    broker = await connect(partial_fills=3)
    await broker.place_order(new_order(time_in_force=TimeInForce.IOC))
    far.pass_by(100)
    assert state() == [("CANCELLED", Decimal(33))]
    assert fills() == [(Decimal(33), Decimal("235.15"))]
    heard = await listen(broker, lambda heard: heard.orders)
    assert heard.orders[0].reason == "Immediate-or-cancel: 67 of 100 could not be filled at once"


async def test_each_fill_comes_after_its_delay_and_bears_the_time_at_which_it_was_due(
    far, connect, new_order, state, fills
):
    broker = await connect(partial_fills=3, fill_delay_seconds=2)
    began = far.clock()
    await broker.place_order(new_order())
    far.pass_by(1.9)
    assert fills() == []
    far.pass_by(0.1)
    assert state() == [("WORKING", Decimal(33))]
    far.pass_by(1000)  # nobody looked meanwhile
    assert state() == [("FILLED", Decimal(100))]
    found = await broker.find_order(new_order())
    assert [fill.fill.quantity for fill in found.fills] == [33, 33, 34]
    assert [fill.fill.time - began for fill in found.fills] == [timedelta(seconds=each) for each in (2, 4, 6)]


async def test_an_order_keeps_the_terms_it_was_accepted_under(far, connect, new_order, fills):
    slow = await connect(partial_fills=2, fill_delay_seconds=10, commission=Decimal(3))
    await slow.place_order(new_order())
    quick = await connect()
    far.pass_by(20)
    found = await quick.find_order(new_order())
    assert [(one.fill.quantity, one.fill.commission.amount) for one in found.fills] == [(50, 3), (50, 0)]


async def test_the_whole_commission_comes_on_the_first_fill_in_the_instruments_currency(far, connect, new_order):
    broker = await connect(partial_fills=2, commission=Decimal("1.25"), currency="INR")
    await broker.place_order(new_order("own", instrument=Instrument("SAP", currency="EUR")))
    await broker.place_order(new_order("default"))
    own = await broker.find_order(new_order("own"))
    default = await broker.find_order(new_order("default"))
    assert [(one.fill.commission.amount, one.fill.commission.currency) for one in own.fills] == [
        (Decimal("1.25"), "EUR"),
        (Decimal(0), "EUR"),
    ]
    assert default.fills[0].fill.commission.currency == "INR"


async def test_an_order_for_cash_buys_what_the_amount_is_worth_rounded_down(far, connect, new_order, state, fills):
    broker = await connect()
    bitcoin = {"instrument": Instrument("BTC", AssetClass.CRYPTO), "reference_price": Decimal(30000)}
    await broker.place_order(new_order(cash_quantity=Decimal(1000), **bitcoin))
    assert state() == [("FILLED", Decimal("0.03333333"))]
    assert fills() == [(Decimal("0.03333333"), Decimal(30000))]


async def test_an_order_for_cash_in_slices_never_spends_more_than_its_amount(far, connect, new_order, state, fills):
    broker = await connect(partial_fills=3, fill_delay_seconds=1)
    await broker.place_order(new_order(cash_quantity=Decimal(900), reference_price=Decimal(10)))
    far.pass_by(1)
    far.venue.set_price("SPY", Decimal(20))
    far.pass_by(2)
    assert fills() == [(Decimal(30), Decimal(10)), (Decimal(15), Decimal(20)), (Decimal(15), Decimal(20))]
    assert state() == [("FILLED", Decimal(60))]


async def test_an_amount_that_buys_nothing_is_refused(far, connect, new_order):
    broker = await connect()
    with pytest.raises(OrderRejected, match="less than the smallest quantity"):
        await broker.place_order(new_order(cash_quantity=Decimal("0.000001"), reference_price=Decimal(100000)))


async def test_the_contract_comes_back_with_the_answer(connect, new_order):
    broker = await connect()
    option = Instrument("SPY", AssetClass.OPTION, expiry="20261218", strike=Decimal(500))
    details = (await broker.place_order(new_order("o", instrument=option))).details
    assert (details.multiplier, details.price_increment, details.quantity_increment) == (100, Decimal("0.01"), 1)
    crypto = await broker.place_order(new_order("c", instrument=Instrument("BTC", AssetClass.CRYPTO)))
    assert crypto.details.quantity_increment == Decimal("0.00000001")
    forex = await broker.place_order(new_order("f", instrument=Instrument("EURUSD", AssetClass.FOREX)))
    assert (forex.details.quantity_increment, forex.details.currency) == (Decimal("0.01"), "USD")


async def test_every_declared_kind_of_order_is_taken_and_fractions_only_where_declared(far, connect, new_order, state):
    broker = await connect()
    for kind in AssetClass:
        for tif in TimeInForce:
            await broker.place_order(new_order(f"{kind}{tif}", instrument=Instrument("X", kind), time_in_force=tif))
    assert {status for status, _ in state()} == {"FILLED"}
    for kind in (AssetClass.CRYPTO, AssetClass.FOREX):
        await broker.place_order(new_order(f"f{kind}", instrument=Instrument("X", kind), quantity=Decimal("1.5")))
    with pytest.raises(OrderUnsupported):
        await broker.place_order(new_order("frac", quantity=Decimal("1.5")))
    with pytest.raises(OrderUnsupported):
        await broker.place_order(
            new_order("cash", cash_quantity=Decimal(5), instrument=Instrument("X", AssetClass.FOREX))
        )


async def test_a_second_send_is_a_second_order_of_its_own(far, connect, new_order, state):
    broker = await connect()
    first = await broker.place_order(new_order())
    second = await broker.place_order(new_order())
    assert first.broker_order_id != second.broker_order_id
    assert len(state()) == 2
    found = await broker.find_order(new_order())
    assert {report.broker_order_id for report in found.orders} == {first.broker_order_id, second.broker_order_id}
    assert len(found.fills) == 2


async def test_rejections_depend_on_seed_and_id_only_never_on_the_order_of_arrival(far, connect, new_order, state):
    async def outcomes(account, seed, signals):
        broker = await connect(account, reject_probability=0.5, seed=seed)
        results = {}
        for signal in signals:
            try:
                await broker.place_order(new_order(signal))
            except OrderRejected as error:
                results[signal] = ("at once", str(error))
                continue
            report = (await broker.find_order(new_order(signal))).orders[0]
            results[signal] = (report.status.value, report.reason)
        return results

    signals = [f"sig-{number}" for number in range(60)]
    first = await outcomes("one", 7, signals)
    assert await outcomes("two", 7, signals[::-1]) == first
    assert await outcomes("three", 8, signals) != first
    kinds = {kind for kind, _ in first.values()}
    assert kinds == {"at once", "REJECTED", "FILLED"}
    reasons = {reason for kind, reason in first.values() if kind != "FILLED"}
    assert len(reasons) > 3
    assert None not in reasons


async def test_a_refused_order_is_in_the_book_and_its_end_is_reported(far, connect, new_order, state, listen):
    broker = await connect(reject_probability=1)
    sends = [broker.place_order(new_order(f"sig-{number}")) for number in range(20)]
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert any(isinstance(outcome, OrderRejected) for outcome in outcomes)
    assert set(state()) == {("REJECTED", Decimal(0))}
    assert len(state()) == 20
    heard = await listen(broker, lambda heard: heard.statuses.count("REJECTED") == 20)
    assert all(report.reason for report in heard.orders if report.status is ReportStatus.REJECTED)


async def test_a_cancel_takes_effect_after_its_delay_and_fills_that_are_due_earlier_win(
    far, connect, new_order, state, listen
):
    broker = await connect(partial_fills=4, fill_delay_seconds=2, cancel_delay_seconds=3)
    order = new_order()
    await broker.place_order(order)
    await broker.cancel_order(order)
    assert state() == [("WORKING", Decimal(0))]
    far.pass_by(60)
    assert state() == [("CANCELLED", Decimal(25))]
    heard = await listen(broker, lambda heard: "CANCELLED" in heard.statuses)
    assert heard.orders[-1].reason == "Cancelled on request"


@pytest.mark.parametrize("fill_delay", [2, 3])
async def test_an_order_that_is_filled_before_its_cancel_takes_effect_stays_filled(
    far, connect, new_order, state, fill_delay
):
    broker = await connect(fill_delay_seconds=fill_delay, cancel_delay_seconds=3)
    await broker.place_order(new_order())
    await broker.cancel_order(new_order())
    far.pass_by(60)
    assert state() == [("FILLED", Decimal(100))]


async def test_asking_twice_does_not_delay_a_cancel(far, connect, new_order, state):
    broker = await connect(fill_delay_seconds=100, cancel_delay_seconds=3)
    await broker.place_order(new_order())
    await broker.cancel_order(new_order())
    far.pass_by(2)
    await broker.cancel_order(new_order())
    far.pass_by(1)
    assert state() == [("CANCELLED", Decimal(0))]


async def test_cancelling_what_is_finished_or_unknown_is_refused_with_a_reason(far, connect, new_order):
    broker = await connect()
    with pytest.raises(CancelRejected, match="Unknown order"):
        await broker.cancel_order(new_order())
    placed = await broker.place_order(new_order())
    with pytest.raises(CancelRejected, match=f"{placed.broker_order_id} is FILLED"):
        await broker.cancel_order(new_order())


async def test_a_cancel_reaches_every_open_order_under_the_id(far, connect, new_order, state):
    broker = await connect(fill_delay_seconds=100)
    await broker.place_order(new_order())
    await broker.place_order(new_order())
    await broker.cancel_order(new_order())
    assert state() == [("CANCELLED", Decimal(0)), ("CANCELLED", Decimal(0))]


async def test_a_price_must_be_above_zero(far):
    with pytest.raises(ValueError, match="above zero"):
        far.venue.set_price("SPY", Decimal(0))
