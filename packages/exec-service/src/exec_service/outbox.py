"""Delivers what the transactions have promised: confirmations, signal updates, notifications.

Rows are written together with what they tell of, and delivered afterwards: at least once, in order, with a stable id.
Each channel has its own task, so that one that fails or hangs delays no other, and no order. A row is marked in the
next commit after its delivery.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from exec_core.clock import Clock
from exec_core.errors import NotificationDelayed

from exec_service.backoff import exponential
from exec_service.ledger import Ledger
from exec_service.outbox_rows import DOCUMENT_ID, Row, rows_of
from exec_service.readiness import ChannelStatus
from exec_service.stores import OUTBOX, Document, LeaseLost, Store, StoreError, Write

logger = logging.getLogger(__name__)

MAX_ROWS = 1_000
#: The specification's three quick tries; after them it goes on with longer waits.
QUICK_TRIES = 3
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 30.0
#: A far side that asks for a longer pause than this is asked again after so much of it.
LONGEST_PAUSE_SECONDS = 900.0
TAKEN_KEPT = 50_000


class Channel:
    """One way out. `deliver` gets rows in order and returns how many of them, from the front, it has delivered.

    What is delivered is marked while the next is being delivered, as much at once as one commit finds. `deliver` is
    called once in `every_seconds` at most: what arrives soon after the last time is delivered together.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[Sequence[Row]], Awaitable[int]],
        *,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
        every_seconds: float = 0.0,
    ) -> None:
        self.name = name
        self._longest_wait = longest_wait_seconds
        self._every = every_seconds
        #: When it may be called again, by the loop's clock.
        self._next_at = 0.0
        self._deliver = deliver
        self._rows: deque[Row] = deque()
        #: How many of them, from the front, are being delivered now.
        self._under_way = 0
        self._delivered: list[Row] = []
        self._marking: list[Row] = []
        #: Rows, by their ids, that somebody else is to deliver; and what tells that one step more is done.
        self._let_go: set[str] = set()
        self._moved = asyncio.Event()
        self._arrived = asyncio.Event()
        self._done = asyncio.Event()
        self._resting = asyncio.Event()
        self._resting.set()

    def add(self, row: Row) -> None:
        """Queue a row that is durable."""
        self._rows.append(row)
        self._resting.clear()
        self._arrived.set()

    @property
    def waiting(self) -> int:
        """How many rows are not delivered yet."""
        return len(self._rows)

    def status(self) -> ChannelStatus:
        """What it still has to deliver."""
        return ChannelStatus(self.name, len(self._rows), self._rows[0]["created_at"] if self._rows else None)

    async def run(
        self, mark: Callable[[Sequence[Row]], Awaitable[None]], may_deliver: Callable[[], bool] = lambda: True
    ) -> None:
        """Deliver what arrives, until cancelled; nothing while `may_deliver` says no."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver_all(may_deliver), name=f"outbox {self.name} delivers")
            group.create_task(self._mark_all(mark), name=f"outbox {self.name} marks")

    async def _deliver_all(self, may_deliver: Callable[[], bool]) -> None:
        waits = exponential(FIRST_WAIT_SECONDS, self._longest_wait)
        failures = pauses = 0
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._rows:
                await self._gather()
                if not self._rows:
                    break
                if not may_deliver():
                    # Another worker may be telling of these orders already, and of what came after.
                    await self._rest(FIRST_WAIT_SECONDS)
                    continue
                rows = [self._rows[index] for index in range(min(MAX_ROWS, len(self._rows)))]
                self._under_way = len(rows)
                try:
                    done = await self._deliver(rows)
                except NotificationDelayed as error:
                    self._stand_still()
                    # No failure: the far side works, and says when. What arrives meanwhile waits as well.
                    wait = _pause(error.retry_after_seconds)
                    level = logging.DEBUG if pauses else logging.INFO
                    text = "Delivery to %s pauses for %g s (%d waiting): %s"
                    logger.log(level, text, self.name, wait, len(self._rows), error)
                    pauses += 1
                    await self._rest(wait)
                    continue
                except Exception as error:  # noqa: BLE001  # whatever a far side does, the rows stay and are tried again
                    self._stand_still()
                    failures += 1
                    level = logging.WARNING if failures >= QUICK_TRIES else logging.INFO
                    text = "Delivery to %s failed (try %d, %d waiting), trying again: %s: %s"
                    logger.log(level, text, self.name, failures, len(self._rows), type(error).__name__, error)
                    if failures < QUICK_TRIES:
                        await asyncio.sleep(next(waits))
                    else:
                        await self._rest(next(waits))
                    continue
                if failures:
                    logger.warning("Delivery to %s works again, after %d failures", self.name, failures)
                    failures, waits = 0, exponential(FIRST_WAIT_SECONDS, self._longest_wait)
                pauses = 0
                self._delivered += [self._rows.popleft() for _ in range(done)]
                self._done.set()
                self._stand_still()

    async def _gather(self) -> None:
        """Wait for more, where something was delivered just now."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_at:
            await asyncio.sleep(self._next_at - loop.time())
        self._next_at = loop.time() + self._every

    async def _rest(self, seconds: float) -> None:
        """Wait, and keep nobody who wants to stop waiting with us: the next start goes on here."""
        self._resting.set()
        await asyncio.sleep(seconds)
        self._resting.clear()

    async def _mark_all(self, mark: Callable[[Sequence[Row]], Awaitable[None]]) -> None:
        """Mark what is delivered, however often it takes: unmarked, it would only be delivered again."""
        while True:
            await self._done.wait()
            self._done.clear()
            while self._delivered:
                rows, self._delivered = self._delivered, []
                self._marking = rows
                for wait in exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS):
                    try:
                        await mark(rows)
                        break
                    except LeaseLost:
                        raise
                    except StoreError as error:
                        logger.warning("What %s has delivered cannot be marked yet: %s", self.name, error)
                        await asyncio.sleep(wait)
                self._marking = []
                self._moved.set()
            if not self._rows:
                self._resting.set()

    def _stand_still(self) -> None:
        """Nothing is under way at the far side, for the moment: who wants to let go of rows may do so."""
        self._under_way = 0
        self._drop()
        self._moved.set()

    def _drop(self) -> None:
        """Take out what is let go of, but for what is under way."""
        if self._let_go:
            rows = [row for n, row in enumerate(self._rows) if n < self._under_way or row["_id"] not in self._let_go]
            self._rows = deque(rows)
            if not rows and not self._delivered and not self._marking:
                self._resting.set()

    async def let_go(self, mine: Callable[[Row], bool]) -> None:
        """Deliver no more of these rows: what is being delivered now is finished and marked first, the rest dropped.

        What is added later is not meant.
        """
        ids = {row["_id"] for row in self._held() if mine(row)}
        self._let_go |= ids
        self._drop()
        try:
            while any(row["_id"] in ids for row in self._held()):
                self._moved.clear()
                await self._moved.wait()
        finally:
            self._let_go -= ids

    def _held(self) -> Iterator[Row]:
        return chain(self._rows, self._delivered, self._marking)

    def holds(self) -> set[str]:
        """The ids of the rows that are not delivered, or not marked, yet."""
        return {row["_id"] for row in self._held()}

    async def drained(self) -> None:
        """Wait until everything is delivered and marked, or the far side does not take it now."""
        await self._resting.wait()


