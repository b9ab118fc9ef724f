"""What TWS knows of orders now: its lists, asked together, and shared by all who asked before it was begun."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar

from exec_core.clock import Clock
from exec_core.errors import ConnectionFailed

from exec_broker_ibkr.connection.line import Line, NoAnswer, RequestRefused
from exec_broker_ibkr.messages import CompletedShown, ExecutionTold, OrderShown, TwsContract

logger = logging.getLogger(__name__)

T = TypeVar("T")

COMPLETED_ORDERS: Final = "completed orders"
TIME: Final = "time"
#: So many lists make a look.
LISTS: Final = 4


@dataclass(frozen=True, slots=True)
class Look:
    """One look: what was told, when it was asked, and what did not answer (`missing`, for people).

    `time` is TWS's own clock at the time of asking: its lists are those of its day.
    """

    as_of: datetime
    time: datetime
    open: tuple[OrderShown, ...]
    completed: tuple[CompletedShown, ...]
    executions: tuple[ExecutionTold, ...]
    missing: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether every request behind it was answered."""
        return not self.missing

    @property
    def contracts(self) -> Iterator[TwsContract]:
        """The contracts in it, as often as they occur."""
        yield from (told.contract for told in self.open)
        yield from (told.contract for told in self.completed)
        yield from (told.contract for told in self.executions)

    def without(self, what: str) -> Look:
        """The same, known to lack something more."""
        return replace(self, missing=(*self.missing, what))


class Looker:
    """Looks, one look at a time.

    The look-ups of many orders (after a restart, say) come at once, and each list holds all orders: so whoever waits
    while a look is under way shares the next one. Never one that began before they asked: it may have missed theirs.
    """

    def __init__(self, line: Line, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._lock = asyncio.Lock()
        self._begun = 0
        self._last: Look | None = None

    async def look(self) -> Look:
        """A look that began after this call.

        :raises ConnectionFailed: the line is lost, or TWS answered nothing at all.
        """
        begun = self._begun
        async with self._lock:
            if self._begun > begun and self._last is not None:
                return self._last
            self._begun += 1
            self._last = None
            self._last = await self._look()
            return self._last

    async def _look(self) -> Look:
        as_of = self._clock()
        missing: list[str] = []
        # All at once: where TWS answers nothing, that is known after one time-out and not after four.
        time, completed, own, everybody, executions = await asyncio.gather(
            self._time(missing),
            _answer(COMPLETED_ORDERS, self._line.completed_orders, missing),
            _answer("open orders", self._line.open_orders, missing),
            _answer("all open orders", self._line.all_open_orders, missing),
            _answer("executions", self._line.executions, missing),
        )
        if len([what for what in missing if what != TIME]) == LISTS:
            raise ConnectionFailed("TWS answers no question about orders", broker="ibkr")
        return Look(as_of, time or as_of, _united(own, everybody), completed, executions, tuple(missing))

    async def _time(self, missing: list[str]) -> datetime | None:
        try:
            return await self._line.current_time()
        except NoAnswer as error:
            logger.warning("TWS did not tell the time: %s", error)
            missing.append(TIME)
            return None


async def _answer(what: str, ask: Callable[[], Awaitable[tuple[T, ...]]], missing: list[str]) -> tuple[T, ...]:
    try:
        return await ask()
    except (NoAnswer, RequestRefused) as error:
        logger.warning("TWS did not tell the %s: %s", what, error)
        missing.append(what)
        return ()


def _united(own: tuple[OrderShown, ...], everybody: tuple[OrderShown, ...]) -> tuple[OrderShown, ...]:
    """Both lists, an order that is in both as the later one shows it."""
    by_id = {(shown.client_id, shown.order_id, shown.perm_id): shown for shown in (*own, *everybody)}
    return tuple(by_id.values())
