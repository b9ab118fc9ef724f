"""The ledger: the one writer of our orders and positions, over what was committed last (`committed`).

Everything that happens becomes a job: a synchronous function that decides on a `Unit` of work. Whatever jobs have
arrived while the last transaction was under way go into the next one (group commit), so that a lone order waits for
nobody and a burst shares its round trips. A job sees what the jobs before it in the batch decided; nobody else sees
anything before it is durable.

It knows no broker, no bus and no message: jobs decide, `project` says what else a changed order writes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from exec_core.clock import Clock
from exec_core.orders import Order

from exec_service import journal
from exec_service.backoff import exponential
from exec_service.committed import CommittedState
from exec_service.outbox_rows import together
from exec_service.stores import (
    Lease,
    LeaseLost,
    RevisionConflict,
    Store,
    StoreUnavailable,
    Write,
)
from exec_service.units import Changes, Entry, NotLoaded, Unit, merged

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BATCH = 500
MAX_CONFLICTS = 5
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0
#: How long what may wait for somebody else's commit does so; for less than `GATHERED_SECONDS` it does not even ride in
#: one, so that a busy service has fewer and larger statements of that kind.
ALONG_SECONDS = 0.2
GATHERED_SECONDS = 0.1
#: So many turns of the loop a commit waits for what is on its way to it already: they take microseconds, a commit
#: milliseconds.
GATHERING_TURNS = 5


class Project(Protocol):
    """What a changed order writes besides itself: the specification's documents and the outbox."""

    def __call__(self, before: Order | None, after: Entry, alarms: Sequence[str], at: datetime) -> list[Write]: ...


@dataclass(slots=True)
class _Job(Generic[T]):
    decide: Callable[[Unit], T]
    done: asyncio.Future[T]
    result: T | None = None
    conflicts: int = 0


