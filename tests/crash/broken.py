"""Engines that are broken on purpose, one fault each, to prove that the runs have teeth: each must be caught.

They are made by replacing methods of the service for as long as a run takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

from exec_core.errors import OrderRejected, OutcomeUnknown
from exec_core.events import SendFailed
from exec_core.guard import GuardedBroker
from exec_core.identifiers import OrderKey
from exec_core.orders import Order, OrderStatus
from exec_core.reports import CommissionReport, FillReport, OrderReport, ReportStatus
from exec_service import claims
from exec_service.desk import AccountDesk
from exec_service.execution import Execution
from exec_service.intake import Intake
from exec_service.ledger import Ledger
from exec_service.outbox import Channel, Outbox
from exec_service.recovery import Settler
from exec_service.stores import OUTBOX, POSITIONS, Document, RevisionConflict, StoreUnavailable, Write
from exec_service.timeouts import Canceller
from exec_service.units import Entry, Unit

from crash.engines import Catalogue, Patch, instead
from crash.wrapped import SeamStore

ENGINES = Catalogue()
broken = ENGINES.add


# Taking in


@broken("acknowledges a message before the order is stored", "market", hint="acknowledge")
def acknowledges_first() -> Patch:
    original = Intake._make_durable

    async def make_durable(self: Any, messages: Sequence[Any]) -> None:
        await self._bus.acknowledge(self._subscription, [message.ack_id for message in messages])
        await original(self, messages)

    return instead(Intake, "_make_durable", make_durable)


@broken("stores an order by writing over what is there", "duplicate")
def overwrites() -> Patch:
    async def insert(self: Any, collection: str, documents: Sequence[Document]) -> set[str]:
        for document in documents:
            fields = {name: value for name, value in document.items() if name != "_id"}
            await self._store.commit([Write(collection, document["_id"], None, fields)])
        return set()

    return instead(SeamStore, "insert", insert)


@broken("gives each order a random client order id", "duplicate", "market")
def random_ids() -> Patch:
    def client_order_id(self: Any) -> str:
        return "".join(random.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(20))

    return instead(OrderKey, "client_order_id", client_order_id)


# Sending


@broken("sends before it is durable that it sends", "market", hint="SUBMITTING")
def sends_unmarked() -> Patch:
    original = claims.store

    def store(ledger: Ledger, claim: claims.Claim) -> asyncio.Future[bool]:
        claim.settle(Entry(claim.record))
        return original(ledger, claim)

    return instead(claims, "store", store)


@broken("takes an order that was caught while being sent for one that was not sent", "market", hint="send")
def resends() -> Patch:
    async def start(self: Any) -> None:
        for entry in self._ledger.live(self._account_id):
            if entry.order.status is OrderStatus.SUBMITTING:
                await self._execution.apply(entry.record.id, SendFailed("The service stopped"))
        self._ledger.changed.append(self._on_change)

    return instead(Settler, "start", start)


@broken("leaves an order alone that was caught while being sent", "market", hint="send")
def leaves_in_doubt() -> Patch:
    async def start(self: Any) -> None:
        self._ledger.changed.append(self._on_change)

    return instead(Settler, "start", start)


@broken("forgets, at a start, the orders that wait to be sent", "flip", hint="insert")
def forgets_waiting() -> Patch:
    return instead(AccountDesk, "send_waiting", lambda self: None)


@broken("takes a lost answer for a rejection", "lost-taken")
def lost_is_rejected() -> Patch:
    original = GuardedBroker.place_order

    async def place_order(self: Any, order: Order) -> Any:
        try:
            return await original(self, order)
        except OutcomeUnknown as error:
            raise OrderRejected(str(error)) from error

    return instead(GuardedBroker, "place_order", place_order)


@broken("ends an order in doubt when the broker does not show it the first time", "lost-hidden")
def believes_first_absence() -> Patch:
    original = Settler.__init__

    def begin(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        self._apart = timedelta(0)
        self._counts = lambda order, found: True

    return instead(Settler, "__init__", begin)


@broken("takes a cancel that was asked for done", "crossing", "timeout")
def cancel_is_done() -> Patch:
    original = Canceller._time_out

    async def time_out(self: Any, order_id: Any) -> None:
        await original(self, order_id)
        await self._execution.receive(order_id, OrderReport(ReportStatus.CANCELLED, order_id, venue_time=None))

    return instead(Canceller, "_time_out", time_out)


@broken("knows of a time-out only while it runs", "timeout", hint="send")
def forgets_timeouts() -> Patch:
    original_begin, original_watch = Canceller.start, Canceller.watch

    def start(self: Any) -> None:
        self.began = self._clock()
        original_begin(self)

    def watch(self: Any, entry: Entry) -> None:
        if entry.order.sent_at is None or entry.order.sent_at >= self.began:
            original_watch(self, entry)

    class Both(Canceller):
        pass

    Both.start, Both.watch = start, watch  # type: ignore[method-assign]
    return mock.patch("exec_service.desk.Canceller", Both)


# Booking


def in_two_commits(collection: str) -> Patch:
    """What belongs to `collection` is committed apart, after the rest."""
    original = Ledger._durably

    async def durably(self: Any, writes: list[Write]) -> None:
        await original(self, [write for write in writes if write.collection != collection])
        await original(self, [write for write in writes if write.collection == collection])

    return instead(Ledger, "_durably", durably)


@broken("writes an order's fill and its position in two commits", "market", hint="FILLED")
def position_later() -> Patch:
    return in_two_commits(POSITIONS)


@broken("knows only in memory which executions were booked", "partials")
def remembers_fills() -> Patch:
    original = Execution.handle_order_fill

    def handle(self: Any, unit: Unit, order_id: Any, report: FillReport) -> Entry:
        booked, fill = self.__dict__.setdefault("booked", set()), report.fill
        entry = unit.entry(order_id)
        if fill.execution_id in booked:
            return entry
        if fill.execution_id in entry.order.fills:
            report = replace(report, fill=replace(fill, execution_id=f"{fill.execution_id}~"))
        unit.afterwards(lambda: booked.add(fill.execution_id))
        return original(self, unit, order_id, report)

    return instead(Execution, "handle_order_fill", handle)


@broken("books a fill anew on the position when the store gave no answer", "market", hint="FILLED")
def books_twice() -> Patch:
    async def durably(self: Any, writes: list[Write]) -> None:
        if not writes:
            return
        forced = []
        for write in writes:
            if write.inside or write.appended:  # in part, and so only over the revision before
                found = await self._store.load(write.collection, {"_id": write.id})
                if write.collection == POSITIONS or found[0]["revision"] == write.expected_revision:
                    forced.append(write)
            else:
                forced.append(write if write.collection == POSITIONS else replace(write, expected_revision=None))
        try:
            await self._store.commit(forced, lease=self.lease)
        except StoreUnavailable:
            self._positions.clear()
            self._open.clear()
            self._complete.clear()
            raise RevisionConflict(()) from None

    return instead(Ledger, "_durably", durably)


@broken("takes a commit without an answer for done", "market", hint="SUBMITTING")
def believes_commits() -> Patch:
    async def durably(self: Any, writes: list[Write]) -> None:
        with contextlib.suppress(StoreUnavailable):
            if writes:
                await self._store.commit(writes, lease=self.lease)

    return instead(Ledger, "_durably", durably)


@broken("takes its own writes for somebody else's when the store's answer was lost", "market", hint="SUBMITTING")
def disowns_commits() -> Patch:
    async def stands(self: Any, writes: Sequence[Write]) -> bool:
        return False

    return instead(Ledger, "_stands", stands)


@broken("drops a commission that comes after its execution", "late-commission")
def drops_late_commission() -> Patch:
    original = Execution.handle_order_report

    def handle(self: Any, unit: Unit, order_id: Any, report: Any) -> Entry:
        if isinstance(report, CommissionReport):
            return unit.entry(order_id)
        return original(self, unit, order_id, report)

    return instead(Execution, "handle_order_report", handle)


@broken("books the correction of an execution as one more execution", "correction")
def correction_is_new() -> Patch:
    original = Execution.handle_order_fill

    def handle(self: Any, unit: Unit, order_id: Any, report: FillReport) -> Entry:
        fill = report.fill
        if fill.correction:
            fill = replace(fill, execution_id=f"{fill.execution_id}.{fill.correction}", correction=0)
        return original(self, unit, order_id, replace(report, fill=fill))

    return instead(Execution, "handle_order_fill", handle)


# Telling


@broken("writes what is to be told after the commit of what it tells of", "market", hint="FILLED")
def outbox_later() -> Patch:
    return in_two_commits(OUTBOX)


@broken("publishes a confirmation before what it tells of is durable", "market", hint="publish")
def publishes_first() -> Patch:
    original = Ledger._durably

    async def durably(self: Any, writes: list[Write]) -> None:
        self.delivered(writes)
        await asyncio.sleep(0.02)
        await original(self, writes)

    return instead(Ledger, "_durably", durably)


@broken("marks what is to be told as delivered before it is", "market", hint="outbox")
def marks_first() -> Patch:
    original = Channel.run

    async def run(self: Any, mark: Callable[[Any], Any], *more: Any) -> None:
        deliver = self._deliver

        async def marked(rows: Sequence[Any]) -> Any:
            await mark(rows)
            return await deliver(rows)

        self._deliver = marked
        await original(self, mark, *more)

    return instead(Channel, "run", run)


@broken("forgets, at a start, what was not told yet", "market", hint="outbox")
def forgets_outbox() -> Patch:
    async def take_up(self: Any, mine: object) -> None:
        return

    return instead(Outbox, "take_up", take_up)
