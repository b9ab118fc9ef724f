"""The service in this process, on the real embedded store and bus and the mock venue, with a handle on each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from exec_broker_mock.book import Book
from exec_broker_mock.desk import Desk
from exec_broker_mock.faults import Faults
from exec_broker_mock.printing import contents
from exec_broker_mock.venue import Venue
from exec_core.clock import utc_now
from exec_core.notifier import Notification
from exec_service import bootstrap, delivery
from exec_service.buses import Outgoing
from exec_service.buses.sqlite import SqliteBus
from exec_service.outbox import Channel
from exec_service.outbox_rows import rows_of
from exec_service.redaction import Redactor
from exec_service.service import Service
from exec_service.settings import Settings
from exec_service.stores import Document
from exec_service.stores.sqlite import SqliteStore

T = TypeVar("T")
ORDERS, CONFIRMATIONS = "trading-orders", "execution-confirmations"
SUBSCRIPTIONS = {"trading-orders-sub": ORDERS, "execution-confirmations-sub": CONFIRMATIONS}


class Listener:
    """A notifier that remembers, and fails or hangs on command."""

    def __init__(self) -> None:
        self.heard: list[Notification] = []
        self.fails: Exception | None = None
        self.hangs = False

    async def __aenter__(self) -> Listener:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""

    async def send(self, notification: Notification) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        self.heard.append(notification)

    def titles(self) -> list[str]:
        return [notification.title for notification in self.heard]


@dataclass
class Rig:
    """A directory to run services in, one after the other; it outlives each of them."""

    directory: Path
    patch: pytest.MonkeyPatch
    accounts: Mapping[str, Any] = field(default_factory=lambda: {"acc_1": {"name": "Main", "broker": "mock"}})
    options: dict[str, Any] = field(default_factory=dict)
    listener: Listener = field(default_factory=Listener)
    redactor: Redactor = field(default_factory=Redactor)

    def __post_init__(self) -> None:
        self.broker(STATE_FILE=self.directory / "book.sqlite3")
        self.book = Book.in_file(self.directory / "book.sqlite3", utc_now)
        self.faults = Faults(self.book)
        self.desk = Desk(Venue(self.book))

    def broker(self, **variables: object) -> None:
        """Set variables of the mock broker, without their prefix."""
        for name, value in variables.items():
            self.patch.setenv(f"MOCK_BROKER_{name}", str(value))

    @property
    def settings(self) -> Settings:
        options = {
            "embedded": True,
            "use_mock_broker": True,
            "exec_data_dir": self.directory / "data",
            "unknown_settle_seconds": 0.3,
            "accounts": self.accounts,
            **self.options,
        }
        return Settings(**options)

    def store(self) -> SqliteStore:
        return SqliteStore(self.directory / "data")

    def bus(self, name: str = "test") -> SqliteBus:
        return SqliteBus(self.directory / "data", consumer=name, subscriptions=SUBSCRIPTIONS)

    @asynccontextmanager
    async def service(self, *, crash: bool = False) -> AsyncIterator[Service]:
        """A running service; afterwards it is drained, or with `crash` stopped dead where it stands."""
        async with self.store() as store, self.bus("service") as bus:
            channels = self.channels(store, bus)
            service = bootstrap.assemble(self.settings, store, bus, channels, ["listener"], self.redactor.redact)
            running = asyncio.create_task(service.run())
            try:
                await self.until(lambda: self._ready(service, running), "the service is ready")
                yield service
            finally:
                if crash:
                    running.cancel()
                else:
                    service.stop()
                await asyncio.wait([running], timeout=30)
                if not running.cancelled() and running.done() and running.exception() is not None:
                    raise running.exception() or AssertionError

    def channels(self, store: SqliteStore, bus: SqliteBus) -> list[Channel]:
        return [
            delivery.confirmations(bus, CONFIRMATIONS),
            delivery.signals(store),
            delivery.notifications("listener", self.listener, 0.5),
        ]

    async def _ready(self, service: Service, running: asyncio.Task[None]) -> bool:
        if running.done():
            await running
        return service.ready

    async def publish(self, *messages: Mapping[str, Any] | bytes) -> None:
        data = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        async with self.bus("producer") as bus:
            await bus.publish(ORDERS, [Outgoing(item) for item in data])

    async def load(self, collection: str, where: Mapping[str, Any] | None = None) -> list[Document]:
        async with self.store() as store:
            found = await store.load(collection, where)
        return [row for document in found for row in rows_of(document)] if collection == "outbox" else found

    async def order(self, signal_id: str, leg_index: int = 0) -> Document:
        """The order's document. :raises AssertionError: there is none."""
        found = [o for o in await self.load("orders", {"signal_id": signal_id}) if o["leg_index"] == leg_index]
        assert found, f"no order {signal_id}"
        return found[0]

    async def reaches(self, signal_id: str, *statuses: str, seconds: float = 60) -> Document:
        """Wait until the order is in one of `statuses`; its document."""

        async def there() -> Document | None:
            found = await self.load("orders", {"signal_id": signal_id})
            return next((document for document in found if document["status"] in statuses), None)

        return await self.until(there, f"{signal_id} is {' or '.join(statuses)}", seconds)

    async def delivered(self) -> None:
        """Wait until the outbox is empty."""

        async def empty() -> bool:
            return not await self.load("outbox", {"delivered_at": None})

        await self.until(empty, "the outbox is empty")

    async def confirmations(self, signal_id: str | None = None) -> list[dict[str, Any]]:
        """The confirmations published since the last call, in order."""
        await self.delivered()
        found: list[dict[str, Any]] = []
        async with self.bus("consumer") as bus:
            while True:
                try:
                    async with asyncio.timeout(0.2):
                        messages = await bus.pull("execution-confirmations-sub", 1000)
                except TimeoutError:
                    break
                await bus.acknowledge("execution-confirmations-sub", [message.ack_id for message in messages])
                found += [json.loads(message.data) for message in messages]
        return [message for message in found if signal_id in (None, message["signal_id"])]

    async def position(self, symbol: str = "SPY") -> Document:
        """The one position in `symbol`."""
        (found,) = [document for document in await self.load("positions") if document["symbol"] == symbol]
        return found

    def at_broker(self, signal_id: str | None = None) -> list[Mapping[str, Any]]:
        """The venue's orders."""
        with self.book.transaction(write=False):
            rows: list[Mapping[str, Any]] = contents(self.book)["orders"]
        return [row for row in rows if signal_id in (None, row["signal_id"])]

    def set_price(self, symbol: str, price: Any) -> None:
        """Move the market."""
        Venue(self.book).set_price(symbol, Decimal(str(price)))

    async def until(self, condition: Callable[[], Awaitable[T | None]], what: str, seconds: float = 60) -> T:
        """Ask until it is so. :raises AssertionError: it never was."""
        deadline = time.monotonic() + seconds
        while not (found := await condition()):
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
            await asyncio.sleep(0.02)
        return found
