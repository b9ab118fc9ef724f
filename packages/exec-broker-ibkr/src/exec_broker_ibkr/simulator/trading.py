"""What happens to orders that the venue has: they trade, end, are corrected, and take their families along."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from exec_core.money import ZERO, exact

from exec_broker_ibkr.messages import TwsContract
from exec_broker_ibkr.simulator import life
from exec_broker_ibkr.simulator.book import Book, effective
from exec_broker_ibkr.simulator.faults import Faults
from exec_broker_ibkr.simulator.floor import Floor
from exec_broker_ibkr.simulator.market import Market, leg_prices
from exec_broker_ibkr.simulator.rows import FILLED, PENDING_CANCEL, ExecutionRow, OrderRow
from exec_broker_ibkr.simulator.terms import Terms, commission

#: The kind of group in which any execution cancels all others.
_CANCEL_ALL: Final = 1


class Trading(Floor):
    """The venue without the clients' side."""

    def __init__(self, book: Book, terms: Terms, market: Market, faults: Faults) -> None:
        super().__init__(book, terms, market, faults)
        self._scheduled: set[int] = set()

    def end(self, order: OrderRow, how: Callable[[OrderRow], life.Event]) -> None:
        """An open order ends; what belongs to it follows."""
        with self._event():
            self._end(order.number, how)

    def _end(self, number: int, how: Callable[[OrderRow], life.Event]) -> None:
        order = self._order(number)
        if order.is_open:
            self._happened(*how(order))
            self._settle(number)

    def execute(self, number: int, quantity: Decimal, price: Decimal, *, is_all: bool = False) -> ExecutionRow:
        """So much of an order trades at that price: whatever its state."""
        with self._event():
            when = self._when()
            order = life.executed(self._order(number), quantity, price, when, is_all=is_all)
            self.book.change_order(order)
            own = self._booked(order, None, order.contract, order.action, quantity, price)
            rows = [own, *self._legs(order, quantity, price)]
            told = [(row, self.book.execution_id(row)) for row in rows]
            heard = told
            if self.faults.loses_commissions:
                heard = [(row._replace(is_billed=False), execution_id) for row, execution_id in told]
            is_told = order.status != FILLED or not self.faults.never_says_filled
            self._tell(order.client_id, *life.trade_told(order, heard, says_status=is_told))
            self._reduce_group(order, quantity)
            self._settle(number)
            return own

    def _legs(self, order: OrderRow, quantity: Decimal, price: Decimal) -> Iterator[ExecutionRow]:
        if order.contract.sec_type != "BAG":
            return
        prices = leg_prices(order.contract, price)
        for place, leg in enumerate(order.contract.legs):
            listed = self.market.listing.of_con_id(leg.con_id)
            if listed is None:
                continue
            is_bought = (leg.action == "BUY") == (order.action == "BUY")
            contract = listed.at(leg.exchange).contract
            action = "BUY" if is_bought else "SELL"
            yield self._booked(order, place, contract, action, quantity * leg.ratio, prices[place])

    def _booked(
        self, order: OrderRow, leg: int | None, contract: TwsContract, action: str, quantity: Decimal, price: Decimal
    ) -> ExecutionRow:
        is_bag = contract.sec_type == "BAG"
        cost, currency = (ZERO, contract.currency) if is_bag else commission(contract, quantity, price)
        when = self._when()
        row = self.book.add_execution(
            ExecutionRow(
                number=0,
                execution=0,
                correction=0,
                order_number=order.number,
                leg=leg,
                account=order.account,
                contract=contract,
                side="BOT" if action == "BUY" else "SLD",
                quantity=quantity,
                price=price,
                cumulative=order.filled if leg is None else quantity,
                average=(order.average_price if leg is None else None) or price,
                commission=cost,
                currency=currency,
                # A combination itself is never billed: its legs are.
                is_billed=not is_bag and not self.faults.withholds_commissions,
                time=when.at,
                day=when.day,
            )
        )
        self.holdings.traded(row)
        self._has_moved(row.account, contract.con_id)
        return row

    def correct(self, newest: ExecutionRow, quantity: Decimal, price: Decimal) -> ExecutionRow:
        """Replace an execution by other figures; quantity 0 busts it."""
        with self._event():
            row = self.book.add_execution(
                newest._replace(number=0, correction=newest.correction + 1, quantity=quantity, price=price)
            )
            order = self._order(row.order_number)
            known = [one for one in effective(self.book.executions_of(order)) if one.leg is None]
            with exact():
                filled = sum((one.quantity for one in known), ZERO)
                spent = sum((one.quantity * one.price for one in known), ZERO)
            if row.leg is None:
                order = life.rebooked(order, filled, spent, self._when())
                self.book.change_order(order)
            row = row._replace(cumulative=order.filled, average=order.average_price or ZERO)
            if row.contract.sec_type != "BAG":
                self.holdings.retraded(row.account, row.contract, effective(self.book.executions()))
                self._has_moved(row.account, row.contract.con_id)
            self._tell(order.client_id, *life.trade_told(order, [(row, self.book.execution_id(row))]))
            self._settle(order.number)
            return row

    def bill(self, row: ExecutionRow) -> None:
        """Tell a commission that was withheld."""
        with self._event():
            row = self.book.bill(row)
            order = self._order(row.order_number)
            self._tell(order.client_id, life.commission(row, self.book.execution_id(row)))

    def change(self, order: OrderRow) -> None:
        """A person works an open order on other terms, which `order` has."""
        with self._event():
            self._happened(*life.modified(order, self._when()))
            self._settle(order.number)

    def release(self, order: OrderRow) -> None:
        """What an order was held for has come."""
        with self._event():
            self._happened(*life.released(order, self._when()))
            self._examine(order.number)

    # Families

    def _reduce_group(self, order: OrderRow, quantity: Decimal) -> None:
        """One cancels, or reduces, the others of its group."""
        if not order.oca_group:
            return
        for other in self.book.open_in_group(order.account, order.oca_group):
            if other.number == order.number or other.waits_for:
                continue
            left = (other.total_quantity or ZERO) - quantity
            if order.status == FILLED or order.oca_type == _CANCEL_ALL or left <= other.filled:
                self._end(other.number, lambda one: life.cancelled(one, "OCA group", self._when()))
            else:
                self._happened(*life.modified(other._replace(total_quantity=left), self._when()))

    def _settle(self, number: int) -> None:
        """What follows for the children of an order that has changed, and for itself."""
        order = self._order(number)
        if order.is_open:
            self._examine(number)
            return
        for child in self.book.children(order):
            if not child.is_open:
                continue
            if order.filled:
                # What was filled of the parent is all that there is to protect.
                quantity = order.filled if order.status != FILLED else child.total_quantity
                self._happened(*life.released(child._replace(waits_for=0, total_quantity=quantity), self._when()))
                self._examine(child.number)
            else:
                self._end(child.number, lambda one: life.cancelled(one, "the parent order has ended", self._when()))

    # The market

    def set_price(self, con_id: int, price: Decimal) -> None:
        """A contract costs that from now on; what trades by it trades."""
        self.market.prices[con_id] = price
        self.examine_all()

    def examine_all(self) -> None:
        """Whatever can trade now trades."""
        with self._event():
            for order in self.book.open_orders():
                self._examine(order.number)

    def _examine(self, number: int) -> None:
        """Trade an order if the market says so."""
        if self.market.rests or number in self._scheduled:
            return
        order = self._order(number)
        if not order.is_open or order.waits_for or order.status == PENDING_CANCEL or order.why_held == "locate":
            return
        if order.is_stop:
            if not self.market.is_triggered(order):
                return
            order, told = life.released(order._replace(is_triggered=True), self._when())
            self._happened(order, told)
        price = self.market.trades_at(order)
        if price is None:
            if order.tif == "IOC":
                self._end(number, lambda one: life.cancelled(one, "", self._when()))
            return
        self._scheduled.add(number)
        if self.market.fill_after_seconds > 0:
            self.later(self.market.fill_after_seconds, lambda: self._trade(number))
        else:
            self._trade(number)

    def _trade(self, number: int) -> None:
        """The next part of an order, or what has become of it while it waited."""
        with self._event():
            order = self._order(number)
            price = self.market.trades_at(order)
            self._scheduled.discard(number)
            if not order.is_open or price is None or order.status == PENDING_CANCEL:
                self._examine(number)
                return
            quantity, is_all = self.market.next_part(order, price)
            self.execute(number, quantity, price, is_all=is_all and order.total_quantity is None)
