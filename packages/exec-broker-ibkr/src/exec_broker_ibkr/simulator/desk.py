"""What a person, or a test, does at the simulated TWS: trades by hand, ends orders, breaks lines, arms faults.

Every action has happened when it returns. Each raises `ImpossibleAction` where it cannot be done; then nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar, get_args

from exec_core.errors import ExecError
from exec_core.money import ZERO

from exec_broker_ibkr.messages import TwsContract, TwsOrder
from exec_broker_ibkr.simulator import life, requests
from exec_broker_ibkr.simulator.book import effective
from exec_broker_ibkr.simulator.checks import Refused, check
from exec_broker_ibkr.simulator.faults import Answers, NextOrder
from exec_broker_ibkr.simulator.rows import ExecutionRow, OrderRow, micros
from exec_broker_ibkr.simulator.server import Simulator
from exec_broker_ibkr.simulator.times import TimeStyle

Word = TypeVar("Word", bound=StrEnum)

_KINDS: Final = frozenset(kind.__name__ for kind in get_args(requests.Request))


class ImpossibleAction(ExecError):
    """What was asked cannot be done here; nothing was changed."""


class Desk:
    """The people's side of a simulated TWS. Orders are named by their perm id, executions by their id."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._exchange = simulator.exchange
        self._book = simulator.book
        self._faults = simulator.faults

    # Orders

    def fill(self, perm_id: int, quantity: Decimal | None = None, price: Decimal | None = None) -> ExecutionRow:
        """Execute an order: what is left of it at the market's price, unless told otherwise.

        Also one that is held, one that has ended, and beyond its quantity: such executions do come.
        """
        order = self._order(perm_id)
        if price is None:
            price = self._exchange.market.price(order.contract)
        if price is None or not price.is_finite():
            raise ImpossibleAction(f"order {perm_id}: say at which price")
        if quantity is None:
            quantity = self._exchange.market.next_part(order, price)[0] if order.is_cash else order.remaining
        if not (quantity.is_finite() and quantity > 0):
            raise ImpossibleAction(f"order {perm_id}: say what quantity to fill, above zero")
        return self._exchange.execute(order.number, quantity, price)

    def cancel(self, perm_id: int, reason: str = "") -> None:
        """Take an order off the market."""
        self._end(perm_id, lambda order: life.cancelled(order, reason, self._when()))

    def expire(self, perm_id: int) -> None:
        """End an order at the end of its time in force."""
        self._end(perm_id, lambda order: life.expired(order, self._when()))

    def reject(self, perm_id: int, reason: str, code: int = 201) -> None:
        """Refuse an order that was taken."""
        text = f"Order rejected - reason:{reason}" if code == 201 else reason
        self._end(perm_id, lambda order: life.refused(order, code, text, self._when()))

    def modify(
        self,
        perm_id: int,
        *,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> None:
        """Work an open order on another quantity (of the whole order) or other prices; what is not told stays."""
        order = self._open(perm_id)
        given = {"total_quantity": quantity, "limit_price": limit_price, "stop_price": stop_price}
        terms: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        for name, value in terms.items():
            if getattr(order, name) is None:
                raise ImpossibleAction(f"order {perm_id} has no {name.replace('_', ' ')} to modify")
            if not value.is_finite():
                raise ImpossibleAction(f"order {perm_id}: {value} is no {name.replace('_', ' ')}")
        if quantity is not None and (quantity <= 0 or quantity < order.filled):
            raise ImpossibleAction(f"order {perm_id}: {order.filled} of it is filled, it cannot be for {quantity}")
        self._exchange.change(order._replace(**terms))

    def release(self, perm_id: int) -> None:
        """What an order was held for has come: its trigger, the shares to sell short."""
        order = self._open(perm_id)
        self._exchange.release(order._replace(is_triggered=True, waits_for=0))

    def say(self, perm_id: int, word: str) -> None:
        """The order's status is that word from now on; it works on."""
        self._exchange.change(self._open(perm_id)._replace(word=word))

    def trade_by_hand(
        self,
        contract: TwsContract,
        action: str,
        quantity: Decimal,
        limit_price: Decimal | None = None,
        account: str = "",
    ) -> OrderRow:
        """Enter an order in TWS itself, which no client placed."""
        kind = "MKT" if limit_price is None else "LMT"
        order = TwsOrder(action, kind, account, "DAY", "", quantity, limit_price=limit_price)
        exchange = self._exchange
        try:
            checked = check(contract, order, exchange.terms, exchange.market.listing, exchange.purse)
        except Refused as refused:
            raise ImpossibleAction(str(refused)) from refused
        return exchange.enter(exchange.row_by_hand(checked.contract, checked.order))

    # Executions

    def correct(self, execution_id: str, quantity: Decimal | None = None, price: Decimal | None = None) -> ExecutionRow:
        """Replace an execution by other figures; what is not told stays. Quantity 0 takes it back."""
        number = self._book.number_of_stem(execution_id)
        versions = self._book.versions(number) if number is not None else []
        if not versions:
            raise ImpossibleAction(f"there is no execution {execution_id}")
        newest = versions[-1]
        quantity = newest.quantity if quantity is None else quantity
        price = newest.price if price is None else price
        if not (quantity.is_finite() and quantity >= 0 and price.is_finite()):
            raise ImpossibleAction(f"execution {execution_id}: quantity and price must be numbers, not below zero")
        return self._exchange.correct(newest, quantity, price)

    def bust(self, execution_id: str) -> ExecutionRow:
        """Take an execution back."""
        return self.correct(execution_id, ZERO)

    def withhold_commissions(self) -> None:
        """Executions from now on are billed by `bill` only."""
        self._faults.withholds_commissions = True

    def lose_commissions(self) -> None:
        """Commissions of executions from now on are not told as they happen, only to who asks for executions."""
        self._faults.loses_commissions = True

    def bill(self) -> None:
        """Tell the commissions that were withheld; from now on they come with their executions again."""
        self._faults.withholds_commissions = self._faults.loses_commissions = False
        for row in self._book.unbilled():
            self._exchange.bill(row)

    # Market, day, terms

    def price(self, symbol: str, price: Decimal) -> None:
        """The contract of that symbol (or local symbol) costs that from now on."""
        listed = self._exchange.market.listing.symbol_named(symbol)
        if listed is None:
            raise ImpossibleAction(f"{symbol} is not listed here")
        self._exchange.set_price(listed.contract.con_id, price)

    def begin_day(self) -> None:
        """The next trading day, 24 hours later: what was not good till cancelled has ended, what has ended is gone."""
        for order in self._book.open_orders():
            if order.tif != "GTC":
                self._exchange.end(order, lambda one: life.expired(one, self._when()))
        self._book.begin_day()

    def read_only(self, is_on: bool = True) -> None:
        """TWS's setting "Read-Only API"."""
        self._exchange.terms.read_only = is_on

    def cash(self, amount: Decimal) -> None:
        """So much money did every account begin with."""
        self._exchange.terms.cash = amount

    def fractions(self, is_on: bool = True) -> None:
        """Whether fractional shares may be traded."""
        self._exchange.terms.fractions = is_on

    def spell_times(self, style: str) -> None:
        """How times of executions are spelled from now on."""
        self._simulator.answers.style = _one_of(TimeStyle, style)

    # What goes wrong with orders

    def refuse_next(self, reason: str, code: int = 201) -> None:
        """The next order is refused, with that code and reason."""
        text = f"Order rejected - reason:{reason}" if code == 201 else reason
        self._faults.refusals.append((code, text))

    def next_order(self, what: str) -> None:
        """Something becomes of the next order, or of its answer."""
        self._faults.next_orders.append(_one_of(NextOrder, what))

    def hold_cancels(self, is_on: bool = True) -> None:
        """Cancels are taken, and nothing comes of them."""
        self._faults.holds_cancels = is_on

    def lose_next_cancel(self) -> None:
        """The next cancel is acted on, and its line breaks before an answer."""
        self._faults.loses_next_cancel = True

    def never_say_filled(self, is_on: bool = True) -> None:
        """Orders are executed, and no status says Filled."""
        self._faults.never_says_filled = is_on

    def tell_twice(self, is_on: bool = True) -> None:
        """Whatever happens to orders is told twice."""
        self._faults.tells_twice = is_on

    def tell_in_reverse(self, is_on: bool = True) -> None:
        """What is told together is told in reverse order."""
        self._faults.tells_in_reverse = is_on

    def answer(self, how: str) -> None:
        """How questions are answered from now on; in part: as by a TWS that has lost its line to IB."""
        self._faults.answers = _one_of(Answers, how)
        if self._faults.answers is Answers.PART:
            self._simulator.cut_off()
        else:
            self._simulator.restore()

    def hang_requests(self, kind: str) -> None:
        """Requests of one kind (``CompletedOrders``, say) are never answered."""
        if kind not in _KINDS:
            raise ImpossibleAction(f"{kind} is no kind of request; there are {', '.join(sorted(_KINDS))}")
        self._faults.hangs_requests.add(kind)

    def answer_requests(self) -> None:
        """Requests of every kind are answered again."""
        self._faults.hangs_requests.clear()

    # Lines

    def notify(self, code: int, text: str) -> None:
        """Tell every client something: that a farm is broken, say."""
        self._simulator.notify(code, text)

    def cut_off(self) -> None:
        """TWS loses its line to IB (1100); orders sent now wait, visible to nobody."""
        self._simulator.cut_off()

    def restore(self, data_lost: bool = False, orders_lost: bool = False) -> None:
        """TWS has it again (1102, or 1101 with `data_lost`); waiting orders get there, or vanish."""
        self._simulator.restore(data_lost=data_lost, orders_lost=orders_lost)

    def cut_lines(self) -> None:
        """Break every client's line; they may come back."""
        self._simulator.cut_all()

    def refuse_connections(self) -> None:
        """Break every client's line, and let nobody in."""
        self._simulator.refuse_connections()
        self._simulator.cut_all()

    async def accept_connections(self) -> None:
        """Let clients in again."""
        await self._simulator.listen()

    def half_open(self, is_on: bool = True) -> None:
        """Lines stay open, bytes are taken, and nothing comes of them: what was sent meanwhile is lost."""
        self._faults.is_half_open = is_on

    def keep_client_ids(self, is_on: bool = True) -> None:
        """The ids of clients whose line breaks stay in use (326), until this is switched off."""
        self._faults.keeps_client_ids = is_on
        if not is_on:
            self._simulator.free_client_ids()

    def restart(self, first_order_id: int | None = None) -> None:
        """TWS ends and starts; with `first_order_id` its ids of all clients go on from there (Lean.IB#242)."""
        if first_order_id is not None:
            for client_id in {order.client_id for order in self._book.orders() if order.client_id}:
                self._book.set_next_order_id(client_id, first_order_id)
        self._simulator.restart()

    # Looking

    def order(self, perm_id: int) -> OrderRow:
        """An order as it stands."""
        return self._order(perm_id)

    def executions(self, perm_id: int) -> list[ExecutionRow]:
        """An order's own executions, in their newest versions."""
        return [one for one in effective(self._book.executions_of(self._order(perm_id))) if one.leg is None]

    def _order(self, perm_id: int) -> OrderRow:
        order = self._book.order_of_perm_id(perm_id)
        if order is None:
            raise ImpossibleAction(f"there is no order {perm_id} in this book")
        return order

    def _open(self, perm_id: int) -> OrderRow:
        order = self._order(perm_id)
        if not order.is_open:
            raise ImpossibleAction(f"order {perm_id} has ended: {order.status}")
        return order

    def _end(self, perm_id: int, how: Callable[[OrderRow], life.Event]) -> None:
        self._exchange.end(self._open(perm_id), how)

    def _when(self) -> life.When:
        return life.When(micros(self._book.now), self._book.day)


def _one_of(kind: type[Word], word: str) -> Word:
    try:
        return kind(word)
    except ValueError:
        raise ImpossibleAction(f"{word} is not one of {', '.join(kind)}") from None
