"""The store in MongoDB: a replica set, of a single node if need be, for as many workers as like to share it.

See `exec_service.stores.Store` for what the calls promise; how they are kept, the modules ``mongo_*`` say: connection,
schema and indexes, codec, query, writes and batches, transactions, workers and processes, signals, changes, errors.
Times of leases are the database's clock. A cancelled call is not undone: it ends by itself, within the time limit.
Leaving ends this process's workers: leave after the broker sessions are closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from bson.raw_bson import RawBSONDocument
from pydantic import SecretStr
from pymongo.errors import BulkWriteError, PyMongoError

from exec_service.stores import (
    Document,
    Lease,
    Replacement,
    SignalChange,
    StoreError,
    WorkerState,
    Write,
    mongo_archiving,
)
from exec_service.stores.mongo_calls import Calls
from exec_service.stores.mongo_changes import Changes
from exec_service.stores.mongo_codec import decode, encode, pack
from exec_service.stores.mongo_connection import POOL_SIZE, Connection
from exec_service.stores.mongo_errors import DUPLICATE_KEY, is_passing
from exec_service.stores.mongo_query import build, check_collection, check_field
from exec_service.stores.mongo_schema import look, prepare
from exec_service.stores.mongo_signals import update_signals
from exec_service.stores.mongo_transactions import Transactions
from exec_service.stores.mongo_workers import Workers
from exec_service.stores.mongo_writes import Plan, packed_fields

BATCH_SIZE: Final = 5_000


class MongoStore:
    """A `Store` in one database. Without `prepare` nothing is made: for commands that only look."""

    def __init__(self, uri: SecretStr, database: str, *, prepare: bool = True, timeout_seconds: float = 10.0) -> None:
        self._connection = Connection(uri, database, timeout_seconds)
        self._prepare = prepare
        self._calls = Calls()
        self._transactions = Transactions(self._connection, self._calls)
        self._changes = Changes(self._connection)
        self._workers = Workers(self._connection, self._transactions)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._connection!r}>"

    async def __aenter__(self) -> Self:
        """Connect, and make what is missing.

        :raises StoreUnavailable: no primary answers.
        :raises StoreError: the server or the database cannot be used, or, without `prepare`, nobody has prepared it.
        """
        # Who only looks asks one thing after the other; every socket costs a greeting, and a login if there are users.
        await self._connection.open(POOL_SIZE if self._prepare else 1)
        try:
            database_id = await (prepare if self._prepare else look)(self._connection)
            with self._connection.bounded("read its clock"):
                reply = await self._connection.client.admin.command("ping")
            self._transactions.open()
        except BaseException:
            await self._connection.close()
            raise
        self._workers.open(database_id)
        self._changes.open(self._transactions.session_ids(), reply.get("operationTime"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Finish what is under way, stop watching, disconnect."""
        try:
            await self._calls.finish(self._connection.timeout_seconds)
            await self._changes.close()
            await self._transactions.close()
        finally:
            self._workers.close()
            await self._connection.close()

    # ------------------------------------------------------------------ documents

    async def load(
        self,
        collection: str,
        where: Mapping[str, Any] | None = None,
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Document]:
        """See `Store.load`."""
        query = build(collection, where)
        if order_by is not None:
            check_field(collection, order_by)
        if limit is not None and limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        if limit == 0:
            return []
        sort = None if order_by is None else [(order_by, -1 if descending else 1)]
        found = await self._calls.run(self._read(collection, query, sort, limit or 0))
        return [decode(raw) for raw in found]

    async def _read(
        self, collection: str, query: Mapping[str, Any], sort: list[tuple[str, int]] | None, limit: int
    ) -> list[RawBSONDocument]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._connection.timeout_seconds
        with self._connection.bounded(f"load {collection}"):
            while True:
                cursor = self._connection.collection(collection).find(
                    query, sort=sort, limit=limit, batch_size=BATCH_SIZE, allow_disk_use=sort is not None
                )
                try:
                    return await cursor.to_list()
                except PyMongoError as error:
                    # The driver repeats a question, but not one that was answered in part.
                    if not is_passing(error) or loop.time() + 0.1 > deadline:
                        raise
                finally:
                    await cursor.close()
                await asyncio.sleep(0.05)

    async def count(self, collection: str, where: Mapping[str, Any] | None = None) -> int:
        """See `Store.count`."""
        return await self._calls.run(self._count(collection, build(collection, where)))

    async def _count(self, collection: str, query: Mapping[str, Any]) -> int:
        documents = self._connection.collection(collection)
        with self._connection.bounded(f"count {collection}"):
            if query:
                return await documents.count_documents(query)
            # By an index, too: the number that the server keeps by itself is wrong after a crash of it.
            return await documents.count_documents({}, hint="_id_")

    async def commit(self, writes: Sequence[Write], *, lease: Lease | None = None) -> None:
        """See `Store.commit`."""
        plan = Plan.of(writes)
        if plan.groups or lease is not None:
            await self._transactions.commit(plan, lease)

    async def insert(self, collection: str, documents: Sequence[Document]) -> set[str]:
        """See `Store.insert`."""
        check_collection(collection)
        rows = [_row(collection, document) for document in documents]
        repeats = await self._calls.run(self._insert(collection, rows)) if rows else []
        return {str(documents[index]["_id"]) for index in repeats}

    async def _insert(self, collection: str, rows: Sequence[tuple[Any, RawBSONDocument]]) -> list[int]:
        """Insert what is new; the positions of the others come back."""
        ids = [key for key, _ in rows]
        doing = f"insert into {collection}"
        into = self._connection.collection(collection)
        async with self._connection.client.start_session(causal_consistency=True) as session:
            with self._connection.bounded(doing), self._changes.own(collection, ids) as own:
                try:
                    await into.insert_many([row for _, row in rows], ordered=False, session=session)
                    return []
                except BulkWriteError as error:
                    repeats = _repeats(error)
                own.did_not_happen(ids[index] for index in repeats)
                # Whatever kept them out may be newer than what the majority is known to have: wait until it has it.
                await into.find_one({"_id": ids[repeats[0]]}, {"_id": 1}, session=session)
        return repeats

    async def replace(self, collection: str, replacements: Sequence[Replacement]) -> set[str]:
        """See `Store.replace`."""
        return await self._calls.run(mongo_archiving.replace(self._connection, collection, replacements))

    async def remove(self, collection: str, ids: Sequence[str]) -> None:
        """See `Store.remove`."""
        await self._calls.run(mongo_archiving.remove(self._connection, collection, ids))

    async def update_signals(self, changes: Sequence[SignalChange]) -> list[StoreError | ValueError | None]:
        """See `Store.update_signals`. Their `ids` may be written as ObjectIds are."""
        return await self._calls.run(update_signals(self._connection, changes))

    # ------------------------------------------------------------------ workers

    async def take_lease(self, worker_id: str, seconds: float) -> Lease:
        """See `Store.take_lease`; it may take as long as the lease of a worker that was lost on another machine."""
        return await self._calls.run(self._workers.take(worker_id, seconds))

    async def renew_lease(self, lease: Lease) -> None:
        """See `Store.renew_lease`."""
        await self._calls.run(self._workers.renew(lease))

    async def release_lease(self, lease: Lease) -> None:
        """See `Store.release_lease`."""
        await self._calls.run(self._workers.release(lease))

    async def workers(self) -> list[WorkerState]:
        """See `Store.workers`."""
        return await self._calls.run(self._workers.states())

    async def fence(self, worker_id: str, *, seen: WorkerState | None = None) -> bool:
        """See `Store.fence`."""
        return await self._calls.run(self._workers.fence(worker_id, seen))

    # ------------------------------------------------------------------ changes

    async def wait_for_change(self, timeout_seconds: float) -> bool:
        """See `Store.wait_for_change`. A change by another service in one of the collections counts too."""
        return await self._changes.wait(timeout_seconds)


def _row(collection: str, document: Document) -> tuple[Any, RawBSONDocument]:
    key = document.get("_id")
    if not isinstance(key, str):
        raise ValueError(f"{collection}: a document to insert needs a text as its _id, got {key!r}")
    name = f"{collection}/{key}"
    packed = pack(key, "_id")
    return packed, encode({"_id": packed, **packed_fields(collection, document, name)}, name)


def _repeats(error: BulkWriteError) -> list[int]:
    """The positions of those that are there already. :raises BulkWriteError: something else went wrong as well."""
    details = error.details or {}
    errors = details.get("writeErrors", [])
    if details.get("writeConcernErrors") or not errors or any(item["code"] != DUPLICATE_KEY for item in errors):
        raise error
    return [item["index"] for item in errors]
