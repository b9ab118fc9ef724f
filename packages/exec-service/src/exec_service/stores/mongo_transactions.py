"""Commits in MongoDB: one transaction each, tried again while that may help, and its outcome always known in the end.

A worker's commits run one after the other in one session that lives as long as the store. They would meet at the
worker's row anyway; and the server ends what a session has left open as soon as something newer begins in it, so that
neither a cancelled commit nor a lost connection leaves locks behind.

The answer to commitTransaction can get lost. A worker that was told "try again" would then meet its own writes and give
up a decision it had made. So each commit writes a token into the worker's row, and when the answer is missing, the row
is changed once more, later in the same session: from then on the transaction can neither be committed nor undone any
more, and the token that stood there tells what became of it. This goes on for as long as the server is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final

import pymongo
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from exec_service.stores import Lease, LeaseLost, RevisionConflict, StoreUnavailable
from exec_service.stores.mongo_batches import Batch, Unexpected
from exec_service.stores.mongo_calls import Calls
from exec_service.stores.mongo_codec import OPTIONS, decode
from exec_service.stores.mongo_connection import MAJORITY, Connection
from exec_service.stores.mongo_errors import UNKNOWN_COMMIT, is_passing
from exec_service.stores.mongo_writes import Plan

logger = logging.getLogger(__name__)

WORKERS: Final = "workers"
SNAPSHOT: Final = ReadConcern("snapshot")
#: How many commits without a lease may be under way at once.
FREE_SESSIONS: Final = 4
#: How long the end of a transaction that nobody wants any more is waited for.
CLEANING_SECONDS: Final = 3.0
COMMIT: Final = "commit"


class Transactions:
    """The sessions of one store, and what is committed in them."""

    def __init__(self, connection: Connection, calls: Calls) -> None:
        self._connection = connection
        self._calls = calls
        self._worker_session: AsyncClientSession | None = None
        self._worker_lock = asyncio.Lock()
        self._free: asyncio.Queue[AsyncClientSession] = asyncio.Queue()
        self._sessions: list[AsyncClientSession] = []

    def open(self) -> None:
        """Make the sessions."""
        client = self._connection.client
        self._sessions = [client.start_session() for _ in range(1 + FREE_SESSIONS)]
        self._worker_lock = asyncio.Lock()
        self._worker_session, *rest = self._sessions
        self._free = asyncio.Queue()
        for session in rest:
            self._free.put_nowait(session)

    async def close(self) -> None:
        """End the sessions; nothing is under way in them any more."""
        sessions, self._sessions, self._worker_session = self._sessions, [], None
        for session in sessions:
            await _quietly(session.end_session)

    def session_ids(self) -> list[Any]:
        """Of all sessions in which transactions of ours run, as the server knows them."""
        return [session.session_id["id"] for session in self._sessions]

    async def commit(self, plan: Plan, lease: Lease | None) -> None:
        """Write all or nothing. A caller who is cancelled does not wait: what was begun ends, and is not tried again.

        :raises RevisionConflict: something is not as the plan expects it.
        :raises LeaseLost: the lease does not stand.
        :raises StoreUnavailable: nothing was written; or, without a lease, the outcome is not known.
        """
        commit = _Commit(self._connection, plan, lease)
        await self._calls.run(self._run(commit), commit.give_up)

    @contextlib.asynccontextmanager
    async def worker_session(self) -> AsyncIterator[AsyncClientSession]:
        """The session of the worker's row, for one at a time. :raises StoreUnavailable: it is busy beyond patience."""
        try:
            async with asyncio.timeout(self._connection.timeout_seconds):
                await self._worker_lock.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("an earlier commit of this worker is still waiting for MongoDB") from error
        try:
            if self._worker_session is None:
                raise StoreUnavailable("the store is not open")
            yield self._worker_session
        finally:
            self._worker_lock.release()

    async def _run(self, commit: _Commit) -> None:
        async with self._session(commit.lease) as session:
            await commit.run(session)

    @contextlib.asynccontextmanager
    async def _session(self, lease: Lease | None) -> AsyncIterator[AsyncClientSession]:
        if lease is not None:
            async with self.worker_session() as session:
                yield session
            return
        if not self._sessions:
            raise StoreUnavailable("the store is not open")
        session = await self._free.get()
        try:
            yield session
        finally:
            self._free.put_nowait(session)


