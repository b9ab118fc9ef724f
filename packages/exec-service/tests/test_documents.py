"""What the outside sees: confirmations, their documents, when each is due, and the view of the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from exec_core.events import AnswerLost, CancelAsked, Dispatched, NeedsAttention, Refused
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId, OrderKey, SignalId
from exec_core.instruments import AssetClass, Instrument
from exec_core.lifecycle import apply
from exec_core.orders import Order, OrderRequest, OrderStatus, OrderType, ReasonCode
from exec_core.reports import CommissionReport, FillReport, OrderReport, ReportStatus
from exec_core.sides import Side
from exec_service import documents, journal
from exec_service.records import Invalid, OrderRecord, Source

SENT = datetime(2024, 11, 24, 10, 30, 10, tzinfo=UTC)
DONE = SENT + timedelta(seconds=2)


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


def fill(
    execution_id: str, quantity: str, price: str = "235.15", correction: int = 0, cost: str | None = "1.00"
) -> Any:
    commission = None if cost is None else Commission(Decimal(cost), "USD")
    execution = Fill(
        ExecutionId(execution_id), Side.BUY, Decimal(quantity), Decimal(price), DONE, commission, correction
    )
    return FillReport(execution, broker_order_id=BrokerOrderId("ord_broker_12345"))


def reported(status: ReportStatus, **changes: Any) -> OrderReport:
    return OrderReport(status, broker_order_id=BrokerOrderId("ord_broker_12345"), **changes)


def submitted(**changes: Any) -> Order:
    return after(new(**changes), Dispatched(), reported(ReportStatus.WORKING))


def record_of(order: Order) -> OrderRecord:
    return OrderRecord(order, Source("digest", SENT, source_order_id="sig_ORD"), 1, "ibkr")


def invalid(**fields: Any) -> Invalid:
    key = OrderKey(SignalId("sig_1"), 0)
    return Invalid(key, "side is missing: give BUY or SELL", Source("digest", SENT), 1, fields)


def test_the_confirmation_of_a_filled_order_is_the_specifications() -> None:
    order = after(submitted(), fill("e1", "100"), at=DONE)
    message = documents.confirmation(record_of(order), documents.FILL, DONE)
    assert message == {
        "signal_id": "sig_1732450800_5678",
        "order_id": "ord_broker_12345",
        "status": "FILLED",
        "filled_quantity": 100,
        "avg_fill_price": 235.15,
        "filled_at": "2024-11-24T10:30:12Z",
        "commission": 1.0,
        "confirmation_id": f"{order.client_order_id}-{order.revision}",
        "revision": order.revision,
        "reason_code": None,
        "reason": None,
        "account_id": "acc_abc123",
        "strategy_name": "SPX 1-Day Options",
        "symbol": "SPY",
        "side": "BUY",
        "quantity": 100,
        "remaining_quantity": 0,
        "leg_index": 0,
        "total_legs": 1,
        "client_order_id": order.client_order_id,
        "source_order_id": "sig_ORD",
        "broker": "IBKR",
        "broker_order_ids": ["ord_broker_12345"],
        "role": "ENTRY",
        "event": "FILL",
        "commission_currency": "USD",
        "commission_estimated": False,
        "rejection_reason": None,
        "timestamp": "2024-11-24T10:30:12Z",
    }
    assert type(message["quantity"]) is int
    assert type(message["commission"]) is float
    assert json.loads(documents.encode(message)) == message
    assert documents.ordering_key(message) == "acc_abc123"
    assert documents.confirmation_attributes(message) == {
        "signal_id": "sig_1732450800_5678",
        "status": "FILLED",
        "event": "FILL",
        "account_id": "acc_abc123",
        "confirmation_id": f"{order.client_order_id}-{order.revision}",
    }


def test_what_is_not_known_is_null_in_a_confirmation() -> None:
    order = after(submitted(), reported(ReportStatus.REJECTED, reason="Insufficient margin"))
    message = documents.confirmation(record_of(order), documents.STATUS, DONE)
    unknown = ("avg_fill_price", "filled_at", "commission", "commission_currency", "commission_estimated")
    assert [message[name] for name in unknown] == [None] * len(unknown)
    assert (message["filled_quantity"], message["remaining_quantity"]) == (0, 100)
    assert (message["reason_code"], message["reason"]) == ("BROKER_REJECTED", "Insufficient margin")
    assert message["rejection_reason"] == "Insufficient margin"


def test_only_a_rejection_has_a_rejection_reason() -> None:
    order = after(submitted(), reported(ReportStatus.CANCELLED, reason="By the desk"))
    message = documents.confirmation(record_of(order), documents.STATUS, DONE)
    assert (message["reason"], message["rejection_reason"]) == ("By the desk", None)


def test_the_confirmation_of_an_invalid_message_has_every_key() -> None:
    whole = documents.confirmation(record_of(submitted()), documents.STATUS, DONE)
    message = documents.confirmation(invalid(symbol="SPY"), documents.STATUS, DONE)
    assert message.keys() == whole.keys()
    assert (message["status"], message["reason_code"], message["revision"]) == ("REJECTED", "INVALID", 1)
    assert (message["symbol"], message["account_id"], message["quantity"]) == ("SPY", None, None)
    attributes = documents.confirmation_attributes(message)
    assert all(type(value) is str for value in attributes.values())
    assert documents.ordering_key(message) == ""


def test_fractions_and_amounts_are_json_numbers() -> None:
    order = after(submitted(quantity=Decimal("0.5")), fill("e1", "0.25", "235"))
    message = documents.confirmation(record_of(order), documents.FILL, DONE)
    assert (message["filled_quantity"], message["quantity"]) == (0.25, 0.5)
    assert message["avg_fill_price"] == 235.0
    assert type(message["avg_fill_price"]) is float


def test_a_cash_orders_quantity_is_null_until_it_is_final() -> None:
    order = after(submitted(quantity=None, cash_quantity=Decimal(500)), fill("e1", "0.25"))
    part = documents.confirmation(record_of(order), documents.FILL, DONE)
    assert (part["quantity"], part["remaining_quantity"], part["filled_quantity"]) == (None, None, 0.25)
    order = after(order, reported(ReportStatus.FILLED, filled_quantity=Decimal("0.25")))
    whole = documents.confirmation(record_of(order), documents.FILL, DONE)
    assert (whole["status"], whole["quantity"], whole["remaining_quantity"]) == ("FILLED", 0.25, 0)


def test_the_confirmation_document_is_the_specifications() -> None:
    order = after(submitted(stop_loss=Decimal(230)), fill("e1", "100"), at=DONE)
    document = documents.execution_confirmation_document(record_of(order), DONE)
    expected = {
        "_id": f"exec_{order.client_order_id}",
        "order_id": "ord_broker_12345",
        "signal_id": "sig_1732450800_5678",
        "strategy_name": "SPX 1-Day Options",
        "account_id": "acc_abc123",
        "symbol": "SPY",
        "side": "BUY",
        "quantity": 100,
        "filled_quantity": 100,
        "order_type": "MARKET",
        "avg_fill_price": 235.15,
        "status": "FILLED",
        "submitted_at": SENT,
        "filled_at": DONE,
        "broker": "IBKR",
        "commission": 1.00,
        "total_value": 23515.00,
        "notes": "Filled in 2 seconds",
        "leg_index": 0,
        "revision": order.revision,
        "exits": "not placed",
        "updated_at": DONE,
    }
    assert {name: document[name] for name in expected} == expected
    # A consumer that reads typed documents sees a double, whether or not the quantity happens to be whole.
    assert {type(document[name]) for name in ("quantity", "filled_quantity", "remaining_quantity", "multiplier")} == {
        float
    }
    message = documents.confirmation(record_of(order), documents.FILL, DONE)
    assert message.keys() - {"event", "timestamp"} <= document.keys()


def test_the_value_counts_the_multiplier() -> None:
    option = Instrument("SPX", AssetClass.OPTION, expiry="20251219", strike=Decimal(5900))
    order = after(submitted(instrument=option, quantity=Decimal(2)), fill("e1", "2", "10.5"))
    assert documents.execution_confirmation_document(record_of(order), DONE)["total_value"] == 2100.0


def test_the_notes_of_an_order_that_is_not_filled_are_the_reason() -> None:
    rejected = after(new(), Refused(ReasonCode.STALE, "The order is 400 s old"))
    document = documents.execution_confirmation_document(record_of(rejected), DONE)
    assert (document["notes"], document["total_value"], document["submitted_at"]) == (
        "The order is 400 s old",
        None,
        None,
    )
    assert documents.execution_confirmation_document(invalid(), DONE)["notes"] == "side is missing: give BUY or SELL"


def test_a_venue_clock_that_is_behind_ours_gives_no_negative_time() -> None:
    order = after(new(), Dispatched(), reported(ReportStatus.WORKING), at=DONE + timedelta(seconds=5))
    order = after(order, fill("e1", "100"), at=DONE)
    assert documents.execution_confirmation_document(record_of(order), DONE)["notes"] == "Filled in 0 seconds"


def test_a_cash_order_that_ends_early_was_for_what_it_bought() -> None:
    order = after(submitted(quantity=None, cash_quantity=Decimal(500)), fill("e1", "0.25"))
    order = after(order, reported(ReportStatus.CANCELLED))
    message = documents.confirmation(record_of(order), documents.STATUS, DONE)
    assert (message["status"], message["quantity"], message["remaining_quantity"]) == ("CANCELLED", 0.25, 0)


PART = after(submitted(), fill("e1", "50", cost=None))
WHOLE = after(PART, fill("e2", "50", cost=None))
CANCELLED = after(PART, reported(ReportStatus.CANCELLED))
REJECTED = after(new(), Refused(ReasonCode.STALE, "old"))


@pytest.mark.parametrize(
    ("before", "events", "event"),
    [
        (new(), [Dispatched()], None),
        (after(new(), Dispatched()), [AnswerLost("no answer")], None),
        (after(new(), Dispatched()), [reported(ReportStatus.WORKING)], None),
        (submitted(), [fill("e1", "50")], "FILL"),
        (PART, [fill("e2", "50")], "FILL"),
        (PART, [fill("e1", "50", cost=None)], None),
        (PART, [fill("e1", "50")], "COMMISSION"),
        (PART, [reported(ReportStatus.CANCELLED)], "STATUS"),
        (submitted(), [reported(ReportStatus.REJECTED, reason="no")], "STATUS"),
        (submitted(), [reported(ReportStatus.EXPIRED)], "STATUS"),
        (new(), [Refused(ReasonCode.STALE, "old")], "STATUS"),
        (CANCELLED, [fill("e2", "10")], "FILL"),
        (CANCELLED, [fill("e2", "50")], "FILL"),
        (PART, [fill("e1", "40", correction=1)], "CORRECTION"),
        (WHOLE, [fill("e1", "50", "235.20", correction=1)], "CORRECTION"),
        (PART, [fill("e1", "40", correction=1), fill("e2", "10")], "CORRECTION"),
        (
            WHOLE,
            [CommissionReport(ExecutionId("e1"), Commission(Decimal(1), "USD"), broker_order_id="b")],
            "COMMISSION",
        ),
        (submitted(), [CommissionReport(ExecutionId("e1"), Commission(Decimal(1), "USD"), broker_order_id="b")], None),
        (PART, [OrderReport(ReportStatus.WORKING, broker_order_id=BrokerOrderId("another"))], None),
        (PART, [NeedsAttention("look")], None),
        (PART, [CancelAsked(ReasonCode.TIMEOUT, "late")], None),
    ],
)
def test_when_a_confirmation_is_published(before: Order, events: list[Any], event: str | None) -> None:
    assert documents.publishes(before, after(before, *events)) == event


def test_an_order_that_is_refused_as_it_comes_is_published() -> None:
    assert documents.publishes(None, REJECTED) == "STATUS"
    assert documents.publishes(None, new()) is None


@pytest.mark.parametrize(
    ("before", "then", "writes"),
    [
        (None, new(), False),
        (None, REJECTED, True),
        (new(), submitted(), False),
        (submitted(), PART, True),
        (PART, after(PART, NeedsAttention("look")), False),
        (PART, after(PART, OrderReport(ReportStatus.WORKING, broker_order_id=BrokerOrderId("another"))), True),
        # It was published as rejected, and works after all: the document must not go on saying so.
        (REJECTED, after(REJECTED, reported(ReportStatus.WORKING)), True),
        # Busted down to nothing: not a published status, but the document shows it.
        (PART, after(PART, fill("e1", "0", correction=1)), True),
    ],
)
def test_when_the_confirmation_document_is_written(before: Order | None, then: Order, writes: bool) -> None:
    assert documents.writes_confirmation_document(before, then) is writes


@pytest.mark.parametrize(
    ("before", "then", "tells"),
    [
        (None, new(), False),
        (new(), after(new(), Dispatched()), False),
        (after(new(), Dispatched()), submitted(), True),
        (after(new(), Dispatched()), after(new(), Dispatched(), AnswerLost("no answer")), True),
        (submitted(), PART, True),
        (PART, after(PART, fill("e2", "10")), True),
        (PART, CANCELLED, True),
        (None, REJECTED, True),
        (submitted(), after(submitted(), CancelAsked(ReasonCode.TIMEOUT, "late")), False),
        (submitted(), after(submitted(), reported(ReportStatus.HELD)), False),
        (replace(submitted(), broker_order_ids=()), submitted(), True),
    ],
)
def test_when_the_signal_is_told(before: Order | None, then: Order, tells: bool) -> None:
    assert documents.updates_signal(before, then) is tells


def test_a_commission_alone_does_not_concern_the_signal() -> None:
    late = CommissionReport(ExecutionId("e1"), Commission(Decimal(1), "USD"), broker_order_id=BrokerOrderId("b"))
    assert not documents.updates_signal(WHOLE, after(WHOLE, late))


def test_the_view_of_an_order_is_json_with_the_documents_names() -> None:
    order = after(submitted(), fill("e1", "100"), at=DONE)
    view = documents.order_view(journal.order_document(record_of(order)))
    assert json.loads(json.dumps(view)) == view
    assert view["client_order_id"] == order.client_order_id
    assert (view["revision"], view["role"], view["status"]) == (order.revision, "ENTRY", "FILLED")
    assert (view["quantity"], view["avg_fill_price"], view["filled_at"]) == (100, 235.15, "2024-11-24T10:30:12Z")
    assert [entry["status"] for entry in view["history"]] == ["SUBMITTING", "SUBMITTED", "FILLED"]
    assert view["history"][0]["at"] == "2024-11-24T10:30:10Z"
    assert view.keys().isdisjoint({"_id", "request", "state", "source", "schema_version"})


def test_the_view_of_an_invalid_message_has_the_same_fields() -> None:
    view = documents.order_view(journal.invalid_document(invalid(), DONE))
    assert json.loads(json.dumps(view)) == view
    assert view.keys() == documents.order_view(journal.order_document(record_of(new()))).keys()


def test_every_published_status_ends_or_fills_an_order() -> None:
    assert {status for status in OrderStatus if status.is_final} | {OrderStatus.PARTIALLY_FILLED} == documents.PUBLISHED
