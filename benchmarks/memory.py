"""Whether the service's memory grows with the orders that it has handled.

    nox -s "bench(memory)"          or: PYTHONPATH=tests python benchmarks/memory.py
    ... -- --orders 100000 --write

Orders keep it saturated, never more than a few thousand of them on the bus; its resident memory is read every few
seconds. The mock venue's book is a file here: kept in the service's memory, it would grow there.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from bench import checks, results
from bench.load import Producer
from bench.processes import Usage, memory_mb, own_pid
from bench.servers import Servers, machine, servers
from bench.subjects import ServiceSubject, fresh, place_of, set_up_bus
from bench.wire import clients

ACCOUNTS = 3
AT_ONCE = 3_000
EVERY_SECONDS = 3.0
#: Pools, caches and what is kept of ended orders have filled by then.
WARM_UP_ORDERS = 20_000
#: More growth than this after the warm-up is not flat.
FLAT = 0.05


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """On servers of our own."""
    async with servers() as made:
        real = place_of(made.real, "memory")
        await set_up_bus(real.project)
        directory = fresh(made.directory, "memory")
        subject = ServiceSubject(real, directory, sources=options.sources, timed=False, durable_book=True)
        try:
            await subject.start()
            async with clients(made.emulator.host, real.project) as bus, Producer(bus, ACCOUNTS) as producer:
                found = await _load(made, subject, producer, options.orders)
            subject.stop()
            await asyncio.to_thread(checks.check, real, producer.published)
            return {"machine": await machine(made), **found}
        finally:
            subject.kill()


async def _load(made: Servers, subject: ServiceSubject, producer: Producer, count: int) -> dict[str, Any]:
    points = [(0, memory_mb(subject.pid))]
    sampling = asyncio.create_task(_sample(points, subject, producer))
    usage = Usage({**made.pids(), "service": [subject.pid], "load": [own_pid()]})
    try:
        heard = await producer.burst("memory", count, at_once=AT_ONCE)
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    points.append((count, memory_mb(subject.pid)))
    return {
        "orders": count,
        "per_second": round(heard.per_second, 1),
        "cpu_per_thousand": usage.per_thousand(count),
        "others_processors": usage.others_per_second(),
        "peak_mb": memory_mb(subject.pid, "VmHWM"),
        "points": points,
        **verdict(points),
    }


async def _sample(points: list[tuple[int, float]], subject: ServiceSubject, producer: Producer) -> None:
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        points.append((producer.confirmed, memory_mb(subject.pid)))


def verdict(points: list[tuple[int, float]], warm_up: int = WARM_UP_ORDERS) -> dict[str, Any]:
    """How much it grew after the warm-up, and whether that is flat; None where there were not enough orders."""
    late = [memory for done, memory in points if done >= warm_up]
    if len(late) < 2:
        return {"growth_mb": None, "flat": None}
    # The highest so far against the highest of the first fifth: one reading may be taken in the middle of a batch.
    first = max(late[: max(1, len(late) // 5)])
    growth = max(late) - first
    return {"growth_mb": round(growth, 1), "flat": growth <= FLAT * first}


def main() -> int:
    """The command."""
    parser = results.parser(__doc__)
    parser.add_argument("--orders", type=int, default=100_000)
    options = parser.parse_args()
    return results.play("memory", lambda: run(options), options)


if __name__ == "__main__":
    raise SystemExit(main())
