"""Delivers what the transactions have promised: confirmations, signal updates, notifications.

Rows are written together with what they tell of, and delivered afterwards: at least once, in order, with a stable id.
Each channel has its own task, so that one that fails or hangs delays no other, and no order. A row is marked in the
next commit after its delivery.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from exec_core.clock import Clock

from exec_service.backoff import exponential
from exec_service.ledger import Ledger
from exec_service.stores import OUTBOX, LeaseLost, Store, StoreError, Write

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]

CONFIRMATION_CHANNEL: Final = "confirmations"
SIGNAL_CHANNEL: Final = "signals"
NOTIFIER_CHANNEL: Final = "notifier:"

MAX_ROWS = 1_000
#: The specification's three quick tries; after them it goes on with longer waits.
QUICK_TRIES = 3
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 30.0


class Channel:
    """One way out. `deliver` gets rows in order and returns how many of them, from the front, it has delivered."""

    def __init__(self, name: str, deliver: Callable[[Sequence[Row]], Awaitable[int]]) -> None:
        self.name = name
        self._deliver = deliver
        self._rows: deque[Row] = deque()
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, row: Row) -> None:
        """Queue a row that is durable."""
        self._rows.append(row)
        self._empty.clear()
        self._arrived.set()

    @property
    def waiting(self) -> int:
        """How many rows are not delivered yet."""
        return len(self._rows)

    async def run(self, mark: Callable[[Sequence[Row]], Awaitable[None]]) -> None:
        """Deliver what arrives, until cancelled."""
        waits = exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        failures = 0
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._rows:
                rows = [self._rows[index] for index in range(min(MAX_ROWS, len(self._rows)))]
                try:
                    done = await self._deliver(rows)
                except Exception as error:  # noqa: BLE001  # whatever a far side does, the rows stay and are tried again
                    failures += 1
                    level = logging.WARNING if failures >= QUICK_TRIES else logging.INFO
                    text = "Delivery to %s failed (try %d, %d waiting), trying again: %s: %s"
                    logger.log(level, text, self.name, failures, len(self._rows), type(error).__name__, error)
                    await asyncio.sleep(next(waits))
                    continue
                if failures:
                    logger.warning("Delivery to %s works again, after %d failures", self.name, failures)
                    failures, waits = 0, exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
                delivered = [self._rows.popleft() for _ in range(done)]
                await self._marked(delivered, mark)
            self._empty.set()

    async def _marked(self, rows: Sequence[Row], mark: Callable[[Sequence[Row]], Awaitable[None]]) -> None:
        """Mark the rows, however often it takes: unmarked, they would only be delivered again."""
        for wait in exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS):
            try:
                await mark(rows)
                return
            except LeaseLost:
                raise
            except StoreError as error:
                logger.warning("What %s has delivered cannot be marked yet: %s", self.name, error)
                await asyncio.sleep(wait)

    async def drained(self) -> None:
        """Wait until everything is delivered and marked."""
        await self._empty.wait()


class Outbox:
    """The channels, and the rows between the commit and their delivery."""

    def __init__(self, store: Store, ledger: Ledger, clock: Clock, channels: Sequence[Channel]) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._channels = {channel.name: channel for channel in channels}
        self._unknown: set[str] = set()
        ledger.delivered = self._committed

    async def load(self) -> None:
        """Take up what an earlier run left undelivered, oldest first."""
        for row in await self._store.load(OUTBOX, {"delivered_at": None}, order_by="sequence"):
            self._add(row)

    async def run(self) -> None:
        """Deliver, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for channel in self._channels.values():
                group.create_task(channel.run(self._mark), name=f"outbox {channel.name}")

    async def drained(self) -> None:
        """Wait until all channels have delivered everything."""
        await asyncio.gather(*(channel.drained() for channel in self._channels.values()))

    @property
    def waiting(self) -> dict[str, int]:
        """How many rows each channel still has to deliver."""
        return {name: channel.waiting for name, channel in self._channels.items()}

    def _committed(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if write.collection == OUTBOX and write.expected_revision == 0:
                self._add(write.document)

    def _add(self, row: Row) -> None:
        channel = self._channels.get(row["channel"])
        if channel is not None:
            channel.add(row)
        elif row["channel"] not in self._unknown:
            self._unknown.add(row["channel"])
            logger.warning("Nobody delivers %s any more; its rows stay in the outbox", row["channel"])

    async def _mark(self, rows: Sequence[Row]) -> None:
        now = self._clock()
        await self._ledger.write(*(Write(OUTBOX, row["_id"], None, {"delivered_at": now}) for row in rows))
