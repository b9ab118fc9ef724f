"""Other services work on the collections that they share with us, all the time and without asking: on a real MongoDB
and the Pub/Sub emulator.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, Real, World, order
from invariants import check
from pymongo import AsyncMongoClient
from raw_documents import everything

pytestmark = pytest.mark.timeout(400)

COUNT = 120
#: Of each neighbour, between two writes.
PAUSE_SECONDS = 0.02
#: What other services keep in these documents.
NOTES = {"signal_store": "cerebro_notes", "positions": "risk_notes"}


@dataclass
class Neighbours:
    """They rewrite every document of `signal_store` and `positions` as fast as they can."""

    real: Real
    written: Counter[str] = field(default_factory=Counter)
    notes: dict[Any, int] = field(default_factory=dict)
    gone: bool = False

    async def rewrite(self, collection: str) -> None:
        """Until they are gone: count up a field of their own, and call positions CLOSING."""
        dice = random.Random(collection)
        async with AsyncMongoClient[dict[str, Any]](self.real.mongodb_uri) as client:
            documents = client[self.real.database][collection]
            while not self.gone:
                ids = [row["_id"] async for row in documents.find({}, {"_id": 1})]
                dice.shuffle(ids)
                for key in ids:
                    if self.gone:
                        return
                    wanted: dict[str, Any] = {"$inc": {NOTES[collection]: 1}, "$set": {"owner.desk": collection}}
                    where: dict[str, Any] = {"_id": key}
                    if collection == "positions":
                        wanted["$set"]["status"] = "CLOSING"
                        where["status"] = {"$ne": "CLOSED"}
                    done = await documents.update_one(where, wanted)
                    if done.modified_count:
                        self.written[collection] += 1
                        self.notes[key] = self.notes.get(key, 0) + 1
                    await asyncio.sleep(PAUSE_SECONDS)
                await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def neighbours(real: Real) -> AsyncIterator[Neighbours]:
    """At work, while it is entered."""
    made = Neighbours(real)
    tasks = [asyncio.create_task(made.rewrite(collection)) for collection in NOTES for _ in range(2)]
    try:
        yield made
    finally:
        made.gone = True  # not cancelled: what they have written is what they have counted
        await asyncio.gather(*tasks)


async def test_no_order_fails_because_others_write_the_same_documents_and_what_they_wrote_stays(
    tmp_path: Path, real: Real
) -> None:
    """Entries, additions and exits: every position is written several times while others write it too."""
    world = World(tmp_path, {"ACCOUNTS": json.dumps({"acc_1": {"broker": "mock"}})}, real)
    await world.set_up()
    load = [
        order(f"o_{number:03}", symbol=f"S{number % 12}", side="SELL" if number >= COUNT - 24 else "BUY", quantity=10)
        for number in range(COUNT)
    ]
    async with neighbours(real) as others:
        with world.start() as service:
            await service.ready()
            await world.publish(*load)
            orders = await world.settled(COUNT, seconds=PATIENCE)
            assert await asyncio.to_thread(service.stop) == 0
    assert {row["status"] for row in orders} == {"FILLED"}
    warned = [line for line in service.console.splitlines() if "WARNING" in line]
    assert [line for line in warned if "event loop" not in line] == []  # a busy machine holds every process up
    assert "signal_store cannot be told" not in service.console
    assert min(others.written.values()) > COUNT, "the neighbours hardly wrote anything: nobody was in anybody's way"
    documents = await asyncio.to_thread(everything, real)
    for collection, name in NOTES.items():
        for row in documents[collection]:
            assert row.get(name, 0) == others.notes.get(row["_id"], 0), f"{collection}: a note of others was lost"
            assert row.get("owner", {"desk": collection}) == {"desk": collection}
    for row in documents["positions"]:
        assert row["status"] == "CLOSING", "their word stays until the position is closed"
        assert row["quantity"] == 60.0
    assert {row["execution_status"] for row in documents["signal_store"]} == {"FILLED"}
    assert (await check(world, [row["signal_id"] for row in load], await world.confirmations())).wrong == []
