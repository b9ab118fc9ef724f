"""What every broken broker stands on: a wrapper around the mock that is right, to be broken in one place."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from exec_broker_mock.broker import PLUGIN
from exec_broker_mock.conformance import MockVenue
from exec_broker_mock.settings import MockBrokerSettings
from exec_core.broker import (
    AccountSummary,
    Availability,
    Broker,
    BrokerConfig,
    BrokerPlugin,
    BrokerPosition,
    Found,
    Placed,
    Snapshot,
)
from exec_core.orders import Order
from exec_core.reports import FillReport, OrderReport, Report
from exec_core.testing import Venue
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource


class GivenSettings(MockBrokerSettings):
    """The mock's settings, from what the venue gives alone: reading files and variables takes its time, many times."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


#: The plugin that is wrapped.
MOCK: Final = replace(PLUGIN, settings=GivenSettings)


class Wrapper:
    """The mock, unchanged. `read` is what the adapter makes of one report, wherever it comes from."""

    def __init__(self, inner: Broker, config: BrokerConfig, settings: Any) -> None:
        self.inner = inner
        self.config = config
        self.settings = settings

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.inner.__aexit__(kind, error, trace)

    async def place_order(self, order: Order) -> Placed:
        return await self.inner.place_order(order)

    async def cancel_order(self, order: Order) -> None:
        await self.inner.cancel_order(order)

    async def find_order(self, order: Order) -> Found:
        found = await self.inner.find_order(order)
        orders, fills = [], []
        for report in (*found.orders, *found.fills):
            for read in self.read(report):
                if isinstance(read, OrderReport):
                    orders.append(read)
                elif isinstance(read, FillReport):
                    fills.append(read)
        return replace(found, orders=tuple(orders), fills=tuple(fills))

    async def reports(self) -> AsyncIterator[Report]:
        async for report in self.inner.reports():
            for read in self.read(report):
                yield read

    def read(self, report: Report) -> Iterable[Report]:
        return (report,)

    async def open_orders(self) -> Snapshot[OrderReport]:
        listed = await self.inner.open_orders()
        items = tuple(read for item in listed.items for read in self.read(item) if isinstance(read, OrderReport))
        return replace(listed, items=items)

    async def positions(self) -> Snapshot[BrokerPosition]:
        return await self.inner.positions()

    async def account(self) -> AccountSummary:
        return await self.inner.account()

    def availability(self) -> Availability:
        return self.inner.availability()


class Remembering(Wrapper):
    """Remembers, per account, every order that was sent, as a file of the adapter's own would, across sessions."""

    sent: ClassVar[dict[str, dict[str, Order]]] = {}

    @property
    def ours(self) -> dict[str, Order]:
        return self.sent.setdefault(self.config.account_id, {})

    async def place_order(self, order: Order) -> Placed:
        self.ours[order.client_order_id] = order
        return await super().place_order(order)


@dataclass(frozen=True, slots=True)
class Subject:
    """A broker that is put before the kit: its plugin and its venue.

    `fault` says what is wrong with it (or unusual, where nothing is), after "it". `stands_for` names where that
    happened to others. `cards` are the numbers of exactly those cards that must fail.
    """

    name: str
    plugin: BrokerPlugin
    venue: type[Venue]
    fault: str
    stands_for: str
    cards: frozenset[int]


#: All subjects by name, in the order in which they were written down.
BROKEN: dict[str, Subject] = {}
RIGHT: dict[str, Subject] = {}


def plugin_of(wrapper: type[Wrapper], plugin: BrokerPlugin = MOCK, **changes: Any) -> BrokerPlugin:
    """The record of `plugin` with each session wrapped; `changes` are fields of the record."""

    def create(config: BrokerConfig, settings: Any) -> Broker:
        return wrapper(plugin.create(config, settings), config, settings)

    return replace(plugin, create=create, **changes)


def broken(
    *cards: int,
    fault: str,
    stands_for: str = "",
    plugin: BrokerPlugin = MOCK,
    venue: type[Venue] = MockVenue,
    **changes: Any,
) -> Callable[[type[Wrapper]], type[Wrapper]]:
    """Enter a wrapper into the table of broken brokers: `fault`, and exactly the cards that must fail for it."""

    def enter(wrapper: type[Wrapper]) -> type[Wrapper]:
        _enter(BROKEN, wrapper, plugin_of(wrapper, plugin, **changes), venue, fault, stands_for, frozenset(cards))
        return wrapper

    return enter


def right(
    *, oddity: str, plugin: BrokerPlugin = MOCK, venue: type[Venue] = MockVenue, **changes: Any
) -> Callable[[type[Wrapper]], type[Wrapper]]:
    """Enter a wrapper into the table of brokers that are unusual and right: no card may fail."""

    def enter(wrapper: type[Wrapper]) -> type[Wrapper]:
        _enter(RIGHT, wrapper, plugin_of(wrapper, plugin, **changes), venue, oddity, "", frozenset())
        return wrapper

    return enter


def _enter(
    table: dict[str, Subject],
    wrapper: type[Wrapper],
    plugin: BrokerPlugin,
    venue: type[Venue],
    fault: str,
    stands_for: str,
    cards: frozenset[int],
) -> None:
    name = wrapper.__name__
    if name in BROKEN or name in RIGHT:
        raise ValueError(f"there are two brokers called {name}")
    table[name] = Subject(name, plugin, venue, fault, stands_for, cards)
