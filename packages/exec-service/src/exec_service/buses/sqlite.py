"""The embedded bus: topics and subscriptions in one SQLite file, shared by the processes of one machine.

Publishing is durable; leasing a message to a consumer and acknowledging it survive the death of any process, but need
not survive a power cut: losing them only delivers again. A subscription gets whatever its topic still holds when it is
created. A topic without subscriptions keeps its newest messages, `KEPT_WITHOUT_SUBSCRIPTION` of them. The messages of
one ordering key are with one consumer at a time.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from exec_service.buses import BusError, BusUnavailable, Message, Outgoing
from exec_service.buses.sqlite_queue import (
    SCHEMA_VERSION,
    Delivery,
    acknowledge,
    add_messages,
    give_back,
    make_missing,
    take_messages,
)
from exec_service.embedded import (
    BUSY_TIMEOUT_SECONDS,
    Database,
    Watch,
    check_schema_version,
    data_version,
    transaction,
)
from exec_service.process_locks import ProcessLock, is_held, lock_path

FILE_NAME: Final = "bus.sqlite3"
POLL_SECONDS: Final = 0.01
#: How often a waiting pull looks whether another consumer has died.
DEATH_CHECK_SECONDS: Final = 0.2


class SqliteBus:
    """A `Bus` in `data_dir`. `subscriptions` maps each known subscription to its topic: entering creates them, so that
    what is published before anybody pulls is kept. `consumer` names this user of the bus in the files."""

    def __init__(
        self,
        data_dir: Path,
        consumer: str,
        subscriptions: Mapping[str, str],
        *,
        ack_deadline_seconds: float = 20.0,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        self._name = consumer
        self._subscriptions = dict(subscriptions)
        self._ack_deadline = ack_deadline_seconds
        self._data_dir = data_dir
        self._consumer = ""
        self._lock: ProcessLock | None = None
        self._published = asyncio.Event()
        self.heard_at: float | None = None
        self._database = Database(
            data_dir / FILE_NAME,
            self._prepare,
            unavailable=BusUnavailable,
            broken=BusError,
            closed=self._release,
            busy_timeout_seconds=busy_timeout_seconds,
        )

    async def __aenter__(self) -> Self:
        """Open the file and create the subscriptions.

        :raises BusError: a newer release has written it, or a subscription belongs to another topic.
        """
        await self._database.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the file, and free the lock that says that this consumer lives: others get what it leaves."""
        await self._database.close()
        self._announce()

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> list[str]:
        """See `Bus.publish`."""
        if len({message.ordering_key for message in messages}) > 1:
            raise ValueError("the messages of one publish share one ordering key")
        if not messages:
            return []

        def work(connection: sqlite3.Connection) -> list[str]:
            with transaction(connection):
                return add_messages(connection, topic, messages)

        ids = await self._database.run(work)
        self._announce()
        return ids

    async def pull(self, subscription: str, max_messages: int) -> list[Message]:
        """See `Bus.pull`. A cancelled pull gives back what it may have taken."""
        if max_messages < 1:
            raise ValueError(f"max_messages must be positive, got {max_messages}")
        while True:
            published = self._published
            delivery = Delivery()
            try:
                version = await self._database.run(
                    lambda connection, delivery=delivery: self._take(  # type: ignore[misc]  # the default binds it
                        connection, subscription, max_messages, delivery
                    )
                )
            except asyncio.CancelledError:
                self._return(subscription, delivery)
                raise
            self.heard_at = time.monotonic()
            if delivery.messages:
                return delivery.messages
            await self._news(published, version, delivery.look_again_at)

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """See `Bus.acknowledge`. An id is late once its message was leased again."""

        def work(connection: sqlite3.Connection) -> None:
            with transaction(connection, durable=False):
                acknowledge(connection, subscription, ack_ids)

        if ack_ids:
            await self._database.run(work)

    # ------------------------------------------------------------------ in the database's thread

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # A name of its own for each life: what a former life had leased is to be delivered again. And the lock first:
        # a consumer that leases without holding it would count as dead.
        self._consumer = f"{self._name}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._lock = ProcessLock(self._lock_path(self._consumer))
        self._lock.acquire()
        with transaction(connection):
            problem = check_schema_version(connection, SCHEMA_VERSION)
            problem = problem or make_missing(connection, self._subscriptions)
            if problem is not None:
                raise BusError(f"{self._database.path}: {problem}")

    def _take(self, connection: sqlite3.Connection, subscription: str, max_messages: int, into: Delivery) -> int:
        """Lease what is waiting; the data version from before looking."""
        version = data_version(connection)
        take_messages(
            connection,
            subscription,
            max_messages,
            consumer=self._consumer,
            is_dead=self._is_dead,
            now=time.time(),
            deadline_seconds=self._ack_deadline,
            into=into,
        )
        return version

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _is_dead(self, consumer: str) -> bool:
        path = self._lock_path(consumer)
        if consumer == self._consumer or is_held(path):
            return False
        path.unlink(missing_ok=True)  # a consumer's name is never used again
        return True

    def _lock_path(self, consumer: str) -> Path:
        return lock_path(self._data_dir, f"bus-{consumer}")

    # ------------------------------------------------------------------ waiting

    def _announce(self) -> None:
        """Wake the pulls of this process that wait."""
        published, self._published = self._published, asyncio.Event()
        published.set()

    async def _news(self, published: asyncio.Event, version: int, look_again_at: float | None) -> None:
        """Return when there may be something to pull: published here or elsewhere, run out, or left by the dead."""
        watch = Watch(self._database, version)
        next_check = time.monotonic() + DEATH_CHECK_SECONDS
        while True:
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await published.wait()
                return
            except TimeoutError:
                pass  # the poll: look at the file
            if look_again_at is not None and (time.time() >= look_again_at or time.monotonic() >= next_check):
                return
            if await watch.new_version() is not None:
                return
            self.heard_at = time.monotonic()

    def _return(self, subscription: str, delivery: Delivery) -> None:
        """Give back what a cancelled pull leased, as soon as the thread is done with it."""

        def work(connection: sqlite3.Connection) -> None:
            if delivery.messages:
                with transaction(connection, durable=False):
                    give_back(connection, subscription, delivery.messages)

        loop = asyncio.get_running_loop()

        def done(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._announce)

        try:
            self._database.submit(work).add_done_callback(done)
        except BusUnavailable:
            return  # closed meanwhile, which has given everything back
