"""Kills the workers, the database and the bus with -9 while orders flow, and then counts.

    python tests/chaos.py [--workers 1|2|4] [--together] [--accounts 3] [--orders 1000] [--kills 5] [--seed N]
                          [--stops N] [--worker-pauses N] [--clock-jumps N] [--pauses N] [--step-downs N]
                          [--embedded] [--keep]

On real components of its own: a mongod, killed once, and a Pub/Sub emulator, killed once too. That one forgets topics,
subscriptions and messages, so they are set up again, and the producer publishes again what the journal does not know.

Every order is at the broker at most once; those that are not were caught between SUBMITTING and the wire (at most the
dispatch slots per kill and account) and end REJECTED / NOT_PLACED, all others exactly once; executions, orders,
positions, documents, confirmations and signals agree; nothing became a dead letter; everything is settled within the
lease and 60 s after a start. No two workers have sessions for one account at once, except that one which was stopped,
or could not reach the database, may learn that only from its next heartbeat; and it sends nothing meanwhile. At the end
each account has one live worker, and each worker a fair share. Ends with 1 and the seed if that is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from chaos_bus import Servers, heard_all, real_components, set_up
from chaos_door import Door, summary
from chaos_events import PAUSE_SECONDS, Chaos, Plan
from harness import Listener, Real, World
from invariants import Findings, check
from producer import ACCOUNTS, Producer, messages

SLOTS = 16
DATABASE, PROJECT = "chaos", "chaos"


async def run(
    world: World,
    count: int,
    plan: Plan | int,
    dice: random.Random,
    servers: Servers | None = None,
    *,
    accounts: Sequence[str] = ACCOUNTS,
) -> tuple[Findings, list[str]]:
    """Feed, hurt, restart, settle, check. A number instead of a plan is one of kills."""
    plan = Plan(kills=plan) if isinstance(plan, int) else plan
    world.variables["WORKER_LEASE_SECONDS"] = f"{plan.lease_seconds:g}"
    load = messages(count, dice, accounts)
    await set_up(world)
    async with Producer(world, load, random.Random(dice.random())) as producer, Listener(world) as listener:
        chaos = Chaos(world, dice, producer, servers, plan, tuple(accounts))
        try:
            for event in chaos.events():
                await event()
            await chaos.running()
            producer.allow(count)
            await producer.finished()
            await chaos.settled(count)
            await chaos.fleet.stop_all()
        finally:
            chaos.fleet.end()
        await heard_all(world, listener, chaos.bus_lost)
        confirmations = list(listener.heard)
    found = await check(world, [message["signal_id"] for message in load], confirmations, bus_lost=chaos.bus_lost)
    wrong = [*found.wrong, *chaos.door.wrong()]
    if len(found.not_placed) > chaos.fleet.accounts_killed * SLOTS:
        wrong.append(f"{len(found.not_placed)} orders were not placed: more than the slots of what was killed")
    if found.stale and not plan.clock_jumps:
        wrong.append(f"{len(found.stale)} orders were refused as stale although all clocks were right")
    report(found, chaos.door)
    return found, wrong


def report(found: Findings, door: Door) -> None:
    """What was measured, and what is no violation but should be seen."""
    for how, times in sorted(door.take_overs().items()):
        print(f"next worker's session after the one before was {how}: {summary(times)} accounts")
    for what in ("place", "cancel"):
        if late := door.late(what):
            print(f"{len(late)} times {what} by a worker whose account was another's by then")
    if found.stale:
        print(f"{len(found.stale)} REJECTED / STALE: {', '.join(found.stale)}")


async def play(options: argparse.Namespace, seed: int, directory: Path) -> tuple[Findings, list[str]]:
    """A whole run on the components that were asked for."""
    accounts = tuple(f"acc_{number}" for number in range(1, options.accounts + 1))
    variables = {
        "ACCOUNTS": json.dumps({name: {"name": name.upper(), "broker": "mock"} for name in accounts}),
        # Symbols with an order in doubt wait for it: settled soon, the next kill finds all of them busy again.
        "UNKNOWN_SETTLE_SECONDS": "0.5",
        "MOCK_BROKER_PARTIAL_FILLS": "2",
        "MOCK_BROKER_FILL_DELAY_SECONDS": "0.05",
        "MOCK_BROKER_REJECT_PROBABILITY": "0.05",
        "MOCK_BROKER_SEED": str(seed),
    }
    dice = random.Random(seed)
    several = 2 if options.workers > 1 else 0
    plan = Plan(
        options.workers,
        options.kills,
        several if options.stops is None else options.stops,
        several if options.worker_pauses is None else options.worker_pauses,
        options.clock_jumps,
        options.pauses,
        options.step_downs,
        options.together,
    )
    if options.embedded:
        return await run(World(directory, variables), options.orders, plan, dice, accounts=accounts)
    async with real_components(directory) as servers:
        real = Real(servers.mongod.uri, DATABASE, servers.emulator.host, PROJECT)
        return await run(World(directory, variables, real), options.orders, plan, dice, servers, accounts=accounts)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, choices=(1, 2, 4), help="processes, on one subscription")
    parser.add_argument("--together", action="store_true", help="as children of one command, which is killed too")
    parser.add_argument("--accounts", type=int, default=3)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5, help="of a worker")
    parser.add_argument("--stops", type=int, default=None, help="of a worker, in good order (2 if there are several)")
    parser.add_argument("--worker-pauses", type=int, default=None, help="beyond the lease (2 if there are several)")
    parser.add_argument("--clock-jumps", type=int, default=0, help="by an hour, of one worker's clock")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--embedded", action="store_true", help="the embedded components, which need no server")
    parser.add_argument("--pauses", type=int, default=0, help=f"stop mongod for {PAUSE_SECONDS:g} s so many times")
    parser.add_argument("--step-downs", type=int, default=0, help="let mongod step down so many times")
    parser.add_argument("--keep", action="store_true", help="leave the logs and the book where they are")
    options = parser.parse_args(arguments)
    if options.workers == 1 and (options.worker_pauses or options.together):
        parser.error("--worker-pauses and --together need --workers 2 or 4")
    if options.together and options.clock_jumps:
        parser.error("--clock-jumps: the workers of one command have one clock")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    directory = Path(tempfile.mkdtemp(prefix="exec-chaos-"))
    started = time.monotonic()
    print(f"{options.orders} orders, {options.workers} workers, {options.kills} kills, seed {seed}, in {directory}")
    try:
        found, wrong = asyncio.run(play(options, seed, directory))
    except BaseException:
        print(f"failed (seed {seed}); see {directory}", flush=True)
        raise
    print(
        f"{found.orders} orders, {found.at_broker} at the broker, {found.fills} executions, {dict(found.by_status)}; "
        f"{time.monotonic() - started:.0f} s"
    )
    print(f"{len(found.not_placed)} REJECTED / NOT_PLACED: {', '.join(found.not_placed) or 'none'}")
    print(f"{len(found.lost)} confirmations lost with the emulator: {', '.join(found.lost) or 'none'}")
    for line in wrong[:50]:
        print(f"WRONG: {line}")
    print(f"{len(wrong)} violations (seed {seed})")
    if not wrong and not options.keep:
        shutil.rmtree(directory)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
