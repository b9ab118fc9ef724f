"""From publishing an order to receiving its confirmation, on a real mongod and the Pub/Sub emulator.

    nox -s "bench(pipeline)"          or: PYTHONPATH=tests python benchmarks/pipeline.py
    ... -- --rates 50,200 --seconds 10 --write

The service runs as a subprocess with the mock broker, which answers at once; beside it, in the same run and in turns,
the minimal reference (`bench/reference.py`). Machines differ and are shared: only the ratios of one run mean anything.
Orders are published at a steady rate (open loop: a slow answer does not slow the producer down), and all at once.
What was measured is checked afterwards: a wrong result is exit code 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench import checks, results
from bench.load import Heard, Producer
from bench.processes import Usage, memory_mb, own_pid
from bench.servers import Servers, commit_ms, machine, servers
from bench.subjects import ReferenceSubject, ServiceSubject, Subject, Times, fresh, place_of, set_up_bus
from bench.wire import clients
from percentiles import percentile

WARM_UP = 300
#: From which a burst's length is reckoned.
PROBE = 600
#: A rate that is so much of the saturated one is not tried: what it shows is how long the queue has become.
CARRIED = 0.9
LONGEST_BURST = 40_000


class Measured:
    """One subject, and what was found of it."""

    def __init__(self, subject: Subject, producer: Producer, pids: Mapping[str, Sequence[int]]) -> None:
        self.subject = subject
        self.producer = producer
        self.found: dict[str, Any] = {"rates": {}}
        self._pids = {**pids, subject.name: [subject.pid], "load": [own_pid()]}

    async def warm_up(self) -> None:
        """Everything is loaded and connected after this."""
        await self.producer.at_rate("warm", 100, WARM_UP / 100)

    async def saturate(self, seconds: float) -> None:
        """Orders per second when they are all there at once, for about so long."""
        probe = (await self.producer.burst("probe", PROBE)).per_second
        count = min(LONGEST_BURST, max(PROBE, int(probe * 1.2 * seconds)))
        await self._measure("saturated", count, self.producer.burst("burst", count))

    async def at_rate(self, rate: float, seconds: float) -> None:
        """Latencies at a steady rate, if it is one that can be carried."""
        name = f"{rate:g}"
        if rate > CARRIED * self.found["saturated"]["per_second"]:
            self.found["rates"][name] = {"carried": False}
            return
        run, count = f"at{name}", int(rate * seconds)
        await self._measure(name, count, self.producer.at_rate(run, rate, seconds))
        self.found["rates"][name] = {"carried": True, **self.found.pop(name)}

    async def _measure(self, name: str, count: int, load: Awaitable[Heard]) -> None:
        usage = Usage(self._pids)
        heard = await load
        self.found[name] = {
            "orders": count,
            "per_second": round(heard.per_second, 1),
            "p50_ms": heard.percentile(0.5),
            "p99_ms": heard.percentile(0.99),
            "cpu_per_thousand": usage.per_thousand(count),
            "others_processors": usage.others_per_second(),
        }

    def finish(self) -> None:
        """Stop it, check what it did, and read what only then is known."""
        self.found["peak_mb"] = memory_mb(self.subject.pid, "VmHWM")
        self.subject.stop()
        checks.check(self.subject.real, self.producer.published)
        times = self.subject.times()
        self._called(self.found["saturated"], times, "burst")
        for name, rate in self.found["rates"].items():
            if rate["carried"]:
                self._called(rate, times, f"at{name}")

    @staticmethod
    def _called(found: dict[str, Any], times: Times, run: str) -> None:
        """From when the subject has the message to when it calls the broker."""
        waits = [(called - received) * 1000 for name, (received, called) in times.items() if name.startswith(f"{run}_")]
        found["called_p50_ms"] = round(percentile(waits, 0.5), 1)
        found["called_p99_ms"] = round(percentile(waits, 0.99), 1)


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, on servers of our own."""
    async with servers() as made, AsyncExitStack() as stack:
        found: dict[str, Any] = {"machine": await machine(made), "commit_ms": await commit_ms(made.mongod.uri)}
        subjects = [_service(made, options.sources), _reference(made)]
        measured = []
        for subject in subjects:
            stack.callback(subject.kill)
            measured.append(await _begin(stack, made, subject))
        for one in measured:
            await one.saturate(options.burst_seconds)
        for rate in options.rates:
            for one in measured:
                await one.at_rate(rate, options.seconds)
        for one in measured:
            one.finish()
            found[one.subject.name] = one.found
        found["ratios"] = ratios(found)
        return found


def _service(made: Servers, sources: Path | None) -> Subject:
    directory = fresh(made.directory, "service")
    return ServiceSubject(place_of(made.real, "service"), directory, sources=sources)


def _reference(made: Servers) -> Subject:
    return ReferenceSubject(place_of(made.real, "reference"), fresh(made.directory, "reference"))


async def _begin(stack: AsyncExitStack, made: Servers, subject: Subject) -> Measured:
    await set_up_bus(subject.real.project)
    await subject.start()
    bus = await stack.enter_async_context(clients(made.emulator.host, subject.real.project))
    producer = await stack.enter_async_context(Producer(bus, accounts=3))
    one = Measured(subject, producer, made.pids())
    await one.warm_up()
    return one


def ratios(found: Mapping[str, Any]) -> dict[str, Any]:
    """The service's figures over the reference's."""
    service, reference = found["service"], found["reference"]
    rates = {
        name: round(rate["p50_ms"] / reference["rates"][name]["p50_ms"], 2)
        for name, rate in service["rates"].items()
        if rate["carried"] and reference["rates"][name]["carried"]
    }
    carried = [rate["called_p50_ms"] for rate in service["rates"].values() if rate["carried"]]
    return {
        "saturated": round(service["saturated"]["per_second"] / reference["saturated"]["per_second"], 3),
        "p50": rates,
        "called_above_commit_ms": [round(called - found["commit_ms"], 1) for called in carried],
    }


def main() -> int:
    """The command."""
    parser = results.parser(__doc__)
    parser.add_argument("--rates", type=results.numbers, default=[50, 200, 500, 1000], help="orders per second")
    parser.add_argument("--seconds", type=float, default=10, help="how long at each rate")
    parser.add_argument("--burst-seconds", type=float, default=10, help="how long saturated, about")
    options = parser.parse_args()
    return results.play("pipeline", lambda: run(options), options)


if __name__ == "__main__":
    raise SystemExit(main())
