"""What a session has seen of today's orders and trades, and whose they are. No network, no clock of its own.

Whose an order is: what this session placed is known by the order's id; everything else by its tag. A tag could have
been used again by hand, so where it is known what was sent under it, the row must fit that: exchange, symbol, side,
product, and the quantity unless somebody modified it. Prices and type are not compared: those of a protected MARKET
order differ from what was sent. Several orders under one tag are all told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from exec_core.identifiers import BrokerOrderId, ClientOrderId, ExecutionId
from exec_core.instruments import InstrumentDetails
from exec_core.money import ZERO
from exec_core.orders import Order
from exec_core.reports import CommissionReport, FillReport, OrderReport

from exec_broker_zerodha import rows
from exec_broker_zerodha.figures import figure
from exec_broker_zerodha.rows import BadRow, Naming, Row

logger = logging.getLogger(__name__)

DetailsOf = Callable[[str, str], InstrumentDetails | None]


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent under a tag, as far as a row must show it."""

    exchange: str
    tradingsymbol: str
    side: str
    product: str | None
    quantity: Decimal

    def fits(self, row: Row) -> bool:
        """Whether the row can be that order."""
        shown = (*rows.place_of(row), row.get("transaction_type"))
        if shown != (self.exchange, self.tradingsymbol, self.side):
            return False
        if self.product is not None and row.get("product") != self.product:
            return False
        return bool(row.get("modified")) or figure(row.get("quantity")) == self.quantity


@dataclass(frozen=True, slots=True)
class Trace:
    """What the book shows of one order. `is_doubtful`: something carries its tag and does not fit it."""

    orders: tuple[OrderReport, ...]
    fills: tuple[FillReport, ...]
    is_doubtful: bool


