"""The minimal honest reference: the durable writes that an order costs at least, all in bulk, and nothing else.

    python -m bench.reference MONGODB_URI DATABASE EMULATOR PROJECT NOTES_FILE

Pull; insert the intents (majority, journalled; the unique index is the deduplication); acknowledge; call the "broker",
a coroutine that answers at once; one transaction with the orders' new state, their fills, the positions and the
confirmations' documents; `signal_store` outside of it; publish one confirmation per order, batched per account. Each
step takes whatever has arrived while its last batch was under way, so that batch n+1 is stored while batch n commits.

It is what a careful engineer writes by hand for one venue that never fails: one process, no threads, no recovery, no
ownership, no outbox, no lifecycle, no validation, no logs. It shares no code with the service. Its documents hold what
somebody would need of them, as doubles.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from google.pubsub_v1.types import PubsubMessage
from pymongo import AsyncMongoClient, InsertOne, UpdateOne
from pymongo.errors import BulkWriteError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from bench.wire import Background, Clients, clients

ORDERS_TOPIC, ORDERS_SUBSCRIPTION = "trading-orders", "trading-orders-sub"
CONFIRMATIONS_TOPIC = "execution-confirmations"
MAJORITY = WriteConcern("majority", j=True)
DUPLICATE_KEY = 11000
READY = "reference ready"
#: As many as go into one transaction.
MOST = 1_000

Document = dict[str, Any]


class Waiting:
    """What has arrived for a step while it was busy."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._arrived = asyncio.Event()

    def add(self, items: Sequence[Any]) -> None:
        """Hand over."""
        if items:
            self._items += items
            self._arrived.set()

    async def batches(self) -> AsyncIterator[list[Any]]:
        """All that is there, whenever something is."""
        while True:
            await self._arrived.wait()
            batch, self._items = self._items[:MOST], self._items[MOST:]
            if not self._items:
                self._arrived.clear()
            yield batch


class Engine:
    """The three steps."""

    def __init__(self, client: AsyncMongoClient[Document], database: str, bus: Clients, notes: TextIO) -> None:
        self._client = client
        self._database = client.get_database(database, write_concern=MAJORITY)
        self._bus = bus
        self._notes = notes
        self._executed = Waiting()
        self._booked = Waiting()
        self._number = 0
        self._background = Background()

    async def prepare(self) -> None:
        """The collections, and the one index besides `_id` that deduplication needs."""
        for name in ("orders", "fills", "positions", "execution_confirmations", "signal_store"):
            await self._database.create_collection(name)
        await self._database["orders"].create_index([("signal_id", 1), ("leg_index", 1)], unique=True)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take())
            group.create_task(self._book())
            group.create_task(self._tell())

    async def _take(self) -> None:
        pulling = asyncio.create_task(self._bus.pull(ORDERS_SUBSCRIPTION))
        while True:
            messages = await pulling
            received = time.time()
            pulling = asyncio.create_task(self._bus.pull(ORDERS_SUBSCRIPTION))
            if not messages:
                continue
            intents = [intent(json.loads(item.message.data), received) for item in messages]
            new = await self._store(intents)
            self._background.start(self._bus.acknowledge(ORDERS_SUBSCRIPTION, [item.ack_id for item in messages]))
            executed = []
            for order in new:
                self._notes.write(f"{order['signal_id']} {received:.6f} {time.time():.6f}\n")
                executed.append((order, await self._place(order)))
            self._executed.add(executed)

    async def _store(self, intents: Sequence[Document]) -> list[Document]:
        """Those that were new."""
        try:
            await self._database["orders"].insert_many(intents, ordered=False)
        except BulkWriteError as error:
            problems = error.details["writeErrors"]
            if any(problem["code"] != DUPLICATE_KEY for problem in problems):
                raise
            known = {problem["index"] for problem in problems}
            return [item for index, item in enumerate(intents) if index not in known]
        return list(intents)

    async def _place(self, order: Document) -> Document:
        """The venue: fills at once."""
        self._number += 1
        return {
            "_id": f"REF-{self._number:09d}",
            "client_order_id": order["_id"],
            "order_id": f"R{self._number:09d}",
            "signal_id": order["signal_id"],
            "account_id": order["account_id"],
            "strategy_name": order["strategy_name"],
            "symbol": order["symbol"],
            "side": order["side"],
            "quantity": order["quantity"],
            "price": order["price"],
            "commission": 1.0,
            "time": datetime.now(UTC),
        }

    async def _book(self) -> None:
        async for batch in self._executed.batches():
            now = datetime.now(UTC)
            states = [(order, fill, state(fill, now)) for order, fill in batch]
            changes = [
                UpdateOne({"_id": order["_id"]}, {"$set": told, "$inc": {"revision": 1}}) for order, _, told in states
            ]
            confirmations = [InsertOne(confirmation(order, told)) for order, _, told in states]
            async with (
                self._client.start_session() as session,
                await session.start_transaction(ReadConcern("snapshot"), MAJORITY),
            ):
                database = self._database
                await database["orders"].bulk_write(changes, ordered=False, session=session)
                await database["fills"].insert_many([fill for _, fill, _ in states], ordered=False, session=session)
                await database["positions"].bulk_write(moves(batch, now), ordered=False, session=session)
                await database["execution_confirmations"].bulk_write(confirmations, ordered=False, session=session)
            self._booked.add(states)

    async def _tell(self) -> None:
        async for batch in self._booked.batches():
            by_account: dict[str, list[PubsubMessage]] = defaultdict(list)
            for order, _, told in batch:
                by_account[order["account_id"]].append(message(order, told))
            await asyncio.gather(
                self._database["signal_store"].bulk_write([signal_of(*item) for item in batch], ordered=False),
                *(self._bus.publish(CONFIRMATIONS_TOPIC, messages) for messages in by_account.values()),
            )


