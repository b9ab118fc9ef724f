"""Time that a test moves by hand, for what asks a loop for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Clock:
    """The time, and the alarms that were set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alarms: list[tuple[float, Callable[[], None], Handle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Handle:
        handle = Handle()
        self.alarms.append((when, callback, handle))
        return handle

    async def move(self, seconds: float) -> None:
        self.ring_after(seconds)
        await settle()

    def ring_after(self, seconds: float) -> None:
        """The same, and nobody has run since."""
        self.now += seconds
        due = [alarm for alarm in self.alarms if alarm[0] <= self.now]
        self.alarms = [alarm for alarm in self.alarms if alarm not in due]
        for _, callback, handle in due:
            if not handle.is_cancelled:
                callback()


class Handle:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


async def settle() -> None:
    """Let all that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)
