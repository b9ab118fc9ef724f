"""The same load on one, two and four processes of the service that share eight accounts.

    nox -s "bench(workers)"          or: PYTHONPATH=tests python benchmarks/workers.py
    ... -- --workers 1,2,4 --seconds 10 --write

The processes share one mock venue, whose book is a file. What was measured is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any

from bench import checks, results
from bench.load import Heard, Producer
from bench.processes import Usage, memory_mb, own_pid
from bench.servers import Servers, machine, servers
from bench.subjects import ServiceSubject, fresh, place_of, set_up_bus
from bench.wire import clients
from mongod import drop_database

ACCOUNTS = 8
PROBE = 800


async def with_workers(made: Servers, workers: int, options: argparse.Namespace) -> dict[str, Any]:
    """A row of the table."""
    real = place_of(made.real, f"workers_{workers}")
    await set_up_bus(real.project)
    subject = ServiceSubject(
        real,
        fresh(made.directory, f"workers-{workers}"),
        accounts=ACCOUNTS,
        workers=workers,
        sources=options.sources,
        timed=False,
        durable_book=True,
    )
    try:
        await subject.start()
        async with clients(made.emulator.host, real.project) as bus, Producer(bus, ACCOUNTS) as producer:
            await producer.at_rate("warm", 50, 4)
            probe = (await producer.burst("probe", PROBE)).per_second
            count = int(probe * options.seconds * 1.2)
            found: dict[str, Any] = {"workers": workers}
            usage = Usage({**made.pids(), "service": [subject.pid], "load": [own_pid()]})
            heard: Heard = await producer.burst("burst", count)
            found["per_second"] = round(heard.per_second, 1)
            found["cpu_per_thousand"] = usage.per_thousand(count)
            found["others_processors"] = usage.others_per_second()
            carried = options.rate < 0.9 * heard.per_second
            steady = await producer.at_rate("steady", options.rate, options.seconds) if carried else None
        found["rate"] = options.rate
        found["p50_ms"] = None if steady is None else steady.percentile(0.5)
        found["p99_ms"] = None if steady is None else steady.percentile(0.99)
        found["peak_mb"] = memory_mb(subject.pid, "VmHWM")
        found["processors_used"] = round(sum(found["cpu_per_thousand"].values()) * found["per_second"] / 1000, 2)
        subject.stop()
        await asyncio.to_thread(checks.check, real, producer.published)
        return found
    finally:
        subject.kill()
        await asyncio.to_thread(drop_database, real.mongodb_uri, real.database)


def limit(rows: list[dict[str, Any]], processors: int) -> str:
    """One sentence on what keeps more processes from doing more."""
    best = max(rows, key=lambda row: row["per_second"])
    used, others = best["processors_used"], best["others_processors"]
    begin = (
        f"At the highest rate, {best['per_second']:g} orders/s with {best['workers']}, all processes of the benchmark "
        f"together use {used:g} of {processors} processors"
    )
    if used + others > 0.85 * processors:
        return f"{begin} ({others:g} are others'): the machine is the limit, not a process."
    return f"{begin}: waiting is the limit (disc and bus), not the processors."


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Each number of processes."""
    async with servers() as made:
        rows = [await with_workers(made, int(workers), options) for workers in options.workers]
        return {"machine": await machine(made), "rows": rows, "limit": limit(rows, os.cpu_count() or 1)}


def main() -> int:
    """The command."""
    parser = results.parser(__doc__)
    parser.add_argument("--workers", type=results.numbers, default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=10, help="how long each load lasts, about")
    parser.add_argument("--rate", type=float, default=200, help="orders per second for the latency")
    options = parser.parse_args()
    return results.play("workers", lambda: run(options), options)


if __name__ == "__main__":
    raise SystemExit(main())
