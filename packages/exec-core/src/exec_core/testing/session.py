"""One session as a service uses it: entered, listened to, and every answer told to the follower."""

from __future__ import annotations

import asyncio

from exec_core.broker import Broker, BrokerPlugin, Found, Placed
from exec_core.errors import BrokerError, NotSent
from exec_core.guard import GuardedBroker
from exec_core.orders import Order
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report
from exec_core.testing.following import Follower


class Session:
    """A session through the core's guard. `heard` holds all reports; `failure` says why they ended, if they did."""

    def __init__(self, raw: Broker, plugin: BrokerPlugin, follower: Follower, patience_seconds: float) -> None:
        self.raw = raw
        self.broker = GuardedBroker(raw, plugin)
        self.follower = follower
        self.heard: list[Report] = []
        self.failure: NotSent | None = None
        self.crashed: BaseException | None = None
        self._patience_seconds = patience_seconds
        self._listener: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        """Connect and listen. :raises NotSent, ConfigurationError: as the contract says."""
        await self.broker.__aenter__()
        self._listener = asyncio.get_running_loop().create_task(self._listen(), name="conformance listener")

    async def leave(self) -> None:
        """Stop listening and disconnect. :raises TimeoutError: the adapter does not let go. Twice does nothing."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        async with asyncio.timeout(self._patience_seconds):
            await self.broker.__aexit__(None, None, None)

    async def _listen(self) -> None:
        try:
            async for report in self.broker.reports():
                self.heard.append(report)
                self.follower.hear(report)
        except NotSent as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001  # the kit's own judgement of a report: the card must see it
            self.crashed = error

    @property
    def is_over(self) -> bool:
        """Whether the stream of reports has ended."""
        return self.failure is not None or self.crashed is not None

    async def place(self, order: Order) -> Placed:
        """Send the order. :raises OrderRejected, NotSent, OutcomeUnknown, OrderUnsupported: told to the follower."""
        sending = self.follower.sending(order)
        try:
            placed = await self.broker.place_order(sending)
        except BrokerError as error:
            self.follower.not_placed(order, error)
            raise
        self.follower.placed(order, placed)
        return placed

    async def cancel(self, order: Order) -> None:
        """Ask for a cancel. :raises CancelRejected, ConnectionFailed: as the contract says."""
        await self.broker.cancel_order(self.follower.cancel_asked(order))

    async def find(self, order: Order) -> Found:
        """Look for the order as it is known now; what is found is told to the follower. :raises ConnectionFailed:"""
        found = await self.broker.find_order(self.follower.orders.get(order.client_order_id, order))
        self.follower.found(found)
        return found

    @property
    def fills(self) -> list[FillReport]:
        """The executions heard, with repeats."""
        return [report for report in self.heard if isinstance(report, FillReport)]

    @property
    def orders(self) -> list[OrderReport]:
        """The orders' states heard, with repeats."""
        return [report for report in self.heard if isinstance(report, OrderReport)]

    @property
    def commissions(self) -> list[CommissionReport]:
        """The commissions heard that came apart from their execution."""
        return [report for report in self.heard if isinstance(report, CommissionReport)]
