"""The book's tables, and opening a SQLite file as a book: ours, new, or refused."""

from __future__ import annotations

import base64
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Final

from exec_core.clock import Clock
from exec_core.errors import ConfigurationError

from exec_broker_mock.rows import FILL_COLUMNS, ORDER_COLUMNS, micros

APPLICATION_ID: Final = 0x6D6F636B  # "mock"
VERSION: Final = 2
BUSY_SECONDS: Final = 5.0

_ORDER_TYPES: Final = {
    "number": "INTEGER PRIMARY KEY",
    **dict.fromkeys(("leg_index", "slices", "fill_delay", "accepted_at", "updated_at", "fill_count"), "INTEGER"),
    "hidden_until": "INTEGER",
}
_FILL_TYPES: Final = {
    "number": "INTEGER PRIMARY KEY",
    **dict.fromkeys(("execution", "correction", "order_number", "commission_at", "time"), "INTEGER"),
}

# Numbers never come back, since nothing but the agenda is ever deleted from.
TABLES: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE orders (" + ", ".join(f"{name} {_ORDER_TYPES.get(name, 'TEXT')}" for name in ORDER_COLUMNS) + ")",
    "CREATE INDEX orders_by_client_id ON orders (account_id, client_order_id)",
    "CREATE INDEX orders_by_time ON orders (account_id, updated_at)",
    "CREATE INDEX orders_open ON orders (symbol) WHERE status IN ('HELD', 'WORKING')",
    "CREATE TABLE fills (" + ", ".join(f"{name} {_FILL_TYPES.get(name, 'TEXT')}" for name in FILL_COLUMNS) + ")",
    "CREATE INDEX fills_by_order ON fills (order_number)",
    "CREATE INDEX fills_by_account ON fills (account_id)",
    "CREATE UNIQUE INDEX fills_versions ON fills (execution, correction)",
    # What is still to come; whoever opens the book makes happen what has become due meanwhile.
    "CREATE TABLE agenda (number INTEGER PRIMARY KEY, at INTEGER, rank INTEGER, order_number INTEGER, kind TEXT,"
    " fill_number INTEGER)",
    "CREATE INDEX agenda_by_time ON agenda (at, rank, number)",
    "CREATE INDEX agenda_by_order ON agenda (order_number, kind)",
    # What was told, in the order in which it happened: only ever appended to.
    "CREATE TABLE events (sequence INTEGER PRIMARY KEY, account_id TEXT, order_number INTEGER,"
    " at INTEGER, status TEXT, filled_quantity TEXT, reason TEXT, fill_number INTEGER, is_commission INTEGER,"
    " quantity TEXT, limit_price TEXT, stop_price TEXT)",
    "CREATE INDEX events_by_account ON events (account_id, sequence)",
    "CREATE TABLE quotes (symbol TEXT PRIMARY KEY, price TEXT, at INTEGER, after_order INTEGER) WITHOUT ROWID",
    "CREATE TABLE faults (number INTEGER PRIMARY KEY, kind TEXT, account_id TEXT, symbol TEXT,"
    " client_order_id TEXT, signal_id TEXT, remaining INTEGER, seconds REAL, reason TEXT, since INTEGER,"
    " until INTEGER)",
    "CREATE INDEX faults_armed ON faults (kind) WHERE remaining > 0",
    "CREATE INDEX faults_of_the_line ON faults (until) WHERE until IS NOT NULL",
)

#: What makes a book of each earlier format one of the next.
UPGRADES: Final = {
    1: (
        "ALTER TABLE orders ADD COLUMN product TEXT",
        "ALTER TABLE events ADD COLUMN quantity TEXT",
        "ALTER TABLE events ADD COLUMN limit_price TEXT",
        "ALTER TABLE events ADD COLUMN stop_price TEXT",
    ),
}


def open_memory(clock: Clock) -> sqlite3.Connection:
    """A new book in memory."""
    connection = _connect(":memory:")
    _create(connection, clock)
    return connection


def open_file(path: Path, clock: Clock) -> sqlite3.Connection:
    """The book in the file, made (with its parent directories) where there is none; an earlier format is brought up.

    :raises ConfigurationError: it is no book of ours, or cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(str(path))
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"the mock broker's state file {path} cannot be opened: {error}") from error
    try:
        _check(connection, path)
        _enter_wal(connection)
        _create(connection, clock)
        _check(connection, path)
    except ConfigurationError:
        connection.close()
        raise
    except sqlite3.OperationalError as error:
        connection.close()
        raise ConfigurationError(f"the mock broker's state file {path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ConfigurationError(f"{path} is not a book of the mock broker: {error}") from error
    return connection


def _connect(name: str) -> sqlite3.Connection:
    # One connection is used by the threads of one process, one at a time: `Book` holds a lock.
    return sqlite3.connect(name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse somebody else's file before anything is written to it."""
    # As of one instant: another process may be making the book just now.
    connection.execute("BEGIN")
    try:
        tables = _number(connection, "SELECT count(*) FROM sqlite_master")
        application_id = _number(connection, "PRAGMA application_id")
        version = _number(connection, "PRAGMA user_version")
    finally:
        connection.execute("ROLLBACK")
    if application_id != APPLICATION_ID:
        if tables:
            raise ConfigurationError(f"{path} is not a book of the mock broker: it is another SQLite database")
        return
    if version != VERSION and version not in UPGRADES:
        raise ConfigurationError(
            f"{path} is a book of the mock broker in format {version}; this release reads up to format {VERSION}"
        )


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; SQLite does not wait by itself where two processes do so at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous = NORMAL")


def _create(connection: sqlite3.Connection, clock: Clock) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _number(connection, "PRAGMA application_id") == 0:
            for statement in TABLES:
                connection.execute(statement)
            now = micros(clock())
            # Execution ids must never come back with another meaning: they carry the name of their book.
            token = base64.b32encode(secrets.token_bytes(5)).decode()
            connection.executemany("INSERT INTO meta VALUES (?, ?)", (("created_at", now), ("token", token)))
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        while (version := _number(connection, "PRAGMA user_version")) in UPGRADES:
            for statement in UPGRADES[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
