"""Settles what is in doubt, by asking the broker and never by sending: at start, after a reconnect, and in between.

* SUBMITTING found at start: the service died while sending. It becomes UNKNOWN.
* UNKNOWN: asked for until the broker shows it, or until absence is proven: the settle time has passed since the send
  and since the link came back, the sender is known to have ended, and two complete views that cover the send, far
  enough apart, show no trace.
* SUBMITTED, PARTIALLY_FILLED: asked once after each connect, for what happened while nobody watched; and when the
  broker counts more filled than its executions told. Absence never ends them: a person is told.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from exec_core.broker import BrokerPlugin, Found
from exec_core.clock import Clock
from exec_core.errors import NotSent
from exec_core.events import AnswerLost, NeedsAttention, ProvenAbsent
from exec_core.identifiers import ClientOrderId
from exec_core.orders import Order, OrderStatus
from exec_core.reports import Report

from exec_service.backoff import exponential
from exec_service.stores import LeaseLost

if TYPE_CHECKING:
    from exec_service.execution import Execution
    from exec_service.ledger import Ledger
    from exec_service.receiving import Receiver
    from exec_service.session import AccountSession
    from exec_service.units import Entry

logger = logging.getLogger(__name__)

FIRST_LOOK_SECONDS = 0.2
LONGEST_LOOK_SECONDS = 30.0
#: A look that failed in the service itself is taken up again after so many seconds.
AGAIN_SECONDS = 2.0
#: How long executions may lag behind the broker's own count before they are asked for.
MISSING_FILL_SECONDS = 2.0
NOT_SHOWN = (
    "The broker shows no trace of this order, which it had accepted: look it up there, then `exec-service resolve`"
)

UNSETTLED = (
    "No answer came to this order, and the broker can neither show it nor prove that it never had it: "
    "look it up there, then `exec-service resolve`"
)
#: How long an order is asked for before a person is told that the broker's answers do not suffice.
UNSETTLED_SECONDS = 60.0

AT_THE_BROKER = frozenset({OrderStatus.SUBMITTED, OrderStatus.PARTIALLY_FILLED})


class Settler:
    """One account's settling; see the module's text."""

    def __init__(
        self,
        account_id: str,
        plugin: BrokerPlugin,
        execution: Execution,
        ledger: Ledger,
        session: AccountSession,
        receiver: Receiver,
        clock: Clock,
        *,
        settle_seconds: float,
        sender_done_after_seconds: float,
    ) -> None:
        self._account_id = account_id
        self._plugin = plugin
        self._execution = execution
        self._ledger = ledger
        self._session = session
        self._receiver = receiver
        self._clock = clock
        self._settle = timedelta(seconds=settle_seconds)
        self._apart = timedelta(seconds=plugin.absence_view_seconds)
        #: By the running clock of this machine, which nobody sets.
        self._sender_done_at = _running_time() + sender_done_after_seconds
        #: Per order: since when, by that clock, it is as quiet as it is; and by what the other clocks say.
        self._quiet: dict[ClientOrderId, tuple[tuple[datetime, datetime], float]] = {}
        self._tasks: dict[ClientOrderId, asyncio.Task[None]] = {}
        self._changed: dict[ClientOrderId, asyncio.Event] = {}
        self._later: set[ClientOrderId] = set()
        self._stopped = False

    async def start(self) -> None:
        """Take up what an earlier run left: nothing that is SUBMITTING now is being sent."""
        for entry in self._ledger.live(self._account_id):
            if entry.order.status is OrderStatus.SUBMITTING:
                lost = AnswerLost("The service stopped while it was sending the order")
                await self._execution.apply(entry.record.id, lost)
        self._ledger.changed.append(self._on_change)

    async def stop(self) -> None:
        """End at once; the store knows what is in doubt."""
        self._stopped = True
        if self._on_change in self._ledger.changed:
            self._ledger.changed.remove(self._on_change)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def catch_up(self) -> None:
        """A session was opened: ask about everything that is open."""
        for entry in self._ledger.live(self._account_id):
            if entry.order.status in AT_THE_BROKER or entry.order.status is OrderStatus.UNKNOWN:
                self.look(entry.record.id)

    def look(self, order_id: ClientOrderId, after_seconds: float = 0.0) -> None:
        """Ask the broker about the order, soon; at once if that is under way already."""
        changed = self._changed.get(order_id)
        if changed is not None:
            changed.set()
        elif not self._stopped:
            self._changed[order_id] = asyncio.Event()
            work = self._settle_order(order_id, after_seconds)
            task = asyncio.get_running_loop().create_task(work, name=f"settle {order_id}")
            self._tasks[order_id] = task
            task.add_done_callback(lambda done: self._ended(order_id, done))

    def _on_change(self, before: Order | None, after: Entry) -> None:
        order = after.order
        if order.request.account_id != self._account_id:
            return
        changed = self._changed.get(after.record.id)
        if changed is not None and order.status is not OrderStatus.UNKNOWN and not lacks_fills(order):
            changed.set()
        elif order.status is OrderStatus.UNKNOWN and (before is None or before.status is not OrderStatus.UNKNOWN):
            self.look(after.record.id)
        elif lacks_fills(order) and (
            before is None or before.reported_filled_quantity != order.reported_filled_quantity
        ):
            self.look(after.record.id, MISSING_FILL_SECONDS)

    async def _settle_order(self, order_id: ClientOrderId, after_seconds: float) -> None:
        """Ask until there is nothing left in doubt about the order."""
        changed = self._changed[order_id]
        waits = exponential(FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS)
        absent_since: datetime | None = None
        seen_absent_at = 0.0
        wait = after_seconds
        try:
            while True:
                if wait:
                    await self._pause(changed, wait)
                changed.clear()
                entry = await self._ledger.find(order_id)
                if entry is None or not (entry.order.status is OrderStatus.UNKNOWN or self._open(entry.order)):
                    return
                wait = next(waits)
                try:
                    found = await self._session.broker.find_order(entry.order)
                except NotSent as error:
                    logger.debug("Order %s cannot be asked for: %s", order_id, error)
                    absent_since = None
                    await self._unsettled(entry)
                    continue
                if found.has_trace:
                    absent_since = None
                    if await self._book(order_id, found):
                        return
                    continue
                if entry.order.status is not OrderStatus.UNKNOWN:
                    await self._not_shown(entry, found)
                    continue
                if not self._counts(entry.order, found):
                    absent_since = None
                    await self._unsettled(entry)
                elif absent_since is None:
                    absent_since, seen_absent_at = found.view.as_of, _running_time()
                    wait = self._apart.total_seconds()
                elif (apart := self._time_between(absent_since, seen_absent_at, found)) >= self._apart:
                    first = f"{absent_since:%H:%M:%S} and {found.view.as_of:%H:%M:%S} UTC"
                    text = f"The broker shows no trace of the order, in two complete views ({first}): it was not placed"
                    await self._execution.apply(order_id, ProvenAbsent(text))
                    return
                else:
                    wait = (self._apart - apart).total_seconds() + 0.01
        except LeaseLost:
            return  # the account is another worker's now
        except Exception:
            # A store that is away, an adapter's nonsense, a bug: the order keeps its state, and is asked for again.
            logger.exception("Settling order %s failed; it is tried again", order_id)
            self._later.add(order_id)
        finally:
            self._changed.pop(order_id, None)
            self._quiet.pop(order_id, None)

    def _ended(self, order_id: ClientOrderId, task: asyncio.Task[None]) -> None:
        """A look is over; one that failed is taken up again."""
        if self._tasks.get(order_id) is task:
            del self._tasks[order_id]
        if order_id in self._later:
            self._later.discard(order_id)
            self.look(order_id, AGAIN_SECONDS)

    def _open(self, order: Order) -> bool:
        return order.status in AT_THE_BROKER or lacks_fills(order)

    def _counts(self, order: Order, found: Found) -> bool:
        """Whether a view without a trace is evidence that the broker never had the order.

        The settle time must be over by what the clocks say, ours and the venue's, and by how long we have waited here
        ourselves: a clock that was set in between tells nothing.
        """
        sent_at, linked_since = order.sent_at, self._session.linked_since
        if sent_at is None or linked_since is None:
            return False
        now = _running_time()
        since, begun = self._quiet.setdefault(order.client_order_id, ((sent_at, linked_since), now))
        if since != (sent_at, linked_since):
            self._quiet[order.client_order_id] = ((sent_at, linked_since), now)
            begun = now
        waited = now >= self._sender_done_at and now - begun >= self._settle.total_seconds()
        view = found.view
        settled = view.as_of >= max(sent_at, linked_since) + self._settle
        return waited and settled and view.proves_absence_since(sent_at)

    def _time_between(self, first: datetime, first_seen_at: float, found: Found) -> timedelta:
        """How far apart two views are, by the clock that says less."""
        return min(found.view.as_of - first, timedelta(seconds=_running_time() - first_seen_at))

    async def _book(self, order_id: ClientOrderId, found: Found) -> bool:
        """Book what was found; whether nothing is in doubt any more."""
        reports: tuple[Report, ...] = (*found.fills, *found.orders)
        for report in reports:
            booked = await self._receiver.take(report)
            if booked is not None:
                await booked
        entry = self._ledger.get(order_id)
        if entry is None:
            return True
        if entry.order.attention in (NOT_SHOWN, UNSETTLED):
            await self._execution.apply(order_id, NeedsAttention(None))
        return entry.order.status is not OrderStatus.UNKNOWN and not lacks_fills(entry.order)

    async def _not_shown(self, entry: Entry, found: Found) -> None:
        """An acknowledged order that a complete view does not show: it keeps its state, and a person is told."""
        linked_since = self._session.linked_since
        settled = linked_since is not None and found.view.as_of >= linked_since + self._settle
        if settled and found.view.complete and entry.order.attention is None:
            logger.warning("Order %s (%s): %s", entry.record.id, entry.order.request.signal_id, NOT_SHOWN)
            await self._execution.apply(entry.record.id, NeedsAttention(NOT_SHOWN))

    async def _unsettled(self, entry: Entry) -> None:
        """An UNKNOWN order that could not be settled for long: told again, and asked for all the same."""
        sent_at = entry.order.sent_at
        if entry.order.status is not OrderStatus.UNKNOWN or entry.order.attention is not None or sent_at is None:
            return
        if self._clock() - sent_at > self._settle + timedelta(seconds=UNSETTLED_SECONDS):
            await self._execution.apply(entry.record.id, NeedsAttention(UNSETTLED))

    async def _pause(self, changed: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return


def lacks_fills(order: Order) -> bool:
    """Whether the broker counts more as filled than its executions have told."""
    return order.reported_filled_quantity is not None and order.reported_filled_quantity > order.filled_quantity


def _running_time() -> float:
    """Seconds by a clock that only ever goes on."""
    return asyncio.get_running_loop().time()
