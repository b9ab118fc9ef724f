"""Time-outs and cancels of one account: asks the broker, again if need be, and lets the outcome come as a report.

A time-out only asks for a cancel; the fill that crosses it counts. The clock of an order starts when the venue reports
it working (without any answer: at sending) and goes on while the service is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from exec_core.clock import Clock
from exec_core.errors import CancelRejected, NotSent
from exec_core.events import CancelAsked
from exec_core.identifiers import ClientOrderId
from exec_core.orders import Order, OrderStatus, OrderType, ReasonCode, TimeInForce

from exec_service import texts
from exec_service.backoff import exponential
from exec_service.execution import Execution
from exec_service.ledger import Ledger
from exec_service.logs import order_log
from exec_service.records import OrderRecord
from exec_service.session import AccountSession
from exec_service.stores import LeaseLost
from exec_service.units import Entry, Unit

logger = logging.getLogger(__name__)

#: A cancel whose outcome does not come is asked again after so many seconds, then after twice as many, …
FIRST_CANCEL_WAIT_SECONDS = 5.0
LONGEST_CANCEL_WAIT_SECONDS = 60.0

AT_THE_BROKER = frozenset({OrderStatus.SUBMITTED, OrderStatus.PARTIALLY_FILLED})


def timeout_of(record: OrderRecord, default_seconds: float) -> float | None:
    """After how many seconds of work the order is to be cancelled; None = never.

    The message's own wish counts; else the default, for MARKET and LIMIT orders with DAY or IOC only.
    """
    own = record.source.timeout_seconds
    if own is not None:
        return float(own) or None
    request = record.order.request
    waits = request.order_type in (OrderType.STOP, OrderType.STOP_LIMIT) or request.time_in_force is TimeInForce.GTC
    return None if waits else default_seconds or None


def deadline_of(record: OrderRecord, default_seconds: float) -> datetime | None:
    """When the order times out, as far as that is known yet."""
    order = record.order
    seconds = timeout_of(record, default_seconds)
    if seconds is None or order.status.is_final or order.cancel is not None:
        return None
    answered = order.acknowledged_at is not None
    start = order.working_since if answered else order.sent_at
    if start is None or order.status is OrderStatus.PENDING:
        return None
    return start + timedelta(seconds=seconds)


class Canceller:
    """Watches one account's orders: raises time-outs, and sees cancels through."""

    def __init__(
        self,
        account_id: str,
        execution: Execution,
        ledger: Ledger,
        session: AccountSession,
        clock: Clock,
        *,
        default_seconds: float,
        look: Callable[[ClientOrderId], None],
    ) -> None:
        self._account_id = account_id
        self._execution = execution
        self._ledger = ledger
        self._session = session
        self._clock = clock
        self._default_seconds = default_seconds
        self._look = look
        self._timers: dict[ClientOrderId, asyncio.TimerHandle] = {}
        self._cancels: dict[ClientOrderId, asyncio.Task[None]] = {}
        self._changed: dict[ClientOrderId, asyncio.Event] = {}
        self._kicked: set[ClientOrderId] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Watch from now on; `watch` brings the orders that are there already."""
        self._ledger.changed.append(self._on_change)

    async def stop(self) -> None:
        """End at once; what was asked stays asked, in the store."""
        if self._on_change in self._ledger.changed:
            self._ledger.changed.remove(self._on_change)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tasks = [*self._cancels.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def ask_again(self) -> None:
        """A session is open: the cancels that wait for another try need not wait any longer."""
        self._kicked.update(self._cancels)
        for order_id in self._cancels:
            changed = self._changed.get(order_id)
            if changed is not None:
                changed.set()

    def watch(self, entry: Entry) -> None:
        """Set, move or drop the order's timer; see a cancel through that was asked for."""
        order_id, order = entry.record.id, entry.order
        deadline = deadline_of(entry.record, self._default_seconds)
        timer = self._timers.pop(order_id, None)
        if timer is not None:
            timer.cancel()
        loop = asyncio.get_running_loop()
        if deadline is not None:
            wait = max(0.0, (deadline - self._clock()).total_seconds())
            self._timers[order_id] = loop.call_later(wait, self._fire, order_id)
        changed = self._changed.get(order_id)
        if changed is not None:
            changed.set()
        if order.cancel is not None and order.status in AT_THE_BROKER and order_id not in self._cancels:
            task = loop.create_task(self._cancel(order_id), name=f"cancel {order_id}")
            self._cancels[order_id] = task
            task.add_done_callback(lambda _task: self._cancels.pop(order_id, None))

    def _on_change(self, _before: Order | None, after: Entry) -> None:
        if after.order.request.account_id == self._account_id:
            self.watch(after)

    def _fire(self, order_id: ClientOrderId) -> None:
        self._timers.pop(order_id, None)
        task = asyncio.get_running_loop().create_task(self._time_out(order_id), name=f"time-out {order_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _time_out(self, order_id: ClientOrderId) -> None:
        entry = self._ledger.get(order_id)
        if entry is None:
            return
        deadline = deadline_of(entry.record, self._default_seconds)
        if deadline is None:
            return
        if self._clock() < deadline:  # the wall clock was set back, or the deadline has moved
            self.watch(entry)
            return
        seconds = timeout_of(entry.record, self._default_seconds)
        reason = f"Not filled within {seconds:g} s"

        def decide(unit: Unit) -> None:
            # Asked again in its turn: what was decided before it may say that nothing was sent, so that no time runs.
            due = deadline_of(unit.entry(order_id).record, self._default_seconds)
            if due is not None and due <= unit.now:
                self._execution.apply_in(unit, order_id, CancelAsked(ReasonCode.TIMEOUT, reason))

        with contextlib.suppress(LeaseLost):  # the account is another worker's now, which watches the same deadline
            await self._ledger.submit(decide)

    async def _cancel(self, order_id: ClientOrderId) -> None:
        """Ask the broker until the order has ended."""
        changed = self._changed.setdefault(order_id, asyncio.Event())
        waits = exponential(FIRST_CANCEL_WAIT_SECONDS, LONGEST_CANCEL_WAIT_SECONDS)
        asked = 0
        try:
            while True:
                changed.clear()
                try:
                    entry = await self._ledger.find(order_id)
                    if entry is None or entry.order.status not in AT_THE_BROKER:
                        return
                    signal_id = entry.order.request.signal_id
                    await self._session.broker.cancel_order(entry.order)
                    asked += 1
                    if asked > 1:
                        order_log.warning(texts.cancel_asked_again(asked), signal_id)
                except CancelRejected as error:
                    # It may be filled or finished: its state says, not this answer.
                    order_log.warning(texts.cancel_rejected(str(error)), signal_id)
                    self._look(order_id)
                except NotSent as error:
                    order_log.warning(texts.cancel_failed(str(error)), signal_id)
                except Exception:
                    # A store that is away, a bug: that somebody wants it cancelled is never forgotten, and asking twice
                    # does no harm.
                    logger.exception("Cancelling order %s failed; it is asked again", order_id)
                await self._until_ended(order_id, changed, next(waits))
        finally:
            self._changed.pop(order_id, None)

    async def _until_ended(self, order_id: ClientOrderId, changed: asyncio.Event, seconds: float) -> None:
        """Wait for the end, but no longer than `seconds`; other changes do not shorten the wait."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await changed.wait()
                    changed.clear()
                    if order_id in self._kicked:
                        self._kicked.discard(order_id)
                        return
                    entry = self._ledger.get(order_id)
                    if entry is None or entry.order.status not in AT_THE_BROKER:
                        return
        except TimeoutError:
            self._look(order_id)
