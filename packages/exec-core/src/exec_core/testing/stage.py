"""Where a card plays: a venue, a plugin, one account between them, and the sessions that the card opens."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pytest

from exec_core.broker import Broker, BrokerPlugin
from exec_core.errors import NotSent
from exec_core.identifiers import AccountId, ClientOrderId, SignalId
from exec_core.instruments import AssetClass
from exec_core.orders import Order, OrderRequest, OrderType, TimeInForce
from exec_core.plugins import plugin_settings
from exec_core.reports import OrderReport
from exec_core.sides import Side
from exec_core.testing.following import Follower
from exec_core.testing.session import Session
from exec_core.testing.venue import Tradable, Venue, VenueOrder

Condition = Callable[[], Any | Awaitable[Any]]
SessionCondition = Callable[[Session], Any | Awaitable[Any]]

#: How often a condition is looked at while nothing is heard: the venue's truth makes no noise.
LOOK_SECONDS: Final = 0.01
#: The order in which the kit prefers kinds of instruments where a card is about something else.
_PREFERRED: Final = (
    AssetClass.STOCK,
    AssetClass.ETF,
    AssetClass.CRYPTO,
    AssetClass.FOREX,
    AssetClass.FUTURE,
    AssetClass.OPTION,
)


class Stage:
    """One card's venue, plugin and sessions. `follower` keeps the orders across sessions, as a database does."""

    def __init__(self, plugin: BrokerPlugin, venue: Venue, patience_seconds: float) -> None:
        self.plugin = plugin
        self.venue = venue
        self.patience_seconds = patience_seconds
        self.follower = Follower()
        self._sessions: list[Session] = []
        self._numbers = itertools.count(1)

    # Sessions

    async def session(self, *, call_timeout_seconds: float | None = None) -> Session:
        """A new session, entered and listening; it is left at the end of the card, if it was not before."""
        session = self.new_session(call_timeout_seconds=call_timeout_seconds)
        await session.enter()
        return session

    def new_session(self, *, call_timeout_seconds: float | None = None) -> Session:
        """A new session that is still to be entered; the core's bound on its calls is the plugin's, unless given."""
        plugin = self.plugin
        if call_timeout_seconds is not None:
            plugin = replace(plugin, call_timeout_seconds=call_timeout_seconds)
        session = Session(self.raw_broker(), plugin, self.follower, self.patience_seconds)
        self._sessions.append(session)
        return session

    def raw_broker(self) -> Broker:
        """The adapter itself, without the core's guard, not entered; whoever enters it leaves it."""
        return self.plugin.create(self.venue.config, plugin_settings(self.plugin, self.venue.config))

    async def leave(self) -> None:
        """Leave what is still open. How well that goes is the business of the cards on leaving, not of this one."""
        for session in self._sessions:
            with suppress(Exception):
                await session.leave()

    # Orders

    @property
    def asset_class(self) -> AssetClass:
        """A kind of instrument that the plugin declares."""
        return next(one for one in _PREFERRED if one in self.plugin.capabilities.asset_classes)

    @property
    def tradable(self) -> Tradable:
        """Something that can be traded."""
        return self.venue.tradable(self.asset_class)

    def new_order(self, tradable: Tradable | None = None, **changes: Any) -> Order:
        """An order that rests: a LIMIT if the plugin knows it, else its first type; BUY, unless told otherwise.

        `changes` are fields of `OrderRequest`. Every call makes another order.
        """
        tradable = tradable or self.tradable
        values: dict[str, Any] = {
            "signal_id": SignalId(f"kit-{next(self._numbers)}"),
            "account_id": AccountId(self.venue.config.account_id),
            "strategy_name": "conformance",
            "instrument": tradable.instrument,
            "side": Side.BUY,
            "order_type": self._resting_type(),
            "quantity": tradable.quantity,
            "product": tradable.product,
            "reference_price": tradable.price,
        } | changes
        order_type: OrderType = values["order_type"]
        if order_type.has_limit:
            values.setdefault("limit_price", tradable.price)
        if order_type.has_stop:
            # Beyond the market, so that it is held until its trigger comes.
            values.setdefault("stop_price", tradable.price + 10 * tradable.price_increment * values["side"].sign)
        if values.get("cash_quantity") is not None:
            values["quantity"] = None
        return Order.new(self.plugin.capabilities.as_taken(OrderRequest(**values)))

    def _resting_type(self) -> OrderType:
        types = self.plugin.capabilities.order_types
        preferred: tuple[OrderType, ...] = (OrderType.LIMIT, OrderType.MARKET, *OrderType)
        return next(one for one in preferred if one in types)

    def followed(self, order: Order) -> Order:
        """What has become of an order, as an honest bookkeeper sees it."""
        return self.follower.orders[order.client_order_id]

    def our_id(self, report: OrderReport) -> ClientOrderId | None:
        """Our id of the order that a report is about, under whichever id; None if it is none of ours."""
        orders = self.follower.orders
        if report.client_order_id in orders:
            return report.client_order_id
        return next((key for key, order in orders.items() if report.broker_order_id in order.broker_order_ids), None)

    async def at_venue(self, order: Order) -> VenueOrder:
        """The one order that the venue holds under our id; the card fails if there is none, or another."""
        found = await self.all_at_venue(order.client_order_id)
        if len(found) != 1:
            pytest.fail(f"the venue holds {len(found)} orders under {order.client_order_id}, not one: {found}")
        return found[0]

    async def all_at_venue(self, client_order_id: ClientOrderId) -> list[VenueOrder]:
        """Every order that the venue holds under our id."""
        return [order for order in await self.venue.orders() if order.client_order_id == client_order_id]

    async def is_booked(self, order: Order) -> bool:
        """Whether what was told of its executions is what the venue executed: none missing, none twice, none other.

        Prices are compared to the increment: digit for digit is the business of the card on figures.
        """
        known = sorted((execution.quantity, execution.price) for execution in (await self.at_venue(order)).executions)
        told = sorted((fill.quantity, fill.price) for fill in self.followed(order).own_fills)
        near = self.tradable.price_increment / 2
        return len(told) == len(known) and all(
            quantity == true_quantity and abs(price - true_price) < near
            for (quantity, price), (true_quantity, true_price) in zip(told, known, strict=True)
        )

    # Waiting

    async def until(self, condition: Condition, what: str) -> Any:
        """Wait until `condition` returns something true, which is returned; the card fails when patience is over.

        It may be a coroutine function. It is looked at after each report, and every few milliseconds.
        """
        deadline = time.monotonic() + self.patience_seconds
        while True:
            value = condition()
            if isinstance(value, Awaitable):
                value = await value
            if value:
                return value
            for crashed in (session.crashed for session in self._sessions if session.crashed):
                raise AssertionError("a report could not be judged by the lifecycle") from crashed
            if time.monotonic() > deadline:
                heard = [report for session in self._sessions for report in session.heard]
                pytest.fail(f"within {self.patience_seconds:g} s it did not come true that {what}; heard: {heard}")
            await asyncio.sleep(LOOK_SECONDS)

    async def through(self, session: Session, condition: SessionCondition, what: str) -> Session:
        """Wait like `until`, through trouble; the session in which it came true is returned.

        An adapter may mend its line, or end its reports: then the session is left, and a new one takes its place.
        `NotSent` from the condition means: not yet.
        """

        async def holds() -> Any:
            nonlocal session
            with suppress(NotSent):
                if session.is_over:
                    with suppress(Exception):
                        await session.leave()
                    session = await self.session()
                value = condition(session)
                return await value if isinstance(value, Awaitable) else value

        await self.until(holds, what)
        return session

    async def mended(self, session: Session) -> Session:
        """This session, or a new one in its place, once it is ready and questions are answered."""

        async def answers(current: Session) -> bool:
            await current.broker.open_orders()
            return current.broker.availability().is_ready

        return await self.through(session, answers, "the session was mended, or a new one took its place")

    async def all_told(self, session: Session) -> None:
        """Return when the session has heard of everything that happened at the venue before this call.

        Something more is made to happen, and waited for: what happened before it has been told by then.
        """
        marker = self.new_order(time_in_force=self._lasting())
        await session.place(marker)
        known = await self.at_venue(marker)
        await self.venue.fill(known.broker_order_id, self.tradable.quantity, self.tradable.price)
        # Under whatever id: that it is the venue's is the business of a card of its own.
        await self.until(
            lambda: self.followed(marker).filled_quantity, "an execution was told that happened after everything else"
        )

    def _lasting(self) -> TimeInForce | None:
        default = self.plugin.capabilities.default_time_in_force
        return None if default is not TimeInForce.IOC else next(iter(self.plugin.capabilities.times_in_force))


def with_id(order: Order, client_order_id: str) -> Order:
    """The same order under another id."""
    return replace(order, client_order_id=ClientOrderId(client_order_id))
