"""The service, its database and its bus are killed while orders flow, on a real MongoDB and the Pub/Sub emulator.

Short and with one thing at a time, so that a failure tells what it is about; `chaos` does it all at once, and for long.
"""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chaos
import pytest
from chaos_bus import LISTENER_LAGS
from emulator import Emulator
from harness import PATIENCE, Listener, Real, World
from invariants import Findings, check
from mongod import Mongod
from producer import Producer
from real_servers import MongoDatabase

pytestmark = pytest.mark.timeout(400)

DATABASE, PROJECT = "outages", "exec-test-outages"
VARIABLES = {
    "ACCOUNTS": json.dumps({name: {"broker": "mock"} for name in chaos.ACCOUNTS}),
    "UNKNOWN_SETTLE_SECONDS": "0.5",
    "MOCK_BROKER_PARTIAL_FILLS": "2",
    "MOCK_BROKER_FILL_DELAY_SECONDS": "0.2",
}


async def made(directory: Path, real: Real, **variables: str) -> World:
    """A world with three accounts, set up with a short ack deadline."""
    world = World(directory, {**VARIABLES, **variables}, real)
    await chaos.set_up(world)
    return world


async def agreed(world: World, load: list[dict[str, Any]], confirmations: list[dict[str, Any]]) -> Findings:
    """Everything agrees with everything; what was counted."""
    found = await check(world, [message["signal_id"] for message in load], confirmations)
    assert found.wrong == []
    return found


def never_in_doubt(orders: list[dict[str, Any]]) -> list[str]:
    """Orders that are REJECTED / NOT_PLACED although it was always known whether they had been sent."""
    return [
        order["signal_id"]
        for order in orders
        if order["reason_code"] == "NOT_PLACED" and "UNKNOWN" not in [entry["status"] for entry in order["history"]]
    ]


async def test_a_service_killed_in_a_burst_and_restarted_under_its_worker_id_takes_its_accounts_at_once(
    tmp_path: Path, real: Real
) -> None:
    """P1, P3, P5. The lease is so long that whoever waited for it would come too late for every deadline here."""
    lease = 90.0
    world = await made(tmp_path, real, WORKER_ID="worker-1", WORKER_LEASE_SECONDS=f"{lease:g}")
    load = chaos.messages(80, random.Random(2))
    with world.start() as first:
        await first.ready()
        await world.publish(*load[:40])
        await first.says("Order submitted")
        await world.publish(*load[40:])
        await first.says(f"Received order: {load[40]['signal_id']}")
        first.kill()
    unfinished = await world.load("orders", {"status": ["PENDING", "SUBMITTING", "UNKNOWN", "SUBMITTED"]})
    assert unfinished, "the kill came too late to be one in the middle of a burst"
    with world.start() as second:
        await second.ready()
        for account_id in chaos.ACCOUNTS:
            await second.says(f"Account {account_id}: connected to mock")
        assert "owned by another worker" not in second.console
        orders = await world.settled(len(load), seconds=lease + 60)
        assert await asyncio.to_thread(second.stop) == 0
    found = await agreed(world, load, await world.confirmations())
    assert len(found.not_placed) <= chaos.SLOTS * len(chaos.ACCOUNTS)
    assert never_in_doubt(orders) == []


async def test_the_database_is_killed_and_steps_down_under_load_and_the_service_goes_on(
    tmp_path: Path, own_mongod: Mongod, pubsub_emulator: str, pubsub_project: str
) -> None:
    """Nothing is lost or doubled, and nothing is in doubt either: the service lives and knows what it has sent."""
    world = await made(tmp_path, Real(own_mongod.uri, DATABASE, pubsub_emulator, pubsub_project))
    load = chaos.messages(150, random.Random(3))
    async with Producer(world, load, random.Random(3)) as producer:
        with world.start() as service:
            await service.ready()
            producer.allow(50)
            await service.says("Order submitted")
            await asyncio.to_thread(own_mongod.kill)
            producer.allow(100)
            await asyncio.to_thread(own_mongod.start)
            await world.settled(100)
            producer.allow(150)
            await service.says(f"Received order: {load[100]['signal_id']}")
            await asyncio.to_thread(own_mongod.step_down, 5)
            await asyncio.to_thread(own_mongod.wait_until_primary)
            await producer.finished()
            orders = await world.settled(len(load), seconds=PATIENCE)
            assert service.process.poll() is None
            assert "starts over" not in service.console
            assert await asyncio.to_thread(service.stop) == 0
    found = await agreed(world, load, await world.confirmations())
    assert never_in_doubt(orders) == []
    assert found.not_placed == []
    assert found.at_broker == len(load)


async def test_the_bus_is_killed_and_set_up_again_and_the_same_process_goes_on(
    tmp_path: Path, mongodb: MongoDatabase, own_emulator: Emulator
) -> None:
    """It forgets topics, subscriptions and messages; what the producer then publishes again is placed once."""
    world = await made(tmp_path, Real(mongodb.uri, mongodb.database, own_emulator.host, PROJECT))
    load = chaos.messages(90, random.Random(4))
    async with Producer(world, load, random.Random(4)) as producer, Listener(world) as listener:
        with world.start() as service:
            await service.ready()
            producer.allow(60)
            await service.says("Order submitted")
            async with producer.paused():
                await producer.burst()
                killed_at = datetime.now(UTC)
                await asyncio.to_thread(own_emulator.kill)
                await service.says("trying again")
                await asyncio.to_thread(own_emulator.start)
                await chaos.set_up(world)
                lost = [(killed_at - LISTENER_LAGS, datetime.now(UTC))]
                await producer.publish_lost(0)
            producer.allow(90)
            await producer.finished()
            await world.settled(len(load))
            assert service.process.poll() is None
            assert await asyncio.to_thread(service.stop) == 0
        await chaos.heard_all(world, listener, lost)
    found = await check(world, [message["signal_id"] for message in load], listener.heard, bus_lost=lost)
    assert found.wrong == []
    assert found.at_broker == len(load)


async def test_a_database_that_stalls_longer_than_the_lease_costs_time_and_nothing_else(
    tmp_path: Path, own_mongod: Mongod, pubsub_emulator: str, pubsub_project: str
) -> None:
    """Connections stay, nothing answers, the lease runs out: nothing is sent until it is confirmed again."""
    world = await made(
        tmp_path, Real(own_mongod.uri, DATABASE, pubsub_emulator, pubsub_project), WORKER_LEASE_SECONDS="2"
    )
    load = chaos.messages(60, random.Random(5))
    with world.start() as service:
        await service.ready()
        await world.publish(*load[:30])
        await service.says("Order submitted")
        own_mongod.pause()
        stalled_at = datetime.now(UTC)
        await world.publish(*load[30:])
        await asyncio.sleep(3.5)  # the stall itself, not a wait for anything
        resumed_at = datetime.now(UTC)
        own_mongod.resume()
        await world.settled(len(load))
        assert await asyncio.to_thread(service.stop) == 0
    found = await agreed(world, load, await world.confirmations())
    assert found.not_placed == []
    assert_nothing_sent_without_lease(world, stalled_at, resumed_at, lease_seconds=2)


def assert_nothing_sent_without_lease(world: World, since: datetime, until_: datetime, *, lease_seconds: float) -> None:
    """No order came to the venue once the last heartbeat that can have been confirmed was half a lease old."""
    times = [datetime.fromisoformat(row["accepted_at"]) for row in world.book()["orders"]]
    late = [at for at in times if at < until_ and (at - since).total_seconds() > lease_seconds / 2 + 0.5]
    assert late == []
