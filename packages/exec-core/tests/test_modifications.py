"""What somebody modifies at the broker: followed, recorded, told once; what was asked stays the measure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from exec_core.change import Change
from exec_core.events import CancelAsked, Dispatched, Event, Resolution, Resolved
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId, SignalId
from exec_core.instruments import Instrument
from exec_core.lifecycle import apply
from exec_core.modifications import Modification
from exec_core.orders import Order, OrderRequest, OrderStatus, OrderType, ReasonCode
from exec_core.reports import CommissionReport, FillReport, OrderReport, OrderTerms, ReportStatus
from exec_core.sides import Side

NOW = datetime(2024, 11, 24, 10, 30, tzinfo=UTC)
FIRST, SECOND = BrokerOrderId("ord_1"), BrokerOrderId("ord_2")
SENT = Dispatched()
ASKED = CancelAsked(ReasonCode.TIMEOUT, "Not filled within 60 s")


def order(**fields: Any) -> Order:
    """BUY 100 SPY LIMIT 235.20, unless told otherwise."""
    asked: dict[str, Any] = {"order_type": OrderType.LIMIT, "quantity": Decimal(100)}
    asked["limit_price"] = Decimal("235.20") if "order_type" not in fields else None
    request = OrderRequest(
        signal_id=SignalId("sig_1"),
        account_id=AccountId("acc_1"),
        strategy_name="Strategy",
        instrument=Instrument("SPY"),
        side=Side.BUY,
        **asked | fields,
    )
    return Order.new(request)


def told(
    quantity: int | str | None = None,
    limit: str | None = None,
    stop: str | None = None,
    *,
    at: int | None = None,
    status: ReportStatus = ReportStatus.WORKING,
    name: BrokerOrderId | None = FIRST,
) -> OrderReport:
    """A report with these terms, `at` so many seconds by the venue's clock."""
    numbers = [None if value is None else Decimal(value) for value in (quantity, limit, stop)]
    time = None if at is None else NOW + timedelta(seconds=at)
    client_order_id = order().client_order_id if name is None else None
    return OrderReport(status, client_order_id, name, venue_time=time, terms=OrderTerms(*numbers))


def fill(quantity: int, name: str = "x1", *, correction: int = 0, broker_order_id: BrokerOrderId = FIRST) -> FillReport:
    execution = Fill(ExecutionId(name), Side.BUY, Decimal(quantity), Decimal(235), NOW, correction=correction)
    return FillReport(execution, broker_order_id=broker_order_id)


def changes(start: Order, *events: Event) -> list[Change]:
    found: list[Change] = []
    for event in events:
        found.append(apply(found[-1].order if found else start, event, NOW))
    return found


def after(start: Order, *events: Event) -> Order:
    return changes(start, *events)[-1].order


def end(status: ReportStatus, quantity: int | None = None, at: int | None = None) -> OrderReport:
    return told(quantity, at=at, status=status)


def test_what_agrees_with_what_was_asked_changes_nothing() -> None:
    known = after(order(), SENT, told("100.0", "235.2", at=1))
    assert (known.modified, known.told_terms, known.history[-1].event) == (None, (), "at the broker")
    assert apply(known, told(100, "235.20", at=9), NOW).order is known


def test_a_lowered_order_is_followed_recorded_and_told_once() -> None:
    change = changes(order(), SENT, told(100, "235.20", at=1), told(60, "234", at=2))[-1]
    known = change.order
    assert (known.quantity, known.remaining_quantity, known.asked_quantity) == (60, 60, 100)
    assert known.request == order().request
    assert known.modified == Modification(Decimal(60), Decimal(234), at=NOW + timedelta(seconds=2))
    text = "quantity 100 -> 60, limit 235.20 -> 234"
    assert (known.history[-1].event, known.history[-1].text) == ("modified at the broker", text)
    assert change.alarms == (f"Modified at the broker, not by this service: {text}",)
    assert (known.attention, known.status) == (None, OrderStatus.SUBMITTED)
    assert apply(known, told(60, "234", at=2), NOW).order is known
    assert apply(known, told(60, "234", at=7), NOW).order is known


