"""Tells that somebody else has written something: a change stream, read only while somebody waits.

Transactions of ours are left out by the server, by their sessions. Our other writes are known by the documents that
they touch: each makes one event, which is crossed off. Taking somebody else's event on the same document for ours does
no harm, ours then counts for theirs.

A stream that was lost is opened anew, and counts as a change: nobody knows what was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from bson import Timestamp
from pymongo.asynchronous.change_stream import AsyncDatabaseChangeStream
from pymongo.errors import OperationFailure, PyMongoError

from exec_service.backoff import exponential
from exec_service.stores import INDEXES, SIGNALS, StoreUnavailable
from exec_service.stores.mongo_codec import pack
from exec_service.stores.mongo_connection import Connection
from exec_service.stores.mongo_errors import is_passing, text_of

logger = logging.getLogger(__name__)

#: The server holds a question for news so long.
AWAIT_SECONDS: Final = 2.0
#: Without a change stream everybody looks so often.
POLL_SECONDS: Final = 1.0
#: So many writes of ours are remembered until their event has come; of older ones the event counts as a change.
REMEMBERED: Final = 20_000

#: In `signal_store` others write all the time, and nobody here waits for it.
WATCHED: Final = [collection for collection in INDEXES if collection != SIGNALS]

Key = tuple[str, Any]


class Own:
    """Writes of ours that are under way."""

    def __init__(self, changes: Changes, collection: str) -> None:
        self._changes = changes
        self._collection = collection

    def did_not_happen(self, ids: Iterable[Any]) -> None:
        """These changed nothing after all."""
        self._changes.forget((self._collection, key) for key in ids)


class Changes:
    """One store's view of what others write."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sessions: Sequence[Any] = ()
        self._start: Timestamp | None = None
        self._stream: AsyncDatabaseChangeStream[Mapping[str, Any]] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[bool]] = set()
        self._unreported = False
        self._polling = False
        self._own: OrderedDict[Key, int] = OrderedDict()

    def open(self, sessions: Sequence[Any], since: Timestamp | None) -> None:
        """From `since` on everything counts that is not written in one of the `sessions`."""
        self._sessions = list(sessions)
        self._start = None if since is None else Timestamp(since.time, since.inc + 1)
        self._unreported = False

    async def close(self) -> None:
        """Stop reading; whoever still waits is told that the store is not open."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(StoreUnavailable("the store is not open"))
        await self._close_stream()
        self._own.clear()

    async def wait(self, timeout_seconds: float) -> bool:
        """See `Store.wait_for_change`."""
        if self._unreported:
            self._unreported = False
            return True
        if self._polling:
            await asyncio.sleep(min(timeout_seconds, POLL_SECONDS))
            return timeout_seconds >= POLL_SECONDS
        if timeout_seconds <= 0:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait({waiter}, timeout=timeout_seconds)
        except asyncio.CancelledError:
            self._unreported |= waiter.done() and waiter.exception() is None
            raise
        finally:
            self._waiters.discard(waiter)
        return waiter.done() and waiter.result()

    @contextlib.contextmanager
    def own(self, collection: str, ids: Sequence[Any]) -> Iterator[Own]:
        """Inside, we write these documents, each with one change, unless it fails or `Own` says otherwise."""
        keys = [(collection, key) for key in ids]
        for key in keys:
            self._own[key] = self._own.pop(key, 0) + 1
        while len(self._own) > REMEMBERED:
            self._own.popitem(last=False)
        try:
            yield Own(self, collection)
        except BaseException:
            self.forget(keys)  # perhaps they did happen: then they count as a change
            raise

    def forget(self, keys: Iterable[Key]) -> None:
        """No event of ours comes for these; if one was crossed off, it was somebody else's."""
        for key in keys:
            if not self._cross_off(key):
                self._changed()

    def _cross_off(self, key: Key) -> bool:
        count = self._own.get(key, 0)
        if count > 1:
            self._own[key] = count - 1
        elif count == 1:
            del self._own[key]
        return count > 0

    def _changed(self) -> None:
        waiting = [waiter for waiter in self._waiters if not waiter.done()]
        for waiter in waiting:
            waiter.set_result(True)
        self._unreported |= not waiting

    async def _read(self) -> None:
        """Read while somebody waits."""
        waits = exponential(0.1, 5.0)
        while self._is_awaited():
            try:
                if self._stream is None:
                    await self._open_stream()
                    waits = exponential(0.1, 5.0)
                async with asyncio.timeout(AWAIT_SECONDS + self._connection.timeout_seconds):
                    event = await self._stream.try_next() if self._stream is not None else None
                if event is not None:
                    self._note(event)
                elif self._stream is not None and not self._stream.alive:
                    await self._lost("it has ended")
            except (PyMongoError, StoreUnavailable, TimeoutError) as error:
                if isinstance(error, OperationFailure) and not is_passing(error) and self._stream is None:
                    if self._start is None:
                        self._give_up(error)
                        return
                    self._start = None  # what was then is not kept any more
                    self._changed()
                await self._lost(text_of(error))
                await asyncio.sleep(next(waits))

    def _is_awaited(self) -> bool:
        return any(not waiter.done() for waiter in self._waiters)

    async def _open_stream(self) -> None:
        pipeline: list[Mapping[str, Any]] = [
            {"$match": {"ns.coll": {"$in": WATCHED}, "lsid.id": {"$nin": list(self._sessions)}}},
            {"$project": {"ns": 1, "documentKey": 1}},
        ]
        resumed = self._start is not None
        async with asyncio.timeout(self._connection.timeout_seconds):
            self._stream = await self._connection.database.watch(
                pipeline, start_at_operation_time=self._start, max_await_time_ms=int(AWAIT_SECONDS * 1000)
            )
        self._start = None
        if not resumed:
            self._own.clear()
            self._changed()  # now that nothing more is missed

    def _note(self, event: Mapping[str, Any]) -> None:
        key = event.get("documentKey")
        name = None if key is None else pack(key["_id"])
        # An `_id` that is a document is none of ours.
        if name is None or isinstance(name, dict) or not self._cross_off((event["ns"]["coll"], name)):
            self._changed()

    async def _lost(self, why: str) -> None:
        logger.info("The change stream of MongoDB was lost, opening it anew: %s", why)
        await self._close_stream()

    async def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                async with asyncio.timeout(1.0):
                    await stream.close()
            except (PyMongoError, TimeoutError) as error:
                logger.debug("The change stream could not be closed: %s", type(error).__name__)

    def _give_up(self, error: PyMongoError) -> None:
        self._polling = True
        logger.warning(
            "MongoDB gives no change stream, so that changes of others are looked for once a second: %s. "
            "Give the user of MONGODB_URI the role readWrite on the database",
            text_of(error),
        )
        self._changed()
