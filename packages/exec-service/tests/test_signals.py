"""`signal_store`: our fields only, never an older revision over a newer, and the least advanced leg on top."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from exec_core.identifiers import OrderKey, SignalId
from exec_service import signals
from exec_service.records import Invalid, Source
from exec_service.signals import merge_signal, signal_ids, signal_update

NOW = datetime(2026, 1, 3, 12, 0, tzinfo=UTC)


def update(revision: int, status: str, leg: int = 0, legs: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "signal_id": "sig_1",
        "client_order_id": f"ORDER{leg}",
        "leg_index": leg,
        "total_legs": legs,
        "revision": revision,
        "updated_at": NOW,
        "order_id": f"b{leg}",
        "execution_status": status,
        "filled_quantity": 0,
        "avg_fill_price": None,
        "filled_at": None,
        "reason_code": None,
        "reason": None,
        **changes,
    }


def stored(*updates: dict[str, Any], onto: dict[str, Any] | None = None) -> dict[str, Any]:
    """The document after these deliveries, in this order."""
    document = onto
    for each in updates:
        fields = merge_signal(document, each)
        if fields is not None:
            document = {**(document or {}), **fields}
    assert document is not None
    return document


def test_a_signal_that_is_not_there_is_made() -> None:
    fields = merge_signal(None, update(3, "SUBMITTED"))
    assert fields is not None
    assert (fields["signal_id"], fields["order_id"], fields["execution_status"]) == ("sig_1", "b0", "SUBMITTED")
    assert fields["updated_at"] == NOW


def test_fields_of_others_are_not_written() -> None:
    fields = merge_signal({"signal_id": "sig_1", "status": "APPROVED", "cerebro": {"a": 1}}, update(3, "FILLED"))
    assert fields is not None
    assert fields.keys().isdisjoint({"signal_id", "status", "cerebro", "_id", "legs"})


def test_a_repetition_or_an_older_revision_changes_nothing() -> None:
    document = stored(update(5, "FILLED"))
    assert merge_signal(document, update(5, "FILLED")) is None
    assert merge_signal(document, update(4, "SUBMITTED")) is None
    assert merge_signal(document, update(6, "FILLED", filled_quantity=1)) is not None


def test_revisions_of_different_orders_are_not_compared() -> None:
    document = stored(update(9, "FILLED"))
    other = {**update(2, "REJECTED"), "client_order_id": "ANOTHER"}
    assert merge_signal(document, other) is not None


def test_with_several_legs_the_top_is_the_least_advanced() -> None:
    document = stored(update(5, "FILLED", leg=1, legs=2, filled_quantity=3))
    assert (document["execution_status"], document["order_id"], document["filled_quantity"]) == ("PENDING", None, None)
    document = stored(update(3, "SUBMITTED", leg=0, legs=2), onto=document)
    assert (document["execution_status"], document["order_id"]) == ("SUBMITTED", "b0")
    document = stored(update(6, "FILLED", leg=0, legs=2, filled_quantity=2), onto=document)
    assert document["execution_status"] == "FILLED"
    assert [(leg["leg_index"], leg["order_id"], leg["filled_quantity"]) for leg in document["legs"]] == [
        (0, "b0", 2),
        (1, "b1", 3),
    ]


def test_a_leg_that_nothing_was_heard_of_keeps_the_signal_from_being_filled() -> None:
    document = stored(update(5, "FILLED", leg=0, legs=2))
    assert (document["execution_status"], document["order_id"]) == ("PENDING", None)


@pytest.mark.parametrize(
    ("first", "second", "top"),
    [
        ("FILLED", "REJECTED", "REJECTED"),
        ("FILLED", "CANCELLED", "CANCELLED"),
        ("REJECTED", "SUBMITTED", "SUBMITTED"),
        ("UNKNOWN", "SUBMITTED", "UNKNOWN"),
        ("PARTIALLY_FILLED", "EXPIRED", "PARTIALLY_FILLED"),
    ],
)
def test_which_leg_is_the_least_advanced(first: str, second: str, top: str) -> None:
    document = stored(update(5, first, leg=0, legs=2), update(5, second, leg=1, legs=2))
    assert document["execution_status"] == top


def test_any_order_of_delivery_gives_the_same_signal() -> None:
    updates = [
        update(3, "SUBMITTED", leg=0, legs=2),
        update(4, "FILLED", leg=0, legs=2),
        update(3, "UNKNOWN", leg=1, legs=2),
        update(5, "PARTIALLY_FILLED", leg=1, legs=2),
    ]
    results = [stored(*order, *order[:2]) for order in itertools.permutations(updates)]
    assert all(result == results[0] for result in results)


def test_an_older_revision_of_one_leg_does_not_stop_the_other() -> None:
    document = stored(update(9, "FILLED", leg=0, legs=2))
    assert merge_signal(document, update(2, "SUBMITTED", leg=1, legs=2)) is not None
    assert merge_signal(document, update(8, "SUBMITTED", leg=0, legs=2)) is None


def test_a_leg_of_another_far_beyond_ours_is_one_leg_and_not_a_million(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    advance = signals._advance
    monkeypatch.setattr(signals, "_advance", lambda leg: asked.append(1) or advance(leg))
    theirs = {"leg_index": 20_260_918, "execution_status": "FILLED"}
    document = stored(update(3, "SUBMITTED", leg=0, legs=2), onto={"signal_id": "sig_1", "legs": [theirs]})
    assert len(asked) == 3
    assert document["legs"][-1] == theirs


def test_what_others_keep_about_a_leg_stays() -> None:
    document = stored(
        update(3, "SUBMITTED", leg=1, legs=2), onto={"signal_id": "sig_1", "legs": [{"strike": 1}, {"strike": 2}]}
    )
    assert [leg["strike"] for leg in document["legs"]] == [1, 2]
    assert document["legs"][1]["execution_status"] == "SUBMITTED"


def test_an_invalid_message_is_told_as_rejected() -> None:
    source = Source("digest", NOW, mathematricks_signal_id="65a1b2c3d4e5f60718293a4b")
    invalid = Invalid(OrderKey(SignalId("sig_1"), 1), "side is missing", source, 1)
    told = signal_update(invalid, NOW)
    assert (told["execution_status"], told["reason_code"], told["reason"]) == ("REJECTED", "INVALID", "side is missing")
    assert (told["leg_index"], told["total_legs"], told["order_id"]) == (1, 2, None)
    assert type(told["filled_quantity"]) is float
    assert signal_ids(invalid) == ["65a1b2c3d4e5f60718293a4b"]
    assert merge_signal(None, told) is not None