def test_the_reason_of_a_report_stands_beside_the_modification() -> None:
    held = OrderReport(ReportStatus.HELD, broker_order_id=FIRST, reason="Market closed", terms=OrderTerms(Decimal(60)))
    assert after(order(), SENT, held).history[-1].text == "quantity 100 -> 60; Market closed"


@pytest.mark.parametrize("events", [(told(60, at=1), fill(60)), (fill(60), told(60, at=1))])
def test_a_lowered_order_is_filled_at_its_new_quantity(events: tuple[Event, ...]) -> None:
    known = after(order(), SENT, *events)
    assert (known.status, known.remaining_quantity, known.filled_quantity) == (OrderStatus.FILLED, 0, 60)


def test_below_what_is_filled_it_is_complete_with_what_is_filled() -> None:
    change = changes(order(), SENT, fill(80), told(60, at=1))[-1]
    known = change.order
    assert (known.status, known.quantity, known.remaining_quantity) == (OrderStatus.FILLED, 80, 0)
    assert known.modified == Modification(Decimal(60), at=NOW + timedelta(seconds=1))
    assert known.attention is None
    whole = after(known, fill(20, "x2"))
    assert (whole.status, whole.quantity, whole.attention) == (OrderStatus.FILLED, 100, None)


def test_modified_back_is_recorded_and_nothing_is_modified_any_more() -> None:
    change = changes(order(), SENT, told(60, at=1), told(100, at=2))[-1]
    assert (change.order.quantity, change.order.modified) == (100, None)
    assert change.order.history[-1].text == "quantity 60 -> 100"
    assert change.alarms == ("Modified at the broker, back to what was asked: quantity 60 -> 100",)
    assert apply(change.order, told(60, at=1), NOW).order is change.order, "an older word tells nothing"


def test_what_is_not_told_stays_as_it_was() -> None:
    known = after(order(), SENT, told(60, "234", at=1), told(None, "233", at=2))
    assert known.modified == Modification(Decimal(60), Decimal(233), at=NOW + timedelta(seconds=2))
    assert known.quantity == 60


def test_raised_again_after_it_was_filled_it_is_open_again() -> None:
    filled = after(order(), SENT, told(60, at=1), fill(60))
    change = apply(filled, told(100, at=2), NOW)
    assert (change.order.status, change.order.remaining_quantity) == (OrderStatus.PARTIALLY_FILLED, 40)
    assert change.alarms
    assert after(change.order, fill(40, "x2")).status is OrderStatus.FILLED


@pytest.mark.parametrize("status", [ReportStatus.CANCELLED, ReportStatus.EXPIRED])
def test_raised_again_it_falls_back_on_the_end_that_was_proven(status: ReportStatus) -> None:
    ended = after(order(), SENT, told(60, at=1), fill(60), end(status))
    assert ended.status is OrderStatus.FILLED
    assert after(ended, told(100, at=2)).status.value == status.value


@pytest.mark.parametrize("status", [ReportStatus.CANCELLED, ReportStatus.EXPIRED, ReportStatus.REJECTED])
def test_an_end_with_the_quantity_lowered_to_what_was_filled_is_that_end(status: ReportStatus) -> None:
    ended = after(order(), SENT, told(100, at=1), fill(60), ASKED, end(status, 60, at=2))
    assert ended.status is not OrderStatus.FILLED
    assert (ended.quantity, ended.modified, ended.remaining_quantity) == (100, None, 40)


def test_raised_beyond_what_was_asked_it_is_followed_and_the_alarm_says_so() -> None:
    change = changes(order(), SENT, told(150, at=1))[-1]
    assert (change.order.quantity, change.order.asked_quantity) == (150, 100)
    assert change.alarms == ("Modified at the broker beyond the 100 that was asked for: quantity 100 -> 150",)
    whole = changes(change.order, fill(100), fill(30, "x2"))
    assert (whole[0].order.status, whole[0].alarms) == (OrderStatus.PARTIALLY_FILLED, ())
    over = "Filled beyond the ordered quantity: 130 of 100"
    assert (whole[1].alarms, whole[1].order.attention) == ((over,), over)
    assert (whole[1].order.status, whole[1].order.remaining_quantity) == (OrderStatus.PARTIALLY_FILLED, 20)


