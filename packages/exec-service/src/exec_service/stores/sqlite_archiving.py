"""Making room in the SQLite store: whole documents in the place of others, and documents that go."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from exec_service.stores import Replacement
from exec_service.stores.codec import pack, to_text
from exec_service.stores.sqlite_schema import Table

#: A replacement's id, the revision that is expected, and the row in its place.
Packed = tuple[str, int, tuple[Any, ...]]


def packed(into: Table, replacements: Sequence[Replacement]) -> list[Packed]:
    """The replacements, ready. :raises ValueError: one can never be written as it stands."""
    found = []
    for item in replacements:
        name = f"{into.name}/{item.id}"
        item.check(name)
        fields = pack({key: value for key, value in item.document.items() if key != "_id"}, name)
        found.append((pack(item.id, f"{into.name}: _id"), item.expected_revision, into.row(fields, to_text(fields))))
    if len({key for key, _, _ in found}) < len(found):
        raise ValueError("one call replaces a document once")
    return found


def replace(connection: sqlite3.Connection, into: Table, replacements: Sequence[Packed]) -> set[str]:
    """Replace those that are as expected; the ids of the others. Runs inside a transaction."""
    left = set()
    for key, revision, row in replacements:
        try:
            done = connection.execute(f"{into.update} AND revision = ?", (*row, key, revision)).rowcount
        except sqlite3.IntegrityError:  # somebody else holds what must be unique
            done = 0
        if not done:
            left.add(key)
    return left


def remove(connection: sqlite3.Connection, of: Table, ids: Sequence[str]) -> None:
    """Remove those that are there. Runs inside a transaction."""
    connection.executemany(of.delete, [(key,) for key in ids])
