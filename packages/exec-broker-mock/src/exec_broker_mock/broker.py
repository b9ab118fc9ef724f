"""The contract of `exec_core.broker`, in terms of a session; and the plugin's record."""

from __future__ import annotations

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
)
from exec_core.capabilities import Capabilities, Idempotency
from exec_core.clock import Clock
from exec_core.errors import OrderUnsupported
from exec_core.instruments import AssetClass
from exec_core.orders import Order, OrderType, TimeInForce
from exec_core.reports import OrderReport, Report

from exec_broker_mock.matching import instrument_details
from exec_broker_mock.session import Session
from exec_broker_mock.settings import MockBrokerSettings

CAPABILITIES: Final = Capabilities(
    order_types=frozenset(OrderType),
    times_in_force=frozenset(TimeInForce),
    asset_classes=frozenset(AssetClass),
    fractional_quantity=frozenset({AssetClass.CRYPTO, AssetClass.FOREX}),
    cash_quantity=frozenset({AssetClass.CRYPTO, AssetClass.STOCK, AssetClass.ETF}),
    combinations=False,
    idempotency=Idempotency.CORRELATES,
)


class MockBroker:
    """A session with the mock venue, for one account."""

    def __init__(self, config: BrokerConfig, settings: MockBrokerSettings, clock: Clock | None = None) -> None:
        self._session = Session(config.account_id, settings, clock)

    async def __aenter__(self) -> Self:
        await self._session.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._session.close()

    async def place_order(self, order: Order) -> Placed:
        """Send the order. :raises OrderRejected, NotSent: as the contract says; anything else: it may be live.

        :raises OrderUnsupported: also without the core's guard; the venue would take what it does not understand.
        """
        refusal = CAPABILITIES.refusal(order.request)
        if refusal is not None:
            raise OrderUnsupported(refusal, broker="mock", client_order_id=order.client_order_id)
        answer = await self._session.place(order)
        row, book_id = answer.order, answer.broker_order_id
        if row is None or book_id is None:
            raise ConnectionResetError("The mock venue gave no answer")
        return Placed(book_id, row.status, instrument_details(row.instrument, row.currency))

    async def cancel_order(self, order: Order) -> None:
        """Ask for a cancel. :raises CancelRejected: nothing of the order is open."""
        await self._session.cancel(order)

    async def find_order(self, order: Order) -> Found:
        """Everything the venue shows under the order's ids; complete since the book was begun."""
        return await self._session.find(order)

    def reports(self) -> AsyncIterator[Report]:
        """The account's present state, then what happens. :raises ConnectionFailed: the session is over."""
        return self._session.reports()

    async def open_orders(self) -> Snapshot[OrderReport]:
        """The account's orders that can still trade."""
        return await self._session.open_orders()

    async def positions(self) -> Snapshot[BrokerPosition]:
        """What the account holds: the fold of its executions."""
        return await self._session.positions()

    async def account(self) -> AccountSummary:
        """The account's money."""
        return await self._session.account()

    def availability(self) -> Availability:
        """Whether orders can be sent now."""
        return self._session.availability()


def _create(config: BrokerConfig, settings: MockBrokerSettings) -> MockBroker:
    return MockBroker(config, settings)


PLUGIN: Final = BrokerPlugin(
    name="mock",
    settings=MockBrokerSettings,
    create=_create,
    capabilities=CAPABILITIES,
    unknown_settle_seconds=5.0,
    absence_view_seconds=1.0,
    call_timeout_seconds=10.0,
)
