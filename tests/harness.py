"""The service as users run it: a subprocess, fed through the bus, ended by signals.

On the embedded components, in a data directory, or on the real ones: a MongoDB database and a Pub/Sub project.
"""

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

from exec_service.buses import Bus, BusError, Outgoing
from exec_service.buses.sqlite import SqliteBus
from exec_service.outbox_rows import rows_of
from exec_service.stores import Document, Not, Store
from exec_service.stores.sqlite import SqliteStore
from pydantic import SecretStr

ORDERS_TOPIC, ORDERS_SUBSCRIPTION = "trading-orders", "trading-orders-sub"
CONFIRMATIONS_TOPIC, CONFIRMATIONS_SUBSCRIPTION = "execution-confirmations", "execution-confirmations-sub"
READY = "Execution service ready: consuming trading-orders-sub"
T = TypeVar("T")
#: For what must happen: only a failing test waits so long, however slow the machine.
PATIENCE = 180.0
FINAL = ("FILLED", "REJECTED", "CANCELLED", "EXPIRED")


class Failed(AssertionError):
    """A condition did not come true in time."""


@dataclass(frozen=True)
class Real:
    """Real components: a database on a replica set, and a project on an emulator ("host:port")."""

    mongodb_uri: str
    database: str
    emulator: str
    project: str


@dataclass
class World:
    """A directory, a mock venue's book, and the service's settings on them; embedded, unless `real` is given."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)
    real: Real | None = None
    #: The confirmations that `confirmations` has returned so far, by id.
    _heard: set[str] = field(default_factory=set)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def book_file(self) -> Path:
        return self.directory / "book.sqlite3"

    @property
    def environment(self) -> dict[str, str]:
        ours = ("MOCK_BROKER_", "IBKR_", "ZERODHA_", "EXEC_", "MONGODB_", "PUBSUB_")
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(ours)},
            "EXEC_DATA_DIR": str(self.data),
            "LOG_DIR": str(self.directory / "logs"),
            "MOCK_BROKER_STATE_FILE": str(self.book_file),
            "PYTHONUNBUFFERED": "1",
            **self._places(),
            **self.variables,
        }

    def _places(self) -> dict[str, str]:
        if self.real is None:
            return {}
        return {
            "MONGODB_URI": self.real.mongodb_uri,
            "MONGODB_DATABASE": self.real.database,
            "PUBSUB_EMULATOR_HOST": self.real.emulator,
            "PUBSUB_PROJECT_ID": self.real.project,
        }

    @property
    def options(self) -> tuple[str, ...]:
        """How `run` is told which brokers there are."""
        return ("--use-mock-broker",)

    @property
    def where(self) -> tuple[str, ...]:
        """The options of the command line that say on which components it works."""
        return ("--embedded",) if self.real is None else ()

    def start(self, **variables: str) -> Service:
        """Start the service, with these variables of its own besides; it is not ready yet."""
        return Service(self, variables)

    def run(
        self, *arguments: str, check: bool = True, module: str = "exec_service"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end. :raises Failed: it ended with an error."""
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            check=False,
            text=True,
            capture_output=True,
            timeout=PATIENCE,
        )
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stdout}{done.stderr[-3000:]}")
        return done

    def book(self) -> dict[str, list[dict[str, Any]]]:
        """The venue's truth."""
        found: dict[str, list[dict[str, Any]]] = json.loads(
            self.run("book", str(self.book_file), "--json", module="exec_broker_mock").stdout
        )
        return found

    def bus(self, consumer: str = "test") -> Bus:
        """The bus, as a producer and a consumer of confirmations see it."""
        if self.real is not None:
            from exec_service.buses.pubsub import PubSubBus

            if os.environ.get("PUBSUB_EMULATOR_HOST") != self.real.emulator:
                raise RuntimeError(f"PUBSUB_EMULATOR_HOST must be {self.real.emulator} in this process too")
            return PubSubBus(self.real.project)
        subscriptions = {
            ORDERS_SUBSCRIPTION: ORDERS_TOPIC,
            CONFIRMATIONS_SUBSCRIPTION: CONFIRMATIONS_TOPIC,
        }
        return SqliteBus(self.data, consumer=f"{consumer}-{os.getpid()}", subscriptions=subscriptions)

    def store(self) -> Store:
        """The store, to look into."""
        if self.real is not None:
            from exec_service.stores.mongo import MongoStore

            return MongoStore(SecretStr(self.real.mongodb_uri), self.real.database, prepare=False)
        return SqliteStore(self.data)

    async def set_up(self) -> None:
        """Make topics and subscriptions: what is confirmed from now on can be read."""
        if self.real is None:
            async with self.bus():
                return
        await asyncio.to_thread(self.run, "setup")

    async def publish(self, *messages: Mapping[str, Any] | bytes) -> None:
        """Publish orders, as the producer does."""
        async with self.bus("producer") as bus:
            await bus.publish(ORDERS_TOPIC, [Outgoing(encode(message)) for message in messages])

    async def load(self, collection: str, where: Mapping[str, Any] | None = None) -> list[Document]:
        """What the store holds; of the outbox its rows, of which a document may hold many."""
        async with self.store() as store:
            found = await store.load(collection, where)
        return [row for document in found for row in rows_of(document)] if collection == "outbox" else found

    async def confirmations(self) -> list[dict[str, Any]]:
        """Every confirmation that was published and not read yet, in order."""
        delivered = await self.load("outbox", {"channel": "confirmations", "delivered_at": Not(None)})
        expected = {row["attributes"]["confirmation_id"] for row in delivered}
        found: list[dict[str, Any]] = []
        async with self.bus("consumer") as bus:
            while True:
                missing = expected - self._heard
                try:
                    # What must come is waited for; what comes besides (a repetition, a surprise) does so soon.
                    async with asyncio.timeout(30 if missing else 0.5):
                        messages = await bus.pull(CONFIRMATIONS_SUBSCRIPTION, 1000)
                except TimeoutError:
                    if missing:
                        raise Failed(f"{len(missing)} confirmations never came, such as {min(missing)}") from None
                    return found
                found += [json.loads(message.data) for message in messages]
                self._heard |= {message.attributes["confirmation_id"] for message in messages}
                await bus.acknowledge(CONFIRMATIONS_SUBSCRIPTION, [message.ack_id for message in messages])

    async def settled(self, expected: int, *, seconds: float = PATIENCE) -> list[Document]:
        """Wait until `expected` orders are known, all have ended and all is delivered; the orders."""

        seen = "nothing"

        async with self.store() as store:

            async def all_ended() -> list[Document] | None:
                nonlocal seen
                unfinished = await store.load("orders", {"status": Not(list(FINAL))}, limit=1)
                # Once more with the others: an order may have come in since.
                orders = [] if unfinished else await store.load("orders")
                unfinished += [order for order in orders if order["status"] not in FINAL][:1]
                undelivered = await store.load("outbox", {"delivered_at": None}, limit=1)
                if unfinished or undelivered:
                    seen = f"not ended: {unfinished}, not delivered: {undelivered}"
                    return None
                seen = f"{len(orders)} orders, all ended"
                return orders if len(orders) >= expected else None

            return await until(
                all_ended,
                seconds=seconds,
                what=lambda: f"{expected} orders have ended, and all is delivered; {seen}; see {self.directory}",
            )


