"""What every `Bus` must pass. Subclass `BusSuite`, and give it a factory of buses on one and the same data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from exec_service.buses import Bus, BusError, Message, Outgoing

#: For what must happen: only a failing test waits so long.
PATIENCE_SECONDS = 60.0
#: For what must not happen.
MOMENT_SECONDS = 0.2

TOPIC = "orders"
SUBSCRIPTION = "orders-sub"
#: A second subscription of the same topic.
ARCHIVE = "orders-archive"
OTHER_TOPIC = "confirmations"
OTHER_SUBSCRIPTION = "confirmations-sub"
SUBSCRIPTIONS = {SUBSCRIPTION: TOPIC, ARCHIVE: TOPIC, OTHER_SUBSCRIPTION: OTHER_TOPIC}


class OpenBus(Protocol):
    """Makes a bus for a consumer; `short` with the shortest ack deadline there is, else with one that never ends."""

    def __call__(self, consumer: str = "consumer", *, short: bool = False) -> AbstractAsyncContextManager[Bus]: ...


def outgoing(*texts: str, key: str = "") -> list[Outgoing]:
    return [Outgoing(text.encode(), ordering_key=key) for text in texts]


def texts(messages: list[Message]) -> list[str]:
    return [message.data.decode() for message in messages]


def ack_ids(messages: list[Message]) -> list[str]:
    return [message.ack_id for message in messages]


async def pull(bus: Bus, count: int, subscription: str = SUBSCRIPTION, *, at_once: int = 100) -> list[Message]:
    """Pull until there are `count`."""
    found: list[Message] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found) < count:
            found += await bus.pull(subscription, min(at_once, count - len(found)))
    return found


async def assert_nothing_waits(bus: Bus, subscription: str = SUBSCRIPTION) -> None:
    try:
        async with asyncio.timeout(MOMENT_SECONDS):
            found = await bus.pull(subscription, 10)
    except TimeoutError:
        return
    pytest.fail(f"delivered {texts(found)}")


class BusSuite:
    """The promises of `Bus`, as tests. The topics and subscriptions of `SUBSCRIPTIONS` exist, empty at first."""

    @pytest.fixture
    def open_bus(self) -> OpenBus:
        """A factory; each bus that it makes is a connection of its own to the same data."""
        raise NotImplementedError("a conformance test class gives its own open_bus fixture")

    @pytest.fixture
    async def bus(self, open_bus: OpenBus) -> AsyncIterator[Bus]:
        async with open_bus() as bus:
            yield bus

    @pytest.fixture
    async def other(self, bus: Bus, open_bus: OpenBus) -> AsyncIterator[Bus]:
        async with open_bus("other consumer") as other:
            yield other

    # ------------------------------------------------------------------ messages

    async def test_a_message_arrives_as_it_was_published(self, bus: Bus) -> None:
        before = datetime.now(UTC) - timedelta(minutes=1)
        data = b'{"a": "\xff\x00"}'
        (message_id,) = await bus.publish(TOPIC, [Outgoing(data, {"signal_id": "ä", "n": ""}, "key")])

        (message,) = await pull(bus, 1)

        assert message.message_id == message_id
        assert message.data == data
        assert dict(message.attributes) == {"signal_id": "ä", "n": ""}
        assert message.publish_time.utcoffset() == timedelta(0)
        assert before < message.publish_time < datetime.now(UTC) + timedelta(minutes=1)
        assert message.ack_id

    async def test_messages_without_data_or_attributes_are_messages(self, bus: Bus) -> None:
        await bus.publish(TOPIC, [Outgoing(b"", {"a": "b"}), Outgoing(b"x" * 64_000)])

        assert [len(message.data) for message in await pull(bus, 2)] == [0, 64_000]

    async def test_every_message_has_an_id_of_its_own(self, bus: Bus) -> None:
        published = await bus.publish(TOPIC, outgoing("a", "a")) + await bus.publish(TOPIC, outgoing("a"))
        published += await bus.publish(OTHER_TOPIC, outgoing("a"))

        assert len(set(published)) == 4
        assert [message.message_id for message in await pull(bus, 3)] == published[:3]

    async def test_publishing_nothing_does_nothing(self, bus: Bus) -> None:
        assert await bus.publish(TOPIC, []) == []

    async def test_one_publish_has_one_ordering_key(self, bus: Bus) -> None:
        with pytest.raises(ValueError):
            await bus.publish(TOPIC, [*outgoing("a", key="1"), *outgoing("b", key="2")])

        await assert_nothing_waits(bus)

    async def test_what_was_published_is_there_after_everybody_has_left(self, open_bus: OpenBus) -> None:
        async with open_bus("producer") as producer:
            await producer.publish(TOPIC, outgoing("a", "b"))

        async with open_bus() as bus:
            assert texts(await pull(bus, 2)) == ["a", "b"]

    # ------------------------------------------------------------------ delivery

    @pytest.mark.parametrize("key", ["", "account"])
    async def test_messages_are_delivered_in_the_order_of_publishing(self, bus: Bus, key: str) -> None:
        names = [f"{number}" for number in range(25)]
        await bus.publish(TOPIC, outgoing(*names[:10], key=key))
        for name in names[10:]:
            await bus.publish(TOPIC, outgoing(name, key=key))

        delivered = []
        while len(delivered) < len(names):
            messages = await bus.pull(SUBSCRIPTION, 7)
            delivered += texts(messages)
            await bus.acknowledge(SUBSCRIPTION, ack_ids(messages))

        assert delivered == names

    async def test_pull_brings_no_more_than_asked_for_and_does_not_wait_for_more(self, bus: Bus) -> None:
        await bus.publish(TOPIC, outgoing("a", "b", "c"))

        assert len(await bus.pull(SUBSCRIPTION, 1)) == 1
        assert len(await pull(bus, 2)) == 2

    async def test_pull_waits_for_the_first_message(self, bus: Bus) -> None:
        pulling = asyncio.create_task(bus.pull(SUBSCRIPTION, 10))
        await bus.publish(OTHER_TOPIC, outgoing("not this"))
        assert not pulling.done()
        await bus.publish(TOPIC, outgoing("a"))

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert texts(await pulling) == ["a"]

    async def test_pull_waits_for_a_message_of_another_publisher(self, bus: Bus, other: Bus) -> None:
        pulling = asyncio.create_task(bus.pull(SUBSCRIPTION, 10))
        await asyncio.sleep(0)
        await other.publish(TOPIC, outgoing("a"))

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert texts(await pulling) == ["a"]

    async def test_who_waits_can_publish_and_acknowledge_meanwhile(self, bus: Bus) -> None:
        await bus.publish(OTHER_TOPIC, outgoing("x"))
        pulling = asyncio.create_task(bus.pull(SUBSCRIPTION, 10))
        (message,) = await pull(bus, 1, OTHER_SUBSCRIPTION)
        await bus.acknowledge(OTHER_SUBSCRIPTION, [message.ack_id])
        await bus.publish(TOPIC, outgoing("a"))

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert texts(await pulling) == ["a"]

    async def test_every_subscription_of_a_topic_gets_every_message(self, bus: Bus) -> None:
        await bus.publish(TOPIC, outgoing("a", "b"))

        messages = await pull(bus, 2)
        await bus.acknowledge(SUBSCRIPTION, ack_ids(messages))

        assert texts(messages) == texts(await pull(bus, 2, ARCHIVE)) == ["a", "b"]

    async def test_two_consumers_share_the_messages_without_overlap(self, bus: Bus, other: Bus) -> None:
        names = {f"{number}" for number in range(60)}
        seen: list[str] = []

        async def consume(by: Bus) -> None:
            while len(seen) < len(names):
                messages = await by.pull(SUBSCRIPTION, 4)
                seen.extend(texts(messages))
                await by.acknowledge(SUBSCRIPTION, ack_ids(messages))

        consumers = [asyncio.create_task(consume(by)) for by in (bus, other)]
        await bus.publish(TOPIC, outgoing(*names))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait(consumers, return_when=asyncio.FIRST_COMPLETED)
        for consumer in consumers:
            consumer.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)

        assert sorted(seen) == sorted(names)

    async def test_what_is_leased_to_one_consumer_is_not_delivered_to_another(self, bus: Bus, other: Bus) -> None:
        await bus.publish(TOPIC, outgoing("a", "b"))
        await pull(bus, 2)

        await assert_nothing_waits(other)
        await assert_nothing_waits(bus)

    async def test_a_cancelled_pull_loses_nothing(self, open_bus: OpenBus) -> None:
        async with open_bus(short=True) as bus:
            for number in range(30):
                pulling = asyncio.create_task(bus.pull(SUBSCRIPTION, 10))
                publishing = asyncio.create_task(bus.publish(TOPIC, outgoing(f"{number}")))
                for _ in range(number % 5):
                    await asyncio.sleep(0)
                pulling.cancel()
                await asyncio.gather(pulling, return_exceptions=True)
                await publishing
                messages = await pull(bus, 1)
                assert texts(messages) == [f"{number}"]
                await bus.acknowledge(SUBSCRIPTION, ack_ids(messages))

    async def test_a_subscription_that_does_not_exist_is_an_error(self, bus: Bus) -> None:
        with pytest.raises(BusError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await bus.pull("no-such-subscription", 1)

    # ------------------------------------------------------------------ acknowledging, and delivering again

    async def test_what_is_not_acknowledged_in_time_is_delivered_again_what_is_acknowledged_is_not(
        self, open_bus: OpenBus
    ) -> None:
        async with open_bus(short=True) as bus:
            published = await bus.publish(TOPIC, outgoing("a", "b", "c"))
            messages = await pull(bus, 3)
            await bus.acknowledge(SUBSCRIPTION, [messages[0].ack_id, messages[2].ack_id])

            (again,) = await pull(bus, 1)

            assert (again.data, again.message_id) == (b"b", published[1])
            assert again.publish_time == messages[1].publish_time
            assert again.ack_id != messages[1].ack_id
            await bus.acknowledge(SUBSCRIPTION, [again.ack_id])
            await bus.publish(TOPIC, outgoing("d"))
            assert texts(await pull(bus, 1)) == ["d"]

    async def test_what_one_consumer_does_not_acknowledge_another_gets(self, open_bus: OpenBus) -> None:
        async with open_bus("first", short=True) as first, open_bus("second", short=True) as second:
            await first.publish(TOPIC, outgoing("a", "b"))
            await pull(first, 2)

            messages = await pull(second, 2)

            assert texts(messages) == ["a", "b"]
            await second.acknowledge(SUBSCRIPTION, ack_ids(messages))

    async def test_what_is_delivered_again_keeps_its_order(self, open_bus: OpenBus) -> None:
        async with open_bus(short=True) as bus:
            await bus.publish(TOPIC, outgoing("a", "b", "c", key="account"))
            await pull(bus, 3)

            assert texts(await pull(bus, 3)) == ["a", "b", "c"]

    async def test_what_a_consumer_left_behind_is_delivered_to_the_next(self, open_bus: OpenBus) -> None:
        async with open_bus(short=True) as bus:
            await bus.publish(TOPIC, outgoing("a", "b", "c"))
            messages = await pull(bus, 2)
            await bus.acknowledge(SUBSCRIPTION, [messages[1].ack_id])

        async with open_bus() as bus:
            assert texts(await pull(bus, 2)) == ["a", "c"]
            await assert_nothing_waits(bus)

    async def test_an_acknowledgement_outlives_the_consumer(self, open_bus: OpenBus) -> None:
        async with open_bus(short=True) as bus:
            await bus.publish(TOPIC, outgoing("a", "b"))
            await bus.acknowledge(SUBSCRIPTION, ack_ids(await pull(bus, 2)))

        async with open_bus() as bus:
            await assert_nothing_waits(bus)

    async def test_unknown_late_and_repeated_ack_ids_are_ignored(self, open_bus: OpenBus) -> None:
        async with open_bus(short=True) as bus:
            await bus.publish(TOPIC, outgoing("a"))
            late = await pull(bus, 1)
            again = await pull(bus, 1)

            await bus.acknowledge(SUBSCRIPTION, [*ack_ids(again), *ack_ids(again)])
            await bus.acknowledge(SUBSCRIPTION, [*ack_ids(again), *ack_ids(late)])
            await bus.acknowledge(SUBSCRIPTION, [])

            await bus.publish(TOPIC, outgoing("b"))
            assert texts(await pull(bus, 1)) == ["b"]

    async def test_acknowledging_for_one_subscription_leaves_the_other_alone(self, open_bus: OpenBus) -> None:
        async with open_bus(short=True) as bus:
            await bus.publish(TOPIC, outgoing("a"))
            await bus.acknowledge(SUBSCRIPTION, ack_ids(await pull(bus, 1)))

            await pull(bus, 1, ARCHIVE)

            assert texts(await pull(bus, 1, ARCHIVE)) == ["a"]
