"""Kills the service, the database and the bus with -9 while orders flow, and then counts.

    python tests/chaos.py [--orders 1000] [--kills 5] [--seed N] [--embedded] [--pauses N] [--step-downs N] [--keep]

On real components of its own: a mongod, killed once, and a Pub/Sub emulator, killed once too. That one forgets topics,
subscriptions and messages, so they are set up again, and the producer publishes again what the journal does not know.

Every order is at the broker at most once; those that are not were caught between SUBMITTING and the wire (at most the
dispatch slots per kill and account) and end REJECTED / NOT_PLACED, all others exactly once; executions, orders,
positions, documents, confirmations and signals agree; nothing became a dead letter; everything is settled within the
lease and 60 s after a start. Ends with 1 and the seed if that is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from emulator import Emulator, ask
from exec_service.stores import Document, Not
from harness import ORDERS_SUBSCRIPTION, ORDERS_TOPIC, Listener, Real, Service, World, until
from invariants import Findings, Period, check
from keeper import ProcessId
from mongod import Mongod
from producer import ACCOUNTS, Producer, messages

SLOTS = 16
LEASE_SECONDS = 5.0
SETTLED_WITHIN_SECONDS = LEASE_SECONDS + 60.0
ACK_DEADLINE_SECONDS = 10
PAUSE_SECONDS = 20.0
#: How far the listener may be behind when the bus dies: what was published before should have been heard.
LISTENER_LAGS = timedelta(seconds=10)
DATABASE, PROJECT = "chaos", "chaos"


@dataclass
class Servers:
    """The real components, to hurt."""

    mongod: Mongod
    emulator: Emulator


@dataclass
class Chaos:
    """One run: what is there, and what was seen. The service is up between the events, or just being started."""

    world: World
    dice: random.Random
    producer: Producer
    servers: Servers | None
    service: Service | None = None
    #: When something began from which the service had to recover: its own start, a component's return.
    recovers_since: float = 0.0
    shares: int = 1
    fed: int = 0
    kills: int = 0
    doubtful: set[str] = field(default_factory=set)
    bus_lost: Period | None = None
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """A note for whoever watches."""
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    # ------------------------------------------------------------------ the service

    def start(self) -> Service:
        """Start the service, sometimes under a worker id that stays, mostly under a new one."""
        if self.dice.random() < 0.3:
            self.world.variables["WORKER_ID"] = "chaos-worker"
        else:
            self.world.variables.pop("WORKER_ID", None)
        self.service, self.recovers_since = self.world.start(), time.monotonic()
        return self.service

    def feed(self) -> None:
        """Let the next share of the orders come: something is about to break under them."""
        self.fed += 1
        self.producer.allow(len(self.producer.load) * min(self.fed, self.shares) // self.shares)

    async def running(self) -> Service:
        """The service, ready."""
        service = self.service or self.start()
        return await service.ready(SETTLED_WITHIN_SECONDS)

    async def kill_service(self) -> None:
        """kill -9 at some moment: while it starts, in the middle of it all, or once it has settled the last kill's."""
        when = self.dice.choice(("starting", "working", "recovered"))
        if when == "starting" and self.service is None:
            self.feed()
            service = self.start()
            await asyncio.sleep(self.dice.uniform(0.3, 2.5))
        else:
            service = await self.running()
            if when == "recovered":
                await self.recovered()
            self.feed()
            await asyncio.sleep(self.dice.uniform(0.1, 3.0))
        if service.process.poll() is not None:
            raise AssertionError(f"the service ended by itself:\n{service.console[-3000:]}")
        service.kill()
        self.kills += 1
        self.service = None
        caught = await self._in_doubt()
        self.doubtful |= {document["signal_id"] for document in caught}
        self.say(f"service killed while {when} ({self.kills}): {len(caught)} orders in doubt")

    async def recovered(self) -> None:
        """Wait until nothing is in doubt any more that was so at the last kill; that has a deadline from the start."""
        if not self.doubtful:
            return
        names = sorted(self.doubtful)

        async def none_in_doubt() -> bool:
            rows = await self.world.load("orders", {"signal_id": names, "status": ["SUBMITTING", "UNKNOWN"]})
            return not rows

        left = self.recovers_since + SETTLED_WITHIN_SECONDS - time.monotonic()
        await until(none_in_doubt, seconds=left, what=lambda: f"all of {names} are settled")
        self.doubtful.clear()
        self.say(f"all in doubt settled {time.monotonic() - self.recovers_since:.1f} s after the start")

    async def _in_doubt(self) -> list[Document]:
        if self.world.real is None and not self.world.data.exists():
            return []
        return await self.world.load("orders", {"status": ["SUBMITTING", "UNKNOWN"]})

    # ------------------------------------------------------------------ the components

    async def kill_mongod(self) -> None:
        """kill -9 of the database under load; it comes back after a moment, which the service may not live to see."""
        mongod = self._servers().mongod
        service = await self._under_load()
        await asyncio.to_thread(mongod.kill)
        self.feed()  # what comes now can be made durable, and acknowledged, only later
        away = self.dice.uniform(0.0, 4.0)
        await asyncio.sleep(away)
        fate = self.dice.choice(("survives", "killed meanwhile", "killed and started meanwhile"))
        if fate != "survives":
            service.kill()
            self.kills, self.service = self.kills + 1, None
        if fate == "killed and started meanwhile":
            self.start()
        await asyncio.to_thread(mongod.start)
        self.recovers_since = time.monotonic()
        self.say(f"mongod killed, started again after {away:.1f} s; the service: {fate}")

    async def pause_mongod(self) -> None:
        """SIGSTOP of the database under load: connections stay, nothing answers, leases run out."""
        mongod = self._servers().mongod
        await self._under_load()
        mongod.pause()
        self.feed()
        await asyncio.sleep(PAUSE_SECONDS)
        mongod.resume()
        self.recovers_since = time.monotonic()
        self.say(f"mongod stopped for {PAUSE_SECONDS:g} s, and went on")

    async def step_down(self) -> None:
        """The database gives up being primary under load, and is primary again seconds later."""
        mongod = self._servers().mongod
        await self._under_load()
        await asyncio.to_thread(mongod.step_down, 5)
        await asyncio.to_thread(mongod.wait_until_primary)
        self.recovers_since = time.monotonic()
        self.say("mongod stepped down, and is primary again")

    async def restart_emulator(self) -> None:
        """kill -9 of the bus under load: what it held is gone; set up again, and published again by the producer."""
        emulator = self._servers().emulator
        await self.running()
        async with self.producer.paused():
            # What came earlier must not need to be published again: the service has it, or this run has failed.
            before = await self.producer.all_known(SETTLED_WITHIN_SECONDS)
        service = await self._under_load()
        async with self.producer.paused():
            # A burst that the service has no time to fetch is lost for certain.
            service.process.send_signal(signal.SIGSTOP)
            self.feed()
            await self.producer.burst()
            killed_at = datetime.now(UTC)
            await asyncio.to_thread(emulator.kill)
            service.process.send_signal(signal.SIGCONT)
            await asyncio.to_thread(emulator.start)
            await set_up(self.world)
            self.bus_lost = (killed_at - LISTENER_LAGS, datetime.now(UTC))
            again = await self.producer.publish_lost(before)
        self.recovers_since = time.monotonic()
        self.say(f"emulator killed, set up again; {again} orders published again")

    async def _under_load(self) -> Service:
        service = await self.running()
        self.feed()
        await asyncio.sleep(self.dice.uniform(0.2, 1.5))
        return service

    def _servers(self) -> Servers:
        if self.servers is None:
            raise RuntimeError("the embedded components cannot be killed apart from the service")
        return self.servers

    # ------------------------------------------------------------------ the end

    async def settled(self, count: int) -> None:
        """Everything has ended and is delivered, within the time that was promised; then a stop in good order."""
        service = await self.running()
        begin = max(self.recovers_since, self.producer.done_at)
        left = begin + SETTLED_WITHIN_SECONDS - time.monotonic()
        await self.world.settled(count, seconds=left)
        self.say(f"everything settled {time.monotonic() - begin:.1f} s after the last start, order or outage")
        code = await asyncio.to_thread(service.stop)
        if code != 0:
            raise AssertionError(f"the drained service ended with {code}:\n{service.console[-3000:]}")


