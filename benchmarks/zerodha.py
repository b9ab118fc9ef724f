"""What Kite is asked, and how soon a fill there is a confirmation here: by looking, and with order updates.

    PYTHONPATH=tests python benchmarks/zerodha.py [--orders 60] [--idle 60]

On a real mongod and the Pub/Sub emulator. The simulated Kite runs in this process, so that the moment of a fill is
known; the service is a process of its own. Time runs from the fill in the venue's book to the confirmation in the hands
of a consumer. The reference for both ways is the other, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

from broker_loads import ACCOUNT
from chaos_bus import real_components, set_up
from exec_broker_zerodha.simulator.desk import Desk
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.server import Simulator
from exec_service.buses import Outgoing
from harness import ORDERS_TOPIC, PATIENCE, Listener, Real, encode, order, until
from percentiles import percentile
from simulated import SimulatedWorld

SHARES = ("INFY", "TCS", "SBIN", "WIPRO", "ITC", "HDFCBANK", "ICICIBANK", "TATASTEEL")


def asked(counts: Counter[str], per: float) -> str:
    """How often each request was made."""
    return ", ".join(f"{name} {count / per:.2f}" for name, count in sorted(counts.items()))


async def measure(count: int, idle: float, directory: Path, real: Real, *, updates: bool) -> None:
    """One way of hearing of fills."""
    options = Options(is_resting=True)
    async with Simulator(options) as simulator:
        desk = Desk(simulator)
        settings = {
            "api_key": options.api_key,
            "access_token": options.access_token,
            "api_root": simulator.api_root,
            "data_dir": str(directory / "instruments"),
        } | ({"ws_root": simulator.ws_root} if updates else {})
        account = {"broker": "zerodha", "mode": "paper", "settings": settings}
        variables = {"ACCOUNTS": json.dumps({ACCOUNT: account}), "ORDER_TIMEOUT_SECONDS": "0"}
        world = SimulatedWorld(directory, variables, real)
        await set_up(world)
        dice = random.Random(1)
        async with Listener(world) as listener:
            with world.start() as service:
                await service.ready()
                await asyncio.sleep(2)  # what belongs to the start is not counted
                desk.reset_requests()
                await asyncio.sleep(idle)
                print(f"  idle, per minute: {asked(desk.requests, idle / 60)}")
                desk.reset_requests()
                filled = await fills(world, desk, listener, count, dice)
                print(f"  per order: {asked(desk.requests, count)}; {sum(desk.requests.values()) / count:.1f} in all")
                service.stop()
        late = [1000 * (heard - at) for at, heard in filled]
        print(f"  fill to confirmation: p50 {percentile(late, 0.5):.0f} ms, p99 {percentile(late, 0.99):.0f} ms")


async def fills(
    world: SimulatedWorld, desk: Desk, listener: Listener, count: int, dice: random.Random
) -> list[tuple[float, float]]:
    """Place orders that rest, fill one after the other at random moments: when each was filled, and heard of."""
    messages = [
        order(
            f"bench_{number}",
            account_id=ACCOUNT,
            symbol=SHARES[number % len(SHARES)],
            exchange="NSE",
            product="MIS",
            order_type="LIMIT",
            limit_price=20,
            quantity=1,
        )
        for number in range(count)
    ]
    async with world.bus("producer") as bus:
        await bus.publish(ORDERS_TOPIC, [Outgoing(encode(message)) for message in messages])

    async def all_placed() -> bool:
        return len(await world.load("orders", {"status": "SUBMITTED"})) == count

    await until(all_placed, seconds=PATIENCE, what="all orders are placed")
    found: list[tuple[float, float]] = []
    for document in await world.load("orders"):
        await asyncio.sleep(dice.uniform(0.3, 1.3))
        at = time.monotonic()
        desk.fill(document["order_id"], 1, Decimal(20))
        found.append((at, await heard(listener, document["signal_id"])))
    return found


async def heard(listener: Listener, signal_id: str) -> float:
    """When the confirmation was there."""
    while True:
        if any(one["signal_id"] == signal_id and one["status"] == "FILLED" for one in listener.heard):
            return time.monotonic()
        await asyncio.sleep(0.002)


async def play(options: argparse.Namespace) -> None:
    """Both ways."""
    with tempfile.TemporaryDirectory(prefix="exec-bench-") as name:
        directory = Path(name)
        async with real_components(directory) as servers:
            print(f"{options.orders} orders; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
            for way, updates in (("looking", False), ("looking, woken by order updates", True)):
                print(f"{way}:")
                real = Real(servers.mongod.uri, f"bench_{updates}", servers.emulator.host, f"bench-{way[-5:]}")
                place = Path(tempfile.mkdtemp(dir=directory))
                await measure(options.orders, options.idle, place, real, updates=updates)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=60)
    parser.add_argument("--idle", type=float, default=60, help="seconds")
    asyncio.run(play(parser.parse_args()))


if __name__ == "__main__":
    main()
