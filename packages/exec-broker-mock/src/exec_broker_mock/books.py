"""Which book an account has: the one in its file, or one in memory that lives as long as the process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from exec_core.clock import Clock, utc_now

from exec_broker_mock.book import Book

_memory: Final[dict[str, Book]] = {}
_lock: Final = threading.Lock()


def open_book(account_id: str, path: Path | None, clock: Clock | None = None) -> Book:
    """The account's book: a connection of its own to the file, or the one shared book in memory.

    `clock` counts for a file, and for a book in memory that is not there yet.

    :raises ConfigurationError: the file is something else, or cannot be opened.
    """
    return memory_book(account_id, clock) if path is None else Book.in_file(path, clock or utc_now)


def memory_book(account_id: str, clock: Clock | None = None) -> Book:
    """The book in memory of the account, shared by all its sessions in this process."""
    with _lock:
        book = _memory.get(account_id)
        if book is None:
            book = _memory[account_id] = Book.in_memory(clock or utc_now)
        return book


def close_book(book: Book) -> None:
    """Give a book back: a file is closed, a book in memory stays for the next session."""
    if book.path is not None:
        book.close()


def forget_books(*account_ids: str) -> None:
    """Drop these accounts' books in memory, or all of them. For tests."""
    with _lock:
        for account_id in account_ids or tuple(_memory):
            book = _memory.pop(account_id, None)
            if book is not None:
                book.close()
