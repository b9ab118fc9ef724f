"""Our part of `signal_store` in the SQLite store: one change at a time, inside a transaction of the caller's."""

from __future__ import annotations

import sqlite3

from exec_service.stores import SIGNALS, RevisionConflict, SignalChange, StoreError, Write
from exec_service.stores.codec import unpack
from exec_service.stores.sqlite_merging import pending, write
from exec_service.stores.sqlite_query import build
from exec_service.stores.sqlite_schema import table


def change(connection: sqlite3.Connection, wanted: SignalChange) -> StoreError | ValueError | None:
    """Make the change; what keeps it from ever being made comes back."""
    try:
        found = _find(connection, wanted)
        fields = wanted.merge(None if found is None else {"_id": found[0], **unpack(found[1])})
        if fields is None:
            return None
        if found is None:
            fields = {"signal_id": wanted.signal_id, **fields}
        item = pending(Write(SIGNALS, wanted.signal_id if found is None else found[0], None, fields))
    except ValueError as error:
        return error
    return None if write(connection, item) else RevisionConflict([(SIGNALS, item.id)])


def _find(connection: sqlite3.Connection, wanted: SignalChange) -> tuple[str, str] | None:
    """The id and the text of the signal's document."""
    named = [{"_id": key} for key in wanted.ids]
    # Last the id that a new document would get: one of somebody else's may bear it.
    for where in [*named, {"signal_id": wanted.signal_id}, {"_id": wanted.signal_id}]:
        for key, _, text in build(table(SIGNALS), where, None, False, 1).run(connection):
            return key, text
    return None
