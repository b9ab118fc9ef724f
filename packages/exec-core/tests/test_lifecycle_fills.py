"""The rules of the lifecycle about executions and what they cost, one at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

import pytest
from exec_core.events import (
    CancelAsked,
    Dispatched,
    Event,
    Resolution,
    Resolved,
)
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId, SignalId
from exec_core.instruments import Instrument
from exec_core.lifecycle import CONTRADICTION, Booking, Change, apply
from exec_core.orders import (
    Evidence,
    Leg,
    Order,
    OrderEnd,
    OrderRequest,
    OrderStatus,
    OrderType,
    ReasonCode,
)
from exec_core.reports import CommissionReport, FillReport, OrderReport, ReportStatus
from exec_core.sides import Side

NOW = datetime(2024, 11, 24, 10, 30, tzinfo=UTC)
VENUE_ID = BrokerOrderId("ord_1")
CASH = {"quantity": None, "cash_quantity": Decimal(500)}
SPREAD = {
    "legs": (
        Leg(Instrument("SPX C"), Side.BUY, Decimal(1)),
        Leg(Instrument("SPX P"), Side.SELL, Decimal(1)),
    )
}
SENT: tuple[Event, ...] = (Dispatched(),)
ASKED = CancelAsked(ReasonCode.TIMEOUT, "Not filled within 60 s")


def order(**fields: object) -> Order:
    asked: dict[str, object] = {"quantity": Decimal(100)} | fields
    request = OrderRequest(
        SignalId("sig_1"), AccountId("acc_1"), "Strategy", Instrument("SPY"), Side.BUY, OrderType.MARKET, **asked
    )
    return Order.new(request)


def report(status: ReportStatus, filled: int | None = None, reason: str | None = None) -> OrderReport:
    figure = None if filled is None else Decimal(filled)
    return OrderReport(status, broker_order_id=VENUE_ID, filled_quantity=figure, reason=reason)


WORKING = report(ReportStatus.WORKING)
CANCELLED = report(ReportStatus.CANCELLED)
REJECTED = report(ReportStatus.REJECTED, reason="Insufficient margin")
EXPIRED = report(ReportStatus.EXPIRED)


def fill(
    quantity: int, name: str = "x1", *, price: str = "10", correction: int = 0, leg: int | None = None
) -> FillReport:
    execution = Fill(
        ExecutionId(name), Side.BUY, Decimal(quantity), Decimal(price), NOW, correction=correction, leg=leg
    )
    return FillReport(execution, broker_order_id=VENUE_ID)


def commission(amount: str, name: str = "x1", *, estimated: bool = False) -> CommissionReport:
    cost = Commission(Decimal(amount), "USD", estimated)
    return CommissionReport(ExecutionId(name), cost, broker_order_id=VENUE_ID)


def last_change(start: Order, *events: Event) -> Change:
    change = Change(start)
    for number, event in enumerate(events):
        change = apply(change.order, event, NOW + timedelta(seconds=number))
    return change


def after(start: Order, *events: Event) -> Order:
    return last_change(start, *events).order


def in_status(status: OrderStatus) -> Order:
    """An order in `status`, built by hand, whatever led there."""
    built = replace(order(), status=status)
    if status is OrderStatus.PARTIALLY_FILLED:
        earlier = fill(40, "earlier").fill
        return replace(built, fills=MappingProxyType({earlier.execution_id: earlier}), acknowledged_at=NOW)
    if status is OrderStatus.FILLED:
        earlier = fill(100, "earlier").fill
        return replace(built, fills=MappingProxyType({earlier.execution_id: earlier}), acknowledged_at=NOW)
    if status.is_final:
        return replace(built, end=OrderEnd(status, None, None, Evidence.DEFINITIVE, NOW), acknowledged_at=NOW)
    return built


# --- executions ---


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("quantity", [30, 100, 500])
def test_no_state_drops_an_execution(status: OrderStatus, quantity: int) -> None:
    start = in_status(status)
    news = fill(quantity)
    change = apply(start, news, NOW)
    assert change.order.fills[news.fill.execution_id] is news.fill
    assert change.booking == Booking(None, news.fill)
    assert change.order.filled_quantity == start.filled_quantity + quantity


@pytest.mark.parametrize(("end", "part"), [(CANCELLED, OrderStatus.CANCELLED), (EXPIRED, OrderStatus.EXPIRED)])
def test_a_late_part_leaves_an_ended_order_ended_and_the_last_part_fills_it(
    end: OrderReport, part: OrderStatus
) -> None:
    ended = after(order(), *SENT, WORKING, end)
    late = after(ended, fill(40))
    assert (late.status, late.filled_quantity) == (part, 40)
    assert after(late, fill(60, "x2")).status is OrderStatus.FILLED


def test_an_execution_reopens_a_rejected_order_with_an_alarm() -> None:
    change = last_change(order(), *SENT, REJECTED, fill(40))
    assert change.order.status is OrderStatus.PARTIALLY_FILLED
    assert change.alarms
    assert change.order.attention == CONTRADICTION
    assert last_change(order(), *SENT, REJECTED, fill(100)).order.status is OrderStatus.FILLED
    settled = after(change.order, CANCELLED)
    assert (settled.status, settled.reason_code) == (OrderStatus.CANCELLED, ReasonCode.CANCELLED_BY_BROKER)


def test_a_rejection_of_a_part_filled_order_leaves_it_open_for_a_person() -> None:
    change = last_change(order(), *SENT, fill(40), REJECTED)
    assert change.order.status is OrderStatus.PARTIALLY_FILLED
    assert change.alarms == (CONTRADICTION,)


def test_a_rejection_that_knows_of_fills_ends_the_remainder() -> None:
    refused = after(order(), *SENT, fill(40), report(ReportStatus.REJECTED, 40, "position limit"))
    assert (refused.status, refused.reason_code, refused.reason) == (
        OrderStatus.CANCELLED,
        ReasonCode.BROKER_REJECTED,
        "position limit",
    )


@pytest.mark.parametrize("events", [(REJECTED, fill(1, leg=0)), (fill(1, leg=0), REJECTED)])
def test_an_execution_of_a_leg_contradicts_a_rejection_too(events: tuple[Event, ...]) -> None:
    change = last_change(order(**SPREAD), *SENT, *events)
    assert change.order.status is OrderStatus.SUBMITTED
    assert change.order.attention == CONTRADICTION
    assert change.alarms


def test_executions_of_legs_are_booked_and_do_not_count_towards_the_order() -> None:
    change = last_change(order(**SPREAD), *SENT, fill(100, "leg", leg=0))
    assert (change.order.status, change.order.filled_quantity) == (OrderStatus.SUBMITTED, 0)
    assert change.booking == Booking(None, fill(100, "leg", leg=0).fill)
    assert after(change.order, fill(100)).status is OrderStatus.FILLED


def test_more_than_was_ordered_is_booked_and_alarmed() -> None:
    change = last_change(order(), *SENT, fill(100), fill(20, "x2"))
    assert (change.order.status, change.order.filled_quantity) == (OrderStatus.FILLED, 120)
    assert change.order.remaining_quantity == 0
    assert change.alarms == ("Filled beyond the ordered quantity: 120 of 100",)
    assert change.order.attention == change.alarms[0]
    assert change.booking is not None
    exactly = last_change(order(), *SENT, fill(60), fill(40, "x2"))
    assert (exactly.alarms, exactly.order.attention) == ((), None)


def test_an_execution_told_twice_is_booked_once() -> None:
    once = after(order(), *SENT, WORKING, fill(40))
    assert apply(once, fill(40), NOW).order is once


def test_a_repetition_under_another_broker_order_id_keeps_that_id() -> None:
    once = after(order(), *SENT, fill(40))
    again = apply(once, replace(fill(40), broker_order_id=BrokerOrderId("ord_2")), NOW)
    assert again.order.broker_order_ids == (VENUE_ID, "ord_2")
    assert again.order.broker_order_id == VENUE_ID
    assert again.booking is None


def test_two_different_executions_under_one_name_are_alarmed_once_and_the_first_stays() -> None:
    once = after(order(), *SENT, fill(40))
    change = apply(once, fill(41), NOW)
    assert change.order.fills == once.fills
    assert change.booking is None
    assert len(change.alarms) == 1
    assert apply(change.order, fill(41), NOW).order is change.order


def test_a_correction_replaces_what_it_corrects() -> None:
    corrected = fill(30, price="11", correction=1)
    change = last_change(order(), *SENT, fill(40), corrected)
    assert (change.order.filled_quantity, change.order.average_price) == (30, 11)
    assert change.booking == Booking(fill(40).fill, corrected.fill)
    assert apply(change.order, fill(40), NOW).order is change.order


def test_a_busted_execution_is_taken_back_and_nothing_is_added() -> None:
    change = last_change(order(), *SENT, fill(40), fill(0, correction=1))
    assert (change.order.status, change.order.filled_quantity, change.order.average_price) == (
        OrderStatus.SUBMITTED,
        0,
        None,
    )
    assert change.booking == Booking(fill(40).fill, None)
    assert change.alarms


def test_a_bust_that_overtakes_its_execution_leaves_nothing_to_book() -> None:
    change = last_change(order(), *SENT, fill(0, correction=1))
    assert change.booking == Booking(None, None)
    assert apply(change.order, fill(40), NOW).order is change.order


def test_a_filled_order_that_was_cancelled_too_falls_back_to_cancelled() -> None:
    filled = after(order(), *SENT, fill(100), ASKED, CANCELLED)
    assert (filled.status, filled.reason_code) == (OrderStatus.FILLED, None)
    change = apply(filled, fill(90, correction=1), NOW)
    assert (change.order.status, change.order.filled_quantity) == (OrderStatus.CANCELLED, 90)
    assert change.alarms == ("Unexpected: FILLED order an execution was corrected downwards",)
    assert after(order(), *SENT, fill(100), fill(90, correction=1)).status is OrderStatus.PARTIALLY_FILLED


def test_filled_without_executions_is_only_a_word() -> None:
    told = after(order(), *SENT, report(ReportStatus.FILLED, 100))
    assert (told.status, told.filled_quantity, told.reported_filled_quantity) == (OrderStatus.SUBMITTED, 0, 100)


# --- commissions ---


def test_a_commission_may_come_with_before_or_after_its_execution() -> None:
    late = last_change(order(), *SENT, fill(100), commission("1.50"))
    assert late.order.commission == Commission(Decimal("1.50"), "USD")
    assert late.commission_of == "x1"
    assert late.booking is None
    early = last_change(order(), *SENT, commission("1.50"), fill(100))
    assert early.order.commission == late.order.commission
    assert early.order.status is OrderStatus.FILLED


def test_an_estimate_gives_way_to_what_was_billed_and_never_the_other_way() -> None:
    guessed = after(order(), *SENT, fill(100), commission("1", estimated=True))
    assert guessed.commission == Commission(Decimal(1), "USD", estimated=True)
    billed = after(guessed, commission("1.20"))
    assert billed.commission == Commission(Decimal("1.20"), "USD")
    assert apply(billed, commission("1", estimated=True), NOW).order is billed
    with_it = replace(fill(100), fill=replace(fill(100).fill, commission=Commission(Decimal("1.20"), "USD")))
    assert after(order(), *SENT, commission("1", estimated=True), with_it).commission == billed.commission


def test_a_commission_does_not_reopen_an_ended_order() -> None:
    told = after(order(), *SENT, fill(100), commission("1"), commission("2"))
    assert (told.status, told.commission) == (OrderStatus.FILLED, Commission(Decimal(2), "USD"))
    by_hand = Resolved(Resolution.CANCELLED, "Ann", "by phone")
    assert after(order(), *SENT, fill(10), by_hand, commission("1")).status is OrderStatus.CANCELLED


# --- cash orders ---


def test_a_cash_order_is_filled_when_the_venue_says_what_it_bought() -> None:
    part = after(order(**CASH), *SENT, fill(7))
    assert (part.status, part.quantity, part.remaining_quantity) == (OrderStatus.PARTIALLY_FILLED, None, None)
    filled = after(part, report(ReportStatus.FILLED, 7))
    assert (filled.status, filled.quantity) == (OrderStatus.FILLED, 7)
    early = after(order(**CASH), *SENT, report(ReportStatus.FILLED, 7))
    assert (early.status, early.quantity) == (OrderStatus.SUBMITTED, 7)
    assert after(early, fill(7)).status is OrderStatus.FILLED


def test_a_cash_order_whose_figure_was_corrected_is_filled_in_any_order_of_the_two_figures() -> None:
    before, correction = report(ReportStatus.FILLED, 10), fill(7, correction=1)
    behind = report(ReportStatus.FILLED, 7)
    for events in [(fill(10), before, correction, behind), (behind, before, correction), (correction, before, behind)]:
        final = after(order(**CASH), *SENT, *events)
        assert (final.status, final.quantity) == (OrderStatus.FILLED, 7)


def test_a_cash_order_may_end_with_a_part() -> None:
    ended = after(order(**CASH), *SENT, fill(3), CANCELLED)
    assert (ended.status, ended.quantity, ended.filled_quantity) == (OrderStatus.CANCELLED, None, 3)


def test_a_repetition_that_brings_the_commission_tells_the_commission_only() -> None:
    unpriced = fill(40)
    told = replace(unpriced, fill=replace(unpriced.fill, commission=Commission(Decimal("0.7"), "USD")))
    start = after(order(), *SENT, unpriced)
    change = last_change(start, told)
    assert change.order.commission == Commission(Decimal("0.7"), "USD")
    assert change.order.filled_quantity == 40
    assert change.booking is None
    assert last_change(change.order, told).order is change.order