@dataclass(slots=True, eq=False)
class Book:
    """The rows of today as they were seen last."""

    naming: Naming
    details_of: DetailsOf
    _rows: dict[BrokerOrderId, Row] = field(default_factory=dict)
    _fills: dict[BrokerOrderId, dict[ExecutionId, FillReport]] = field(default_factory=dict)
    _reports: dict[BrokerOrderId, tuple[Row, OrderReport]] = field(default_factory=dict)
    _sent: dict[ClientOrderId, Sent] = field(default_factory=dict)
    _placed: dict[BrokerOrderId, ClientOrderId] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    commissions: dict[ExecutionId, CommissionReport] = field(default_factory=dict)

    # What this session did

    def sending(self, client_order_id: ClientOrderId, sent: Sent) -> None:
        """An order is about to be sent."""
        self._sent[client_order_id] = sent

    def placed(self, client_order_id: ClientOrderId, broker_order_id: BrokerOrderId) -> None:
        """Kite has told the id of an order that this session placed."""
        self._placed[broker_order_id] = client_order_id
        self._reports.pop(broker_order_id, None)

    # What was seen

    def take_orders(self, listed: Iterable[Any]) -> bool:
        """The whole of today's order book; whether every row could be read."""
        is_whole, found = True, {}
        for row in listed:
            try:
                found[rows.order_id_of(row)] = row
            except BadRow as error:
                is_whole = False
                self._say_once("order", f"A row of Kite's order book cannot be read: {error}")
        self._rows = found
        return is_whole

    def take_trades(self, listed: Iterable[Any], now: datetime) -> bool:
        """Today's trade book; whether every row could be read. What was seen once is kept."""
        is_whole = True
        for trade in listed:
            try:
                broker_order_id = rows.order_id_of(trade)
                execution_id = rows.execution_id_of(trade)
                known = self._fills.setdefault(broker_order_id, {})
                if execution_id not in known:
                    owner, details = self._owner(broker_order_id), self.details_of(*rows.place_of(trade))
                    known[execution_id] = rows.fill_report(trade, owner, now, details)
            except BadRow as error:
                is_whole = False
                self._say_once("trade", f"A row of Kite's trade book cannot be read: {error}")
        return is_whole

    # What it shows

    @property
    def rows(self) -> dict[BrokerOrderId, Row]:
        """The order book."""
        return self._rows

    def row(self, broker_order_id: BrokerOrderId) -> Row | None:
        """One order."""
        return self._rows.get(broker_order_id)

    def fills_of(self, broker_order_id: BrokerOrderId) -> tuple[FillReport, ...]:
        """An order's executions."""
        return tuple(self._fills.get(broker_order_id, {}).values())

    @property
    def lacks_trades(self) -> bool:
        """Whether Kite counts more as filled, of any order, than its trades have told."""
        return any(self.lacks(name) for name in self._rows)

    def lacks(self, broker_order_id: BrokerOrderId) -> bool:
        """Whether Kite counts more as filled of the order than its trades have told."""
        told = sum((one.fill.quantity for one in self.fills_of(broker_order_id)), ZERO)
        return rows.filled_quantity(self._rows[broker_order_id]) > told

    def reports(self) -> tuple[list[OrderReport], list[FillReport]]:
        """Everything, with whose it is."""
        orders = []
        for name, row in self._rows.items():
            known = self._reports.get(name)
            # Until the day's list has come, a report lacks what only the list says.
            if known is None or known[0] != row or known[1].details != self.details_of(*rows.place_of(row)):
                known = self._reports[name] = (row, self._report(name, row))
            orders.append(known[1])
        fills = [self._owned(fill, self._owner(name)) for name in self._fills for fill in self.fills_of(name)]
        return orders, fills

    def open_orders(self) -> tuple[OrderReport, ...]:
        """The orders that can still trade, whoever placed them."""
        return tuple(self._report(name, row) for name, row in self._rows.items() if rows.is_open(row))

    def trace(self, order: Order, sent: Sent | None) -> Trace:
        """What is seen of an order, by its ids and its tag. `sent` None: what was sent cannot be told, the tag alone
        decides."""
        sent = self._sent.get(order.client_order_id, sent)
        found, is_doubtful = [], False
        for name, row in self._rows.items():
            is_known = name in order.broker_order_ids or self._placed.get(name) == order.client_order_id
            if not is_known and order.client_order_id not in rows.tags_of(row):
                continue
            if is_known or sent is None or sent.fits(row):
                found.append(name)
            else:
                is_doubtful = True
        names = dict.fromkeys((*found, *(name for name in order.broker_order_ids if name in self._fills)))
        fills = [self._owned(fill, order.client_order_id) for name in names for fill in self.fills_of(name)]
        reports = [self._report(name, self._rows[name], order.client_order_id) for name in found]
        return Trace(tuple(reports), tuple(fills), is_doubtful)

    def _report(self, name: BrokerOrderId, row: Row, owner: ClientOrderId | None = None) -> OrderReport:
        details = self.details_of(*rows.place_of(row))
        return rows.order_report(row, owner or self._owner(name), self.naming, details)

    def _owner(self, broker_order_id: BrokerOrderId) -> ClientOrderId | None:
        """Whose it is, as far as that is known."""
        placed = self._placed.get(broker_order_id)
        row = self._rows.get(broker_order_id)
        if placed is not None or row is None:
            return placed
        tag = rows.our_tag(row)
        sent = None if tag is None else self._sent.get(tag)
        if sent is not None and not sent.fits(row):
            text = f"Order {broker_order_id} bears the tag {tag}, and is not what was sent under it: it is left alone"
            self._say_once(f"tag {broker_order_id}", text)
            return None
        return tag

    def _say_once(self, about: str, text: str) -> None:
        if about not in self._told:
            self._told.add(about)
            logger.warning("%s", text)

    @staticmethod
    def _owned(fill: FillReport, owner: ClientOrderId | None) -> FillReport:
        if owner == fill.client_order_id:
            return fill
        return FillReport(fill.fill, owner, fill.broker_order_id, fill.details)
