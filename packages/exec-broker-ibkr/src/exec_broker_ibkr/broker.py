"""The contract of `exec_core.broker`, in terms of a session; and the plugin's record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
from exec_core.clock import Clock, utc_now
from exec_core.errors import (
    CancelRejected,
    ConnectionFailed,
    NotSent,
    OrderRejected,
    OrderUnsupported,
    OutcomeUnknown,
)
from exec_core.orders import Order
from exec_core.reports import OrderReport, Report

from exec_broker_ibkr import money
from exec_broker_ibkr.connection.line import NoAnswer, RequestRefused
from exec_broker_ibkr.days import covered_since
from exec_broker_ibkr.following import tracing
from exec_broker_ibkr.following.tracking import Address, NotTaken, Refused, Taken
from exec_broker_ibkr.looking import Look
from exec_broker_ibkr.orders import capabilities
from exec_broker_ibkr.placing import prepare
from exec_broker_ibkr.session import Session
from exec_broker_ibkr.settings import IbkrSettings
from exec_broker_ibkr.waiting import LineLost

NAME: Final = "ibkr"


class IbkrBroker:
    """A session with TWS or IB Gateway, for one account."""

    def __init__(self, config: BrokerConfig, settings: IbkrSettings, clock: Clock = utc_now) -> None:
        self._config = config
        self._settings = settings
        self._clock = clock
        self._session = Session(config, settings, clock)

    async def __aenter__(self) -> Self:
        await self._session.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._session.close()

    async def place_order(self, order: Order) -> Placed:
        """Send the order, and wait for TWS's first word on it.

        :raises OrderRejected: TWS or IB refused it, or it is no order that IB would take.
        :raises OrderUnsupported: the adapter does not do that; nothing was sent.
        :raises NotSent: nothing reached TWS. :raises OutcomeUnknown: it was sent, and nothing was heard.
        """
        refusal = CAPABILITIES.refusal(order.request)
        if refusal is not None:  # also without the core's guard: what is not declared is not sent
            raise OrderUnsupported(refusal, broker=NAME, client_order_id=order.client_order_id)
        session = self._session
        session.check_ready()
        try:
            prepared = await prepare(order, session.catalogue, session.account, self._settings)
        except NoAnswer as error:
            raise NotSent(f"TWS does not say which contract this is: {error}", broker=NAME) from error
        order_id = session.line.next_order_id()
        with session.waiting.for_answer(order_id) as answer:

            def about_to_send() -> None:
                session.check_ready()
                session.tracker.sending(order_id, order, prepared.order, prepared.contract, prepared.details)

            await session.line.place(order_id, prepared.contract, prepared.order, about_to_send)
            # From here on the order may be live: only a word of TWS about it says otherwise.
            try:
                async with asyncio.timeout(self._settings.answer_seconds):
                    heard = await answer
            except TimeoutError as error:
                text = f"TWS has not answered within {self._settings.answer_seconds:g} s"
                raise OutcomeUnknown(text, broker=NAME, client_order_id=order.client_order_id) from error
            except LineLost as error:
                text = f"the line to TWS was lost before it answered: {error}"
                raise OutcomeUnknown(text, broker=NAME, client_order_id=order.client_order_id) from error
        match heard:
            case Taken(broker_order_id, status):
                return Placed(broker_order_id, status, prepared.details)
            case Refused(_, text):
                raise OrderRejected(text, broker=NAME, client_order_id=order.client_order_id)
            case NotTaken(text):
                raise NotSent(text, broker=NAME, client_order_id=order.client_order_id)

    async def cancel_order(self, order: Order) -> None:
        """Ask TWS for a cancel, and wait for its word that it has been asked.

        :raises CancelRejected: TWS would not, or knows no open order of ours by these ids.
        :raises ConnectionFailed: it was not asked, or did not answer.
        """
        session = self._session
        address = await self._address(order)
        line = session.line
        with session.waiting.for_cancel(address.order_id) as answer:
            await line.cancel(address.order_id)
            try:
                async with asyncio.timeout(self._settings.answer_seconds):
                    refusal = await answer
            except TimeoutError as error:
                raise ConnectionFailed("TWS has not answered the cancel", broker=NAME) from error
            except LineLost as error:
                raise ConnectionFailed(f"the line was lost before the cancel was answered: {error}") from error
        if refusal is not None:
            raise CancelRejected(f"TWS does not cancel it: {refusal}")

    async def _address(self, order: Order) -> Address:
        """What TWS cancels it by. :raises CancelRejected: there is nothing that could be cancelled from here."""
        tracker = self._session.tracker
        address = tracker.address(order)
        if address is None or not address.is_open:
            # What is remembered is no answer: it may have come to life, or been placed by an earlier session.
            await self._session.look()
            address = tracker.address(order)
        if address is None:
            raise CancelRejected("TWS knows no order of today by these ids")
        if not address.is_open:
            raise CancelRejected("TWS says that the order has ended")
        if address.client_id != self._settings.client_id or address.order_id <= 0:
            owner = f"client id {address.client_id}" if address.order_id > 0 else "somebody at TWS itself"
            raise CancelRejected(
                f"it was placed by {owner}, and only from there it can be cancelled (this is client id "
                f"{self._settings.client_id})"
            )
        return address

    async def find_order(self, order: Order) -> Found:
        """Everything that TWS shows of the order among open orders, today's executions and today's ended orders.

        :raises ConnectionFailed: TWS could not be asked.
        """
        look = await self._session.look()
        reports, fills = tracing.trace(order, look.open, look.executions, look.completed, self._session.tracker)
        return Found(self._view(look, covers=True), reports, fills)

    def reports(self) -> AsyncIterator[Report]:
        """What TWS knows of today, then what happens. :raises ConnectionFailed: the session is over."""
        return self._session.reports()

    async def open_orders(self) -> Snapshot[OrderReport]:
        """The account's open orders, whoever placed them. :raises ConnectionFailed: TWS could not be asked."""
        look = await self._session.look()
        return Snapshot(tracing.open_orders(look.open, self._session.tracker), self._view(look, covers=False))

    def _view(self, look: Look, *, covers: bool) -> View:
        return View(look.as_of, look.is_whole, covered_since(look.time, self._settings.zone) if covers else None)

    async def positions(self) -> Snapshot[BrokerPosition]:
        """What the account holds, from all clients and by hand. :raises ConnectionFailed: TWS could not be asked."""
        session = self._session
        as_of = self._clock()
        try:
            told = [one for one in await session.line.positions() if one.account == session.account]
            items = [money.position(one, await session.catalogue.of_con_id(one.contract.con_id)) for one in told]
        except (NoAnswer, RequestRefused) as error:
            raise ConnectionFailed(f"TWS does not tell the positions: {error}", broker=NAME) from error
        return Snapshot(tuple(items), View(as_of, not session.is_cut_off, None))

    async def account(self) -> AccountSummary:
        """The account's money, in its base currency. :raises ConnectionFailed: TWS could not be asked."""
        session = self._session
        as_of = self._clock()
        try:
            values = await session.line.account_summary(money.TAGS)
        except (NoAnswer, RequestRefused) as error:
            raise ConnectionFailed(f"TWS does not tell the account's money: {error}", broker=NAME) from error
        return money.summary(session.account, values, as_of)

    def availability(self) -> Availability:
        """Whether orders can be sent now."""
        return self._session.availability()


def _create(config: BrokerConfig, settings: IbkrSettings) -> IbkrBroker:
    return IbkrBroker(config, settings)


CAPABILITIES: Final = capabilities()

PLUGIN: Final = BrokerPlugin(
    name=NAME,
    settings=IbkrSettings,
    create=_create,
    capabilities=CAPABILITIES,
    unknown_settle_seconds=120.0,
    absence_view_seconds=30.0,
    # Connecting reads the day's orders and executions: up to four lists, each under its own time-out.
    call_timeout_seconds=60.0,
)
