"""Several workers at once: one of them stops dead, vanishes or stands still at a point, and the others go on.

Who stands still goes on later, from exactly there: before twice its lease is over (`stalled`), or when the others have
settled everything (`paused`). If it was fenced meanwhile it must write nothing and begin nothing, and say so.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

from crash.running import QUIET_SECONDS, SETTLED_WITHIN_SECONDS, SHARED_LEASE_SECONDS, Run, activity
from crash.seams import AMONG_OTHERS, Choice, Point, Variant
from crash.workers import LOOK_SECONDS, Worker

#: A stall lasts so many leases, counted from the last heartbeat; a send that stalls goes on just before the second
#: lease is over, which is the last moment at which it must be counted with.
STALL_LEASES: Final = (1.05, 1.95)
#: Whoever finds nobody alive starts a new worker; people are that quick.
RESTART_SECONDS: Final = (0.3, 2.0)
#: In a storm: so many events at most, each effect with this probability.
STORM_EVENTS, STORM_PROBABILITY = 8, 0.04
#: A frozen worker's pause in a storm, in leases.
STORM_PAUSE_LEASES: Final = (0.1, 3.0)


class Script:
    """What happens to whom: the points, one after the other."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = list(points)
        self._counted: Counter[int] = Counter()

    @property
    def is_played(self) -> bool:
        """Whether everything has happened that is to happen."""
        return not self._points

    def of(self, number: int) -> Choice:
        """What happens to one of the workers. Each point is counted from the point before."""

        def choose(_number: int) -> Variant | None:
            self._counted[number] += 1
            point = self._points[0] if self._points else None
            if point is None or (point.worker, point.number) != (number, self._counted[number]):
                return None
            self._points.pop(0)
            self._counted.clear()
            return point.variant

        return choose


