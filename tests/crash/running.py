"""One run: a story, a point at which the service is stopped or disturbed, the lives after it, and the judgement."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exec_service.stores import Not, StoreError

from crash import judging
from crash.scenarios import AT_THE_BROKER, FINAL, Scenario
from crash.seams import Choice, Point, Variant, at, storm
from crash.virtual import VirtualTime, run
from crash.workers import LOOK_SECONDS, Worker
from crash.world import World
from crash.wrapped import HEARTBEAT, TAKE_LEASE, is_of_leases

#: How long the service may take, after a start, until everything is settled; virtual seconds.
SETTLED_WITHIN_SECONDS: Final = 90.0
#: How long nothing more must happen before a life is called quiet.
QUIET_SECONDS: Final = 0.8
#: So many processes of a run may meet with a storm.
STORM_LIVES: Final = 4
NAMES: Final = ("worker-1", "worker-2")
#: Where several share the accounts, nobody is to wait long for a lease to be over.
SHARED_LEASE_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Plan:
    """What is repeated exactly by the same plan. `points`: of the first life, of the one after it, and so on."""

    scenario: str
    seed: int
    points: tuple[Point, ...] = ()
    #: Instead of points: anything at any effect of the first lives, by the seed.
    storm: bool = False
    #: How many processes there are at once.
    workers: int = 1
    #: Under which id the next process starts, of one worker alone: the "same", "another", or one or the other.
    heir: str = ""

    def __str__(self) -> str:
        words = [f"--scenario {self.scenario} --seed {self.seed}"]
        if self.workers > 1:
            words.append(f"--workers {self.workers}")
        if self.heir:
            words.append(f"--heir {self.heir}")
        if self.storm:
            words.append("--storm 1")
        for name, point in zip(("", "then-"), self.points, strict=False):
            worker = f"--{name}worker {point.worker} " if self.workers > 1 else ""
            words.append(f"{worker}--{name}point {point.number} --{name}variant {point.variant}")
        return " ".join(words)


@dataclass
class Outcome:
    """What came of a run: the effects of each life, what happened at which of them, and what is wrong."""

    plan: Plan
    lives: list[list[str]] = field(default_factory=list)
    met: list[dict[int, Variant]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    #: Each effect in turn, with the number of the worker, until the run ended.
    course: list[tuple[int, str]] = field(default_factory=list)
    #: What the store refused to those that had lost their lease.
    refused: Counter[str] = field(default_factory=Counter)
    #: Orders that reached the broker when their sender's lease had been over for as long again.
    late: int = 0


class Run:
    """What every run is made of: the story, the lives, and the judgement at the end."""

    def __init__(self, plan: Plan, scenario: Scenario, world: World) -> None:
        self.plan = plan
        self.scenario = scenario
        self.world = world
        self.dice = random.Random(f"{plan.seed} {plan.scenario}")
        #: Orders that a stop, or an answer that never came, caught while they were being sent.
        self.caught: set[str] = set()
        self.playing: asyncio.Task[None] | None = None
        self.outcome = Outcome(plan)

    async def play(self) -> Outcome:
        """The whole run."""
        self.playing = asyncio.create_task(self.scenario.play(self.world), name="the world")  # type: ignore[arg-type]
        wrong, world = self.outcome.wrong, self.world
        try:
            problem = await self.live()
            wrong += world.witness.wrong
            if problem is not None:
                wrong.append(problem)
            if not wrong:
                wrong += await judging.judge(world, self.scenario, self._sent(), self.caught, world.witness.late)
            if not wrong:
                wrong += await self._start_again()
        finally:
            for worker in world.workers:
                await self.bury(worker)
            self.playing.cancel()
            await asyncio.wait([self.playing])
            if not self.playing.cancelled() and self.playing.exception() is not None:
                wrong.append(f"the story could not go on: {self.playing.exception()}")
        for worker in world.workers:
            self.outcome.refused += worker.seams.refused
        self.outcome.late = len(world.witness.late)
        return self.outcome

    async def live(self) -> str | None:
        """Everything until all is settled and quiet; what is wrong, if anything."""
        raise NotImplementedError

    def start(self, worker_id: str, choose: Choice) -> Worker:
        """A new process."""
        worker = Worker(self.world, worker_id, choose, self.dice)
        number = len(self.outcome.lives) + 1
        worker.seams.log = lambda name: self.outcome.course.append((number, name))
        self.outcome.lives.append(worker.seams.effects)
        self.outcome.met.append(worker.seams.met)
        return worker

    async def bury(self, worker: Worker) -> None:
        """The process has ended, for all to see."""
        if not worker.seams.buried:
            self.world.witness.dead.add(worker.worker_id)
            await worker.bury()

    def _sent(self) -> Counter[str]:
        return sum((worker.seams.sent for worker in self.world.workers), Counter[str]())

    async def _start_again(self) -> list[str]:
        """A start with nothing new: it must find nothing to do."""
        for worker in self.world.workers:
            await self.bury(worker)
        before = await judging.told(self.world)
        worker = self.start(NAMES[len(self.outcome.lives) % 2], at(None))
        problem = await self.until_quiet(worker)
        if problem is not None:
            return [problem]
        wrong = [f"a start with nothing new did this: {name}" for name in worker.seams.effects if not _is_book(name)]
        if await judging.told(self.world) != before:
            wrong.append("a start with nothing new changed what was stored")
        return wrong

    async def until_quiet(self, worker: Worker) -> str | None:
        """One life: until its point kills it, it stops as asked, or all is settled and quiet; what is wrong, if any."""
        clock, seams = self.world.clock, worker.seams
        deadline, quiet_since, seen = clock.seconds + SETTLED_WITHIN_SECONDS, clock.seconds, -1
        halted = asyncio.create_task(seams.halted.wait())
        try:
            while True:
                await asyncio.wait([halted, worker.running], timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if halted.done():
                    return None
                if worker.running.done():
                    return self._ending(worker)
                if worker.losses:
                    return f"{worker.worker_id} lost its lease although nobody else was there"
                if activity(worker) != seen or not worker.is_ready:
                    seen, quiet_since = activity(worker), clock.seconds
                elif clock.seconds - quiet_since >= QUIET_SECONDS:
                    unsettled = await self.unsettled()
                    if unsettled is None:
                        return None
                    if clock.seconds > deadline:
                        return f"not settled within {SETTLED_WITHIN_SECONDS:g} s: {unsettled}"
        finally:
            halted.cancel()
            await asyncio.wait([halted])

    def _ending(self, worker: Worker) -> str | None:
        """What is wrong with the end of a process that ended by itself."""
        error = worker.running.exception()
        if error is None and worker.is_stop_asked:
            return None
        last = worker.seams.effects[-1] if worker.seams.effects else ""
        if isinstance(error, StoreError) and last == TAKE_LEASE and worker.seams.met:
            return None  # the store was away as it began: it ends with a sentence, and is started again
        return f"the service ended by itself: {error!r}"

    async def unsettled(self) -> str | None:
        """What has not come to its end yet."""
        world = self.world
        if self.playing is not None and not self.playing.done():
            return "the story is not over"
        if world.waiting_messages():
            return f"{world.waiting_messages()} messages are not acknowledged"
        for order in await world.load("orders", {"status": Not(list(FINAL))}):
            if order["signal_id"] in world.witness.late and order["status"] in AT_THE_BROKER:
                continue  # it was given up, and is a matter for people now
            return f"{order['signal_id']} is {order['status']} ({order['attention']})"
        for row in await world.load("outbox", {"delivered_at": None}):
            return f"{row['_id']} is not delivered"
        for command in await world.load("commands", {"state": "OPEN"}):
            return f"the command {command['_id']} is not answered"
        return None

    async def note_caught(self, is_disturbed: bool) -> None:
        """Which orders are between SUBMITTING and the broker's answer now, or were while something was disturbed."""
        for order in await self.world.load("orders"):
            statuses = {entry["status"] for entry in order["history"]}
            if order["status"] in ("SUBMITTING", "UNKNOWN") or (is_disturbed and "UNKNOWN" in statuses):
                self.caught.add(order["signal_id"])


