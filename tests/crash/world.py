"""What outlives the service: its files, the venue's book, the market, the producer and those who listen."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exec_broker_mock.book import Book
from exec_broker_mock.desk import Desk
from exec_broker_mock.faults import FaultKind, Faults
from exec_broker_mock.printing import contents
from exec_broker_mock.venue import Venue
from exec_core.identifiers import OrderKey, SignalId
from exec_core.notifier import Notification
from exec_service.buses import Outgoing
from exec_service.buses.sqlite import FILE_NAME as BUS_FILE
from exec_service.buses.sqlite import SqliteBus
from exec_service.commands import command_document
from exec_service.outbox_rows import rows_of
from exec_service.settings import Settings
from exec_service.stores import COMMANDS, ORDERS, Document
from exec_service.stores.sqlite import FILE_NAME as STORE_FILE
from exec_service.stores.sqlite import SqliteStore

from crash.virtual import VirtualTime
from crash.witness import Witness

if TYPE_CHECKING:
    from crash.workers import Worker

ACCOUNT: Final = "acc_1"
ORDERS_TOPIC, CONFIRMATIONS = "trading-orders", "execution-confirmations"
ORDERS_SUBSCRIPTION, CONFIRMATIONS_SUBSCRIPTION = "trading-orders-sub", "execution-confirmations-sub"
SUBSCRIPTIONS = {ORDERS_SUBSCRIPTION: ORDERS_TOPIC, CONFIRMATIONS_SUBSCRIPTION: CONFIRMATIONS}
ACK_DEADLINE_SECONDS = 2.0
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 120.0


class NeverCame(AssertionError):
    """What was waited for did not come."""


@dataclass
class World:
    """One run's, in a directory of its own."""

    directory: Path
    clock: VirtualTime
    venue: Mapping[str, Any]
    heard: list[Notification] = field(default_factory=list)
    confirmed: list[dict[str, Any]] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    accounts: tuple[str, ...] = (ACCOUNT,)
    lease_seconds: float = 15.0
    #: All processes that ever were, the newest last.
    workers: list[Worker] = field(default_factory=list)
    #: Asks for one more worker; whoever plays the run sets it.
    join: Callable[[], object] = lambda: None

    async def __aenter__(self) -> World:
        self._store = await self.store().__aenter__()
        self._bus = await self.bus("world").__aenter__()
        self._queue = sqlite3.connect(self.directory / "data" / BUS_FILE, isolation_level=None)
        self._book = Book.in_file(self.directory / "book.sqlite3", self.clock.now)
        self.witness = Witness(self.directory / "data" / STORE_FILE, self.clock)
        self.faults = Faults(self._book)
        self.market = Venue(self._book)
        self.desk = Desk(self.market)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._book.close()
        self.witness.close()
        self._queue.close()
        await self._bus.__aexit__(None, None, None)
        await self._store.__aexit__(None, None, None)

    def settings(self, worker_id: str) -> Settings:
        """The service's settings."""
        return self._settings.model_copy(update={"worker_id": worker_id})

    @cached_property
    def _settings(self) -> Settings:
        venue = {
            "state_file": str(self.directory / "book.sqlite3"),
            "fill_delay_seconds": 0,
            "partial_fills": 1,
            "cancel_delay_seconds": 0,
            "commission": "1.25",
            "reject_probability": 0,
            "seed": 0,
            **self.venue,
        }
        return Settings(
            embedded=True,
            exec_data_dir=self.directory / "data",
            worker_lease_seconds=self.lease_seconds,
            accounts={name: {"name": f"Main {name}", "broker": "mock", "settings": venue} for name in self.accounts},
        )

    def store(self) -> SqliteStore:
        """The store's files, opened by somebody else."""
        return SqliteStore(self.directory / "data")

    def bus(self, consumer: str) -> SqliteBus:
        """The bus's files, opened by somebody else."""
        return SqliteBus(self.directory / "data", consumer, SUBSCRIPTIONS, ack_deadline_seconds=ACK_DEADLINE_SECONDS)

    # ------------------------------------------------------------------ what happens outside

    async def publish(self, *messages: Mapping[str, Any] | bytes) -> None:
        """As the producer does."""
        data = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
        self.published += [message["signal_id"] for message in messages if not isinstance(message, bytes)]
        await self._bus.publish(ORDERS_TOPIC, [Outgoing(item) for item in data])

    def fault(self, kind: str, **options: Any) -> None:
        """Arm a fault of the venue."""
        self.faults.script(FaultKind(kind), **options)

    def set_price(self, symbol: str, price: object) -> None:
        """Move the market."""
        self.market.set_price(symbol, Decimal(str(price)))

    async def command(self, kind: str, signal_id: str) -> None:
        """As the command line does."""
        order_id = OrderKey(SignalId(signal_id)).client_order_id()
        (order,) = await self.load(ORDERS, {"_id": order_id})
        reason = {"reason": "Changed my mind"}
        document = command_document(
            f"{kind}-{signal_id}", kind, order_id, order["account_id"], reason, "somebody", self.clock.now()
        )
        await self._store.insert(COMMANDS, [document])

    def stop(self, worker_id: str | None = None) -> None:
        """Ask a worker, or the newest one, to stop in good order."""
        for worker in reversed(self.workers):
            if worker_id in (None, worker.worker_id):
                worker.stop()
                return

    # ------------------------------------------------------------------ what can be seen from outside

    def book(self) -> dict[str, list[dict[str, Any]]]:
        """The venue's truth."""
        with self._book.transaction(write=False):
            return contents(self._book)

    async def load(self, collection: str, where: Mapping[str, Any] | None = None) -> list[Document]:
        """What the store holds."""
        found = await self._store.load(collection, where)
        return [row for document in found for row in rows_of(document)] if collection == "outbox" else found

    async def order(self, signal_id: str) -> Document | None:
        """The order as the journal has it."""
        found = await self.load(ORDERS, {"signal_id": signal_id})
        return found[0] if found else None

    def waiting_messages(self) -> int:
        """How many messages of the producer nobody has acknowledged yet."""
        statement = "SELECT count(*) FROM deliveries WHERE subscription = ?"
        return int(self._queue.execute(statement, (ORDERS_SUBSCRIPTION,)).fetchone()[0])

    async def listen(self) -> list[dict[str, Any]]:
        """Every confirmation that was ever published, in order."""
        statement = "SELECT count(*) FROM deliveries WHERE subscription = ?"
        while self._queue.execute(statement, (CONFIRMATIONS_SUBSCRIPTION,)).fetchone()[0]:
            messages = await self._bus.pull(CONFIRMATIONS_SUBSCRIPTION, 1000)
            await self._bus.acknowledge(CONFIRMATIONS_SUBSCRIPTION, [message.ack_id for message in messages])
            self.confirmed += [json.loads(message.data) for message in messages]
        return self.confirmed

    async def until(
        self, signal_id: str, condition: Callable[[Document], object], *, every: float = LOOK_SECONDS
    ) -> Document:
        """Wait until the journal's order is so. :raises NeverCame: it never was."""
        deadline = self.clock.seconds + PATIENCE_SECONDS
        while True:
            order = await self.order(signal_id)
            if order is not None and condition(order):
                return order
            if self.clock.seconds > deadline:
                raise NeverCame(f"{signal_id} is {'missing' if order is None else order['status']}")
            await asyncio.sleep(every)
