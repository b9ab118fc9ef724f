"""For venues without a stream: turns looks at an order book into reports.

A polled broker fetches its orders and executions its own way and hands them to `OrderBookPoller`, which tells what is
new. Repeats are legal for everybody downstream, so it keeps just enough memory to be quiet, and none that must survive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field

from exec_core.reports import CommissionReport, FillReport, OrderReport, Report


@dataclass(frozen=True, slots=True)
class BookPage:
    """One look at the book: the orders as they are now, and the executions."""

    orders: Iterable[OrderReport] = ()
    fills: Iterable[FillReport] = ()
    commissions: Iterable[CommissionReport] = ()


@dataclass(slots=True)
class OrderBookPoller:
    """Polls `fetch` and yields what it has not yielded before.

    Executions come before the order's state, so that an end finds its fills booked. `pace` says how many seconds to
    wait after a look that brought something (True) or nothing (False); `wake` ends the wait early. An error of `fetch`
    passes through: an error is not an empty book.
    """

    fetch: Callable[[], Awaitable[BookPage]]
    pace: Callable[[bool], float]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: dict[Hashable, Report] = field(default_factory=dict)

    async def reports(self) -> AsyncIterator[Report]:
        """The stream of reports, without end."""
        while True:
            self.wake.clear()
            news = self.news(await self.fetch())
            for report in news:
                yield report
            try:
                async with asyncio.timeout(self.pace(bool(news))):
                    await self.wake.wait()
            except TimeoutError:
                continue

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
