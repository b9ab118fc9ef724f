"""The Pub/Sub bus on Google's emulator: the conformance suite, and what only the emulator can show.

The suite's subscriptions do not keep order. On those that do, the emulator delivers messages again that were
acknowledged, if they were published after one that was not; Pub/Sub reserves the right to do so, too.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from bus_suite import (
    OTHER_TOPIC,
    PATIENCE_SECONDS,
    SUBSCRIPTION,
    SUBSCRIPTIONS,
    TOPIC,
    BusSuite,
    OpenBus,
    ack_ids,
    outgoing,
    pull,
    texts,
)
from exec_service.buses import Bus, BusError, BusUnavailable
from exec_service.buses.pubsub import PubSubBus
from exec_service.buses.pubsub_connection import EMULATOR_PULL_TIMEOUT_SECONDS
from google.api_core.exceptions import AlreadyExists
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient, types

#: The shortest and the longest ack deadline that Pub/Sub has.
SHORT_SECONDS, LONG_SECONDS = 10, 600


async def make_subscriptions(project: str, ack_deadline_seconds: int, *, ordered: bool = False) -> None:
    """The suite's topics and subscriptions; those that exist get this ack deadline."""
    publisher, subscriber = PublisherAsyncClient(), SubscriberAsyncClient()
    for topic in sorted(set(SUBSCRIPTIONS.values())):
        try:
            await publisher.create_topic(name=f"projects/{project}/topics/{topic}")
        except AlreadyExists:
            continue
    for name, topic in SUBSCRIPTIONS.items():
        wanted = types.Subscription(
            name=f"projects/{project}/subscriptions/{name}",
            topic=f"projects/{project}/topics/{topic}",
            ack_deadline_seconds=ack_deadline_seconds,
            enable_message_ordering=ordered,
        )
        try:
            await subscriber.create_subscription(request=wanted)
        except AlreadyExists:
            await subscriber.update_subscription(
                request={"subscription": wanted, "update_mask": {"paths": ["ack_deadline_seconds"]}}
            )
    await publisher.transport.close()
    await subscriber.transport.close()


class TestPubSubBusOnTheEmulator(BusSuite):
    @pytest.fixture
    def open_bus(self, pubsub_project: str) -> OpenBus:
        @asynccontextmanager
        async def opened(consumer: str = "consumer", *, short: bool = False) -> AsyncIterator[Bus]:
            await make_subscriptions(pubsub_project, SHORT_SECONDS if short else LONG_SECONDS)
            async with PubSubBus(pubsub_project) as bus:
                yield bus

        return opened


CHILD = """
import asyncio, sys
from exec_service.buses import Outgoing
from exec_service.buses.pubsub import PubSubBus

async def main():
    async with PubSubBus(sys.argv[1], subscriptions={"orders-sub": "orders"}) as bus:
        pulling = asyncio.create_task(bus.pull("orders-sub", 10))
        await asyncio.sleep(0)
        await bus.publish("confirmations", [Outgoing(b"x")])  # over the same connection, after the pull
        print("pulling", flush=True)
        await pulling

asyncio.run(main())
"""


@contextmanager
def child(project: str) -> Iterator[subprocess.Popen[str]]:
    """A process whose pull is waiting at the emulator."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, project], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == "pulling"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def until_told(bus: Bus, kind: type[BusError]) -> None:
    """Pull until it fails in this way."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await bus.pull(SUBSCRIPTION, 10)
            except BusError as error:
                if type(error) is kind:
                    return
                await asyncio.sleep(0.05)


async def test_an_ordering_key_keeps_its_order_when_a_worker_leaves(pubsub_project: str) -> None:
    await make_subscriptions(pubsub_project, LONG_SECONDS, ordered=True)
    async with PubSubBus(pubsub_project) as bus:
        await bus.publish(TOPIC, outgoing("a", "b", "c", "d", key="account"))
        await bus.publish(TOPIC, outgoing("x", "y", key="other account"))
        messages = await pull(bus, 6)
        assert [text for text in texts(messages) if text in "abcd"] == ["a", "b", "c", "d"]
        await bus.acknowledge(
            SUBSCRIPTION,
            [ack_id for ack_id, text in zip(ack_ids(messages), texts(messages), strict=True) if text in "ax"],
        )

    async with PubSubBus(pubsub_project) as bus:
        messages = await pull(bus, 4)
        assert [text for text in texts(messages) if text in "abcd"] == ["b", "c", "d"]
        assert "y" in texts(messages)


@pytest.mark.timeout(300)
async def test_an_emulator_that_was_killed_is_used_again_once_it_is_set_up(own_emulator: Any) -> None:
    project = "project"
    await make_subscriptions(project, 20, ordered=True)
    async with PubSubBus(project, topics=[TOPIC, OTHER_TOPIC], subscriptions={SUBSCRIPTION: TOPIC}) as bus:
        pulling = asyncio.create_task(bus.pull(SUBSCRIPTION, 10))
        await bus.publish(OTHER_TOPIC, outgoing("x"))
        own_emulator.kill()
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(BusUnavailable):
                await pulling
            with pytest.raises(BusUnavailable):
                await bus.publish(TOPIC, outgoing("a"))

        await asyncio.to_thread(own_emulator.start)
        await until_told(bus, BusError)  # it answers again, and knows nothing
        await make_subscriptions(project, 20, ordered=True)
        await bus.publish(TOPIC, outgoing("a"))

        messages = await pull(bus, 1)
        await bus.acknowledge(SUBSCRIPTION, ack_ids(messages))
        assert texts(messages) == ["a"]


async def test_a_consumer_that_is_killed_while_it_pulls_holds_up_nobody_for_long(pubsub_project: str) -> None:
    await make_subscriptions(pubsub_project, 60, ordered=True)
    with child(pubsub_project) as process:
        process.kill()
    async with PubSubBus(pubsub_project) as bus:
        # Its pull goes on at the emulator, but not for long.
        await asyncio.sleep(EMULATOR_PULL_TIMEOUT_SECONDS)
        await publish_and_receive_one_by_one(bus)


async def test_a_consumer_that_leaves_while_it_pulls_holds_up_nobody(pubsub_project: str) -> None:
    """The emulator goes on with cancelled pulls and gives them messages; so they are not cancelled."""
    await make_subscriptions(pubsub_project, 60, ordered=True)
    async with PubSubBus(pubsub_project) as bus:
        for _ in range(3):
            async with PubSubBus(pubsub_project, subscriptions={SUBSCRIPTION: TOPIC}) as leaving:
                pulling = asyncio.create_task(leaving.pull(SUBSCRIPTION, 10))
                await leaving.publish(OTHER_TOPIC, outgoing("x"))  # over the same connection, after the pull
                pulling.cancel()
                await asyncio.wait([pulling])
            await publish_and_receive_one_by_one(bus)


async def publish_and_receive_one_by_one(bus: Bus) -> None:
    for number in range(10):
        await bus.publish(TOPIC, outgoing(f"{number}"))
        messages = await pull(bus, 1)
        assert texts(messages) == [f"{number}"]
        await bus.acknowledge(SUBSCRIPTION, ack_ids(messages))
