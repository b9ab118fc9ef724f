"""From publishing an order to receiving its confirmation, on a real mongod and the Pub/Sub emulator.

    nox -s "bench(pipeline)"          or: PYTHONPATH=tests python benchmarks/pipeline.py
    ... -- --rates 50,200 --seconds 15 --burst 2000

The service runs as a subprocess with the mock broker, which answers at once. Machines differ and are shared, so that
each figure stands beside a reference taken in the same run: what the same emulator and mongod give a bare loop with no
service in between. Orders are published one by one at a steady rate (open loop: a slow answer does not slow the
producer down), then in one burst.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulator import Emulator
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.types import PubsubMessage, Subscription
from harness import CONFIRMATIONS_SUBSCRIPTION, ORDERS_TOPIC, Real, World, order
from keeper import ProcessId
from mongod import Mongod
from percentiles import percentile
from pymongo import AsyncMongoClient, InsertOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

MAJORITY = WriteConcern("majority", j=True)
SYMBOLS = 50
BATCH = 200


@dataclass
class Latencies:
    """Seconds from publishing to receiving, by name; what never came back is counted."""

    sent: dict[str, float] = field(default_factory=dict)
    received: dict[str, float] = field(default_factory=dict)

    def percentile(self, part: float) -> float:
        """In milliseconds, nearest rank."""
        values = [self.received[name] - at for name, at in self.sent.items() if name in self.received]
        return percentile(values, part) * 1000

    @property
    def lost(self) -> int:
        """How many did not come back."""
        return len(self.sent) - len(self.received)

    def summary(self) -> dict[str, float]:
        """p50 and p99 in milliseconds."""
        return {"p50_ms": round(self.percentile(0.5), 1), "p99_ms": round(self.percentile(0.99), 1), "lost": self.lost}


@dataclass
class Clients:
    """The bare generated clients, as a producer and a consumer have them."""

    publisher: PublisherAsyncClient
    subscriber: SubscriberAsyncClient
    project: str

    def topic(self, name: str) -> str:
        return f"projects/{self.project}/topics/{name}"

    def subscription(self, name: str) -> str:
        return f"projects/{self.project}/subscriptions/{name}"

    async def publish(self, topic: str, texts: Sequence[bytes], key: str = "") -> None:
        messages = [PubsubMessage(data=text, ordering_key=key) for text in texts]
        await self.publisher.publish(topic=self.topic(topic), messages=messages, retry=None, timeout=30)

    async def pull(self, subscription: str, count: int = 1000) -> list[bytes]:
        """What comes with one long poll, acknowledged."""
        name = self.subscription(subscription)
        answer = await self.subscriber.pull(subscription=name, max_messages=count, retry=None, timeout=60)
        if answer.received_messages:
            ids = [item.ack_id for item in answer.received_messages]
            await self.subscriber.acknowledge(subscription=name, ack_ids=ids, retry=None, timeout=30)
        return [item.message.data for item in answer.received_messages]


@asynccontextmanager
async def clients(host: str, project: str) -> AsyncIterator[Clients]:
    """Clients of the emulator."""
    import grpc
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
    from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

    async with grpc.aio.insecure_channel(host) as channel:
        publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
        subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        yield Clients(publisher, subscriber, project)


async def at_rate(rate: float, seconds: float, send: Callable[[int], Awaitable[None]]) -> None:
    """Call `send` for 0, 1, 2, ... at a steady rate, whatever the calls take."""
    begin = time.monotonic()
    running: set[asyncio.Task[None]] = set()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        task = asyncio.ensure_future(send(number))
        running.add(task)
        task.add_done_callback(running.discard)
    while running:
        await asyncio.wait(list(running))


async def measure(
    bare: Clients,
    topic: str,
    subscription: str,
    messages: Callable[[int], tuple[str, bytes]],
    name_of: Callable[[bytes], str | None],
    drive: Callable[[Callable[[int], Awaitable[None]]], Awaitable[None]],
    *,
    patience: float = 60.0,
) -> Latencies:
    """Publish what `messages` makes as `drive` says, listen to `subscription`, and hold the times together."""
    found, arrived = Latencies(), asyncio.Event()

    async def listen() -> None:
        while True:
            texts = await bare.pull(subscription)
            at = time.monotonic()
            for text in texts:
                name = name_of(text)
                if name in found.sent:
                    found.received.setdefault(name, at)
            arrived.set()

    async def send(number: int) -> None:
        name, text = messages(number)
        found.sent[name] = time.monotonic()
        await bare.publish(topic, [text])

    listening = asyncio.create_task(listen())
    try:
        await drive(send)
        with contextlib.suppress(TimeoutError):  # what is missing then is counted
            async with asyncio.timeout(patience):
                while found.lost:
                    arrived.clear()
                    await arrived.wait()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return found


# ---------------------------------------------------------------------- the service


def order_text(run: str, number: int) -> tuple[str, bytes]:
    """An order that fills at once, spread over symbols and accounts."""
    name = f"{run}_{number:06d}"
    fields = order(name, symbol=f"SYM{number % SYMBOLS}", account_id=f"acc_{number % 3}", price=100.25)
    return name, json.dumps(fields).encode()


def filled(text: bytes) -> str | None:
    """The signal of a confirmation that says FILLED."""
    message = json.loads(text)
    return str(message["signal_id"]) if message["status"] == "FILLED" else None


async def service_latency(bare: Clients, rate: float, seconds: float) -> Latencies:
    """Publish to confirmation at a steady rate."""
    run = f"r{rate:g}_{time.time_ns()}"

    async def drive(send: Callable[[int], Awaitable[None]]) -> None:
        await at_rate(rate, seconds, send)

    return await measure(bare, ORDERS_TOPIC, CONFIRMATIONS_SUBSCRIPTION, lambda n: order_text(run, n), filled, drive)


async def service_burst(bare: Clients, count: int) -> float:
    """Orders per second, from the first publish to the last confirmation, when all are there at once."""
    run = f"b{time.time_ns()}"
    found = Latencies()
    names = dict(order_text(run, number) for number in range(count))
    begin = time.monotonic()
    texts = list(names.values())
    found.sent = dict.fromkeys(names, begin)

    async def listen() -> None:
        while found.lost:
            texts = await bare.pull(CONFIRMATIONS_SUBSCRIPTION)
            at = time.monotonic()
            found.received |= {name: at for name in map(filled, texts) if name in found.sent}

    listening = asyncio.create_task(listen())
    for start in range(0, count, BATCH):
        await bare.publish(ORDERS_TOPIC, texts[start : start + BATCH])
    async with asyncio.timeout(300):
        await listening
    return count / (max(found.received.values()) - begin)


# ---------------------------------------------------------------------- the references


async def echo_latency(bare: Clients, rate: float, seconds: float) -> Latencies:
    """Publish to receive through the emulator alone; an order goes that way twice."""
    run = f"e{rate:g}_{time.time_ns()}"

    async def drive(send: Callable[[int], Awaitable[None]]) -> None:
        await at_rate(rate, seconds, send)

    def name_of(text: bytes) -> str | None:
        return str(json.loads(text)["signal_id"])

    return await measure(bare, "echo", "echo-sub", lambda n: order_text(run, n), name_of, drive)


async def bare_burst(bare: Clients, uri: str, count: int) -> float:
    """Orders per second of the barest loop: pull, one transaction for all that came, acknowledge, publish.

    Writes what an order costs at least (order, fill, position, confirmation, outbox), decides nothing, asks no broker.
    """
    texts = [order_text(f"f{time.time_ns()}", number)[1] for number in range(count)]
    async with AsyncMongoClient(uri) as client:
        database = client["bare"]
        for name in ("orders", "fills", "positions", "execution_confirmations", "outbox"):
            await database.create_collection(name, write_concern=MAJORITY)
        listening = asyncio.create_task(_count(bare, "floor-out-sub", count))
        begin = time.monotonic()
        feeding = asyncio.create_task(_feed(bare, "floor-in", texts))
        done = 0
        while done < count:
            answer = await bare.subscriber.pull(
                subscription=bare.subscription("floor-in-sub"), max_messages=BATCH, retry=None, timeout=60
            )
            if not answer.received_messages:
                continue
            orders = [json.loads(item.message.data) for item in answer.received_messages]
            async with transaction(client) as session:
                for name in ("orders", "fills", "execution_confirmations", "outbox"):
                    writes = [InsertOne({"_id": item["signal_id"], **item}) for item in orders]
                    await database[name].bulk_write(writes, ordered=False, session=session)
                moves = [UpdateOne({"_id": item["symbol"]}, {"$inc": {"quantity": 1}}, upsert=True) for item in orders]
                await database["positions"].bulk_write(moves, session=session)
            ids = [item.ack_id for item in answer.received_messages]
            await bare.subscriber.acknowledge(
                subscription=bare.subscription("floor-in-sub"), ack_ids=ids, retry=None, timeout=30
            )
            await bare.publish("floor-out", [item.message.data for item in answer.received_messages])
            done += len(orders)
        await feeding
        await listening
        rate = count / (time.monotonic() - begin)
        await client.drop_database("bare")
    return rate


@asynccontextmanager
async def transaction(client: AsyncMongoClient[Any]) -> AsyncIterator[AsyncClientSession]:
    """A transaction as durable as the service's."""
    async with client.start_session() as session, await session.start_transaction(ReadConcern("snapshot"), MAJORITY):
        yield session


