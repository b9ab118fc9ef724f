"""Follows orders as a service does: what was sent, what came of it, what was heard; judged by the lifecycle alone.

The cards and the state machine look at the outcome here, so that they prove what matters: not which reports an adapter
sends, but what an honest bookkeeper ends up with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from exec_core.broker import Found, Placed
from exec_core.change import Change
from exec_core.clock import Clock, utc_now
from exec_core.errors import BrokerError, NotSent, OrderRejected, OrderUnsupported
from exec_core.events import AnswerLost, CancelAsked, Dispatched, Event, SendFailed
from exec_core.identifiers import ClientOrderId
from exec_core.lifecycle import apply
from exec_core.orders import Order, ReasonCode
from exec_core.reports import OrderReport, Report, ReportStatus


@dataclass
class Follower:
    """The orders of an account, and what a session told of them.

    `changes` holds everything that changed an order, in order. `strangers` are reports of orders that are not ours.
    """

    clock: Clock = utc_now
    orders: dict[ClientOrderId, Order] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    strangers: list[Report] = field(default_factory=list)

    def sending(self, order: Order) -> Order:
        """The order is about to be sent: what a service has written before the bytes leave."""
        self.orders.setdefault(order.client_order_id, order)
        return self._apply(order.client_order_id, Dispatched())

    def placed(self, order: Order, answer: Placed) -> Order:
        """The broker has it."""
        report = OrderReport(answer.status, order.client_order_id, answer.broker_order_id, details=answer.details)
        return self._apply(order.client_order_id, report)

    def not_placed(self, order: Order, error: BrokerError) -> Order:
        """The call raised: it was refused, it was not sent, or nobody knows."""
        event: Event
        match error:
            case OrderRejected():
                event = OrderReport(ReportStatus.REJECTED, order.client_order_id, reason=str(error))
            case NotSent() | OrderUnsupported():
                event = SendFailed(str(error))
            case _:
                event = AnswerLost(str(error))
        return self._apply(order.client_order_id, event)

    def cancel_asked(self, order: Order) -> Order:
        """Somebody wants it cancelled."""
        return self._apply(order.client_order_id, CancelAsked(ReasonCode.CANCELLED_BY_USER, "asked by the kit"))

    def found(self, found: Found) -> None:
        """The answer to a look-up; the executions first, so that an end finds them booked."""
        self.hear_all((*found.fills, *found.orders))

    def hear_all(self, reports: Iterable[Report]) -> None:
        """Several reports, one after the other."""
        for report in reports:
            self.hear(report)

    def hear(self, report: Report) -> None:
        """A report: it names the order by our id, or by the broker's."""
        name = report.client_order_id
        if name is None or name not in self.orders:
            name = next(
                (key for key, order in self.orders.items() if report.broker_order_id in order.broker_order_ids), None
            )
        if name is None:
            self.strangers.append(report)
            return
        self._apply(name, report)

    def _apply(self, name: ClientOrderId, event: Event) -> Order:
        change = apply(self.orders[name], event, self.clock())
        self.orders[name] = change.order
        if change.changed:
            self.changes.append(change)
        if change.order.broker_order_ids and self.strangers:
            waiting, self.strangers = self.strangers, []
            self.hear_all(waiting)
        return self.orders[name]

    @property
    def alarms(self) -> tuple[str, ...]:
        """What a person would have been called for."""
        return tuple(alarm for change in self.changes for alarm in change.alarms)
