"""What may follow what: the only place that decides an order's status.

Rules
-----
1. Everything that affects an order's state is in this file; nothing else changes `Order.status`.
2. This file does no I/O, knows no venue, no store and no clock: events in, a `Change` out.
3. Cancelling is a flag with a reason, not a state: fills go on while a cancel is under way, and a time-out only
   *asks* for a cancel.
4. A fill is legal in every state. After CANCELLED or EXPIRED it keeps the state if partial and becomes FILLED if
   complete; after REJECTED it reopens the order and raises an alarm; beyond the ordered quantity it is booked and
   alarmed. Quantities come from fills, never from a status.
5. The evidence decides. *Definitive* (the broker said so about this order) may end an order. *Absence* may end only
   an UNKNOWN order that was never acknowledged and has no fill. No answer ends nothing.
6. An illegal transition changes no state; it is recorded and alarmed. An event that tells nothing new changes
   nothing at all, not even the revision.
7. Duplicated and reordered reports give the same final order.
8. What somebody modified at the broker is recorded, told once, and followed (`exec_core.modifications`): the quantity
   there decides what remains and when the order is complete; what was *asked* decides what is filled too much. A
   report of an end tells no terms: what was cancelled is often shown with its quantity lowered to what was filled.

Theory of operation
-------------------
An event is reduced to a `Trigger`; `TABLE[trigger][status]` (`exec_core.transitions`) says where it leads. Rule 7
holds because what ends an order is remembered (`Order.end`) even where fills overrule it for now: an order that is
FILLED and then has an execution busted falls back on the end it had, or on working. Words of the same venue may
contradict each other only by being late, so nothing that says "it works" undoes an end that the broker itself
proved; but it does undo one that *we* concluded (NOT_PLACED, a refusal, a person's resolution): the broker's word
about an order is stronger than ours. The quantity that is followed depends on what was told and filled, not on the
order of it; one that was FILLED at a lowered quantity, and is then seen raised again, falls back as after a bust.
"""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import Final

from exec_core import modifications
from exec_core.change import Booking, Change, change_of
from exec_core.events import (
    AnswerLost,
    CancelAsked,
    Dispatched,
    Event,
    NeedsAttention,
    ProvenAbsent,
    Refused,
    Resolution,
    Resolved,
    SendFailed,
    Withdrawn,
)
from exec_core.fills import Fill
from exec_core.identifiers import ExecutionId
from exec_core.money import ZERO
from exec_core.orders import (
    CancelRequest,
    Evidence,
    Order,
    OrderEnd,
    OrderStatus,
    ReasonCode,
    TimeInForce,
)
from exec_core.replacing import replace
from exec_core.reports import CommissionReport, FillReport, OrderReport, Report, ReportStatus
from exec_core.transitions import (
    CANCELLED,
    EXPIRED,
    FILLED,
    PARTIALLY_FILLED,
    PENDING,
    REJECTED,
    STAYS,
    SUBMITTED,
    TABLE,
    Next,
    Trigger,
)

__all__ = ["CONTRADICTION", "Booking", "Change", "apply"]

_REPORTED: Final = MappingProxyType(
    {
        ReportStatus.HELD: Trigger.WORKING,
        ReportStatus.WORKING: Trigger.WORKING,
        # "Filled" without the executions proves that the broker has the order, and nothing about quantities.
        ReportStatus.FILLED: Trigger.WORKING,
        ReportStatus.REJECTED: Trigger.REJECT,
        ReportStatus.CANCELLED: Trigger.CANCEL,
        ReportStatus.EXPIRED: Trigger.EXPIRE,
    }
)
_TELLS_TERMS: Final = frozenset({ReportStatus.HELD, ReportStatus.WORKING, ReportStatus.FILLED})
CONTRADICTION: Final = "The broker reports the order both rejected and filled: check what is left of it there"
_ENDS: Final = MappingProxyType({Trigger.REJECT: REJECTED, Trigger.CANCEL: CANCELLED, Trigger.EXPIRE: EXPIRED})


