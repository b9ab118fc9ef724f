"""From publishing an order to its arrival in the venue's book, per broker, beside the mock, in one run.

    PYTHONPATH=tests python benchmarks/brokers.py [--orders 150] [--rate 5] [--brokers ibkr,zerodha]

On a real mongod and the Pub/Sub emulator, with the service and the broker's simulator as processes of their own. What
is measured ends where the venue has the order in its (durable) book: it has crossed the broker's wire by then. Machines
differ and are shared, so that each broker's figure stands beside the mock's, whose book is a file and needs no wire.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from broker_loads import ACCOUNT, BROKERS
from chaos_bus import real_components, set_up
from exec_service.buses import Outgoing
from harness import ORDERS_TOPIC, Real, World, encode
from percentiles import percentile
from simulated import SimulatedWorld, VenueProcess

MOCK = "mock"


@contextlib.asynccontextmanager
async def world_of(broker: str, directory: Path, real: Real) -> AsyncIterator[World]:
    """The settings for one broker; its simulator runs meanwhile."""
    if broker == MOCK:
        yield World(directory, {"ACCOUNTS": f'{{"{ACCOUNT}": {{"broker": "mock"}}}}'}, real)
        return
    load = BROKERS[broker]
    async with VenueProcess(load.package, directory / "venue") as venue:
        yield SimulatedWorld(directory, load.variables(venue.port, directory), real, venue=venue, reading=load.book)


async def measure(broker: str, count: int, rate: float, directory: Path, real: Real) -> list[float]:
    """Milliseconds from publishing to the venue's book, one per order."""
    traded = BROKERS["ibkr" if broker == MOCK else broker]
    # Of one kind, so that it is the path that is measured, and not which instruments are asked for first.
    load = replace(traded, traded=[what for what in traded.traded if what.limits][:4])
    messages = load.messages(count + 4, random.Random(1))
    sent: dict[str, float] = {}
    async with world_of(broker, directory, real) as world:
        await set_up(world)
        with world.start() as service:
            await service.ready()
            async with world.bus("producer") as bus:
                begun = time.monotonic()
                for number, message in enumerate(messages):
                    await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
                    sent[message["signal_id"]] = time.time()
                    await bus.publish(ORDERS_TOPIC, [Outgoing(encode(message))])
            orders = await world.settled(len(messages))
            service.stop()
        signals = {order["client_order_id"]: order["signal_id"] for order in orders}
        arrived = {
            signals[row["client_order_id"]]: datetime.fromisoformat(row["accepted_at"]).timestamp()
            for row in world.book()["orders"]
        }
    # The first of each instrument asks the venue what it is: told apart.
    return [1000 * (arrived[message["signal_id"]] - sent[message["signal_id"]]) for message in messages[4:]]


async def play(options: argparse.Namespace) -> None:
    """Each broker in turn, the mock first."""
    with tempfile.TemporaryDirectory(prefix="exec-bench-") as name:
        directory = Path(name)
        async with real_components(directory) as servers:
            machine = f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
            print(f"{options.orders} orders, {options.rate:g} a second; {machine}")
            reference = 1.0
            for broker in (MOCK, *options.brokers.split(",")):
                real = Real(servers.mongod.uri, f"bench_{broker}", servers.emulator.host, f"bench-{broker}")
                place = Path(tempfile.mkdtemp(dir=directory))
                found = await measure(broker, options.orders, options.rate, place, real)
                p50, p99 = percentile(found, 0.5), percentile(found, 0.99)
                reference = p50 if broker == MOCK else reference
                ratio = f"p50 / the mock's {p50 / reference:.2f}"
                print(f"{broker:8} published to in the book: p50 {p50:.1f} ms, p99 {p99:.1f} ms; {ratio}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=150)
    parser.add_argument("--rate", type=float, default=5)
    parser.add_argument("--brokers", default=",".join(sorted(BROKERS)))
    asyncio.run(play(parser.parse_args()))


if __name__ == "__main__":
    main()
