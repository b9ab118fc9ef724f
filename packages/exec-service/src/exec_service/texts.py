"""The lines of the log about orders, to the specification's word. A line need not name its signal: the log adds it."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from exec_core.orders import Order, OrderStatus, ReasonCode

from exec_service.fields import EXITS_NOT_PLACED, currency_of, has_exits
from exec_service.formats import format_price, format_quantity
from exec_service.wording import asked_amount, average_price, filled_of, instrument_name

NO_REASON: Final = "no reason given"
_NOT_FILLED_WITHIN: Final = "Not filled within "
_FILLED: Final = "Order filled: "


def received(signal_id: str) -> str:
    """A message was understood as an order."""
    return f"Received order: {signal_id}"


def placing(order: Order) -> str:
    """The order is about to leave: ``Placing order: BUY 100 SPY MARKET``."""
    request = order.request
    return f"Placing order: {request.side} {asked_amount(order)} {instrument_name(request)} {request.order_type}"


def submitted(order: Order) -> str:
    """The broker has it."""
    return f"Order submitted: {order.broker_order_id or 'the broker gave no id yet'}"


def filled(order: Order) -> str:
    """It is complete: ``Order filled: 100 @ $235.15``."""
    return f"{_FILLED}{format_quantity(order.filled_quantity)} @ {average_price(order)}"


def partially_filled(order: Order) -> str:
    """``Order partially filled: 50/100 @ $235.20``, the average so far."""
    return f"Order partially filled: {filled_of(order)} @ {average_price(order)}"


def rejected(reason: str | None) -> str:
    """It was refused, by us or by the broker."""
    return f"Order rejected: {reason or NO_REASON}"


def cancelled(reason: str | None) -> str:
    """The rest of it is off the market."""
    return f"Order cancelled: {reason or NO_REASON}"


def expired(reason: str | None) -> str:
    """The venue ended it."""
    return f"Order expired: {reason or NO_REASON}"


def timeout_reason(seconds: float | Decimal) -> str:
    """The reason of an order that a time-out cancels; `timed_out` reads it back."""
    return f"{_NOT_FILLED_WITHIN}{format_quantity(Decimal(str(seconds)))} s"


def timed_out(reason: str) -> str:
    """``Order timed out after 60 s, cancelling``."""
    if not reason.startswith(_NOT_FILLED_WITHIN):
        return f"Order timed out, cancelling: {reason}"
    return f"Order timed out after {reason.removeprefix(_NOT_FILLED_WITHIN)}, cancelling"


def asking_the_broker() -> str:
    """It may be live; nobody knows."""
    return "Outcome unknown, asking the broker"


def duplicate() -> str:
    """A repetition of a message that was taken in already."""
    return "Duplicate order ignored"


def published() -> str:
    """A confirmation is out."""
    return "Published execution confirmation"


def exits_not_placed(order: Order) -> str:
    """The order is filled and has no protection, although it was asked for."""
    request, currency = order.request, currency_of(order)
    wanted = (("stop loss", request.stop_loss), ("take profit", request.take_profit))
    listed = ", ".join(f"{name} {format_price(price, currency)}" for name, price in wanted if price is not None)
    return f"Exits: {EXITS_NOT_PLACED} ({listed})"


def refused_message(code: ReasonCode, reason: str) -> str:
    """A message became a dead letter."""
    return f"Message refused ({code.value}): {reason}"


def connection_attempt_failed(reason: str) -> str:
    """One attempt to send did not reach the broker."""
    return f"The broker could not be reached, nothing was sent: {reason}"


def cancel_asked_again(times: int) -> str:
    """A cancel got no answer so far."""
    return f"The cancel is not answered yet, asked again ({times} times so far)"


def cancel_rejected(reason: str) -> str:
    """The broker would not cancel; what the order's state is, it will say."""
    return f"The broker did not cancel, asking it for the order's state: {reason}"


def cancel_failed(reason: str) -> str:
    """A cancel did not reach the broker."""
    return f"The cancel did not reach the broker, it will be asked again: {reason}"


def log_lines(before: Order | None, after: Order) -> list[str]:
    """The lines about what has changed between `before` (None: it is new) and `after`, in the order of events."""
    lines = []
    status_changed = before is None or before.status is not after.status
    if _is_newly_submitted(before, after):
        lines.append(submitted(after))
    if after.cancel is not None and (before is None or before.cancel is None):
        reason = after.cancel.reason
        is_timeout = after.cancel.reason_code is ReasonCode.TIMEOUT
        lines.append(timed_out(reason) if is_timeout else f"Cancelling: {reason}")
    lines += _fill_lines(before, after)
    if status_changed and after.status is OrderStatus.UNKNOWN:
        lines.append(asking_the_broker())
    if status_changed and after.status is OrderStatus.FILLED and not any(line.startswith(_FILLED) for line in lines):
        lines.append(filled(after))  # its executions were told before the broker called it complete
    end = _ENDS.get(after.status)
    if status_changed and end is not None:
        lines.append(end(after.reason))
    elif status_changed and before is not None and before.status.is_final and not after.status.is_final:
        lines.append(f"The order is open again: {after.status}")
    return lines


_ENDS: Final = {
    OrderStatus.REJECTED: rejected,
    OrderStatus.CANCELLED: cancelled,
    OrderStatus.EXPIRED: expired,
}


def _is_newly_submitted(before: Order | None, after: Order) -> bool:
    """Whether we learn only now that the broker has it; of an order that it refused, that is not worth a line."""
    if after.status is OrderStatus.REJECTED or after.acknowledged_at is None:
        return False
    if before is None or before.acknowledged_at is None:
        return True
    return before.broker_order_id is None and after.broker_order_id is not None


def _fill_lines(before: Order | None, after: Order) -> list[str]:
    known = (None, None) if before is None else (before.filled_quantity, before.average_price)
    if not after.own_fills or known == (after.filled_quantity, after.average_price):
        return []
    if before is not None and after.filled_quantity <= before.filled_quantity:
        now = f"{filled_of(after)} @ {average_price(after)}" if after.filled_quantity else "nothing is filled"
        return [f"Execution corrected by the broker: now {now}"]
    line = filled(after) if after.status is OrderStatus.FILLED else partially_filled(after)
    is_first = before is None or not before.filled_quantity
    return [line, exits_not_placed(after)] if is_first and has_exits(after) else [line]
