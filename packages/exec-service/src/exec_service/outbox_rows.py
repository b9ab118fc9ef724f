"""How what is to be delivered stands in the store: what one commit owes to one channel, for one account, together.

A document per row would cost a busy service more than the orders themselves: each is inserted, and marked later. So the
rows of the channels that bear repeating are one document, marked when all of its rows are delivered; after a crash in
between, all of them are delivered again. What people are told is not repeated lightly: there each row stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from exec_service.stores import OUTBOX, Document, Write

Row = Mapping[str, Any]

CONFIRMATION_CHANNEL: Final = "confirmations"
SIGNAL_CHANNEL: Final = "signals"
NOTIFIER_CHANNEL: Final = "notifier:"

_TOGETHER: Final = frozenset({CONFIRMATION_CHANNEL, SIGNAL_CHANNEL})
#: What all rows of a document share.
_SHARED: Final = ("revision", "schema_version", "channel", "account_id", "created_at", "delivered_at")
#: In a row in memory: the document that it stands in.
DOCUMENT_ID: Final = "document_id"


def together(writes: Sequence[Write]) -> list[Write]:
    """The writes, with the new rows of a channel and an account as one document."""
    found: list[Write] = []
    rows: list[Write] = []
    documents: dict[tuple[str, str], Document] = {}
    for write in writes:
        is_row = write.collection == OUTBOX and write.expected_revision == 0
        (rows if is_row and write.document.get("channel") in _TOGETHER else found).append(write)
    for write in sorted(rows, key=lambda write: int(write.document["sequence"])):
        row = write.document
        document = documents.get((row["channel"], row["account_id"]))
        if document is None:
            document = {"_id": write.id, **{name: row[name] for name in _SHARED}, "sequence": row["sequence"]}
            document["rows"] = []
            documents[(row["channel"], row["account_id"])] = document
            found.append(Write(OUTBOX, write.id, 0, document))
        document["rows"].append({name: value for name, value in row.items() if name not in _SHARED})
    return found


def rows_of(document: Mapping[str, Any]) -> list[Document]:
    """The rows of a document of the outbox, each with what they share."""
    rows = document.get("rows")
    if rows is None:
        return [{**document, DOCUMENT_ID: document["_id"]}]
    shared = {name: document[name] for name in _SHARED}
    return [{**shared, **row, DOCUMENT_ID: document["_id"]} for row in rows]
