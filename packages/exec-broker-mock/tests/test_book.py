"""What a book keeps in mind of itself is never anything else than what is in it."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from exec_broker_mock.book import Book
from exec_broker_mock.desk import Desk
from exec_broker_mock.faults import FaultKind, Faults
from exec_broker_mock.settings import MockBrokerSettings
from exec_broker_mock.venue import Link, Venue
from exec_core import OrderType


@pytest.fixture(params=["memory", "file"])
def book(request, tmp_path, clock):
    book = Book.in_memory(clock) if request.param == "memory" else Book.in_file(tmp_path / "book.db", clock)
    yield book
    book.close()


def place(book: Book, order, **settings) -> str:
    answer = Venue(book).place(order, MockBrokerSettings(**settings), Link(order.request.account_id, 0))
    return answer.broker_order_id


def check(book: Book) -> None:
    """What is read by number, perhaps from memory, beside what the tables say."""
    with book.transaction(write=False):
        orders, fills = book.all_orders(), book.all_fills()
        assert [book.order(order.number) for order in orders] == orders
        assert [book.fill(fill.number) for fill in fills] == fills
        assert book.last_order_number() == max((order.number for order in orders), default=0)
        assert book.next_fill_number() == max((fill.number for fill in fills), default=0) + 1


def test_it_agrees_with_the_tables_whatever_is_done(book, new_order, clock):
    desk = Desk(Venue(book))
    limit = {"order_type": OrderType.LIMIT, "limit_price": Decimal(200), "reference_price": Decimal(235)}
    check(book)
    filled = place(book, new_order("a"), partial_fills=3)
    check(book)
    resting = place(book, new_order("b", **limit))
    check(book)
    desk.modify(resting, quantity=Decimal(60), limit_price=Decimal(210))
    check(book)
    desk.fill(resting, Decimal(10), Decimal(205))
    check(book)
    desk.correct(filled, price=Decimal("234.5"))
    check(book)
    place(book, new_order("c"), fill_delay_seconds=5)
    check(book)
    clock.pass_by(10)
    Venue(book).advance()
    check(book)
    desk.bust(filled)
    check(book)


def test_what_was_rolled_back_is_forgotten(book, new_order):
    place(book, new_order("a"))
    with suppress(RuntimeError), book.transaction():
        order = book.order(1)
        book.add_order(order._replace(number=2, client_order_id="x"))
        book.change_order(order._replace(reason="not so"))
        book.schedule("FILL", 1, 0)
        book.set_quote("SPY", Decimal(7), 0)
        raise RuntimeError
    with book.transaction(write=False):
        assert (book.order(2), book.order(1).reason, book.next_due(), book.quote("SPY")) == (None, None, None, None)
    check(book)


def test_what_becomes_due_is_seen_although_nothing_was_before(book, new_order, clock):
    with book.transaction():
        assert (book.next_due(), book.take_due(2**60)) == (None, None)
        book.schedule("FILL", 1, 5)
        assert book.next_due() == 5
        assert book.is_scheduled("FILL", 1)
        book.unschedule("FILL", 1)
        assert book.next_due() is None
        book.schedule("CANCEL", 1, 6)
        book.unschedule_end(1)
        assert book.next_due() is None
        book.schedule("CANCEL", 1, 6)
        assert book.take_due(6).kind == "CANCEL"
        assert book.next_due() is None


def test_a_fault_and_a_price_count_at_once_although_there_were_none_before(book, new_order):
    assert place(book, new_order("a")) is not None
    Faults(book).script(FaultKind.LOSE_ORDER)
    assert place(book, new_order("b")) is None
    Venue(book).set_price("SPY", Decimal(50))
    place(book, new_order("c", reference_price=None))
    with book.transaction(write=False):
        assert book.all_fills()[-1].price == 50


def test_old_orders_are_found_when_there_are_many_newer_ones(book, new_order, monkeypatch):
    monkeypatch.setattr("exec_broker_mock.book._KEPT", 3)
    for number in range(10):
        place(book, new_order(f"sig-{number}"))
    check(book)


def test_another_connection_s_writes_are_seen(tmp_path, new_order, clock):
    one, other = (Book.in_file(tmp_path / "book.db", clock) for _ in range(2))
    place(one, new_order("a"))
    check(other)
    place(other, new_order("b"))
    Desk(Venue(other)).correct("mock-1", price=Decimal("1.5"))
    Faults(other).script(FaultKind.LOSE_ORDER)
    assert place(one, new_order("c")) is None
    check(one)
    one.close()
    other.close()
