"""The ledger: what the store holds of our orders and positions, as last committed, and the one writer of it.

Everything that happens becomes a job: a synchronous function that decides on a `Unit` of work. Whatever jobs have
arrived while the last transaction was under way go into the next one (group commit), so that a lone order waits for
nobody and a burst shares its round trips. A job sees what the jobs before it in the batch decided; nobody else sees
anything before it is durable.

It knows no broker, no bus and no message: jobs decide, `project` says what else a changed order writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import tenacity
from exec_core.clock import Clock
from exec_core.identifiers import BrokerOrderId, ClientOrderId
from exec_core.orders import FINAL_STATUSES, Order, OrderStatus

from exec_service import journal
from exec_service.records import OrderRecord
from exec_service.stores import (
    FILLS,
    ORDERS,
    POSITIONS,
    Document,
    Lease,
    LeaseLost,
    Not,
    RevisionConflict,
    Store,
    StoreError,
    StoreUnavailable,
    Write,
)
from exec_service.units import Changes, Entry, HeldPosition, NotLoaded, OrderMissing, Unit, merged

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How many ended orders stay in memory, for reports that come late; older ones are read from the store.
ENDED_ORDERS_KEPT = 5_000
MAX_BATCH = 500
MAX_CONFLICTS = 5


class Project(Protocol):
    """What a changed order writes besides itself: the specification's documents and the outbox."""

    def __call__(self, before: Order | None, after: Entry, alarms: Sequence[str], at: datetime) -> list[Write]: ...


@dataclass(slots=True)
class _Job(Generic[T]):
    decide: Callable[[Unit], T]
    done: asyncio.Future[T]
    result: T | None = None
    conflicts: int = 0


