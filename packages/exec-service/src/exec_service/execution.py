"""THE CENTRE: what becomes of an order, from the message to its end.

`process_order` takes an order in, `handle_order_fill` books an execution, `handle_order_rejection` ends a refused
order; everything else that a broker says goes through `handle_order_report`. Each is one event and one transaction:
the lifecycle judges it, and order, fills, position, confirmation and outbox are written together or not at all.

It knows no broker and no bus; who calls it: `intake` (messages), `receiving` (reports), `dispatch` (sending),
`timeouts`, `recovery` and `commands`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from exec_core import lifecycle
from exec_core.capabilities import Capabilities
from exec_core.clock import Clock
from exec_core.events import Dispatched, Event, NeedsAttention, Refused, Resolved
from exec_core.identifiers import ClientOrderId
from exec_core.lifecycle import Change
from exec_core.orders import Order, OrderStatus, ReasonCode
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report, ReportStatus

from exec_service import bookkeeping, texts
from exec_service.halting import Halts
from exec_service.ledger import Ledger
from exec_service.logs import order_log
from exec_service.records import OrderRecord
from exec_service.settings import Account
from exec_service.units import Entry, Unit


class Execution:
    """The service's decisions about orders; see the module's text."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        account: Callable[[str], Account | None],
        capabilities: Callable[[str], Capabilities | None],
        max_age_seconds: float,
        redact: Callable[[str], str],
    ) -> None:
        self.ledger = ledger
        self._clock = clock
        self._account = account
        self._capabilities = capabilities
        self._max_age_seconds = max_age_seconds
        self._redact = redact
        self.halts = Halts()

    # ------------------------------------------------------------------ taking an order in

    def process_order(self, record: OrderRecord) -> OrderRecord:
        """Judge a well-formed order before it is stored: PENDING, or refused for its account or its age.

        A PENDING order is durable as soon as the intake has inserted it, and then belongs to whoever owns its
        account: `dispatch` sends it, `session` hears what becomes of it.
        """
        request = record.order.request
        account = self._account(request.account_id)
        if account is None:
            known = f"The account {request.account_id} is not configured: add it to ACCOUNTS, or correct account_id"
            return self._refused(record, ReasonCode.UNKNOWN_ACCOUNT, known)
        record = self._as_taken(replace(record, broker=account.broker))
        stale = self.stale(record, self._clock())
        return record if stale is None else self._refused(record, ReasonCode.STALE, stale)

    def begin(self, record: OrderRecord) -> OrderRecord:
        """A PENDING order that is not stored yet, as it is sent: SUBMITTING. It must be durable before it leaves."""
        return replace(record, order=lifecycle.apply(record.order, Dispatched(), self._clock()).order)

    def _as_taken(self, record: OrderRecord) -> OrderRecord:
        """The order in the terms in which its broker takes it: what is sold for money only is bought for money."""
        capabilities = self._capabilities(record.broker) if record.broker is not None else None
        request = record.order.request
        if capabilities is None or (taken := capabilities.as_taken(request)) == request:
            return record
        return replace(record, order=replace(record.order, request=taken, quantity=taken.quantity))

    def _refused(self, record: OrderRecord, code: ReasonCode, reason: str) -> OrderRecord:
        change = lifecycle.apply(record.order, Refused(code, reason), self._clock())
        return replace(record, order=change.order)

    def stale(self, record: OrderRecord, now: datetime) -> str | None:
        """Why the order is too old to be sent at `now`; None if it is fresh."""
        age = (now - record.source.age_from).total_seconds()
        if age <= self._max_age_seconds:
            return None
        return (
            f"The order is {age:.0f} s old, older than ORDER_MAX_AGE_SECONDS = {self._max_age_seconds:g} s; "
            "it was not placed"
        )

    # ------------------------------------------------------------------ what the broker says

    def receive(self, order_id: ClientOrderId, report: Report) -> asyncio.Future[Entry]:
        """Book one report about an order of ours; the future is done when it is durable.

        Reports are judged in the order of the calls. `receiving` finds out whose report it is.
        """
        return self.ledger.submit(lambda unit: self._report(unit, order_id, report))

    def known(self, order_id: ClientOrderId, report: Report) -> asyncio.Future[Entry] | None:
        """The future of `receive`, done, if the report tells nothing new of an order that has ended; else None.

        A broker repeats the whole day at each session's start. Such a report changes nothing, not even a revision, and
        needs no turn in a commit, if nothing at all waits for one: what is committed is then what would be judged.
        """
        entry = self.ledger.get(order_id)
        if entry is None or not entry.order.status.is_final or self.ledger.unwritten:
            return None
        if lifecycle.apply(entry.order, self._clean(report), self._clock()).changed:
            return None
        done: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        done.set_result(entry)
        return done

    def _report(self, unit: Unit, order_id: ClientOrderId, report: Report) -> Entry:
        match report:
            case FillReport():
                return self.handle_order_fill(unit, order_id, report)
            case OrderReport(status=ReportStatus.REJECTED):
                return self.handle_order_rejection(unit, order_id, report)
            case _:
                return self.handle_order_report(unit, order_id, report)

    def handle_order_fill(self, unit: Unit, order_id: ClientOrderId, fill_data: FillReport) -> Entry:
        """An execution: booked exactly once, in any state, with its position and realized PnL.

        The confirmation and the notification follow through the outbox, written in the same transaction.
        """
        return self.apply_in(unit, order_id, fill_data)

    def handle_order_rejection(self, unit: Unit, order_id: ClientOrderId, rejection_reason: OrderReport) -> Entry:
        """The broker refused the order: final, stored with its reason, told, and never tried again."""
        return self.apply_in(unit, order_id, rejection_reason)

    def handle_order_report(self, unit: Unit, order_id: ClientOrderId, report: OrderReport | CommissionReport) -> Entry:
        """The order's state as the broker sees it, or what an execution cost."""
        return self.apply_in(unit, order_id, report)

    # ------------------------------------------------------------------ what we do ourselves

    async def apply(self, order_id: ClientOrderId, event: Event) -> Entry:
        """Judge `event` against the order, durably; the order after it.

        :raises LeaseLost: another worker owns the account by now.
        """
        return await self.ledger.submit(lambda unit: self.apply_in(unit, order_id, event))

    async def apply_if(self, order_id: ClientOrderId, status: OrderStatus, event: Event) -> Entry | None:
        """The same, if the order is still in `status` when its turn comes; else None."""

        def decide(unit: Unit) -> Entry | None:
            if unit.entry(order_id).order.status is not status:
                return None
            return self.apply_in(unit, order_id, event)

        return await self.ledger.submit(decide)

    def apply_in(self, unit: Unit, order_id: ClientOrderId, event: Event) -> Entry:
        """Judge `event` inside a unit of work that does more than this."""
        entry = unit.entry(order_id)
        change = lifecycle.apply(entry.order, self._clean(event), unit.now)
        if not change.changed:
            return entry
        broker = entry.record.broker or "none"
        shares = bookkeeping.book(unit, entry.order, change, broker, entry.shares)
        after = Entry(replace(entry.record, order=change.order), shares)
        unit.put(after, change.alarms)
        self._tell(unit, entry.order, change)
        return after

    def _clean(self, event: Event) -> Event:
        """`event` without secrets: an adapter's error text goes into documents and to people."""
        reason = getattr(event, "reason", None)
        if not isinstance(reason, str) or isinstance(
            event, FillReport | CommissionReport | NeedsAttention | Resolved | Dispatched
        ):
            return event
        cleaned = self._redact(reason)
        return event if cleaned == reason else replace(event, reason=cleaned)

    def _tell(self, unit: Unit, before: Order, change: Change) -> None:
        """The log lines of a change, once it is durable."""
        lines = texts.log_lines(before, change.order)
        signal_id = change.order.request.signal_id

        def log() -> None:
            for line in lines:
                order_log.info(line, signal_id)
            for alarm in change.alarms:
                order_log.warning(alarm, signal_id)

        unit.afterwards(log)
