"""Brokers that tell an execution wrongly, what it cost, or that it was corrected; or do not tell it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

from exec_core.broker import Placed
from exec_core.fills import Commission, Fill
from exec_core.identifiers import ClientOrderId, ExecutionId
from exec_core.money import ZERO
from exec_core.orders import Order
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report, ReportStatus

from teeth.wrapping import Wrapper, broken

ENDS = frozenset({ReportStatus.FILLED, ReportStatus.REJECTED, ReportStatus.CANCELLED, ReportStatus.EXPIRED})


def filled(report: FillReport, **changes: object) -> FillReport:
    """The report with another execution."""
    return replace(report, fill=replace(report.fill, **changes))


# Executions


@broken(
    310,
    320,
    570,
    580,
    720,
    770,
    fault="tells the average price of an order as the price of its execution",
    stands_for="openalgo #1987: an average price that was not that of the executions",
)
class TellsTheAverage(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.heard: dict[object, list[Fill]] = {}
        self.told: dict[object, dict[ExecutionId, Decimal]] = {}

    def read(self, report: Report) -> Iterable[Report]:
        if not isinstance(report, FillReport) or report.fill.correction:
            return (report,)
        told = self.told.setdefault(report.broker_order_id, {})
        if report.fill.execution_id not in told:
            heard = self.heard.setdefault(report.broker_order_id, [])
            heard.append(report.fill)
            paid = sum((fill.quantity * fill.price for fill in heard), ZERO)
            told[report.fill.execution_id] = round(paid / sum((fill.quantity for fill in heard), ZERO), 4)
        return (filled(report, price=told[report.fill.execution_id]),)


@broken(
    320,
    830,
    fault="passes the price of an execution through a binary float",
)
class FloatsAFill(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport):
            return (filled(report, price=Decimal(float(report.fill.price))),)
        return (report,)


@broken(
    320,
    810,
    fault="takes the venue's local time for UTC: its times are five and a half hours ahead",
    stands_for="Kite's times, which are Indian ones and do not say so",
)
class LabelsLocalTimeAsUtc(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        shift = timedelta(hours=5, minutes=30)
        if isinstance(report, FillReport):
            return (filled(report, time=report.fill.time + shift),)
        if isinstance(report, OrderReport) and report.venue_time is not None:
            return (replace(report, venue_time=report.venue_time + shift),)
        return (report,)


@broken(
    330,
    360,
    720,
    770,
    fault="gives an execution a new id in every session, so that a restart books it again",
    stands_for="nautilus PR #3493, #3046: executions replayed after a restart were booked a second time",
)
class NumbersExecutionsAnew(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.name = uuid4().hex

    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport):
            return (filled(report, execution_id=ExecutionId(f"{report.fill.execution_id}-{self.name}")),)
        if isinstance(report, CommissionReport):
            return (replace(report, execution_id=ExecutionId(f"{report.execution_id}-{self.name}")),)
        return (report,)


@broken(
    330,
    440,
    610,
    700,
    fault="takes two executions of one quantity at one price for the same one, and drops the second",
)
class DropsAnEqualFill(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.told: dict[object, ExecutionId] = {}

    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport):
            figures = (report.broker_order_id, report.fill.quantity, report.fill.price)
            if self.told.setdefault(figures, report.fill.execution_id) != report.fill.execution_id:
                return ()
        return (report,)


# Commissions


@broken(
    340,
    350,
    fault="tells no commission at all, although the venue bills one",
)
class TellsNoCommission(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, CommissionReport):
            return ()
        return (filled(report, commission=None),) if isinstance(report, FillReport) else (report,)


@broken(
    350,
    fault="tells commission 0 where the commission is not known yet",
    stands_for="ib_async #208, pysystemtrade PR #1661: zero fees, archived for ever",
)
class TellsUnknownAsZero(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport) and report.fill.commission is None:
            return (filled(report, commission=Commission(ZERO, "USD")),)
        return (report,)


@broken(
    350,
    fault="does not tell a commission that is billed after its execution",
    stands_for="ib_async #208: commissions that come apart",
)
class ForgetsLateCommissions(Wrapper):
    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            if not isinstance(report, CommissionReport):
                yield report


# Corrections, and what comes late


@broken(360, 370, fault="does not tell that an execution was corrected", stands_for="IBKR's corrected execIds")
class ForgetsCorrections(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        return () if isinstance(report, FillReport) and report.fill.correction else (report,)


@broken(
    360,
    370,
    fault="takes the correction of an execution for another execution",
    stands_for="IBKR's execIds, of which a correction changes the last digits",
)
class BooksCorrectionsTwice(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if not isinstance(report, FillReport) or not report.fill.correction:
            return (report,)
        if not report.fill.quantity:
            return ()
        return (
            filled(
                report, execution_id=ExecutionId(f"{report.fill.execution_id}.{report.fill.correction}"), correction=0
            ),
        )


@broken(
    380,
    580,
    fault="does not tell executions of an order that has ended",
    stands_for='pysystemtrade #1580: 15 orders "cancelled", all filled; ib_insync #363; hummingbot #3374',
)
class DropsLateFills(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.ended: set[object] = set()
        self.known: set[ExecutionId] = set()

    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            if isinstance(report, OrderReport) and report.status in ENDS:
                self.ended.add(report.broker_order_id)
            if isinstance(report, FillReport):
                if report.broker_order_id in self.ended and report.fill.execution_id not in self.known:
                    continue
                self.known.add(report.fill.execution_id)
            yield report


@broken(
    390,
    fault="drops executions of an order whose answer has not come yet",
    stands_for='Lean.IB #189: "Unable to locate order with BrokerageID"',
)
class KnowsOrdersByTheirAnswer(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.under_way: set[ClientOrderId] = set()

    async def place_order(self, order: Order) -> Placed:
        self.under_way.add(order.client_order_id)
        try:
            placed = await super().place_order(order)
            for _ in range(20):  # an answer that takes its way: whoever waits for the order at the venue is faster
                await self.inner.account()
            return placed
        finally:
            self.under_way.discard(order.client_order_id)

    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport) and report.client_order_id in self.under_way:
            return ()
        return (report,)
