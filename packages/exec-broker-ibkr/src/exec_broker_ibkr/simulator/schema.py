"""The tables of the simulated TWS's book, and opening a SQLite file as one: ours, new, or refused."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path
from typing import Final

from exec_core.errors import ConfigurationError

from exec_broker_ibkr.simulator.rows import EXECUTION_COLUMNS, ORDER_COLUMNS

APPLICATION_ID: Final = 0x74777362  # "twsb"
VERSION: Final = 1

_INTEGERS: Final = frozenset(
    {
        "client_id",
        "order_id",
        "parent_id",
        "waits_for",
        "oca_type",
        "outside_rth",
        "is_triggered",
        "accepted_at",
        "changed_at",
        "ended_on",
        "execution",
        "correction",
        "order_number",
        "leg",
        "is_billed",
        "time",
        "day",
    }
)


def _columns(names: tuple[str, ...]) -> str:
    rest = ", ".join(f"{name} {'INTEGER' if name in _INTEGERS else 'TEXT'}" for name in names[1:])
    return f"{names[0]} INTEGER PRIMARY KEY AUTOINCREMENT, {rest}"


TABLES: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    f"CREATE TABLE orders ({_columns(ORDER_COLUMNS)})",
    "CREATE INDEX orders_by_ids ON orders (client_id, order_id)",
    "CREATE INDEX orders_open ON orders (number) WHERE ended_on = 0",
    "CREATE INDEX orders_by_day ON orders (ended_on)",
    "CREATE INDEX orders_by_parent ON orders (waits_for) WHERE waits_for > 0",
    f"CREATE TABLE executions ({_columns(EXECUTION_COLUMNS)})",
    "CREATE INDEX executions_by_order ON executions (order_number)",
    "CREATE INDEX executions_by_day ON executions (day)",
    "CREATE UNIQUE INDEX executions_versions ON executions (execution, correction)",
    # The next order id of each client, which TWS keeps across connections.
    "CREATE TABLE clients (client_id INTEGER PRIMARY KEY, next_order_id INTEGER)",
)


def open_book(path: Path | None, now: int) -> sqlite3.Connection:
    """The book in the file, made (with its parent directories) where there is none; None: a new one in memory.

    :raises ConfigurationError: it is no book of ours, or cannot be opened.
    """
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(":memory:" if path is None else str(path), isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"the simulator's book {path} cannot be opened: {error}") from error
    try:
        _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        # What was committed outlives the process, whatever ends it; only the machine's own end may take the last of it.
        connection.execute("PRAGMA synchronous = NORMAL")
        _create(connection, now)
    except ConfigurationError:
        connection.close()
        raise
    except sqlite3.OperationalError as error:
        connection.close()
        raise ConfigurationError(f"the simulator's book {path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise ConfigurationError(f"{path} is not a book of the simulated TWS: {error}") from error
    return connection


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])


def _check(connection: sqlite3.Connection, path: Path | None) -> None:
    """Refuse somebody else's file before anything is written to it."""
    tables = _number(connection, "SELECT count(*) FROM sqlite_master")
    if not tables:
        return
    if _number(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise ConfigurationError(f"{path} is not a book of the simulated TWS: it is another SQLite database")
    version = _number(connection, "PRAGMA user_version")
    if version != VERSION:
        raise ConfigurationError(f"{path} is a book in format {version}; this release knows format {VERSION}")


def _create(connection: sqlite3.Connection, now: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _number(connection, "PRAGMA application_id") == 0:
            for statement in TABLES:
                connection.execute(statement)
            # Execution ids must never come back with another meaning: they carry the name of their book.
            known = (("token", secrets.token_hex(4)), ("created_at", now), ("day", 1), ("ahead", 0))
            connection.executemany("INSERT INTO meta VALUES (?, ?)", known)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
