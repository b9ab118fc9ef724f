"""The seams between a process and the world: every effect is counted and named, and any one can be the last.

The service knows nothing of them: it is given what `wrapped` makes of its store, bus, broker and notifier.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from exec_core.broker import Broker
from exec_service.stores import Lease, LeaseLost

from crash.virtual import Process

T = TypeVar("T")

#: An effect and its answer take so long, at least and at most: by the seed, so that they overlap differently.
LATENCY_SECONDS = (0.0002, 0.004)
#: Of a process's first effects in a storm so many, and each with this probability, meet with something.
STORM_EFFECTS, STORM_PROBABILITY = 60, 0.15


class Variant(StrEnum):
    """What happens at the point."""

    BEFORE = "before"
    """The process is stopped dead; the effect does not happen."""
    AFTER = "after"
    """The effect happens, and the process is stopped dead before it hears of it."""
    LOST = "lost"
    """The effect happens, and the service sees an error; it goes on."""
    FAILED = "failed"
    """The effect does not happen, and the service sees an error; it goes on."""
    GONE_BEFORE = "gone-before"
    """As `before`, on a machine that nobody can look at: it is silent, and not known to be dead."""
    GONE_AFTER = "gone-after"
    """As `after`, on such a machine."""
    STALLED_BEFORE = "stalled-before"
    """The process is frozen before the effect, and goes on when one lease is over, and not yet two."""
    STALLED_AFTER = "stalled-after"
    """The effect happens, the process is frozen before it hears of it, and goes on as late."""
    PAUSED_BEFORE = "paused-before"
    """The process is frozen before the effect, and goes on when others have settled everything."""
    PAUSED_AFTER = "paused-after"
    """The effect happens, the process is frozen before it hears of it, and goes on as late."""

    @property
    def kills(self) -> bool:
        """Whether the process ends there."""
        return self in (Variant.BEFORE, Variant.AFTER, Variant.GONE_BEFORE, Variant.GONE_AFTER)

    @property
    def is_provable(self) -> bool:
        """Whether others see that the process has ended."""
        return self in (Variant.BEFORE, Variant.AFTER)

    @property
    def fails(self) -> bool:
        """Whether the service sees an error and goes on."""
        return self in (Variant.LOST, Variant.FAILED)

    @property
    def freezes(self) -> bool:
        """Whether the process goes on later."""
        return self in (*_STALLED, Variant.PAUSED_BEFORE, Variant.PAUSED_AFTER)

    @property
    def is_stall(self) -> bool:
        """Whether it goes on before twice its lease is over."""
        return self in _STALLED

    @property
    def prevents(self) -> bool:
        """Whether the process stands still before the effect."""
        return self.value.endswith("before")


_STALLED = (Variant.STALLED_BEFORE, Variant.STALLED_AFTER)
#: What one process can meet with, and what can happen to one of several.
ALONE = (Variant.BEFORE, Variant.AFTER, Variant.LOST, Variant.FAILED)
AMONG_OTHERS = tuple(variant for variant in Variant if not variant.fails)


@dataclass(frozen=True)
class Point:
    """Which effect, counted from 1, and what happens there.

    Of one process it is counted from its start; of one of several, from the start or from the point before.
    """

    number: int
    variant: Variant
    worker: int = 1


#: What happens at an effect, by its number; None: nothing but the effect.
Choice = Callable[[int], Variant | None]


def at(point: Point | None) -> Choice:
    """One point, and nothing else."""
    return lambda number: point.variant if point is not None and point.number == number else None


def storm(dice: random.Random) -> Choice:
    """Now and then anything, for a while."""

    def choose(number: int) -> Variant | None:
        if number > STORM_EFFECTS or dice.random() > STORM_PROBABILITY:
            return None
        return dice.choices(list(ALONE), weights=(1, 1, 3, 3))[0]

    return choose


@dataclass
class Seams:
    """One process's effects. Once it stands still nothing that it does has any effect, and nothing comes back to it."""

    process: Process
    dice: random.Random
    choose: Choice
    effects: list[str] = field(default_factory=list)
    #: What happened at which of them.
    met: dict[int, Variant] = field(default_factory=dict)
    #: How often each order was sent, by its client order id: counted before anything can stop it.
    sent: Counter[str] = field(default_factory=Counter)
    #: Set when it was stopped or frozen: for whoever looks after the processes.
    halted: asyncio.Event = field(default_factory=asyncio.Event)
    #: What it stands still for; None: it runs.
    halted_by: Variant | None = None
    #: The effect that it stands still at.
    halted_at: str = ""
    buried: bool = False
    brokers: list[Broker] = field(default_factory=list)
    #: The lease that it took last.
    lease: Lease | None = None
    #: Effects that the store refused because the lease was lost.
    refused: Counter[str] = field(default_factory=Counter)
    #: Hears of each effect as it begins.
    log: Callable[[str], None] = lambda name: None

    def halt(self, variant: Variant, name: str) -> None:
        """From now on nothing has any effect."""
        self.halted_by, self.halted_at = variant, name
        self.process.freeze()
        self.halted.set()

    def go_on(self) -> None:
        """Go on from where it stood."""
        self.halted_by = None
        self.halted.clear()
        self.process.thaw()

    async def passage(self, call: Callable[[], Awaitable[T]]) -> T:
        """A question, which changes nothing."""
        self._not_buried()
        result = await self._undisturbed(call())
        self._not_buried()
        return result

    async def effect(self, name: str, error: Callable[[], Exception], call: Callable[[], Awaitable[T]]) -> T:
        """One of the effects that are counted; `error` is what its caller sees where it fails."""
        self._not_buried()
        self.effects.append(name)
        self.log(name)
        variant = self.choose(len(self.effects))
        if variant is not None:
            self.met[len(self.effects)] = variant
        await self._latency()
        if variant is not None and variant.prevents:
            await self._stand_still(variant, name)
        if variant is Variant.FAILED:
            raise error()
        try:
            result = await self._undisturbed(call())
        except LeaseLost:
            self.refused[name] += 1
            raise
        if variant is not None and not variant.fails and not variant.prevents:
            await self._stand_still(variant, name)
        await self._latency()
        if variant is Variant.LOST:
            raise error()
        return result

    async def _stand_still(self, variant: Variant, name: str) -> None:
        self.halt(variant, name)
        await asyncio.sleep(0)
        self._not_buried()

    async def _latency(self) -> None:
        await asyncio.sleep(self.dice.uniform(*LATENCY_SECONDS))
        self._not_buried()

    def _not_buried(self) -> None:
        if self.buried:
            raise asyncio.CancelledError

    async def _undisturbed(self, call: Awaitable[T]) -> T:
        """The call's result. The end of its caller ends it only where the process itself wants that."""
        task = asyncio.ensure_future(call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self.buried:
                task.cancel()
                await asyncio.wait([task])
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
