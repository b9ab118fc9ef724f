"""The contract of `exec_core.broker`, in terms of a session; and the plugin's record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from types import TracebackType
from typing import Final, Self

from exec_core.broker import (
    AccountSummary,
    Availability,
    BrokerConfig,
    BrokerPlugin,
    BrokerPosition,
    Found,
    Placed,
    Snapshot,
    View,
)
from exec_core.capabilities import Capabilities, Idempotency
from exec_core.clock import Clock, utc_now
from exec_core.errors import CancelRejected, ConnectionFailed, NotSent, OrderRejected, OrderUnsupported, OutcomeUnknown
from exec_core.identifiers import BrokerOrderId, ClientOrderId
from exec_core.instruments import AssetClass
from exec_core.orders import Order, OrderType, TimeInForce
from exec_core.reports import OrderReport, Report

from exec_broker_zerodha import placing, replies, rows, views, words
from exec_broker_zerodha.book import Sent
from exec_broker_zerodha.client import Reply
from exec_broker_zerodha.looking import answer
from exec_broker_zerodha.replies import Verdict
from exec_broker_zerodha.session import NAME, Session
from exec_broker_zerodha.settings import ZerodhaSettings

CAPABILITIES: Final = Capabilities(
    order_types=frozenset(OrderType),
    # Good-till-triggered orders are no orders but triggers that place one, without a tag: they are not offered as GTC.
    times_in_force=frozenset(words.VALIDITIES),
    # Currencies trade there as futures (CDS), not as the pairs that FOREX means.
    asset_classes=frozenset({AssetClass.STOCK, AssetClass.ETF, AssetClass.OPTION, AssetClass.FUTURE}),
    combinations=False,
    native_brackets=False,
    idempotency=Idempotency.CORRELATES,
)
#: How long finding an order's instrument may take: a list of a hundred thousand may have to be fetched first.
PREPARE_SECONDS: Final = 25.0
#: How long a list of instruments is waited for that would only make names clearer.
NAMING_SECONDS: Final = 10.0
_NO_GTC: Final = "time_in_force GTC is not supported: Kite's orders end with the day (its GTT triggers are not offered)"


class ZerodhaBroker:
    """A session with Kite, for one account."""

    def __init__(self, config: BrokerConfig, settings: ZerodhaSettings, clock: Clock = utc_now) -> None:
        self._settings = settings
        self._clock = clock
        self._session = Session(config, settings, clock)
        self._unanswered: set[ClientOrderId] = set()
        self._under_way: set[ClientOrderId] = set()

    async def __aenter__(self) -> Self:
        await self._session.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._session.close()

    async def place_order(self, order: Order) -> Placed:
        """Send the order, once, and wait for Kite's answer to that.

        :raises OrderRejected: Kite refused it, or would, by its lists. :raises OrderUnsupported: nothing was sent.
        :raises NotSent: nothing reached Kite. :raises OutcomeUnknown: it was sent, and what came back proves nothing.
        """
        name, session = order.client_order_id, self._session
        if order.request.time_in_force is TimeInForce.GTC:
            raise OrderUnsupported(_NO_GTC, broker=NAME, client_order_id=name)
        refusal = CAPABILITIES.refusal(order.request)
        if refusal is not None:  # also without the core's guard: what is not declared is not sent
            raise OrderUnsupported(refusal, broker=NAME, client_order_id=name)
        session.check_ready()
        if name in self._unanswered:
            # Its request may still be under way, in a thread that nobody can stop.
            raise OutcomeUnknown("an earlier send of this order was not answered", broker=NAME, client_order_id=name)
        try:
            async with asyncio.timeout(PREPARE_SECONDS):
                prepared = await placing.prepare(order, session.catalogue, self._settings, self._clock)
        except TimeoutError:
            raise NotSent("the list of instruments cannot be had in time", broker=NAME, client_order_id=name) from None
        session.check_ready()
        session.book.sending(name, prepared.sent)
        self._unanswered.add(name)
        self._under_way.add(name)
        try:
            reply = await session.client.place(prepared.order.parameters, partial(self._returned, name))
        except asyncio.CancelledError:
            session.sent(name)  # whoever gave it up does not know what became of it
            raise
        if not reply.is_under_way:
            self._under_way.discard(name)
        placed = self._placed(name, reply)
        self._unanswered.discard(name)
        session.book.placed(name, placed)
        session.sent()
        return Placed(placed, prepared.status, prepared.details)

    def _returned(self, name: ClientOrderId) -> None:
        """A request that nobody waits for any more has come to its end."""
        self._under_way.discard(name)
        self._session.wake()

    def _placed(self, name: ClientOrderId, reply: Reply) -> BrokerOrderId:
        """The id under which Kite has the order. :raises OrderRejected, NotSent, OutcomeUnknown: it has none."""
        session = self._session
        if reply.failure is None:
            try:
                return rows.order_id_of({"order_id": reply.value})
            except rows.BadRow:
                session.sent(name)
                text = "Kite took the order and told no id"
                raise OutcomeUnknown(text, broker=NAME, client_order_id=name) from None
        judged = replies.of_placing(reply.failure)
        if judged.verdict is Verdict.UNKNOWN:
            session.sent(name)
            raise OutcomeUnknown(judged.text, broker=NAME, client_order_id=name)
        self._unanswered.discard(name)
        session.wake()
        match judged.verdict:
            case Verdict.REFUSED:
                raise OrderRejected(judged.text, broker=NAME, client_order_id=name)
            case Verdict.LOGIN_NEEDED:
                raise session.login_needed(f"Kite wants a login: {judged.text}")
            case _ if judged.is_busy:
                raise NotSent(judged.text, broker=NAME, client_order_id=name)
            case _:
                raise ConnectionFailed(judged.text, broker=NAME, client_order_id=name)

    async def cancel_order(self, order: Order) -> None:
        """Ask Kite for a cancel of whatever is open of the order.

        :raises CancelRejected: Kite would not, or has nothing of the order that is open.
        :raises ConnectionFailed: it was not asked, or did not answer.
        """
        session = self._session
        session.check_open()
        failures: list[Exception] = []
        for broker_order_id, variety in await self._open_parts(order):
            reply = await session.client.cancel(variety, broker_order_id)
            if reply.failure is None:
                continue
            judged = replies.of_cancelling(reply.failure)
            if judged.verdict is Verdict.LOGIN_NEEDED:
                raise session.login_needed(f"Kite wants a login: {judged.text}")
            if judged.verdict is Verdict.REFUSED:
                failures.append(CancelRejected(f"Kite does not cancel it: {judged.text}"))
            else:
                failures.insert(0, ConnectionFailed(f"the cancel was not answered: {judged.text}", broker=NAME))
        session.sent()
        if failures:
            raise failures[0]

    async def _open_parts(self, order: Order) -> list[tuple[BrokerOrderId, str]]:
        """What can be cancelled of the order, with its variety. :raises CancelRejected: nothing of it."""
        session = self._session
        known = [(name, session.book.row(name)) for name in order.broker_order_ids]
        if not known or any(row is None or not rows.is_open(row) for _, row in known):
            # What is remembered is no answer: it may be placed by an earlier session, or seen too early.
            await session.look()
            trace = session.book.trace(order, await placing.sent_of(order, session.catalogue))
            names = dict.fromkeys((*order.broker_order_ids, *(one.broker_order_id for one in trace.orders)))
            known = [(name, session.book.row(name)) for name in names if name is not None]
        if not known:
            raise CancelRejected("Kite's order book of today has no such order")
        variety = (order.request.variety or words.REGULAR).lower()
        live = [(name, row or {}) for name, row in known if row is None or rows.is_open(row)]
        found = [(name, str(row.get("variety") or variety)) for name, row in live]
        if not found:
            raise CancelRejected("Kite's order book says that the order has ended")
        return found

    async def find_order(self, order: Order) -> Found:
        """Everything that Kite shows of the order today, by its tag and its ids.

        :raises ConnectionFailed: Kite could not be asked. :raises AuthenticationFailed: a login is needed.
        """
        session = self._session
        session.check_open()
        sent = await self._sent(order)
        look = await session.look()
        trace = session.book.trace(order, sent)
        view = look.view(covers=True)
        if trace.is_doubtful or order.client_order_id in self._under_way:
            # Something bears its tag and is not what was sent; or its request may still arrive: no absence is proven.
            view = View(view.as_of, False, view.covers_from)
        return Found(view, trace.orders, trace.fills)

    async def _sent(self, order: Order) -> Sent | None:
        try:
            async with asyncio.timeout(NAMING_SECONDS):
                return await placing.sent_of(order, self._session.catalogue)
        except TimeoutError:
            return None

    def reports(self) -> AsyncIterator[Report]:
        """What Kite knows of today, then what happens. :raises ConnectionFailed: the session is over."""
        return self._session.reports()

    async def open_orders(self) -> Snapshot[OrderReport]:
        """The account's open orders, whoever placed them. :raises ConnectionFailed: Kite could not be asked."""
        session = self._session
        look = await session.look()
        places = {rows.place_of(row)[0] for row in session.book.rows.values()}
        await session.catalogue.have(places & set(words.DERIVATIVE_EXCHANGES), NAMING_SECONDS)
        return Snapshot(session.book.open_orders(), look.view(covers=False))

    async def positions(self) -> Snapshot[BrokerPosition]:
        """What the account holds, by product. :raises ConnectionFailed: Kite could not be asked."""
        session = self._session
        session.check_open()
        as_of = self._clock()
        traded = self._answer(await session.client.positions(), "its positions")
        carried = self._answer(await session.client.holdings(), "its holdings")
        await session.catalogue.have(views.exchanges_in(traded.value), NAMING_SECONDS)
        at_hand = session.catalogue.at_hand
        try:
            items = (*views.positions(traded.value, at_hand), *views.holdings(carried.value, at_hand))
        except views.NoAnswer as error:
            raise ConnectionFailed(str(error), broker=NAME) from error
        return Snapshot(items, View(as_of, True, None))

    async def account(self) -> AccountSummary:
        """The account's money. :raises ConnectionFailed: Kite could not be asked."""
        self._session.check_open()
        as_of = self._clock()
        told = self._answer(await self._session.client.margins(), "its margins")
        try:
            return views.account(told.value, as_of)
        except views.NoAnswer as error:
            raise ConnectionFailed(str(error), broker=NAME) from error

    def _answer(self, reply: Reply, what: str) -> Reply:
        if reply.failure is not None and replies.of_asking(reply.failure).verdict is Verdict.LOGIN_NEEDED:
            raise self._session.login_needed(f"Kite wants a login: {reply.failure.text}")
        return answer(reply, what)

    def availability(self) -> Availability:
        """Whether orders can be sent now."""
        return self._session.availability()


def _create(config: BrokerConfig, settings: ZerodhaSettings) -> ZerodhaBroker:
    return ZerodhaBroker(config, settings)


PLUGIN: Final = BrokerPlugin(
    name=NAME,
    settings=ZerodhaSettings,
    create=_create,
    capabilities=CAPABILITIES,
    # An order was placed 8 s after it had been called timed out, another was stuck for 90 s (forum discussions 35732,
    # 41029): absence counts after a quarter of an hour.
    unknown_settle_seconds=900.0,
    absence_view_seconds=30.0,
    # The rate limits' turn, a list of instruments, and an answer, one after the other, each under its own time-out.
    call_timeout_seconds=90.0,
)
