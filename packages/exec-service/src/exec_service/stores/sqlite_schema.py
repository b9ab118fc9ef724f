"""The SQLite store's tables: one per collection, its document as JSON beside the columns it can be selected by.

The only place where names become SQL; they all come from the tables in `exec_service.stores`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from exec_service.stores import INDEXES, OPEN_POSITION, POSITIONS, UNIQUE
from exec_service.stores.codec import Column, column, from_text

#: Rises when files of before cannot be used as they are. New columns and indexes do not need it: they are made.
SCHEMA_VERSION: Final = 1

WORKERS: Final = """
    CREATE TABLE IF NOT EXISTS workers (
        worker_id TEXT PRIMARY KEY,
        epoch INTEGER NOT NULL,
        heartbeat REAL NOT NULL,
        lease_seconds REAL NOT NULL,
        released INTEGER NOT NULL,
        host TEXT NOT NULL,
        process_id INTEGER NOT NULL,
        started_at REAL NOT NULL,
        boot TEXT,
        beat REAL
    )
"""
#: Columns that files of earlier releases lack.
NEW_WORKER_COLUMNS: Final[Mapping[str, str]] = {"boot": "TEXT", "beat": "REAL"}


@dataclass(frozen=True, slots=True)
class Table:
    """One collection: its columns besides id, revision and document, and its statements."""

    name: str
    columns: tuple[str, ...]
    create: str
    indexes: tuple[str, ...]
    #: of id, revision and document
    select: str
    count: str
    insert: str
    #: the last parameter is the id
    update: str
    delete: str

    def row(self, packed: Mapping[str, Any], text: str) -> tuple[Column, ...]:
        """What `update` and, after the id, `insert` write of a packed document."""
        revision = packed.get("revision")
        values = [column(packed.get(name), f"{self.name}: {name}") for name in self.columns]
        return (revision if isinstance(revision, int) else None, text, *values)

    def check(self, packed: Mapping[str, Any]) -> None:
        """Whether the fields to select by can be. :raises ValueError: one cannot."""
        for name in self.columns:
            column(packed.get(name), f"{self.name}: {name}")

    def column(self, field: str) -> str:
        """The field's column, as SQL. :raises ValueError: the field is none to select or order by."""
        if field == "_id":
            return "id"
        if field not in INDEXES[self.name]:
            raise ValueError(f"{self.name} cannot be selected or ordered by {field}, only by {INDEXES[self.name]}")
        return f'"{field}"'


def _table(name: str) -> Table:
    unique = UNIQUE.get(name, ())
    columns = tuple(dict.fromkeys([*INDEXES[name], *(field for fields in unique for field in fields)]))
    indexes = [f'CREATE INDEX IF NOT EXISTS "{name}_{field}" ON "{name}" ("{field}")' for field in INDEXES[name]]
    for fields in unique:
        quoted = ", ".join(f'"{field}"' for field in fields)
        indexes.append(f'CREATE UNIQUE INDEX IF NOT EXISTS "{name}_{"_".join(fields)}" ON "{name}" ({quoted})')
    if name == POSITIONS:
        field, closed = OPEN_POSITION
        indexes.append(
            f'CREATE UNIQUE INDEX IF NOT EXISTS "{name}_open" ON "{name}" ("{field}") '
            f"WHERE \"status\" IS NOT '{closed}'"
        )
    all_columns = ["id", "revision", "document", *(f'"{field}"' for field in columns)]
    marks = ", ".join("?" for _ in all_columns)
    assignments = ", ".join(f"{field} = ?" for field in all_columns[1:])
    return Table(
        name=name,
        columns=columns,
        create=f'CREATE TABLE IF NOT EXISTS "{name}" (id TEXT PRIMARY KEY NOT NULL, revision INTEGER, document TEXT)',
        indexes=tuple(indexes),
        select=f'SELECT id, revision, document FROM "{name}"',  # noqa: S608  # names from our own tables, see above
        count=f'SELECT count(*) FROM "{name}"',  # noqa: S608
        insert=f'INSERT INTO "{name}" ({", ".join(all_columns)}) VALUES ({marks})',  # noqa: S608
        update=f'UPDATE "{name}" SET {assignments} WHERE id = ?',  # noqa: S608
        delete=f'DELETE FROM "{name}" WHERE id = ?',  # noqa: S608
    )


TABLES: Final[Mapping[str, Table]] = {name: _table(name) for name in INDEXES}


def table(collection: str) -> Table:
    """The collection's table. :raises ValueError: there is no such collection."""
    found = TABLES.get(collection)
    if found is None:
        raise ValueError(f"there is no collection {collection!r}, only {', '.join(TABLES)}")
    return found


def make_missing(connection: sqlite3.Connection) -> None:
    """Make what is missing of tables, columns and indexes; runs inside a transaction."""
    connection.execute(WORKERS)
    present = _columns(connection, "workers")
    for name, kind in NEW_WORKER_COLUMNS.items():
        if name not in present:
            connection.execute(f"ALTER TABLE workers ADD COLUMN {name} {kind}")
    for found in TABLES.values():
        connection.execute(found.create)
        _add_columns(connection, found)
        for index in found.indexes:
            connection.execute(index)


def _columns(connection: sqlite3.Connection, name: str) -> set[str]:
    return {column for (column,) in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))}


def _add_columns(connection: sqlite3.Connection, found: Table) -> None:
    present = _columns(connection, found.name)
    missing = [name for name in found.columns if name not in present]
    for name in missing:
        connection.execute(f'ALTER TABLE "{found.name}" ADD COLUMN "{name}"')
    if missing:
        for key, _, text in connection.execute(found.select).fetchall():
            connection.execute(found.update, (*found.row(from_text(text), text), key))