def intent(fields: Mapping[str, Any], received: float) -> Document:
    """The order as it is durable before the broker is asked."""
    signal_id = fields["signal_id"]
    return {
        "_id": base64.b32encode(hashlib.sha256(signal_id.encode()).digest()).decode()[:24],
        "signal_id": signal_id,
        "leg_index": 0,
        "account_id": fields["account_id"],
        "strategy_name": fields["strategy_name"],
        "symbol": fields["symbol"],
        "side": fields["side"],
        "quantity": float(fields["quantity"]),
        "order_type": fields["order_type"],
        "price": float(fields["price"]),
        "status": "SUBMITTING",
        "revision": 1,
        "received_at": datetime.fromtimestamp(received, UTC),
    }


def state(fill: Document, now: datetime) -> Document:
    """What an order is told of its execution."""
    return {
        "status": "FILLED",
        "order_id": fill["order_id"],
        "filled_quantity": fill["quantity"],
        "remaining_quantity": 0.0,
        "avg_fill_price": fill["price"],
        "commission": fill["commission"],
        "filled_at": fill["time"],
        "updated_at": now,
    }


def confirmation(order: Document, told: Document) -> Document:
    """The document in `execution_confirmations`."""
    names = ("signal_id", "leg_index", "account_id", "strategy_name", "symbol", "side", "quantity", "order_type")
    return {"_id": f"exec_{order['_id']}", **{name: order[name] for name in names}, **told}


def moves(batch: Sequence[tuple[Document, Document]], now: datetime) -> list[UpdateOne]:
    """One update per position, however many executions went into it."""
    sums: dict[str, list[Any]] = {}
    for order, fill in batch:
        key = "|".join((order["account_id"], order["strategy_name"], order["symbol"]))
        total = sums.setdefault(key, [order, 0.0, 0.0, 0.0, 0])
        signed = fill["quantity"] if order["side"] == "BUY" else -fill["quantity"]
        total[1] += signed
        total[2] += signed * fill["price"]
        total[3] += fill["commission"]
        total[4] += 1
    return [
        UpdateOne(
            {"_id": key},
            {
                "$inc": {"quantity": quantity, "cost": cost, "commission": commission, "order_count": count},
                "$set": {"updated_at": now},
                "$setOnInsert": {name: order[name] for name in ("account_id", "strategy_name", "symbol")},
            },
            upsert=True,
        )
        for key, (order, quantity, cost, commission, count) in sums.items()
    ]


def signal_of(order: Document, _fill: Document, told: Document) -> UpdateOne:
    """The update of the signal's document."""
    names = ("order_id", "filled_quantity", "avg_fill_price", "filled_at", "updated_at")
    fields = {name: told[name] for name in names} | {"execution_status": told["status"]}
    return UpdateOne({"_id": order["signal_id"]}, {"$set": fields}, upsert=True)


def message(order: Document, told: Document) -> PubsubMessage:
    """The confirmation on the bus."""
    body = {
        "signal_id": order["signal_id"],
        "order_id": told["order_id"],
        "status": told["status"],
        "filled_quantity": told["filled_quantity"],
        "avg_fill_price": told["avg_fill_price"],
        "filled_at": told["filled_at"].isoformat(),
        "commission": told["commission"],
        "account_id": order["account_id"],
        "symbol": order["symbol"],
        "side": order["side"],
    }
    attributes = {"signal_id": order["signal_id"], "status": "FILLED", "account_id": order["account_id"]}
    return PubsubMessage(data=json.dumps(body).encode(), attributes=attributes, ordering_key=order["account_id"])


async def run(uri: str, database: str, emulator: str, project: str, notes: Path) -> None:
    """Until SIGTERM."""
    with notes.open("w", buffering=1 << 20) as file:
        async with AsyncMongoClient[Document](uri, tz_aware=True) as client, clients(emulator, project) as bus:
            engine = Engine(client, database, bus, file)
            await engine.prepare()
            working = asyncio.create_task(engine.run())
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
            print(READY, flush=True)
            await asyncio.wait([working])
            if not working.cancelled():
                working.result()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:5], Path(sys.argv[5])))
