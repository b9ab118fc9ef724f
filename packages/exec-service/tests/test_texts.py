"""Numbers for people, and the lines of the log: the specification's texts, to the word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from exec_core.events import AnswerLost, CancelAsked, Dispatched, Refused
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId, SignalId
from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.lifecycle import apply
from exec_core.orders import Leg, Order, OrderRequest, OrderType, ReasonCode
from exec_core.reports import FillReport, OrderReport, ReportStatus
from exec_core.sides import Side
from exec_service import formats, texts
from hypothesis import given
from hypothesis import strategies as st

SENT = datetime(2024, 11, 24, 10, 30, 10, tzinfo=UTC)
DONE = SENT + timedelta(seconds=2)
BROKER_ID = BrokerOrderId("ord_broker_12345")


def new(**changes: Any) -> Order:
    values: dict[str, Any] = {
        "signal_id": SignalId("sig_1732450800_5678"),
        "account_id": AccountId("acc_abc123"),
        "strategy_name": "SPX 1-Day Options",
        "instrument": Instrument("SPY"),
        "side": Side.BUY,
        "order_type": OrderType.MARKET,
        "quantity": Decimal(100),
    }
    return Order.new(OrderRequest(**{**values, **changes}))


def after(order: Order, *events: Any, at: datetime = SENT) -> Order:
    for event in events:
        order = apply(order, event, at).order
    return order


def fill(execution_id: str, quantity: str, price: str = "235.15", correction: int = 0, cost: str | None = "1") -> Any:
    commission = None if cost is None else Commission(Decimal(cost), "USD")
    execution = Fill(
        ExecutionId(execution_id), Side.BUY, Decimal(quantity), Decimal(price), DONE, commission, correction
    )
    return FillReport(execution, broker_order_id=BROKER_ID)


def reported(status: ReportStatus, **changes: Any) -> OrderReport:
    return OrderReport(status, broker_order_id=BROKER_ID, **changes)


def submitted(**changes: Any) -> Order:
    return after(new(**changes), Dispatched(), reported(ReportStatus.WORKING))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("100", "100"),
        ("100.00", "100"),
        ("0.50", "0.5"),
        ("1E+2", "100"),
        ("1E-7", "0.0000001"),
        ("-0", "0"),
        ("10", "10"),
    ],
)
def test_quantities_have_no_trailing_zeros_and_no_exponent(value: str, shown: str) -> None:
    assert formats.format_quantity(Decimal(value)) == shown


@given(st.decimals(0, 10**12, allow_nan=False, places=9))
def test_a_shown_quantity_is_the_quantity(value: Decimal) -> None:
    assert Decimal(formats.format_quantity(value)) == value


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        ("235", "USD", "$235.00"),
        ("235.1", None, "$235.10"),
        ("235.15", "USD", "$235.15"),
        ("1.08345", "EUR", "EUR 1.08345"),
        ("1.083450", "INR", "₹1.08345"),
        ("23515", "USD", "$23515.00"),
        ("-1.25", "USD", "-$1.25"),
        ("1E+2", "USD", "$100.00"),
        ("0.00000001", "USD", "$0.00000001"),
    ],
)
def test_prices_have_at_least_two_decimals_and_as_many_as_they_need(
    value: str, currency: str | None, shown: str
) -> None:
    assert formats.format_price(Decimal(value), currency) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [("23515", "$23,515.00"), ("1234567.891", "$1,234,567.89"), ("0.5", "$0.50"), ("-5", "-$5.00")]
)
def test_totals_have_thousands_separators_and_cents(value: str, shown: str) -> None:
    assert formats.format_total(Decimal(value), "USD") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 seconds"),
        (0.4, "0.4 seconds"),
        (0.96, "1 second"),
        (1, "1 second"),
        (1.5, "1.5 seconds"),
        (2.0, "2 seconds"),
        (9.94, "9.9 seconds"),
        (9.96, "10 seconds"),
        (12.4, "12 seconds"),
        (3600, "3600 seconds"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert formats.format_duration(seconds) == shown


def test_an_average_is_shown_as_fine_as_its_executions_and_with_four_decimals_at_least() -> None:
    thirds = after(submitted(quantity=Decimal(3)), fill("e1", "1", "235.12"), fill("e2", "2", "235.125"))
    assert formats.average_of(thirds) == Decimal("235.1233")
    forex = after(submitted(quantity=Decimal(3)), fill("e1", "1", "1.08345"), fill("e2", "2", "1.08346"))
    assert formats.average_of(forex) == Decimal("1.08346")
    assert texts.filled(thirds) == "Order filled: 3 @ $235.1233"


def test_the_life_of_an_order_is_logged_in_the_specifications_words() -> None:
    order = new()
    lines = [texts.received(order.request.signal_id), texts.placing(order)]
    for events in ([Dispatched()], [reported(ReportStatus.WORKING)], [fill("e1", "100")]):
        before, order = order, after(order, *events)
        lines += texts.log_lines(before, order)
    lines.append(texts.published())
    assert lines == [
        "Received order: sig_1732450800_5678",
        "Placing order: BUY 100 SPY MARKET",
        "Order submitted: ord_broker_12345",
        "Order filled: 100 @ $235.15",
        "Published execution confirmation",
    ]


UNKNOWN = after(new(), Dispatched(), AnswerLost("no answer"))
PART = after(submitted(), fill("e1", "50", "235.20"))


@pytest.mark.parametrize(
    ("before", "events", "lines"),
    [
        (submitted(), [fill("e1", "50", "235.20")], ["Order partially filled: 50/100 @ $235.20"]),
        (PART, [fill("e1", "50", "235.20")], []),
        (PART, [fill("e2", "50", "235.10")], ["Order filled: 100 @ $235.15"]),
        (PART, [fill("e1", "40", "235.20", 1)], ["Execution corrected by the broker: now 40/100 @ $235.20"]),
        (PART, [fill("e1", "0", "235.20", 1)], ["Execution corrected by the broker: now nothing is filled"]),
        (after(new(), Dispatched()), [AnswerLost("gone")], ["Outcome unknown, asking the broker"]),
        (UNKNOWN, [reported(ReportStatus.WORKING)], ["Order submitted: ord_broker_12345"]),
        (
            after(new(), Dispatched()),
            [reported(ReportStatus.REJECTED, reason="Insufficient margin")],
            ["Order rejected: Insufficient margin"],
        ),
        (new(), [Refused(ReasonCode.STALE, "It is old")], ["Order rejected: It is old"]),
        (
            submitted(),
            [CancelAsked(ReasonCode.TIMEOUT, texts.timeout_reason(60.0))],
            ["Order timed out after 60 s, cancelling"],
        ),
        (submitted(), [CancelAsked(ReasonCode.CANCELLED_BY_USER, "Changed my mind")], ["Cancelling: Changed my mind"]),
        (submitted(), [reported(ReportStatus.CANCELLED, reason="By the desk")], ["Order cancelled: By the desk"]),
        (submitted(), [reported(ReportStatus.EXPIRED, reason="Session over")], ["Order expired: Session over"]),
        (
            after(new(), Refused(ReasonCode.STALE, "old")),
            [reported(ReportStatus.WORKING)],
            ["Order submitted: ord_broker_12345", "The order is open again: SUBMITTED"],
        ),
        # A market order that is filled before its acknowledgement: both lines, in this order.
        (
            after(new(), Dispatched()),
            [fill("e1", "100")],
            ["Order submitted: ord_broker_12345", "Order filled: 100 @ $235.15"],
        ),
    ],
)
def test_what_a_change_logs(before: Order, events: list[Any], lines: list[str]) -> None:
    assert texts.log_lines(before, after(before, *events)) == lines


def test_an_order_that_is_refused_as_it_comes_logs_why() -> None:
    assert texts.log_lines(None, after(new(), Refused(ReasonCode.STALE, "It is old"))) == ["Order rejected: It is old"]
    assert texts.log_lines(None, new()) == []


def test_exits_that_are_not_placed_are_logged_with_the_first_fill_only() -> None:
    order = submitted(stop_loss=Decimal(230), take_profit=Decimal("240.5"))
    part = after(order, fill("e1", "50", "235.20"))
    assert texts.log_lines(order, part)[1:] == ["Exits: not placed (stop loss $230.00, take profit $240.50)"]
    assert len(texts.log_lines(part, after(part, fill("e2", "50")))) == 1


def test_a_time_out_of_a_fraction_or_of_many_seconds_is_named_plainly() -> None:
    assert texts.timed_out(texts.timeout_reason(2.5)) == "Order timed out after 2.5 s, cancelling"
    assert texts.timed_out(texts.timeout_reason(1e6)) == "Order timed out after 1000000 s, cancelling"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"order_type": OrderType.LIMIT, "limit_price": Decimal(230), "quantity": Decimal("0.50")},
            "Placing order: BUY 0.5 SPY LIMIT",
        ),
        ({"quantity": None, "cash_quantity": Decimal(500)}, "Placing order: BUY $500.00 of SPY MARKET"),
        (
            {
                "instrument": Instrument(
                    "SPX", AssetClass.OPTION, expiry="20251219", strike=Decimal("5900.0"), right=Right.CALL
                )
            },
            "Placing order: BUY 100 SPX 20251219 5900 C MARKET",
        ),
        (
            {"instrument": Instrument("ES", AssetClass.FUTURE, expiry="202512")},
            "Placing order: BUY 100 ES 202512 MARKET",
        ),
        (
            {
                "instrument": Instrument("SPX", AssetClass.OPTION),
                "legs": (Leg(Instrument("SPX"), Side.BUY, Decimal(1)), Leg(Instrument("SPX"), Side.SELL, Decimal(1))),
            },
            "Placing order: BUY 100 SPX combination of 2 legs MARKET",
        ),
    ],
)
def test_placing_names_what_is_placed(changes: dict[str, Any], line: str) -> None:
    assert texts.placing(new(**changes)) == line