def apply(order: Order, event: Event, at: datetime) -> Change:
    """Judge `event`, which we learnt at `at` (aware, UTC), against `order`."""
    match event:
        case FillReport():
            return _fill(order, event, at)
        case CommissionReport():
            return _commission(order, event, at)
        case OrderReport():
            return _report(order, event, at)
        case Resolved():
            return _resolve(order, event, at)
        case CancelAsked():
            if order.status.is_final or order.cancel is not None:
                return Change(order)
            asked = replace(order, cancel=CancelRequest(event.reason_code, event.reason, at))
            return change_of(order, asked, "cancel asked", Evidence.SERVICE, at, event.reason)
        case NeedsAttention():
            noted = replace(order, attention=event.text)
            alarms = (event.text,) if event.text else ()
            return change_of(order, noted, "attention", Evidence.NONE, at, event.text, alarms)
        case _:
            return _ours(order, event, at)


def _ours(
    order: Order, event: Refused | Withdrawn | Dispatched | SendFailed | AnswerLost | ProvenAbsent, at: datetime
) -> Change:
    """What the service does or concludes."""
    changed, evidence = order, Evidence.SERVICE
    text: str | None = None
    match event:
        case Refused(reason_code, reason):
            text = reason
            trigger = Trigger.REFUSE
            changed = replace(order, end=OrderEnd(REJECTED, reason_code, reason, evidence, at))
        case Withdrawn(reason_code, reason):
            text = reason
            trigger = Trigger.WITHDRAW
            changed = replace(order, end=OrderEnd(CANCELLED, reason_code, reason, evidence, at))
        case Dispatched():
            trigger = Trigger.DISPATCH
            changed = replace(order, sent_at=at, attempts=order.attempts + 1)
        case SendFailed(reason):
            text = reason
            trigger, evidence = Trigger.SEND_FAILED, Evidence.DEFINITIVE
            # An attempt that failed before SUBMITTING had to be written counts as well.
            changed = replace(order, sent_at=None, attempts=order.attempts + (order.status is PENDING))
        case AnswerLost(reason):
            text = reason
            trigger, evidence = Trigger.ANSWER_LOST, Evidence.NONE
        case ProvenAbsent(reason):
            text = reason
            trigger, evidence = Trigger.ABSENT, Evidence.ABSENCE
            if order.acknowledged_at is not None or order.fills:
                return Change(order)
            changed = replace(order, end=OrderEnd(REJECTED, ReasonCode.NOT_PLACED, reason, evidence, at))
    cell = TABLE[trigger][order.status]
    if cell.alarm and cell.status is None:
        return _illegal(order, trigger, evidence, at, text)
    if cell.status is None and trigger is not Trigger.SEND_FAILED:
        return Change(order)
    changed = replace(changed, status=cell.status or order.status)
    return change_of(order, changed, trigger.value, evidence, at, text)


