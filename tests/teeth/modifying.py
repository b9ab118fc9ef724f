"""Brokers that tell wrongly on which terms an order is worked: of one that somebody modified, or in a list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from decimal import Decimal

from exec_core.broker import Placed, Snapshot
from exec_core.orders import Order
from exec_core.reports import OrderReport, OrderTerms, Report, ReportStatus
from exec_core.sides import Side

from teeth.wrapping import Remembering, Wrapper, broken, right


def on(report: OrderReport, **terms: object) -> OrderReport:
    """The report with other terms."""
    return report if report.terms is None else replace(report, terms=replace(report.terms, **terms))


@broken(475, 485, 665, 675, fault="does not tell on which terms an order is worked")
class TellsNoTerms(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        return (replace(report, terms=None) if isinstance(report, OrderReport) else report,)


@broken(475, fault="tells on which terms an order of an earlier session is worked only when that changes once more")
class ForgetsTheTermsOverASession(Wrapper):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.known: set[str] = set()

    async def place_order(self, order: Order) -> Placed:
        self.known.add(order.client_order_id)
        return await super().place_order(order)

    async def reports(self) -> AsyncIterator[Report]:
        async for report in super().reports():
            if isinstance(report, OrderReport) and report.client_order_id not in self.known:
                self.known.add(str(report.client_order_id))
                yield replace(report, terms=None)
            else:
                yield report


class Listing(Wrapper):
    """The mock, whose list of open orders is read by `listed`."""

    async def open_orders(self) -> Snapshot[OrderReport]:
        found = await super().open_orders()
        return replace(found, items=tuple(self.listed(report) for report in found.items))

    def listed(self, report: OrderReport) -> OrderReport:
        return report


@broken(665, fault="lists what remains of an open order as its quantity")
class ListsWhatRemains(Listing):
    def listed(self, report: OrderReport) -> OrderReport:
        whole = report.terms.quantity if report.terms is not None else None
        return report if whole is None else on(report, quantity=whole - (report.filled_quantity or Decimal(0)))


@broken(665, fault="lists every open order as one to buy")
class ListsBuyersOnly(Listing):
    def listed(self, report: OrderReport) -> OrderReport:
        return on(report, side=Side.BUY)


@broken(675, fault="lists the terms of what it sent itself, and of nothing else")
class ListsItsOwnTerms(Listing, Remembering):
    def listed(self, report: OrderReport) -> OrderReport:
        return report if report.client_order_id in self.ours else replace(report, terms=None)


@right(
    oddity="shows a market order with the limit that protects it, and what was cancelled with the quantity that was "
    "filled of it"
)
class ShowsTermsOfItsOwn(Wrapper):
    def read(self, report: Report) -> Iterable[Report]:
        if not isinstance(report, OrderReport):
            return (report,)
        if report.status is ReportStatus.CANCELLED:
            return (replace(report, terms=OrderTerms(quantity=report.filled_quantity)),)
        if report.terms is not None and report.terms.limit_price is None:
            return (on(report, limit_price=Decimal("240.00")),)
        return (report,)
