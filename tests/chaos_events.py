"""What happens in a chaos run, event by event: the workers, the database and the bus are hurt while orders flow."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chaos_bus import LISTENER_LAGS, Servers, set_up
from chaos_door import Door, shares
from chaos_together import Together
from chaos_workers import Fleet, Worker
from harness import World, until
from invariants import Period
from producer import Producer

LEASE_SECONDS = 5.0
SETTLED_WITHIN_SECONDS = LEASE_SECONDS + 60.0
PAUSE_SECONDS = 20.0
CLOCK_JUMP_SECONDS = 3600.0

Event = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Plan:
    """How often what shall happen."""

    workers: int = 1
    kills: int = 5
    stops: int = 0
    worker_pauses: int = 0
    clock_jumps: int = 0
    pauses: int = 0
    step_downs: int = 0
    #: All workers are children of one command.
    together: bool = False
    #: How long what must happen may take.
    patience_seconds: float = SETTLED_WITHIN_SECONDS
    lease_seconds: float = LEASE_SECONDS


@dataclass
class Chaos:
    """One run: what is there, and what was seen. The workers are up between the events, or just being started."""

    world: World
    dice: random.Random
    producer: Producer
    servers: Servers | None
    plan: Plan
    accounts: tuple[str, ...]
    shares: int = 1
    fed: int = 0
    doubtful: set[str] = field(default_factory=set)
    bus_lost: list[Period] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.door = Door(self.world.directory / "door")
        make = Together if self.plan.together else Fleet
        self.fleet: Fleet = make(self.world, self.dice, self.door, self.plan.workers, self.plan.lease_seconds, self.say)

    def say(self, text: str) -> None:
        """A note for whoever watches."""
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def events(self) -> list[Event]:
        """What happens, in which order: the components are hurt somewhere among the kills, or after them."""
        plan = self.plan
        events: list[Event] = [self.kill_worker] * plan.kills
        events += [self.stop_worker] * plan.stops + [self.pause_worker] * plan.worker_pauses
        events += [self.jump_clock] * plan.clock_jumps + [self.kill_parent] * plan.together
        self.dice.shuffle(events)
        if self.servers is not None:
            others = [self.kill_mongod, self.restart_emulator]
            others += [self.pause_mongod] * plan.pauses + [self.step_down] * plan.step_downs
            for event in others:
                # Often the last: what a component's death does to a service must not be healed by killing that too.
                place = len(events) if self.dice.random() < 0.4 else self.dice.randint(min(1, len(events)), len(events))
                events.insert(place, event)
        outages = (self.kill_mongod, self.pause_mongod, self.restart_emulator)  # in which orders come as well
        self.shares = len(events) + 1 + sum(event in outages for event in events)
        return events

    def feed(self) -> None:
        """Let the next share of the orders come: something is about to break under them."""
        self.fed += 1
        self.producer.allow(len(self.producer.load) * min(self.fed, self.shares) // self.shares)

    async def running(self, *, serving: bool = False) -> Worker:
        """All workers are ready; one of them, or of those that serve an account."""
        workers = await self.fleet.running(self.plan.patience_seconds)
        if serving:

            async def serve() -> list[Worker]:
                return [worker for worker in workers if self.door.accounts_of(worker.pid)]

            workers = await until(serve, seconds=self.plan.patience_seconds, what="some worker serves an account")
        return self.dice.choice(workers)

    # ------------------------------------------------------------------ the workers

    async def kill_worker(self) -> None:
        """kill -9 at some moment: while it starts, in the middle of it all, or once it has settled the last kill's."""
        when = self.dice.choice(("starting", "working", "recovered"))
        if when == "starting" and self.fleet.down:
            self.feed()
            worker = self.dice.choice(self.fleet.down)
            self.fleet.start(worker)
            await asyncio.sleep(self.dice.uniform(0.3, 2.5))
        else:
            worker = await self.running()
            if when == "recovered":
                await self.recovered()
            self.feed()
            await asyncio.sleep(self.dice.uniform(0.1, 3.0))
        self.fleet.kill(worker)
        caught = await self.fleet.in_doubt()
        self.doubtful |= {document["signal_id"] for document in caught}
        served = len(self.door.losses[-1].accounts)
        self.say(
            f"{worker.name} killed while {when} ({self.fleet.kills}): it served {served} accounts, "
            f"{len(caught)} orders in doubt"
        )
        if self.plan.workers > 1 and self.dice.random() < 0.7:  # else it is back at once, beside those who take over
            await self.fleet.taken_over(self.plan.patience_seconds)

    async def kill_parent(self) -> None:
        """kill -9 of the process that started the workers."""
        await self._under_load()
        if isinstance(self.fleet, Together):
            self.say(f"the parent killed: {await self.fleet.kill_parent()}")

    async def stop_worker(self) -> None:
        """SIGTERM under load: it hands its accounts over."""
        worker = await self._under_load(serving=True)
        await self.fleet.stop(worker)
        served = len(self.door.losses[-1].accounts)
        self.say(f"{worker.name} stopped in good order: it served {served} accounts")
        if self.plan.workers > 1:
            await self.fleet.taken_over(self.plan.patience_seconds)

    async def pause_worker(self) -> None:
        """SIGSTOP of a worker under load until its lease has run out and others have its accounts; then it goes on."""
        worker = await self._under_load(serving=True)
        await self.fleet.pause(worker, self.feed, self.plan.patience_seconds)

    async def jump_clock(self) -> None:
        """One worker's clock is an hour ahead, or behind, for some seconds under load."""
        worker = await self.running(serving=True)
        seconds = self.dice.choice((1, -1)) * CLOCK_JUMP_SECONDS
        served = len(self.door.accounts_of(worker.pid))
        self.fleet.set_clock(worker, seconds)
        self.feed()
        await asyncio.sleep(self.dice.uniform(4.0, 8.0))
        self.fleet.set_clock(worker, 0.0)
        refused = await self.world.load("orders", {"status": "REJECTED"})
        stale = sum(row["reason_code"] == "STALE" for row in refused)
        self.say(
            f"the clock of {worker.name} was {seconds / 3600:+g} h wrong for some seconds, "
            f"it served {served} accounts; {stale} orders refused as stale so far"
        )

    async def recovered(self) -> None:
        """Wait until nothing is in doubt any more that was so at the last kill; that has a deadline from the start."""
        if not self.doubtful:
            return
        names = sorted(self.doubtful)

        async def none_in_doubt() -> bool:
            rows = await self.world.load("orders", {"signal_id": names, "status": ["SUBMITTING", "UNKNOWN"]})
            return not rows

        left = self.fleet.recovers_since + self.plan.patience_seconds - time.monotonic()
        await until(none_in_doubt, seconds=left, what=lambda: f"all of {names} are settled")
        self.doubtful.clear()
        self.say(f"all in doubt settled {time.monotonic() - self.fleet.recovers_since:.1f} s after the start")

    # ------------------------------------------------------------------ the components

    async def kill_mongod(self) -> None:
        """kill -9 of the database under load; it comes back after a moment, which a worker may not live to see."""
        mongod = self._servers().mongod
        worker = await self._under_load()
        begin = time.monotonic()
        await asyncio.to_thread(mongod.kill)
        self.feed()  # what comes now can be made durable, and acknowledged, only later
        away = self.dice.uniform(0.0, 4.0)
        await asyncio.sleep(away)
        fate = self.dice.choice(("survives", "killed meanwhile", "killed and started meanwhile"))
        if fate != "survives":
            self.fleet.kill(worker, how=None)
        if fate == "killed and started meanwhile":
            self.fleet.start(worker)
        await asyncio.to_thread(mongod.start)
        self._back(begin)
        self.say(f"mongod killed, started again after {away:.1f} s; {worker.name}: {fate}")

    async def pause_mongod(self) -> None:
        """SIGSTOP of the database under load: connections stay, nothing answers, leases run out."""
        mongod = self._servers().mongod
        await self._under_load()
        begin = time.monotonic()
        mongod.pause()
        self.feed()
        await asyncio.sleep(PAUSE_SECONDS)
        mongod.resume()
        self._back(begin)
        self.say(f"mongod stopped for {PAUSE_SECONDS:g} s, and went on")

    async def step_down(self) -> None:
        """The database gives up being primary under load, and is primary again seconds later."""
        mongod = self._servers().mongod
        await self._under_load()
        begin = time.monotonic()
        await asyncio.to_thread(mongod.step_down, 5)
        await asyncio.to_thread(mongod.wait_until_primary)
        self._back(begin)
        self.say("mongod stepped down, and is primary again")

    async def restart_emulator(self) -> None:
        """kill -9 of the bus under load: what it held is gone; set up again, and published again by the producer."""
        emulator = self._servers().emulator
        await self.running()
        async with self.producer.paused():
            # What came earlier must not need to be published again: the service has it, or this run has failed.
            before = await self.producer.all_known(self.plan.patience_seconds)
        await self._under_load()
        begin = time.monotonic()
        async with self.producer.paused():
            # A burst that the workers have no time to fetch is lost for certain.
            self._signal_all(signal.SIGSTOP)
            self.feed()
            await self.producer.burst()
            killed_at = datetime.now(UTC)
            await asyncio.to_thread(emulator.kill)
            self._signal_all(signal.SIGCONT)
            await asyncio.to_thread(emulator.start)
            await set_up(self.world)
            self.bus_lost.append((killed_at - LISTENER_LAGS, datetime.now(UTC)))
            again = await self.producer.publish_lost(before)
        self._back(begin)
        self.say(f"emulator killed, set up again; {again} orders published again")

    async def _under_load(self, *, serving: bool = False) -> Worker:
        worker = await self.running(serving=serving)
        self.feed()
        await asyncio.sleep(self.dice.uniform(0.2, 1.5))
        return worker

    def _back(self, gone_at: float) -> None:
        """What everybody needs is back; leases may have run out meanwhile, and nobody could know."""
        self.fleet.recovers_since = time.monotonic()
        self.door.silences.append((None, gone_at, self.fleet.recovers_since + 2 * self.plan.lease_seconds))

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self.fleet.workers:
            worker.up.process.send_signal(number)

    def _servers(self) -> Servers:
        if self.servers is None:
            raise RuntimeError("the embedded components cannot be killed apart from the service")
        return self.servers

    # ------------------------------------------------------------------ the end

    async def settled(self, count: int) -> None:
        """Everything has ended and is delivered, within the time that was promised, and every account is served."""
        await self.running()
        begin = max(self.fleet.recovers_since, self.producer.done_at)
        left = begin + self.plan.patience_seconds - time.monotonic()
        await self.world.settled(count, seconds=left)
        self.say(f"everything settled {time.monotonic() - begin:.1f} s after the last start, order or outage")

        async def served() -> bool:
            return not shares(self.door.holders(), self.accounts, self.fleet.live())

        left = begin + self.plan.patience_seconds - time.monotonic()
        await until(
            served, seconds=left, what=lambda: f"{shares(self.door.holders(), self.accounts, self.fleet.live())}"
        )