async def _feed(bare: Clients, topic: str, texts: Sequence[bytes]) -> None:
    for start in range(0, len(texts), BATCH):
        await bare.publish(topic, texts[start : start + BATCH])


async def _count(bare: Clients, subscription: str, count: int) -> None:
    seen = 0
    while seen < count:
        seen += len(await bare.pull(subscription))


async def commit_ms(uri: str) -> float:
    """The median of a bare transaction that updates three documents, in milliseconds."""
    times = []
    async with AsyncMongoClient(uri) as client:
        database = client["bare"]
        for name in "abc":
            await database[name].insert_one({"_id": 1, "n": 0})
        for _ in range(50):
            begin = time.perf_counter()
            async with transaction(client) as session:
                for name in "abc":
                    await database[name].update_one({"_id": 1}, {"$inc": {"n": 1}}, session=session)
            times.append((time.perf_counter() - begin) * 1000)
        await client.drop_database("bare")
    return statistics.median(times)


# ---------------------------------------------------------------------- the run


async def run(directory: Path, rates: Sequence[float], seconds: float, burst: int) -> dict[str, Any]:
    """Everything, on servers of our own."""
    owner = ProcessId.of(os.getpid())
    mongod, emulator = Mongod(directory / "mongod", owner).start(), Emulator(directory / "emulator", owner).start()
    os.environ["PUBSUB_EMULATOR_HOST"] = emulator.host
    try:
        accounts = {f"acc_{number}": {"broker": "mock"} for number in range(3)}
        variables = {"ACCOUNTS": json.dumps(accounts), "CONSOLE_NOTIFIER_ENABLED": "false"}
        world = World(directory / "world", variables, Real(mongod.uri, "bench", emulator.host, "bench"))
        world.directory.mkdir()
        # The venue's book stays in memory: it is the service that is measured.
        world.variables["MOCK_BROKER_STATE_FILE"] = ""
        await world.set_up()
        async with clients(emulator.host, "bench") as bare:
            for name in ("echo", "floor-in", "floor-out"):
                await bare.publisher.create_topic(name=bare.topic(name))
                await bare.subscriber.create_subscription(
                    Subscription(name=bare.subscription(f"{name}-sub"), topic=bare.topic(name))
                )
            return await _figures(world, bare, mongod.uri, rates, seconds, burst)
    finally:
        emulator.stop()
        mongod.stop()


