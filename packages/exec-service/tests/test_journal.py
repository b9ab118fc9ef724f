"""The journal: whatever the domain can hold comes back from its documents as it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields as fields_of_dataclass
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ClientOrderId, ExecutionId, OrderKey, SignalId
from exec_core.instruments import AssetClass, Instrument
from exec_core.modifications import ToldTerm
from exec_core.orders import (
    Leg,
    Order,
    OrderStatus,
)
from exec_core.positions import Position, PositionKey, PositionSide, Share
from exec_core.reports import CommissionReport, FillReport
from exec_core.sides import Side
from exec_service import journal, unmatched
from exec_service.records import Invalid, OrderRecord, Source
from exec_service.units import HeldPosition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_samples import (
    NOW,
    commissions,
    details,
    execution_ids,
    fill_of,
    fills,
    maybe,
    names,
    position_of,
    positions,
    positive,
    record_of,
    records,
    request_of,
)

ALLOWED = (str, int, bool, type(None), Decimal, float, datetime, list, dict)


def assert_storable(value: object) -> None:
    """What the store's contract allows: exactly these types, times aware and UTC."""
    assert type(value) in ALLOWED, f"{type(value).__name__}: {value!r}"
    if isinstance(value, datetime):
        assert value.utcoffset() == timedelta(0)
    inner: Iterable[object] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        assert_storable(item)