class Ledger:
    """See the module's text. `changed` is told of each order after the commit that changed it."""

    def __init__(self, store: Store, project: Project, clock: Clock) -> None:
        self._store = store
        self._project = project
        self._clock = clock
        self._queue: asyncio.Queue[_Job[Any]] = asyncio.Queue()
        self._live: dict[ClientOrderId, Entry] = {}
        self._ended: OrderedDict[ClientOrderId, Entry] = OrderedDict()
        self._by_broker_id: dict[tuple[str, BrokerOrderId], ClientOrderId] = {}
        self._positions: dict[str, HeldPosition] = {}
        self._open: dict[str, str | None] = {}
        #: Accounts of which every open position is in memory: what is not there, does not exist.
        self._complete: set[str] = set()
        self.lease: Lease | None = None
        #: When the commit under way first asked for the store; None between commits.
        self.asking_since: datetime | None = None
        self.changed: list[Callable[[Order | None, Entry], None]] = []
        self.delivered: Callable[[Sequence[Write]], None] = lambda _writes: None

    # ------------------------------------------------------------------ reading

    def cached_entry(self, order_id: ClientOrderId) -> Entry:
        """The committed order, if it is in memory. :raises NotLoaded: it is not."""
        entry = self._live.get(order_id) or self._ended.get(order_id)
        if entry is None:
            raise NotLoaded(ORDERS, order_id)
        return entry

    def cached_open_position(self, position_key: str, account_id: str) -> HeldPosition | None:
        """The committed open position. :raises NotLoaded: it is not known whether there is one."""
        if position_key not in self._open and account_id not in self._complete:
            raise NotLoaded("open position", position_key)
        position_id = self._open.get(position_key)
        return None if position_id is None else self._positions[position_id]

    def cached_position(self, position_id: str) -> HeldPosition:
        """The committed position. :raises NotLoaded: it is not in memory."""
        held = self._positions.get(position_id)
        if held is None:
            raise NotLoaded(POSITIONS, position_id)
        return held

    def live(self, account_id: str) -> list[Entry]:
        """The account's orders that have not ended, oldest first."""
        found = [entry for entry in self._live.values() if entry.order.request.account_id == account_id]
        return sorted(found, key=lambda entry: entry.record.sequence)

    def get(self, order_id: ClientOrderId) -> Entry | None:
        """The committed order, if it is in memory."""
        return self._live.get(order_id) or self._ended.get(order_id)

    async def find(self, order_id: ClientOrderId) -> Entry | None:
        """The committed order, from memory or the store."""
        entry = self.get(order_id)
        if entry is None:
            try:
                await self._load(NotLoaded(ORDERS, order_id))
            except OrderMissing:
                return None
            entry = self.get(order_id)
        return entry

    async def find_by_broker_id(self, account_id: str, broker_order_id: BrokerOrderId) -> ClientOrderId | None:
        """Which order of ours the broker means by that id."""
        known = self._by_broker_id.get((account_id, broker_order_id))
        if known is None:
            documents = await self._store.load(ORDERS, {"order_id": broker_order_id, "account_id": account_id})
            known = ClientOrderId(documents[0]["_id"]) if documents else None
        return known

    async def adopt_all(self, account_id: str) -> list[Entry]:
        """Take the account's unfinished orders and open positions into memory; what was there gives way."""
        self.forget(account_id)
        await self._adopt(await self._store.load(ORDERS, {"account_id": account_id, "status": LIVE_STATUSES}))
        # Other services may keep positions of their own beside ours: those have no key of ours.
        where = {"account_id": account_id, "status": Not("CLOSED"), "position_key": Not(None)}
        for document in await self._store.load(POSITIONS, where):
            self._keep_position(document["position_key"], journal.held_position(document))
        self._complete.add(account_id)
        return self.live(account_id)

    def forget(self, account_id: str) -> None:
        """Let go of an account that another worker owns now."""
        for cache in (self._live, self._ended):
            for order_id in [key for key, entry in cache.items() if entry.order.request.account_id == account_id]:
                del cache[order_id]
        mine = [key for key, held in self._positions.items() if held.position.key.account_id == account_id]
        for position_id in mine:
            del self._positions[position_id]
        self._complete.discard(account_id)
        self._open.clear()
        for position in self._positions.values():
            if not position.position.is_closed:
                self._open[journal.position_key(position.position.key)] = position.position.id

    def adopt(self, record: OrderRecord) -> None:
        """Take an order that was just inserted into memory."""
        if self.get(record.id) is None:
            self._keep(Entry(record))

    async def _adopt(self, documents: Sequence[Document]) -> None:
        """Take these order documents into memory, with their executions."""
        fills: dict[str, list[Document]] = {document["_id"]: [] for document in documents}
        sent = [document["_id"] for document in documents if document["status"] != OrderStatus.PENDING]
        for fill in await self._store.load(FILLS, {"client_order_id": sent}) if sent else []:
            fills[fill["client_order_id"]].append(fill)
        for document in documents:
            record = journal.order_record(document, fills[document["_id"]])
            if record is not None:
                self._keep(Entry(record, journal.fill_shares(fills[document["_id"]])))

    async def _load(self, missing: NotLoaded) -> None:
        """Bring what a job asked for into memory. :raises OrderMissing: there is no such order."""
        if missing.kind == ORDERS:
            documents = await self._store.load(ORDERS, {"_id": missing.key})
            if not documents or documents[0]["request"] is None:
                raise OrderMissing(f"there is no order {missing.key}")
            await self._adopt(documents)
        elif missing.kind == POSITIONS:
            for document in await self._store.load(POSITIONS, {"_id": missing.key}):
                self._positions[document["_id"]] = journal.held_position(document)
            if missing.key not in self._positions:
                raise StoreError(f"the position {missing.key} is missing although a fill names it")
        else:
            where = {"position_key": missing.key, "status": Not("CLOSED")}
            documents = await self._store.load(POSITIONS, where, limit=1)
            self._open[missing.key] = None
            for document in documents:
                self._keep_position(missing.key, journal.held_position(document))

    def _keep(self, entry: Entry) -> None:
        order_id, order = entry.record.id, entry.order
        for broker_order_id in order.broker_order_ids:
            self._by_broker_id[(order.request.account_id, broker_order_id)] = order_id
        if not order.status.is_final:
            self._ended.pop(order_id, None)
            self._live[order_id] = entry
            return
        self._live.pop(order_id, None)
        self._ended[order_id] = entry
        self._ended.move_to_end(order_id)
        while len(self._ended) > ENDED_ORDERS_KEPT:
            _, old = self._ended.popitem(last=False)
            for broker_order_id in old.order.broker_order_ids:
                self._by_broker_id.pop((old.order.request.account_id, broker_order_id), None)

    def _keep_position(self, position_key: str, held: HeldPosition) -> None:
        if held.position.is_closed:
            # A commission may still come; the store has it, so memory need not.
            self._positions.pop(held.position.id, None)
            if self._open.get(position_key) in (None, held.position.id):
                self._open[position_key] = None
        else:
            self._positions[held.position.id] = held
            self._open[position_key] = held.position.id

    # ------------------------------------------------------------------ writing

    def submit(self, decide: Callable[[Unit], T]) -> asyncio.Future[T]:
        """Queue a job; the future is done when what it decided is durable."""
        job: _Job[T] = _Job(decide, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(job)
        return job.done

    def write(self, *writes: Write) -> asyncio.Future[None]:
        """Queue plain writes; they ride in the next commit."""
        return self.submit(lambda unit: unit.write(*writes))

    @property
    def waiting(self) -> int:
        """How many jobs wait for a commit."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Commit what arrives, until the lease is lost.

        :raises LeaseLost: another worker took over; every job that waits fails with it.
        """
        jobs: list[_Job[Any]] = []
        try:
            while True:
                jobs = [await self._queue.get()]
                while not self._queue.empty() and len(jobs) < MAX_BATCH:
                    jobs.append(self._queue.get_nowait())
                await self._commit(jobs)
        except LeaseLost as error:
            while not self._queue.empty():
                jobs.append(self._queue.get_nowait())
            for job in jobs:
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
        if writes:
            await self._patiently(self._store.commit, writes, lease=self.lease)

    async def _patiently(self, call: Callable[..., Awaitable[None]], *arguments: Any, **named: Any) -> None:
        """`call`, again and again while the store is away: nothing that was decided is given up."""
        self.asking_since = self._clock()
        try:
            async for attempt in tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(StoreUnavailable),
                wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
                before_sleep=lambda state: logger.warning(
                    "The store cannot be reached, trying again: %s", _cause(state)
                ),
                reraise=True,
            ):
                with attempt:
                    await call(*arguments, **named)
        finally:
            self.asking_since = None

    def _writes(self, batch: Changes, now: datetime) -> list[Write]:
        """All documents of the batch: one write per document, with the revision that stands in the store."""
        writes: list[Write] = []
        for order_id, entry in batch.entries.items():
            known = self.get(order_id)
            expected = 0 if known is None else known.order.revision
            document = journal.order_document(entry.record)
            writes.append(Write(ORDERS, order_id, expected, document))
            before = None if known is None else known.order
            writes.extend(self._project(before, entry, batch.alarms.get(order_id, ()), now))
        for position_id, held in batch.positions.items():
            writes.append(Write(POSITIONS, position_id, held.revision, journal.position_document(held)))
        return merged([*writes, *batch.writes])

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

    def _drop(self, conflict: RevisionConflict) -> None:
        """Forget what somebody else has changed: it will be loaded again."""
        logger.warning("Deciding again: %s", conflict)
        for collection, key in conflict.conflicts:
            if collection == ORDERS:
                self._live.pop(ClientOrderId(key), None)
                self._ended.pop(ClientOrderId(key), None)
            elif collection == POSITIONS:
                held = self._positions.pop(key, None)
                self._complete.clear()
                if held is not None:
                    self._open.pop(journal.position_key(held.position.key), None)
                else:
                    self._open.clear()


LIVE_STATUSES = [status.value for status in OrderStatus if status not in FINAL_STATUSES]


def _fail(job: _Job[Any], error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)


def _cause(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
