"""One run: a story, a point at which the service is stopped or disturbed, the lives after it, and the judgement."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from exec_broker_mock.broker import PLUGIN, MockBroker
from exec_core.broker import BrokerConfig, BrokerPlugin
from exec_service import bootstrap, delivery
from exec_service.service import Service
from exec_service.stores import Not

from crash import judging
from crash.scenarios import FINAL, Scenario
from crash.seams import Point, SeamBroker, SeamBus, SeamNotifier, Seams, SeamStore, Variant, at, storm
from crash.virtual import VirtualTime, run
from crash.world import CONFIRMATIONS, World

#: How long the service may take, after a start, until everything is settled; virtual seconds.
SETTLED_WITHIN_SECONDS: Final = 90.0
#: How long nothing more must happen before a life is called quiet.
QUIET_SECONDS: Final = 0.8
LOOK_SECONDS: Final = 0.1
#: So many processes of a run may meet with a storm.
STORM_LIVES: Final = 4
#: The mock venue is asked sooner than a person would wait.
SETTLE_SECONDS: Final = 1.0
ABSENCE_VIEW_SECONDS: Final = 0.25
WORKERS = ("worker-1", "worker-2")


@dataclass(frozen=True)
class Plan:
    """What is repeated exactly by the same plan. `points`: of the first life, of the one after it, and so on."""

    scenario: str
    seed: int
    points: tuple[Point, ...] = ()
    #: Instead of points: anything at any effect of the first lives, by the seed.
    storm: bool = False

    def __str__(self) -> str:
        words = [f"--scenario {self.scenario} --seed {self.seed}"]
        if self.storm:
            words.append("--storm 1")
        for name, point in zip(("", "then-"), self.points, strict=False):
            words.append(f"--{name}point {point.number} --{name}variant {point.variant}")
        return " ".join(words)


@dataclass
class Outcome:
    """What came of a run: the effects of each life, what happened at which of them, and what is wrong."""

    plan: Plan
    lives: list[list[str]] = field(default_factory=list)
    met: list[dict[int, Variant]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass
class _Life:
    """One process, from its start until it is stopped dead."""

    service: Service
    running: asyncio.Task[None]


class _Run:
    def __init__(self, plan: Plan, scenario: Scenario, world: World) -> None:
        self._plan = plan
        self._scenario = scenario
        self._world = world
        self._dice = random.Random(f"{plan.seed} {plan.scenario}")
        self._sent: Counter[str] = Counter()
        #: Orders that a stop, or an answer that never came, caught while they were being sent.
        self._caught: set[str] = set()
        self._playing: asyncio.Task[None] | None = None
        #: Whether the last life came to rest; else it was stopped, and the next begins.
        self._is_quiet = False
        self.outcome = Outcome(plan)

    async def play(self) -> Outcome:
        self._playing = asyncio.create_task(self._scenario.play(self._world), name="the world")  # type: ignore[arg-type]
        wrong = self.outcome.wrong
        try:
            while not self._is_quiet:
                number = len(self.outcome.lives)
                point = self._plan.points[number] if number < len(self._plan.points) else None
                problem = await self._live(number, point)
                if problem is not None:
                    wrong.append(problem)
                    break
            if not wrong:
                wrong += await judging.judge(self._world, self._scenario, self._sent, self._caught)
            if not wrong:
                wrong += await self._start_again()
        finally:
            self._playing.cancel()
            await asyncio.wait([self._playing])
            if not self._playing.cancelled() and self._playing.exception() is not None:
                wrong.append(f"the story could not go on: {self._playing.exception()}")
        return self.outcome

    async def _start_again(self) -> list[str]:
        """A start with nothing new: it must find nothing to do."""
        before = await judging.told(self._world)
        problem = await self._live(len(self.outcome.lives), None)
        if problem is not None:
            return [problem]
        wrong = [f"a start with nothing new did this: {name}" for name in self.outcome.lives[-1] if not _is_book(name)]
        if await judging.told(self._world) != before:
            wrong.append("a start with nothing new changed what was stored")
        return wrong

    async def _live(self, number: int, point: Point | None) -> str | None:
        """One life: until its point kills it, it stops as asked, or all is settled and quiet; what is wrong, if any."""
        stormy = self._plan.storm and number < STORM_LIVES
        seams = Seams(self._dice, storm(self._dice) if stormy else at(point))
        self.outcome.lives.append(seams.effects)
        self.outcome.met.append(seams.met)
        world, others = self._world, asyncio.all_tasks()
        # Of the lives after the first, some run under the same id, some under another.
        first = self._plan.points[0].number if self._plan.points else self._plan.seed
        settings = world.settings(WORKERS[number * first % 2])
        store = await world.store().__aenter__()
        bus = await world.bus("service").__aenter__()
        with _plugin_through(seams, world.clock):
            seam_store, seam_bus = SeamStore(store, seams), SeamBus(bus, seams)
            channels = [
                delivery.confirmations(seam_bus, CONFIRMATIONS),
                delivery.signals(seam_store),
                delivery.notifications("listener", SeamNotifier(world.heard, seams), 5.0),
            ]
            service = bootstrap.assemble(settings, seam_store, seam_bus, channels, ["listener"], lambda text: text)
            running = asyncio.create_task(service.run(), name="the service")
            world.service = service
            try:
                return await self._watch(seams, _Life(service, running))
            finally:
                await self._note_caught(stormy or point is not None)
                self._sent += seams.sent
                await _bury(seams, others)
                await bus.__aexit__(None, None, None)
                await store.__aexit__(None, None, None)

    async def _watch(self, seams: Seams, life: _Life) -> str | None:
        """Until it is dead, or has been quiet for a while."""
        world, clock = self._world, self._world.clock
        deadline, quiet_since, seen = clock.seconds + SETTLED_WITHIN_SECONDS, clock.seconds, -1
        dead = asyncio.create_task(seams.dead.wait())
        try:
            while True:
                await asyncio.wait([dead, life.running], timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if dead.done():
                    return None
                if life.running.done():
                    error = life.running.exception()
                    return (
                        None if error is None and world.is_stop_asked() else f"the service ended by itself: {error!r}"
                    )
                if len(seams.effects) != seen or not life.service.ready:
                    seen, quiet_since = len(seams.effects), clock.seconds
                elif clock.seconds - quiet_since >= QUIET_SECONDS:
                    unsettled = await self._unsettled()
                    if unsettled is None:
                        self._is_quiet = True
                        return None
                    if clock.seconds > deadline:
                        return f"not settled within {SETTLED_WITHIN_SECONDS:g} s: {unsettled}"
        finally:
            dead.cancel()
            await asyncio.wait([dead])

    async def _unsettled(self) -> str | None:
        """What has not come to its end yet."""
        world = self._world
        if self._playing is not None and not self._playing.done():
            return "the story is not over"
        if world.waiting_messages():
            return f"{world.waiting_messages()} messages are not acknowledged"
        for order in await world.load("orders", {"status": Not(list(FINAL))}):
            return f"{order['signal_id']} is {order['status']} ({order['attention']})"
        for row in await world.load("outbox", {"delivered_at": None}):
            return f"{row['_id']} is not delivered"
        for command in await world.load("commands", {"state": "OPEN"}):
            return f"the command {command['_id']} is not answered"
        return None

    async def _note_caught(self, is_disturbed: bool) -> None:
        """Which orders were between SUBMITTING and the broker's answer when this life ended, or was disturbed."""
        for order in await self._world.load("orders"):
            statuses = {entry["status"] for entry in order["history"]}
            if order["status"] in ("SUBMITTING", "UNKNOWN") or (is_disturbed and "UNKNOWN" in statuses):
                self._caught.add(order["signal_id"])


