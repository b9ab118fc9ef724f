"""For venues without a stream: turns looks at an order book into reports.

A polled broker fetches its orders and executions its own way and hands them to `OrderBookPoller`, which tells what is
new. Repeats are legal for everybody downstream, so it keeps just enough memory to be quiet, and none that must survive.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field

from exec_core.errors import AuthenticationFailed, ConnectionFailed
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BookPage:
    """One look at the book: the orders as they are now, and the executions."""

    orders: Iterable[OrderReport] = ()
    fills: Iterable[FillReport] = ()
    commissions: Iterable[CommissionReport] = ()


@dataclass(slots=True)
class AdaptivePace:
    """Looks again after `fastest` seconds while something happens; while nothing does ever later, up to `slowest`."""

    fastest: float
    slowest: float
    slowing: float = 1.5
    _wait: float = field(init=False)

    def __post_init__(self) -> None:
        if not 0 < self.fastest <= self.slowest:
            raise ValueError(f"the pace must be above zero and fastest at most slowest: {self.fastest}, {self.slowest}")
        self._wait = self.fastest

    def __call__(self, news: bool) -> float:
        """How many seconds to wait after a look that brought something, or nothing."""
        self._wait = self.fastest if news else min(self._wait * self.slowing, self.slowest)
        return self._wait


@dataclass(slots=True)
class OrderBookPoller:
    """Polls `fetch` and yields what it has not yielded before.

    Executions come before the order's state, so that an end finds its fills booked. `pace` says how many seconds to
    wait after a look that brought something (True) or nothing (False); `wake` ends the wait early, and what it asked
    for may take a moment to show, so that the look after it counts as one that brought something.

    An error of `fetch` passes through, because an error is not an empty book; but `failures` looks in a row may fail
    before that. A session that heals itself so must say through its `availability` that the line is down meanwhile.
    A refused login always passes through: only a person can mend it.
    """

    fetch: Callable[[], Awaitable[BookPage]]
    pace: Callable[[bool], float]
    failures: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: dict[Hashable, Report] = field(default_factory=dict)
    _closed: bool = False

    def close(self) -> None:
        """The session was left: its reports end at once, however many looks may fail."""
        self._closed = True
        self.wake.set()

    async def reports(self) -> AsyncIterator[Report]:
        """The stream of reports. :raises ConnectionFailed: the session was left; or what `fetch` raised."""
        failed = 0
        while not self._closed:
            awaited = self.wake.is_set()
            self.wake.clear()
            news: list[Report] = []
            try:
                news = self.news(await self.fetch())
                failed = 0
            except AuthenticationFailed:
                raise
            except Exception as error:
                # Whatever it is, nothing was learnt: the next look tells what this one would have. Only its kind is
                # logged, for client libraries put secrets into their texts.
                failed += 1
                if failed > self.failures:
                    raise
                logger.info("A look at the order book failed (%d in a row): %s", failed, type(error).__name__)
            for report in news:
                yield report
            try:
                async with asyncio.timeout(self.pace(bool(news) or awaited)):
                    await self.wake.wait()
            except TimeoutError:
                continue
        raise ConnectionFailed("The session was left")

    def news(self, page: BookPage) -> list[Report]:
        """The reports of `page` that differ from what was seen under the same name."""
        found: list[Report] = []
        reports: tuple[Report, ...] = (*page.fills, *page.commissions, *page.orders)
        for report in reports:
            key = _name(report)
            if self._seen.get(key) != report:
                self._seen[key] = report
                found.append(report)
        return found


def _name(report: Report) -> Hashable:
    match report:
        case OrderReport():
            return ("order", report.broker_order_id or report.client_order_id)
        case FillReport():
            return ("fill", report.fill.execution_id, report.fill.correction)
        case CommissionReport():
            return ("commission", report.execution_id)
