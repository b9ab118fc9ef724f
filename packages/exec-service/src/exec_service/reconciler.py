"""Asks the broker of one account, after each connect and every few minutes, whether it has what we have.

It compares, keeps what differs as findings, and tells people once. It never trades, and never touches an order that is
not ours. Only one finding does more than tell: where more is at the broker than was asked, the account is stopped.

One look proves nothing new: it takes two in a row that agree, and in which nothing of ours changed meanwhile. No answer
is no answer: what was found stays, and the broker is asked again later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from exec_core.broker import BrokerPlugin, Found, Snapshot
from exec_core.clock import Clock
from exec_core.errors import CancelRejected, NotSent
from exec_core.identifiers import ClientOrderId
from exec_core.instruments import Instrument
from exec_core.orders import Order
from exec_core.reports import OrderReport, Report

from exec_service import findings, journal
from exec_service.backoff import exponential
from exec_service.execution import Execution
from exec_service.findings_keeper import FindingsKeeper
from exec_service.ledger import Ledger
from exec_service.projections import Projector
from exec_service.receiving import Receiver
from exec_service.reconciliation import (
    IN_DOUBT,
    Finding,
    Kind,
    Look,
    Shown,
    agreed,
    by_our_books,
    compare_orders,
    is_suspicious,
    joined,
    look_of,
    missing,
)
from exec_service.reconciliation_positions import Holding, compare_positions, held_by_broker, is_about
from exec_service.recovery import AT_THE_BROKER, NOT_SHOWN, Settler, lacks_fills
from exec_service.session import AccountSession
from exec_service.stores import ORDERS, POSITIONS, LeaseLost, Not, Store
from exec_service.units import Entry

logger = logging.getLogger(__name__)

#: So many looks in a row at most, where they do not agree because something goes on; then at the next time.
MOST_LOOKS: Final = 5
#: A replay that brings new reports all the time is not waited for longer than so many quiet times.
MOST_QUIET_TIMES: Final = 10
#: Without an answer the broker is asked again after growing waits, up to this one.
LONGEST_WAIT_SECONDS: Final = 60.0
#: For so long an order that has ended is looked at for executions beyond what was asked.
RECENT: Final = timedelta(days=1)
#: Positions that are closed keep less than the smallest increment: only so small a difference can be that.
LARGEST_RESIDUE: Final = 1


class Reconciler:
    """One account's; see the module's text."""

    def __init__(
        self,
        account_id: str,
        plugin: BrokerPlugin,
        execution: Execution,
        ledger: Ledger,
        store: Store,
        session: AccountSession,
        receiver: Receiver,
        settler: Settler,
        projector: Projector,
        clock: Clock,
        *,
        seconds: float,
    ) -> None:
        self._account_id = account_id
        self._plugin = plugin
        self._halts = execution.halts
        self._ledger = ledger
        self._store = store
        self._session = session
        self._receiver = receiver
        self._settler = settler
        self._clock = clock
        self._keeper = FindingsKeeper(account_id, execution.halts, ledger, store, projector, clock)
        self._seconds = seconds
        self._soon = asyncio.Event()
        #: The link of which the replay is through and a whole look was taken.
        self._known_link: datetime | None = None
        self._task: asyncio.Task[None] | None = None
        #: How many looks were taken so far.
        self.looks = 0

    def start(self) -> None:
        """Begin; the first look comes once a session is open."""
        self._ledger.changed.append(self._on_change)
        self._halts.resumed.append(self._on_resumed)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"reconcile {self._account_id}")

    async def stop(self) -> None:
        """End at once; the store knows what was found."""
        if self._on_change in self._ledger.changed:
            self._ledger.changed.remove(self._on_change)
        if self._on_resumed in self._halts.resumed:
            self._halts.resumed.remove(self._on_resumed)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look_soon(self) -> None:
        """There is reason to look now."""
        self._soon.set()

    def _on_resumed(self, account_id: str) -> None:
        if account_id == self._account_id:
            self.look_soon()

    def _on_change(self, before: Order | None, after: Entry) -> None:
        """An order of ours may be beyond what was asked; or the broker does not show it any more, or does again."""
        order = after.order
        if order.request.account_id != self._account_id:
            return
        was = None if before is None else before.attention
        is_news = order.attention != was and NOT_SHOWN in (was, order.attention)
        has_filled = before is None or before.filled_quantity != order.filled_quantity
        if is_news or _may_grow(before, order) or (has_filled and by_our_books(order) is not None):
            self.look_soon()

    # ------------------------------------------------------------------ when to look

    async def _run(self) -> None:
        longest = min(self._seconds or LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
        retries = exponential(self._plugin.absence_view_seconds, longest)
        wait = longest
        while True:
            asked = await self._pause(wait)
            if self._session.linked_since == self._known_link and not asked and not self._seconds:
                continue  # only after each connect, and there was none
            try:
                done = await self._reconcile()
            except LeaseLost:
                return  # the account is another worker's now
            except Exception:
                # A store that is away, an adapter's nonsense, a bug: nothing was found, and nothing is cleared.
                logger.exception("Account %s could not be compared with its broker yet", self._account_id)
                done = False
            if done:
                retries = exponential(self._plugin.absence_view_seconds, longest)
            wait = (self._seconds or LONGEST_WAIT_SECONDS) if done else next(retries)

    async def _pause(self, seconds: float) -> bool:
        """Wait, unless there is reason to look now; whether there is."""
        try:
            async with asyncio.timeout(seconds):
                await self._soon.wait()
        except TimeoutError:
            return False
        self._soon.clear()
        return True

    async def _reconcile(self) -> bool:
        """Look until two looks agree; whether the broker gave whole answers."""
        # What our own books prove needs no answer of the broker's, and no second look.
        await self._keeper.record(look_of(_all(by_our_books(order) for order in await self._ours()), ()))
        link = self._session.linked_since
        if link is None:
            return False
        if link != self._known_link:
            await self._quiet()
        first = await self._look()
        stored = await self._keeper.stored(first)
        if not findings.is_news(first, stored) and not first.again:
            return await self._done(first, link)
        for _ in range(MOST_LOOKS - 1):
            await asyncio.sleep(self._plugin.absence_view_seconds)
            await self._catch_up(first)
            if self._session.linked_since != link:
                return False  # what two sessions say is not two looks in a row
            second = await self._look()
            look = agreed(first, second)
            if not look.again:
                return await self._done(look, link)
            await self._keeper.record(look)
            first = second
        return self._is_whole(first)

    async def _catch_up(self, look: Look) -> None:
        """Book what the broker knows of the live orders behind a difference in a position: an execution whose report
        is late, or waits to be booked, is no difference."""
        subjects = [subject for kind, subject in look.findings if kind is Kind.POSITION_DIFFERS]
        for order in self._live().values():
            if order.status in AT_THE_BROKER and any(is_about(subject, order) for subject in subjects):
                found = await self._find(order)
                reports: tuple[Report, ...] = () if found is None else (*found.fills, *found.orders)
                for report in reports:
                    booked = await self._receiver.take(report)
                    if booked is not None:
                        await booked

    async def _done(self, look: Look, link: datetime) -> bool:
        await self._keeper.record(look)
        if self._is_whole(look):
            self._known_link = link
        return self._is_whole(look)

    def _is_whole(self, look: Look) -> bool:
        return look.covered == frozenset(Kind)

    async def _quiet(self) -> None:
        """Wait until the session's replay is through: no report has come for a while."""
        for _ in range(MOST_QUIET_TIMES):
            taken = self._receiver.taken
            await asyncio.sleep(self._plugin.absence_view_seconds)
            if self._receiver.taken == taken:
                return

    # ------------------------------------------------------------------ one look

    async def _look(self) -> Look:
        """What the broker's two lists say; a list without a usable answer covers nothing."""
        look = joined(await self._orders(), await self._positions())
        self.looks += 1
        return look

    async def _orders(self) -> Look:
        before = self._live()
        try:
            listed = await self._session.broker.open_orders()
        except (NotSent, CancelRejected) as error:
            logger.debug("Account %s: the open orders cannot be compared: %s", self._account_id, error)
            return Look()
        if not listed.view.complete:
            logger.debug("Account %s: the list of open orders is not complete, and proves nothing", self._account_id)
            return Look()
        shown = await self._attributed(listed)
        after = {order.client_order_id: order for order in await self._ours()} | self._live()
        for item in shown:
            entry = None if item.order_id is None else await self._ledger.find(item.order_id)
            if entry is not None:
                after[entry.record.id] = entry.order
        for order_id in missing(before, after, shown):
            if after[order_id].attention != NOT_SHOWN:
                self._settler.look(order_id)  # it may have ended just now: that is found out there
        found: dict[ClientOrderId, Found | None] = {}
        for order_id, order in after.items():
            reports = [item.report for item in shown if item.order_id == order_id]
            if is_suspicious(order, reports):
                found[order_id] = await self._find(order)
        return compare_orders(before, after, shown, found)

    async def _attributed(self, listed: Snapshot[OrderReport]) -> list[Shown]:
        """Whose order each is; what the broker says of ours is booked as any other report."""
        shown = []
        for report in listed.items:
            order_id = report.client_order_id
            if order_id is None and report.broker_order_id is not None:
                order_id = await self._ledger.find_by_broker_id(self._account_id, report.broker_order_id)
            entry = None if order_id is None else await self._ledger.find(order_id)
            if entry is None or entry.order.request.account_id != self._account_id:
                shown.append(Shown(report))
                continue
            shown.append(Shown(report, entry.record.id))
            booked = await self._receiver.take(report)
            if booked is not None:
                await booked
        return shown

    async def _find(self, order: Order) -> Found | None:
        try:
            return await self._session.broker.find_order(order)
        except (NotSent, CancelRejected) as error:
            logger.debug("Order %s cannot be asked for: %s", order.client_order_id, error)
            return None

    async def _positions(self) -> Look:
        before = await self._holdings()
        try:
            listed = await self._session.broker.positions()
        except (NotSent, CancelRejected) as error:
            logger.debug("Account %s: the positions cannot be compared: %s", self._account_id, error)
            return Look()
        if not listed.view.complete:
            logger.debug("Account %s: the list of positions is not complete, and proves nothing", self._account_id)
            return Look()
        after = await self._holdings()
        theirs = held_by_broker(listed.items, [*before, *after])
        doubtful = list(_instruments(order for order in self._live().values() if _is_in_doubt(order)))
        look = compare_positions(before, after, theirs, doubtful)
        if any(_is_small(finding) for finding in look.findings.values()):
            residues = await self._residues()
            look = compare_positions([*before, *residues], [*after, *residues], theirs, doubtful)
        return look

    # ------------------------------------------------------------------ our side

    def _live(self) -> dict[ClientOrderId, Order]:
        return {entry.record.id: entry.order for entry in self._ledger.live(self._account_id)}

    async def _ours(self) -> list[Order]:
        """The live orders, and those that have ended lately with more executions than were asked."""
        found = list(self._live().values())
        where = {"account_id": self._account_id, "attention": Not(None)}
        since = self._clock() - RECENT
        for document in await self._store.load(ORDERS, where):
            entry = await self._ledger.find(ClientOrderId(document["_id"]))
            if entry is None or not entry.order.status.is_final or by_our_books(entry.order) is None:
                continue
            if entry.order.history[-1].at >= since:
                found.append(entry.order)
        return found

    async def _holdings(self) -> list[Holding]:
        """Our open positions, all strategies', as the store has them."""
        where = {"account_id": self._account_id, "status": Not("CLOSED"), "position_key": Not(None)}
        held = [journal.held_position(document).position for document in await self._store.load(POSITIONS, where)]
        return [Holding(position.instrument, position.quantity, position.key.product) for position in held]

    async def _residues(self) -> list[Holding]:
        """What closed positions have left over: less than can be traded, but the broker counts it."""
        where = {"account_id": self._account_id, "status": "CLOSED", "residual_quantity": Not([0.0, None])}
        closed = [journal.held_position(document).position for document in await self._store.load(POSITIONS, where)]
        return [Holding(position.instrument, position.residual_quantity, position.key.product) for position in closed]


def _may_grow(before: Order | None, order: Order) -> bool:
    """Whether the broker has just told of more than was asked: a raised quantity, or one more order under the id."""
    asked, quantity = order.asked_quantity, order.quantity
    raised = asked is not None and quantity is not None and quantity > asked
    if before is None:
        return raised or order.has_several_ids
    more = len(order.broker_order_ids) > max(1, len(before.broker_order_ids))
    return more or (raised and quantity != before.quantity)


def _all(found: Iterable[Finding | None]) -> list[Finding]:
    return [finding for finding in found if finding is not None]


def _is_in_doubt(order: Order) -> bool:
    return order.status in IN_DOUBT or lacks_fills(order)


def _instruments(orders: Iterable[Order]) -> Iterable[Instrument]:
    for order in orders:
        yield order.request.instrument
        yield from (leg.instrument for leg in order.request.legs)


def _is_small(finding: Finding) -> bool:
    figures: Mapping[str, Any] = finding.figures
    return bool(abs(figures["broker"] - figures["ours"]) < LARGEST_RESIDUE)
