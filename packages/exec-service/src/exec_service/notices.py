"""Notifications about orders: the specification's three texts, and those of the same form for everything else.

Ids are made of the order and its revision, so that a repeated delivery can be recognised.
"""

from __future__ import annotations

from typing import Final

from exec_core.notifier import Notification
from exec_core.orders import Order, ReasonCode

from exec_service.fields import EXITS_NOT_PLACED, currency_of, fill_seconds, has_exits, total_value
from exec_service.formats import format_commission, format_duration, format_quantity, format_total
from exec_service.records import Invalid, OrderRecord
from exec_service.texts import NO_REASON
from exec_service.wording import asked_order, average_price, filled_of, instrument_name, readable_order

#: Reasons come from messages and venues; a notification must stay one that can be sent, and read.
LONGEST_REASON: Final = 1000
UNKNOWN_YET: Final = "not known yet"
NOT_READABLE: Final = "could not be read"
_REJECTED: Final = "❌ Order Rejected"


def order_filled(record: OrderRecord, *, prefix: str = "") -> Notification:
    """The order is complete."""
    order = record.order
    currency, commission, value, seconds = currency_of(order), order.commission, total_value(order), fill_seconds(order)
    cost = UNKNOWN_YET
    if commission is not None:
        cost = format_commission(commission.amount, commission.currency)
        cost = f"{cost} (estimated)" if commission.estimated else cost
    lines = [
        ("Signal", order.request.signal_id),
        ("Strategy", order.request.strategy_name),
        ("Order", _filled_order(order)),
        ("Total", UNKNOWN_YET if value is None else format_total(value, currency)),
        ("Commission", cost),
        ("Time", UNKNOWN_YET if seconds is None else format_duration(seconds)),
    ]
    if has_exits(order):
        lines.append(("Exits", EXITS_NOT_PLACED))
    return Notification(_id(order, "filled"), "✅ Order Filled", tuple(lines), prefix)


def order_rejected(record: OrderRecord, *, account: str | None = None, prefix: str = "") -> Notification:
    """Refused, by us or by the broker. `account` is its name."""
    order = record.order
    lines = (
        ("Signal", order.request.signal_id),
        ("Strategy", order.request.strategy_name),
        ("Order", asked_order(order)),
        ("Reason", _short(order.reason or NO_REASON)),
        ("Account", account or order.request.account_id),
    )
    return Notification(_id(order, "rejected"), _REJECTED, lines, prefix)


def order_rejected_invalid(invalid: Invalid, *, account: str | None = None, prefix: str = "") -> Notification:
    """The same of a message that is no order, with what could be read of it."""
    known = invalid.fields
    lines = (
        ("Signal", invalid.key.signal_id),
        ("Strategy", known.get("strategy_name") or NOT_READABLE),
        ("Order", readable_order(known) or NOT_READABLE),
        ("Reason", _short(invalid.reason)),
        ("Account", account or known.get("account_id") or NOT_READABLE),
    )
    return Notification(f"{invalid.key.client_order_id()}-1-rejected", _REJECTED, lines, prefix)


def partial_fill(record: OrderRecord, *, prefix: str = "") -> Notification:
    """A part of it is filled."""
    order = record.order
    remaining = order.remaining_quantity
    lines = (
        ("Signal", order.request.signal_id),
        ("Order", asked_order(order)),
        ("Filled", f"{filled_of(order)} @ {average_price(order)}"),
        ("Remaining", UNKNOWN_YET if remaining is None else format_quantity(remaining)),
    )
    return Notification(_id(order, "partial"), "⚠️ Partial Fill", lines, prefix)


def order_timed_out(record: OrderRecord, *, account: str | None = None, prefix: str = "") -> Notification:
    """It was not filled in time, and is being cancelled."""
    order = record.order
    reason = order.cancel.reason if order.cancel is not None else "Not filled in time"
    lines = (
        ("Signal", order.request.signal_id),
        ("Strategy", order.request.strategy_name),
        ("Order", asked_order(order)),
        ("Account", account or order.request.account_id),
        ("Filled", filled_of(order)),
        ("Reason", f"{_short(reason)}; the rest is being cancelled"),
    )
    return Notification(_id(order, "timed-out"), "⏱ Order Timed Out", lines, prefix)


