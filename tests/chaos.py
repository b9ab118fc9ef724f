"""Kills the service with -9 again and again while orders flow, and then counts.

    python tests/chaos.py [--orders 1000] [--kills 10] [--seed N]

Every order is at the broker at most once; those that are not were caught between SUBMITTING and the wire (at most the
dispatch slots per kill and account) and end REJECTED / NOT_PLACED, all others exactly once; executions, orders,
positions and confirmations agree; nothing became a dead letter. Ends with 1 and the seed if that is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import World, order
from invariants import Findings, check

ACCOUNTS = ("acc_1", "acc_2", "acc_3")
SLOTS = 16


def messages(count: int, dice: random.Random) -> list[dict[str, Any]]:
    """A mixed load: market and limit orders, entries and exits, four dozen instruments, three accounts."""
    made = []
    for number in range(count):
        kind = dice.choice(("MARKET", "MARKET", "LIMIT", "IOC"))
        fields: dict[str, Any] = {
            "account_id": dice.choice(ACCOUNTS),
            "symbol": f"SYM{dice.randrange(16)}",
            "strategy_name": dice.choice(("Trend", "Carry")),
            "side": dice.choice(("BUY", "SELL")),
            "quantity": dice.randint(1, 500),
            "price": round(dice.uniform(10, 400), 2),
        }
        if kind == "LIMIT":
            better = 1.01 if fields["side"] == "BUY" else 0.99
            fields |= {"order_type": "LIMIT", "limit_price": round(fields["price"] * better, 2)}
        if kind == "IOC":
            fields["time_in_force"] = "IOC"
        made.append(order(f"chaos_{number:05d}", **fields))
    return made


async def run(world: World, count: int, kills: int, dice: random.Random) -> tuple[Findings, list[str]]:
    """Feed, kill, restart, settle, check."""
    load = messages(count, dice)
    notes: list[str] = []

    async def feed() -> None:
        # Spread over the kills, in bursts of uneven size.
        pending = list(load)
        while pending:
            burst = [pending.pop(0) for _ in range(min(len(pending), dice.randint(1, 40)))]
            await world.publish(*burst)
            await asyncio.sleep(dice.uniform(0.1, 0.9))

    async with world.bus("listener"):  # creates the subscription before anything is confirmed
        pass
    feeding = asyncio.create_task(feed())
    for number in range(kills):
        with world.start() as service:
            # Some die while they start or recover, most in the middle of it all.
            if dice.random() < 0.3:
                await asyncio.sleep(dice.uniform(0.3, 1.5))
            else:
                await service.ready()
                await asyncio.sleep(dice.uniform(0.1, 3.0))
            if service.process.poll() is not None:
                raise AssertionError(f"the service ended by itself:\n{service.console[-3000:]}")
            service.kill()
        caught = await world.load("orders", {"status": ["SUBMITTING", "UNKNOWN"]}) if world.data.exists() else []
        notes.append(f"kill {number + 1}: {len(caught)} orders in doubt")
        print(notes[-1], flush=True)
    await feeding
    with world.start() as service:
        await service.ready()
        await world.settled(count, seconds=90)
        code = service.stop()
        if code != 0:
            raise AssertionError(f"the drained service ended with {code}:\n{service.console[-3000:]}")
    confirmations = await world.confirmations()
    found = await check(world, [message["signal_id"] for message in load], confirmations)
    wrong = list(found.wrong)
    if found.not_placed > kills * SLOTS * len(ACCOUNTS):
        wrong.append(f"{found.not_placed} orders were not placed: more than the dispatch slots of {kills} kills")
    return found, wrong


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    directory = Path(tempfile.mkdtemp(prefix="exec-chaos-"))
    accounts = {name: {"name": name.upper(), "broker": "mock"} for name in ACCOUNTS}
    world = World(
        directory,
        {
            "ACCOUNTS": json.dumps(accounts),
            # Symbols with an order in doubt wait for it: settled soon, the next kill finds all of them busy again.
            "UNKNOWN_SETTLE_SECONDS": "0.5",
            "MOCK_BROKER_PARTIAL_FILLS": "2",
            "MOCK_BROKER_FILL_DELAY_SECONDS": "0.05",
            "MOCK_BROKER_REJECT_PROBABILITY": "0.05",
            "MOCK_BROKER_SEED": str(seed),
        },
    )
    started = time.monotonic()
    print(f"{options.orders} orders, {options.kills} kills, seed {seed}, in {directory}", flush=True)
    found, wrong = asyncio.run(run(world, options.orders, options.kills, random.Random(seed)))
    seconds = time.monotonic() - started
    print(
        f"{found.orders} orders, {found.at_broker} at the broker, {found.not_placed} REJECTED / NOT_PLACED, "
        f"{found.fills} executions, {dict(found.by_status)}; {seconds:.0f} s"
    )
    for line in wrong[:50]:
        print(f"WRONG: {line}")
    print(f"{len(wrong)} violations (seed {seed})")
    if not wrong:
        shutil.rmtree(directory)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
