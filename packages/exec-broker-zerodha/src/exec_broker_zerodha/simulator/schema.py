"""The file of a book: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Final

from exec_broker_zerodha.simulator.rows import OrderRow, TradeRow, sql_type

#: Says in the file's header that it is such a book ("KITE"), and which version of one.
_APPLICATION_ID: Final = 0x4B495445
_VERSION: Final = 1


class NotABook(Exception):
    """The file is something else, or cannot be opened; the message is a sentence."""


def _table(name: str, kind: type) -> str:
    columns = ", ".join(f"{field.name} {sql_type(field.name, field.type)}" for field in fields(kind))
    return f"CREATE TABLE {name} ({columns}) STRICT"


_SCHEMA: Final = (
    _table("orders", OrderRow),
    # Not unique: a new order has an id only once it has a number.
    "CREATE INDEX orders_by_id ON orders (order_id)",
    "CREATE INDEX orders_by_tag ON orders (tag)",
    "CREATE INDEX orders_by_day ON orders (day, number)",
    "CREATE INDEX orders_by_status ON orders (status)",
    _table("trades", TradeRow),
    "CREATE INDEX trades_by_order ON trades (order_number)",
    "CREATE TABLE history (order_number INTEGER NOT NULL, shown TEXT NOT NULL) STRICT",
    "CREATE INDEX history_by_order ON history (order_number)",
    "CREATE TABLE prices (symbol TEXT PRIMARY KEY, price TEXT NOT NULL) STRICT",
    "CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
    "INSERT INTO state VALUES ('day', 1), ('seconds_ahead', 0), ('day_began_at', 0)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_VERSION}",
)


def open_book(path: Path | None, *, is_read_only: bool = False) -> sqlite3.Connection:
    """A connection to the book in this file, which is made if there is none; in memory without a file.

    What is committed survives the end of the process, however it ends.

    :raises NotABook: the file is something else, or cannot be opened.
    """
    try:
        connection = _connected(path, is_read_only)
        try:
            _prepare(connection, path, is_read_only)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise NotABook(f"{path} cannot be opened as a book: {error}") from error
    return connection


def _connected(path: Path | None, is_read_only: bool) -> sqlite3.Connection:
    if path is None:
        return sqlite3.connect(":memory:", isolation_level=None)
    if is_read_only:
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
    return sqlite3.connect(path, isolation_level=None, timeout=30)


def _prepare(connection: sqlite3.Connection, path: Path | None, is_read_only: bool) -> None:
    if not is_read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != _APPLICATION_ID and (tables or is_read_only):
        raise NotABook(f"{path} is no book of the Kite simulator")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if tables and version != _VERSION:
        raise NotABook(f"{path} is a book of version {version}, and this is version {_VERSION}")
    if not tables:
        for statement in _SCHEMA:
            connection.execute(statement)
    if not is_read_only:
        connection.execute("COMMIT")