class Ledger(CommittedState):
    """See the module's text. `changed` is told of each order after the commit that changed it."""

    def __init__(self, store: Store, project: Project, clock: Clock) -> None:
        super().__init__(store)
        self._project = project
        self._clock = clock
        self._queue: asyncio.Queue[_Job[Any]] = asyncio.Queue()
        self._under_way: list[_Job[Any]] = []
        self._along: list[_Job[Any]] = []
        self._hurry: asyncio.TimerHandle | None = None
        self._along_from = 0.0
        self.lease: Lease | None = None
        #: When the commit under way first asked for the store; None between commits.
        self.asking_since: datetime | None = None
        self.changed: list[Callable[[Order | None, Entry], None]] = []
        self.delivered: Callable[[Sequence[Write]], None] = lambda _writes: None

    def submit(self, decide: Callable[[Unit], T]) -> asyncio.Future[T]:
        """Queue a job; the future is done when what it decided is durable."""
        job: _Job[T] = _Job(decide, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(job)
        return job.done

    def write(self, *writes: Write) -> asyncio.Future[None]:
        """Queue plain writes; they ride in the next commit."""
        return self.submit(lambda unit: unit.write(*writes))

    def write_along(self, *writes: Write) -> asyncio.Future[None]:
        """Queue plain writes that are worth no commit of their own: they ride in somebody else's, or soon have one."""
        loop = asyncio.get_running_loop()
        job: _Job[None] = _Job(lambda unit: unit.write(*writes), loop.create_future())
        self._along.append(job)
        if self._hurry is None:
            self._hurry = loop.call_later(ALONG_SECONDS, lambda: self.write())
            self._along_from = loop.time() + GATHERED_SECONDS
        return job.done

    def _take_along(self) -> list[_Job[Any]]:
        """What rides in the commit that begins."""
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None
        taken, self._along = self._along, []
        return taken

    @property
    def waiting(self) -> int:
        """How many jobs wait for a commit."""
        return self._queue.qsize()

    @property
    def unwritten(self) -> int:
        """How many jobs wait for a commit, are in one, or were refused because the lease was lost."""
        return self._queue.qsize() + sum(not _is_written(job) for job in self._under_way)

    async def run(self) -> None:
        """Commit what arrives, until the lease is lost.

        :raises LeaseLost: another worker took over; every job that waits fails with it.
        """
        try:
            while True:
                self._under_way = []
                self._under_way = jobs = [await self._queue.get()]
                for _ in range(GATHERING_TURNS):
                    await asyncio.sleep(0)
                while not self._queue.empty() and len(jobs) < MAX_BATCH:
                    jobs.append(self._queue.get_nowait())
                if asyncio.get_running_loop().time() >= self._along_from:
                    jobs += self._take_along()
                await self._commit(jobs)
        except LeaseLost as error:
            self._under_way += self._take_along()
            while not self._queue.empty():
                self._under_way.append(self._queue.get_nowait())
            for job in self._under_way:
                if not job.done.done():
                    job.done.set_exception(error)
                    job.done.exception()  # not everybody waits for its outcome
            raise

    async def _commit(self, jobs: list[_Job[Any]]) -> None:
        """Decide and write `jobs` together; where documents have changed under us, decide anew."""
        while jobs:
            now = self._clock()
            batch = Changes()
            for job in jobs:
                await self._decide(job, batch, now)
            jobs = [job for job in jobs if not job.done.done()]
            if not jobs:
                return
            try:
                writes = self._writes(batch, now)
                await self._durably(writes)
            except RevisionConflict as conflict:
                self._drop(conflict)
                jobs = await self._again(jobs, conflict)
                continue
            except LeaseLost:
                raise
            except Exception as error:
                # One job's writes cannot be stored: the others must not suffer for it, and the loop lives on.
                logger.exception("A batch of %d jobs could not be stored", len(jobs))
                if len(jobs) == 1:
                    _fail(jobs[0], error)
                    return
                for job in jobs:
                    await self._commit([job])
                return
            self._install(batch, writes)
            for job in jobs:
                if not job.done.done():
                    job.done.set_result(job.result)
            return

    async def _decide(self, job: _Job[Any], batch: Changes, now: datetime) -> None:
        """Run one job over what the batch decided so far; one that fails spoils nothing of the others."""
        while not job.done.done():
            unit = Unit(self, batch, now)
            try:
                job.result = job.decide(unit)
            except NotLoaded as missing:
                try:
                    await self._patiently(self._load, missing)
                except Exception as error:  # noqa: BLE001  # the job's, whatever it is; the loop lives
                    _fail(job, error)
            except Exception as error:  # noqa: BLE001  # a bug in one job must not stop the others
                _fail(job, error)
            else:
                unit.merge()
                return

    async def _again(self, jobs: list[_Job[Any]], conflict: RevisionConflict) -> list[_Job[Any]]:
        """What to try after a conflict: all of them, or one by one when it goes on; who never succeeds, fails."""
        for job in jobs:
            job.conflicts += 1
        if len(jobs) > 1 and jobs[0].conflicts >= 2:
            for job in jobs:
                await self._commit([job])
            return []
        if jobs[0].conflicts > MAX_CONFLICTS:
            for job in jobs:
                _fail(job, conflict)
            return []
        return jobs

    async def _durably(self, writes: list[Write]) -> None:
        """Commit them. An attempt that got no answer may have written them: the next one must not take its own writes
        for somebody else's, or what they promise would be forgotten, and what waits for them would wait for ever."""
        unanswered = False

        async def commit() -> None:
            nonlocal unanswered
            try:
                await self._store.commit(writes, lease=self.lease)
            except StoreUnavailable:
                unanswered = True
                raise
            except RevisionConflict:
                if not unanswered or not await self._stands(writes):
                    raise

        if writes:
            await self._patiently(commit)

    async def _patiently(self, call: Callable[..., Awaitable[None]], *arguments: Any, **named: Any) -> None:
        """`call`, again and again while the store is away: nothing that was decided is given up."""
        self.asking_since = self._clock()
        waits = exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        try:
            while True:
                try:
                    return await call(*arguments, **named)
                except StoreUnavailable as error:
                    logger.warning("The store cannot be reached, trying again: %s", error)
                # Never in step with the other workers that wait for the same store.
                await asyncio.sleep(random.uniform(0.5, 1.0) * next(waits))
        finally:
            self.asking_since = None

    def _writes(self, batch: Changes, now: datetime) -> list[Write]:
        """All documents of the batch: one write per document, with the revision that stands in the store."""
        writes: list[Write] = []
        for order_id, entry in batch.entries.items():
            known = self.get(order_id)
            writes.append(journal.order_write(None if known is None else known.record, entry.record))
            before = None if known is None else known.order
            writes.extend(self._project(before, entry, batch.alarms.get(order_id, ()), now))
        for position_id, held in batch.positions.items():
            writes.append(journal.position_write(self.known_position(position_id), held))
        return together(merged([*writes, *batch.writes]))

    def _install(self, batch: Changes, writes: Sequence[Write]) -> None:
        """The batch is durable: it is the state now."""
        befores = {order_id: self.get(order_id) for order_id in batch.entries}
        for entry in batch.entries.values():
            self._keep(entry)
        for held in batch.positions.values():
            stored = replace(held, revision=held.revision + 1)
            self._keep_position(journal.position_key(held.position.key), stored)
        self.delivered(writes)
        for action in batch.afterwards:
            action()
        for order_id, entry in batch.entries.items():
            before = befores[order_id]
            for listener in self.changed:
                listener(None if before is None else before.order, entry)


def _is_written(job: _Job[Any]) -> bool:
    return job.done.done() and not job.done.cancelled() and not isinstance(job.done.exception(), LeaseLost)


def _fail(job: _Job[Any], error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)
