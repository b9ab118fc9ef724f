"""Brokers that tell the end of an order wrongly, cannot bear repeats or a cut line, or forget what they missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Self
from uuid import uuid4

from exec_core.broker import Placed
from exec_core.errors import ConnectionFailed
from exec_core.identifiers import ClientOrderId, ExecutionId
from exec_core.orders import Order
from exec_core.reports import FillReport, OrderReport, Report, ReportStatus

from teeth.telling import ENDS, filled
from teeth.wrapping import Remembering, Wrapper, broken


@broken(
    380,
    470,
    750,
    fault="tells a cancel that it was not asked for as a rejection",
)
class CallsAPersonsCancelARejection(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.asked: set[ClientOrderId] = set()

    async def cancel_order(self, order: Order) -> None:
        self.asked.add(order.client_order_id)
        await super().cancel_order(order)

    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            is_cancel = isinstance(report, OrderReport) and report.status is ReportStatus.CANCELLED
            if is_cancel and report.client_order_id not in self.asked:
                yield replace(report, status=ReportStatus.REJECTED)
            else:
                yield report


@broken(480, 780, fault="tells the end of a time in force as CANCELLED")
class CallsExpiredCancelled(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, OrderReport) and report.status is ReportStatus.EXPIRED:
            return (replace(report, status=ReportStatus.CANCELLED),)
        return (report,)


class LateRejections(Wrapper):
    """Tells a rejection of an order that the venue took otherwise than it was."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.taken: set[object] = set()

    async def place_order(self, order: Order) -> Placed:
        placed = await super().place_order(order)
        self.taken.add(placed.broker_order_id)
        return placed

    def read(self, report: Report) -> Iterable[Report]:
        is_late = isinstance(report, OrderReport) and report.broker_order_id in self.taken
        if is_late and report.status is ReportStatus.REJECTED:
            return self.rejected(report)
        return (report,)

    def rejected(self, report: OrderReport) -> Iterable[Report]:
        raise NotImplementedError


@broken(510, 520, fault="does not tell a rejection that comes late")
class ForgetsLateRejections(LateRejections):
    def rejected(self, report: OrderReport) -> Iterable[Report]:
        return ()


# The stream


@broken(
    570,
    fault="takes a repeated report of an execution for another execution",
    stands_for="nautilus #3317, #1639, openalgo #932: the same execution twice, under new ids",
)
class DoublesARepeat(Wrapper):
    async def reports(self) -> AsyncIterator[Report]:
        told: set[tuple[ExecutionId, int]] = set()
        async for report in super().reports():
            if isinstance(report, FillReport):
                name = (report.fill.execution_id, report.fill.correction)
                if name in told:
                    yield filled(report, execution_id=ExecutionId(uuid4().hex))
                    continue
                told.add(name)
            yield report


@broken(150, 160, 770, fault="goes deaf, in silence, when its line is cut: the stream of reports waits for ever")
class GoesDeaf(Wrapper):
    is_left = False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.is_left = True
        await super().__aexit__(kind, error, trace)

    async def reports(self) -> AsyncIterator[Report]:
        try:
            async for report in super().reports():
                yield report
        except ConnectionFailed:
            if self.is_left:
                raise
            await asyncio.Event().wait()


class Forgetful(Remembering):
    """Knows, on entering, which executions and ends the venue knows already."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.executed: set[tuple[ExecutionId, int]] = set()
        self.ended: set[object] = set()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        for order in self.ours.values():
            found = await self.inner.find_order(order)
            self.executed |= {(one.fill.execution_id, one.fill.correction) for one in found.fills}
            self.ended |= {one.broker_order_id for one in found.orders if one.status in ENDS}
        return self

    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            if self.is_told(report):
                yield report

    def is_told(self, report: Report) -> bool:
        raise NotImplementedError


@broken(
    700,
    710,
    780,
    fault="tells, on entering, of the open orders only: what ended while it was away is never heard of",
    stands_for="ib_insync #130, #416: orders that finished while away are invisible",
)
class ReplaysOpenOrdersOnly(Forgetful):
    def is_told(self, report: Report) -> bool:
        return report.broker_order_id not in self.ended


@broken(
    700,
    710,
    720,
    770,
    fault="tells no executions on entering: those made while it was away, or its line was cut, are lost",
    stands_for="Lean.IB #249: fills during a break are dropped, and nobody asks for them",
)
class ReplaysNoExecutions(Forgetful):
    def is_told(self, report: Report) -> bool:
        if not isinstance(report, FillReport):
            return True
        return (report.fill.execution_id, report.fill.correction) not in self.executed


@broken(740, fault="does not tell of orders that are not ours")
class IgnoresStrangers(Remembering):
    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            if report.client_order_id in self.ours:
                yield report