class Weather(Script):
    """A storm: now and then anything to anybody, for a while."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__(())
        self._dice = dice
        self._left = STORM_EVENTS

    def of(self, number: int) -> Choice:
        """See `Script.of`."""

        def choose(_number: int) -> Variant | None:
            if self._left == 0 or self._dice.random() > STORM_PROBABILITY:
                return None
            self._left -= 1
            return self._dice.choice([*AMONG_OTHERS, Variant.LOST, Variant.FAILED])

        return choose


class RunTogether(Run):
    """See the module's text."""

    async def live(self) -> str | None:
        """See `Run.live`."""
        world, plan = self.world, self.plan
        self._script = Weather(self.dice) if plan.storm else Script(plan.points)
        self._back_at: dict[Worker, float] = {}
        self._restart_at: float | None = None
        self._is_disturbed = False
        self._woken = 0
        world.join = self._join
        for _ in range(plan.workers - self.scenario.late):
            self._join()
        clock = world.clock
        seen, quiet_since, deadline = -1, clock.seconds, clock.seconds + SETTLED_WITHIN_SECONDS
        while True:
            await self._wait()
            problem = await self._look_after_all()
            if problem is not None:
                return problem
            did = sum(activity(worker) for worker in world.workers) + self._woken
            if did != seen or not all(worker.is_ready for worker in self._running()):
                seen, quiet_since = did, clock.seconds
                continue
            if clock.seconds - quiet_since < QUIET_SECONDS:
                continue
            unsettled = await self._open_matters()
            if unsettled is not None:
                if clock.seconds > deadline:
                    return f"not settled within {SETTLED_WITHIN_SECONDS:g} s: {unsettled}"
                continue
            if self._let_go_on():
                seen, deadline = -1, clock.seconds + SETTLED_WITHIN_SECONDS
                continue
            if not self._script.is_played and not plan.storm:
                return "the points were never reached"
            return await self._good_bye()

    def _join(self) -> None:
        number = len(self.world.workers) + 1
        self.start(f"worker-{number}", self._script.of(number))

    def _running(self) -> list[Worker]:
        """Those that are neither dead, gone, frozen nor at their end."""
        return [worker for worker in self.world.workers if worker.seams.halted_by is None and not worker.running.done()]

    def _frozen(self) -> list[Worker]:
        return [
            worker
            for worker in self.world.workers
            if worker.seams.halted_by is not None and worker.seams.halted_by.freezes and not worker.seams.buried
        ]

    async def _wait(self) -> None:
        """For whatever happens to a worker, or a moment."""
        running = self._running()
        halts = [asyncio.create_task(worker.seams.halted.wait()) for worker in running]
        ends = [worker.running for worker in running]
        await asyncio.wait(
            [*halts, *ends, asyncio.create_task(asyncio.sleep(LOOK_SECONDS))], return_when="FIRST_COMPLETED"
        )
        for halt in halts:
            halt.cancel()
        await asyncio.gather(*halts, return_exceptions=True)

    async def _look_after_all(self) -> str | None:
        """Bury the dead, wake whose time has come, start one where nobody is left; what is wrong, if anything."""
        clock, plan = self.world.clock, self.plan
        for worker in self.world.workers:
            variant = worker.seams.halted_by
            if variant is not None and not worker.was_seen_halted:
                worker.was_seen_halted = worker.was_halted = True
                self._is_disturbed = True
                await self.note_caught(True)
                if variant.is_provable:
                    await self.bury(worker)
                elif variant.freezes and (variant.is_stall or plan.storm):
                    self._back_at[worker] = self._time_to_go_on(worker)
            elif worker.running.done() and not worker.seams.buried:
                problem = self._ending(worker)
                if problem is not None:
                    return problem
                await self.bury(worker)
            if worker.losses and not worker.was_halted and not worker.is_disturbed:
                return f"{worker.worker_id} lost its lease although it was alive all the time"
            if worker in self._back_at and clock.seconds >= self._back_at[worker]:
                del self._back_at[worker]
                self._wake(worker)
        if self._running() or (self._back_at and not plan.storm):
            self._restart_at = None
        elif self._restart_at is None:
            self._restart_at = clock.seconds + self.dice.uniform(*RESTART_SECONDS)
        elif clock.seconds >= self._restart_at:
            self._join()
        return None

    def _time_to_go_on(self, worker: Worker) -> float:
        now, lease = self.world.clock.seconds, SHARED_LEASE_SECONDS
        if self.plan.storm:
            return now + lease * self.dice.uniform(*STORM_PAUSE_LEASES)
        silent_for = self.world.clock.time() - self.world.witness.last_heartbeat(worker.worker_id)
        first, last = STALL_LEASES
        leases = last if worker.seams.halted_at.startswith("send ") else self.dice.uniform(first, last)
        return max(now, now + leases * lease - silent_for)

    def _wake(self, worker: Worker) -> None:
        self._woken += 1
        worker.was_seen_halted = False
        worker.lease_when_woken = worker.seams.lease
        worker.losses_when_woken = worker.losses
        worker.seams.go_on()

    def _let_go_on(self) -> bool:
        """Wake whom the others have waited for no longer; whether there was somebody."""
        frozen = [worker for worker in self._frozen() if worker not in self._back_at]
        for worker in frozen:
            self._wake(worker)
        return bool(frozen) or bool(self._back_at)

    async def _open_matters(self) -> str | None:
        """What is not settled yet; that accounts are served by somebody who lives is part of it."""
        problem = await self.unsettled()
        if problem is not None:
            return problem
        living = {worker.worker_id for worker in self._running()}
        for account_id in self.scenario.accounts:
            owner = self.world.witness.owner(account_id)
            if owner not in living:
                return f"{account_id} is served by nobody who lives, but by {owner}"
        return None

    async def _good_bye(self) -> str | None:
        """All is settled, and everybody who stood still has gone on; what is wrong with them, if anything."""
        witness = self.world.witness
        await self.note_caught(self._is_disturbed)
        for worker in self.world.workers:
            lease = worker.lease_when_woken
            if lease is None or worker.seams.halted_by is not None or worker.running.done():
                continue
            if not witness.stands(lease) and worker.losses == worker.losses_when_woken:
                return f"{worker.worker_id} was fenced while it stood still, and went on as though it had not been"
        for worker in self.world.workers:
            await self.bury(worker)
        return None
