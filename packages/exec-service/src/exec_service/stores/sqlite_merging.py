"""One write of a commit: what is checked before the transaction, and how its fields get into the document."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

from exec_service.stores import Write
from exec_service.stores.codec import from_text, pack, to_text
from exec_service.stores.sqlite_schema import Table, table


@dataclass(frozen=True, slots=True)
class Pending:
    """A write, checked and packed: what can be wrong with it is found before anything is locked."""

    table: Table
    id: str
    expected_revision: int | None
    fields: dict[str, Any]
    inside: dict[str, dict[str, Any]] = field(default_factory=dict)
    appended: dict[str, tuple[list[Any], int | None]] = field(default_factory=dict)

    def over(self, stored: dict[str, Any]) -> dict[str, Any]:
        """The packed document, with the fields set."""
        merged = {**stored, **self.fields}
        for name, fields in self.inside.items():
            merged[name] = {**(merged.get(name) or {}), **fields}
        for name, (values, keep) in self.appended.items():
            longer = [*(merged.get(name) or []), *values]
            merged[name] = longer if keep is None else longer[-keep:]
        return merged


def pending(item: Write) -> Pending:
    """The write, ready. :raises ValueError: it can never be written as it stands."""
    found = table(item.collection)
    name = f"{item.collection}/{item.id}"
    if item.document.get("_id", item.id) != item.id:
        raise ValueError(f"{name}: the document says that its _id is {item.document['_id']!r}")
    if item.expected_revision:
        revision = item.document.get("revision")
        if not isinstance(revision, int) or revision <= item.expected_revision:
            raise ValueError(
                f"{name}: revision {revision!r} does not follow {item.expected_revision}; a change must raise it"
            )
    fields = pack({key: value for key, value in item.document.items() if key != "_id"}, name)
    found.check(fields)
    if (item.inside or item.appended) and not item.expected_revision:
        raise ValueError(f"{name}: only a document whose revision is known can be changed in part")
    inside = pack(item.inside or {}, name)
    appended = {
        field: (pack(list(values.values), f"{name}: {field}"), values.keep)
        for field, values in (item.appended or {}).items()
    }
    return Pending(found, pack(item.id, f"{item.collection}: _id"), item.expected_revision, fields, inside, appended)


def write(connection: sqlite3.Connection, item: Pending) -> bool:
    """Set the fields, others stay; False when the document is not as expected, or a unique combination is taken."""
    rows = connection.execute(f"{item.table.select} WHERE id = ?", (item.id,)).fetchall()
    if item.expected_revision is not None:
        as_expected = not rows if item.expected_revision == 0 else bool(rows) and rows[0][1] == item.expected_revision
        if not as_expected:
            return False
    packed = item.over(from_text(rows[0][2])) if rows else item.fields
    row = item.table.row(packed, to_text(packed))
    try:
        if rows:
            connection.execute(item.table.update, (*row, item.id))
        else:
            connection.execute(item.table.insert, (item.id, *row))
    except sqlite3.IntegrityError:
        return False
    return True
