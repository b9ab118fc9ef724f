"""Pulling from Pub/Sub: what is leased is never lost, and never too much."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from exec_service.buses import Bus, BusError, BusUnavailable
from exec_service.buses import pubsub_pulling as pulling
from exec_service.buses.pubsub import PubSubBus
from exec_service.buses.pubsub_connection import Connection
from grpc import StatusCode
from pubsub_faults import Empty, Fail, Late, Normal, Repeated, Reversed, Stall, Surplus
from pubsub_server import PubSubServer
from pubsub_trying import (
    MOMENT_SECONDS,
    PATIENCE_SECONDS,
    PROJECT,
    SUB,
    TOPIC,
    abandoned_pull,
    bodies,
    soon,
    stays_waiting,
    until,
)

pytest_plugins = ["pubsub_fixtures"]
pytestmark = pytest.mark.usefixtures("long_pulls")


# ---------------------------------------------------------------------- one request at a time, and its messages


async def test_what_a_cancelled_pull_had_asked_for_is_kept_in_order_for_the_next_ones(
    server: PubSubServer, bus: Bus
) -> None:
    await abandoned_pull(server, bus)
    server.published(PROJECT, TOPIC, b"1", b"2", b"3", b"4", b"5")
    await until(server, lambda: len(server.leased(PROJECT, SUB)) == 5)

    assert bodies(await soon(bus.pull(SUB, 2))) == [b"1", b"2"]
    assert bodies(await soon(bus.pull(SUB, 2))) == [b"3", b"4"]
    assert bodies(await soon(bus.pull(SUB, 2))) == [b"5"]
    assert server.count("Pull") == 1


async def test_one_request_is_under_way_per_subscription_whoever_pulls(server: PubSubServer, bus: Bus) -> None:
    for _ in range(3):
        await abandoned_pull(server, bus) if not server.count("Pull") else None
        pulls = [asyncio.create_task(bus.pull(SUB, 1)) for _ in range(3)]
        server.published(PROJECT, TOPIC, b"1", b"2", b"3")
        found = [body for pull in pulls for body in bodies(await soon(pull))]
        assert sorted(found) == [b"1", b"2", b"3"]
    assert server.most_active["Pull"] == 1


async def test_nothing_is_asked_for_before_somebody_pulls_nor_more_than_that(server: PubSubServer, bus: Bus) -> None:
    server.published(PROJECT, TOPIC, b"1", b"2", b"3")
    assert bodies(await soon(bus.pull(SUB, 2))) == [b"1", b"2"]

    assert server.leased(PROJECT, SUB) == [b"1", b"2"]
    assert [request.max_messages for request in server.requests["Pull"]] == [2]
    assert not server.requests["Pull"][0].return_immediately


async def test_a_server_that_hands_out_more_than_asked_for_floods_nobody(server: PubSubServer, bus: Bus) -> None:
    server.script("Pull", Surplus())
    server.published(PROJECT, TOPIC, b"1", b"2", b"3")

    assert [bodies(await soon(bus.pull(SUB, 1))) for _ in range(3)] == [[b"1"], [b"2"], [b"3"]]
    assert server.count("Pull") == 1


async def test_empty_answers_and_time_outs_are_asked_again(server: PubSubServer, bus: Bus) -> None:
    server.script("Pull", Empty(), Fail(StatusCode.DEADLINE_EXCEEDED), Empty())
    server.published(PROJECT, TOPIC, b"1")

    assert bodies(await soon(bus.pull(SUB, 1))) == [b"1"]
    assert server.count("Pull") == 4


async def test_a_pull_that_stalls_is_given_up_and_asked_again(
    server: PubSubServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("Pull", Stall())
    server.published(PROJECT, TOPIC, b"1")
    monkeypatch.setattr(Connection, "pull_timeout_seconds", 1.2)

    assert bodies(await soon(bus.pull(SUB, 1))) == [b"1"]


async def test_a_long_poll_that_ends_without_messages_was_heard_all_the_same(server: PubSubServer, bus: Bus) -> None:
    """Else a subscription that is quiet all night would be taken for one that hangs."""
    server.script("Pull", Fail(StatusCode.DEADLINE_EXCEEDED))
    assert bus.heard_at is None
    pulling = asyncio.create_task(bus.pull(SUB, 1))
    await soon(server.arrived("Pull", 2))
    assert bus.heard_at is not None
    pulling.cancel()
    await asyncio.wait([pulling])


async def test_repeated_deliveries_pass_through(server: PubSubServer, bus: Bus) -> None:
    server.script("Pull", Repeated())
    server.published(PROJECT, TOPIC, b"1", b"2")

    assert sorted(bodies(await soon(bus.pull(SUB, 10)))) == [b"1", b"1", b"2", b"2"]


async def test_an_answer_of_a_subscription_without_order_is_put_in_order(server: PubSubServer, bus: Bus) -> None:
    server.script("Pull", Reversed())
    for number in range(12):
        server.published(PROJECT, TOPIC, str(number).encode())

    assert bodies(await soon(bus.pull(SUB, 20))) == [str(number).encode() for number in range(12)]


# ---------------------------------------------------------------------- bounds


async def test_what_is_not_acknowledged_is_bounded_and_acknowledging_makes_room(server: PubSubServer) -> None:
    async with PubSubBus(PROJECT, max_outstanding=5) as bus:
        server.published(PROJECT, TOPIC, *(str(number).encode() for number in range(9)))
        first = await soon(bus.pull(SUB, 3)) + await soon(bus.pull(SUB, 10))
        assert bodies(first) == [b"0", b"1", b"2", b"3", b"4"]
        waiting = asyncio.create_task(bus.pull(SUB, 10))
        await stays_waiting(waiting)
        assert server.count("Pull") == 2

        await bus.acknowledge(SUB, [message.ack_id for message in first[:2]])

        assert bodies(await soon(waiting)) == [b"5", b"6"]
        assert [request.max_messages for request in server.requests["Pull"]] == [3, 2, 2]


async def test_two_who_wait_for_room_do_not_both_take_it(server: PubSubServer) -> None:
    async with PubSubBus(PROJECT, max_outstanding=1) as bus:
        server.published(PROJECT, TOPIC, b"1", b"2", b"3")
        (first,) = await soon(bus.pull(SUB, 1))
        pulls = [asyncio.create_task(bus.pull(SUB, 1)) for _ in range(2)]
        await stays_waiting(pulls[0])

        await bus.acknowledge(SUB, [first.ack_id])
        done, waiting = await soon(asyncio.wait(pulls, return_when=asyncio.FIRST_COMPLETED))

        await stays_waiting(waiting.pop())
        assert bodies(await done.pop()) == server.leased(PROJECT, SUB) == [b"2"]
    await asyncio.wait(pulls)
    assert isinstance(pulls[1].exception(), BusUnavailable)


async def test_leases_that_have_ended_make_room_too(server: PubSubServer) -> None:
    server.add_subscription(PROJECT, SUB, TOPIC, ack_deadline_seconds=1)
    async with PubSubBus(PROJECT, max_outstanding=2) as bus:
        server.published(PROJECT, TOPIC, b"1", b"2", b"3")
        assert bodies(await soon(bus.pull(SUB, 10))) == [b"1", b"2"]
        assert bodies(await soon(bus.pull(SUB, 10))) == [b"1", b"2"]


async def test_what_waited_here_beyond_its_ack_deadline_is_not_handed_out(
    server: PubSubServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "IDLE_SECONDS", 600.0)
    server.add_subscription(PROJECT, SUB, TOPIC, ack_deadline_seconds=1)
    await abandoned_pull(server, bus)
    server.published(PROJECT, TOPIC, b"1")
    await until(server, lambda: server.leased(PROJECT, SUB))
    await until(server, lambda: not server.leased(PROJECT, SUB))
    await asyncio.sleep(MOMENT_SECONDS)  # our clock starts when the answer has arrived

    (message,) = await soon(bus.pull(SUB, 10))
    await bus.acknowledge(SUB, [message.ack_id])

    assert server.acknowledged(PROJECT, SUB) == [b"1"]  # a late acknowledgement would have been ignored
    assert server.waiting(PROJECT, SUB) == []


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (StatusCode.UNAVAILABLE, BusUnavailable),
        (StatusCode.ABORTED, BusUnavailable),
        (StatusCode.INTERNAL, BusUnavailable),
        (StatusCode.RESOURCE_EXHAUSTED, BusUnavailable),
        (StatusCode.CANCELLED, BusUnavailable),
        (StatusCode.UNKNOWN, BusUnavailable),
        (StatusCode.NOT_FOUND, BusError),
        (StatusCode.PERMISSION_DENIED, BusError),
        (StatusCode.UNAUTHENTICATED, BusError),
        (StatusCode.FAILED_PRECONDITION, BusError),
        (StatusCode.INVALID_ARGUMENT, BusError),
        (StatusCode.UNIMPLEMENTED, BusError),
        (StatusCode.DATA_LOSS, BusError),
    ],
)
async def test_a_failed_pull_is_told_at_once_and_the_next_works(
    server: PubSubServer, bus: Bus, code: StatusCode, kind: type[BusError]
) -> None:
    server.script("Pull", Fail(code))
    server.published(PROJECT, TOPIC, b"1")

    with pytest.raises(BusError, match=f"subscription {SUB} of the project {PROJECT}") as caught:
        await soon(bus.pull(SUB, 1))

    assert type(caught.value) is kind
    assert server.count("Pull") == 1
    assert bodies(await soon(bus.pull(SUB, 1))) == [b"1"]


async def test_a_failure_that_nobody_waited_for_is_old_news(server: PubSubServer, bus: Bus) -> None:
    server.script("Pull", Stall())
    await abandoned_pull(server, bus)
    await server.restart()  # the request fails
    server.published(PROJECT, TOPIC, b"1")
    await asyncio.sleep(MOMENT_SECONDS)

    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                assert bodies(await bus.pull(SUB, 1)) == [b"1"]
                break
            except BusUnavailable:
                continue


@pytest.fixture
async def narrow_bus(server: PubSubServer) -> AsyncIterator[Bus]:
    """A bus that takes one message at a time."""
    async with PubSubBus(PROJECT, max_outstanding=1) as bus:
        yield bus


async def test_a_server_that_has_forgotten_everything_is_used_again_once_it_is_set_up(
    server: PubSubServer, narrow_bus: Bus
) -> None:
    bus = narrow_bus
    waiting = asyncio.create_task(bus.pull(SUB, 1))
    await soon(server.arrived("Pull"))
    server.forget()
    with pytest.raises(BusError, match=r"does not exist .* run `exec-service setup`"):
        await soon(waiting)
    with pytest.raises(BusError, match="does not exist"):
        await soon(bus.pull(SUB, 1))

    server.add_topic(PROJECT, TOPIC)
    server.add_subscription(PROJECT, SUB, TOPIC, ack_deadline_seconds=1)
    server.published(PROJECT, TOPIC, b"1")

    assert bodies(await soon(bus.pull(SUB, 1))) == [b"1"]
    assert bodies(await soon(bus.pull(SUB, 1))) == [b"1"]  # after the ack deadline, which is another now


async def test_a_subscription_that_may_not_be_looked_at_is_pulled_from(server: PubSubServer, bus: Bus) -> None:
    server.script("GetSubscription", Fail(StatusCode.PERMISSION_DENIED))
    server.published(PROJECT, TOPIC, b"1")

    assert bodies(await soon(bus.pull(SUB, 1))) == [b"1"]


async def test_a_pull_survives_every_fault_at_once_and_loses_nothing(
    server: PubSubServer, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages come while requests fail, come late, twice and in disorder, and pulls are cancelled."""
    caplog.set_level(logging.ERROR)
    faults = [Fail(StatusCode.UNAVAILABLE), Late(0.01), Repeated(), Empty(), Reversed(), Surplus(), Normal()]
    server.script("Pull", *faults * 20)
    names = {str(number).encode() for number in range(100)}
    seen: set[bytes] = set()

    async def publish() -> None:
        for name in sorted(names):
            server.published(PROJECT, TOPIC, name, ordering_key=name[:1].decode())
            await asyncio.sleep(0.001)

    publishing = asyncio.create_task(publish())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while seen != names:
            try:
                async with asyncio.timeout(0.02):
                    messages = await bus.pull(SUB, 7)
            except (TimeoutError, BusUnavailable):
                continue
            assert len(messages) <= 7
            seen.update(bodies(messages))
            await bus.acknowledge(SUB, [message.ack_id for message in messages])
    await publishing

    assert server.waiting(PROJECT, SUB) == []
