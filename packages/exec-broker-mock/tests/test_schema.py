"""Opening a file as a book."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from exec_broker_mock.book import Book
from exec_core import BrokerFactory, ConfigurationError


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