class AloneRun(Run):
    """One worker, one life after the other."""

    async def live(self) -> str | None:
        """See `Run.live`."""
        while True:
            number = len(self.outcome.lives)
            point = self.plan.points[number] if number < len(self.plan.points) else None
            stormy = self.plan.storm and number < STORM_LIVES
            worker = self.start(self._name(number), storm(self.dice) if stormy else at(point))
            problem = await self.until_quiet(worker)
            is_over = worker.seams.halted_by is None and not worker.running.done()
            await self.note_caught(stormy or point is not None)
            await self.bury(worker)
            if problem is not None or is_over:
                return problem

    def _name(self, number: int) -> str:
        """Of the lives after the first, some run under the same id, some under another."""
        first = self.plan.points[0].number if self.plan.points else self.plan.seed
        place = {"same": 0, "another": number}.get(self.plan.heir, number * first)
        return NAMES[place % len(NAMES)]


def activity(worker: Worker) -> int:
    """How much the process has done, heartbeats apart."""
    return sum(name != HEARTBEAT for name in worker.seams.effects)


def play(
    plan: Plan,
    scenario: Scenario,
    broken: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    is_silent: bool = True,
) -> Outcome:
    """Play the plan; `broken` makes an engine that is broken on purpose."""
    from crash.together import RunTogether  # it is made of what is above

    clock = VirtualTime()
    shared_memory = Path("/dev/shm")  # what is written there need not reach a disk
    place = shared_memory if shared_memory.is_dir() else None
    directory = Path(tempfile.mkdtemp(prefix="exec-crash-", dir=place))
    random.seed(plan.seed)  # what the service itself leaves to chance: its waits, and ids of messages
    lease_seconds = scenario.lease_seconds if plan.workers == 1 else SHARED_LEASE_SECONDS
    kind = AloneRun if plan.workers == 1 else RunTogether

    async def work() -> Outcome:
        world = World(directory, clock, scenario.venue, accounts=scenario.accounts, lease_seconds=lease_seconds)
        async with world:
            with broken():
                return await kind(plan, scenario, world).play()

    try:
        with _silence() if is_silent else nullcontext():
            return run(clock, work())
    finally:
        shutil.rmtree(directory)


def _is_book(name: str) -> bool:
    """Whether an effect concerns only who owns the account and how its session stands."""
    return name in ("commit accounts", "commit 2 accounts") or is_of_leases(name)


@contextmanager
def _silence() -> Iterator[None]:
    """What the service says of its misfortunes is not of interest here."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.CRITICAL))
    try:
        yield
    finally:
        logging.disable(before)