def _pause(seconds: float) -> float:
    """How long to wait where so much is asked for: never not at all, never for ever. NaN is no wish."""
    return min(max(FIRST_WAIT_SECONDS, seconds), LONGEST_PAUSE_SECONDS)


class Outbox:
    """The channels, and the rows between the commit and their delivery."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        channels: Sequence[Channel],
        may_deliver: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._channels = {channel.name: channel for channel in channels}
        self._may_deliver = may_deliver
        #: Rows that are in a channel, or were lately, with their account: one is not queued twice.
        self._taken: OrderedDict[str, str] = OrderedDict()
        #: What is not delivered yet of the documents that hold several rows.
        self._owed: dict[str, set[str]] = {}
        self._unknown: set[str] = set()
        ledger.delivered = self._committed

    async def take_up(self, mine: Callable[[str], bool]) -> None:
        """Take up what others left undelivered, oldest first, of the accounts (empty: of none) that are `mine` now."""
        found = await self._store.load(OUTBOX, {"delivered_at": None}, order_by="sequence")
        documents = [document for document in found if mine(document.get("account_id") or "")]
        for row in in_order_of_revision([row for document in documents for row in self._rows_of(document)]):
            self._add(row)

    async def let_go(self, account_id: str) -> None:
        """Leave what waits for the account to whoever owns it next; what is being delivered is finished and marked.

        What our intake answers for the account from now on is ours to deliver all the same.
        """

        def mine(row: Row) -> bool:
            return (row.get("account_id") or "") == account_id

        try:
            await asyncio.gather(*(channel.let_go(mine) for channel in self._channels.values()))
        finally:
            held = set[str]().union(*(channel.holds() for channel in self._channels.values()))
            for row_id in [key for key, owner in self._taken.items() if owner == account_id and key not in held]:
                del self._taken[row_id]
            # Whoever owns the account next delivers the whole document again, if a part of it was left.
            for name in [name for name, owed in self._owed.items() if not owed & held]:
                del self._owed[name]

    async def run(self) -> None:
        """Deliver, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for channel in self._channels.values():
                group.create_task(channel.run(self._mark, self._may_deliver), name=f"outbox {channel.name}")

    async def drained(self) -> None:
        """Wait until all channels have delivered everything that their far sides take now."""
        await asyncio.gather(*(channel.drained() for channel in self._channels.values()))

    @property
    def waiting(self) -> dict[str, int]:
        """How many rows each channel still has to deliver."""
        return {name: channel.waiting for name, channel in self._channels.items()}

    def status(self) -> list[ChannelStatus]:
        """What each channel still has to deliver."""
        return [channel.status() for channel in self._channels.values()]

    def _committed(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if write.collection == OUTBOX and write.expected_revision == 0:
                for row in self._rows_of(write.document):
                    self._add(row)

    def _rows_of(self, document: Mapping[str, Any]) -> list[Document]:
        """The document's rows; it is marked when all of them are delivered."""
        rows = rows_of(document)
        if len(rows) > 1:
            self._owed.setdefault(document["_id"], {row["_id"] for row in rows})
        return rows

    def _add(self, row: Row) -> None:
        if row["_id"] in self._taken:
            return
        self._taken[row["_id"]] = row.get("account_id") or ""
        if len(self._taken) > TAKEN_KEPT:
            self._taken.popitem(last=False)
        channel = self._channels.get(row["channel"])
        if channel is not None:
            channel.add(row)
        elif row["channel"] not in self._unknown:
            self._unknown.add(row["channel"])
            logger.warning("Nobody delivers %s any more; its rows stay in the outbox", row["channel"])

    async def _mark(self, rows: Sequence[Row]) -> None:
        now, done = self._clock(), list[str]()
        for row in rows:
            name = row.get(DOCUMENT_ID, row["_id"])
            owed = self._owed.get(name)
            if owed is not None:
                owed.discard(row["_id"])
                if owed:
                    continue
                del self._owed[name]
            done.append(name)
        if done:
            await self._ledger.write_along(*(Write(OUTBOX, name, None, {"delivered_at": now}) for name in done))


def in_order_of_revision(rows: Sequence[Row]) -> list[Row]:
    """The rows in the order given, except that those of one order in one channel follow its revisions.

    The order given is that of clocks: two machines' differ, and one is set back.
    """
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        if "order_revision" in row:
            places[(row["channel"], row["client_order_id"])].append(place)
    ordered = list(rows)
    for own in places.values():
        for place, row in zip(own, sorted((rows[place] for place in own), key=_revision), strict=True):
            ordered[place] = row
    return ordered


def _revision(row: Row) -> int:
    return int(row["order_revision"])
