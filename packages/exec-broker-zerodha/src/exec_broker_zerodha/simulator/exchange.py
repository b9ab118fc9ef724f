"""The life of an order at the simulated Kite: how it is taken, traded, changed and ended. Every step is in its history.

It checks nothing that a client sends (`terms` does), and decides nothing about when something trades (`market` does).
What it does happens inside a transaction of the caller's, or one of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time
from decimal import Decimal
from typing import Final

from exec_broker_zerodha.simulator.book import Book
from exec_broker_zerodha.simulator.rows import OrderRow, Status, TradeRow
from exec_broker_zerodha.simulator.showing import order_row
from exec_broker_zerodha.simulator.terms import Terms
from exec_broker_zerodha.simulator.times import IST, ist_date, micros

Hearer = Callable[[OrderRow], None]
_FIRST_EXCHANGE_ID: Final = 1_300_000_000_000_000
#: When the exchanges begin, and when they end what is left of a day's orders (IST).
_OPENING: Final = time(9, 15)
_SESSION_END: Final = time(15, 30)
_SESSION_ENDS: Final = {"CDS": time(17, 0), "MCX": time(23, 30)}


class Exchange:
    """Order management and exchange in one. `hear` is told of every order that changed after it was placed."""

    def __init__(self, book: Book, user_id: str, hear: Hearer) -> None:
        self.book = book
        self._user_id = user_id
        self._hear = hear

    def take(self, terms: Terms, price: Decimal, *, is_by_hand: bool = False) -> OrderRow:
        """A new order, which the risk management has yet to see; `price` is what it is shown with."""
        now = self.book.now
        listed = terms.listed
        row = OrderRow(
            number=0,
            order_id="",
            day=self.book.day,
            exchange=listed.exchange,
            symbol=listed.symbol,
            token=listed.token,
            variety=terms.variety,
            side=terms.side,
            product=terms.product,
            asked_type=terms.order_type,
            order_type="LIMIT" if terms.order_type == "MARKET" else terms.order_type,
            validity=terms.validity,
            validity_ttl=terms.validity_ttl,
            quantity=terms.quantity,
            disclosed_quantity=terms.disclosed_quantity,
            price=price,
            trigger_price=terms.trigger_price,
            protection=terms.protection,
            tag=terms.tag,
            is_by_hand=is_by_hand,
            status=Status.RECEIVED,
            accepted_at=now,
            requested_at=now,
        )
        with self.book.transaction():
            row = self.book.add_order(row)
            self._remember(row)
            return self._step(row, Status.VALIDATING)

    def open(self, order: OrderRow) -> OrderRow:
        """It passed the risk management: it works, or waits for its trigger or for the next session."""
        with self.book.transaction():
            if order.variety == "amo" and order.status != Status.AMO_RECEIVED:
                return self._step(order, Status.AMO_RECEIVED)
            order = self._step(order, Status.OPENING)
            now = self.book.now
            order = replace(
                order,
                exchange_order_id=str(_FIRST_EXCHANGE_ID + order.number),
                exchange_at=now,
                exchange_updated_at=now,
            )
            return self._step(order, Status.TRIGGER_PENDING if order.is_stop else Status.OPEN)

    def trigger(self, order: OrderRow) -> OrderRow:
        """Its trigger has come: it works."""
        with self.book.transaction():
            if order.exchange_order_id is None:
                order = self.open(order)
            if order.status == Status.TRIGGER_PENDING:
                order = self._step(replace(order, exchange_updated_at=self.book.now), Status.OPEN)
            return order

    def trade(self, order: OrderRow, quantity: int, price: Decimal) -> tuple[OrderRow, TradeRow]:
        """Execute so much of it: also of one that waits for something, and of one that has ended, whose word stays."""
        with self.book.transaction():
            if order.is_open and order.status in (Status.TRIGGER_PENDING, Status.AMO_RECEIVED):
                order = self.trigger(order)
            now = self.book.now
            trade = self.book.add_trade(order, quantity, price, now)
            filled = order.filled_quantity + quantity
            # One that ended with the session shows that by its time, and goes on doing so.
            at = now if order.is_open else max(now, order.exchange_updated_at or now)
            order = replace(order, filled_quantity=filled, spent=order.spent + quantity * price, exchange_updated_at=at)
            if filled >= order.quantity and order.status != Status.REJECTED:
                return self._ended(order, Status.COMPLETE), trade
            return self._changed(order), trade

    def modify(self, order: OrderRow, terms: Terms, price: Decimal) -> OrderRow:
        """Work it on other terms; it is complete where no more is wanted of it than is filled."""
        with self.book.transaction():
            before, now = order.status, self.book.now
            order = replace(
                self._step(order, Status.MODIFY_VALIDATING),
                asked_type=terms.order_type,
                order_type="LIMIT" if terms.order_type == "MARKET" else terms.order_type,
                validity=terms.validity,
                validity_ttl=terms.validity_ttl,
                quantity=terms.quantity,
                disclosed_quantity=terms.disclosed_quantity,
                price=price,
                trigger_price=terms.trigger_price,
                protection=terms.protection,
                modifications=order.modifications + 1,
                requested_at=now,
                exchange_updated_at=now if order.exchange_order_id else None,
                fill_at=None,
            )
            order = self._step(order, Status.MODIFYING)
            if order.filled_quantity >= order.quantity:
                return self._ended(order, Status.COMPLETE)
            is_held = before == Status.TRIGGER_PENDING and terms.order_type in ("SL", "SL-M")
            keeps = is_held or before in (Status.AMO_RECEIVED, Status.CANCELLING)
            return self._changed(replace(order, status=before if keeps else Status.OPEN))

    def cancelling(self, order: OrderRow, cancel_at: int | None) -> OrderRow:
        """A cancel was taken, and is acted on then; None: nobody knows when."""
        with self.book.transaction():
            return self._step(replace(order, requested_at=self.book.now, cancel_at=cancel_at), Status.CANCELLING)

    def cancel(self, order: OrderRow, at: int | None = None) -> OrderRow:
        """Take the rest off the market, by whomever; nothing says by whom, or why (Kite forum 52371)."""
        at = self.book.now if at is None else at
        with self.book.transaction():
            reached = order.exchange_order_id is not None
            return self._ended(replace(order, exchange_updated_at=at if reached else None), Status.CANCELLED)

    def expire(self, order: OrderRow) -> OrderRow:
        """End it as the session's end does: it reads CANCELLED, and only the times tell.

        One that came in outside the session (a test's clock is anybody's) is shown as if it had come at the opening.
        """
        ends = _SESSION_ENDS.get(order.exchange, _SESSION_END)
        day = ist_date(order.exchange_at or self.book.now)
        end, opening = (micros(datetime.combine(day, at, IST)) for at in (ends, _OPENING))
        if order.exchange_at is not None and order.exchange_at >= end:
            order = replace(order, exchange_at=opening, requested_at=opening)
        return self.cancel(replace(order, is_expired=True), end)

    def reject(self, order: OrderRow, message: str, raw: str) -> OrderRow:
        """Refuse it, after it was taken."""
        with self.book.transaction():
            return self._ended(replace(order, status_message=message, status_message_raw=raw), Status.REJECTED)

    def call(self, order: OrderRow, word: str | None) -> OrderRow:
        """From now on its status is this word, until it ends; None: its own again."""
        with self.book.transaction():
            return self._changed(replace(order, word=word))

    def keep(self, order: OrderRow) -> OrderRow:
        """What nobody is told of."""
        with self.book.transaction():
            self.book.change_order(order)
        return order

    def _ended(self, order: OrderRow, status: Status) -> OrderRow:
        return self._changed(replace(order, status=status, word=None, fill_at=None, cancel_at=None))

    def _changed(self, order: OrderRow) -> OrderRow:
        self.book.change_order(order)
        self._remember(order)
        self._hear(order)
        return order

    def _step(self, order: OrderRow, status: Status) -> OrderRow:
        order = replace(order, status=status)
        self.book.change_order(order)
        self._remember(order)
        return order

    def _remember(self, order: OrderRow) -> None:
        self.book.remember(order.number, order_row(order, self._user_id))
