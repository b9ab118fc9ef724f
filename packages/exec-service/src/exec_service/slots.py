"""The slots of an account: so many of its orders may be between SUBMITTING and the broker's answer at a time.

Only those may prove to be not placed after a kill, hence the bounded number.
"""

from __future__ import annotations

import asyncio


class Slot:
    """One that is taken."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free = free
        self._is_given_back = False

    def give_back(self) -> None:
        """Let the next order have it; a second time does nothing."""
        if not self._is_given_back:
            self._is_given_back = True
            self._free.release()


class Slots:
    """All of an account's."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    @property
    def are_taken(self) -> bool:
        """Whether `take` would have to wait."""
        return self._free.locked()

    async def take(self) -> Slot:
        """Wait for one, in turn."""
        await self._free.acquire()
        return Slot(self._free)
