"""Kills the service with -9 while it trades with a broker's simulator, over the broker's own wire, and then counts.

    python tests/chaos_brokers.py ibkr|zerodha [--orders 200] [--kills 20] [--venue-kills 0] [--seed N]
                                  [--embedded] [--keep]

On a mongod and a Pub/Sub emulator of its own. Orders of every kind that the broker trades are placed; each is in the
venue's book at most once, those that are not were caught between SUBMITTING and the wire and end REJECTED / NOT_PLACED;
executions, commissions, positions, documents, confirmations and signals agree. Ends with 1 and the seed if not. The
venue can be killed as well: then an order may be refused because it could not be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker_loads import BROKERS, Load
from chaos_bus import heard_all, real_components, set_up
from harness import Listener, Real
from invariants import Findings, check
from producer import Producer
from simulated import SimulatedWorld, VenueProcess

SLOTS = 16
DATABASE, PROJECT = "chaos", "chaos"


async def run(
    world: SimulatedWorld,
    messages: Sequence[dict[str, Any]],
    kills: int,
    dice: random.Random,
    *,
    venue_kills: int = 0,
    bills: bool = True,
) -> Findings:
    """Feed, kill, restart, settle, check."""
    await set_up(world)
    async with Producer(world, messages, random.Random(dice.random())) as producer, Listener(world) as listener:
        phases = kills + 1 + (venue_kills > 0)
        for number in range(kills):
            producer.allow(len(messages) * (number + 1) // phases)
            with world.start() as service:
                if dice.random() < 0.7:  # else it is killed while it starts, or recovers
                    await service.ready()
                await asyncio.sleep(dice.uniform(0.0, 1.5))
                service.kill()
        producer.allow(len(messages))
        with world.start() as service:
            await service.ready()
            for _ in range(venue_kills):
                await asyncio.sleep(dice.uniform(0.5, 2.0))
                await world.restart_venue()
            await producer.finished()
            await world.settled(len(messages))
            service.stop()
        await heard_all(world, listener)
        confirmations = list(listener.heard)
    return await check(world, [message["signal_id"] for message in messages], confirmations, bills=bills)


async def play(load: Load, options: argparse.Namespace, seed: int, directory: Path) -> Findings:
    """A whole run."""
    dice = random.Random(seed)
    async with VenueProcess(load.package, directory / "venue", load.options) as venue:
        variables = {
            **load.variables(venue.port, directory),
            "WORKER_LEASE_SECONDS": "3",
            "UNKNOWN_SETTLE_SECONDS": "0.5",
        }
        messages = load.messages(options.orders, dice)
        world = SimulatedWorld(directory, variables, venue=venue, reading=load.book)
        if options.embedded:
            return await run(world, messages, options.kills, dice, venue_kills=options.venue_kills, bills=load.bills)
        async with real_components(directory) as servers:
            world.real = Real(servers.mongod.uri, DATABASE, servers.emulator.host, PROJECT)
            return await run(world, messages, options.kills, dice, venue_kills=options.venue_kills, bills=load.bills)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("broker", choices=sorted(BROKERS))
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--venue-kills", type=int, default=0, help="of the simulator, at the end; its book survives")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--embedded", action="store_true", help="the embedded components, which need no server")
    parser.add_argument("--keep", action="store_true", help="leave the logs and the book where they are")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    directory = Path(tempfile.mkdtemp(prefix="exec-chaos-"))
    started = time.monotonic()
    print(
        f"{options.orders} orders at {options.broker}, {options.kills} kills, seed {seed}, in {directory}", flush=True
    )
    try:
        found = asyncio.run(play(BROKERS[options.broker], options, seed, directory))
    except BaseException:
        print(f"failed (seed {seed}); see {directory}", flush=True)
        raise
    wrong = list(found.wrong)
    if len(found.not_placed) > options.kills * SLOTS:
        wrong.append(f"{len(found.not_placed)} orders were not placed: more than the slots of what was killed")
    if found.stale:
        wrong.append(f"{len(found.stale)} orders were refused as stale")
    print(
        f"{found.orders} orders, {found.at_broker} in the venue's book, {found.fills} executions, "
        f"{dict(found.by_status)}; {time.monotonic() - started:.0f} s"
    )
    print(f"{len(found.not_placed)} REJECTED / NOT_PLACED: {', '.join(found.not_placed) or 'none'}")
    for line in wrong[:50]:
        print(f"WRONG: {line}")
    print(f"{len(wrong)} violations (seed {seed})")
    if not wrong and not options.keep:
        shutil.rmtree(directory)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