async def _figures(
    world: World, bare: Clients, uri: str, rates: Sequence[float], seconds: float, burst: int
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    }
    with world.start() as service:
        await service.ready()
        await service_latency(bare, 20, 3)  # everything is loaded and connected after this
        for rate in rates:
            echo, order = await echo_latency(bare, rate, seconds), await service_latency(bare, rate, seconds)
            ratio = round(order.percentile(0.5) / echo.percentile(0.5), 2)
            found[f"at {rate:g}/s"] = {"order": order.summary(), "echo": echo.summary(), "ratio_p50": ratio}
        served = await service_burst(bare, burst)
        service.stop()
    floor = await bare_burst(bare, uri, burst)
    found["saturated"] = {
        "orders_per_second": round(served),
        "bare_loop_per_second": round(floor),
        "ratio": round(served / floor, 3),
    }
    found["transaction_of_3_updates_ms"] = round(await commit_ms(uri), 1)
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="50,200", help="orders per second, separated by commas")
    parser.add_argument("--seconds", type=float, default=15, help="how long at each rate")
    parser.add_argument("--burst", type=int, default=2000, help="how many orders at once")
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    with tempfile.TemporaryDirectory(prefix="exec-bench-") as directory:
        found = asyncio.run(run(Path(directory), rates, options.seconds, options.burst))
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