def fill_documents(order: Order) -> list[dict[str, Any]]:
    return [
        journal.fill_document(order, fill, broker="mock", shares=(), received_at=NOW) for fill in order.fills.values()
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(records)
def test_an_order_comes_back_from_its_documents(record: OrderRecord) -> None:
    document = journal.order_document(record)
    assert_storable(document)
    assert journal.order_record(document, fill_documents(record.order)) == record


def test_no_field_of_an_order_is_forgotten() -> None:
    """A field that is added to the order one day must be added to its document, and to the strategy above."""
    document = journal.order_document(record_of())
    kept = {*document, *document["state"], "fills"}
    assert {field.name for field in fields_of_dataclass(Order)} <= kept


@given(fills, st.lists(st.builds(Share, names, positive), max_size=2))
def test_an_execution_comes_back_from_its_document(fill: Fill, shares: list[Share]) -> None:
    order = record_of().order
    document = journal.fill_document(order, fill, broker="ibkr", shares=shares, received_at=NOW)
    assert_storable(document)
    assert journal.fill_from_document(document) == fill
    assert journal.fill_shares([document]) == {fill.execution_id: tuple(shares)}


@given(positions(), st.integers(0, 99), st.lists(names, max_size=3), st.integers(0, 99))
def test_a_position_comes_back_from_its_document(
    position: Position, revision: int, order_ids: list[str], order_count: int
) -> None:
    held = HeldPosition(position, revision, tuple(order_ids), order_count)
    document = journal.position_document(held)
    assert_storable(document)
    assert document["revision"] == revision + 1
    assert journal.held_position(document) == replace(held, revision=revision + 1)


@given(st.builds(FillReport, fills, maybe(names), names, maybe(details)))
def test_an_unmatched_execution_comes_back(report: FillReport) -> None:
    document = unmatched.unmatched_document("acc_1", "ibkr", report, NOW)
    assert_storable(document)
    assert unmatched.unmatched_report(document) == report


@given(st.builds(CommissionReport, execution_ids, commissions, maybe(names), names))
def test_an_unmatched_commission_comes_back(report: CommissionReport) -> None:
    document = unmatched.unmatched_document("acc_1", "ibkr", report, NOW)
    assert_storable(document)
    assert unmatched.unmatched_report(document) == report


def test_an_order_document_can_be_found_and_read() -> None:
    fill = fill_of(commission=Commission(Decimal("0.5"), "USD"))
    record = record_of(
        status=OrderStatus.PARTIALLY_FILLED,
        revision=4,
        broker_order_ids=("b1", "b2"),
        fills=MappingProxyType({fill.execution_id: fill}),
        sent_at=NOW,
    )
    document = journal.order_document(record)
    expected = {
        "_id": record.order.client_order_id,
        "revision": 4,
        "signal_id": "sig_1",
        "leg_index": 0,
        "account_id": "acc_1",
        "symbol": "SPY",
        "side": "BUY",
        "quantity": Decimal(100),
        "filled_quantity": Decimal(50),
        "remaining_quantity": Decimal(50),
        "avg_fill_price": Decimal("235.20"),
        "commission": Decimal("0.5"),
        "commission_currency": "USD",
        "commission_estimated": False,
        "status": "PARTIALLY_FILLED",
        "reason_code": None,
        "order_id": "b1",
        "broker_order_ids": ["b1", "b2"],
        "broker": "MOCK",
        "role": "ENTRY",
        "submitted_at": NOW,
        "filled_at": NOW,
        "sequence": 7,
        "content": "digest",
        "exits": None,
        "attention": None,
    }
    assert {name: document[name] for name in expected} == expected
    assert "fills" not in document


def test_what_is_not_known_is_null_and_never_zero() -> None:
    document = journal.order_document(record_of())
    for name in (
        "avg_fill_price",
        "commission",
        "commission_currency",
        "commission_estimated",
        "filled_at",
        "order_id",
    ):
        assert document[name] is None
    assert document["filled_quantity"] == 0


def test_a_correction_is_a_document_of_its_own_and_names_what_it_replaces() -> None:
    first, second = fill_of(), fill_of(quantity=Decimal(40), correction=1)
    order = record_of().order
    old = journal.fill_document(order, first, broker="ibkr", shares=(), received_at=NOW)
    share = Share("pos_1", Decimal(40))
    new = journal.fill_document(order, second, broker="ibkr", shares=[share], received_at=NOW, replaces=first)
    assert (old["_id"], old["replaces"]) == ("ibkr|acc_1|e1", None)
    assert (new["_id"], new["replaces"]) == ("ibkr|acc_1|e1#c1", "ibkr|acc_1|e1")
    for documents in ([old, new], [new, old]):
        restored = journal.order_record(journal.order_document(record_of()), documents)
        assert restored is not None
        assert dict(restored.order.fills) == {first.execution_id: second}
        assert journal.fill_shares(documents) == {first.execution_id: (share,)}


def test_the_execution_of_a_leg_tells_the_legs_instrument_and_multiplier() -> None:
    leg = Leg(Instrument("SPX", AssetClass.OPTION, strike=Decimal(5900)), Side.SELL, Decimal(1))
    order = Order.new(request_of(instrument=Instrument("SPX combo"), legs=(leg,)))
    document = journal.fill_document(order, fill_of(leg=0), broker="ibkr", shares=(), received_at=NOW)
    assert (document["symbol"], document["instrument_type"], document["multiplier"]) == ("SPX", "OPTION", Decimal(100))


def test_an_invalid_message_has_a_document_and_is_no_order() -> None:
    invalid = Invalid(OrderKey(SignalId("sig_1"), 1), "side is missing", Source("digest", NOW), 3, {"symbol": "SPY"})
    document = journal.invalid_document(invalid, NOW)
    assert_storable(document)
    assert document.keys() == journal.order_document(record_of()).keys()
    assert (document["status"], document["reason_code"], document["revision"]) == ("REJECTED", "INVALID", 1)
    assert (document["symbol"], document["side"], document["quantity"]) == ("SPY", None, None)
    assert document["history"][0]["text"] == "side is missing"
    assert document["_id"] == OrderKey(SignalId("sig_1"), 1).client_order_id()
    assert journal.order_record(document, ()) is None


def test_a_document_of_a_release_that_knew_no_modifications_is_read() -> None:
    document = journal.order_document(record_of())
    del document["state"]["told_terms"], document["modified"]
    assert journal.order_record(document, ()) == record_of()


def test_what_was_modified_at_the_broker_can_be_found_and_read() -> None:
    told = ToldTerm("quantity", Decimal(60), BrokerOrderId("b1"), NOW)
    document = journal.order_document(record_of(told_terms=(told,), quantity=Decimal(60)))
    assert document["modified"] == {"quantity": Decimal(60), "limit_price": None, "stop_price": None, "at": NOW}
    assert (document["quantity"], document["request"]["quantity"]) == (60, 100)


def test_a_document_of_a_newer_release_is_not_guessed_at() -> None:
    document = {**journal.order_document(record_of()), "schema_version": journal.SCHEMA_VERSION + 1}
    with pytest.raises(journal.SchemaTooNew, match="newer release"):
        journal.order_record(document, ())


def test_a_position_is_the_specifications() -> None:
    document = journal.position_document(HeldPosition(position_of(), 0, ("ord_1",), 1))
    expected = {
        "_id": "pos_1",
        "strategy_name": "SPX 1-Day Options",
        "account_id": "acc_1",
        "symbol": "SPY",
        "side": "LONG",
        "quantity": 100,
        "avg_entry_price": 235.15,
        "opened_at": NOW,
        "closed_at": None,
        "status": "OPEN",
        "order_ids": ["ord_1"],
        "order_count": 1,
    }
    assert {name: document[name] for name in expected} == expected
    assert type(document["quantity"]) is float
    assert type(document["avg_entry_price"]) is float


def test_a_short_position_has_a_positive_quantity_and_comes_back_signed() -> None:
    document = journal.position_document(HeldPosition(position_of("-2.5", side=PositionSide.SHORT), 3))
    assert (document["side"], document["quantity"]) == ("SHORT", 2.5)
    assert journal.held_position(document).position.quantity == Decimal("-2.5")


def test_the_status_is_written_only_where_a_position_opens_or_closes() -> None:
    assert journal.position_document(HeldPosition(position_of(), 0))["status"] == "OPEN"
    assert "status" not in journal.position_document(HeldPosition(position_of(), 1))
    assert journal.position_document(HeldPosition(position_of("0", closed_at=NOW), 5))["status"] == "CLOSED"
    assert journal.position_document(HeldPosition(position_of("0", closed_at=NOW), 0))["status"] == "CLOSED"


def test_position_keys_are_equal_only_for_one_position() -> None:
    key = PositionKey("a", AccountId("bc"), "k", None)
    others = [replace(key, strategy_name="ab", account_id=AccountId("c")), replace(key, product="MIS")]
    assert journal.position_key(key) == journal.position_key(replace(key))
    assert len({journal.position_key(each) for each in (key, *others)}) == 3


def test_the_repetition_of_an_unmatched_report_has_the_same_name() -> None:
    fill = FillReport(fill_of(), broker_order_id=BrokerOrderId("b1"))
    first, again = (
        CommissionReport(ExecutionId("e1"), Commission(Decimal(amount), "USD"), broker_order_id=BrokerOrderId("b1"))
        for amount in ("1.0", "1.00")
    )
    other = replace(first, commission=Commission(Decimal(2), "USD"))
    ids = [unmatched.unmatched_document("acc_1", "ibkr", each, NOW)["_id"] for each in (fill, first, again, other)]
    assert ids[1] == ids[2]
    assert len(set(ids)) == 3


def test_a_venues_local_time_becomes_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    fill = fill_of(time=local)
    record = record_of(sent_at=local, fills=MappingProxyType({fill.execution_id: fill}))
    document = journal.order_document(record)
    assert_storable(document)
    assert_storable(fill_documents(record.order)[0])
    assert journal.order_record(document, fill_documents(record.order)) == record


def test_a_client_order_id_names_the_document() -> None:
    record = record_of(client_order_id=ClientOrderId("X" * 20))
    assert journal.order_document(record)["_id"] == "X" * 20