def outcome_unknown(record: OrderRecord, *, account: str | None = None, prefix: str = "") -> Notification:
    """It may be live at the broker; it is never sent again."""
    order = record.order
    reason = order.history[-1].text if order.history else None
    lines = (
        ("Signal", order.request.signal_id),
        ("Strategy", order.request.strategy_name),
        ("Order", asked_order(order)),
        ("Account", account or order.request.account_id),
        ("Reason", _short(reason or "no usable answer from the broker")),
        ("Next", "the broker is asked; the order is not sent again"),
    )
    return Notification(_id(order, "unknown"), "❓ Outcome Unknown", lines, prefix)


def broker_connection_failed(record: OrderRecord, *, account: str | None = None, prefix: str = "") -> Notification:
    """The broker was out of reach for this order, which was refused."""
    order = record.order
    lines = (
        ("Signal", order.request.signal_id),
        ("Order", asked_order(order)),
        ("Broker", (record.broker or "none").upper()),
        ("Account", account or order.request.account_id),
        ("Reason", _short(order.reason or "the broker cannot be reached")),
    )
    return Notification(_id(order, "connection"), "🔌 Broker Connection Failed", lines, prefix)


def message_refused(
    letter_id: str, code: ReasonCode, reason: str, signal_id: str | None, *, prefix: str = ""
) -> Notification:
    """A message became a dead letter: unreadable, or in conflict with the order that its id stands for."""
    title = "⚠️ Conflicting Order" if code is ReasonCode.CONFLICT else "⚠️ Message Refused"
    lines = (("Signal", signal_id or NOT_READABLE), ("Reason", _short(reason)), ("Dead letter", letter_id))
    return Notification(f"{letter_id}-refused", title, lines, prefix)


def needs_attention(
    alarm_id: str, text: str, *, account: str | None = None, signal_id: str | None = None, prefix: str = ""
) -> Notification:
    """Something that a person must look at: about an order, an account, or the service."""
    known = (("Signal", signal_id), ("Account", account), ("Reason", _short(text)))
    lines = tuple((name, value) for name, value in known if value is not None)
    return Notification(alarm_id, "🚨 Needs Attention", lines, prefix)


def difference_found(
    notice_id: str,
    what: str,
    severity: str,
    text: str,
    *,
    account: str | None = None,
    signal_id: str | None = None,
    prefix: str = "",
) -> Notification:
    """The broker says something else than we have. `what` names the kind of difference."""
    said = (("Finding", what), ("Severity", severity), ("Reason", text))
    return _difference(notice_id, said, account, signal_id, prefix)


def difference_cleared(
    notice_id: str,
    what: str,
    text: str,
    *,
    account: str | None = None,
    signal_id: str | None = None,
    prefix: str = "",
) -> Notification:
    """What was told is not so any more."""
    return _difference(notice_id, (("Cleared", what), ("Reason", f"No longer so: {text}")), account, signal_id, prefix)


def _difference(
    notice_id: str,
    said: tuple[tuple[str, str], ...],
    account: str | None,
    signal_id: str | None,
    prefix: str,
) -> Notification:
    known = (("Signal", signal_id), ("Account", account), *said)
    lines = tuple((name, _short(value)) for name, value in known if value is not None)
    return Notification(notice_id, "🔎 Reconciliation", lines, prefix)


def account_stopped(
    notice_id: str, text: str, *, account: str | None = None, signal_id: str | None = None, prefix: str = ""
) -> Notification:
    """Nothing more is sent for the account until a person starts it again."""
    known = (("Signal", signal_id), ("Account", account), ("Reason", _short(text)))
    lines = tuple((name, value) for name, value in known if value is not None)
    return Notification(notice_id, "🛑 Account Stopped", lines, prefix)


def account_resumed(
    notice_id: str, who: str, reason: str | None, *, account: str | None = None, prefix: str = ""
) -> Notification:
    """A person has started it again."""
    known = (("Account", account), ("By", who), ("Reason", None if reason is None else _short(reason)))
    lines = tuple((name, value) for name, value in known if value is not None)
    return Notification(notice_id, "▶️ Account Resumed", lines, prefix)


def _filled_order(order: Order) -> str:
    filled = format_quantity(order.filled_quantity)
    return f"{order.request.side} {filled} {instrument_name(order.request)} @ {average_price(order)}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def _id(order: Order, what: str) -> str:
    return f"{order.client_order_id}-{order.revision}-{what}"
