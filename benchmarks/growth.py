"""What an order, a start and a command cost as finished orders pile up in the store.

    nox -s "bench(growth)"          or: PYTHONPATH=tests python benchmarks/growth.py
    ... -- --sizes 0,100000,1000000 --seconds 10 --write

For each size: a database of its own, filled with copies of what the service itself writes (`bench/seeding.py`); then
the service is started, loaded, asked, killed with 200 orders in flight, and started again. What was measured is
checked. The mock venue's book is a file here, because it must outlive the kill.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
import time
from typing import Any

from bench import checks, results
from bench.load import Producer
from bench.seeding import seed, signal_name, templates
from bench.servers import Servers, machine, servers
from bench.subjects import ServiceSubject, fresh, place_of, set_up_bus
from bench.wire import clients
from google.pubsub_v1.types import PubsubMessage
from harness import ORDERS_TOPIC, World, encode
from mongod import drop_database

ACCOUNTS = 3
IN_FLIGHT = 200
#: How many of those are to be filled when the kill comes.
BEFORE_KILL = 20
#: An account may have as many orders in doubt.
SLOTS = 16
TRIES = 3


async def at_size(made: Servers, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """A row of the table."""
    real = place_of(made.real, f"growth_{size}")
    await set_up_bus(real.project)
    try:
        async with clients(made.emulator.host, real.project) as bus:
            template = ServiceSubject(real, fresh(made.directory, "template"), sources=options.sources, timed=False)
            try:
                await template.start()
                for message in templates():
                    await bus.publish(ORDERS_TOPIC, [PubsubMessage(data=encode(message))])
                await template.world.settled(len(templates()))
                template.stop()
            finally:
                template.kill()
            begun = time.monotonic()
            await asyncio.to_thread(seed, real, size)
            found: dict[str, Any] = {"orders": size, "seeding_seconds": round(time.monotonic() - begun)}
            directory = fresh(made.directory, f"growth-{size}")
            subject = ServiceSubject(real, directory, sources=options.sources, timed=False, durable_book=True)
            try:
                async with Producer(bus, ACCOUNTS) as producer:
                    await _measure(found, subject, producer, size, options)
                    subject.stop()
                    await asyncio.to_thread(checks.check, real, producer.published, may_be_refused=ACCOUNTS * SLOTS)
            finally:
                subject.kill()
            return found
    finally:
        await asyncio.to_thread(drop_database, real.mongodb_uri, real.database)


async def _measure(
    found: dict[str, Any], subject: ServiceSubject, producer: Producer, size: int, options: argparse.Namespace
) -> None:
    found["ready_seconds"] = await _started(subject)
    await producer.at_rate("warm", 50, 4)
    probe = (await producer.burst("probe", 500)).per_second
    saturated = await producer.burst("burst", int(probe * options.seconds))
    found["per_second"] = round(saturated.per_second, 1)
    steady = await producer.at_rate("steady", options.rate, options.seconds) if options.rate < 0.9 * probe else None
    found["rate"] = options.rate
    found["p50_ms"] = None if steady is None else steady.percentile(0.5)
    found["p99_ms"] = None if steady is None else steady.percentile(0.99)
    world = subject.world
    found["status_seconds"] = await asyncio.to_thread(_command, world, "status")
    found["list_seconds"] = await asyncio.to_thread(_command, world, "orders", "--limit", "20")
    found["order_seconds"] = await asyncio.to_thread(_command, world, "orders", signal_name(size // 2))
    await _killed(found, subject, producer)


async def _started(subject: ServiceSubject) -> float:
    begun = time.monotonic()
    await subject.start()
    return round(time.monotonic() - begun, 2)


def _command(world: World, *arguments: str) -> dict[str, Any]:
    """The median of its duration and of its processor time; and what it said, if it failed."""
    walls, cpus, failed = [], [], None
    for _ in range(TRIES):
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = world.run(*arguments, check=False)
        if done.returncode != 0:
            failed = done.stderr.strip()[-300:]
        walls.append(time.monotonic() - begun)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"wall": round(statistics.median(walls), 2), "cpu": round(statistics.median(cpus), 2), "failed": failed}


async def _killed(found: dict[str, Any], subject: ServiceSubject, producer: Producer) -> None:
    """kill -9 with orders in flight, and a start."""
    await producer.publish_only("kill", IN_FLIGHT)
    await producer.until(lambda heard: len(heard.received) >= BEFORE_KILL)
    subject.kill()
    begun = time.monotonic()
    found["ready_after_kill_seconds"] = await _started(subject)
    heard = await producer.all_back()
    found["settled_after_kill_seconds"] = round(time.monotonic() - begun, 2)
    found["not_placed"] = heard.missing


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Every size."""
    async with servers() as made:
        rows = []
        for size in options.sizes:
            rows.append(await at_size(made, int(size), options))
            print(rows[-1], file=sys.stderr, flush=True)
        return {"machine": await machine(made), "rows": rows}


def main() -> int:
    """The command."""
    parser = results.parser(__doc__)
    parser.add_argument("--sizes", type=results.numbers, default=[0, 100_000, 1_000_000], help="finished orders stored")
    parser.add_argument("--seconds", type=float, default=10, help="how long each load lasts, about")
    parser.add_argument("--rate", type=float, default=100, help="orders per second for the latency")
    options = parser.parse_args()
    return results.play("growth", lambda: run(options), options)


if __name__ == "__main__":
    raise SystemExit(main())
