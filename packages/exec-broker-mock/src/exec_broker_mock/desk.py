"""What people do at the venue: cancel, expire, reject, modify or fill an order, correct or bust an execution."""

from __future__ import annotations

from decimal import Decimal

from exec_core.errors import ExecError
from exec_core.identifiers import ExecutionId
from exec_core.money import ZERO, exact
from exec_core.reports import ReportStatus

from exec_broker_mock.book import Book
from exec_broker_mock.reporting import effective, emit_fill
from exec_broker_mock.rows import FillRow, OrderRow
from exec_broker_mock.venue import Venue


class ImpossibleAction(ExecError):
    """What was asked cannot be done to this order; nothing was changed."""


class Desk:
    """The people's side of a book. Every action raises `ImpossibleAction` where it cannot be done."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._book: Book = venue.book

    def cancel(self, broker_order_id: str, reason: str = "Cancelled at the venue") -> None:
        """Take an order off the market."""
        self._end(broker_order_id, ReportStatus.CANCELLED, reason)

    def expire(self, broker_order_id: str, reason: str = "Expired at the end of its time in force") -> None:
        """End an order as at the end of the session."""
        self._end(broker_order_id, ReportStatus.EXPIRED, reason)

    def reject(self, broker_order_id: str, reason: str = "Rejected at the venue") -> None:
        """Refuse an order that was accepted."""
        self._end(broker_order_id, ReportStatus.REJECTED, reason)

    def modify(
        self,
        broker_order_id: str,
        *,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> None:
        """Work an open order on another quantity or other prices; what is not told stays.

        The quantity is that of the whole order: never less than what is filled, and complete where it is just that.
        """
        given = {"quantity": quantity, "limit_price": limit_price, "stop_price": stop_price}
        terms = {name: value for name, value in given.items() if value is not None}
        with self._book.transaction():
            order, now = self._order(broker_order_id)
            self._check_terms(broker_order_id, order, terms)
            self._venue.modify(order.on_terms(quantity, limit_price, stop_price), now)

    @staticmethod
    def _check_terms(name: str, order: OrderRow, terms: dict[str, Decimal]) -> None:
        """:raises ImpossibleAction: the order cannot be modified so."""
        if not order.is_open:
            raise ImpossibleAction(f"{name} is {order.status} already")
        for term, value in terms.items():
            before = getattr(order, term)
            if before is None:
                raise ImpossibleAction(f"{name}: the order has no {term.replace('_', ' ')} to modify")
            if not value.is_finite() or (term == "quantity" and value <= 0):
                raise ImpossibleAction(f"{name}: {value} is no {term.replace('_', ' ')}")
        if terms.get("quantity", order.filled_quantity) < order.filled_quantity:
            raise ImpossibleAction(f"{name}: {order.filled_quantity} of it is filled already")
        if all(getattr(order, term) == value for term, value in terms.items()):
            raise ImpossibleAction(f"{name}: the modification says nothing new")

    def fill(self, broker_order_id: str, quantity: Decimal | None = None, price: Decimal | None = None) -> ExecutionId:
        """Execute an order now: what is left of it, at the market price, unless told otherwise.

        An order that has ended can be filled too, and beyond its quantity: such executions do come late. It is FILLED
        once its quantity is complete or its amount is spent, else it keeps its status.
        """
        with self._book.transaction():
            order, now = self._order(broker_order_id)
            quantity = order.remaining_quantity if quantity is None else quantity
            if quantity is None or not (quantity.is_finite() and quantity > 0):
                raise ImpossibleAction(f"{broker_order_id}: say what quantity to fill, above zero")
            if price is not None and not price.is_finite():
                raise ImpossibleAction(f"{broker_order_id}: the price must be a number")
            order = self._venue.execute(
                order, quantity, self._venue.market_price(order) if price is None else price, now
            )
            is_complete = order.quantity is not None and order.filled_quantity >= order.quantity
            is_spent = order.cash_quantity is not None and order.spent >= order.cash_quantity
            self._venue.settle(order, *self._after_fill(order, is_complete or is_spent), now)
            newest = self._book.fills_of_order(order.number)[-1]
            return self._book.execution_id(newest.execution)

    @staticmethod
    def _after_fill(order: OrderRow, is_complete: bool) -> tuple[ReportStatus, str | None]:
        if is_complete:
            return ReportStatus.FILLED, None
        return (ReportStatus.WORKING, None) if order.is_open else (order.status, order.reason)

    def correct(
        self,
        broker_order_id: str,
        execution_id: str | None = None,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
    ) -> None:
        """Replace an execution (the newest, unless told) by a corrected version; what is not told stays.

        The order's status stays, except that an open one which is complete by it becomes FILLED.
        """
        with self._book.transaction():
            order, now = self._order(broker_order_id)
            fill = self._execution(order, execution_id)
            new = fill._replace(
                number=self._book.next_fill_number(),
                correction=fill.correction + 1,
                quantity=fill.quantity if quantity is None else quantity,
                price=fill.price if price is None else price,
            )
            if not (new.quantity.is_finite() and new.quantity >= 0 and new.price.is_finite()):
                raise ImpossibleAction(f"{broker_order_id}: the corrected quantity and price must be numbers")
            if (new.quantity, new.price) == (fill.quantity, fill.price):
                raise ImpossibleAction(f"{broker_order_id}: the correction says nothing new")
            self._book.add_fill(new)
            known = effective(self._book.fills_of_order(order.number))
            with exact():
                filled = sum((one.quantity for one in known), ZERO)
                spent = sum((one.quantity * one.price for one in known), ZERO)
            order = order._replace(filled_quantity=filled, spent=spent, updated_at=now)
            self._book.change_order(order)
            emit_fill(self._book, order, new, now)
            if order.is_open and order.quantity is not None and filled >= order.quantity:
                self._venue.settle(order, ReportStatus.FILLED, None, now)

    def bust(self, broker_order_id: str, execution_id: str | None = None) -> None:
        """Take an execution back altogether."""
        self.correct(broker_order_id, execution_id, quantity=ZERO)

    def _end(self, broker_order_id: str, status: ReportStatus, reason: str) -> None:
        with self._book.transaction():
            order, now = self._order(broker_order_id)
            if not order.is_open:
                raise ImpossibleAction(f"{broker_order_id} is {order.status} already")
            self._venue.settle(order, status, reason, now)

    def _order(self, broker_order_id: str) -> tuple[OrderRow, int]:
        """The order as of now, and now."""
        now = self._book.now()
        self._venue.bring_up(now)
        number = self._book.order_number(broker_order_id)
        order = self._book.order(number) if number is not None else None
        if order is None:
            raise ImpossibleAction(f"there is no order {broker_order_id} in this book")
        return order, now

    def _execution(self, order: OrderRow, execution_id: str | None) -> FillRow:
        known = effective(self._book.fills_of_order(order.number))
        if execution_id is not None:
            known = [fill for fill in known if self._book.execution_id(fill.execution) == execution_id]
        if not known:
            name = execution_id or "execution"
            raise ImpossibleAction(f"{self._book.broker_order_id(order.number)} has no {name} to correct")
        return known[-1]
