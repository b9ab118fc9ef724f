"""Sends one account's PENDING orders: each at most once, in order of arrival per symbol, so many at a time.

SUBMITTING is durable before the bytes leave, so whoever finds a SUBMITTING order after a crash asks the broker and
never sends. It follows PENDING; or an order that has just come in, and need not wait, is stored as SUBMITTING at once
(a `Claim`). An order of a symbol waits until the broker has answered the one before; one that is UNKNOWN holds its
symbol until it is settled, because what should follow it depends on whether it lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from exec_core.broker import Availability, AvailabilityState
from exec_core.clock import Clock
from exec_core.errors import (
    AnnouncedBreak,
    AuthenticationFailed,
    NotSent,
    OrderRejected,
    OrderUnsupported,
    OutcomeUnknown,
)
from exec_core.events import AnswerLost, Dispatched, Refused, SendFailed, Withdrawn
from exec_core.identifiers import BrokerOrderId, ClientOrderId
from exec_core.orders import OrderStatus, ReasonCode
from exec_core.reports import OrderReport, ReportStatus

from exec_service import texts
from exec_service.backoff import exponential
from exec_service.claims import Claim
from exec_service.execution import Execution
from exec_service.ledger import Ledger
from exec_service.logs import order_log
from exec_service.records import OrderRecord
from exec_service.session import AccountSession
from exec_service.slots import Slot, Slots
from exec_service.stores import LeaseLost
from exec_service.units import Entry

logger = logging.getLogger(__name__)

#: Orders of one account that may be between SUBMITTING and the broker's answer: only these can prove not placed after a
#: kill. What was answered is found at the broker, although the answer was not durable yet.
DISPATCH_SLOTS = 16
#: Waits before the second, third, … attempt at an unreachable broker.
RETRY_SECONDS = (1.0, 2.0, 4.0)
#: How often the orders that wait behind one in doubt are looked through.
SWEEP_SECONDS = 1.0
#: States in which the broker has not yet said anything that the next order of the symbol could rely on.
UNANSWERED = frozenset({OrderStatus.PENDING, OrderStatus.SUBMITTING, OrderStatus.UNKNOWN})


class _LeaseInDoubt(NotSent):
    """The store is slow or away: nothing was sent, and nothing is the broker's fault."""


