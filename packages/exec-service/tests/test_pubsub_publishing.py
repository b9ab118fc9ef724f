"""Publishing to Pub/Sub and acknowledging: what is sent, how often, and what is said when it fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from exec_service.buses import Bus, BusError, BusUnavailable, Outgoing
from exec_service.buses.pubsub import PubSubBus
from exec_service.buses.pubsub_requests import MAX_ACKNOWLEDGE_BYTES, id_batches
from grpc import StatusCode
from pubsub_faults import Fail, Half, Normal, Stall
from pubsub_memory import MAX_ACKNOWLEDGE_BYTES as GOOGLES_ACKNOWLEDGE_BYTES
from pubsub_server import PubSubServer
from pubsub_trying import PROJECT, SUB, TOPIC, soon

pytest_plugins = ["pubsub_fixtures"]


def outgoing(count: int, *, key: str = "account", size: int = 3) -> list[Outgoing]:
    return [Outgoing(str(number).encode().rjust(size, b"0"), ordering_key=key) for number in range(count)]


async def pulled(server: PubSubServer, bus: Bus, count: int) -> list[str]:
    """The ack ids of so many messages."""
    server.published(PROJECT, TOPIC, *(str(number).encode() for number in range(count)))
    ids: list[str] = []
    while len(ids) < count:
        ids += [message.ack_id for message in await soon(bus.pull(SUB, count))]
    return ids


async def publish_once_it_can_be_reached(bus: Bus) -> None:
    while True:
        try:
            await bus.publish(TOPIC, outgoing(1))
            return
        except BusUnavailable:
            await asyncio.sleep(0.05)


# ---------------------------------------------------------------------- publishing


@pytest.mark.parametrize(
    "code", [StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.CANCELLED]
)
async def test_a_publish_is_sent_once_even_if_its_answer_is_lost(
    server: PubSubServer, bus: Bus, code: StatusCode
) -> None:
    server.script("Publish", Fail(code, applied=True))

    with pytest.raises(BusUnavailable, match=f"publishing to the topic {TOPIC}"):
        await soon(bus.publish(TOPIC, outgoing(2)))

    assert server.count("Publish") == 1
    assert server.waiting(PROJECT, SUB) == [b"000", b"001"]


async def test_a_publish_that_gets_no_answer_is_given_up(server: PubSubServer) -> None:
    server.script("Publish", Stall())
    async with PubSubBus(PROJECT, timeout_seconds=0.2) as bus:
        with pytest.raises(BusUnavailable, match="DEADLINE_EXCEEDED"):
            await soon(bus.publish(TOPIC, outgoing(1)))
    assert server.count("Publish") == 1


async def test_large_publishes_go_out_one_request_after_the_other(server: PubSubServer, bus: Bus) -> None:
    messages = outgoing(2_500)

    ids = await soon(bus.publish(TOPIC, messages))

    assert [len(request.messages) for request in server.requests["Publish"]] == [1_000, 1_000, 500]
    assert server.most_active["Publish"] == 1
    assert server.waiting(PROJECT, SUB) == [message.data for message in messages]
    entries = server.subscriptions[f"projects/{PROJECT}/subscriptions/{SUB}"].entries
    assert ids == [entry.message.message_id for entry in entries]
    assert {entry.message.ordering_key for entry in entries} == {"account"}


async def test_the_next_request_waits_for_the_success_of_the_one_before(server: PubSubServer, bus: Bus) -> None:
    server.script("Publish", Stall())
    publishing = asyncio.create_task(bus.publish(TOPIC, outgoing(1_001)))
    await soon(server.arrived("Publish"))
    await asyncio.wait([publishing], timeout=0.1)
    assert server.count("Publish") == 1

    server.release()

    assert len(await soon(publishing)) == 1_001
    assert server.count("Publish") == 2


@pytest.mark.parametrize("fault", [Fail(StatusCode.UNAVAILABLE), Half(), Fail(StatusCode.NOT_FOUND)])
async def test_after_a_failed_request_the_rest_is_not_sent(server: PubSubServer, bus: Bus, fault: Any) -> None:
    server.script("Publish", Normal(), fault)

    with pytest.raises(BusError):
        await soon(bus.publish(TOPIC, outgoing(2_500)))

    assert server.count("Publish") == 2
    assert len(server.waiting(PROJECT, SUB)) == (1_500 if isinstance(fault, Half) else 1_000)
    assert len(await soon(bus.publish(TOPIC, outgoing(2_500)))) == 2_500  # the caller repeats all


async def test_requests_stay_below_ten_megabytes(server: PubSubServer, bus: Bus) -> None:
    await soon(bus.publish(TOPIC, outgoing(5, size=4_000_000)))

    assert [len(request.messages) for request in server.requests["Publish"]] == [2, 2, 1]
    await soon(bus.publish(TOPIC, outgoing(1, size=9_400_000)))


@pytest.mark.parametrize(
    ("message", "reason"),
    [(Outgoing(b"x" * 10_000_000), "10,000,0.. bytes; Pub/Sub takes at most 9,500,000"), (Outgoing(b""), "is empty")],
)
async def test_a_message_that_pub_sub_does_not_take_is_named_and_nothing_is_sent(
    server: PubSubServer, bus: Bus, message: Outgoing, reason: str
) -> None:
    with pytest.raises(BusError, match=f"Message 2 of 2 for projects/{PROJECT}/topics/{TOPIC} .*{reason}") as caught:
        await bus.publish(TOPIC, [Outgoing(b"good"), message])

    assert not isinstance(caught.value, BusUnavailable)
    assert server.count("Publish") == 0


async def test_different_ordering_keys_are_refused_before_anything_is_sent(server: PubSubServer, bus: Bus) -> None:
    with pytest.raises(ValueError):
        await bus.publish(TOPIC, [*outgoing(1, key="a"), *outgoing(1, key="b")])
    assert server.count("Publish") == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fail(StatusCode.NOT_FOUND, "gone"), "does not exist .gone.; run `exec-service setup`"),
        (Fail(StatusCode.PERMISSION_DENIED, "no"), "do not allow it .no.; grant .* roles/pubsub.publisher"),
        (Fail(StatusCode.UNAUTHENTICATED, "who"), "gcloud auth application-default login"),
        (Fail(StatusCode.INVALID_ARGUMENT, "too many attributes"), "refused .* too many attributes"),
    ],
)
async def test_what_needs_somebody_is_no_outage(server: PubSubServer, bus: Bus, fault: Fail, words: str) -> None:
    server.script("Publish", fault)
    with pytest.raises(BusError, match=words) as caught:
        await soon(bus.publish(TOPIC, outgoing(1)))

    assert type(caught.value) is BusError
    assert server.count("Publish") == 1


async def test_publishing_works_again_after_the_server_was_away_and_has_forgotten_everything(
    server: PubSubServer, bus: Bus
) -> None:
    await server.stop()
    with pytest.raises(BusUnavailable):
        await soon(bus.publish(TOPIC, outgoing(1)))
    server.forget()
    await server.start()
    with pytest.raises(BusError, match="does not exist"):
        await soon(publish_once_it_can_be_reached(bus))
    server.add_topic(PROJECT, TOPIC)

    assert len(await soon(bus.publish(TOPIC, outgoing(1)))) == 1


async def test_leaving_ends_a_publish_with_an_error_not_a_cancellation(server: PubSubServer) -> None:
    bus = await PubSubBus(PROJECT).__aenter__()
    server.script("Publish", Stall())
    publishing = asyncio.create_task(bus.publish(TOPIC, outgoing(1)))
    await soon(server.arrived("Publish"))
    await bus.__aexit__(None, None, None)

    with pytest.raises(BusUnavailable):
        await soon(publishing)


# ---------------------------------------------------------------------- acknowledging


async def test_a_short_failure_is_bridged(server: PubSubServer, bus: Bus) -> None:
    ids = await pulled(server, bus, 3)
    server.script("Acknowledge", Fail(StatusCode.UNAVAILABLE), Fail(StatusCode.INTERNAL, applied=True))

    await soon(bus.acknowledge(SUB, ids))

    assert server.count("Acknowledge") == 3
    assert server.acknowledged(PROJECT, SUB) == [b"0", b"1", b"2"]


async def test_a_long_failure_is_told_and_the_messages_come_again(server: PubSubServer, bus: Bus) -> None:
    server.add_subscription(PROJECT, SUB, TOPIC, ack_deadline_seconds=1)
    ids = await pulled(server, bus, 2)
    server.script("Acknowledge", *[Fail(StatusCode.UNAVAILABLE)] * 3)

    with pytest.raises(BusUnavailable, match="acknowledging to"):
        await soon(bus.acknowledge(SUB, ids))

    assert server.count("Acknowledge") == 3
    assert [message.data for message in await soon(bus.pull(SUB, 10))] == [b"0", b"1"]


async def test_acknowledging_takes_no_longer_than_one_time_out(server: PubSubServer) -> None:
    async with PubSubBus(PROJECT, timeout_seconds=0.3) as bus:
        ids = await pulled(server, bus, 1)
        server.script("Acknowledge", *[Stall()] * 3)
        with pytest.raises(BusUnavailable, match="DEADLINE_EXCEEDED"):
            await soon(bus.acknowledge(SUB, ids))


async def test_a_thousand_ids_per_request(server: PubSubServer) -> None:
    async with PubSubBus(PROJECT, max_outstanding=5_000) as bus:
        ids = await pulled(server, bus, 2_500)
        await soon(bus.acknowledge(SUB, ids))

    assert [len(request.ack_ids) for request in server.requests["Acknowledge"]] == [1_000, 1_000, 500]
    assert [ack_id for request in server.requests["Acknowledge"] for ack_id in request.ack_ids] == ids
    assert server.waiting(PROJECT, SUB) == []


def test_batches_of_ids_stay_below_the_size_of_a_request() -> None:
    ids = [f"{number:0700d}" for number in range(1_500)]
    batches = list(id_batches(ids))

    assert [ack_id for batch in batches for ack_id in batch] == ids
    assert all(len(batch) * 708 <= MAX_ACKNOWLEDGE_BYTES < GOOGLES_ACKNOWLEDGE_BYTES for batch in batches)
    assert len(batches) == 3
    assert list(id_batches([])) == []


async def test_an_id_that_pub_sub_refuses_costs_only_itself(server: PubSubServer, bus: Bus) -> None:
    ids = await pulled(server, bus, 20)

    await soon(bus.acknowledge(SUB, [*ids[:7], "of another subscription", *ids[7:]]))

    assert server.waiting(PROJECT, SUB) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [(StatusCode.NOT_FOUND, "run `exec-service setup`"), (StatusCode.PERMISSION_DENIED, "roles/pubsub.subscriber")],
)
async def test_an_acknowledgement_that_needs_somebody_is_not_tried_again(
    server: PubSubServer, bus: Bus, code: StatusCode, words: str
) -> None:
    ids = await pulled(server, bus, 1)
    server.script("Acknowledge", Fail(code))

    with pytest.raises(BusError, match=words):
        await soon(bus.acknowledge(SUB, ids))

    assert server.count("Acknowledge") == 1


async def test_acknowledging_nothing_asks_nothing(server: PubSubServer, bus: Bus) -> None:
    await bus.acknowledge(SUB, [])
    assert server.count("Acknowledge") == 0