async def set_up(world: World) -> None:
    """Topics and subscriptions; the orders' with a short ack deadline, which is what a killed service costs in time."""
    if world.real is not None:
        host, project = world.real.emulator, f"projects/{world.real.project}"
        topic, subscription = f"{project}/topics/{ORDERS_TOPIC}", f"{project}/subscriptions/{ORDERS_SUBSCRIPTION}"
        wanted = {"topic": topic, "ackDeadlineSeconds": ACK_DEADLINE_SECONDS, "enableMessageOrdering": True}
        if not await asyncio.to_thread(ask, host, "GET", f"/v1/{project}/topics"):
            await asyncio.to_thread(ask, host, "PUT", f"/v1/{topic}", {})
            await asyncio.to_thread(ask, host, "PUT", f"/v1/{subscription}", wanted)
    await world.set_up()


Event = Callable[[], Awaitable[None]]


def plan(chaos: Chaos, kills: int, pauses: int, step_downs: int) -> list[Event]:
    """What happens, in which order: the components are hurt somewhere among the kills, or after them."""
    events: list[Event] = [chaos.kill_service] * kills
    if chaos.servers is not None:
        others = [chaos.kill_mongod, chaos.restart_emulator]
        others += [chaos.pause_mongod] * pauses + [chaos.step_down] * step_downs
        for event in others:
            # Often the last: what a component's death does to a service must not be healed by killing that too.
            place = len(events) if chaos.dice.random() < 0.4 else chaos.dice.randint(1, len(events))
            events.insert(place, event)
    return events


