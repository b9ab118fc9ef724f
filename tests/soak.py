"""Runs the service for long under a mixed load, while one thing after another breaks, and looks at what it uses.

    python tests/soak.py [--minutes 30] [--rate 3] [--workers 2] [--accounts 8] [--every 20 60] [--seed N]
                         [--record FILE] [--keep]

Real mongod, Pub/Sub emulator, a Telegram on loopback, the mock venue with people in it. All kinds of orders, repeats,
contradictions and garbage come at an even rate; a fault comes every 20 to 60 s, one at a time. At the end everything
must settle, and be as `invariants` wants it; each order must have ended as its kind must, each message that is none
must be a dead letter, and Telegram must have been told everything but what it refused. Memory, open files and queues
are recorded every 10 s. The first worker is spared from being killed after the first third of the run, so that its
memory can be looked at for long. Ends with 1 and the seed if something is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaos import SLOTS
from chaos_bus import Servers, heard_all, real_components, set_up
from chaos_door import Door, shares, summary
from chaos_workers import Fleet
from exec_core.notifier import Notification
from exec_service.notifiers.telegram_text import fitted
from harness import Listener, Real, World, until
from invariants import check
from producer import Producer
from raw_documents import raw_database
from soak_faults import Mischief
from soak_load import ends_wrong, make
from soak_measure import Meter, absurd, markdown
from soak_people import People, counted
from telegram_server import Answer, Request, TelegramServer

LEASE_SECONDS = 15.0
SETTLED_WITHIN_SECONDS = 300.0
DATABASE = PROJECT = "soak"
DIGEST = re.compile(r"📋 ([\d,]+) Notifications")


class Telegram(TelegramServer):
    """One that remembers what it has refused for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []

    def answer(self, request: Request) -> Answer:
        """What to send back."""
        given = super().answer(request)
        if given.status == 400:
            self.refused.append(request.payload["text"])
        return given


def say(text: str) -> None:
    """A note for whoever watches."""
    print(f"{datetime.now(UTC):%H:%M:%S}  {text}", flush=True)


async def run(
    world: World, servers: Servers, telegram: Telegram, options: argparse.Namespace, dice: random.Random
) -> dict[str, Any]:
    """The whole run; what is to be recorded."""
    if world.real is None:
        raise RuntimeError("a soak run wants the real components")
    seconds = options.minutes * 60.0
    accounts = tuple(f"acc_{number}" for number in range(1, options.accounts + 1))
    load = make(round(options.rate * seconds), dice, accounts)
    await set_up(world)
    door = Door(world.directory / "door")
    fleet = Fleet(world, dice, door, options.workers, LEASE_SECONDS, say)
    producer = Producer(world, load.messages, random.Random(dice.random()))
    try:
        async with producer, Listener(world) as listener, People(world, accounts) as people:
            await fleet.running()
            begin = time.monotonic()
            mischief = Mischief(world, dice, producer, servers, fleet, people.faults, telegram, say)
            mischief.spares_first_from = begin + seconds / 3
            async with Meter(world.real, servers, fleet, producer) as meter:
                pacing = asyncio.create_task(pace(producer, options.rate, len(load.messages)))
                try:
                    while (left := begin + seconds - time.monotonic()) > 0:
                        await asyncio.sleep(min(left, dice.uniform(*options.every)))
                        if time.monotonic() < begin + seconds:
                            await mischief.strike()
                finally:
                    pacing.cancel()
                mischief.clear()
                await fleet.running()
                producer.allow(len(load.messages))
                await producer.finished()
                say(f"all {len(load.messages)} messages are published; waiting until everything has ended")
                since = time.monotonic()
                await world.settled(len(load.signal_ids), seconds=SETTLED_WITHIN_SECONDS)
                settled_seconds = time.monotonic() - since
                say(f"everything settled within {settled_seconds:.0f} s")
                await until(
                    lambda: caught_up(world.real, people),
                    seconds=SETTLED_WITHIN_SECONDS,
                    what="every execution and correction is booked",
                )
                caught_up_seconds = time.monotonic() - since
                say(f"every correction booked within {caught_up_seconds:.0f} s")
                await until(
                    lambda: served(door, fleet, accounts), seconds=60, what="every account is served by one worker"
                )
            for worker in fleet.workers:
                await fleet.stop(worker)
        await heard_all(world, listener, mischief.bus_lost)
        confirmations = list(listener.heard)
    finally:
        fleet.end()
    found = await check(world, load.signal_ids, confirmations, bus_lost=mischief.bus_lost, refused=load.refused)
    wrong = [*found.wrong, *ends_wrong(await world.load("orders")), *door.wrong(), *absurd(meter.table())]
    wrong += untold(await world.load("outbox", {"channel": "notifier:telegram"}), telegram)
    if len(found.not_placed) > fleet.accounts_killed * SLOTS + mischief.done["broker_misbehaves"] * 4:
        wrong.append(f"{len(found.not_placed)} orders were not placed")
    return {
        "messages": len(load.messages),
        "orders": found.orders,
        "at_the_broker": found.at_broker,
        "executions": found.fills,
        "by_status": dict(found.by_status),
        "not_placed": len(found.not_placed),
        "dead_letters": len(load.refused),
        "confirmations": len(confirmations),
        "confirmations_lost_with_the_bus": len(found.lost),
        "told_by_telegram": len(telegram.texts),
        "faults": counted(mischief.done),
        "people": counted(people.acts),
        "settled_seconds": round(settled_seconds, 1),
        "caught_up_seconds": round(caught_up_seconds, 1),
        "take_over": {how: summary(times) for how, times in sorted(door.take_overs().items())},
        "late_cancels": len(door.late("cancel")),
        "table": [asdict(row) for row in meter.table()],
        "markdown": markdown(meter.table()),
        "series": {
            name: [(point.at, point.pid, point.value) for point in points] for name, points in meter.series.items()
        },
        "wrong": wrong,
    }


