"""The venue: takes orders and cancels, and makes happen what has become due. Blocking; one short transaction per call.

Nothing runs in the background: whoever looks at the book first brings it up to the present, and what happens then
bears the time at which it was due. So orders are filled also while no process of ours lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from exec_core.errors import CancelRejected, ConnectionFailed, OrderRejected
from exec_core.identifiers import BrokerOrderId
from exec_core.money import ZERO, exact
from exec_core.orders import Order, TimeInForce
from exec_core.reports import ReportStatus

from exec_broker_mock import book as agenda
from exec_broker_mock import faults, matching
from exec_broker_mock.book import Book, Step
from exec_broker_mock.faults import Fault, FaultKind, Target
from exec_broker_mock.reporting import emit_commission, emit_fill, emit_order, reveal
from exec_broker_mock.rows import FillRow, OrderRow, span

if TYPE_CHECKING:
    from exec_broker_mock.settings import MockBrokerSettings

_NOT_ACCEPTED: Final = frozenset({FaultKind.LOSE_ORDER, FaultKind.HANG_BEFORE})
CANCELLED_ON_REQUEST: Final = "Cancelled on request"


@dataclass(frozen=True, slots=True)
class Link:
    """Whose session calls, and since which fault: see `faults.line`."""

    account_id: str
    marker: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the venue did with an order, as it was when accepted, and what the sender shall see of that."""

    order: OrderRow | None
    broker_order_id: BrokerOrderId | None
    fault: Fault | None


