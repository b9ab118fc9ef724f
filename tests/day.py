"""One day of a desk: the service runs once on real servers, takes good and bad orders, stops, and leaves a `Day`.

Nothing here asks the service's own code what it has written: documents and messages are read with the drivers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bson import ObjectId
from exec_broker_mock.book import Book
from exec_broker_mock.desk import Desk
from exec_broker_mock.faults import FaultKind, Faults
from exec_broker_mock.venue import Venue
from exec_service.outbox_rows import rows_of
from harness import PATIENCE, Real, Service, World, order, until
from invariants import check
from raw_documents import Published, Row, everything, published, raw_database, unique_indexes
from telegram_server import TelegramServer

SPY = "sig_1732450800_5678"
#: The specification's message, to the letter.
MESSAGE: Row = {
    "signal_id": SPY,
    "order_type": "MARKET",
    "symbol": "SPY",
    "side": "BUY",
    "quantity": 100,
    "account_id": "acc_abc123",
    "strategy_name": "SPX 1-Day Options",
    "stop_loss": 230.00,
    "take_profit": 240.00,
}
#: The specification's documents, to compare with.
SPECIFICATION: dict[str, Row] = {
    "execution_confirmations": {
        "_id": "exec_abc123",
        "order_id": "ord_broker_12345",
        "signal_id": SPY,
        "strategy_name": "SPX 1-Day Options",
        "account_id": "acc_abc123",
        "symbol": "SPY",
        "side": "BUY",
        "quantity": 100,
        "filled_quantity": 100,
        "order_type": "MARKET",
        "avg_fill_price": 235.15,
        "status": "FILLED",
        "submitted_at": "2024-11-24T10:30:10Z",
        "filled_at": "2024-11-24T10:30:12Z",
        "broker": "IBKR",
        "commission": 1.00,
        "total_value": 23515.00,
        "notes": "Filled in 2 seconds",
    },
    "signal_store": {
        "signal_id": SPY,
        "order_id": "ord_broker_12345",
        "execution_status": "FILLED",
        "filled_at": "2024-11-24T10:30:12Z",
    },
    "positions": {
        "_id": "pos_abc123",
        "strategy_name": "SPX 1-Day Options",
        "account_id": "acc_abc123",
        "symbol": "SPY",
        "side": "LONG",
        "quantity": 100,
        "avg_entry_price": 235.15,
        "opened_at": "2024-11-24T10:30:12Z",
        "status": "OPEN",
        "order_ids": ["ord_broker_12345"],
    },
    "confirmation": {
        "signal_id": SPY,
        "order_id": "ord_broker_12345",
        "status": "FILLED",
        "filled_quantity": 100,
        "avg_fill_price": 235.15,
        "filled_at": "2024-11-24T10:30:12Z",
        "commission": 1.00,
    },
}
#: What every confirmation says besides.
MORE_KEYS = ("confirmation_id", "revision", "reason_code", "reason", "account_id", "strategy_name", "symbol", "side")
MORE_KEYS += ("quantity", "remaining_quantity", "leg_index", "total_legs", "client_order_id", "source_order_id")
MORE_KEYS += ("broker", "role", "event", "commission_currency", "commission_estimated", "rejection_reason")
CONFIRMATION_KEYS = {*SPECIFICATION["confirmation"], *MORE_KEYS}
ACCOUNTS: dict[str, Row] = {
    "acc_abc123": {"name": "IBKR Main Account", "broker": "mock", "settings": {"fill_delay_seconds": 2}},
    "acc_1": {"name": "Second", "broker": "mock"},
}
FOREIGN = {"status": "approved", "cerebro": {"score": 0.75, "tags": ["a", "b"]}, "count": 7, "raw": b"\x00\x01"}
GARBAGE = (b"not an order {", b"\xff\xfe\x00")
#: What the day has of orders that are as they should be.
GOOD = (SPY, "refused", "partly", "enter", "add", "exit", "option")


@dataclass
class Day:
    """What the service left."""

    client_order_ids: dict[str, str]
    documents: dict[str, list[Row]]
    messages: list[Published]
    book: dict[str, list[Row]]
    logs: dict[str, str]
    told: list[str]
    ids: dict[str, ObjectId]
    wrong: list[str]
    indexes: dict[str, list[tuple[str, ...]]]
    directory: Path

    def one(self, collection: str, **where: object) -> Row:
        """The only document that is so."""
        (found,) = self.all(collection, **where)
        return found

    def all(self, collection: str, **where: object) -> list[Row]:
        """All documents that are so."""
        return [row for row in self.documents[collection] if where.items() <= {k: row.get(k) for k in where}.items()]

    def confirmed(self, signal_id: str) -> list[Published]:
        """The signal's confirmations, in the order in which they were published."""
        return [message for message in self.messages if message.body["signal_id"] == signal_id]

    def notification(self, signal_id: str, title: str) -> str:
        """The only text under this title that names the signal."""
        (found,) = [text for text in self.told if f"\nSignal: {signal_id}\n" in text and title in text]
        return found

    def order_id(self, signal_id: str) -> str:
        """The id that the venue gave the signal's only order."""
        (row,) = (row for row in self.book["orders"] if row["signal_id"] == signal_id)
        return str(row["broker_order_id"])

    def fill_time(self, signal_id: str) -> datetime:
        """When the venue executed the order, which it did at once."""
        (row,) = [row for row in self.book["fills"] if row["signal_id"] == signal_id]
        return datetime.fromisoformat(row["time"])


