"""What may happen to an order at the venue, and which of TWS's messages tell of it, in which order. Pure.

Every event takes the order as it is and returns it as it has become, with the messages for its owner, in the order in
which they come on the real wire: an execution before the status that it leads to, its commission last (recorded in
rust-ibapi PR#811); an error before the status that a refusal leads to (`ib_insync#554`).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from exec_core.money import exact

from exec_broker_ibkr.messages import (
    CommissionTold,
    CompletedShown,
    ErrorTold,
    ExecutionTold,
    OrderShown,
    StatusTold,
    Told,
)
from exec_broker_ibkr.simulator.rows import (
    CANCELLED,
    FILLED,
    INACTIVE,
    PENDING_CANCEL,
    PRE_SUBMITTED,
    SUBMITTED,
    ExecutionRow,
    OrderRow,
    moment,
)

CANCELED: Final = "cancelled"
EXPIRED: Final = "expired"
REJECTED: Final = "rejected"

#: What TWS says in its list of completed orders of one that a person or a program cancelled.
BY_TRADER: Final = "Cancelled by Trader"
#: And of one that the end of its time in force ended. No document gives the sentence; the word is in IB's own client.
BY_TIME: Final = "Order expired"


class When(NamedTuple):
    """The venue's time (microseconds) and trading day of an event."""

    at: int
    day: int


Event = tuple[OrderRow, list[Told]]


# What is told


def shown(order: OrderRow) -> OrderShown:
    """``openOrder``."""
    return OrderShown(
        order.order_id,
        order.client_id,
        order.perm_id,
        order.order_ref,
        order.account,
        order.contract,
        order.action,
        order.order_type,
        order.tif,
        _word(order),
        order.total_quantity,
        order.cash_quantity,
        order.limit_price,
        order.stop_price,
        order.parent_id,
    )


def status(order: OrderRow) -> StatusTold:
    """``orderStatus``."""
    return StatusTold(
        order.order_id,
        order.client_id,
        order.perm_id,
        _word(order),
        order.told_filled,
        order.remaining,
        order.average_price,
        order.why_held,
    )


def _word(order: OrderRow) -> str:
    return order.word if order.word and order.is_open else order.status


def both(order: OrderRow) -> list[Told]:
    """``openOrder`` and ``orderStatus``, as TWS tells them together."""
    return [shown(order), status(order)]


def completed(order: OrderRow, spelled_time: str) -> CompletedShown:
    """One row of the completed orders: without its ids, and without its quantity (`hadrianl/ibapi#18`)."""
    return CompletedShown(
        order.perm_id,
        order.order_ref,
        order.account,
        order.contract,
        order.action,
        order.order_type,
        order.tif,
        order.status,
        Decimal(0),
        order.told_filled,
        order.cash_quantity,
        order.limit_price,
        order.stop_price,
        spelled_time,
        _how_it_ended(order),
    )


def _how_it_ended(order: OrderRow) -> str:
    match order.ended_as:
        case "":
            return f"Filled Size: {order.told_filled:f}"
        case "cancelled":
            return order.reason or BY_TRADER
        case "expired":
            return BY_TIME
        case _:
            return order.reason


def execution(order: OrderRow, row: ExecutionRow, execution_id: str) -> ExecutionTold:
    """``execDetails``."""
    return ExecutionTold(
        order.order_id,
        order.client_id,
        order.perm_id,
        order.order_ref,
        row.account,
        row.contract,
        execution_id,
        row.side,
        row.quantity,
        row.price,
        moment(row.time),
        row.cumulative,
        row.average,
    )


def commission(row: ExecutionRow, execution_id: str) -> CommissionTold:
    """``commissionReport``."""
    return CommissionTold(execution_id, row.commission, row.currency)


# What happens


def resting(order: OrderRow) -> OrderRow:
    """The order as it stands in the market, or held where it must wait."""
    if order.waits_for:
        return order._replace(status=PRE_SUBMITTED, why_held="child")
    if order.is_stop:
        return order._replace(status=PRE_SUBMITTED, why_held="trigger")
    return order._replace(status=SUBMITTED, why_held="")


