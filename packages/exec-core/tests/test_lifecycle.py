"""The rules of the lifecycle, one at a time. `test_lifecycle_properties.py` holds them against whole histories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

import pytest
from exec_core.events import (
    AnswerLost,
    CancelAsked,
    Dispatched,
    Event,
    NeedsAttention,
    ProvenAbsent,
    Refused,
    Resolution,
    Resolved,
    SendFailed,
    Withdrawn,
)
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId, SignalId
from exec_core.instruments import Instrument, InstrumentDetails
from exec_core.lifecycle import CONTRADICTION, Change, apply
from exec_core.orders import (
    Evidence,
    Order,
    OrderEnd,
    OrderRequest,
    OrderStatus,
    OrderType,
    ReasonCode,
    TimeInForce,
)
from exec_core.reports import CommissionReport, FillReport, OrderReport, ReportStatus
from exec_core.sides import Side

NOW = datetime(2024, 11, 24, 10, 30, tzinfo=UTC)
VENUE_ID = BrokerOrderId("ord_1")
CASH = {"quantity": None, "cash_quantity": Decimal(500)}
SENT: tuple[Event, ...] = (Dispatched(),)
LOST: tuple[Event, ...] = (Dispatched(), AnswerLost("time-out"))
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


# --- sending ---


def test_an_order_is_dispatched_acknowledged_and_filled() -> None:
    sent = after(order(), *SENT)
    assert (sent.status, sent.attempts, sent.sent_at) == (OrderStatus.SUBMITTING, 1, NOW)
    working = after(sent, WORKING)
    assert (working.status, working.broker_order_id) == (OrderStatus.SUBMITTED, VENUE_ID)
    filled = after(working, fill(60), fill(40, "x2", price="20"))
    assert (filled.status, filled.average_price, filled.remaining_quantity) == (OrderStatus.FILLED, 14, 0)
    assert [entry.status for entry in filled.history][-2:] == [OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED]


def test_a_send_that_provably_failed_may_be_tried_again_and_is_counted() -> None:
    failed = after(order(), Dispatched(), SendFailed("refused"), Dispatched(), SendFailed("refused"))
    assert (failed.status, failed.attempts, failed.sent_at) == (OrderStatus.PENDING, 2, None)
    assert after(order(), SendFailed("no connection")).attempts == 1


def test_a_lost_answer_makes_it_unknown_and_the_brokers_word_settles_it() -> None:
    lost = after(order(), *LOST)
    assert lost.status is OrderStatus.UNKNOWN
    assert after(lost, WORKING).status is OrderStatus.SUBMITTED
    assert after(lost, REJECTED).status is OrderStatus.REJECTED


def test_a_proof_of_not_sent_that_comes_after_a_report_is_illegal() -> None:
    change = last_change(order(), *SENT, WORKING, SendFailed("refused"))
    assert change.order.status is OrderStatus.SUBMITTED
    assert change.order.sent_at == NOW
    assert change.alarms


def test_a_report_about_a_pending_order_is_believed_and_alarmed() -> None:
    change = last_change(order(), Dispatched(), SendFailed("refused"), WORKING)
    assert change.order.status is OrderStatus.SUBMITTED
    assert change.alarms == ("Unexpected: PENDING order at the broker",)


def test_a_commission_alone_shows_that_the_broker_has_the_order() -> None:
    told = after(order(), *LOST, commission("1"))
    assert (told.status, told.broker_order_id, told.commission) == (OrderStatus.SUBMITTED, VENUE_ID, None)
    change = last_change(told, ProvenAbsent("not in the book"))
    assert change.order is told
    assert last_change(order(), Dispatched(), SendFailed("refused"), commission("1")).alarms


def test_absence_ends_an_unknown_order() -> None:
    absent = after(order(), *LOST, ProvenAbsent("not in the book"))
    assert (absent.status, absent.reason_code, absent.reason) == (
        OrderStatus.REJECTED,
        ReasonCode.NOT_PLACED,
        "not in the book",
    )
    assert absent.rejected_by == "service"


@pytest.mark.parametrize("status", sorted(set(OrderStatus) - {OrderStatus.UNKNOWN}))
def test_absence_ends_nothing_else(status: OrderStatus) -> None:
    start = in_status(status)
    assert apply(start, ProvenAbsent("not in the book"), NOW).order is start


@pytest.mark.parametrize("trace", [{"acknowledged_at": NOW}, {"fills": {ExecutionId("x1"): fill(1).fill}}])
def test_absence_does_not_end_an_unknown_order_that_was_acknowledged_or_has_a_fill(trace: dict[str, object]) -> None:
    start = replace(after(order(), *LOST), **trace)
    assert apply(start, ProvenAbsent("not in the book"), NOW).order is start


# --- our own ends ---


def test_what_is_refused_or_withdrawn_before_sending_ends_with_its_reason() -> None:
    refused = after(order(), Refused(ReasonCode.STALE, "too old"))
    assert (refused.status, refused.reason_code, refused.rejected_by) == (
        OrderStatus.REJECTED,
        ReasonCode.STALE,
        "service",
    )
    withdrawn = after(order(), Withdrawn(ReasonCode.CANCELLED_BY_USER, "no more"))
    assert (withdrawn.status, withdrawn.reason) == (OrderStatus.CANCELLED, "no more")


@pytest.mark.parametrize(
    "event", [Refused(ReasonCode.STALE, "too old"), Withdrawn(ReasonCode.CANCELLED_BY_USER, "no"), Dispatched()]
)
@pytest.mark.parametrize("status", sorted(set(OrderStatus) - {OrderStatus.PENDING}))
def test_an_illegal_event_changes_no_state_and_is_recorded_and_alarmed(event: Event, status: OrderStatus) -> None:
    start = in_status(status)
    change = apply(start, event, NOW)
    assert change.changed
    assert change.alarms
    assert change.alarms[0].startswith(f"Illegal transition: {status} order")
    assert change.order == replace(start, revision=start.revision + 1, history=change.order.history)
    assert change.order.history[-1].event.startswith("illegal:")


@pytest.mark.parametrize(
    "ended",
    [
        after(order(), *LOST, ProvenAbsent("not in the book")),
        after(order(), Refused(ReasonCode.STALE, "too old")),
        after(order(), Withdrawn(ReasonCode.CANCELLED_BY_USER, "no more")),
        after(order(), *LOST, Resolved(Resolution.CANCELLED, "Ann", "by phone")),
        after(order(), *LOST, Resolved(Resolution.NOT_PLACED, "Ann", "by phone")),
    ],
)
def test_the_broker_overrules_an_end_that_we_concluded(ended: Order) -> None:
    change = apply(ended, WORKING, NOW)
    assert change.order.status is OrderStatus.SUBMITTED
    assert change.order.end is None
    assert change.order.working_since == NOW, "its time-out runs again"
    assert change.alarms
    expired = apply(ended, EXPIRED, NOW).order
    assert (expired.status, expired.reason_code) == (OrderStatus.EXPIRED, ReasonCode.EXPIRED)


@pytest.mark.parametrize("end", [REJECTED, CANCELLED, EXPIRED])
def test_a_late_working_does_not_undo_what_the_broker_itself_ended(end: OrderReport) -> None:
    ended = after(order(), *SENT, WORKING, end)
    assert ended.status.value == end.status.value
    assert apply(ended, WORKING, NOW).order is ended
    unheard = after(order(), *SENT, end)
    assert apply(unheard, replace(WORKING, venue_time=NOW), NOW).order is unheard


def test_rejected_by_the_broker_after_a_person_called_a_part_filled_order_cancelled() -> None:
    part = after(order(), *SENT, fill(10), Resolved(Resolution.CANCELLED, "Ann", "by phone"))
    change = apply(part, REJECTED, NOW)
    assert change.order.status is OrderStatus.PARTIALLY_FILLED
    assert change.order.attention == CONTRADICTION
    assert change.alarms == (CONTRADICTION,)


# --- cancelling, time-outs, ends ---


def test_cancelling_is_a_flag_and_fills_go_on() -> None:
    asked = after(order(), *SENT, WORKING, ASKED)
    assert asked.status is OrderStatus.SUBMITTED
    assert asked.cancel is not None
    assert after(asked, fill(40)).status is OrderStatus.PARTIALLY_FILLED
    assert apply(asked, CancelAsked(ReasonCode.CANCELLED_BY_USER, "me too"), NOW).order is asked
    assert after(asked, fill(100)).reason_code is None


@pytest.mark.parametrize("status", sorted(status for status in OrderStatus if status.is_final))
def test_a_final_order_is_not_asked_to_cancel(status: OrderStatus) -> None:
    start = in_status(status)
    assert apply(start, ASKED, NOW).order is start


def test_a_timed_out_order_ends_cancelled_with_the_reason_timeout() -> None:
    ended = after(order(), *SENT, WORKING, fill(40), ASKED, CANCELLED)
    assert (ended.status, ended.reason_code, ended.reason) == (
        OrderStatus.CANCELLED,
        ReasonCode.TIMEOUT,
        "Not filled within 60 s",
    )


def test_nobody_asked_so_the_broker_cancelled() -> None:
    ended = after(order(), *SENT, WORKING, CANCELLED)
    assert (ended.reason_code, ended.reason) == (
        ReasonCode.CANCELLED_BY_BROKER,
        "Cancelled at the broker, not by this service",
    )


def test_the_remainder_of_an_immediate_or_cancel_order_is_cancelled_and_expired() -> None:
    ended = after(order(time_in_force=TimeInForce.IOC), *SENT, fill(40), CANCELLED)
    assert (ended.status, ended.reason_code) == (OrderStatus.CANCELLED, ReasonCode.EXPIRED)


def test_the_end_of_the_day_is_expired_even_if_a_cancel_was_asked() -> None:
    ended = after(order(), *SENT, WORKING, ASKED, EXPIRED)
    assert (ended.status, ended.reason_code) == (OrderStatus.EXPIRED, ReasonCode.EXPIRED)


def test_a_rejection_carries_the_brokers_words() -> None:
    ended = after(order(), *SENT, REJECTED)
    assert (ended.reason_code, ended.reason, ended.rejected_by) == (
        ReasonCode.BROKER_REJECTED,
        "Insufficient margin",
        "broker",
    )
    assert after(order(), *SENT, report(ReportStatus.REJECTED)).reason == "The broker gave no reason"


def test_the_first_end_stays() -> None:
    ended = after(order(), *SENT, WORKING, EXPIRED)
    assert apply(ended, CANCELLED, NOW).order is ended


def test_the_clock_of_the_timeout_starts_when_it_works_not_while_it_is_held() -> None:
    held = after(order(), *SENT, report(ReportStatus.HELD))
    assert (held.status, held.working_since) == (OrderStatus.SUBMITTED, None)
    venue_time = NOW + timedelta(minutes=5)
    works = after(held, replace(WORKING, venue_time=venue_time))
    assert works.working_since == venue_time
    assert after(works, replace(WORKING, venue_time=NOW)).working_since == venue_time


def test_details_of_the_contract_come_with_the_first_report_that_has_them() -> None:
    details = InstrumentDetails(multiplier=Decimal(50))
    told = after(order(), *SENT, WORKING, replace(fill(1), details=details))
    assert (told.details, told.multiplier) == (details, 50)


# --- a person ---


def test_a_person_says_that_it_was_placed() -> None:
    placed = after(order(), *LOST, Resolved(Resolution.PLACED, "Ann", "the broker's screen"))
    assert (placed.status, placed.history[-1].evidence) == (OrderStatus.SUBMITTED, Evidence.PERSON)
    assert placed.history[-1].text == "Ann: the broker's screen"


def test_a_person_says_that_it_was_filled_and_that_is_booked() -> None:
    change = last_change(order(), *LOST, Resolved(Resolution.FILLED, "Ann", "statement", price=Decimal("9.5")))
    assert (change.order.status, change.order.filled_quantity, change.order.average_price) == (
        OrderStatus.FILLED,
        100,
        Decimal("9.5"),
    )
    assert change.booking is not None
    assert change.booking.added is not None
    part = Resolved(Resolution.FILLED, "Ann", "statement", Decimal(30), Decimal(9))
    partly = after(order(), *LOST, part, part)
    assert (partly.status, partly.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, 60)
    whole = after(order(**CASH), *LOST, part)
    assert (whole.status, whole.quantity) == (OrderStatus.FILLED, 30)


@pytest.mark.parametrize("fields", [{"quantity": Decimal(5)}, {}])
def test_resolving_as_filled_needs_figures(fields: Mapping[str, Decimal]) -> None:
    with pytest.raises(ValueError, match="needs a price"):
        after(order(), *LOST, Resolved(Resolution.FILLED, "Ann", "statement", **fields))


def test_a_person_says_that_it_was_cancelled_or_never_placed() -> None:
    cancelled = after(order(), *LOST, NeedsAttention("look"), Resolved(Resolution.CANCELLED, "Ann", "by phone"))
    assert (cancelled.status, cancelled.reason_code, cancelled.attention) == (
        OrderStatus.CANCELLED,
        ReasonCode.UNSETTLED,
        None,
    )
    timed_out = after(order(), *LOST, ASKED, Resolved(Resolution.CANCELLED, "Ann", "by phone"))
    assert timed_out.reason_code is ReasonCode.TIMEOUT
    never = after(order(), *LOST, Resolved(Resolution.NOT_PLACED, "Ann", "by phone"))
    assert (never.status, never.reason_code) == (OrderStatus.REJECTED, ReasonCode.NOT_PLACED)


def test_a_person_cannot_say_that_what_was_filled_was_never_placed() -> None:
    change = last_change(order(), *SENT, fill(1), Resolved(Resolution.NOT_PLACED, "Ann", "by phone"))
    assert change.order.status is OrderStatus.PARTIALLY_FILLED
    assert change.alarms


@pytest.mark.parametrize("resolution", Resolution)
@pytest.mark.parametrize("status", sorted(status for status in OrderStatus if status.is_final))
def test_a_final_order_cannot_be_resolved(status: OrderStatus, resolution: Resolution) -> None:
    start = in_status(status)
    change = apply(start, Resolved(resolution, "Ann", "by phone", Decimal(1), Decimal(1)), NOW)
    assert (change.order.status, change.order.fills) == (status, start.fills)
    assert change.alarms


def test_attention_is_noted_alarmed_once_and_taken_away() -> None:
    noted = last_change(order(), NeedsAttention("look at it"))
    assert (noted.order.attention, noted.alarms) == ("look at it", ("look at it",))
    again = apply(noted.order, NeedsAttention("look at it"), NOW)
    assert again.order is noted.order
    assert not again.alarms
    assert after(noted.order, NeedsAttention(None)).attention is None


def test_a_status_that_repeats_what_executions_said_changes_nothing() -> None:
    filled = after(order(), *SENT, WORKING, fill(100))
    assert filled.status is OrderStatus.FILLED
    assert last_change(filled, report(ReportStatus.FILLED, 100)).order is filled
