"""Calls to the database that go on to their end when whoever asked is cancelled, as a statement that was sent does.

The driver closes the connection of a call that is cancelled, and the server goes on with what it was told. So nothing
is won by it, and a transaction may be left open. Here only the waiting is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Calls:
    """The calls of one store that are under way. Each has a time limit of its own."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T], cancelled: Callable[[], None] | None = None) -> T:
        """Do it, and wait for it; `cancelled` is called when nobody waits for it any more."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if cancelled is not None:
                cancelled()
            raise

    async def finish(self, seconds: float) -> None:
        """Wait for what is under way; what takes longer than that is cut off."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
        late = list(self._under_way)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.debug("A call to MongoDB has failed: %s", type(task.exception()).__name__)
