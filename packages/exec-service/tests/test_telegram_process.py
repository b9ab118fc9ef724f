"""The service as users run it, with Telegram switched on: what arrives, and that nothing waits for a chat."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import World, order
from telegram_server import TOKEN, TelegramServer


@pytest.fixture
def telegram() -> Iterator[TelegramServer]:
    with TelegramServer() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, telegram: TelegramServer) -> World:
    return World(tmp_path, {**telegram.variables, "NO_PROXY": "127.0.0.1", "SHUTDOWN_TIMEOUT_SECONDS": "1"})


async def test_orders_are_told_and_the_token_is_written_nowhere(world: World, telegram: TelegramServer) -> None:
    world.variables |= {"LOG_LEVEL": "DEBUG", "SHUTDOWN_TIMEOUT_SECONDS": "25"}
    telegram.misbehave(TelegramServer.too_many(1), TelegramServer.fails(502), TelegramServer.hangs_up())
    await world.set_up()
    with world.start() as service:
        await service.ready()
        await world.publish(order("sig_1", price=235.15), order("sig_2", account_id=""))
        await asyncio.to_thread(telegram.until, lambda: len(telegram.texts) == 2)
        assert service.stop() == 0
    filled, rejected = sorted(telegram.texts)
    assert filled.startswith("[MOCK] ✅ Order Filled\n\nSignal: sig_1\nStrategy: Trend\nOrder: BUY 100 SPY @ $235.15\n")
    assert rejected.startswith("[MOCK] ❌ Order Rejected\n\nSignal: sig_2\n")
    for path in world.directory.rglob("*"):
        if path.is_file():
            assert TOKEN.partition(":")[2].encode() not in path.read_bytes(), path


async def test_a_telegram_that_hangs_holds_up_no_order_and_no_stop_and_the_next_start_tells_of_all_in_one(
    world: World, telegram: TelegramServer
) -> None:
    telegram.misbehave(*[TelegramServer.hangs(takes_it=False)] * 100)
    await world.set_up()
    with world.start() as service:
        await service.ready()
        await world.publish(*(order(f"sig_{number}") for number in range(30)))
        async with asyncio.timeout(30):
            heard: list[str] = []
            while len(heard) < 30:
                heard += [message["signal_id"] for message in await world.confirmations()]
        # Telegram answers nothing until the test says so: only a stop that does not wait for it ends now.
        assert service.stop(seconds=20) == 0
        assert "Traceback" not in service.console
    assert telegram.requests
    assert telegram.texts == []
    telegram.behave()
    with world.start() as service:
        await service.ready()
        await asyncio.to_thread(telegram.until, lambda: len(telegram.texts) == 1)
        assert service.stop() == 0
    assert telegram.texts[0].startswith("[MOCK] 📋 30 Notifications\n\n✅ Order Filled: 30")
    assert await world.load("outbox", {"delivered_at": None}) == []
