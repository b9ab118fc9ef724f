"""The small market behind the simulated Kite: what trades by itself, at which price, and when."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from exec_broker_zerodha.simulator.catalogue import catalogue_of
from exec_broker_zerodha.simulator.exchange import Exchange
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.rows import OrderRow, Status
from exec_broker_zerodha.simulator.times import ist_date


class Market:
    """Acts on open orders; while `is_resting`, on none."""

    def __init__(self, exchange: Exchange, options: Options) -> None:
        self._exchange = exchange
        self._book = exchange.book
        self._options = options
        self.is_resting = options.is_resting

    def price_of(self, exchange: str, symbol: str) -> Decimal:
        """The market price: what was set, else what the dump says."""
        price = self._book.price(exchange, symbol)
        if price is not None:
            return price
        listed = catalogue_of(ist_date(self._book.now)).find(exchange, symbol)
        return Decimal(0) if listed is None else listed.last_price

    def consider(self, order: OrderRow) -> OrderRow:
        """A new order, new terms, or a new price: whether it trades now, later, or not; an IOC order never waits."""
        if self.is_resting or order.status not in (Status.OPEN, Status.TRIGGER_PENDING) or order.fill_at is not None:
            return order
        if order.status == Status.TRIGGER_PENDING:
            if not self._is_triggered(order):
                return order
            order = self._exchange.trigger(order)
        if self._trading_price(order) is None:
            return self._exchange.cancel(order) if order.validity == "IOC" else order
        parts = max(1, min(self._options.partial_fills, order.remaining_quantity // self._lot(order)))
        order = self._exchange.keep(replace(order, parts_left=parts))
        if self._options.fill_after:
            return self._exchange.keep(replace(order, fill_at=self._later()))
        while order.is_open:
            order = self._trade_part(order)
        return order

    def set_price(self, symbol: str, price: Decimal) -> None:
        """The market price of ``SYMBOL`` or ``EXCHANGE:SYMBOL`` is this; what can trade at it does."""
        with self._book.transaction():
            self._book.set_price(symbol, price)
            for order in self._book.open_orders():
                if symbol in (order.symbol, f"{order.exchange}:{order.symbol}"):
                    self.consider(order)

    def advance(self) -> None:
        """Make happen what is due."""
        now = self._book.now
        for due in self._book.due_orders(now):
            order = due
            with self._book.transaction():
                if order.fill_at is not None and order.fill_at <= now:
                    order = self._trade_if_possible(order)
                if order.is_open and order.cancel_at is not None and order.cancel_at <= now:
                    self._exchange.cancel(order)

    def _trade_if_possible(self, order: OrderRow) -> OrderRow:
        if self._trading_price(order) is None:
            order = self._exchange.keep(replace(order, fill_at=None))
            return self._exchange.cancel(order) if order.validity == "IOC" else order
        order = self._trade_part(order)
        return self._exchange.keep(replace(order, fill_at=self._later())) if order.is_open else order

    def _trade_part(self, order: OrderRow) -> OrderRow:
        price = self._trading_price(order)
        remaining, lot = order.remaining_quantity, self._lot(order)
        quantity = remaining
        if order.parts_left > 1:
            quantity = max(remaining // order.parts_left // lot, 1) * lot
        order, _ = self._exchange.trade(order, min(quantity, remaining), order.price if price is None else price)
        return self._exchange.keep(replace(order, parts_left=max(order.parts_left - 1, 1)))

    def _trading_price(self, order: OrderRow) -> Decimal | None:
        """The price at which it can trade now; None: it cannot."""
        if order.order_type == "SL-M":
            return self.price_of(order.exchange, order.symbol)
        price = self._book.price(order.exchange, order.symbol)
        if price is None:
            if order.asked_type != "MARKET":
                return order.price
            price = self.price_of(order.exchange, order.symbol)
        return price if order.sign * (order.price - price) >= 0 else None

    def _is_triggered(self, order: OrderRow) -> bool:
        price = self._book.price(order.exchange, order.symbol)
        return price is not None and order.sign * (price - order.trigger_price) >= 0

    def _lot(self, order: OrderRow) -> int:
        listed = catalogue_of(ist_date(self._book.now)).find(order.exchange, order.symbol)
        return 1 if listed is None else listed.step

    def _later(self) -> int:
        return self._book.now + round(self._options.fill_after * 1_000_000)
