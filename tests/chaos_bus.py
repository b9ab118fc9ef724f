"""What chaos and soak need of the bus and the servers: setting up, hearing what was published, servers of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from emulator import Emulator, ask
from exec_service.stores import Not
from harness import ORDERS_SUBSCRIPTION, ORDERS_TOPIC, Listener, World, until
from invariants import Period, may_be_lost
from keeper import ProcessId
from mongod import Mongod

ACK_DEADLINE_SECONDS = 10
#: How far the listener may be behind when the bus dies: what was published before should have been heard.
LISTENER_LAGS = timedelta(seconds=10)


@dataclass
class Servers:
    """The real components, to hurt."""

    mongod: Mongod
    emulator: Emulator


async def set_up(world: World) -> None:
    """Topics and subscriptions; the orders' with a short ack deadline, which is what a killed service costs in time."""
    if world.real is not None:
        host, project = world.real.emulator, f"projects/{world.real.project}"
        topic, subscription = f"{project}/topics/{ORDERS_TOPIC}", f"{project}/subscriptions/{ORDERS_SUBSCRIPTION}"
        wanted = {"topic": topic, "ackDeadlineSeconds": ACK_DEADLINE_SECONDS, "enableMessageOrdering": True}
        if not await asyncio.to_thread(ask, host, "GET", f"/v1/{project}/topics"):
            await asyncio.to_thread(ask, host, "PUT", f"/v1/{topic}", {})
            await asyncio.to_thread(ask, host, "PUT", f"/v1/{subscription}", wanted)
    await world.set_up()


async def heard_all(world: World, listener: Listener, bus_lost: Sequence[Period] = ()) -> None:
    """Wait until the listener has what is delivered; `check` says what is missing if it never has."""
    rows = await world.load("outbox", {"channel": "confirmations", "delivered_at": Not(None)})
    excused = {row["_id"] for row in may_be_lost(rows, bus_lost)}
    expected = {row["attributes"]["confirmation_id"] for row in rows if row["_id"] not in excused}

    async def all_heard() -> bool:
        return expected <= {message["confirmation_id"] for message in listener.heard}

    with contextlib.suppress(AssertionError):
        await until(all_heard, seconds=30, what="the confirmations are heard")


@contextlib.asynccontextmanager
async def real_components(directory: Path) -> AsyncIterator[Servers]:
    """A mongod and an emulator of this run's own."""
    owner = ProcessId.of(os.getpid())
    servers = Servers(Mongod(directory / "mongod", owner), Emulator(directory / "emulator", owner))
    try:
        await asyncio.gather(asyncio.to_thread(servers.mongod.start), asyncio.to_thread(servers.emulator.start))
        os.environ["PUBSUB_EMULATOR_HOST"] = servers.emulator.host  # Google's client reads it in this process too
        yield servers
    finally:
        servers.mongod.kill()
        servers.emulator.kill()
