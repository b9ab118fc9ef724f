"""TWS's three lists (open orders, today's ended orders, today's executions) as the core's reports. Pure.

An order is found by the reference it carries, and by the permanent ids that are known of it. What was heard of it on
this line beside the lists (errors, legs, commissions) counts as well, ends among it; that it *was* working does not:
only the lists say what works now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from exec_core.orders import Order
from exec_core.reports import FillReport, OrderReport, ReportStatus

from exec_broker_ibkr.following.known import Known
from exec_broker_ibkr.following.tracking import Tracker
from exec_broker_ibkr.messages import CompletedShown, ExecutionTold, OrderShown

_Line = OrderShown | ExecutionTold | CompletedShown
_OPEN = frozenset({ReportStatus.HELD, ReportStatus.WORKING})


def trace(
    order: Order,
    open_: Sequence[OrderShown],
    executions: Sequence[ExecutionTold],
    completed: Sequence[CompletedShown],
    tracker: Tracker,
) -> tuple[tuple[OrderReport, ...], tuple[FillReport, ...]]:
    """All that is known of the order: a report for each order that TWS has under it, and every execution."""
    heard = {known.perm_id: known for known in tracker.known_of(order) if known.perm_id}
    wanted = set(order.broker_order_ids)

    def is_its(told: _Line) -> bool:
        if tracker.is_foreign(told.account) or not told.perm_id:
            return False
        return told.order_ref == order.client_order_id or str(told.perm_id) in wanted or told.perm_id in heard

    everything: list[_Line] = [*completed, *open_, *executions]
    mine = [told for told in everything if is_its(told)]
    reports: list[OrderReport] = []
    fills: list[FillReport] = []
    for perm_id in dict.fromkeys((*heard, *(told.perm_id for told in mine))):
        its = [told for told in mine if told.perm_id == perm_id]
        known = _told(perm_id, order, its, tracker)
        heard_fills = known.all_fills(order.request.legs, tracker.details_of)
        fills += [_with_commission(report, tracker) for report in heard_fills]
        report = _report(known, order, its, tracker)
        if report is not None:
            reports.append(report)
    if not reports and not fills:
        # Refused before it had a permanent id: no list shows that.
        ends = (known.end_report(tracker.details_of) for known in tracker.known_of(order) if not known.perm_id)
        reports = [report for report in ends if report is not None]
    return tuple(reports), tuple(fills)


def open_orders(open_: Iterable[OrderShown], tracker: Tracker) -> tuple[OrderReport, ...]:
    """The account's orders that can still trade, each once, whoever placed them."""
    reports = []
    for told in {(one.perm_id, one.client_id, one.order_id): one for one in open_}.values():
        if tracker.is_foreign(told.account):
            continue
        before = tracker.known_as(told.perm_id)
        if before is not None and before.end is not None:
            continue  # it has ended while the list was on its way
        known = Known(told.perm_id, told.order_ref, told.account) if before is None else before.copy()
        known.show(told)
        report = known.order_report(told.status, tracker.details_of)
        if report is not None and report.status in _OPEN:
            reports.append(report)
    return tuple(reports)


def _told(perm_id: int, order: Order, mine: Iterable[_Line], tracker: Tracker) -> Known:
    """What is known of one order with what the lists say of it."""
    before = tracker.known_as(perm_id)
    known = Known(perm_id, order.client_order_id, tracker.account) if before is None else before.copy()
    for told in mine:
        match told:
            case OrderShown():
                known.show(told)
            case CompletedShown():
                known.complete(told)
            case ExecutionTold():
                known.execute(told)
    if not order.request.legs:
        known.be_single()
    return known


def _report(known: Known, order: Order, mine: Sequence[_Line], tracker: Tracker) -> OrderReport | None:
    """Its state: its end, else what the lists show, else what its executions prove."""
    end = known.end_report(tracker.details_of)
    if end is not None:
        return end
    for told in mine:
        if not isinstance(told, ExecutionTold):
            report = known.order_report(told.status, tracker.details_of)
            if report is not None:
                return report
    return known.proven_report(order.quantity, tracker.details_of) if mine else None


def _with_commission(report: FillReport, tracker: Tracker) -> FillReport:
    commission = tracker.commission_of(report.fill.execution_id)
    return report if commission is None else replace(report, fill=replace(report.fill, commission=commission))
