"""What the tests of the Pub/Sub bus on our own server share: names, patience, and pulls that are cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from exec_service.buses import Bus, Message
from pubsub_server import PubSubServer

PROJECT, TOPIC, SUB = "project", "orders", "orders-sub"
#: For what must happen: only a failing test waits so long.
PATIENCE_SECONDS = 60.0
#: For what must not happen.
MOMENT_SECONDS = 0.1


def bodies(messages: list[Message]) -> list[bytes]:
    return [message.data for message in messages]


async def soon(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await awaitable


async def until(server: PubSubServer, condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await server.changed(0.01)


async def stays_waiting(task: asyncio.Task[Any]) -> None:
    done, _ = await asyncio.wait([task], timeout=MOMENT_SECONDS)
    assert not done, task.result()


async def abandoned_pull(server: PubSubServer, bus: Bus, count: int = 10) -> None:
    """A pull whose request has arrived, cancelled: the request waits on."""
    before = server.count("Pull")
    task = asyncio.create_task(bus.pull(SUB, count))
    await soon(server.arrived("Pull", before + 1))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
