"""The embedded store: one SQLite file, for as many processes of one machine as like to share it.

See `exec_service.stores.Store` for what the calls promise. Times are this machine's clock. A cancelled call is not
undone: its transaction takes place whole or not at all in the database's thread, and `load` tells which. Leaving frees
this process's worker locks, so that its workers count as dead: leave after the broker sessions are closed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from exec_service.embedded import BUSY_TIMEOUT_SECONDS, Database, Watch, check_schema_version, transaction
from exec_service.stores import (
    Document,
    Lease,
    Replacement,
    RevisionConflict,
    SignalChange,
    StoreError,
    StoreUnavailable,
    WorkerState,
    Write,
)
from exec_service.stores import sqlite_archiving as archiving
from exec_service.stores import sqlite_signals as signals
from exec_service.stores.codec import pack, to_text, unpack
from exec_service.stores.sqlite_merging import Pending, pending, write
from exec_service.stores.sqlite_query import build, count
from exec_service.stores.sqlite_schema import SCHEMA_VERSION, Table, make_missing, table
from exec_service.stores.sqlite_workers import Workers

FILE_NAME: Final = "store.sqlite3"
POLL_SECONDS: Final = 0.02


class SqliteStore:
    """A `Store` in `data_dir`, which is created when missing."""

    def __init__(self, data_dir: Path, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        self._workers = Workers(data_dir)
        self._database = Database(
            data_dir / FILE_NAME,
            self._prepare,
            unavailable=StoreUnavailable,
            broken=StoreError,
            closed=self._workers.free_locks,
            busy_timeout_seconds=busy_timeout_seconds,
        )
        self._seen_version = 0

    async def __aenter__(self) -> Self:
        """Open the file and make what is missing. :raises StoreError: a newer release has written it."""
        await self._database.open()
        self._seen_version = await self._database.data_version()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Finish the transaction under way, close the file, free the worker locks."""
        await self._database.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        with transaction(connection):
            problem = check_schema_version(connection, SCHEMA_VERSION)
            if problem is not None:
                raise StoreError(f"{self._database.path}: {problem}")
            make_missing(connection)

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
        query = build(table(collection), where, order_by, descending, limit)
        return await self._database.run(
            lambda connection: [_document(key, text) for key, _, text in query.run(connection)]
        )

    async def count(self, collection: str, where: Mapping[str, Any] | None = None) -> int:
        """See `Store.count`."""
        query = count(table(collection), where)
        return await self._database.run(lambda connection: int(query.run(connection)[0][0]))

    async def commit(self, writes: Sequence[Write], *, lease: Lease | None = None) -> None:
        """See `Store.commit`."""
        prepared = [pending(item) for item in writes]
        if len({(item.table.name, item.id) for item in prepared}) < len(prepared):
            raise ValueError("one commit writes a document once; merge the writes")
        if not prepared and lease is None:
            return

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                if lease is not None:
                    self._workers.touch(connection, lease)
                _write_all(connection, prepared)

        await self._database.run(work)

    async def insert(self, collection: str, documents: Sequence[Document]) -> set[str]:
        """See `Store.insert`."""
        into = table(collection)
        rows = [_row(into, document) for document in documents]
        statement = f"{into.insert} ON CONFLICT DO NOTHING"

        def work(connection: sqlite3.Connection) -> set[str]:
            with transaction(connection):
                return {row[0] for row in rows if connection.execute(statement, row).rowcount == 0}

        return await self._database.run(work) if rows else set()

    async def replace(self, collection: str, replacements: Sequence[Replacement]) -> set[str]:
        """See `Store.replace`. Here it is one transaction."""
        into = table(collection)
        prepared = archiving.packed(into, replacements)

        def work(connection: sqlite3.Connection) -> set[str]:
            with transaction(connection):
                return archiving.replace(connection, into, prepared)

        return await self._database.run(work) if prepared else set()

    async def remove(self, collection: str, ids: Sequence[str]) -> None:
        """See `Store.remove`. Here it is one transaction."""
        of = table(collection)

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                archiving.remove(connection, of, ids)

        if ids:
            await self._database.run(work)

    async def update_signals(self, changes: Sequence[SignalChange]) -> list[StoreError | ValueError | None]:
        """See `Store.update_signals`. Here it is one transaction, and `merge` is called in the database's thread."""

        def work(connection: sqlite3.Connection) -> list[StoreError | ValueError | None]:
            with transaction(connection):
                return [signals.change(connection, one) for one in changes]

        return await self._database.run(work) if changes else []

    # ------------------------------------------------------------------ workers

    async def take_lease(self, worker_id: str, seconds: float) -> Lease:
        """See `Store.take_lease`; the worker is alive while its process holds the lock file."""
        return await self._database.run(lambda connection: self._workers.take(connection, worker_id, seconds))

    async def renew_lease(self, lease: Lease) -> None:
        """See `Store.renew_lease`."""

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                self._workers.touch(connection, lease)

        await self._database.run(work)

    async def release_lease(self, lease: Lease) -> None:
        """See `Store.release_lease`."""
        await self._database.run(lambda connection: self._workers.release(connection, lease))

    async def workers(self) -> list[WorkerState]:
        """See `Store.workers`."""
        return await self._database.run(self._workers.states)

    async def fence(self, worker_id: str, *, seen: WorkerState | None = None) -> bool:
        """See `Store.fence`."""
        return await self._database.run(lambda connection: self._workers.fence(connection, worker_id, seen))

    # ------------------------------------------------------------------ changes

    async def wait_for_change(self, timeout_seconds: float) -> bool:
        """See `Store.wait_for_change`. A heartbeat of another process counts as a change too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        watch = Watch(self._database, self._seen_version)
        while (version := await watch.new_version()) is None:
            remaining = deadline - loop.time()
            if remaining <= 0:
                return False
            await asyncio.sleep(min(POLL_SECONDS, remaining))
        self._seen_version = version
        return True


def _write_all(connection: sqlite3.Connection, writes: Sequence[Pending]) -> None:
    """Write all of them. :raises RevisionConflict: names every document that is not as expected."""
    conflicts = [(item.table.name, item.id) for item in writes if not write(connection, item)]
    if conflicts:
        raise RevisionConflict(conflicts)


def _row(into: Table, document: Document) -> tuple[Any, ...]:
    key = document.get("_id")
    if not isinstance(key, str):
        raise ValueError(f"{into.name}: a document to insert needs a text as its _id, got {key!r}")
    packed = pack({name: value for name, value in document.items() if name != "_id"}, f"{into.name}/{key}")
    return (pack(key, "_id"), *into.row(packed, to_text(packed)))


def _document(key: str, text: str) -> Document:
    return {"_id": key, **unpack(text)}
