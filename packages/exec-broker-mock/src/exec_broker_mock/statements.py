"""Answers to questions about an account: an order's trace, what is open, what is held, how much money."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from exec_core.broker import AccountSummary, BrokerPosition, Found, Snapshot, View
from exec_core.instruments import Instrument
from exec_core.money import ZERO, exact
from exec_core.orders import Order
from exec_core.reports import OrderReport

from exec_broker_mock import faults
from exec_broker_mock.faults import Fault, FaultKind, Target
from exec_broker_mock.reporting import effective, fill_report, order_report
from exec_broker_mock.rows import FillRow, OrderRow, moment
from exec_broker_mock.venue import Link, Venue, target_of

if TYPE_CHECKING:
    from exec_broker_mock.settings import MockBrokerSettings

T = TypeVar("T")


@dataclass(slots=True)
class Holding:
    """What the account holds of one instrument under one product; `cost` has the sign of the quantity."""

    instrument: Instrument
    currency: str
    product: str | None = None
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    last_price: Decimal = ZERO

    def add(self, signed: Decimal, price: Decimal) -> None:
        """Fold one execution in, at average cost."""
        self.last_price = price
        if self.quantity * signed >= 0:
            self.cost += signed * price
        elif abs(signed) <= abs(self.quantity):
            self.cost += self.cost * signed / self.quantity
        else:
            self.cost = (self.quantity + signed) * price
        self.quantity += signed


class Statements:
    """The questions that a session may ask. Blocking, like the venue; each answer is as of one instant."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._book = venue.book

    def _ask(self, link: Link) -> int:
        """Bring the book up to the present, which is returned. Inside a write transaction."""
        now = self._book.now()
        faults.check_line(self._book, link.account_id, link.marker, now)
        self._venue.bring_up(now)
        return now

    def find(self, order: Order, link: Link) -> Found:
        """Everything the venue shows under the order's ids.

        :raises ConnectionResetError: a fault wants it.
        """
        with self._book.transaction():
            now = self._ask(link)
            target = target_of(order, link.account_id)
            fault = faults.consume(self._book, target, FaultKind.INCOMPLETE, FaultKind.LOOKUP_FAILS)
            rows = self._book.orders_of(link.account_id, order.client_order_id, order.broker_order_ids)
            shown = [] if fault else [row for row in rows if not row.is_hidden(now)]
            view = View(moment(now), fault is None, self._book.created_at)
            found = Found(
                view,
                tuple(order_report(self._book, row) for row in shown),
                tuple(
                    fill_report(self._book, row, fill, now)
                    for row in shown
                    for fill in effective(self._book.fills_of_order(row.number))
                ),
            )
        _reset_if(fault is not None and fault.kind is FaultKind.LOOKUP_FAILS)
        return found

    def open_orders(self, link: Link) -> Snapshot[OrderReport]:
        """What can still trade. Absence proves nothing: an order that is done is not in it either.

        :raises ConnectionResetError: a fault wants it; here and in the questions below.
        """
        with self._book.transaction():
            now = self._ask(link)
            fault = self._list_fault(link)
            rows = self._book.open_orders(account_id=link.account_id)
            shown = tuple(order_report(self._book, row) for row in rows if not row.is_hidden(now))
        return self._listed(shown, fault, now)

    def positions(self, link: Link) -> Snapshot[BrokerPosition]:
        """What the account holds: the fold of its executions."""
        with self._book.transaction():
            now = self._ask(link)
            fault = self._list_fault(link)
            holdings, _ = self._fold(link.account_id)
        with exact():
            held = tuple(
                BrokerPosition(holding.instrument, holding.quantity, holding.cost / holding.quantity, holding.product)
                for holding in holdings
                if holding.quantity
            )
        return self._listed(held, fault, now)

    def account(self, link: Link, settings: MockBrokerSettings) -> AccountSummary:
        """The account's money in its currency; no equity where something is held in another one."""
        with self._book.transaction():
            now = self._ask(link)
            fault = self._list_fault(link)
            holdings, flows = self._fold(link.account_id)
        if fault is not None:
            _reset_if(fault.kind is FaultKind.LIST_FAILS)
            return AccountSummary(settings.currency, moment(now))
        held = [holding for holding in holdings if holding.quantity]
        with exact():
            cash = settings.cash + flows.get(settings.currency, ZERO)
            worth = sum(
                (
                    holding.quantity * holding.last_price * holding.instrument.multiplier_or_default()
                    for holding in held
                ),
                ZERO,
            )
            equity = cash + worth
        is_foreign = any(holding.currency != settings.currency for holding in held)
        return AccountSummary(settings.currency, moment(now), None if is_foreign else equity, cash, max(cash, ZERO))

    def _list_fault(self, link: Link) -> Fault | None:
        """What shall go wrong with a question about the whole account. Inside a write transaction."""
        target = Target(link.account_id, "", "", "")
        return faults.consume(self._book, target, FaultKind.LIST_INCOMPLETE, FaultKind.LIST_FAILS)

    @staticmethod
    def _listed(items: tuple[T, ...], fault: Fault | None, now: int) -> Snapshot[T]:
        """The answer, as the fault wants it. Raised outside of the transaction: the fault is used up."""
        if fault is not None:
            _reset_if(fault.kind is FaultKind.LIST_FAILS)
        return Snapshot(items if fault is None else (), View(moment(now), complete=fault is None, covers_from=None))

    def _fold(self, account_id: str) -> tuple[list[Holding], dict[str, Decimal]]:
        """What is held per instrument, currency and product, and what flowed per currency."""
        holdings: dict[tuple[str, str, str | None], Holding] = {}
        flows: dict[str, Decimal] = {}
        with exact():
            for order, fill in self._executions(account_id):
                if not fill.quantity:
                    continue
                key = (order.instrument.key, order.currency, order.product)
                holding = holdings.setdefault(key, Holding(order.instrument, order.currency, order.product))
                signed = fill.quantity * order.side.sign
                holding.add(signed, fill.price)
                flow = -signed * fill.price * order.instrument.multiplier_or_default() - fill.commission
                flows[order.currency] = flows.get(order.currency, ZERO) + flow
        return list(holdings.values()), flows

    def _executions(self, account_id: str) -> list[tuple[OrderRow, FillRow]]:
        orders = {order.number: order for order in self._book.orders_with_fills(account_id)}
        return [(orders[fill.order_number], fill) for fill in effective(self._book.fills_of_account(account_id))]


def _reset_if(wanted: bool) -> None:
    if wanted:
        raise ConnectionResetError("The mock venue reset the connection")