class Listener:
    """A consumer that reads confirmations as they come, through every outage of the bus: see `heard`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._task: asyncio.Task[None] | None = None
        self.heard: list[dict[str, Any]] = []

    async def __aenter__(self) -> Listener:
        self._task = asyncio.create_task(self._listen(), name="listener")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._world.bus("listener") as bus:
                    while True:
                        messages = await bus.pull(CONFIRMATIONS_SUBSCRIPTION, 1000)
                        self.heard += [json.loads(message.data) for message in messages]
                        await bus.acknowledge(CONFIRMATIONS_SUBSCRIPTION, [message.ack_id for message in messages])
            except BusError:
                await asyncio.sleep(0.1)  # it is away, or forgot the subscription and is not set up again yet


class Service:
    """A running `exec-service run`."""

    def __init__(
        self, world: World, variables: Mapping[str, str] | None = None, *, arguments: Sequence[str] = ()
    ) -> None:
        self._world = world
        self._output = world.directory / f"console-{time.time_ns()}.txt"
        world.directory.mkdir(parents=True, exist_ok=True)
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "exec_service", "run", *world.where, *world.options, *arguments],
                cwd=world.directory,
                env={**world.environment, **(variables or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    @property
    def console(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    async def ready(self, seconds: float = PATIENCE) -> Service:
        """Wait until messages flow."""
        await self.says(READY, seconds)
        return self

    async def says(self, text: str, seconds: float = PATIENCE) -> str:
        """Wait until the console shows `text`; the line."""

        async def found() -> str | None:
            if self.process.poll() is not None and text not in self.console:
                raise Failed(f"the service ended with {self.process.returncode}:\n{self.console[-3000:]}")
            return next((line for line in self.console.splitlines() if text in line), None)

        return await until(found, seconds=seconds, what=lambda: f"{text!r} on the console:\n{self.console[-3000:]}")

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=PATIENCE)

    def stop(self, seconds: float = PATIENCE) -> int:
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
