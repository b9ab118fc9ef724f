"""A bad network between the service and a real MongoDB: slow, and in parts not there at all.

What is sent to the venue is watched: a worker that cannot confirm its lease must send nothing, whatever it believes.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import chaos
import pytest
from harness import FINAL, PATIENCE, Listener, Real, Service, World, order, until
from invariants import check
from tcp_link import Link, link_to

pytestmark = pytest.mark.timeout(400)

LEASE_SECONDS = 3.0


@pytest.fixture
async def link(real: Real) -> AsyncIterator[Link]:
    """The network between the service and the database; the test itself goes past it."""
    async with link_to(real.mongodb_uri) as made:
        yield made


@pytest.fixture
async def world(tmp_path: Path, real: Real, link: Link) -> World:
    accounts = json.dumps({name: {"broker": "mock"} for name in chaos.ACCOUNTS})
    variables = {
        "ACCOUNTS": accounts,
        "WORKER_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
        "UNKNOWN_SETTLE_SECONDS": "0.5",
        "MOCK_BROKER_PARTIAL_FILLS": "2",
    }
    made = World(tmp_path, variables, real)
    await chaos.set_up(made)
    made.variables["MONGODB_URI"] = link.mongodb_uri
    return made


def sent_between(world: World, since: datetime, until_: datetime) -> list[datetime]:
    """When orders came to the venue in that time."""
    times = [datetime.fromisoformat(row["accepted_at"]) for row in world.book()["orders"]]
    return [at for at in times if since < at < until_]


async def test_a_slow_database_makes_the_service_slow_and_nothing_else(world: World, link: Link) -> None:
    """200 ms per round trip: what one order costs in them, a burst shares."""
    del world.variables["WORKER_LEASE_SECONDS"]
    link.delay_seconds = 0.1
    load = chaos.messages(24, random.Random(6))
    with world.start() as service:
        await service.ready(60)
        await world.publish(*load)
        await world.settled(len(load), seconds=PATIENCE)
        assert "starts over" not in service.console
        link.delay_seconds = 0.0
        assert await asyncio.to_thread(service.stop) == 0
    found = await check(world, [message["signal_id"] for message in load], await world.confirmations())
    assert found.wrong == []
    assert found.at_broker == len(load), "a slow database is no reason to refuse an order"
    assert link.connections > 0


async def test_a_database_so_slow_that_no_heartbeat_is_fresh_holds_orders_back_and_refuses_none(
    world: World, link: Link
) -> None:
    """The broker has nothing to do with it, and was not asked: CONNECTION_FAILED would be a lie."""
    world.variables["WORKER_LEASE_SECONDS"] = "2"
    load = [order(f"o_{number}", symbol=f"S{number}", account_id=chaos.ACCOUNTS[number % 3]) for number in range(6)]
    with world.start() as service:
        await service.ready()
        link.delay_seconds = 0.2  # writing SUBMITTING takes longer than a heartbeat is fresh
        await world.publish(*load)

        async def ended_or_tried_often() -> bool:
            rows = await world.load("orders")
            return len(rows) == 6 and all(row["status"] in FINAL or row["state"]["attempts"] > 4 for row in rows)

        await until(
            ended_or_tried_often, seconds=PATIENCE, what="every order has ended, or was held back again and again"
        )
        link.delay_seconds = 0.0
        await world.settled(len(load))
        assert await asyncio.to_thread(service.stop) == 0
    found = await check(world, [message["signal_id"] for message in load], await world.confirmations())
    assert found.wrong == []
    assert found.by_status == {"FILLED": 6}


async def test_a_database_behind_a_hole_in_the_network_loses_nothing_and_nothing_is_sent_meanwhile(
    world: World, link: Link
) -> None:
    """Longer than the lease; then all that was under way arrives, very late. Nobody else has taken over."""
    load = chaos.messages(60, random.Random(7))
    with world.start() as service:
        await service.ready()
        await world.publish(*load[:30])
        await service.says("Order submitted")
        link.hold()
        begin = datetime.now(UTC)
        await world.publish(*load[30:])
        await asyncio.sleep(2 * LEASE_SECONDS)  # the hole itself, not a wait for anything
        end = datetime.now(UTC)
        link.release()
        await world.settled(len(load))
        assert service.process.poll() is None
        assert await asyncio.to_thread(service.stop) == 0
    found = await check(world, [message["signal_id"] for message in load], await world.confirmations())
    assert found.wrong == []
    assert found.at_broker == len(load)
    # A send that was begun just in time may take a moment.
    late = [at for at in sent_between(world, begin, end) if (at - begin).total_seconds() > LEASE_SECONDS / 2 + 0.5]
    assert late == []


async def test_a_worker_cut_off_from_the_database_is_replaced_and_sends_nothing_when_it_comes_back(
    world: World, link: Link
) -> None:
    """P1 under a partition: it still reaches the venue and the bus, believes in its accounts, and must do nothing."""
    load = chaos.messages(90, random.Random(8))
    assert world.real is not None
    async with Listener(world) as listener:
        with world.start() as cut_off:
            await cut_off.ready()
            world.variables["MONGODB_URI"] = world.real.mongodb_uri
            with world.start() as other:
                await other.ready()
                await other.says("Account acc_1 is owned by another worker")
                await world.publish(*load[:30])
                await cut_off.says("Order submitted")
                link.hold()
                begin = datetime.now(UTC)
                await world.publish(*load[30:60])
                for account_id in chaos.ACCOUNTS:
                    await other.says(f"Account {account_id}: connected to mock", 60)
                link.release()
                await cut_off.says("starts over")
                await world.publish(*load[60:])
                await world.settled(len(load), seconds=PATIENCE)
                placed = sent_by(cut_off, begin)
                assert await asyncio.to_thread(other.stop) == 0
            assert await asyncio.to_thread(cut_off.stop) == 0
        await chaos.heard_all(world, listener)
    found = await check(world, [message["signal_id"] for message in load], listener.heard)
    assert found.wrong == []
    assert placed == []


def sent_by(service: Service, since: datetime) -> list[str]:
    """The lines about orders that it has sent once its lease cannot have been fresh any more, until it starts over: as
    a new worker it gets its share of the accounts again."""
    begin = since.timestamp() + LEASE_SECONDS / 2 + 1  # the log says whole seconds, cut off
    before, started_over, _ = service.console.partition("starts over")
    assert started_over
    lines = [line for line in before.splitlines() if "| Placing order" in line]
    return [line for line in lines if datetime.fromisoformat(f"{line[:19]}+00:00").timestamp() > begin]