def _report(order: Order, report: OrderReport, at: datetime) -> Change:
    """The broker's snapshot of the order."""
    trigger = _REPORTED[report.status]
    if trigger is Trigger.REJECT and report.filled_quantity:
        trigger = Trigger.CANCEL  # a part of it traded: what the broker refused is the remainder
    changed = _sized(_terms_heard(_acknowledged(order, report, at), report))
    known = max(order.reported_filled_quantity or ZERO, order.filled_quantity)
    if report.filled_quantity is not None and report.filled_quantity > known:  # executions are still to come
        changed = replace(changed, reported_filled_quantity=report.filled_quantity)
    if report.status is ReportStatus.FILLED and order.request.quantity is None and report.filled_quantity:
        # A cash order: now its quantity is known. Of two figures (one was corrected) the lower is not waited beyond.
        changed = replace(changed, quantity=min(order.quantity or report.filled_quantity, report.filled_quantity))
    cell = TABLE[trigger][order.status]
    if cell.only_if_ours and not _ended_by_us(order):
        cell = STAYS
    if _ended_by_us(order):
        changed = replace(changed, end=None)
    if trigger in _ENDS and (changed.end is None or _is_contradicted(changed)):
        changed = replace(changed, end=_end(order, trigger, report, at))
    changed = _moved(changed, cell)
    if _is_complete(changed):
        changed = replace(changed, status=FILLED)
    changed = _contradiction_noted(changed)
    if report.status is ReportStatus.WORKING and order.working_since is None and not changed.status.is_final:
        changed = replace(changed, working_since=report.venue_time or at)
    alarms = _alarms(order, changed, cell, trigger, report.reason)
    event, text = trigger.value, report.reason
    if changed.told_terms != order.told_terms:
        event, name = "modified at the broker", report.broker_order_id
        text = modifications.difference(order.request, order.told_terms, changed.told_terms, name)
        if changed.has_several_ids:
            text = f"{text} (under {name}, one of several: not followed)"
        else:
            alarms = (*alarms, modifications.alarm(order.request, changed.told_terms, text))
        text = f"{text}; {report.reason}" if report.reason else text
    return change_of(order, changed, event, Evidence.DEFINITIVE, at, text, alarms)


def _fill(order: Order, report: FillReport, at: datetime) -> Change:
    """An execution, its repetition, or its correction."""
    fill = report.fill
    known = order.fills.get(fill.execution_id)
    changed = _acknowledged(order, report, at)
    if known is not None and fill.correction <= known.correction:
        changed = _moved(_sized(changed), STAYS)
        if fill.correction == known.correction and _differs(known, fill):
            text = (
                f"Execution {fill.execution_id} came again with other figures: {known.quantity} @ {known.price} is "
                f"kept, {fill.quantity} @ {fill.price} is not booked"
            )
            if all(entry.text != text for entry in order.history):
                return change_of(order, changed, "conflict", Evidence.NONE, at, text, (text,), record=True)
        if fill.commission is not None and fill.correction == known.correction and known.commission is None:
            # The venue tells the execution again, now with what it cost.
            cost = CommissionReport(fill.execution_id, fill.commission, report.client_order_id, report.broker_order_id)
            return _commission(order, cost, at)
        return change_of(order, changed, "repeated", Evidence.DEFINITIVE, at, None)
    changed = _sized(replace(changed, fills=MappingProxyType({**order.fills, fill.execution_id: fill})))
    if _ended_by_us(order) and order.status is REJECTED:
        changed = replace(changed, end=None)
    if changed.filled_quantity < order.filled_quantity:
        trigger = Trigger.UNFILL
    elif _is_complete(changed):
        trigger = Trigger.FILL_ALL
    elif changed.filled_quantity:
        trigger = Trigger.FILL_PART
    else:
        trigger = Trigger.WORKING  # a bust that overtook its execution, or a combination's leg before the rest
    cell = TABLE[trigger][order.status]
    if cell.only_if_ours and not _ended_by_us(order):
        cell = STAYS
    changed = _contradiction_noted(_moved(changed, cell))
    alarms = _alarms(order, changed, cell, trigger, None)
    ordered = changed.quantity if changed.asked_quantity is None else changed.asked_quantity
    if fill.leg is None and ordered is not None and changed.filled_quantity > ordered:
        over = f"Filled beyond the ordered quantity: {changed.filled_quantity} of {ordered}"
        alarms = (*alarms, over)
        changed = replace(changed, attention=over)
    text = f"{fill.side} {fill.quantity} @ {fill.price} ({fill.execution_id})"
    if known is not None:
        text = f"correction of {known.quantity} @ {known.price}: {text}"
    booking = Booking(known if known and known.quantity else None, fill if fill.quantity else None)
    return change_of(order, changed, trigger.value, Evidence.DEFINITIVE, at, text, alarms, booking=booking)


