"""The service as users run it: a subprocess on a data directory, fed through the bus, ended by signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from exec_service.buses import Outgoing
from exec_service.buses.sqlite import SqliteBus
from exec_service.stores import Document
from exec_service.stores.sqlite import SqliteStore

ORDERS_TOPIC, ORDERS_SUBSCRIPTION = "trading-orders", "trading-orders-sub"
CONFIRMATIONS_TOPIC, CONFIRMATIONS_SUBSCRIPTION = "execution-confirmations", "execution-confirmations-sub"
READY = "Execution service ready: consuming trading-orders-sub"
T = TypeVar("T")
FINAL = ("FILLED", "REJECTED", "CANCELLED", "EXPIRED")


class Failed(AssertionError):
    """A condition did not come true in time."""


@dataclass
class World:
    """A data directory, a mock venue's book, and the service's settings on them."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def book_file(self) -> Path:
        return self.directory / "book.sqlite3"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MOCK_BROKER_", "EXEC_"))},
            "EXEC_DATA_DIR": str(self.data),
            "LOG_DIR": str(self.directory / "logs"),
            "MOCK_BROKER_STATE_FILE": str(self.book_file),
            "PYTHONUNBUFFERED": "1",
            **self.variables,
        }

    def start(self) -> Service:
        """Start the service; it is not ready yet."""
        return Service(self)

    def run(
        self, *arguments: str, check: bool = True, module: str = "exec_service"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=self.environment, check=check, text=True, capture_output=True, timeout=60
        )

    def book(self) -> dict[str, list[dict[str, Any]]]:
        """The venue's truth."""
        found: dict[str, list[dict[str, Any]]] = json.loads(
            self.run("book", str(self.book_file), "--json", module="exec_broker_mock").stdout
        )
        return found

    def bus(self, consumer: str = "test") -> SqliteBus:
        """The bus, as a producer and a consumer of confirmations see it."""
        subscriptions = {
            ORDERS_SUBSCRIPTION: ORDERS_TOPIC,
            CONFIRMATIONS_SUBSCRIPTION: CONFIRMATIONS_TOPIC,
        }
        return SqliteBus(self.data, consumer=f"{consumer}-{os.getpid()}", subscriptions=subscriptions)

    def store(self) -> SqliteStore:
        """The store, to look into."""
        return SqliteStore(self.data)

    async def publish(self, *messages: Mapping[str, Any] | bytes) -> None:
        """Publish orders, as the producer does."""
        async with self.bus("producer") as bus:
            await bus.publish(ORDERS_TOPIC, [Outgoing(encode(message)) for message in messages])

    async def load(self, collection: str, where: Mapping[str, Any] | None = None) -> list[Document]:
        """What the store holds."""
        async with self.store() as store:
            return await store.load(collection, where)

    async def confirmations(self) -> list[dict[str, Any]]:
        """Every confirmation that was published and not read yet, in order."""
        found: list[dict[str, Any]] = []
        async with self.bus("consumer") as bus:
            while True:
                try:
                    async with asyncio.timeout(0.5):
                        messages = await bus.pull(CONFIRMATIONS_SUBSCRIPTION, 1000)
                except TimeoutError:
                    return found
                found += [json.loads(message.data) for message in messages]
                await bus.acknowledge(CONFIRMATIONS_SUBSCRIPTION, [message.ack_id for message in messages])

    async def settled(self, expected: int, *, seconds: float = 60) -> list[Document]:
        """Wait until `expected` orders are known, all have ended and all is delivered; the orders."""

        async def all_ended() -> list[Document] | None:
            orders = await self.load("orders")
            if len(orders) < expected or any(order["status"] not in FINAL for order in orders):
                return None
            return None if await self.load("outbox", {"delivered_at": None}) else orders

        def state() -> str:
            return f"{expected} orders expected; see {self.directory}"

        return await until(all_ended, seconds=seconds, what=state)


class Service:
    """A running `exec-service run --embedded --use-mock-broker`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._output = world.directory / f"console-{time.time_ns()}.txt"
        self._file = self._output.open("wb")
        world.directory.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "exec_service", "run", "--embedded", "--use-mock-broker"],
            cwd=world.directory,
            env=world.environment,
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self._file.close()

    @property
    def console(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    async def ready(self, seconds: float = 30) -> Service:
        """Wait until messages flow."""
        await self.says(READY, seconds)
        return self

    async def says(self, text: str, seconds: float = 30) -> str:
        """Wait until the console shows `text`; the line."""

        async def found() -> str | None:
            if self.process.poll() is not None and text not in self.console:
                raise Failed(f"the service ended with {self.process.returncode}:\n{self.console[-3000:]}")
            return next((line for line in self.console.splitlines() if text in line), None)

        return await until(found, seconds=seconds, what=lambda: f"{text!r} on the console:\n{self.console[-3000:]}")

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=20)

    def stop(self, seconds: float = 40) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)


def encode(message: Mapping[str, Any] | bytes) -> bytes:
    """The message's bytes."""
    return message if isinstance(message, bytes) else json.dumps(message).encode()


def order(signal_id: str, **fields: Any) -> dict[str, Any]:
    """An order message: a market order for 100 SPY, unless told otherwise; None leaves a field out."""
    message = {
        "signal_id": signal_id,
        "account_id": "acc_1",
        "strategy_name": "Trend",
        "symbol": "SPY",
        "side": "BUY",
        "quantity": 100,
        "order_type": "MARKET",
        **fields,
    }
    return {key: value for key, value in message.items() if value is not None}


async def until(condition: Callable[[], Awaitable[T | None]], *, seconds: float, what: Callable[[], str] | str) -> T:
    """Ask `condition` until it gives something. :raises Failed: it never did."""
    deadline = time.monotonic() + seconds
    while True:
        found = await condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.05)


def by_id(documents: Sequence[Document]) -> dict[str, Document]:
    """Documents by their id."""
    return {document["_id"]: document for document in documents}
