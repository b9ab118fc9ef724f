"""Brokers that are unusual in what the contract leaves free, and right: the kit must let them pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar

from exec_broker_mock.conformance import MockVenue
from exec_core.errors import CancelRejected
from exec_core.orders import Order
from exec_core.polling import BookPage, OrderBookPoller
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report, ReportStatus
from exec_core.testing import Ability

from teeth.wrapping import Wrapper, right

OPEN = frozenset({ReportStatus.HELD, ReportStatus.WORKING})


@right(oddity="tells everything three times, a while after it happened")
class TellsThrice(Wrapper):
    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            await asyncio.sleep(0.002)
            for _ in range(3):
                yield report


@right(oddity="takes a cancel that comes too late without a word")
class TakesLateCancels(Wrapper):
    async def cancel_order(self, order: Order) -> None:
        with suppress(CancelRejected):
            await super().cancel_order(order)


@right(oddity="names orders by the broker's id only, as some streams do")
class TellsTheBrokersIdOnly(Wrapper):
    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            yield replace(report, client_order_id=None)


@right(oddity="has no stream: it collects what is new and tells it from time to time, like a poller")
class Polls(Wrapper):
    async def reports(self) -> AsyncIterator[Report]:
        heard: list[Report] = []
        failure: list[BaseException] = []

        async def listen() -> None:
            try:
                async for report in self.inner.reports():
                    heard.append(report)
            except Exception as error:
                failure.append(error)

        async def fetch() -> BookPage:
            if failure:
                raise failure[0]
            newest: dict[object, OrderReport] = {}
            for report in heard:
                known = newest.get(report.broker_order_id)
                if isinstance(report, OrderReport) and (known is None or known.status in OPEN):
                    newest[report.broker_order_id] = report
            fills = [report for report in heard if isinstance(report, FillReport)]
            commissions = [report for report in heard if isinstance(report, CommissionReport)]
            return BookPage(newest.values(), fills, commissions)

        listener = asyncio.get_running_loop().create_task(listen())
        try:
            async for report in OrderBookPoller(fetch, lambda _: 0.02).reports():
                yield report
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)


class UnmodifiedVenue(MockVenue):
    """The mock's venue, for nobody who would modify an order."""

    cannot: ClassVar[Mapping[Ability, str]] = MappingProxyType(
        {**MockVenue.cannot, Ability.MODIFY: "an order is cancelled there, and another one entered"}
    )


@right(
    oddity="tells executions and ends only, with neither time nor details, at a venue where no order is modified",
    venue=UnmodifiedVenue,
)
class TellsTheLeast(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, OrderReport):
            return (replace(report, venue_time=None, details=None),)
        return (report,)

    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            if isinstance(report, OrderReport) and report.status in OPEN:
                continue
            yield report
