"""``exec-service run --workers N``: the parent and its workers, as users run them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
from pathlib import Path

import psutil
import pytest
from harness import PATIENCE, READY, Service, World, order, until
from invariants import check

#: Several processes each, which start slowly where all the tests run at once.
pytestmark = pytest.mark.timeout(400)

ACCOUNTS = [f"acc_{number}" for number in range(8)]
VARIABLES = {
    "ACCOUNTS": json.dumps({name: {"broker": "mock"} for name in ACCOUNTS}),
    "WORKER_ID": "w",
    # A lease that runs out, and a stop that takes long, are no part of this: only a slow machine would make them so.
    "WORKER_LEASE_SECONDS": "300",
    "SHUTDOWN_TIMEOUT_SECONDS": "120",
}


class Workers(World):
    """A world whose service is so many workers."""

    def __init__(self, directory: Path, variables: dict[str, str], *, count: int) -> None:
        super().__init__(directory, variables)
        self.count = count

    @property
    def where(self) -> tuple[str, ...]:
        return (*super().where, "--workers", str(self.count))


def orders(share: str) -> list[dict[str, object]]:
    """Two orders for each account."""
    return [
        order(f"{share}_{account}_{number}", account_id=account, symbol=f"S{number}")
        for account in ACCOUNTS
        for number in range(2)
    ]


def process_of(service: Service, worker: str) -> int:
    """The process that the worker is by now."""
    return int(re.findall(rf"Worker {worker} is process (\d+)$", service.console, re.MULTILINE)[-1])


def ports_in_a_row(count: int) -> int:
    """The first of so many ports that are all free, of those that the system gives to nobody by itself."""
    while True:
        first = random.randrange(20_000, 30_000)
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first


async def all_ready(service: Service, count: int, times: int = 1) -> None:
    """Wait until it has said so often that all of them are ready."""

    async def said() -> bool:
        if service.process.poll() is not None:
            raise AssertionError(f"it ended with {service.process.returncode}:\n{service.console}")
        return service.console.count(f"is ready: {count} of {count}\n") >= times

    await until(said, seconds=PATIENCE, what=lambda: f"all are ready, {times} times:\n{service.console}")


async def test_a_killed_worker_comes_back_and_each_order_is_placed_once(tmp_path: Path) -> None:
    world = Workers(tmp_path, {**VARIABLES, "HEALTH_PORT": str(ports_in_a_row(3))}, count=3)
    await world.set_up()
    with world.start() as service:
        await all_ready(service, 3)

        async def all_have_said_so() -> bool:
            return service.console.count(READY) == 3

        await until(all_have_said_so, seconds=PATIENCE, what="all three have said so themselves")
        await world.publish(*orders("a"))
        os.kill(process_of(service, "w-2"), signal.SIGKILL)
        await world.publish(*orders("b"))
        await all_ready(service, 3, times=2)
        await world.publish(*orders("c"))
        await world.settled(48)
        assert await asyncio.to_thread(service.stop) == 0, service.console
    sent = [str(message["signal_id"]) for share in "abc" for message in orders(share)]
    found = await check(world, sent, await world.confirmations())
    assert found.wrong == []
    assert (found.orders, found.at_broker + len(found.not_placed)) == (48, 48)
    assert "was ended by SIGKILL: starting it again" in service.console
    first = int(world.variables["HEALTH_PORT"])
    logs = {path.name: path.read_text() for path in (tmp_path / "logs").glob("*.log")}
    for number in (1, 2, 3):
        log = logs["execution_service.log" if number == 1 else f"execution_service.{number}.log"]
        assert log.count(READY) == (2 if number == 2 else 1)
        assert f"Health is answered on 127.0.0.1 port {first + number - 1}:" in log
        assert "starting it again" not in log
    assert logs["execution_service.workers.log"].count("Worker w-2 is process") == 2
    assert len(logs) == 7
    rows = {state.worker_id: state for state in await _workers(world)}
    assert sorted(rows) == ["w-1", "w-2", "w-3"]
    assert all(state.released for state in rows.values())


async def test_when_the_parent_is_killed_its_workers_stop_and_a_new_parent_starts_at_once(tmp_path: Path) -> None:
    """Each worker waits for the one before it under its id: for one that was started by hand, and for orphans."""
    world = Workers(tmp_path, VARIABLES, count=2)
    await world.set_up()
    with World(tmp_path, {**VARIABLES, "WORKER_ID": "w-1"}).start() as before:
        await before.ready()
        with world.start() as first:
            line = await first.says("Waiting, because a worker of an earlier start may be about to end")
            assert f"worker w-1 is running already: process {before.process.pid}" in line
            assert await asyncio.to_thread(before.stop) == 0
            await all_ready(first, 2)
            orphans = [psutil.Process(process_of(first, f"w-{number}")) for number in (1, 2)]
            await world.publish(*orders("a"))
            first.kill()
    with world.start() as second:
        await all_ready(second, 2)
        await world.publish(*orders("b"))
        await world.settled(32)
        assert await asyncio.to_thread(second.stop) == 0, second.console
    _, alive = await asyncio.to_thread(psutil.wait_procs, orphans, timeout=PATIENCE)
    assert alive == []
    assert first.console.count("has ended without a word: stopping") == 2
    assert "was ended by" not in second.console
    sent = [str(message["signal_id"]) for share in "ab" for message in orders(share)]
    found = await check(world, sent, await world.confirmations())
    assert found.wrong == []
    assert (found.orders, found.at_broker) == (32, 32)


async def _workers(world: World) -> list[object]:
    async with world.store() as store:
        return list(await store.workers())