async def live(real: Real, directory: Path, telegram: TelegramServer) -> Day:
    """The day."""
    variables = {
        **telegram.variables,
        "NO_PROXY": "127.0.0.1",
        "ACCOUNTS": json.dumps(ACCOUNTS),
        "MOCK_BROKER_PRICES": '{"SPY": 235.15}',
    }
    world = World(directory, variables, real)
    await world.set_up()
    ids = {SPY: signal_of_others(real, SPY)}
    book = Book.in_file(world.book_file)
    Faults(book).script(FaultKind.REJECT, signal_id="refused", reason="Insufficient margin")
    messages: list[Published] = []
    with world.start() as service:
        await service.ready()
        await world.publish(
            MESSAGE,
            order("refused", account_id="acc_abc123", strategy_name="SPX 1-Day Options"),
            order("partly", symbol="PRT", order_type="LIMIT", limit_price=235.20, price=236),
            order("enter", symbol="QQQ", quantity=10, price=400, signal_type="ENTRY"),
            order("add", symbol="QQQ", quantity=10, price=410, signal_type="SCALE_IN"),
            option("option", right="C", strike=5900, quantity=2, price=10.5),
        )
        await fill_in_two_parts(world, service, Desk(Venue(book)))
        for name in ("enter", "add"):
            await service.says(f"00 ({name})")
        await world.publish(order("exit", symbol="QQQ", quantity=15, price=420, side="SELL", signal_type="EXIT"))
        await world.settled(len(GOOD))
        messages += await hear(real)
        wrong = list((await check(world, GOOD, [message.body for message in messages])).wrong)
        ids["by_id"] = signal_of_others(real, "named otherwise by its owner")
        await world.publish(
            option("combined", right="P", strike=5800, leg_index=0, total_legs=2, price=4),
            option("combined", right="C", strike=6000, leg_index=1, total_legs=2, price=6, side="SELL"),
            order("by_id", symbol="IWM", price=50, mathematricks_signal_id=str(ids["by_id"])),
            order("unusable", quantity="100"),
            *GARBAGE,
            {**MESSAGE, "quantity": 50},
            {**MESSAGE, "quantity": 100.0, "timestamp": "2024-11-24T10:30:00Z"},
        )
        await world.settled(len(GOOD) + 4)
        await service.says("Duplicate order ignored")
        await asyncio.to_thread(telegram.until, lambda: any("Conflicting Order" in text for text in telegram.texts))
        assert await asyncio.to_thread(service.stop) == 0
    book.close()
    messages += await hear(real, {message.attributes["confirmation_id"] for message in messages})
    logs = {
        name: (directory / "logs" / f"{name}.log").read_text() for name in ("execution_service", "signal_processing")
    }
    documents = await asyncio.to_thread(everything, real)
    return Day(
        {row["signal_id"]: row["_id"] for row in documents["orders"]},
        documents,
        messages,
        await asyncio.to_thread(world.book),
        {"console": service.console, **logs},
        list(telegram.texts),
        ids,
        wrong,
        await asyncio.to_thread(unique_indexes, real),
        directory,
    )


def option(signal_id: str, **fields: Any) -> Row:
    """An option order."""
    wanted = {"symbol": "SPX", "instrument_type": "OPTION", "expiry": "2099-12-18", "quantity": 1, **fields}
    return order(signal_id, **wanted)


def signal_of_others(real: Real, signal_id: str) -> ObjectId:
    """Put into `signal_store` what the service that takes signals in would have put there."""
    with raw_database(real) as database:
        found: ObjectId = database.signal_store.insert_one({"signal_id": signal_id, **FOREIGN}).inserted_id
        return found


async def fill_in_two_parts(world: World, service: Service, desk: Desk) -> None:
    """At the venue: 50 @ 235.20, and once that was told the rest."""

    async def resting() -> str | None:
        rows = await world.load("orders", {"signal_id": "partly", "status": "SUBMITTED"})
        return rows[0]["order_id"] if rows else None

    broker_order_id = await until(resting, seconds=PATIENCE, what="the limit order rests at the venue")
    lines = ("Order partially filled: 50/100 @ $235.20 (partly)", "Order filled: 100 @ $235.15 (partly)")
    for price, line in zip(("235.20", "235.10"), lines, strict=True):
        desk.fill(broker_order_id, Decimal(50), Decimal(price))
        await service.says(line)


async def hear(real: Real, known: Set[str] = frozenset()) -> list[Published]:
    """The confirmations that were delivered since."""

    def read() -> list[Published]:
        with raw_database(real) as database:
            found = database.outbox.find({"channel": "confirmations", "delivered_at": {"$ne": None}})
            rows = [row for document in found for row in rows_of(document)]
            return published(real, {row["attributes"]["confirmation_id"] for row in rows} - known)

    return await asyncio.to_thread(read)
