"""Opening a file as a book."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from exec_broker_mock import reporting, schema
from exec_broker_mock.book import Book
from exec_core import BrokerFactory, ConfigurationError, Instrument, OrderTerms, Side


def foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()


def later_format(path: Path) -> None:
    Book.in_file(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path.write_text("my shopping list, quite long\n" * 50), "is not a book of the mock broker"),
        (foreign_database, "it is another SQLite database"),
        (later_format, "in format 99"),
        (lambda path: path.mkdir(), "cannot be opened"),
    ],
)
async def test_a_file_that_is_no_book_of_ours_is_refused_in_a_sentence_and_left_alone(tmp_path, make, sentence):
    path = tmp_path / "file"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    broker = BrokerFactory.create_broker({"broker": "mock", "account_id": "a", "settings": {"state_file": path}})
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        await broker.__aenter__()
    assert str(path) in str(caught.value)
    assert before is None or path.read_bytes() == before


def test_what_was_not_committed_is_not_there(tmp_path):
    book = Book.in_file(tmp_path / "book.db")

    def fail_halfway() -> None:
        with book.transaction():
            book.schedule("FILL", 1, 1)
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    with book.transaction():
        assert book.next_due() is None
    book.close()


def format_1(path: Path) -> None:
    """What the release before modifications has left: one order, and that it was told."""
    Book.in_file(path).close()
    connection = sqlite3.connect(path)
    for table, column in (
        ("orders", "product"),
        ("events", "quantity"),
        ("events", "limit_price"),
        ("events", "stop_price"),
    ):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    values = {
        **{"number": 1, "account_id": "acc_1", "client_order_id": "C1", "signal_id": "sig", "leg_index": 0},
        **{"strategy_name": "s", "symbol": "SPY", "instrument": '{"symbol": "SPY"}', "side": "BUY"},
        **{"order_type": "MARKET", "time_in_force": "DAY", "quantity": "100", "arrival_price": "10"},
        **{"currency": "USD", "slices": 1, "fill_delay": 0, "commission": "1", "accepted_at": 1, "updated_at": 1},
        **{"status": "WORKING", "filled_quantity": "0", "spent": "0", "fill_count": 0},
    }
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO orders ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
    connection.execute(
        "INSERT INTO events (account_id, order_number, at, status, filled_quantity) VALUES"
        " ('acc_1', 1, 1, 'WORKING', '0')"
    )
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()


def test_a_book_of_the_earlier_format_is_brought_up_with_what_is_in_it(tmp_path):
    path = tmp_path / "book.db"
    format_1(path)
    for _ in range(2):
        book = Book.in_file(path)
        (report,) = reporting.news(book, "acc_1", 0).reports
        assert report.terms == OrderTerms(Decimal(100), None, None, Side.BUY, Instrument("SPY"))
        book.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION
    connection.close()


def test_a_book_that_was_brought_up_has_the_columns_of_a_new_one(tmp_path):
    columns = {}
    for name, make in (("new", lambda path: Book.in_file(path).close()), ("old", format_1)):
        path = tmp_path / name
        make(path)
        Book.in_file(path).close()
        connection = sqlite3.connect(path)
        columns[name] = [
            [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in ("orders", "events")
        ]
        connection.close()
    assert columns["old"] == columns["new"]