def _commission(order: Order, report: CommissionReport, at: datetime) -> Change:
    """What an execution cost, told apart from it, perhaps before it: then it proves that the broker has the order."""
    current = order.commission_of(report.execution_id)
    if current == report.commission:
        return Change(order)
    if current is not None and not current.estimated and report.commission.estimated:
        return Change(order)  # an estimate never replaces what was billed
    late = MappingProxyType({**order.late_commissions, report.execution_id: report.commission})
    changed = _sized(replace(_acknowledged(order, report, at), late_commissions=late))
    cell = STAYS if order.status.is_final else TABLE[Trigger.WORKING][order.status]
    changed = _moved(changed, cell)
    text = f"{report.commission.amount} {report.commission.currency} ({report.execution_id})"
    alarms = _alarms(order, changed, cell, Trigger.WORKING, None)
    change = change_of(order, changed, "commission", Evidence.DEFINITIVE, at, text, alarms)
    return replace(change, commission_of=report.execution_id)


def _resolve(order: Order, event: Resolved, at: datetime) -> Change:
    """A person's word: recorded with who and why; the broker's later word is stronger."""
    text = f"{event.who}: {event.evidence}"
    if order.status.is_final:
        return _illegal(order, event.resolution, Evidence.PERSON, at, text)
    booking: Booking | None = None
    match event.resolution:
        case Resolution.PLACED:
            changed = replace(order, status=_derived(replace(order, acknowledged_at=at)), acknowledged_at=at)
        case Resolution.FILLED:
            quantity = event.quantity or order.remaining_quantity
            if not quantity or event.price is None:
                raise ValueError("resolving as filled needs a price, and a quantity where the order has none")
            number = 1 + sum(key.startswith("resolved-") for key in order.fills)
            execution_id = ExecutionId(f"resolved-{order.client_order_id}-{number}")
            fill = Fill(execution_id, order.request.side, quantity, event.price, at)
            fills = MappingProxyType({**order.fills, execution_id: fill})
            changed = _sized(replace(order, fills=fills, quantity=order.quantity or quantity))
            changed = replace(changed, status=FILLED if _is_complete(changed) else PARTIALLY_FILLED)
            booking = Booking(None, fill)
        case Resolution.CANCELLED:
            code = order.cancel.reason_code if order.cancel else ReasonCode.UNSETTLED
            changed = replace(order, status=CANCELLED, end=OrderEnd(CANCELLED, code, text, Evidence.PERSON, at))
        case Resolution.NOT_PLACED:
            if order.fills:
                return _illegal(order, event.resolution, Evidence.PERSON, at, text)
            end = OrderEnd(REJECTED, ReasonCode.NOT_PLACED, text, Evidence.PERSON, at)
            changed = replace(order, status=REJECTED, end=end)
    changed = replace(changed, attention=None)
    name = f"resolved as {event.resolution}"
    return change_of(order, changed, name, Evidence.PERSON, at, text, booking=booking, record=True)


def _acknowledged(order: Order, report: Report, at: datetime) -> Order:
    """`order` with what any word of the broker about it proves: that the broker has it, and under which id."""
    ids, details = order.broker_order_ids, order.details
    if report.broker_order_id is not None and report.broker_order_id not in ids:
        ids = (*ids, report.broker_order_id)
    details = details or (None if isinstance(report, CommissionReport) else report.details)
    if order.acknowledged_at is not None and ids is order.broker_order_ids and details is order.details:
        return order
    return replace(order, broker_order_ids=ids, acknowledged_at=order.acknowledged_at or at, details=details)


def _terms_heard(order: Order, report: OrderReport) -> Order:
    """`order` with what the report tells anew of the terms that the broker works it on."""
    if report.terms is None or report.status not in _TELLS_TERMS:
        return order
    known, name = order.told_terms, report.broker_order_id
    told = modifications.remembered(order.request, known, report.terms, name, report.venue_time)
    return order if told is known else replace(order, told_terms=told)


