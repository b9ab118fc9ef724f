"""SIGTERM where it is awkward: while the service starts, and where something will not let go."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import PATIENCE, Real, World, order, until

STOPPED = "Stopped before everything was open"
AT_LAST = "The stop took longer than SHUTDOWN_TIMEOUT_SECONDS (1 s): ending now"
#: A notifier that never comes to an end in one place.
CLINGING = """
import asyncio
from exec_core import NotifierPlugin, PluginSettings, hookimpl
from pydantic_settings import SettingsConfigDict

class Settings(PluginSettings):
    model_config = SettingsConfigDict(env_prefix="CLINGING_")
    hangs: str = ""

class Clinging:
    def __init__(self, hangs):
        self.hangs = hangs
    async def __aenter__(self):
        await self.reach("entering")
        return self
    async def __aexit__(self, *args):
        await self.reach("leaving")
    async def send(self, notification):
        pass
    async def reach(self, place):
        if self.hangs == place:
            print(f"hangs while {place}", flush=True)
            await asyncio.Event().wait()

@hookimpl
def exec_register_notifier():
    return NotifierPlugin("clinging", Settings, lambda settings: Clinging(settings.hangs))
"""


@pytest.fixture
def away(tmp_path: Path) -> Callable[[int], World]:
    """A world whose database is at that port of this machine; its bus is never come to."""

    def made(port: int) -> World:
        place = f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"
        return World(tmp_path, {"STARTUP_TIMEOUT_SECONDS": "600"}, Real(place, "never", "127.0.0.1:1", "never"))

    return made


@pytest.fixture
def clinging(tmp_path: Path) -> Callable[[str], World]:
    """An embedded world with a notifier installed that hangs in the place named."""
    site = tmp_path / "site"
    info = site / "clinging-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "clinging.py").write_text(CLINGING)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clinging\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[exec_core]\nclinging = clinging\n")
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))

    def made(hangs: str) -> World:
        variables = {"PYTHONPATH": path, "CLINGING_HANGS": hangs, "SHUTDOWN_TIMEOUT_SECONDS": "1"}
        return World(tmp_path / "world", variables)

    return made


async def test_a_stop_while_the_database_has_not_answered_yet_is_at_once_and_in_good_order(
    away: Callable[[int], World],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        with away(silent.getsockname()[1]).start() as service:
            connection, _ = await asyncio.to_thread(silent.accept)
            with connection:
                assert await asyncio.to_thread(service.stop) == 0, service.console
    assert STOPPED in service.console
    assert AT_LAST.partition(" (")[0] not in service.console


async def test_a_stop_between_two_tries_is_at_once_and_in_good_order(away: Callable[[int], World]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        with away(taken.getsockname()[1]).start() as service:
            await service.says("Not ready yet, trying again")
            assert await asyncio.to_thread(service.stop) == 0, service.console
    assert STOPPED in service.console


async def test_a_start_that_hangs_in_a_plugin_is_ended_at_last(clinging: Callable[[str], World]) -> None:
    with clinging("entering").start() as service:
        await service.says("hangs while entering")
        assert await asyncio.to_thread(service.stop) == 1, service.console
    assert AT_LAST in service.console


async def test_a_stop_that_hangs_in_a_plugin_is_ended_at_last_and_nothing_is_lost(
    clinging: Callable[[str], World],
) -> None:
    world = clinging("leaving")

    async def resting() -> bool:
        return [found["status"] for found in await world.load("orders")] == ["SUBMITTED"]

    await world.set_up()
    with world.start() as service:
        await service.ready()
        await world.publish(order("sig_1", order_type="LIMIT", limit_price=1, price=235))
        await until(resting, seconds=PATIENCE, what="the order rests at the broker")
        assert await asyncio.to_thread(service.stop) == 1, service.console
    assert "hangs while leaving" in service.console
    assert AT_LAST in service.console
    world.variables["CLINGING_HANGS"] = ""
    with world.start() as service:
        await service.ready()
        (known,) = await world.load("orders")
        assert (known["signal_id"], known["status"]) == ("sig_1", "SUBMITTED")
        assert await asyncio.to_thread(service.stop) == 0, service.console
    assert len(world.book()["orders"]) == 1
