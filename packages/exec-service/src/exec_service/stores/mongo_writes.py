"""What a commit writes, as commands: as few as there are kinds of change.

Per collection one ``update`` with all changes, in the order given, then one ``insert`` with all new documents. What
must be unique comes out right in that order whenever it can at all: a change may free what a new document takes (a
position is closed before its successor opens), a new document never frees anything.

A commit of one filled order costs seven round trips: the worker's row, then orders, positions and
execution_confirmations (one update each), fills and outbox (one insert each), commitTransaction; eight when it marks
outbox rows of before as delivered. A batch of hundreds of orders costs the same number, and one look more per
collection: above `LOOK_FIRST` changes it is cheaper to read all revisions at once and change by ``_id`` alone than to
have the server compare each (measured: 31 ms for 200 guarded updates, 22 ms with the look; upserts of new documents
cost twice what inserts do). The transaction's snapshot makes the two the same: whoever changes a document in between
loses, or makes us try again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bson.raw_bson import RawBSONDocument

from exec_service.stores import INDEXES, UNIQUE, Write
from exec_service.stores.mongo_codec import encode, pack
from exec_service.stores.mongo_query import check_collection, check_selectable

#: Above so many changes in one collection their documents are looked at first.
LOOK_FIRST: Final = 24
MAX_STATEMENTS: Final = 10_000
MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pending:
    """A write, checked, packed and encoded: what can be wrong with it is found before anything is locked."""

    collection: str
    #: as the caller knows it, and as it stands in the database
    name: str
    id: Any
    expected_revision: int | None
    fields: Mapping[str, Any]
    encoded: RawBSONDocument

    @property
    def key(self) -> tuple[str, str]:
        """The document, as conflicts name it."""
        return self.collection, self.name

    def document(self) -> RawBSONDocument:
        """The whole new document."""
        if self.expected_revision == 0:
            return self.encoded
        return encode({"_id": self.id, **self.fields}, f"{self.collection}/{self.name}")

    def change(self, *, known: bool) -> dict[str, Any]:
        """The update statement. `known`: the document was looked at, and is as expected."""
        where = {"_id": self.id}
        if self.expected_revision and not known:
            where["revision"] = self.expected_revision
        return {
            "q": where,
            "u": setting(self.fields, self.encoded),
            "upsert": self.expected_revision is None and not known,
        }


@dataclass(slots=True)
class Group:
    """The writes to one collection: changes in the order given, and documents that must be new."""

    collection: str
    changes: list[Pending] = field(default_factory=list)
    inserts: list[Pending] = field(default_factory=list)

    def everything(self) -> Iterator[Pending]:
        """All, in the order in which they are written."""
        yield from self.changes
        yield from self.inserts


@dataclass(frozen=True, slots=True)
class Plan:
    """All writes of a commit."""

    groups: tuple[Group, ...]

    @classmethod
    def of(cls, writes: Sequence[Write]) -> Plan:
        """:raises ValueError: two writes to one document, or one that can never be written."""
        groups: dict[str, Group] = {}
        keys = set()
        for item in writes:
            pending = _pending(item)
            keys.add(pending.key)
            group = groups.setdefault(pending.collection, Group(pending.collection))
            (group.inserts if pending.expected_revision == 0 else group.changes).append(pending)
        if len(keys) < len(writes):
            raise ValueError("one commit writes a document once; merge the writes")
        return cls(tuple(groups.values()))


def setting(fields: Mapping[str, Any], encoded: RawBSONDocument | None = None) -> Any:
    """The update that sets packed top-level fields, whatever they are called, and leaves the others."""
    if all(name and "." not in name and not name.startswith("$") for name in fields):
        return {"$set": fields if encoded is None else encoded}
    # To $set, such a name is a path, or a mistake.
    return [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": fields if encoded is None else encoded}]}}]


def packed_fields(collection: str, document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A document's fields but its ``_id``, packed. :raises ValueError: one of them cannot be written."""
    fields: dict[str, Any] = pack({key: value for key, value in document.items() if key != "_id"}, name)
    for indexed in _selectable(collection):
        check_selectable(fields.get(indexed), f"{collection}: {indexed}")
    return fields


def chunks(statements: Sequence[RawBSONDocument]) -> Iterator[list[RawBSONDocument]]:
    """In parts that fit into a command."""
    chunk: list[RawBSONDocument] = []
    size = 0
    for statement in statements:
        if chunk and (len(chunk) >= MAX_STATEMENTS or size + len(statement.raw) > MAX_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(statement)
        size += len(statement.raw)
    if chunk:
        yield chunk


def _pending(item: Write) -> Pending:
    check_collection(item.collection)
    name = f"{item.collection}/{item.id}"
    if item.document.get("_id", item.id) != item.id:
        raise ValueError(f"{name}: the document says that its _id is {item.document['_id']!r}")
    if item.expected_revision:
        revision = item.document.get("revision")
        if not isinstance(revision, int) or revision <= item.expected_revision:
            raise ValueError(
                f"{name}: revision {revision!r} does not follow {item.expected_revision}; a change must raise it"
            )
    fields = packed_fields(item.collection, item.document, name)
    key = pack(item.id, f"{item.collection}: _id")
    encoded = encode({"_id": key, **fields} if item.expected_revision == 0 else fields, name)
    return Pending(item.collection, str(item.id), key, item.expected_revision, fields, encoded)


def _selectable(collection: str) -> tuple[str, ...]:
    combined = (name for fields in UNIQUE.get(collection, ()) for name in fields)
    return tuple(dict.fromkeys((*INDEXES[collection], *combined)))
