"""The service on a real MongoDB and on a Pub/Sub that fails on command: over real gRPC, because Google's emulator can
only be killed.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from harness import (
    CONFIRMATIONS_SUBSCRIPTION,
    CONFIRMATIONS_TOPIC,
    ORDERS_SUBSCRIPTION,
    ORDERS_TOPIC,
    PATIENCE,
    Real,
    World,
    encode,
    order,
    until,
)
from invariants import check
from pubsub_faults import Empty, Fail, Repeated, Reversed
from pubsub_memory import Refusal
from pubsub_server import PubSubServer
from real_servers import MongoDatabase

pytestmark = pytest.mark.timeout(400)

ACCOUNTS = ("acc_1", "acc_2", "acc_3")


class Publishing(Enum):
    """What becomes of a confirmation that is published."""

    WORKS = "it is taken"
    FAILS = "it is refused: UNAVAILABLE"
    LIES = "it is taken, and the answer says that it was not"


class UnreliablePubSub(PubSubServer):
    """Confirmations meet with whatever `publishing` says; orders always come through."""

    publishing = Publishing.WORKS

    def publish_request(self, request: Any) -> Any:
        if not request.topic.endswith(f"/{CONFIRMATIONS_TOPIC}") or self.publishing is Publishing.WORKS:
            return super().publish_request(request)
        if self.publishing is Publishing.LIES:
            super().publish_request(request)
        raise Refusal(StatusCode.UNAVAILABLE, "scripted")


@pytest.fixture
async def bus(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[UnreliablePubSub]:
    async with UnreliablePubSub() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        yield server


@pytest.fixture
async def world(bus: UnreliablePubSub, mongodb: MongoDatabase, tmp_path: Path) -> World:
    real = Real(mongodb.uri, mongodb.database, bus.host, f"exec-test-{uuid.uuid4().hex[:16]}")
    made = World(tmp_path, {"ACCOUNTS": json.dumps({name: {"broker": "mock"} for name in ACCOUNTS})}, real)
    await made.set_up()
    return made


def orders(name: str, count: int) -> list[dict[str, Any]]:
    """So many orders, spread over the accounts."""
    return [
        order(f"{name}_{number}", symbol=f"S{number}", account_id=ACCOUNTS[number % len(ACCOUNTS)])
        for number in range(count)
    ]


async def filled(world: World, count: int) -> None:
    """Wait until so many orders are FILLED."""

    async def all_filled() -> bool:
        return len(await world.load("orders", {"status": "FILLED"})) >= count

    await until(all_filled, seconds=PATIENCE, what=f"{count} orders are filled")


async def test_orders_go_on_while_publishing_fails_and_afterwards_every_confirmation_comes_in_order(
    world: World, bus: UnreliablePubSub
) -> None:
    """P8, and at least once, in order, under an id that says which are repetitions."""
    assert world.real is not None
    load = orders("o", 60)
    bus.publishing = Publishing.FAILS
    with world.start() as service:
        await service.ready()
        await world.publish(*load[:30])
        await filled(world, 30)  # while nothing can be published
        assert bus.waiting(world.real.project, CONFIRMATIONS_SUBSCRIPTION) == []
        status = json.loads((await asyncio.to_thread(world.run, "status", "--json")).stdout)
        (waiting,) = [row for row in status["outbox"] if row["channel"] == "confirmations"]
        assert waiting["waiting"] == 30
        assert waiting["oldest_age_seconds"] > 0
        assert "confirmations" in (await asyncio.to_thread(world.run, "status")).stdout
        await service.says("Delivery to confirmations failed (try 3")
        bus.publishing = Publishing.LIES
        await world.publish(*load[30:])
        await filled(world, 60)

        async def lied() -> bool:
            return bool(bus.waiting(world.real.project, CONFIRMATIONS_SUBSCRIPTION)) if world.real else False

        await until(lied, seconds=PATIENCE, what="a confirmation was taken, and the answer lost")
        bus.publishing = Publishing.WORKS
        await world.settled(60)
        await service.says("Delivery to confirmations works again")
        assert await asyncio.to_thread(service.stop) == 0
    messages = [json.loads(data) for data in bus.waiting(world.real.project, CONFIRMATIONS_SUBSCRIPTION)]
    heard: dict[str, list[str]] = defaultdict(list)
    repeated = 0
    for message in messages:
        if message["confirmation_id"] in heard[message["account_id"]]:
            repeated += 1
        else:
            heard[message["account_id"]].append(message["confirmation_id"])
    assert repeated > 0, "nothing was published twice: the answers that were lost were not those of confirmations"
    rows = sorted(await world.load("outbox", {"channel": "confirmations"}), key=lambda row: row["sequence"])
    for account_id in ACCOUNTS:
        promised = [row["attributes"]["confirmation_id"] for row in rows if row["ordering_key"] == account_id]
        assert heard[account_id] == promised
    assert (await check(world, [message["signal_id"] for message in load], messages)).wrong == []


async def test_orders_that_come_twice_late_and_in_the_wrong_order_are_placed_once(
    world: World, bus: UnreliablePubSub
) -> None:
    """P1, P4: at least once, in any order, is all that Pub/Sub promises; and acknowledgements get lost as well."""
    assert world.real is not None
    load = orders("o", 40)
    bus.script("Pull", Repeated(), Empty(), Reversed(), Fail(StatusCode.UNAVAILABLE, applied=True), Repeated())
    bus.script("Acknowledge", Fail(StatusCode.UNAVAILABLE, applied=True), Fail(StatusCode.INTERNAL))
    path = f"projects/{world.real.project}/subscriptions/{ORDERS_SUBSCRIPTION}"
    bus.subscriptions[path].settings.ack_deadline_seconds = 2  # what a lost answer costs in time
    with world.start() as service:
        await service.ready()
        for begin in range(0, 40, 8):
            bus.published(world.real.project, ORDERS_TOPIC, *(encode(message) for message in load[begin : begin + 8]))
            await bus.arrived("Pull", bus.count("Pull") + 1)
        await world.settled(40)
        bus.redeliver(world.real.project, ORDERS_SUBSCRIPTION)

        async def known_again() -> bool:
            project = world.real.project if world.real else ""
            return not bus.waiting(project, ORDERS_SUBSCRIPTION) and service.console.count("Duplicate order") >= 40

        await until(known_again, seconds=PATIENCE, what="every order that came again is recognised and acknowledged")
        assert await asyncio.to_thread(service.stop) == 0
    found = await check(world, [message["signal_id"] for message in load], await world.confirmations())
    assert found.wrong == []
    assert found.at_broker == 40
