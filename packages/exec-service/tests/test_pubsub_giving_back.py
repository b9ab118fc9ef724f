"""What the Pub/Sub bus has pulled and nobody wants is given back at once: another worker may be waiting for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from exec_service.buses import Bus, BusUnavailable
from exec_service.buses import pubsub_pulling as pulling
from exec_service.buses.pubsub import PubSubBus
from exec_service.buses.pubsub_connection import Connection
from grpc import StatusCode
from pubsub_faults import Fail, Late, Stall, Surplus
from pubsub_server import PubSubServer
from pubsub_trying import (
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


async def test_leaving_gives_back_at_once_what_was_not_acknowledged(server: PubSubServer) -> None:
    async with PubSubBus(PROJECT) as bus:
        server.published(PROJECT, TOPIC, b"1", b"2", b"3")
        messages = await soon(bus.pull(SUB, 2))
        await bus.acknowledge(SUB, [messages[0].ack_id])
        await abandoned_pull(server, bus)
        await until(server, lambda: len(server.leased(PROJECT, SUB)) == 2)

    assert server.leased(PROJECT, SUB) == []
    assert server.waiting(PROJECT, SUB) == [b"2", b"3"]
    assert all(request.ack_deadline_seconds == 0 for request in server.requests["ModifyAckDeadline"])
    assert messages[0].ack_id not in server.requests["ModifyAckDeadline"][0].ack_ids
    await soon(server.idle("Pull"))


async def test_an_answer_that_is_on_its_way_while_leaving_is_given_back_too(
    server: PubSubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "grace_seconds", PATIENCE_SECONDS)
    async with PubSubBus(PROJECT) as bus:
        server.script("Pull", Late(0.3))
        server.published(PROJECT, TOPIC, b"1")
        await abandoned_pull(server, bus)
        assert server.leased(PROJECT, SUB) == [b"1"]

    assert server.leased(PROJECT, SUB) == []


@pytest.mark.parametrize("fault", [Fail(StatusCode.UNAVAILABLE), Fail(StatusCode.INVALID_ARGUMENT), Stall()])
async def test_leaving_never_fails_nor_takes_long(
    server: PubSubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Any
) -> None:
    monkeypatch.setattr(pulling, "GIVE_BACK_SECONDS", 0.2)
    server.script("ModifyAckDeadline", fault)
    async with PubSubBus(PROJECT) as bus:
        server.published(PROJECT, TOPIC, b"1")
        await soon(bus.pull(SUB, 2))

    assert "1 messages will be delivered again only after their ack deadline" in caplog.text
    assert server.leased(PROJECT, SUB) == [b"1"]


async def test_what_nobody_pulls_any_more_goes_to_another_worker(
    server: PubSubServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "IDLE_SECONDS", 0.1)
    server.published(PROJECT, TOPIC, b"in work")
    (in_work,) = await soon(bus.pull(SUB, 10))
    server.script("Pull", Surplus())
    server.published(PROJECT, TOPIC, b"1", b"2", b"3")
    assert bodies(await soon(bus.pull(SUB, 1))) == [b"1"]  # the others wait here

    async with PubSubBus(PROJECT) as other:
        assert bodies(await soon(other.pull(SUB, 10))) == [b"2", b"3"]
        await abandoned_pull(server, bus)
        await soon(server.idle("Pull"))
        server.published(PROJECT, TOPIC, b"4")
        assert bodies(await soon(other.pull(SUB, 10))) == [b"4"]

    assert set(server.leased(PROJECT, SUB)) == {b"in work", b"1"}
    server.published(PROJECT, TOPIC, b"5")
    assert b"5" in bodies(await soon(bus.pull(SUB, 10)))  # and it goes on as before
    await bus.acknowledge(SUB, [in_work.ack_id])
    assert server.acknowledged(PROJECT, SUB) == [b"in work"]


async def test_a_pull_in_time_keeps_what_waits_here(
    server: PubSubServer, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "IDLE_SECONDS", 0.1)
    await abandoned_pull(server, bus)
    waiting = asyncio.create_task(bus.pull(SUB, 10))
    await asyncio.sleep(0.3)  # longer than it would have been given up
    server.published(PROJECT, TOPIC, b"1")

    assert bodies(await soon(waiting)) == [b"1"]
    assert server.count("Pull") == 1


async def test_who_waits_is_told_that_the_bus_was_left_and_it_can_be_entered_again(server: PubSubServer) -> None:
    bus = await PubSubBus(PROJECT).__aenter__()
    waiting = asyncio.create_task(bus.pull(SUB, 1))
    await soon(server.arrived("Pull"))
    await bus.__aexit__(None, None, None)

    with pytest.raises(BusUnavailable):
        await soon(waiting)
    with pytest.raises(BusUnavailable):
        await bus.pull(SUB, 1)
    with pytest.raises(BusUnavailable):
        await bus.acknowledge(SUB, ["delivery-1"])
    await soon(server.idle("Pull"))
    async with bus:
        server.published(PROJECT, TOPIC, b"1")
        assert bodies(await soon(bus.pull(SUB, 1))) == [b"1"]


async def test_who_waits_for_room_is_told_that_the_bus_was_left(server: PubSubServer) -> None:
    bus = await PubSubBus(PROJECT, max_outstanding=1).__aenter__()
    server.published(PROJECT, TOPIC, b"1")
    await soon(bus.pull(SUB, 1))
    waiting = asyncio.create_task(bus.pull(SUB, 1))
    await stays_waiting(waiting)
    await bus.__aexit__(None, None, None)

    with pytest.raises(BusUnavailable):
        await soon(waiting)
