"""Making room in MongoDB: whole documents in the place of others, and documents that go.

Each document is a change of its own, without a transaction: a program that is killed in between leaves no locks behind
that a worker would have to wait for. Doing it again does no harm.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError, PyMongoError

from exec_service.stores import Replacement
from exec_service.stores.mongo_codec import encode, identifiers, pack
from exec_service.stores.mongo_connection import Connection
from exec_service.stores.mongo_errors import DUPLICATE_KEY, is_passing
from exec_service.stores.mongo_query import check_collection
from exec_service.stores.mongo_writes import packed_fields

#: So many ids go into one statement.
MAX_IDS: Final = 5_000

T = TypeVar("T")


async def replace(connection: Connection, collection: str, replacements: Sequence[Replacement]) -> set[str]:
    """See `Store.replace`."""
    check_collection(collection)
    wanted = {item.id: _encoded(collection, item) for item in replacements}
    revisions = {item.id: item.expected_revision for item in replacements}
    if len(wanted) < len(replacements):
        raise ValueError("one call replaces a document once")
    documents = connection.collection(collection)

    async def attempt() -> set[str]:
        statements: list[ReplaceOne[Any]] = [
            ReplaceOne({"_id": new["_id"], "revision": revisions[key]}, new) for key, new in wanted.items()
        ]
        try:
            done = await documents.bulk_write(statements, ordered=False)
            if done.matched_count == len(statements):
                return set()
        except BulkWriteError as error:
            _raise_unless_taken(error)
        # An earlier attempt, whose answer was lost, may have replaced some: only what stands there tells.
        ids = [new["_id"] for new in wanted.values()]
        standing = {raw["_id"]: raw.raw async for raw in documents.find({"_id": {"$in": ids}})}
        return {key for key, new in wanted.items() if standing.get(new["_id"]) != new.raw}

    return await _patiently(connection, f"replace documents of {collection}", attempt) if wanted else set()


async def remove(connection: Connection, collection: str, ids: Sequence[str]) -> None:
    """See `Store.remove`."""
    check_collection(collection)
    forms = [form for key in ids for form in identifiers(key)]
    documents = connection.collection(collection)
    for start in range(0, len(forms), MAX_IDS):
        part = forms[start : start + MAX_IDS]

        async def attempt(part: Sequence[Any] = part) -> None:
            await documents.delete_many({"_id": {"$in": part}})

        await _patiently(connection, f"remove documents of {collection}", attempt)


async def _patiently(connection: Connection, doing: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Do it, again where that may help: the driver does not repeat what changes more than one document."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + connection.timeout_seconds
    with connection.bounded(doing):
        while True:
            try:
                return await attempt()
            except PyMongoError as error:
                if not is_passing(error) or loop.time() + 0.2 > deadline:
                    raise
            await asyncio.sleep(random.uniform(0.02, 0.1))


def _encoded(collection: str, item: Replacement) -> RawBSONDocument:
    name = f"{collection}/{item.id}"
    item.check(name)
    return encode({"_id": pack(item.id, "_id"), **packed_fields(collection, item.document, name)}, name)


def _raise_unless_taken(error: BulkWriteError) -> None:
    """:raises BulkWriteError: something else is wrong than that somebody holds what must be unique."""
    details = error.details or {}
    errors = details.get("writeErrors", [])
    if details.get("writeConcernErrors") or not errors or any(item["code"] != DUPLICATE_KEY for item in errors):
        raise error
