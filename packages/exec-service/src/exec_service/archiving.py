"""Archiving: what has ended long ago goes from the store into files, and keeps being known.

It runs beside a working service, and may be killed at any moment. In batches, and in this order: documents are
written to files and are durable there; orders give way to their tombstones, each only if nothing has changed it
meanwhile; their executions are removed; at last the tombstones lose what they were found by. So nothing is ever gone
from the store that is not in a file, an order's executions are never missing while it is an order, and the next run
finds what one that was killed has left half done. It writes again what it cannot know to be in a file.

Positions, confirmations, signals and dead letters stay; so does whatever waits for a person.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from exec_core.clock import Clock
from exec_core.orders import FINAL_STATUSES

from exec_service import journal
from exec_service.archive_files import ArchiveFiles
from exec_service.commands import OPEN
from exec_service.stores import COMMANDS, FILLS, ORDERS, OUTBOX, Document, Not, Replacement, Store, Within
from exec_service.tombstones import finished, is_tombstone, tombstone

#: So many documents are archived at once.
BATCH: Final = 500
FINAL: Final = frozenset(status.value for status in FINAL_STATUSES)
#: What is archived, in this order.
ARCHIVED: Final = (ORDERS, FILLS, OUTBOX, COMMANDS)


@dataclass(slots=True)
class Archived:
    """How many documents of a collection were archived, or would be; `left`: how many orders had changed meanwhile."""

    collection: str
    documents: int = 0
    left: int = 0


class Archiving:
    """One run. `before`: what has been as it is since before that time is archived. Without `files` nothing changes."""

    def __init__(self, store: Store, files: ArchiveFiles | None, before: datetime, clock: Clock) -> None:
        self._store = store
        self._files = files
        self._before = before
        self._clock = clock
        self.done = {name: Archived(name) for name in ARCHIVED}

    async def run(self) -> None:
        """Archive everything that is old enough; what is done so far, `done` tells at any time."""
        async for documents in self._arrived_before():
            await self._archive_orders(documents)
        await self._archive_delivered()
        await self._archive_answered()

    # ------------------------------------------------------------------ orders

    async def _arrived_before(self) -> AsyncIterator[list[Document]]:
        """The ended orders that arrived before that time, oldest first, in batches."""
        below = int(self._before.timestamp() * 1_000_000)  # see `intake.ArrivalNumbers`
        at_least: int | None = None
        while True:
            where = {"status": list(FINAL), "sequence": Within(at_least, below)}
            found = await self._store.load(ORDERS, where, order_by="sequence", limit=BATCH)
            if len(found) < BATCH:
                yield found
                return
            # Orders of several workers may bear one number: those of the last one come whole with the next batch.
            last = found[-1]["sequence"]
            batch = [document for document in found if document["sequence"] < last]
            yield batch or await self._store.load(ORDERS, {"status": list(FINAL), "sequence": last})
            at_least = last if batch else last + 1

    async def _archive_orders(self, documents: Iterable[Document]) -> None:
        chosen, begun = [], []
        for document in documents:
            if is_tombstone(document):
                begun.append(document)  # by a run that was killed, or one beside us
            elif self._may_go(document):
                chosen.append(document)
        fills: dict[str, list[Document]] = {document["_id"]: [] for document in chosen}
        for fill in await self._store.load(FILLS, {"client_order_id": list(fills)}) if fills else []:
            fills[fill["client_order_id"]].append(fill)
        now = self._clock()
        stones = {}
        for document in chosen:
            own = fills[document["_id"]]
            stones[document["_id"]] = tombstone(document, journal.order_record(document, own), own, now)
        if self._files is None:
            self._count(chosen, fills)
            return
        self._files.write(ORDERS, chosen)
        self._files.write(FILLS, [fill for own in fills.values() for fill in own])
        replacements = [Replacement(document["revision"], stones[document["_id"]]) for document in chosen]
        left = await self._store.replace(ORDERS, replacements)
        self.done[ORDERS].left += len(left)
        self._count([document for document in chosen if document["_id"] not in left], fills)
        await self._finish([*begun, *(stone for key, stone in stones.items() if key not in left)])

    def _may_go(self, document: Mapping[str, Any]) -> bool:
        """Whether nothing has happened to the ended order for so long, and nobody is asked to look at it."""
        if document["attention"] is not None:
            return False
        changed_at: datetime = document["updated_at"]
        return changed_at < self._before

    async def _finish(self, stones: Iterable[Document]) -> None:
        """Remove the executions of what is an order no more."""
        stones = list(stones)
        await self._store.remove(FILLS, [key for stone in stones for key in stone["executions"]])
        # Whoever was quicker at one has done the same.
        await self._store.replace(ORDERS, [Replacement(stone["revision"], finished(stone)) for stone in stones])

    def _count(self, orders: Iterable[Document], fills: Mapping[str, list[Document]]) -> None:
        for document in orders:
            self.done[ORDERS].documents += 1
            self.done[FILLS].documents += len(fills[document["_id"]])

    # ------------------------------------------------------------------ what never changes again

    async def _archive_delivered(self) -> None:
        where = {"delivered_at": Within(below=self._before)}
        if self._files is None:
            self.done[OUTBOX].documents = await self._store.count(OUTBOX, where)
            return
        while found := await self._store.load(OUTBOX, where, order_by="delivered_at", limit=BATCH):
            await self._move(self._files, OUTBOX, found)

    async def _archive_answered(self) -> None:
        """Commands are what people have typed: they are few enough to be looked at all at once."""
        asked = await self._store.load(COMMANDS, {"state": Not(OPEN), "created_at": Within(below=self._before)})
        found = [document for document in asked if document["answered_at"] < self._before]
        if self._files is None:
            self.done[COMMANDS].documents = len(found)
            return
        for start in range(0, len(found), BATCH):
            await self._move(self._files, COMMANDS, found[start : start + BATCH])

    async def _move(self, files: ArchiveFiles, collection: str, documents: list[Document]) -> None:
        files.write(collection, documents)
        await self._store.remove(collection, [document["_id"] for document in documents])
        self.done[collection].documents += len(documents)