def taken(order: OrderRow) -> Event:
    """It has come."""
    order = resting(order)
    return order, both(order)


def located(order: OrderRow, when: When) -> Event:
    """Held until shares to sell short are found: Inactive, and not at its end."""
    order = order._replace(status=INACTIVE, why_held="locate", changed_at=when.at)
    text = "Order is held while securities are located."
    return order, [ErrorTold(order.order_id, 404, text), *both(order)]


def refused(order: OrderRow, code: int, text: str, when: When) -> Event:
    """Refused at once, or later by the exchange; what was executed stays."""
    order = _ended(order, INACTIVE, REJECTED, text, when)
    return order, [ErrorTold(order.order_id, code, text), *both(order)]


def released(order: OrderRow, when: When) -> Event:
    """What it waited for has come: its parent, or its trigger."""
    order = resting(order._replace(changed_at=when.at))
    return order, both(order)


def cancel_asked(order: OrderRow, when: When) -> Event:
    """Somebody wants it cancelled; it can still trade."""
    order = order._replace(status=PENDING_CANCEL, why_held="", changed_at=when.at)
    return order, [status(order)]


def cancelled(order: OrderRow, reason: str, when: When) -> Event:
    """What was left of it is off the market. `reason` empty: somebody wanted that."""
    order = _ended(order, CANCELLED, CANCELED, reason, when)
    return order, [status(order), _canceled(order, reason)]


def expired(order: OrderRow, when: When) -> Event:
    """Its time in force is over."""
    order = _ended(order, CANCELLED, EXPIRED, BY_TIME, when)
    return order, [status(order), _canceled(order, BY_TIME)]


def _canceled(order: OrderRow, reason: str) -> ErrorTold:
    return ErrorTold(order.order_id, 202, f"Order Canceled - reason:{reason}")


def modified(order: OrderRow, when: When) -> Event:
    """It is worked on other terms, which `order` has already; complete if that much is filled."""
    order = order._replace(changed_at=when.at)
    if order.is_open and order.filled and order.is_complete:
        order = _ended(order, FILLED, "", "", when)
    return order, both(order)


def executed(order: OrderRow, quantity: Decimal, price: Decimal, when: When, *, is_all: bool = False) -> OrderRow:
    """So much of it traded: also where it was held, and where it had ended. `is_all`: its cash is used up by this."""
    with exact():
        order = order._replace(filled=order.filled + quantity, spent=order.spent + quantity * price, changed_at=when.at)
    if order.is_complete or is_all:
        return _ended(order, FILLED, "", "", when)
    if order.status == PRE_SUBMITTED or order.why_held:
        # What trades is neither held nor waiting any more.
        return order._replace(status=SUBMITTED, why_held="", is_triggered=True, waits_for=0)
    return order


def rebooked(order: OrderRow, filled: Decimal, spent: Decimal, when: When) -> OrderRow:
    """An execution was corrected or busted: the sums are other ones. What has ended stays so."""
    order = order._replace(filled=filled, spent=spent, changed_at=when.at)
    if order.is_open and order.filled and order.is_complete:
        return _ended(order, FILLED, "", "", when)
    return order


def trade_told(
    order: OrderRow, versions: Sequence[tuple[ExecutionRow, str]], *, says_status: bool = True
) -> list[Told]:
    """What is told of executions that happened together; `order` is as it became by them."""
    told: list[Told] = [execution(order, row, execution_id) for row, execution_id in versions]
    if says_status:
        told += both(order)
    return told + [commission(row, execution_id) for row, execution_id in versions if row.is_billed]


def _ended(order: OrderRow, word: str, ended_as: str, reason: str, when: When) -> OrderRow:
    # It stays in the list of the day on which it first ended.
    ended_on = order.ended_on or when.day
    return order._replace(
        status=word, why_held="", ended_as=ended_as, reason=reason, changed_at=when.at, ended_on=ended_on
    )