def play(
    plan: Plan,
    scenario: Scenario,
    broken: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    is_silent: bool = True,
) -> Outcome:
    """Play the plan; `broken` makes an engine that is broken on purpose."""
    clock = VirtualTime()
    shared_memory = Path("/dev/shm")  # what is written there need not reach a disk
    place = shared_memory if shared_memory.is_dir() else None
    directory = Path(tempfile.mkdtemp(prefix="exec-crash-", dir=place))
    random.seed(plan.seed)  # what the service itself leaves to chance: its waits, and ids of messages

    async def work() -> Outcome:
        async with World(directory, clock, scenario.venue) as world:
            with broken():
                return await _Run(plan, scenario, world).play()

    try:
        with _silence() if is_silent else nullcontext():
            return run(clock, work())
    finally:
        shutil.rmtree(directory)


def _is_book(name: str) -> bool:
    """Whether an effect concerns only who owns the account and how its session stands."""
    return name in ("commit accounts", "commit 2 accounts")


async def _bury(seams: Seams, others: set[asyncio.Task[Any]]) -> None:
    """Take away what is left of a process, without any effect."""
    seams.die()
    seams.buried = True
    while rest := asyncio.all_tasks() - others - {asyncio.current_task()}:
        for task in rest:
            task.cancel()
        await asyncio.wait(rest, timeout=LOOK_SECONDS)
    for broker in seams.brokers:
        await broker.__aexit__(None, None, None)


@contextmanager
def _plugin_through(seams: Seams, clock: VirtualTime) -> Iterator[None]:
    """The service finds the mock, as it is, behind a seam."""

    def create(config: BrokerConfig, settings: Any) -> Any:
        return SeamBroker(MockBroker(config, settings, clock.now), seams)

    plugin = dataclasses.replace(
        PLUGIN,
        create=create,
        unknown_settle_seconds=SETTLE_SECONDS,
        absence_view_seconds=ABSENCE_VIEW_SECONDS,
    )

    def load(name: str) -> BrokerPlugin:
        if name != PLUGIN.name:
            raise LookupError(f"only the mock is played with, not {name}")
        return plugin

    original = bootstrap.load_broker_plugin
    bootstrap.load_broker_plugin = load
    try:
        yield
    finally:
        bootstrap.load_broker_plugin = original


@contextmanager
def _silence() -> Iterator[None]:
    """What the service says of its misfortunes is not of interest here."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.CRITICAL))
    try:
        yield
    finally:
        logging.disable(before)