async def caught_up(real: Real | None, people: People) -> bool:
    """Whether the venue's people are done, and all that they did is booked."""

    def booked() -> set[str]:
        if real is None:
            return set()
        with raw_database(real) as database:
            return {row["_id"].rpartition("|")[2] for row in database.fills.find({}, {"_id": 1})}

    return not people.left and await people.executions() <= await asyncio.to_thread(booked)


async def served(door: Door, fleet: Fleet, accounts: Sequence[str]) -> bool:
    """Whether each account has one live worker, and each worker its share."""
    return not shares(door.holders(), accounts, fleet.live())


async def pace(producer: Producer, rate: float, count: int) -> None:
    """Let the messages come at an even rate."""
    begin = time.monotonic()
    while True:
        producer.allow(max(producer.published, min(count, int((time.monotonic() - begin) * rate))))
        await asyncio.sleep(0.5)


def untold(rows: Sequence[Mapping[str, Any]], telegram: Telegram) -> list[str]:
    """What Telegram never took, beyond what it refused: each notification comes alone, or is counted in a digest."""
    taken = set(telegram.texts)
    alone = 0
    for row in rows:
        fields = tuple((str(name), str(value)) for name, value in row["fields"])
        alone += fitted(Notification(row["notification_id"], row["title"], fields, row["prefix"])) in taken
    in_digests = sum(_count(text) for text in taken)
    missing = len(rows) - alone - in_digests - sum(max(1, _count(text)) for text in telegram.refused)
    return [f"{missing} of {len(rows)} notifications never reached Telegram"] if missing > 0 else []


def _count(text: str) -> int:
    """How many notifications a digest stands for; 0 if it is none."""
    found = DIGEST.search(text)
    return 0 if found is None else int(found.group(1).replace(",", ""))


async def play(options: argparse.Namespace, seed: int, directory: Path) -> dict[str, Any]:
    """A whole run on components of its own."""
    accounts = {f"acc_{number}": {"broker": "mock"} for number in range(1, options.accounts + 1)}
    with Telegram() as telegram:
        variables = {
            **telegram.variables,
            "NO_PROXY": "127.0.0.1",
            "ACCOUNTS": json.dumps(accounts),
            "WORKER_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "MOCK_BROKER_PARTIAL_FILLS": "2",
            "MOCK_BROKER_FILL_DELAY_SECONDS": "0.2",
            "MOCK_BROKER_REJECT_PROBABILITY": "0.03",
            "MOCK_BROKER_SEED": str(seed),
        }
        async with real_components(directory) as servers:
            real = Real(servers.mongod.uri, DATABASE, servers.emulator.host, PROJECT)
            return await run(World(directory, variables, real), servers, telegram, options, random.Random(seed))


def machine() -> str:
    """What it ran on."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=3.0, help="messages per second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--accounts", type=int, default=8)
    parser.add_argument("--every", type=float, nargs=2, default=(20.0, 60.0), help="seconds from fault to fault")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--record", type=Path, default=None, help="write what was found here, as JSON")
    parser.add_argument("--keep", action="store_true", help="leave the logs and the book where they are")
    options = parser.parse_args(arguments)
    if options.workers < 2:
        parser.error("--workers: with fewer than two nobody takes over from one that is paused")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    directory = Path(tempfile.mkdtemp(prefix="exec-soak-"))
    say(f"{options.minutes:g} minutes, {options.workers} workers, seed {seed}, in {directory}")
    try:
        found = asyncio.run(play(options, seed, directory))
    except BaseException:
        say(f"failed (seed {seed}); see {directory}")
        raise
    asked = {name: getattr(options, name) for name in ("minutes", "rate", "workers", "accounts", "every")}
    found = {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "machine": machine(), "seed": seed, **asked, **found}
    if options.record is not None:
        options.record.write_text(json.dumps(found, indent=1, default=str))
    print(found["markdown"])
    for name, value in found.items():
        if name not in ("markdown", "table", "series", "wrong"):
            print(f"{name.replace('_', ' ')}: {value}")
    for line in found["wrong"][:50]:
        print(f"WRONG: {line}")
    print(f"{len(found['wrong'])} violations (seed {seed})")
    if not found["wrong"] and not options.keep:
        shutil.rmtree(directory)
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
