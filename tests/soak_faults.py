"""The faults of a soak run: one at a time, each undone again; every kind comes before one comes twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from chaos_bus import LISTENER_LAGS, Servers, set_up
from chaos_workers import Fleet, Worker
from emulator import ask
from exec_broker_mock.faults import FaultKind
from exec_broker_mock.faults import Faults as Venue
from harness import CONFIRMATIONS_SUBSCRIPTION, CONFIRMATIONS_TOPIC, World, until
from invariants import Period
from producer import Producer
from telegram_server import TelegramServer

RECOVERED_SECONDS = 180.0

#: Faults of the venue that wait for the next orders they meet: how many, and for how long.
AT_THE_VENUE: dict[FaultKind, tuple[int, float | None]] = {
    FaultKind.LOSE_ANSWER: (4, None),
    FaultKind.LOSE_ORDER: (2, None),
    FaultKind.HANG: (2, None),
    FaultKind.HANG_BEFORE: (1, None),
    FaultKind.REFUSE: (3, None),
    FaultKind.DELAY: (4, 2.0),
    FaultKind.HIDDEN: (2, 3.0),
    FaultKind.LOOKUP_FAILS: (3, None),
    FaultKind.INCOMPLETE: (3, None),
    FaultKind.DUPLICATE: (10, None),
    FaultKind.REORDER: (5, None),
    FaultKind.LATE_COMMISSION: (5, 3.0),
    FaultKind.CANCEL_IGNORED: (2, None),
    FaultKind.CANCEL_LOST: (2, None),
}


@dataclass
class Mischief:
    """Everything that can be done to the parts of one run."""

    world: World
    dice: random.Random
    producer: Producer
    servers: Servers
    fleet: Fleet
    venue: Venue
    telegram: TelegramServer
    say: Callable[[str], None]
    #: Until when the first worker may be killed or stopped: its memory is looked at from then on.
    spares_first_from: float = 0.0
    bus_lost: list[Period] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    _deck: list[Callable[[], Awaitable[str]]] = field(default_factory=list)

    async def strike(self) -> None:
        """The next fault, from its beginning until it is undone."""
        await self.fleet.running(RECOVERED_SECONDS)
        if not self._deck:
            self._deck = self._all()
            self.dice.shuffle(self._deck)
        fault = self._deck.pop()
        begin = time.monotonic()
        told = await fault()
        self.done[fault.__name__] += 1
        self.say(f"{fault.__name__.replace('_', ' ')}: {told} ({time.monotonic() - begin:.1f} s)")

    def clear(self) -> None:
        """Nothing is wrong any more; what is armed at the venue is disarmed."""
        self.venue.clear()
        self.telegram.come_back()
        self.telegram.behave()

    def _all(self) -> list[Callable[[], Awaitable[str]]]:
        of_workers = [self.worker_killed, self.worker_paused, self.worker_stopped]
        of_mongod = [self.mongod_killed, self.mongod_paused, self.primary_stepped_down]
        of_the_bus = [self.emulator_restarted, self.emulator_paused, self.publishing_fails]
        of_telegram = [self.telegram_away, self.telegram_hangs, self.telegram_too_many, self.telegram_fails]
        of_the_broker = [self.broker_disconnects, self.broker_wants_login, *[self.broker_misbehaves] * 4]
        return [*of_workers * 2, *of_mongod, *of_the_bus, *of_telegram, self.telegram_refuses, *of_the_broker]

    # ------------------------------------------------------------------ workers

    def _victim(self) -> Worker:
        workers = self.fleet.workers
        return self.dice.choice(workers[1:] if time.monotonic() > self.spares_first_from else workers)

    async def worker_killed(self) -> str:
        """kill -9; it comes back after a while, under the same id or another."""
        worker = self._victim()
        self.fleet.kill(worker)
        await asyncio.sleep(self.dice.uniform(0, 8))
        self.fleet.start(worker)
        await self.fleet.running(RECOVERED_SECONDS)
        return f"{worker.name}, with {len(self.fleet.door.losses[-1].accounts)} accounts"

    async def worker_stopped(self) -> str:
        """SIGTERM, and started again."""
        worker = self._victim()
        await self.fleet.stop(worker)
        await self.fleet.taken_over(RECOVERED_SECONDS)
        self.fleet.start(worker)
        await self.fleet.running(RECOVERED_SECONDS)
        return f"{worker.name}, with {len(self.fleet.door.losses[-1].accounts)} accounts"

    async def worker_paused(self) -> str:
        """SIGSTOP until its lease has run out and others have its accounts."""
        serving = [worker for worker in self.fleet.workers if self.fleet.door.accounts_of(worker.pid)]
        worker = self.dice.choice(serving or self.fleet.workers)
        await self.fleet.pause(worker, lambda: None, RECOVERED_SECONDS)
        return f"{worker.name}, with {len(self.fleet.door.losses[-1].accounts)} accounts"

    # ------------------------------------------------------------------ database

    async def mongod_killed(self) -> str:
        """kill -9, and started again."""
        begin, away = time.monotonic(), self.dice.uniform(0, 6)
        await asyncio.to_thread(self.servers.mongod.kill)
        await asyncio.sleep(away)
        await asyncio.to_thread(self.servers.mongod.start)
        self._back(begin)
        return f"started again after {away:.1f} s"

    async def mongod_paused(self) -> str:
        """SIGSTOP for longer than a lease."""
        begin, away = time.monotonic(), self.dice.uniform(1, 2.5) * self.fleet.lease_seconds
        self.servers.mongod.pause()
        await asyncio.sleep(away)
        self.servers.mongod.resume()
        self._back(begin)
        return f"for {away:.1f} s"

    async def primary_stepped_down(self) -> str:
        """It is primary again some seconds later."""
        begin = time.monotonic()
        await asyncio.to_thread(self.servers.mongod.step_down, 5)
        await asyncio.to_thread(self.servers.mongod.wait_until_primary)
        self._back(begin)
        return "and is primary again"

    def _back(self, gone_at: float) -> None:
        self.fleet.door.silences.append((None, gone_at, time.monotonic() + 2 * self.fleet.lease_seconds))

    # ------------------------------------------------------------------ bus

    async def emulator_restarted(self) -> str:
        """kill -9: it forgets topics, subscriptions and messages; what was not stored yet is published again."""
        async with self.producer.paused():
            before = await self.producer.all_known(RECOVERED_SECONDS)
            await self.producer.burst()
            killed_at = datetime.now(UTC)
            await asyncio.to_thread(self.servers.emulator.kill)
            await asyncio.to_thread(self.servers.emulator.start)
            await set_up(self.world)
            self.bus_lost.append((killed_at - LISTENER_LAGS, datetime.now(UTC)))
            again = await self.producer.publish_lost(before)
        return f"{again} messages published again"

    async def emulator_paused(self) -> str:
        """SIGSTOP: calls hang, those that publish as well as those that pull."""
        away = self.dice.uniform(5, 15)
        self.servers.emulator.pause()
        await asyncio.sleep(away)
        self.servers.emulator.resume()
        return f"for {away:.1f} s"

    async def publishing_fails(self) -> str:
        """The topic of the confirmations is gone for a while; orders go on."""
        if self.world.real is None:
            raise RuntimeError("there is no emulator")
        away, begin = self.dice.uniform(5, 15), datetime.now(UTC)
        project = f"/v1/projects/{self.world.real.project}"
        for path in (f"subscriptions/{CONFIRMATIONS_SUBSCRIPTION}", f"topics/{CONFIRMATIONS_TOPIC}"):
            await asyncio.to_thread(ask, self.servers.emulator.host, "DELETE", f"{project}/{path}")
        await asyncio.sleep(away)
        await self.world.set_up()
        self.bus_lost.append((begin - LISTENER_LAGS, datetime.now(UTC)))
        return f"for {away:.1f} s"

    # ------------------------------------------------------------------ Telegram

    async def telegram_away(self) -> str:
        """Connections are closed without an answer."""
        away = self.dice.uniform(5, 20)
        self.telegram.go_away()
        await asyncio.sleep(away)
        self.telegram.come_back()
        return f"for {away:.1f} s"

    async def telegram_hangs(self) -> str:
        """It takes two messages, and answers neither in time."""
        self.telegram.misbehave(self.telegram.hangs(), self.telegram.hangs())
        await asyncio.sleep(self.dice.uniform(12, 25))
        self.telegram.behave()
        return "on two messages, which it took"

    async def telegram_too_many(self) -> str:
        """429 with a pause, three times."""
        self.telegram.misbehave(*[self.telegram.too_many(2)] * 3)
        await asyncio.sleep(10)
        return "three times"

    async def telegram_fails(self) -> str:
        """502, four times."""
        self.telegram.misbehave(*[self.telegram.fails(502)] * 4)
        await asyncio.sleep(10)
        return "502, four times"

    async def telegram_refuses(self) -> str:
        """400: it will never take this one."""
        self.telegram.misbehave(self.telegram.refuses("Bad Request: text is strange"))
        await asyncio.sleep(3)
        return "one message, for ever"

    # ------------------------------------------------------------------ broker

    async def broker_disconnects(self) -> str:
        """Sessions are lost, and none can be opened for some seconds: one account's, or all."""
        account_id = self.dice.choice([None, *self.fleet.door.holders()])
        away = self.dice.uniform(3, 12)
        await self._script(FaultKind.DISCONNECT, account_id=account_id, seconds=away)
        await asyncio.sleep(away)
        return f"{account_id or 'all accounts'} for {away:.1f} s"

    async def broker_wants_login(self) -> str:
        """Orders are held back."""
        away = self.dice.uniform(3, 12)
        await self._script(FaultKind.LOGIN, seconds=away)
        await asyncio.sleep(away)
        return f"for {away:.1f} s"

    async def broker_misbehaves(self) -> str:
        """Two kinds of what can happen to an order, for the next that come."""
        kinds = self.dice.sample(list(AT_THE_VENUE), 2)
        for kind in kinds:
            count, seconds = AT_THE_VENUE[kind]
            await self._script(kind, count=count, seconds=seconds)
            self.done[f"broker_misbehaves: {kind}"] += 1
        return ", ".join(kinds)

    async def _script(self, kind: FaultKind, **options: object) -> None:
        async def scripted() -> bool:
            await asyncio.to_thread(self.venue.script, kind, **options)  # type: ignore[arg-type]
            return True

        await until(scripted, seconds=10, what=f"{kind} is scripted")
