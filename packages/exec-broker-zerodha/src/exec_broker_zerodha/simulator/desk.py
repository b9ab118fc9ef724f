"""What people, and tests, do at the simulated Kite: to its orders, its market, its lists, its sessions and its line.

What a method made happen has happened when it returns: it is in the book, and in the lists unless these lag behind.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any, Final

from exec_broker_zerodha.simulator.faults import CANCEL, PLACE, Fault, Trouble, endpoints_of
from exec_broker_zerodha.simulator.rows import OrderRow, Status, TradeRow
from exec_broker_zerodha.simulator.server import Simulator

_DAY_SECONDS: Final = 86_400


class ImpossibleAction(Exception):
    """What was asked cannot be done; nothing was changed. The message is a sentence."""


class Desk:
    """The people's side. An order is named by its id, or by its tag where only one of today's has it."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._book = simulator.book
        self._exchange = simulator.exchange

    # Orders

    def order(self, name: str) -> OrderRow:
        """The order, of whatever day. :raises ImpossibleAction: there is none, or several have this tag."""
        found = self._book.order_of(name)
        if found is not None:
            return found
        tagged = self._book.orders_tagged(name)
        if len(tagged) != 1:
            raise ImpossibleAction(f"{len(tagged)} orders have the id or the tag {name}, not one")
        return tagged[0]

    def fill(self, name: str, quantity: int | None = None, price: Decimal | None = None) -> TradeRow:
        """Execute so much of an order, all that is left unless told, at the market price unless told; also of one that
        has ended, or beyond its quantity. :raises ImpossibleAction: nothing is left, or the figures are none."""
        order = self.order(name)
        quantity = order.remaining_quantity if quantity is None else quantity
        if price is None:
            price = self._simulator.market.price_of(order.exchange, order.symbol)
        if quantity <= 0 or not (price.is_finite() and price > 0):
            raise ImpossibleAction(f"{name}: {quantity} @ {price} cannot be traded")
        _, trade = self._exchange.trade(order, quantity, price)
        return trade

    def cancel(self, name: str) -> OrderRow:
        """Take what is left of an order off the market, as a person does, or as a held cancel takes effect."""
        return self._exchange.cancel(self._open(name))

    def reject(self, name: str, reason: str, raw: str | None = None) -> OrderRow:
        """Refuse an order that was taken."""
        return self._exchange.reject(self._open(name), reason, f"RMS:{reason}" if raw is None else raw)

    def expire(self, name: str) -> OrderRow:
        """End an order as the session's end does: it reads CANCELLED, and only the times tell."""
        return self._exchange.expire(self._open(name))

    def modify(self, name: str, **terms: object) -> OrderRow:
        """A person works an open order on other terms: `quantity`, `price`, `trigger_price`, `order_type`, ...

        :raises ImpossibleAction: it has ended. :raises Refusal: the terms cannot be.
        """
        form = {key: str(value) for key, value in terms.items() if value is not None}
        order = self._simulator.counter.change(self._open(name), form)
        self._simulator.plan()
        return order

    def say(self, name: str, word: str | None) -> OrderRow:
        """From now on the order's status is this word, until it ends; None: its own again."""
        return self._exchange.call(self._open(name), word)

    def trade_by_hand(self, side: str, quantity: int, instrument: str, **terms: object) -> OrderRow:
        """A person enters an order (``EXCHANGE:SYMBOL``) without a tag: a LIMIT order at the market price, MIS, unless
        the terms say otherwise. :raises Refusal: it cannot be."""
        exchange, _, symbol = instrument.partition(":")
        form = {
            "exchange": exchange,
            "tradingsymbol": symbol,
            "transaction_type": side,
            "quantity": str(quantity),
            "product": "MIS",
            "order_type": "LIMIT",
            "price": str(self._simulator.market.price_of(exchange, symbol)),
        }
        form |= {key: str(value) for key, value in terms.items()}
        order = self._simulator.counter.place("regular", form, is_by_hand=True)
        self._simulator.plan()
        return order

    def open_market(self) -> list[OrderRow]:
        """The session begins: after-market orders go to the exchange."""
        waiting = [order for order in self._book.open_orders() if order.status == Status.AMO_RECEIVED]
        opened = [self._simulator.market.consider(self._exchange.open(order)) for order in waiting]
        self._simulator.plan()
        return opened

    def reject_next(self, reason: str) -> None:
        """The next order is taken and answered, and is then in the book as REJECTED, as by the risk management."""
        self._simulator.counter.rejections.append(reason)

    def hold_cancels(self, holds: bool = True) -> None:
        """Cancels are taken, and nothing comes of them until `cancel` says so."""
        self._simulator.counter.holds_cancels = holds

    # Market and days

    def set_price(self, symbol: str, price: Decimal) -> None:
        """The market price of ``SYMBOL`` or ``EXCHANGE:SYMBOL`` is this from now on."""
        if not (price.is_finite() and price > 0):
            raise ImpossibleAction(f"{price} is no price")
        self._simulator.market.set_price(symbol, price)
        self._simulator.plan()

    def new_day(self, days: int = 1) -> None:
        """The next trading day, so many days later by the venue's clock: what is open ends, the lists are empty."""
        self._simulator.begin_day(days * _DAY_SECONDS)
        self._simulator.plan()

    # Lists

    def hide_new_orders(self, hides: bool = True) -> None:
        """Orders that come in from now on are in no list, until told otherwise."""
        self._simulator.orders_hidden_since = self._book.now if hides else None

    def hide_new_trades(self, hides: bool = True) -> None:
        """Trades from now on are in no list, until told otherwise; the orders show what is filled."""
        self._simulator.trades_hidden_since = self._book.now if hides else None

    def lag(self, *, orders: float | None = None, trades: float | None = None) -> None:
        """After how many seconds a new order, or a trade, is in the lists."""
        if orders is not None:
            self._simulator.order_lag = orders
        if trades is not None:
            self._simulator.trade_lag = trades

    def reorder(self, reorders: bool = True) -> None:
        """Lists, and updates that are under way together, come in reverse order."""
        self._simulator.updates.reorders = self._simulator.reverses_lists = reorders

    def repeat(self, repeats: bool = True) -> None:
        """Every update comes twice."""
        self._simulator.updates.repeats = repeats

    # Trouble

    def arm(
        self,
        trouble: Trouble | str,
        endpoints: str = PLACE,
        *,
        is_after: bool = False,
        count: int = 1,
        **answer: Any,
    ) -> Fault:
        """Trouble for the next `count` requests to an endpoint or a group of them; `is_after`: they are acted on first.

        `answer` may be `status`, `error_type` and `text`, where the trouble is an error. :raises ValueError: unknown.
        """
        fault = Fault(Trouble(trouble), endpoints_of(endpoints), is_after, count, **answer)
        return self._simulator.faults.arm(fault)

    def refuse_next(self, reason: str, *, status: int = 400, error_type: str = "InputException") -> Fault:
        """The next order is refused at once: it gets no id, and is not in the book."""
        return self.arm(Trouble.ERROR, PLACE, status=status, error_type=error_type, text=reason)

    def lose_next_cancel(self) -> Fault:
        """The next cancel is acted on, and its sender sees the line break."""
        return self.arm(Trouble.RESET, CANCEL, is_after=True)

    def disarm(self, fault: Fault | None = None) -> None:
        """Forget one kind of trouble, or all of it."""
        self._simulator.faults.disarm(fault)

    async def cut_lines(self) -> None:
        """Break every connection there is, websockets too; new ones are taken."""
        await self._simulator.door.cut()

    async def go_away(self) -> None:
        """Break every connection, and refuse new ones."""
        await self._simulator.door.shut()

    async def come_back(self) -> None:
        """Take connections again."""
        await self._simulator.door.open()

    # Sessions

    def expire_token(self) -> None:
        """The access token is no longer good."""
        self._simulator.sessions.expire()

    def renew_token(self, access_token: str | None = None) -> str:
        """Another access token, made up unless given."""
        return self._simulator.sessions.renew(access_token)

    def log_in(self) -> str:
        """A person logs in on Kite's page: the request token, good for one use."""
        return self._simulator.sessions.request_token()

    def allow_address(self, allows: bool = True) -> None:
        """Whether orders are taken from the address they come from."""
        self._simulator.sessions.is_address_allowed = allows

    def keep_limits(self, keeps: bool = True) -> None:
        """Whether the rate limits hold."""
        self._simulator.keeps_limits = keeps

    @property
    def requests(self) -> Counter[str]:
        """How many requests came in, by endpoint; those that were refused as well."""
        return Counter(self._simulator.limits.requests)

    @property
    def refused_requests(self) -> int:
        """How many requests were too many for the rate limits."""
        return self._simulator.limits.refused

    def reset_requests(self) -> None:
        """Count requests from nothing again."""
        self._simulator.limits.reset()

    def _open(self, name: str) -> OrderRow:
        order = self.order(name)
        if not order.is_open:
            raise ImpossibleAction(f"{name} is {order.status} already")
        return order
