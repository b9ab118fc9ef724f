"""Notifications: the specification's texts, to the word."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from exec_core.events import AnswerLost, CancelAsked, Dispatched, Refused
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId, OrderKey, SignalId
from exec_core.instruments import Instrument, InstrumentDetails
from exec_core.lifecycle import apply
from exec_core.orders import Order, OrderRequest, OrderType, ReasonCode
from exec_core.reports import FillReport, OrderReport, ReportStatus
from exec_core.sides import Side
from exec_service import notices, texts
from exec_service.records import Invalid, OrderRecord, Source

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


def record_of(order: Order) -> OrderRecord:
    return OrderRecord(order, Source("digest", SENT), 1, "ibkr")


UNKNOWN = after(new(), Dispatched(), AnswerLost("no answer"))
PART = after(submitted(), fill("e1", "50", "235.20"))


def test_the_notification_of_a_filled_order_is_the_specifications() -> None:
    order = after(submitted(), fill("e1", "100"), at=DONE)
    assert notices.order_filled(record_of(order)).text == (
        "✅ Order Filled\n"
        "\n"
        "Signal: sig_1732450800_5678\n"
        "Strategy: SPX 1-Day Options\n"
        "Order: BUY 100 SPY @ $235.15\n"
        "Total: $23,515.00\n"
        "Commission: $1.00\n"
        "Time: 2 seconds"
    )


def test_the_notification_of_a_rejected_order_is_the_specifications() -> None:
    order = after(submitted(), reported(ReportStatus.REJECTED, reason="Insufficient margin"))
    assert notices.order_rejected(record_of(order), account="IBKR Main Account").text == (
        "❌ Order Rejected\n"
        "\n"
        "Signal: sig_1732450800_5678\n"
        "Strategy: SPX 1-Day Options\n"
        "Order: BUY 100 SPY\n"
        "Reason: Insufficient margin\n"
        "Account: IBKR Main Account"
    )


def test_the_notification_of_a_partial_fill_is_the_specifications() -> None:
    assert notices.partial_fill(record_of(PART)).text == (
        "⚠️ Partial Fill\n\nSignal: sig_1732450800_5678\nOrder: BUY 100 SPY\nFilled: 50/100 @ $235.20\nRemaining: 50"
    )


def test_a_commission_that_is_not_known_is_not_zero() -> None:
    order = after(submitted(), fill("e1", "100", cost=None))
    assert dict(notices.order_filled(record_of(order)).fields)["Commission"] == "not known yet"


def test_an_estimated_commission_says_so() -> None:
    order = after(submitted(), fill("e1", "100"))
    execution = next(iter(order.fills.values()))
    estimated = replace(execution, commission=Commission(Decimal("20.5"), "INR", estimated=True))
    order = replace(order, fills={execution.execution_id: estimated})
    assert dict(notices.order_filled(record_of(order)).fields)["Commission"] == "₹20.50 (estimated)"


def test_the_venues_currency_is_shown() -> None:
    order = replace(after(submitted(), fill("e1", "100")), details=InstrumentDetails(currency="INR"))
    assert dict(notices.order_filled(record_of(order)).fields)["Total"] == "₹23,515.00"


def test_exits_that_were_asked_for_are_said_to_be_missing() -> None:
    order = after(submitted(take_profit=Decimal(240)), fill("e1", "100"))
    assert notices.order_filled(record_of(order)).fields[-1] == ("Exits", "not placed")
    plain = notices.order_filled(record_of(after(submitted(), fill("e1", "100"))))
    assert "Exits" not in dict(plain.fields)


def test_a_mode_stands_before_the_title() -> None:
    assert notices.partial_fill(record_of(PART), prefix="[PAPER]").text.startswith("[PAPER] ⚠️ Partial Fill\n\n")


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ({}, "could not be read"),
        ({"side": "BUY", "quantity": Decimal("100.0"), "symbol": "SPY"}, "BUY 100 SPY"),
        ({"side": "BUY", "symbol": "SPY"}, "BUY ? SPY"),
        ({"cash_quantity": Decimal(500), "symbol": "BTC"}, "? $500.00 of BTC"),
    ],
)
def test_a_message_that_is_no_order_is_told_with_what_could_be_read(fields: dict[str, Any], order: str) -> None:
    invalid = Invalid(OrderKey(SignalId("sig_1"), 0), "side is missing", Source("digest", SENT), 1, fields)
    told = dict(notices.order_rejected_invalid(invalid).fields)
    assert (told["Signal"], told["Reason"], told["Order"]) == ("sig_1", "side is missing", order)
    assert (told["Strategy"], told["Account"]) == ("could not be read", "could not be read")


TIMED_OUT = after(PART, CancelAsked(ReasonCode.TIMEOUT, texts.timeout_reason(60)))
REFUSED = after(new(), Refused(ReasonCode.CONNECTION_FAILED, "No route to the gateway"))


@pytest.mark.parametrize(
    ("notification", "title", "said"),
    [
        (notices.order_timed_out(record_of(TIMED_OUT)), "⏱ Order Timed Out", {"Filled": "50/100"}),
        (notices.outcome_unknown(record_of(UNKNOWN), account="Main"), "❓ Outcome Unknown", {"Reason": "no answer"}),
        (
            notices.broker_connection_failed(record_of(REFUSED)),
            "🔌 Broker Connection Failed",
            {"Broker": "IBKR", "Reason": "No route to the gateway", "Account": "acc_abc123"},
        ),
        (
            notices.message_refused("D1", ReasonCode.CONFLICT, "used before", "sig_1732450800_5678"),
            "⚠️ Conflicting Order",
            {"Reason": "used before"},
        ),
        (
            notices.needs_attention("A1", "Look", account="Main", signal_id="sig_1732450800_5678"),
            "🚨 Needs Attention",
            {"Reason": "Look", "Account": "Main"},
        ),
    ],
)
def test_further_notifications_name_the_signal(notification: Any, title: str, said: dict[str, str]) -> None:
    told = dict(notification.fields)
    assert notification.title == title
    assert told["Signal"] == "sig_1732450800_5678"
    assert said.items() <= told.items()


def test_a_dead_letter_without_a_signal_is_told_all_the_same() -> None:
    notification = notices.message_refused("D1", ReasonCode.INVALID, "the message is not JSON", None)
    assert notification.title == "⚠️ Message Refused"
    assert dict(notification.fields)["Signal"] == "could not be read"


def test_ids_are_stable_and_differ_by_what_is_told() -> None:
    ids = [notices.partial_fill(record_of(PART)).id, notices.order_timed_out(record_of(TIMED_OUT)).id]
    assert ids[0] == notices.partial_fill(record_of(PART)).id
    assert len(set(ids)) == 2
    assert notices.partial_fill(record_of(replace(PART, revision=99))).id != ids[0]


def test_an_endless_reason_is_cut() -> None:
    assert len(notices.needs_attention("A1", "x" * 100_000).text) < 1100


def test_a_cash_order_is_told_without_a_quantity_that_nobody_knows() -> None:
    order = after(submitted(quantity=None, cash_quantity=Decimal(500)), fill("e1", "2.5"))
    told = dict(notices.partial_fill(record_of(order)).fields)
    assert told["Order"] == "BUY $500.00 of SPY"
    assert (told["Filled"], told["Remaining"]) == ("2.5 @ $235.15", "not known yet")