class Venue:
    """The market side of a book."""

    def __init__(self, book: Book) -> None:
        self.book = book

    def advance(self) -> None:
        """Make happen what has become due."""
        with self.book.transaction():
            self.bring_up(self.book.now())

    def place(self, order: Order, settings: MockBrokerSettings, link: Link) -> Answer:
        """Accept the order, or do with it what a fault wants.

        :raises OrderRejected: the venue refuses it; the refusal is in the book.
        :raises NotSent: the line is down; nothing happened.
        """
        with self.book.transaction():
            now = self.book.now()
            faults.check_line(self.book, link.account_id, link.marker, now)
            self.bring_up(now)
            target = target_of(order, link.account_id)
            fault = faults.consume(self.book, target, *faults.ANSWER_FAULTS)
            accepted = None
            if fault is None or (fault.kind is not FaultKind.REFUSE and fault.kind not in _NOT_ACCEPTED):
                accepted = self.accept(order, settings, target, fault, now)
        if accepted is None and fault is not None and fault.kind is FaultKind.REFUSE:
            raise ConnectionFailed("The mock venue refuses the connection", broker="mock")
        if accepted is not None and accepted.status is ReportStatus.REJECTED:
            raise OrderRejected(
                accepted.reason or "",
                broker="mock",
                client_order_id=order.client_order_id,
                broker_order_id=self.book.broker_order_id(accepted.number),
            )
        name = None if accepted is None else self.book.broker_order_id(accepted.number)
        return Answer(accepted, name, fault)

    def cancel(self, order: Order, settings: MockBrokerSettings, link: Link) -> Fault | None:
        """Take a cancel of what is open under the order's ids; the fault that the sender shall see, if any.

        :raises CancelRejected: nothing of it is open.
        """
        with self.book.transaction():
            now = self.book.now()
            faults.check_line(self.book, link.account_id, link.marker, now)
            self.bring_up(now)
            rows = self.book.orders_of(link.account_id, order.client_order_id, order.broker_order_ids)
            working = [row for row in rows if row.is_open]
            if working:
                target = target_of(order, link.account_id)
                fault = faults.consume(self.book, target, FaultKind.CANCEL_IGNORED, FaultKind.CANCEL_LOST)
                if fault is None or fault.kind is not FaultKind.CANCEL_IGNORED:
                    for row in working:
                        if not self.book.is_scheduled(agenda.CANCEL, row.number):
                            self.book.schedule(agenda.CANCEL, row.number, now + span(settings.cancel_delay_seconds))
                    self.bring_up(now)
                return fault
        # Raised outside, so that what had become due before the refusal is kept.
        known = ", ".join(f"{self.book.broker_order_id(row.number)} is {row.status}" for row in rows)
        raise CancelRejected(f"Too late to cancel: {known}" if known else "Unknown order: there is nothing to cancel")

    def set_price(self, symbol: str, price: Decimal) -> None:
        """A price from now on, for resting orders, and for new ones that bring none.

        :raises ValueError: it is no price.
        """
        if not (price.is_finite() and price > 0):
            raise ValueError(f"a price must be above zero, got {price}")
        with self.book.transaction():
            now = self.book.now()
            self.bring_up(now)
            self.book.set_quote(symbol, price, now)
            for order in self.book.open_orders(symbol=symbol):
                self._look(order, now)

    def market_price(self, order: OrderRow) -> Decimal:
        """The newest price for the order: one set at the venue after it came, else the one it came with."""
        quote = self.book.quote(order.symbol)
        return quote.price if quote is not None and order.number <= quote.after_order else order.arrival_price

    def execute(self, order: OrderRow, quantity: Decimal, price: Decimal, at: int) -> OrderRow:
        """Book an execution of the order, and tell it. The order's status is the caller's to decide."""
        charge = order.commission if order.fill_count == 0 else ZERO
        known_at = None
        if charge:
            late = faults.consume(self.book, row_target(order), FaultKind.LATE_COMMISSION)
            known_at = at + span(late.seconds) if late else None
        number = self.book.next_fill_number()
        fill = FillRow(number, number, 0, order.number, order.account_id, quantity, price, charge, known_at, at)
        self.book.add_fill(fill)
        with exact():
            order = order._replace(
                filled_quantity=order.filled_quantity + quantity,
                spent=order.spent + quantity * price,
                fill_count=order.fill_count + 1,
                updated_at=at,
            )
        emit_fill(self.book, order, fill, at)
        if known_at is not None:
            self.book.schedule(agenda.COMMISSION, order.number, known_at, fill.number)
        return order

    def settle(self, order: OrderRow, status: ReportStatus, reason: str | None, at: int) -> OrderRow:
        """Write the order with this status, and tell it; an ended order has nothing more to come."""
        order = order._replace(status=status, reason=reason, updated_at=at)
        self.book.change_order(order)
        if not order.is_open:
            self.book.unschedule_end(order.number)
        emit_order(self.book, order, at)
        return order

    def modify(self, order: OrderRow, at: int) -> OrderRow:
        """Write an open order with the quantity and the prices that it has in `order`, tell it, and look at it anew."""
        self.book.change_terms(order)
        is_complete = order.quantity is not None and order.filled_quantity >= order.quantity
        order = self.settle(order, ReportStatus.FILLED if is_complete else order.status, order.reason, at)
        if order.is_open:
            self._look(order, at)
        return order

    def accept(
        self, order: Order, settings: MockBrokerSettings, target: Target, fault: Fault | None, now: int
    ) -> OrderRow:
        """Write the order down, and begin to execute it. Inside a write transaction, with the book brought up to `now`.

        Also for who needs no line and meets no fault: a person at the venue.
        """
        request = order.request
        quote = self.book.quote(request.instrument.symbol)
        price = matching.arrival_price(request, quote.price if quote else None, settings.prices)
        refusal = matching.rejection(settings.seed, order.client_order_id, settings.reject_probability)
        if fault is not None and fault.kind in (FaultKind.REJECT, FaultKind.REJECT_LATE):
            refusal = matching.Rejection(
                fault.reason or faults.DEFAULT_REJECTION, late=fault.kind is FaultKind.REJECT_LATE
            )
        problem = matching.validity_problem(request, price)
        if problem is not None:
            refusal = matching.Rejection(problem, late=False)
        hidden = faults.consume(self.book, target, FaultKind.HIDDEN)
        refused = refusal is not None and not refusal.late
        row = OrderRow(
            number=self.book.next_order_number(),
            account_id=target.account_id,
            client_order_id=order.client_order_id,
            signal_id=request.signal_id,
            leg_index=request.leg_index,
            strategy_name=request.strategy_name,
            symbol=request.instrument.symbol,
            instrument=request.instrument,
            side=request.side,
            order_type=request.order_type,
            time_in_force=request.time_in_force or TimeInForce.DAY,
            quantity=request.quantity,
            cash_quantity=request.cash_quantity,
            limit_price=request.limit_price,
            stop_price=request.stop_price,
            reference_price=request.reference_price,
            arrival_price=price,
            currency=request.instrument.currency or settings.currency,
            slices=settings.partial_fills,
            fill_delay=span(settings.fill_delay_seconds),
            commission=settings.commission,
            accepted_at=now,
            updated_at=now,
            status=ReportStatus.REJECTED if refused else matching.first_status(request, price),
            reason=refusal.reason if refusal and refused else None,
            doom=refusal.reason if refusal and not refused else None,
            hidden_until=now + span(hidden.seconds) if hidden else None,
            product=request.product,
        )
        self.book.add_order(row)
        emit_order(self.book, row, now)
        if hidden:
            self.book.schedule(agenda.REVEAL, row.number, now + span(hidden.seconds))
        if row.doom is not None:
            self.book.schedule(agenda.REJECT, row.number, now + row.fill_delay)
            if not row.fill_delay:
                self.bring_up(now)
        elif row.is_open:
            self._look(row, now)
        return row

    def _look(self, order: OrderRow, at: int) -> None:
        """Judge an open order at the present price: trigger it, plan its next fill, or end it."""
        if order.doom is not None:
            return
        price = self.market_price(order)
        if order.status is ReportStatus.HELD and matching.is_triggered(order, price):
            order = self.settle(order, ReportStatus.WORKING, None, at)
        if matching.is_fillable(order, price):
            self._plan_fill(order, at)
            return
        self.book.unschedule(agenda.FILL, order.number)
        reason = matching.unfilled_reason(order)
        if reason is not None:
            self.settle(order, ReportStatus.CANCELLED, reason, at)

    def bring_up(self, now: int) -> None:
        """The same, inside a transaction of the caller's."""
        while (step := self.book.take_due(now)) is not None:
            order = self.book.order(step.order_number)
            if order is not None:
                self._happen(order, step)

    def _happen(self, order: OrderRow, step: Step) -> None:
        match step.kind:
            case agenda.FILL:
                self._fill(order, step.at)
            case agenda.REJECT:
                self.settle(order, ReportStatus.REJECTED, order.doom, step.at)
            case agenda.CANCEL:
                self.settle(order, ReportStatus.CANCELLED, CANCELLED_ON_REQUEST, step.at)
            case agenda.COMMISSION:
                emit_commission(self.book, order, step.fill_number, step.at)
            case agenda.REVEAL:
                reveal(self.book, order, step.at)

    def _plan_fill(self, order: OrderRow, at: int) -> None:
        """Put the next fill on the agenda; without a delay, fill at once."""
        if not order.fill_delay:
            self._fill(order, at)
        elif not self.book.is_scheduled(agenda.FILL, order.number):
            self.book.schedule(agenda.FILL, order.number, at + order.fill_delay)

    def _fill(self, order: OrderRow, at: int) -> None:
        """The next slice of an order whose time has come; all of them where there is no delay between."""
        price = self.market_price(order)
        while order.is_open:
            quantity = matching.next_slice(order, price)
            if quantity:
                order = self.execute(order, quantity, price, at)
            order = self.settle(order, *self._after_slice(order, quantity), at)
            if order.is_open and order.fill_delay:
                self.book.schedule(agenda.FILL, order.number, at + order.fill_delay)
                return

    @staticmethod
    def _after_slice(order: OrderRow, quantity: Decimal) -> tuple[ReportStatus, str | None]:
        """What an order is after a slice of that quantity, and why."""
        if not quantity and not order.filled_quantity:
            return ReportStatus.REJECTED, "The amount buys less than the smallest quantity"
        if not quantity or matching.is_last_slice(order):
            return ReportStatus.FILLED, None
        reason = matching.unfilled_reason(order)
        return (ReportStatus.WORKING if reason is None else ReportStatus.CANCELLED), reason


def target_of(order: Order, account_id: str) -> Target:
    """What faults are matched against, of an order that comes."""
    request = order.request
    return Target(account_id, request.instrument.symbol, order.client_order_id, request.signal_id)


def row_target(order: OrderRow) -> Target:
    """What faults are matched against, of an order in the book."""
    return Target(order.account_id, order.symbol, order.client_order_id, order.signal_id)
