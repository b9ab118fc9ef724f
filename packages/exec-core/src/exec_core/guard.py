"""One guard around every broker: refuses what is not declared, bounds every call, and takes no answer for "unknown".

It is the only place that decides what an exception from an adapter means for the order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from types import TracebackType
from typing import Self, TypeVar

from exec_core.broker import (
    AccountSummary,
    Availability,
    Broker,
    BrokerPlugin,
    BrokerPosition,
    Found,
    Placed,
    Snapshot,
)
from exec_core.errors import (
    CancelRejected,
    ConfigurationError,
    ConnectionFailed,
    NotSent,
    OrderRejected,
    OrderUnsupported,
    OutcomeUnknown,
)
from exec_core.orders import Order
from exec_core.reports import OrderReport, Report

T = TypeVar("T")


class GuardedBroker:
    """A `Broker` that keeps the contract's promises for the adapter it wraps."""

    def __init__(self, broker: Broker, plugin: BrokerPlugin) -> None:
        self._broker = broker
        self.plugin = plugin

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.plugin.name}>"

    async def __aenter__(self) -> Self:
        try:
            await self._bounded(self._broker.__aenter__())
        except (NotSent, ConfigurationError):
            raise
        except TimeoutError as error:
            raise ConnectionFailed(
                f"{self.plugin.name} did not connect within {self.plugin.call_timeout_seconds:g} s",
                broker=self.plugin.name,
            ) from error
        except Exception as error:
            raise ConnectionFailed(
                f"{self.plugin.name} did not connect: {_describe(error)}", broker=self.plugin.name
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._bounded(self._broker.__aexit__(kind, error, trace))

    async def place_order(self, order: Order) -> Placed:
        """Send the order, or say what is known of it.

        :raises OrderUnsupported: the plugin does not declare what it needs; nothing was sent.
        :raises OrderRejected, NotSent, OutcomeUnknown: as the contract says; everything else is OutcomeUnknown.
        """
        refusal = self.plugin.capabilities.refusal(order.request)
        if refusal is not None:
            raise OrderUnsupported(refusal, broker=self.plugin.name, client_order_id=order.client_order_id)
        try:
            placed = await self._bounded(self._broker.place_order(order))
        except (OrderRejected, OrderUnsupported, NotSent, OutcomeUnknown):
            raise
        except TimeoutError as error:
            text = f"no answer from {self.plugin.name} within {self.plugin.call_timeout_seconds:g} s"
            raise self._unknown(text, order) from error
        except Exception as error:
            # Could the order be live? An exception that the adapter did not explain says nothing about that.
            raise self._unknown(f"{self.plugin.name}: {_describe(error)}", order) from error
        if not isinstance(placed, Placed):
            raise self._unknown(f"{self.plugin.name} answered {type(placed).__name__}, not Placed", order)
        return placed

    def _unknown(self, text: str, order: Order) -> OutcomeUnknown:
        return OutcomeUnknown(text, broker=self.plugin.name, client_order_id=order.client_order_id)

    async def cancel_order(self, order: Order) -> None:
        """Ask for a cancel.

        :raises CancelRejected: the broker would not.
        :raises ConnectionFailed: it was not asked, or gave no answer: ask again.
        """
        await self._asked(self._broker.cancel_order(order), "cancel")

    async def find_order(self, order: Order) -> Found:
        """Look for the order. :raises ConnectionFailed: no answer, which proves nothing."""
        return await self._asked(self._broker.find_order(order), "look-up")

    async def reports(self) -> AsyncIterator[Report]:
        """What happens to the account's orders. :raises ConnectionFailed: the session is over."""
        try:
            async for report in self._broker.reports():
                yield report
        except NotSent:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ConnectionFailed(f"{self.plugin.name} cancelled its reports", broker=self.plugin.name) from error
        except Exception as error:
            raise ConnectionFailed(
                f"{self.plugin.name} ended its reports: {_describe(error)}", broker=self.plugin.name
            ) from error
        raise ConnectionFailed(f"{self.plugin.name} ended its reports", broker=self.plugin.name)

    async def open_orders(self) -> Snapshot[OrderReport]:
        """The orders that work now. :raises ConnectionFailed: no answer, which is not an empty list."""
        return await self._asked(self._broker.open_orders(), "list of open orders")

    async def positions(self) -> Snapshot[BrokerPosition]:
        """What the account holds. :raises ConnectionFailed: no answer, which is not an empty list."""
        return await self._asked(self._broker.positions(), "list of positions")

    async def account(self) -> AccountSummary:
        """The account's money. :raises ConnectionFailed: no answer."""
        return await self._asked(self._broker.account(), "account")

    def availability(self) -> Availability:
        """Whether orders can be sent now."""
        return self._broker.availability()

    async def _bounded(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.plugin.call_timeout_seconds):
                return await call
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # we are to stop
            raise RuntimeError("the adapter cancelled its own call") from error

    async def _asked(self, call: Awaitable[T], what: str) -> T:
        """The answer to a question that changes nothing; without one, `ConnectionFailed`."""
        name = self.plugin.name
        try:
            return await self._bounded(call)
        except (NotSent, CancelRejected):
            raise
        except TimeoutError as error:
            text = f"no answer from {name} to the {what} within {self.plugin.call_timeout_seconds:g} s"
            raise ConnectionFailed(text, broker=name) from error
        except Exception as error:
            raise ConnectionFailed(f"{name}: the {what} failed: {_describe(error)}", broker=name) from error


def _describe(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