class _Commit:
    """One commit, from the first attempt to its known end."""

    _session: AsyncClientSession

    def __init__(self, connection: Connection, plan: Plan, lease: Lease | None) -> None:
        self._connection = connection
        self._plan = plan
        self.lease = lease
        self._token = ""
        self._given_up = False

    def give_up(self) -> None:
        """Nobody waits for it any more: no further attempts."""
        self._given_up = True

    async def run(self, session: AsyncClientSession) -> None:
        """Try until it is done, or known that it cannot be."""
        self._session = session
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._connection.timeout_seconds
        waits = _jittered(0.005, 0.25)
        thorough = False
        while not self._given_up:
            try:
                if await self._attempt(max(deadline - loop.time(), 0.1), thorough=thorough):
                    return
                # It was not committed, which took long to learn: it gets its time again.
                deadline = max(deadline, loop.time() + self._connection.timeout_seconds / 2)
            except Unexpected as unexpected:
                if thorough and unexpected.known:
                    raise RevisionConflict(unexpected.known) from None
                thorough = True
            except PyMongoError as error:
                # Nothing of it is committed, or this would be no error: another attempt may do, if it is passing.
                if not is_passing(error) or loop.time() > deadline:
                    raise self._connection.translated(error, COMMIT) from error
            if loop.time() > deadline:
                raise StoreUnavailable("MongoDB could not commit: others keep changing the same documents")
            await asyncio.sleep(next(waits))

    async def _attempt(self, seconds: float, *, thorough: bool) -> bool:
        """Whether it is committed; False when it is known not to be, and may be tried again."""
        self._token = uuid.uuid4().hex
        await self._session.start_transaction(SNAPSHOT, MAJORITY)
        try:
            with pymongo.timeout(seconds):
                await self._touch()
                database = self._connection.database
                await Batch(database, self._session, self._plan, thorough=thorough).write()
        except BaseException:
            await _undisturbed(_quietly(self._session.abort_transaction))
            raise
        return await self._finish()

    async def _touch(self) -> None:
        """The worker's row comes first: whoever takes the lease over waits for us, or stops us."""
        lease = self.lease
        if lease is None:
            return
        touched = {
            "q": {"_id": lease.worker_id, "epoch": lease.epoch, "released": False},
            "u": {"$currentDate": {"heartbeat": True}, "$set": {"token": self._token}},
        }
        reply = await self._connection.database.command(
            {"update": WORKERS, "updates": [touched]}, session=self._session, codec_options=OPTIONS
        )
        if reply["n"] != 1:
            raise LeaseLost(f"worker {lease.worker_id} has lost its lease (epoch {lease.epoch}): it was taken over")

    async def _finish(self) -> bool:
        try:
            with pymongo.timeout(self._connection.timeout_seconds):
                await self._session.commit_transaction()
            return True
        except PyMongoError as error:
            if self.lease is not None:
                logger.warning("MongoDB has not said whether it committed, asking: %s", type(error).__name__)
                return await self._resolve(self.lease)
            if not error.has_error_label(UNKNOWN_COMMIT):
                raise
            return await self._repeat()
        except asyncio.CancelledError:
            # It may be on its way, or not: do not leave it open.
            await _undisturbed(_quietly(self._session.commit_transaction))
            raise

    async def _repeat(self) -> bool:
        """Ask for the same commit again, for a bounded time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._connection.timeout_seconds
        waits = _jittered(0.05, 1.0)
        while not self._given_up:
            try:
                with pymongo.timeout(self._connection.timeout_seconds):
                    await self._session.commit_transaction()
                return True
            except PyMongoError as error:
                if not error.has_error_label(UNKNOWN_COMMIT):
                    raise
                if loop.time() > deadline:
                    raise StoreUnavailable("MongoDB has not said whether it committed: load tells") from error
            await asyncio.sleep(next(waits))
        return False

    async def _resolve(self, lease: Lease) -> bool:
        """Whether the transaction with our token was committed: known once the row was changed after it."""
        workers = self._connection.collection(WORKERS)
        waits = _jittered(0.02, 2.0)
        while not self._given_up:
            try:
                with pymongo.timeout(self._connection.timeout_seconds):
                    found = await workers.find_one_and_update(
                        {"_id": lease.worker_id},
                        {"$set": {"resolved": self._token}},
                        {"token": 1, "epoch": 1},
                        return_document=ReturnDocument.BEFORE,
                        session=self._session,
                    )
            except PyMongoError as error:
                if not is_passing(error):
                    logger.error("Asking on: %s", self._connection.translated(error, "say whether it committed"))
                await asyncio.sleep(next(waits))
                continue
            row = {} if found is None else decode(found)
            if row.get("token") == self._token:
                return True
            if row.get("epoch") != lease.epoch:
                raise LeaseLost(f"worker {lease.worker_id} has lost its lease (epoch {lease.epoch}) during a commit")
            return False
        return False


async def _quietly(end: Callable[[], Awaitable[None]]) -> None:
    """End something that is of no more use, for a bounded time; the server does it later by itself."""
    try:
        with pymongo.timeout(CLEANING_SECONDS):
            await end()
    except PyMongoError as error:
        logger.debug("Left to the server to end: %s", type(error).__name__)


async def _undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Do it to its end, although we are being cancelled."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def _jittered(first: float, longest: float) -> Iterator[float]:
    """Seconds to wait, without end: about twice as long each time, and never in step with others."""
    wait = first
    while True:
        yield random.uniform(wait / 2, wait)
        wait = min(wait * 2, longest)