def _sized(order: Order) -> Order:
    """`order` with the quantity that it has by all that was told and filled."""
    asked = order.asked_quantity
    if asked is None:
        return order
    told = () if order.has_several_ids else order.told_terms
    quantity = modifications.quantity_at_broker(asked, told, order.filled_quantity)
    return order if quantity == order.quantity else replace(order, quantity=quantity)


def _end(order: Order, trigger: Trigger, report: OrderReport, at: datetime) -> OrderEnd:
    """What the broker's end means: whose wish it was."""
    reason = report.reason
    if report.status is ReportStatus.REJECTED:
        code, text = ReasonCode.BROKER_REJECTED, reason or "The broker gave no reason"
    elif trigger is Trigger.EXPIRE:
        code, text = ReasonCode.EXPIRED, reason or "The venue ended the order at the end of its time in force"
    elif order.cancel is not None:
        code, text = order.cancel.reason_code, order.cancel.reason
    elif order.request.time_in_force is TimeInForce.IOC:
        code, text = ReasonCode.EXPIRED, reason or "The remainder of an immediate-or-cancel order"
    else:
        code, text = ReasonCode.CANCELLED_BY_BROKER, reason or "Cancelled at the broker, not by this service"
    return OrderEnd(_ENDS[trigger], code, text, Evidence.DEFINITIVE, at)


def _moved(order: Order, cell: Next) -> Order:
    """`order` where the cell leads it; FILLED no longer, if its quantity is no longer what was filled."""
    moved = order if cell.status in (None, order.status) else replace(order, status=cell.status)
    if cell.derive or (moved.status is FILLED and not _is_complete(moved)):
        return replace(moved, status=_derived(moved))
    return moved


def _derived(order: Order) -> OrderStatus:
    """The status that executions and the remembered end demand, for an order that the broker has."""
    if _is_complete(order):
        return FILLED
    if order.end is not None and not _is_contradicted(order):
        return order.end.status
    return PARTIALLY_FILLED if order.filled_quantity else SUBMITTED


def _ended_by_us(order: Order) -> bool:
    """Whether the end that stands is our own conclusion, which the broker's word overrules."""
    return order.end is not None and order.end.evidence is not Evidence.DEFINITIVE


def _is_contradicted(order: Order) -> bool:
    """Whether the broker said "rejected" of an order that it filled: then it counts as open until it says more."""
    traded = any(fill.quantity for fill in order.fills.values())
    return order.end is not None and order.end.status is REJECTED and traded


def _contradiction_noted(order: Order) -> Order:
    """`order`, open and marked for a person, if the broker calls it rejected and filled (in part) as well."""
    if order.status is FILLED or not _is_contradicted(order):
        return order
    return replace(order, status=_derived(order), attention=CONTRADICTION)


def _is_complete(order: Order) -> bool:
    return order.quantity is not None and order.filled_quantity >= order.quantity


def _differs(known: Fill, fill: Fill) -> bool:
    return (known.side, known.quantity, known.price, known.leg) != (fill.side, fill.quantity, fill.price, fill.leg)


def _alarms(before: Order, after: Order, cell: Next, trigger: Trigger, reason: str | None) -> tuple[str, ...]:
    """What a person must hear of a transition, once."""
    if after.attention == CONTRADICTION != before.attention:
        return (CONTRADICTION,)
    if not cell.alarm or (after.status is before.status and after.end == before.end):
        return ()
    return (f"Unexpected: {before.status} order {trigger.value}{f': {reason}' if reason else ''}",)


def _illegal(order: Order, what: Trigger | Resolution, evidence: Evidence, at: datetime, text: str | None) -> Change:
    """Rule 6: the state stays, and the event is recorded and alarmed."""
    alarm = f"Illegal transition: {order.status} order {what.value}{f' ({text})' if text else ''}"
    return change_of(order, order, f"illegal: {what.value}", evidence, at, text, (alarm,), record=True)
