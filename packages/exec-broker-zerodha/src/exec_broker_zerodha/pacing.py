"""Kite's rate limits, kept on our side: orders 10 a second and 400 a minute, everything else 10 a second.

Kite answers more with 429, and blocks who goes on. So every request books its moment here first. A part of each window
is kept for what is urgent (cancels among orders, look-ups among questions), so that a burst cannot delay it.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` in any `seconds`, of which `reserved` are for what is urgent."""

    count: int
    seconds: float
    reserved: int


class Pace:
    """Books moments. It outlives sessions: the limits are the account's. May be used by several threads."""

    def __init__(self, limits: Sequence[Limit], clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = tuple(limits)
        self._clock = clock
        self._lock = threading.Lock()
        self._all: list[float] = []
        self._usual: list[float] = []

    def book(self, *, urgent: bool, longest: float) -> float | None:
        """So many seconds to wait before sending; None, and nothing is booked, if these are more than `longest`."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            at = self._first(now, urgent)
            if at - now > longest:
                return None
            insort(self._all, at)
            if not urgent:
                insort(self._usual, at)
            return max(at - now, 0.0)

    def _first(self, now: float, urgent: bool) -> float:
        if self._fits(now, urgent):
            return now
        # A place becomes free only where something leaves a window; a little later, since sums of floats are rounded.
        frees = {one + limit.seconds + _TINY for one in self._all for limit in self._limits}
        return next(at for at in sorted(frees) if at > now and self._fits(at, urgent))

    def _fits(self, at: float, urgent: bool) -> bool:
        for limit in self._limits:
            if _most_in_a_window(self._all, at, limit.seconds) >= limit.count:
                return False
            if not urgent and _most_in_a_window(self._usual, at, limit.seconds) >= limit.count - limit.reserved:
                return False
        return True

    def _forget(self, now: float) -> None:
        oldest = now - max(limit.seconds for limit in self._limits)
        for times in (self._all, self._usual):
            del times[: bisect_right(times, oldest)]


def _most_in_a_window(times: list[float], at: float, seconds: float) -> int:
    """How many of the sorted `times` lie with `at` in one window of so many seconds, at most."""
    later = times[bisect_right(times, at) : bisect_left(times, at + seconds)]
    return max(bisect_right(times, end) - bisect_right(times, end - seconds) for end in (at, *later))


_paces: dict[tuple[str, ...], tuple[Pace, Pace]] = {}
_paces_lock = threading.Lock()


def paces_of(*account: str, per_second: int) -> tuple[Pace, Pace]:
    """The account's own paces in this process: of orders, and of everything else."""
    key = (*account, str(per_second))
    with _paces_lock:
        if key not in _paces:
            share = max(per_second // 5, 1) if per_second > 1 else 0
            orders = Pace((Limit(per_second, 1.0, share), Limit(40 * per_second, 60.0, 2 * share)))
            questions = Pace((Limit(per_second, 1.0, share),))
            _paces[key] = (orders, questions)
        return _paces[key]