async def run(
    world: World,
    count: int,
    kills: int,
    dice: random.Random,
    servers: Servers | None = None,
    *,
    pauses: int = 0,
    step_downs: int = 0,
) -> tuple[Findings, list[str]]:
    """Feed, hurt, restart, settle, check."""
    world.variables["WORKER_LEASE_SECONDS"] = f"{LEASE_SECONDS:g}"
    load = messages(count, dice)
    await set_up(world)
    async with Producer(world, load, random.Random(dice.random())) as producer, Listener(world) as listener:
        chaos = Chaos(world, dice, producer, servers)
        try:
            events = plan(chaos, kills, pauses, step_downs)
            outages = (chaos.kill_mongod, chaos.pause_mongod, chaos.restart_emulator)  # in which orders come as well
            chaos.shares = len(events) + 1 + sum(event in outages for event in events)
            for event in events:
                await event()
            await chaos.running()
            producer.allow(count)
            await producer.finished()
            await chaos.settled(count)
        finally:
            if chaos.service is not None:
                with chaos.service:
                    pass
        await heard_all(world, listener, chaos.bus_lost)
        confirmations = list(listener.heard)
    found = await check(world, [message["signal_id"] for message in load], confirmations, bus_lost=chaos.bus_lost)
    wrong = list(found.wrong)
    if len(found.not_placed) > chaos.kills * SLOTS * len(ACCOUNTS):
        wrong.append(f"{len(found.not_placed)} orders were not placed: more than the slots of {chaos.kills} kills")
    return found, wrong


async def heard_all(world: World, listener: Listener, bus_lost: Period | None) -> None:
    """Wait until the listener has what is delivered; `check` says what is missing if it never has."""
    rows = await world.load("outbox", {"channel": "confirmations", "delivered_at": Not(None)})
    due = [row for row in rows if bus_lost is None or not bus_lost[0] <= row["delivered_at"] <= bus_lost[1]]
    expected = {row["attributes"]["confirmation_id"] for row in due}

    async def all_heard() -> bool:
        return expected <= {message["confirmation_id"] for message in listener.heard}

    with contextlib.suppress(AssertionError):
        await until(all_heard, seconds=30, what="the confirmations are heard")


@contextlib.asynccontextmanager
async def real_components(directory: Path) -> AsyncIterator[Servers]:
    """A mongod and an emulator of this run's own."""
    owner = ProcessId.of(os.getpid())
    servers = Servers(Mongod(directory / "mongod", owner), Emulator(directory / "emulator", owner))
    try:
        await asyncio.gather(asyncio.to_thread(servers.mongod.start), asyncio.to_thread(servers.emulator.start))
        os.environ["PUBSUB_EMULATOR_HOST"] = servers.emulator.host
        yield servers
    finally:
        servers.mongod.kill()
        servers.emulator.kill()


async def play(options: argparse.Namespace, seed: int, directory: Path) -> tuple[Findings, list[str]]:
    """A whole run on the components that were asked for."""
    variables = {
        "ACCOUNTS": json.dumps({name: {"name": name.upper(), "broker": "mock"} for name in ACCOUNTS}),
        # Symbols with an order in doubt wait for it: settled soon, the next kill finds all of them busy again.
        "UNKNOWN_SETTLE_SECONDS": "0.5",
        "MOCK_BROKER_PARTIAL_FILLS": "2",
        "MOCK_BROKER_FILL_DELAY_SECONDS": "0.05",
        "MOCK_BROKER_REJECT_PROBABILITY": "0.05",
        "MOCK_BROKER_SEED": str(seed),
    }
    dice = random.Random(seed)
    if options.embedded:
        return await run(World(directory, variables), options.orders, options.kills, dice)
    async with real_components(directory) as servers:
        real = Real(servers.mongod.uri, DATABASE, servers.emulator.host, PROJECT)
        world = World(directory, variables, real)
        return await run(
            world, options.orders, options.kills, dice, servers, pauses=options.pauses, step_downs=options.step_downs
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5, help="of the service")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--embedded", action="store_true", help="the embedded components, which need no server")
    parser.add_argument("--pauses", type=int, default=0, help=f"stop mongod for {PAUSE_SECONDS:g} s so many times")
    parser.add_argument("--step-downs", type=int, default=0, help="let mongod step down so many times")
    parser.add_argument("--keep", action="store_true", help="leave the logs and the book where they are")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    directory = Path(tempfile.mkdtemp(prefix="exec-chaos-"))
    started = time.monotonic()
    print(f"{options.orders} orders, {options.kills} kills, seed {seed}, in {directory}", flush=True)
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