def test_filled_beyond_a_lowered_quantity_but_not_beyond_what_was_asked_is_no_overfill() -> None:
    change = changes(order(), SENT, told(60, at=1), fill(60), fill(30, "x2"))[-1]
    assert (change.alarms, change.order.attention, change.order.quantity) == ((), None, 90)


def test_without_a_venue_time_words_are_taken_as_they_come() -> None:
    assert after(order(), SENT, told(60), told(100)).modified is None
    assert after(order(), SENT, told(100), told(60)).quantity == 60
    assert after(order(), SENT, told(60, at=5), told(80)).quantity == 80


@pytest.mark.parametrize(
    ("fields", "report"),
    [
        ({"order_type": OrderType.MARKET}, told(100, "240", "230", at=1)),
        ({"order_type": OrderType.STOP, "stop_price": Decimal(240)}, told(100, "241", "240", at=1)),
        ({"order_type": OrderType.MARKET, "quantity": None, "cash_quantity": Decimal(500)}, told(3, "240", at=1)),
        ({}, told(0, "235.20", at=1)),
        ({}, told("NaN", "Infinity", at=1)),
    ],
)
def test_only_what_was_asked_for_is_compared_and_only_what_makes_sense(
    fields: dict[str, Any], report: OrderReport
) -> None:
    known = after(order(**fields), SENT, report)
    assert (known.modified, known.quantity) == (None, known.asked_quantity)


def test_a_stop_that_was_moved_is_told() -> None:
    fields = {"order_type": OrderType.STOP_LIMIT, "limit_price": Decimal(241), "stop_price": Decimal(240)}
    known = after(order(**fields), SENT, told(100, "241", "239", at=1, status=ReportStatus.HELD))
    assert known.modified == Modification(stop_price=Decimal(239), at=NOW + timedelta(seconds=1))
    assert known.history[-1].text == "stop 240 -> 239"


def test_of_several_orders_under_our_id_none_tells_the_terms_of_the_whole() -> None:
    found = changes(order(), SENT, fill(10), fill(10, "x2", broker_order_id=SECOND), told(60, at=1, name=SECOND))
    known = found[-1].order
    assert (known.quantity, known.modified, found[-1].alarms) == (100, None, ())
    assert known.history[-1].text == "quantity 100 -> 60 (under ord_2, one of several: not followed)"
    assert apply(known, told(60, at=2, name=SECOND), NOW).order is known


@pytest.mark.parametrize(
    "second",
    [
        fill(10, "x2", broker_order_id=SECOND),
        fill(60, broker_order_id=SECOND),
        OrderReport(ReportStatus.WORKING, broker_order_id=SECOND),
        CommissionReport(ExecutionId("x1"), Commission(Decimal(1), "USD"), broker_order_id=SECOND),
    ],
)
def test_a_second_order_under_our_id_makes_what_was_asked_the_quantity_again(second: Event) -> None:
    filled = after(order(), SENT, told(60, at=1), fill(60))
    known = after(filled, second)
    assert (known.quantity, known.modified, known.status) == (100, None, OrderStatus.PARTIALLY_FILLED)


def test_a_report_under_our_id_alone_speaks_of_the_same_order() -> None:
    known = after(order(), SENT, fill(1), told(60, at=1, name=None))
    assert known.quantity == 60
    assert apply(known, told(60, at=2), NOW).order is known
    assert after(known, told(100, at=2)).modified is None


def test_an_execution_that_is_taken_back_leaves_the_lowered_quantity() -> None:
    known = after(order(), SENT, told(60, at=1), fill(60), fill(50, correction=1))
    assert (known.status, known.quantity, known.remaining_quantity) == (OrderStatus.PARTIALLY_FILLED, 60, 10)


def test_a_person_resolves_a_lowered_order_as_filled_with_what_was_left_of_it() -> None:
    by_hand = Resolved(Resolution.FILLED, "Ann", "by phone", price=Decimal(235))
    known = after(order(), SENT, told(60, at=1), fill(20), by_hand)
    assert (known.status, known.filled_quantity, known.quantity) == (OrderStatus.FILLED, 60, 60)