class Dispatcher:
    """One account's sender."""

    def __init__(
        self,
        account_id: str,
        execution: Execution,
        ledger: Ledger,
        session: AccountSession,
        clock: Clock,
        *,
        may_send: Callable[[], bool],
        max_retries: int,
    ) -> None:
        self._account_id = account_id
        self._execution = execution
        self._ledger = ledger
        self._session = session
        self._clock = clock
        self._may_send = may_send
        self._max_retries = max_retries
        self._slots = Slots(DISPATCH_SLOTS)
        self._lanes: dict[str, deque[ClientOrderId]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: dict[ClientOrderId, asyncio.Event] = {}
        self._known: set[ClientOrderId] = set()
        self._draining = asyncio.Event()
        self._sending = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._held_alarm: AvailabilityState | None = None
        self.alarm: Callable[[Availability], None] = lambda _availability: None

    def start(self) -> None:
        """Hear of changes; `add` brings the orders."""
        self._ledger.changed.append(self._on_change)

    async def drain(self) -> None:
        """Begin no further send; return when those under way have their answer."""
        self._draining.set()
        for waiter in self._waiters.values():
            waiter.set()
        await self._idle.wait()

    def resume(self) -> None:
        """Send again, after a `drain`; `add` brings the orders."""
        self._draining.clear()
        self._known = {order_id for lane in self._lanes.values() for order_id in lane}

    async def stop(self) -> None:
        """End at once."""
        self._draining.set()
        if self._on_change in self._ledger.changed:
            self._ledger.changed.remove(self._on_change)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def add(self, entry: Entry) -> None:
        """Queue an order that the broker has not answered yet; orders must be added in the order of arrival."""
        order_id, symbol = entry.record.id, entry.order.request.instrument.symbol
        if order_id in self._known or entry.order.status not in UNANSWERED:
            return
        lane = self._lanes.get(symbol)
        if lane is not None:
            self._known.add(order_id)
            lane.append(order_id)
            return
        self._open_lane(symbol, order_id, None)

    async def claim(self, record: OrderRecord) -> Claim | None:
        """Take an order that is not stored yet to send it at once: with one commit less than one that waits its turn.

        None where it has to: its symbol or all slots are busy, the broker is away, or there is something to refuse.
        """
        order_id, request = record.id, record.order.request
        symbol = request.instrument.symbol
        if symbol in self._lanes or order_id in self._known or self._slots.are_taken or self._draining.is_set():
            return None
        if self._ledger.get(order_id) is not None or self._execution.halts.of(self._account_id) is not None:
            return None
        try:
            broker = self._session.broker
            if not broker.availability().is_ready or broker.plugin.capabilities.refusal(request) is not None:
                return None
        except NotSent:
            return None
        except Exception:
            # An adapter that stumbles must not keep the message out: it is met again when the order has its turn.
            logger.exception("The broker of account %s does not say how it is; the order waits", self._account_id)
            return None
        sent = self._execution.begin(record)
        slot = await self._slots.take()  # there is one: nothing is waited for
        claim = Claim(sent, slot, asyncio.get_running_loop().create_future())
        self._sending += 1
        self._idle.clear()
        self._open_lane(symbol, order_id, claim)
        return claim

    def _open_lane(self, symbol: str, order_id: ClientOrderId, claim: Claim | None) -> None:
        self._known.add(order_id)
        self._lanes[symbol] = deque([order_id])
        task = asyncio.get_running_loop().create_task(self._run_lane(symbol, claim), name=f"dispatch {symbol}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_lane(self, symbol: str, claim: Claim | None) -> None:
        """Send a symbol's orders one after the other; the first may be one that is being stored."""
        lane = self._lanes[symbol]
        try:
            while lane and (claim is not None or not self._draining.is_set()):
                order_id = lane[0]
                try:
                    try:
                        claimed, claim = claim, None
                        await self._answered(order_id, claimed)
                    except LeaseLost:
                        raise
                    except Exception:
                        # Whatever it is, those who wait behind must not wait for ever. It cannot be sent twice by that:
                        # it is marked before it is sent, and one that is marked so is settled, never sent again.
                        logger.exception("Sending order %s failed; it is taken up again", order_id)
                        await self._after_failure(order_id)
                        continue
                except LeaseLost:
                    return  # the account is another worker's now
                lane.popleft()
                self._known.discard(order_id)
        finally:
            del self._lanes[symbol]

    async def _send_claimed(self, claim: Claim) -> NotSent | None:
        """Send it when it is stored; its slot is free afterwards. What comes back is as of `_attempt`."""
        try:
            entry = await claim.stored
            return None if entry is None else await self._place(entry, claim.slot)
        finally:
            claim.slot.give_back()
            self._has_sent()

    async def _after_failure(self, order_id: ClientOrderId) -> None:
        """Nothing is being sent now: what is SUBMITTING may be live. :raises LeaseLost: it is another worker's."""
        for wait in exponential(RETRY_SECONDS[0], 30.0):
            await asyncio.sleep(wait)
            try:
                lost = AnswerLost("Sending failed inside the service")
                await self._execution.apply_if(order_id, OrderStatus.SUBMITTING, lost)
                return
            except LeaseLost:
                raise
            except Exception:
                # Not given up before it is durable: until then, nothing may follow in this symbol.
                logger.exception("Order %s cannot be marked as UNKNOWN yet", order_id)

    async def _answered(self, order_id: ClientOrderId, claim: Claim | None) -> None:
        """See the order through until the broker has answered, it is refused, or we are to stop."""
        changed = self._waiters.setdefault(order_id, asyncio.Event())
        tries = 0
        try:
            failure = None if claim is None else await self._send_claimed(claim)
            while not self._draining.is_set():
                wait: float | None = None
                if failure is None:
                    changed.clear()
                    entry = await self._ledger.find(order_id)
                    if entry is None or entry.order.status not in UNANSWERED:
                        return
                    if entry.order.status is not OrderStatus.PENDING:
                        # `recovery` settles it; meanwhile those behind it may be cancelled, or grow old.
                        await self._pause(changed, SWEEP_SECONDS)
                        await self._sweep(entry.order.request.instrument.symbol)
                        continue
                    if await self._refused(entry):
                        return
                    wait = self._hold()
                    if wait is None:
                        failure = await self._attempt(entry)
                if isinstance(failure, AuthenticationFailed | AnnouncedBreak | _LeaseInDoubt):
                    wait = 1.0  # not refused for that: a person, the end of the break, or the store is waited for
                elif failure is not None:
                    tries += 1
                    if tries > self._max_retries:
                        text = f"The broker could not be reached ({tries} attempts): {failure}"
                        await self._refuse(order_id, ReasonCode.CONNECTION_FAILED, text)
                        return
                    wait = RETRY_SECONDS[min(tries, len(RETRY_SECONDS)) - 1]
                if failure is not None:
                    failure = None
                    changed.clear()  # set by the attempt itself
                if wait is not None:
                    await self._pause(changed, wait)
        finally:
            del self._waiters[order_id]

    async def _sweep(self, symbol: str) -> None:
        """End the orders of a lane that wait behind its first and must not be sent any more."""
        for order_id in list(self._lanes[symbol])[1:]:
            entry = self._ledger.get(order_id)
            if entry is not None and entry.order.status is OrderStatus.PENDING:
                await self._refused(entry)

    async def _pause(self, changed: asyncio.Event, seconds: float) -> None:
        """Wait, unless the order changes or we are to stop."""
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

    def _hold(self) -> float | None:
        """How long to keep the order back because a person, or the announced end of a break, is waited for."""
        availability = self._session.availability()
        held = availability.state in (AvailabilityState.LOGIN_NEEDED, AvailabilityState.ANNOUNCED_BREAK)
        if not held:
            self._held_alarm = None
            return None
        if self._held_alarm is not availability.state:
            self._held_alarm = availability.state
            self.alarm(availability)
        return 1.0

    async def _refused(self, entry: Entry) -> bool:
        """Whether the order must not be sent (any more); then it is ended, durably."""
        order = entry.order
        if order.cancel is not None:
            event = Withdrawn(order.cancel.reason_code, order.cancel.reason)
            await self._execution.apply_if(entry.record.id, OrderStatus.PENDING, event)
            return True
        halted = self._execution.halts.of(self._account_id)
        if halted is not None:
            await self._refuse(entry.record.id, ReasonCode.HALTED, halted.sentence(self._account_id))
            return True
        stale = self._execution.stale(entry.record, self._clock())
        if stale is not None:
            await self._refuse(entry.record.id, ReasonCode.STALE, stale)
            return True
        return False

    async def _refuse(self, order_id: ClientOrderId, code: ReasonCode, reason: str) -> None:
        await self._execution.apply_if(order_id, OrderStatus.PENDING, Refused(code, reason))

    async def _attempt(self, entry: Entry) -> NotSent | None:
        """One attempt; what proves that nothing was sent comes back, anything else is in the order's state."""
        slot = await self._slots.take()
        try:
            if self._draining.is_set():
                return None
            self._sending += 1
            self._idle.clear()
            try:
                return await self._send(entry, slot)
            finally:
                self._has_sent()
        finally:
            slot.give_back()

    def _has_sent(self) -> None:
        self._sending -= 1
        if not self._sending:
            self._idle.set()

    async def _send(self, entry: Entry, slot: Slot) -> NotSent | None:
        order_id, signal_id = entry.record.id, entry.order.request.signal_id
        try:
            broker = self._session.broker
            refusal = broker.plugin.capabilities.refusal(entry.order.request)
            if refusal is not None:
                await self._refuse(order_id, ReasonCode.UNSUPPORTED, f"{broker.plugin.name}: {refusal}")
                return None
            if not broker.availability().is_ready:
                return NotSent(broker.availability().reason or "the broker is not ready")
        except NotSent as error:
            await self._execution.apply_if(order_id, OrderStatus.PENDING, SendFailed(str(error)))
            order_log.warning(texts.connection_attempt_failed(str(error)), signal_id)
            return error
        sent = await self._execution.apply_if(order_id, OrderStatus.PENDING, Dispatched())
        if sent is None or sent.order.status is not OrderStatus.SUBMITTING:
            return None
        return await self._place(sent, slot)

    async def _place(self, sent: Entry, slot: Slot) -> NotSent | None:
        """Send an order that is durably SUBMITTING, if nothing speaks against it by now."""
        order_id, signal_id = sent.record.id, sent.order.request.signal_id
        if not self._may_send():
            await self._execution.apply(order_id, SendFailed("this worker's lease may have run out"))
            return _LeaseInDoubt("this worker's lease may have run out")
        # The slot and the commit may have taken long: what held before them is asked again.
        if self._execution.halts.of(self._account_id) is not None:
            await self._execution.apply(order_id, SendFailed("the account was stopped before it was sent"))
            return None
        current = self._ledger.get(order_id) or sent
        if current.order.cancel is not None or self._execution.stale(current.record, self._clock()) is not None:
            await self._execution.apply(order_id, SendFailed("it was cancelled or grew stale before it was sent"))
            return None
        order_log.info(texts.placing(sent.order), signal_id)
        try:
            try:
                placed = await self._session.broker.place_order(sent.order)
            finally:
                slot.give_back()  # it was sent, or will not be: what the answer writes keeps nobody from being sent
        except OrderRejected as error:
            known = None if error.broker_order_id is None else BrokerOrderId(error.broker_order_id)
            report = OrderReport(ReportStatus.REJECTED, order_id, known, reason=str(error), venue_time=None)
        except OrderUnsupported as error:
            # Asked above, so this is an adapter that guards itself more strictly: nothing was sent.
            await self._execution.apply(order_id, SendFailed(str(error)))
            await self._refuse(order_id, ReasonCode.UNSUPPORTED, str(error))
            return None
        except NotSent as error:
            await self._execution.apply(order_id, SendFailed(str(error)))
            order_log.warning(texts.connection_attempt_failed(str(error)), signal_id)
            return error
        except OutcomeUnknown as error:
            await self._execution.apply(order_id, AnswerLost(str(error)))
            return None
        else:
            report = OrderReport(
                placed.status, order_id, placed.broker_order_id, venue_time=None, details=placed.details
            )
        await self._execution.receive(order_id, report)
        return None

    def _on_change(self, _before: object, after: Entry) -> None:
        waiter = self._waiters.get(after.record.id)
        if waiter is not None:
            waiter.set()

    @property
    def waiting(self) -> int:
        """How many orders wait to be answered."""
        return len(self._known)

    @property
    def unsent(self) -> int:
        """How many orders wait to be sent."""
        entries = [self._ledger.get(order_id) for order_id in self._known]
        return sum(entry is not None and entry.order.status is OrderStatus.PENDING for entry in entries)
