"""What is written of a document that is known: as much as makes it the new one, and no more."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from exec_core.identifiers import BrokerOrderId
from exec_core.orders import OrderStatus
from exec_core.positions import Position
from exec_service import journal
from exec_service.records import OrderRecord
from exec_service.stores import Write
from exec_service.stores.codec import pack, to_text, unpack
from exec_service.stores.sqlite_merging import pending
from exec_service.units import HeldPosition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_samples import names, orders, position_of, positions, record_of, records

BUSY = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def stored(document: dict[str, Any]) -> dict[str, Any]:
    return unpack(to_text(pack({name: value for name, value in document.items() if name != "_id"})))


def changed(document: dict[str, Any], write: Write) -> dict[str, Any]:
    """The document after the write, as a store makes it."""
    before = pack({name: value for name, value in document.items() if name != "_id"})
    return unpack(to_text(pending(write).over(before)))


@BUSY
@given(records, orders())
def test_a_known_order_becomes_the_new_one(before: OrderRecord, other: Any) -> None:
    order = replace(
        other,
        client_order_id=before.id,
        request=before.order.request,
        revision=before.order.revision + 1,
        history=(*before.order.history, *other.history),
    )
    after = replace(before, order=order)

    write = journal.order_write(before, after)

    assert write.expected_revision == before.order.revision
    assert changed(journal.order_document(before), write) == stored(journal.order_document(after))


def test_only_what_has_changed_is_written() -> None:
    before = record_of()
    order = replace(before.order, status=OrderStatus.SUBMITTING, attempts=1, revision=before.order.revision + 1)

    write = journal.order_write(before, replace(before, order=order))

    assert set(write.document) == {"status", "revision"}
    assert write.inside == {"state": {"attempts": 1}}
    assert write.appended is None


def test_an_order_that_nobody_knows_is_written_whole() -> None:
    write = journal.order_write(None, record_of())

    assert (write.expected_revision, write.document) == (0, journal.order_document(record_of()))


def test_what_another_message_says_is_written_whole() -> None:
    before = record_of()
    after = replace(before, source=replace(before.source, message_id="another"))

    assert journal.order_write(before, after).document == journal.order_document(after)


@BUSY
@given(positions(), positions(), st.integers(1, 9), st.lists(names, max_size=250), st.integers(0, 3))
def test_a_known_position_becomes_the_new_one(
    known: Position, other: Position, revision: int, ids: list[str], added: int
) -> None:
    before = HeldPosition(known, revision, tuple(ids)[-200:], len(ids))
    kept = {"id": known.id, "key": known.key, "instrument": known.instrument, "opened_at": known.opened_at}
    newer = tuple(f"new {number}" for number in range(added))
    after = HeldPosition(replace(other, **kept), revision, (*before.order_ids, *newer)[-200:], len(ids) + added)
    document = {**journal.position_document(before), "status": "CLOSING", "theirs": Decimal(1)}

    found = changed(document, journal.position_write(before, after))

    expected = {"theirs": Decimal(1), "status": "CLOSING", **journal.position_document(after)}
    assert found == stored(expected)


def test_a_position_that_is_not_known_as_it_stands_is_written_whole() -> None:
    held = HeldPosition(position_of(), 3, ("a",), 1)

    for before in (None, replace(held, revision=2)):
        write = journal.position_write(before, held)
        assert (write.expected_revision, write.document) == (3, journal.position_document(held))


def test_a_position_names_each_order_once_however_often_it_is_written() -> None:
    held = HeldPosition(position_of(), 1, ("a",), 1)
    more = replace(held, order_ids=("a", "b"), order_count=2)

    write = journal.position_write(held, more)

    assert write.appended is not None
    assert list(write.appended["order_ids"].values) == [BrokerOrderId("b")]
