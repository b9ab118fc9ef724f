"""Where orders are handed in: placing, modifying and cancelling, for a client of the interface and for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from exec_broker_zerodha.simulator.catalogue import Catalogue, catalogue_of
from exec_broker_zerodha.simulator.exchange import Exchange
from exec_broker_zerodha.simulator.market import Market
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.portfolio import Portfolio
from exec_broker_zerodha.simulator.refusals import CANNOT_CANCEL, CANNOT_MODIFY, bad_input, unknown_order
from exec_broker_zerodha.simulator.rows import OrderRow, Status
from exec_broker_zerodha.simulator.terms import Terms, place_terms, protected_price
from exec_broker_zerodha.simulator.times import ist_date

_MOST_MODIFICATIONS: Final = 25
_INDEFINITELY: Final = None


class Counter:
    """Takes what is handed in, or raises `Refusal`. `holds_cancels`: cancels are taken, and nothing comes of them.

    `rejections` are reasons for which the risk management rejects the next orders, after they were answered.
    """

    def __init__(self, exchange: Exchange, market: Market, portfolio: Portfolio, options: Options) -> None:
        self._exchange = exchange
        self._book = exchange.book
        self._market = market
        self._portfolio = portfolio
        self._options = options
        self.holds_cancels = False
        self.rejections: list[str] = []

    @property
    def catalogue(self) -> Catalogue:
        """What is listed today."""
        return catalogue_of(ist_date(self._book.now))

    def order(self, order_id: str) -> OrderRow:
        """The order of today with this id. :raises Refusal: there is none; yesterday's are forgotten."""
        found = self._book.order_of(order_id)
        if found is None or found.day != self._book.day:
            raise unknown_order()
        return found

    def place(self, variety: str, form: Mapping[str, str], *, is_by_hand: bool = False) -> OrderRow:
        """Take a new order; it is in the book when this returns. :raises Refusal: it never gets there."""
        terms = place_terms(variety, form, self.catalogue, checks_triggers=self._options.checks_triggers)
        with self._book.transaction():
            order = self._exchange.take(terms, self._shown_price(terms), is_by_hand=is_by_hand)
            rejection = self._rejection(order, terms)
            if rejection is not None:
                return self._exchange.reject(order, *rejection)
            return self._market.consider(self._exchange.open(order))

    def modify(self, variety: str, order_id: str, form: Mapping[str, str]) -> OrderRow:
        """Work an order on other terms; what is not given stays. :raises Refusal: it cannot be."""
        order = self.order(order_id)
        if variety != order.variety:
            raise unknown_order()
        if not order.is_open or order.status == Status.CANCELLING:
            raise bad_input(CANNOT_MODIFY)
        if order.modifications >= _MOST_MODIFICATIONS:
            raise bad_input("Maximum allowed order modifications exceeded.")
        return self.change(order, form)

    def change(self, order: OrderRow, form: Mapping[str, str]) -> OrderRow:
        """The modification itself. :raises Refusal: the terms cannot be."""
        is_protected = order.asked_type == "MARKET"
        given = {name: value for name, value in form.items() if value}
        form = {
            "exchange": order.exchange,
            "tradingsymbol": order.symbol,
            "transaction_type": order.side,
            "product": order.product,
            "order_type": order.order_type,
            "validity": order.validity,
            "validity_ttl": str(order.validity_ttl or 1),
            "quantity": str(order.quantity),
            "disclosed_quantity": str(order.disclosed_quantity),
            "price": str(order.price),
            "trigger_price": str(order.trigger_price),
            "market_protection": str(order.protection or "") if order.order_type == "SL-M" else "",
        } | given
        terms = place_terms(order.variety, form, self.catalogue, checks_triggers=self._options.checks_triggers)
        if terms.quantity < order.filled_quantity:
            raise bad_input("Quantity cannot be less than the filled quantity.")
        if is_protected and terms.order_type == "LIMIT":
            # It is shown as a LIMIT order, and stays what it is while nothing else is asked for.
            terms = replace(terms, order_type="MARKET", protection=order.protection)
            return self._modified(order, terms, terms.price)
        return self._modified(order, terms, self._shown_price(terms))

    def cancel(self, variety: str, order_id: str) -> OrderRow:
        """Ask for the end of an order: taken is not done. :raises Refusal: it has ended, or is busy."""
        order = self.order(order_id)
        if variety != order.variety:
            raise unknown_order()
        if not order.is_open or order.status == Status.CANCELLING:
            raise bad_input(CANNOT_CANCEL)
        if self.holds_cancels:
            return self._exchange.cancelling(order, _INDEFINITELY)
        delay = round(self._options.cancel_after * 1_000_000)
        with self._book.transaction():
            order = self._exchange.cancelling(order, self._book.now + delay)
            return order if delay else self._exchange.cancel(order)

    def _modified(self, order: OrderRow, terms: Terms, price: Decimal) -> OrderRow:
        with self._book.transaction():
            return self._market.consider(self._exchange.modify(order, terms, price))

    def _shown_price(self, terms: Terms) -> Decimal:
        if terms.order_type != "MARKET":
            return terms.price
        return protected_price(terms, self._market.price_of(terms.listed.exchange, terms.listed.symbol))

    def _rejection(self, order: OrderRow, terms: Terms) -> tuple[str, str] | None:
        """Why the risk management, or the exchange, will not have it: as a person reads it, and as they say it."""
        if self.rejections:
            reason = self.rejections.pop(0)
            return reason, f"RMS:{reason}"
        is_option = terms.listed.kind in ("CE", "PE")
        if terms.order_type == "SL-M" and (terms.listed.exchange in ("BSE", "BFO") or is_option):
            return "SL-M orders are blocked for this instrument. Use SL orders.", "16052 : Function not available"
        needed = order.quantity * (order.price or order.trigger_price)
        available = self._portfolio.live_balance
        if self._options.checks_funds and terms.side == "BUY" and needed > available:
            return (
                f"Insufficient funds. Required margin is {needed:.2f} but available margin is {available:.2f}. "
                "Check the orderbook for open orders.",
                f"RMS:Margin Exceeds,Required:{needed:.2f}, Available:{available:.2f} for entity "
                f"account-{self._options.user_id} across exchange across segment across product ",
            )
        held = self._portfolio.deliverable(order.exchange, order.symbol)
        if self._options.checks_holdings and terms.side == "SELL" and terms.product == "CNC" and order.quantity > held:
            return (
                f"Insufficient stock holding. Required quantity is {order.quantity} but available quantity is {held}.",
                f"RMS:Rule: Check holdings including BTST for entity account-{self._options.user_id} "
                "across exchange across segment across product ",
            )
        return None
