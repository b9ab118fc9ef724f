"""Telegram and the log files fail, on a real MongoDB and Pub/Sub emulator: orders and confirmations do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Real, World, order
from invariants import check
from telegram_server import TOKEN, TelegramServer

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
async def world(tmp_path: Path, real: Real) -> World:
    made = World(tmp_path, {"ACCOUNTS": json.dumps({"acc_1": {"name": "Main", "broker": "mock"}})}, real)
    await made.set_up()
    return made


def filled(telegram: TelegramServer) -> list[str]:
    """The signals whose orders Telegram was told to be filled, in order."""
    return [text.partition("Signal: ")[2].partition("\n")[0] for text in telegram.texts]


async def test_telegram_hangs_refuses_is_slow_down_and_gone_and_no_order_waits_for_it(world: World) -> None:
    """P7, P8."""
    sent = [f"{phase}_{number}" for phase in ("hangs", "errors", "gone") for number in range(5)]
    confirmations = []
    with contextlib.ExitStack() as stack:
        telegram = stack.enter_context(TelegramServer())
        world.variables |= {**telegram.variables, "NO_PROXY": "127.0.0.1", "LOG_LEVEL": "DEBUG"}
        telegram.misbehave(TelegramServer.hangs())
        with world.start() as service:
            await service.ready()
            await world.publish(*(order(name) for name in sent[:5]))
            confirmations += await confirmed(world, 5)
            # It is still hanging: whatever had waited for it would be waiting now.
            assert telegram.texts == []
            assert len(telegram.requests) == 1
            telegram.behave()
            await asyncio.to_thread(telegram.until, lambda: len(telegram.texts) >= 5, 30)
            assert sorted(set(filled(telegram))) == sent[:5]

            telegram.misbehave(
                TelegramServer.refuses("Bad Request: message is not to our taste"),
                TelegramServer.too_many(1),
                TelegramServer.fails(502),
                TelegramServer.hangs_up(),
            )
            before = len(telegram.texts)
            await world.publish(*(order(name) for name in sent[5:10]))
            confirmations += await confirmed(world, 5)
            await asyncio.to_thread(telegram.until, lambda: len(telegram.texts) == before + 4, 30)
            told = filled(telegram)[before:]
            (dropped,) = set(sent[5:10]) - set(told)
            line = await service.says("telegram will not take the notification")
            assert "dropped" in line
            assert "not to our taste" in line
            (letter,) = await world.load("orders", {"signal_id": dropped})
            assert letter["client_order_id"] in line

            telegram.misbehave(*[TelegramServer.hangs_up()] * 10)  # on the connection that is open
            stack.close()  # and nobody listens there any more
            await world.publish(*(order(name) for name in sent[10:]))
            confirmations += await confirmed(world, 5)
            await service.says("Delivery to notifier:telegram failed (try 3")
            assert await asyncio.to_thread(service.stop) == 0
    assert "Not delivered yet, the next start goes on with it: {'notifier:telegram': 5}" in service.console
    with TelegramServer() as telegram:
        world.variables |= telegram.variables
        with world.start() as service:
            await service.ready()
            await asyncio.to_thread(telegram.until, lambda: len(telegram.texts) >= 5, 30)
            await world.settled(15)
            assert await asyncio.to_thread(service.stop) == 0
        assert sorted(filled(telegram)) == sent[10:]
    assert (await check(world, sent, confirmations)).wrong == []
    secret = TOKEN.partition(":")[2].encode()
    for path in world.directory.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


async def confirmed(world: World, count: int) -> list[dict[str, object]]:
    """The next `count` confirmations: they come without anybody having been told."""
    found: list[dict[str, object]] = []
    async with asyncio.timeout(40):
        while len(found) < count:
            found += await world.confirmations()
    return found


class Disk:
    """Where the log files are, and whether it is full."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs

    def fill(self) -> None:
        """From now on nothing can be written to the log files."""
        raise NotImplementedError

    def free(self) -> None:
        """There is room again."""
        raise NotImplementedError


class FullDevice(Disk):
    """The files lead to a device that is always full."""

    def fill(self) -> None:
        self.logs.mkdir(exist_ok=True)
        for name in ("execution_service", "signal_processing"):
            (self.logs / f"{name}.log").symlink_to("/dev/full")

    def free(self) -> None:
        for name in ("execution_service", "signal_processing"):
            (self.logs / f"{name}.log").unlink()


class SmallFileSystem(Disk):
    """A file system of 64 kB, mounted for the test."""

    def fill(self) -> None:
        with (self.logs / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def free(self) -> None:
        (self.logs / "filler").unlink()


@pytest.fixture(params=["device", "file system"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    logs = tmp_path / "logs"
    if request.param == "device":
        if not Path("/dev/full").exists():
            pytest.skip("there is no /dev/full here")
        yield FullDevice(logs)
        return
    logs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "exec-tests", str(logs)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("a file system can be mounted by root only (in some containers not even so)")
    try:
        yield SmallFileSystem(logs)
    finally:
        subprocess.run(["umount", "-l", str(logs)], check=True)


async def test_orders_go_on_while_the_disk_of_the_log_files_is_full_and_the_console_says_so(
    world: World, disk: Disk
) -> None:
    """P8. What could not be written is written once there is room again."""
    sent = [f"o_{number}" for number in range(20)]
    disk.fill()
    with world.start() as service:
        await service.ready()
        await world.publish(*(order(name, symbol=f"S{name}") for name in sent))
        for name in ("execution_service", "signal_processing"):
            await service.says(f"{name}.log cannot be written: No space left on device; trying again")
        confirmations = await confirmed(world, 20)
        await world.settled(20)
        assert "Order filled" not in text(disk.logs / "signal_processing.log")
        disk.free()
        for name in ("execution_service", "signal_processing"):
            await service.says(f"{name}.log can be written again")
        assert await asyncio.to_thread(service.stop) == 0
    for name in ("execution_service", "signal_processing"):
        lines = text(disk.logs / f"{name}.log").splitlines()
        assert sorted(line.rpartition("(")[2] for line in lines if "| Order filled" in line) == sorted(
            f"{name})" for name in sent
        )
    assert (await check(world, sent, confirmations)).wrong == []


def text(path: Path) -> str:
    """What stands in a log file; nothing does in a device."""
    return path.read_text() if path.is_file() else ""
