"""Fills a store with finished orders, as many as are asked for: copies of what the service itself has written.

Two orders go through the service, a purchase and the sale that closes its position. Everything that it wrote of them
(order, execution, confirmation's document, outbox rows, signal) is then copied with other names and earlier times, so
that the copies are of the present release's shape, whatever that is. The copying works on the documents' bytes: every
name is replaced by one of the same length, every time and arrival number by one so much earlier.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bson.codec_options import CodecOptions
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from exec_core.identifiers import OrderKey, SignalId
from harness import Real, order
from pymongo import MongoClient
from pymongo.write_concern import WriteConcern

COPIED = ("orders", "fills", "execution_confirmations", "outbox", "signal_store")
BATCH = 2_000
THREADS = 3
#: How far apart the copies are.
APART = timedelta(milliseconds=500)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONG = struct.Struct("<q")


def signal_name(number: int) -> str:
    """All of one length."""
    return f"seed_{number:010d}"


def templates() -> list[dict[str, Any]]:
    """The messages of the two orders that are copied."""
    return [order(signal_name(number), account_id="acc_0", symbol="SEED", price=100.25, side=side) for number, side in
            enumerate(("BUY", "SELL"))]  # fmt: skip


@dataclass(frozen=True)
class Template:
    """Everything that is stored of one order, as bytes, and what in them is different in each copy."""

    number: int
    documents: Mapping[str, list[bytes]]
    execution: str
    times: frozenset[datetime]
    arrivals: frozenset[int]

    @classmethod
    def read(cls, client: MongoClient[dict[str, Any]], database: str, number: int) -> Template:
        """What the service wrote of the template of that number."""
        aware = client.get_database(database, CodecOptions(tz_aware=True))
        signal_id = signal_name(number)
        own = {"signal_store": {"_id": signal_id}, "outbox": {"client_order_id": client_order_id(number)}}
        parts, times, arrivals = {}, set[datetime](), set[int]()
        for name in COPIED:
            where = own.get(name, {"signal_id": signal_id})
            raw = aware.get_collection(name, CodecOptions(document_class=RawBSONDocument)).find(where)
            parts[name] = [bytes(document.raw) for document in raw]
            for document in aware[name].find(where):
                for value in _leaves(document):
                    if isinstance(value, datetime):
                        times.add(value)
                    elif isinstance(value, Int64) and value > 1 << 48:
                        arrivals.add(int(value))
        fill = aware["fills"].find_one({"signal_id": signal_id})
        if fill is None or not parts["orders"]:
            raise RuntimeError(f"the service has written no order {signal_id}, or no execution of it")
        return cls(number, parts, fill["execution_id"], frozenset(times), frozenset(arrivals))

    def copies(self, name: str, numbers: range, total: int) -> Iterator[RawBSONDocument]:
        """The documents of one collection for these orders of so many."""
        fixed = [text.encode() for text in (signal_name(self.number), client_order_id(self.number), self.execution)]
        account = b"acc_0"
        moments = {_LONG.pack(_milliseconds(at)): _milliseconds(at) for at in self.times}
        counts = {_LONG.pack(at): at for at in self.arrivals}
        pattern = re.compile(b"|".join(re.escape(key) for key in (*fixed, account, *moments, *counts)), re.DOTALL)
        for number in numbers:
            ago = (total - number) * APART
            milliseconds, microseconds = ago // timedelta(milliseconds=1), ago // timedelta(microseconds=1)
            new = {
                fixed[0]: signal_name(number).encode(),
                fixed[1]: client_order_id(number).encode(),
                fixed[2]: f"{number:0{len(self.execution)}d}".encode(),
                account: b"acc_%d" % (number // 2 % 3),
                **{key: _LONG.pack(at - milliseconds) for key, at in moments.items()},
                **{key: _LONG.pack(at - microseconds) for key, at in counts.items()},
            }
            for document in self.documents[name]:
                yield RawBSONDocument(pattern.sub(lambda found, new=new: new[found[0]], document))


def client_order_id(number: int) -> str:
    """The id of a copy's order, as the service would have made it."""
    return OrderKey(SignalId(signal_name(number))).client_order_id()


def seed(real: Real, count: int) -> None:
    """Copy the templates until the store holds `count` orders besides; durable when this returns."""
    with MongoClient[dict[str, Any]](real.mongodb_uri) as client:
        both = [Template.read(client, real.database, number) for number in range(2)]
        database = client.get_database(real.database, write_concern=WriteConcern(1))

        def write(name: str, start: int) -> None:
            for template in both:
                numbers = range(start + template.number, min(start + BATCH, count + 2), 2)
                documents = list(template.copies(name, numbers, count + 2))
                if documents:
                    database[name].insert_many(documents, ordered=False)

        with ThreadPoolExecutor(THREADS) as pool:
            # By collection: an index grows at its end.
            for done in [pool.submit(write, name, at) for name in COPIED for at in range(2, count + 2, BATCH)]:
                done.result()
        client.admin.command("fsync")


def _milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
