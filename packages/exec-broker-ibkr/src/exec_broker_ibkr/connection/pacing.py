"""No more messages than TWS takes, and cancels before everything that waits.

TWS counts all messages of a client, 50 in a second are the most; then it answers with error 100 and, in the end, hangs
up ("Order Limitations" and "Pacing Limitations" of IB's API guide). Whoever has to wait, waits here, where he can be
told that the line is gone, never in a queue that is emptied behind his back.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from enum import IntEnum
from itertools import count
from typing import Final, Protocol

from exec_core.errors import ConnectionFailed

#: Fewer than IB's 50, as both client libraries do: its second does not begin with ours.
MESSAGES: Final = 45
SECONDS: Final = 1.0


class Urgency(IntEnum):
    """Who goes first."""

    CANCEL = 0
    ORDER = 1
    REQUEST = 2


class Timer(Protocol):
    """What of an event loop is used here."""

    def time(self) -> float:
        """Seconds, monotonic."""
        ...

    def call_at(self, when: float, callback: object, /) -> asyncio.TimerHandle:
        """Call back then."""
        ...


class Pacer:
    """At most `messages` turns in any `seconds`. It makes no tasks; all of it happens in the loop's thread."""

    def __init__(self, timer: Timer | None = None, messages: int = MESSAGES, seconds: float = SECONDS) -> None:
        self._timer: Timer = timer if timer is not None else asyncio.get_running_loop()  # type: ignore[assignment]
        self._messages = messages
        self._seconds = seconds
        self._taken: deque[float] = deque()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._alarm: asyncio.TimerHandle | None = None
        self._is_held = False
        self._over: str | None = None

    async def turn(self, urgency: Urgency) -> None:
        """Wait for a turn, and take it. When it returns, the line is neither held up nor over.

        :raises ConnectionFailed: the line went down meanwhile.
        """
        while True:
            self._check()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (urgency, next(self._numbers), future))
            self._serve()
            await future
            # Between being served and running again, something may have changed.
            self._check()
            if not self._is_held:
                return

    def take(self) -> None:
        """Count a message that goes out without waiting: what ends a subscription, say."""
        self._taken.append(self._timer.time())

    def hold(self) -> None:
        """The line takes no bytes at the moment: nobody gets a turn."""
        self._is_held = True

    def release(self) -> None:
        """It does again."""
        self._is_held = False
        self._serve()

    def end(self, reason: str) -> None:
        """The line is down: whoever waits is told so, and nobody gets a turn any more."""
        if self._over is None:
            self._over = reason
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:
            if not future.done():
                future.set_result(None)  # who it belongs to finds the line over; an exception might be never taken

    def _check(self) -> None:
        if self._over is not None:
            raise ConnectionFailed(self._over, broker="ibkr")

    def _serve(self) -> None:
        now = self._timer.time()
        while self._taken and self._taken[0] + self._seconds <= now:
            self._taken.popleft()
        while self._waiting and not self._is_held and len(self._taken) < self._messages:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():  # else its owner was cancelled while he waited
                future.set_result(None)
                self._taken.append(now)
        if self._waiting and not self._is_held and self._alarm is None:
            self._alarm = self._timer.call_at(self._taken[0] + self._seconds, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._serve()
