"""Our part of `signal_store`, whose documents belong to others: one update, which touches nothing but our fields.

Nothing is locked while `merge` decides. What it has looked at is noted, and the update takes place only if all of that
still stands as it was; else it is read, and decided, again. So other writers of the same document neither lose anything
nor make us fail, and what we did not look at may change as it likes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from bson.raw_bson import RawBSONDocument
from pymongo.errors import DuplicateKeyError

from exec_service.stores import SIGNALS, Document, StoreUnavailable
from exec_service.stores.mongo_changes import Changes
from exec_service.stores.mongo_codec import NATIVE, decode_exactly, encode, identifiers, pack
from exec_service.stores.mongo_connection import Connection
from exec_service.stores.mongo_writes import packed_fields, setting

DOING: Final = "update signal_store"


async def update_signal(
    connection: Connection,
    changes: Changes,
    ids: Sequence[str],
    signal_id: str,
    merge: Callable[[Document | None], Document | None],
) -> None:
    """See `Store.update_signal`. :raises StoreUnavailable: others changed what was decided on again and again."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + connection.timeout_seconds
    wait = 0.005
    while not await _attempt(connection, changes, ids, signal_id, merge):
        if loop.time() > deadline:
            raise StoreUnavailable(f"signal_store: others keep changing what is to be updated of {signal_id}")
        await asyncio.sleep(random.uniform(0, wait))
        wait = min(wait * 2, 0.2)


async def _attempt(
    connection: Connection,
    changes: Changes,
    ids: Sequence[str],
    signal_id: str,
    merge: Callable[[Document | None], Document | None],
) -> bool:
    """Whether it is done; False when somebody else was quicker."""
    found = await _find(connection, ids, signal_id)
    if found is None:
        fields = merge(None)
        return fields is None or await _insert(connection, changes, signal_id, fields)
    seen = Seen(decode_exactly(found))
    fields = merge(seen)
    if fields is None:
        return True
    key = pack(seen.peek("_id"))
    packed = packed_fields(SIGNALS, fields, f"{SIGNALS}/{key}")
    update = setting(packed, encode(packed, f"{SIGNALS}/{key}"))
    with connection.bounded(DOING), changes.own(SIGNALS, [key]) as own:
        done = await connection.collection(SIGNALS).update_one({"_id": key, **_guard(found, seen.names)}, update)
        if not done.modified_count:
            own.did_not_happen([key])
    return bool(done.matched_count)


async def _find(connection: Connection, ids: Sequence[str], signal_id: str) -> RawBSONDocument | None:
    """The signal's document: by the first of the ids that exists, else by its ``signal_id``, else by its own name."""
    named = [form for key in ids for form in identifiers(key)]
    own = pack(signal_id, "signal_id")
    with connection.bounded(DOING):
        where = {"$or": [{"_id": {"$in": [*named, own]}}, {"signal_id": own}]}
        found = await connection.collection(SIGNALS).find(where).to_list()
    by_id: dict[Any, RawBSONDocument] = {pack(raw["_id"]): raw for raw in found}
    for key in named:
        if key in by_id:
            return by_id[key]
    # Of several the same one each time: what was told of the signal before stands there.
    mentions = sorted((raw for raw in found if raw.get("signal_id") == own), key=lambda raw: str(raw["_id"]))
    return mentions[0] if mentions else by_id.get(own)


async def _insert(connection: Connection, changes: Changes, signal_id: str, fields: Document) -> bool:
    packed = packed_fields(SIGNALS, {"signal_id": signal_id, **fields}, f"{SIGNALS}/{signal_id}")
    key = pack(signal_id, "signal_id")
    document = encode({"_id": key, **packed}, f"{SIGNALS}/{signal_id}")
    with connection.bounded(DOING), changes.own(SIGNALS, [key]) as own:
        try:
            await connection.collection(SIGNALS).insert_one(document)
        except DuplicateKeyError:
            own.did_not_happen([key])
            return False
    return True


def _guard(found: RawBSONDocument, names: set[str]) -> dict[str, Any]:
    """That these fields are what they were, compared as the server compares values, not as queries match them."""
    stored = RawBSONDocument(found.raw, NATIVE)
    conditions: list[dict[str, Any]] = []
    for name in sorted(names - {"_id"}):
        field = {"$getField": {"field": {"$literal": name}, "input": "$$ROOT"}}
        if name in stored:
            conditions.append({"$eq": [field, {"$literal": stored[name]}]})
        else:
            conditions.append({"$eq": [{"$type": field}, "missing"]})
    return {"$expr": {"$and": conditions}} if conditions else {}


class Seen(dict[str, Any]):
    """A document that notes which of its fields somebody has looked at, the absent ones included."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__(document)
        self.names: set[str] = set()

    def peek(self, name: str) -> Any:
        """A field, without having looked."""
        return super().__getitem__(name)

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self._saw_all()
        return super().__iter__()

    def keys(self) -> Any:
        self._saw_all()
        return super().keys()

    def items(self) -> Any:
        self._saw_all()
        return super().items()

    def values(self) -> Any:
        self._saw_all()
        return super().values()

    def copy(self) -> dict[str, Any]:
        self._saw_all()
        return super().copy()

    def __eq__(self, other: object) -> bool:
        self._saw_all()
        return super().__eq__(other)

    __hash__ = None

    def _saw_all(self) -> None:
        self.names.update(super().keys())
