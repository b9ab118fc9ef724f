"""Whose report is it: brings a broker's reports to the orders they are about, in the order they came.

Reports that have arrived together, as at a session's start, when a broker repeats the day, are taken together: the
orders that they are about are loaded with few questions. Reports of orders that are not ours are left alone. An
execution that cannot be attributed (its order's broker id is not known yet, or it is not ours) is kept in the store and
booked when the id becomes known: no fill is ever dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from exec_core.clock import Clock
from exec_core.identifiers import AccountId, BrokerOrderId, ClientOrderId
from exec_core.orders import Order
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report

from exec_service import unmatched
from exec_service.backoff import exponential
from exec_service.execution import Execution
from exec_service.ledger import Ledger
from exec_service.stores import ORDERS, UNMATCHED, LeaseLost, Store, Write
from exec_service.tombstones import is_known
from exec_service.units import Entry, OrderMissing

logger = logging.getLogger(__name__)

#: Reports that may wait for their commit before the session is read on.
MAX_WAITING = 2_000
#: So many broker ids are looked up with one question.
ASKED_AT_ONCE = 500


class Receiver:
    """Takes the reports of one account's session."""

    def __init__(
        self, execution: Execution, ledger: Ledger, store: Store, clock: Clock, account_id: AccountId, broker: str
    ) -> None:
        self._execution = execution
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._account_id = account_id
        self._broker = broker
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._kept: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        #: How many reports were taken so far: whoever waits until a replay is through sees it stand still.
        self.taken = 0

    async def start(self) -> None:
        """Learn what was kept by an earlier run."""
        for document in await self._store.load(UNMATCHED, {"account_id": self._account_id, "matched_at": None}):
            if document.get("matched_at") is None and document["broker_order_id"]:
                self._kept.add(document["broker_order_id"])
        self._ledger.changed.append(self._on_change)
        if self._kept:
            self._spawn(self._match_known)

    async def stop(self) -> None:
        """Hear no more."""
        if self._on_change in self._ledger.changed:
            self._ledger.changed.remove(self._on_change)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def take_all(self, reports: Sequence[Report]) -> None:
        """Queue the reports of a session that have arrived, in their order."""
        if len(reports) > 1:
            await self._prefetch(reports)
        for report in reports:
            await self.take(report)

    async def _prefetch(self, reports: Sequence[Report]) -> None:
        """Have the orders that these reports are about in memory."""
        ours = [report.client_order_id for report in reports if report.client_order_id is not None]
        theirs = [report.broker_order_id for report in reports if report.client_order_id is None]
        await self._ledger.prefetch(self._account_id, ours, [key for key in theirs if key is not None])

    async def take(self, report: Report) -> asyncio.Future[Entry] | None:
        """Queue one report for booking; None if it is about no order of ours."""
        self.taken += 1
        order_id = await self._order_of(report)
        if order_id is None or await self._ledger.find(order_id) is None:
            await self._keep(report)
            return None
        if (known := self._execution.known(order_id, report)) is not None:
            return known
        await self._room.acquire()
        booked = self._execution.receive(order_id, report)
        booked.add_done_callback(self._booked(order_id, report))
        return booked

    def _booked(self, order_id: ClientOrderId, report: Report) -> Callable[[asyncio.Future[Entry]], None]:
        def done(future: asyncio.Future[Entry]) -> None:
            self._room.release()
            error = None if future.cancelled() else future.exception()
            if error is None or isinstance(error, LeaseLost):
                return
            # Nobody may lose a fill to a fault of ours: it is kept, and told.
            cause = None if isinstance(error, OrderMissing) else error  # archived while it was in memory still
            logger.error("A report could not be booked and is kept: %s", report, exc_info=cause)
            entry = self._ledger.get(order_id)
            known = report.broker_order_id or (None if entry is None else entry.order.broker_order_id)
            self._spawn(partial(self._keep, replace(report, broker_order_id=known)))

        return done

    async def _order_of(self, report: Report) -> ClientOrderId | None:
        if report.client_order_id is not None:
            return report.client_order_id
        if report.broker_order_id is None:
            return None
        return await self._ledger.find_by_broker_id(self._account_id, report.broker_order_id)

    async def _keep(self, report: Report) -> None:
        if isinstance(report, OrderReport):
            logger.debug("A report about an order that is not ours: %s", report)
            return
        if await self._is_of_archived(report):
            logger.debug("An execution of an archived order, booked long ago: %s", report)
            return
        if report.broker_order_id is not None:
            self._kept.add(report.broker_order_id)
        document = unmatched.unmatched_document(self._account_id, self._broker, report, self._clock())
        repeated = bool(await self._store.insert(UNMATCHED, [document]))
        if report.broker_order_id is not None:
            self._spawn(partial(self._match_if_known, report.broker_order_id))  # it may have become known meanwhile
        if repeated:
            return
        logger.warning(
            "An execution belongs to no order of ours and is kept: account %s, broker order id %s, client order id %s",
            self._account_id,
            report.broker_order_id,
            report.client_order_id,
        )

    async def _is_of_archived(self, report: FillReport | CommissionReport) -> bool:
        """Whether an order that is archived had booked just that."""
        if report.client_order_id is not None:
            where: dict[str, Any] = {"_id": report.client_order_id}
        else:
            where = {"order_id": report.broker_order_id}
        found = await self._store.load(ORDERS, {**where, "account_id": self._account_id})
        return any(is_known(document, self._broker, report) for document in found)

    def _on_change(self, before: Order | None, after: Entry) -> None:
        """An order of ours has a new broker id: book what was kept under it."""
        order = after.order
        if order.request.account_id != self._account_id:
            return
        for broker_order_id in order.broker_order_ids:
            if broker_order_id in self._kept and (before is None or broker_order_id not in before.broker_order_ids):
                self._kept.discard(broker_order_id)
                self._spawn(partial(self._match, after.record.id, broker_order_id))

    async def _match_known(self) -> None:
        """Book what was kept for orders whose broker id has become known meanwhile."""
        kept = [BrokerOrderId(key) for key in sorted(self._kept)]
        for first in range(0, len(kept), ASKED_AT_ONCE):
            some = kept[first : first + ASKED_AT_ONCE]
            await self._ledger.prefetch(self._account_id, (), some)
            for broker_order_id in some:
                if self._ledger.knows_broker_id(self._account_id, broker_order_id):
                    await self._match_if_known(broker_order_id)

    async def _match_if_known(self, broker_order_id: BrokerOrderId) -> None:
        order_id = await self._ledger.find_by_broker_id(self._account_id, broker_order_id)
        if order_id is not None and broker_order_id in self._kept:
            self._kept.discard(broker_order_id)
            self._spawn(partial(self._match, order_id, broker_order_id))

    async def _match(self, order_id: ClientOrderId, broker_order_id: BrokerOrderId) -> None:
        """Book what was kept."""
        where = {"account_id": self._account_id, "broker_order_id": broker_order_id}
        for document in await self._store.load(UNMATCHED, where):
            if document.get("matched_at") is None:
                try:
                    await self._execution.receive(order_id, unmatched.unmatched_report(document))
                except OrderMissing:
                    logger.warning("The order %s is archived: %s stays unmatched", order_id, document["_id"])
                    continue
                await self._ledger.write(Write(UNMATCHED, document["_id"], None, {"matched_at": self._clock()}))

    async def _surely(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it; what fails is tried again."""
        for wait in exponential(0.2, 30.0):
            try:
                await work()
                return
            except LeaseLost:
                return  # the account is another worker's now, which finds the same in the store
            except Exception:
                # A store that is away, a bug: a fill that is not booked or kept now must be so later.
                logger.exception("A report could not be booked, or kept, yet; it is tried again")
                await asyncio.sleep(wait)

    def _spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.get_running_loop().create_task(self._surely(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
