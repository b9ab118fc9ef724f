"""Brokers that tell wrongly what happens to an order, or do not tell it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Self
from uuid import uuid4

from exec_core.broker import Found, Placed
from exec_core.fills import Commission
from exec_core.identifiers import ClientOrderId, ExecutionId
from exec_core.money import ZERO
from exec_core.orders import Order
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report, ReportStatus
from exec_core.sides import Side

from teeth.wrapping import Remembering, Wrapper, broken

ENDS = frozenset({ReportStatus.FILLED, ReportStatus.REJECTED, ReportStatus.CANCELLED, ReportStatus.EXPIRED})


def filled(report: FillReport, **changes: object) -> FillReport:
    """The report with another execution."""
    return replace(report, fill=replace(report.fill, **changes))


# Executions


@broken(300, fault="tells every execution as a purchase", stands_for="nautilus #963: a position flipped")
class FillsOnlyBuys(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        return (filled(report, side=Side.BUY),) if isinstance(report, FillReport) else (report,)


@broken(
    310,
    fault="tells the cumulative quantity of an order as the quantity of its execution",
    stands_for="Lean.Alpaca PR #61, Zerodha forum 33971: updates that carry totals, booked as executions",
)
class TellsTotals(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.told: dict[object, dict[ExecutionId, Decimal]] = {}

    def read(self, report: Report) -> Iterable[Report]:
        if not isinstance(report, FillReport) or report.fill.correction:
            return (report,)
        told = self.told.setdefault(report.broker_order_id, {})
        if report.fill.execution_id not in told:
            told[report.fill.execution_id] = max(told.values(), default=ZERO) + report.fill.quantity
        return (filled(report, quantity=told[report.fill.execution_id]),)


@broken(
    320,
    830,
    fault="passes the price of an execution through a binary float",
    stands_for="openalgo #1109: figures that are not what was sent",
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
    fault="names an execution in a look-up otherwise than in the stream, so that it is booked again",
    stands_for="hummingbot #1663: stream and poll recorded the same trade twice",
)
class FindsUnderOtherIds(Wrapper):
    async def find_order(self, order: Order) -> Found:
        found = await super().find_order(order)
        fills = (filled(one, execution_id=ExecutionId(f"trade-{one.fill.execution_id}")) for one in found.fills)
        return replace(found, fills=tuple(fills))


@broken(
    330,
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
    fault="takes two executions of one quantity at one price for the same one, and drops the second",
    stands_for="ids made of time and figures: two equal executions in one second are two",
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
    stands_for="pysystemtrade PR #1661",
)
class TellsNoCommission(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, CommissionReport):
            return ()
        return (filled(report, commission=None),) if isinstance(report, FillReport) else (report,)


@broken(340, 350, fault="tells a commission with the sign of what was paid out")
class TurnsCommissionsRound(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport) and report.fill.commission is not None:
            return (filled(report, commission=turned(report.fill.commission)),)
        if isinstance(report, CommissionReport):
            return (replace(report, commission=turned(report.commission)),)
        return (report,)


def turned(commission: Commission) -> Commission:
    """The same with the other sign."""
    return replace(commission, amount=-commission.amount)


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


@broken(350, fault="tells the SDK's greatest number as the commission", stands_for="nautilus PR #4230: 1.797e308, -1")
class TellsTheSentinel(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport) and report.fill.commission is None:
            return (filled(report, commission=Commission(Decimal("1.7976931348623157E+308"), "USD")),)
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
            for _ in range(4):  # an answer that takes its way: whoever waits for the order at the venue is faster
                await self.inner.account()
            return placed
        finally:
            self.under_way.discard(order.client_order_id)

    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport) and report.client_order_id in self.under_way:
            return ()
        return (report,)


@broken(
    440,
    fault="tells no executions of an order while a cancel of it is under way",
    stands_for="FIX D4; nautilus PR #4974: a pending cancel as a state, out of which no execution leads",
)
class FreezesOnACancel(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.cancelling: set[ClientOrderId] = set()

    async def cancel_order(self, order: Order) -> None:
        await super().cancel_order(order)
        self.cancelling.add(order.client_order_id)

    def read(self, report: Report) -> Iterable[Report]:
        if isinstance(report, FillReport) and report.client_order_id in self.cancelling:
            return ()
        return (report,)


# Ends


@broken(
    470,
    750,
    fault="tells a cancel that it was not asked for as a rejection",
    stands_for="nautilus #4160: every end of an order that nobody ordered is a rejection",
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


@broken(510, fault="tells a rejection that comes late as CANCELLED")
class CallsRejectedCancelled(LateRejections):
    def rejected(self, report: OrderReport) -> Iterable[Report]:
        return (replace(report, status=ReportStatus.CANCELLED),)


@broken(510, fault="drops the reason of a rejection that comes late", stands_for="IBKR: a message of its own")
class DropsTheLateReason(LateRejections):
    def rejected(self, report: OrderReport) -> Iterable[Report]:
        return (replace(report, reason=None),)


@broken(510, 520, fault="does not tell a rejection that comes late", stands_for="ib_async #191: Inactive")
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


@broken(
    570,
    fault="falls over a report that comes twice",
    stands_for="nautilus #3046: a duplicate raises",
)
class FallsOverARepeat(Wrapper):
    async def reports(self) -> AsyncIterator[Report]:
        told: set[Report] = set()
        async for report in super().reports():
            if report in told:
                raise ValueError(f"a duplicate: {report}")
            told.add(report)
            yield report


@broken(
    580,
    fault="drops an execution that is older than the last one it told of the order",
    stands_for="Lean.TradeStation #101: a frame that is dropped on a healthy stream",
)
class DropsWhatWasOvertaken(Wrapper):
    async def reports(self) -> AsyncIterator[Report]:
        newest: dict[object, datetime] = {}
        async for report in super().reports():
            if isinstance(report, FillReport):
                if report.fill.time < newest.setdefault(report.broker_order_id, report.fill.time):
                    continue
                newest[report.broker_order_id] = report.fill.time
            yield report


@broken(150, 160, 770, fault="goes deaf, in silence, when its line is cut: the stream of reports waits for ever")
class GoesDeaf(Wrapper):
    async def reports(self) -> AsyncIterator[Report]:
        await self.inner.open_orders()
        try:
            async for report in super().reports():
                yield report
        except Exception:
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


@broken(
    740,
    fault="gives what it hears of a stranger's order the id of the last order of ours",
    stands_for="Lean.IB #242: events that hit two orders",
)
class ClaimsStrangers(Remembering):
    def read(self, report: Report) -> Iterable[Report]:
        if report.client_order_id in self.ours or not self.ours:
            return (report,)
        return (replace(report, client_order_id=ClientOrderId(list(self.ours)[-1])),)


@broken(740, fault="does not tell of orders that are not ours")
class IgnoresStrangers(Remembering):
    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            if report.client_order_id in self.ours:
                yield report
