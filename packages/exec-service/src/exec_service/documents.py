"""Our state as others see it: the confirmation, its document, and the view of the command line; and when to write them.

Numbers are JSON numbers in messages and doubles in documents; exact values stay in the journal. Every key is always
present; what is not known is None, never 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from exec_core.orders import Order, OrderStatus

from exec_service.fields import Subject, fields_of, fill_seconds, order_quantity, total_value
from exec_service.formats import format_duration
from exec_service.json_values import double, json_value, utc_text
from exec_service.records import Invalid
from exec_service.stores import Document

STATUS: Final = "STATUS"
FILL: Final = "FILL"
COMMISSION: Final = "COMMISSION"
CORRECTION: Final = "CORRECTION"

#: What confirmations are published for.
PUBLISHED: Final = frozenset(
    {
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.FILLED,
        OrderStatus.REJECTED,
        OrderStatus.CANCELLED,
        OrderStatus.EXPIRED,
    }
)
#: What `signal_store` is told of.
SIGNALLED: Final = PUBLISHED | {OrderStatus.SUBMITTED, OrderStatus.UNKNOWN}

_CONFIRMATION: Final = (
    "signal_id",
    "order_id",
    "status",
    "filled_quantity",
    "avg_fill_price",
    "filled_at",
    "commission",
    "revision",
    "reason_code",
    "reason",
    "account_id",
    "strategy_name",
    "symbol",
    "side",
    "quantity",
    "remaining_quantity",
    "leg_index",
    "total_legs",
    "client_order_id",
    "source_order_id",
    "broker",
    "broker_order_ids",
    "role",
    "commission_currency",
    "commission_estimated",
    "rejection_reason",
)
_DOCUMENT_ONLY: Final = (
    "order_type",
    "instrument_type",
    "cash_quantity",
    "limit_price",
    "stop_price",
    "stop_loss",
    "take_profit",
    "exits",
    "currency",
    "multiplier",
    "submitted_at",
)
_ATTRIBUTES: Final = ("signal_id", "status", "event", "account_id", "confirmation_id")


# ---------------------------------------------------------------------- the confirmation


def confirmation(subject: Subject, event: str, at: datetime, known: Mapping[str, Any] | None = None) -> Document:
    """The message for `execution-confirmations`, as JSON values. `at` is when its cause was committed.

    `known`: the subject's fields, where somebody has them already.
    """
    fields = fields_of(subject, at) if known is None else known
    chosen = {name: json_value(name, fields[name]) for name in _CONFIRMATION}
    identity = {"confirmation_id": f"{fields['client_order_id']}-{fields['revision']}", "event": event}
    return {**chosen, **identity, "timestamp": utc_text(at)}


def confirmation_attributes(message: Mapping[str, Any]) -> dict[str, str]:
    """The message attributes of a confirmation; an unknown account is an empty one."""
    return {name: message[name] or "" for name in _ATTRIBUTES}


def ordering_key(message: Mapping[str, Any]) -> str:
    """Confirmations of one account are delivered in order."""
    key: str = message["account_id"] or ""
    return key


def encode(message: Mapping[str, Any]) -> bytes:
    """The message's bytes."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def execution_confirmation_document(subject: Subject, at: datetime, known: Mapping[str, Any] | None = None) -> Document:
    """The order's one document in `execution_confirmations`: its latest state. `known`: see `confirmation`."""
    fields = fields_of(subject, at) if known is None else known
    names = (*_CONFIRMATION, *_DOCUMENT_ONLY)
    value = None if isinstance(subject, Invalid) else total_value(subject.order)
    return {
        "_id": f"exec_{fields['client_order_id']}",
        **{name: double(fields[name]) for name in names},
        "confirmation_id": f"{fields['client_order_id']}-{fields['revision']}",
        "total_value": double(value),
        "notes": _notes(subject),
        "updated_at": at,
    }


def _notes(subject: Subject) -> str | None:
    """``Filled in 2 seconds``, or why it is not filled."""
    if isinstance(subject, Invalid):
        return subject.reason
    order = subject.order
    if order.status is not OrderStatus.FILLED:
        return order.reason
    seconds = fill_seconds(order)
    return "Filled" if seconds is None else f"Filled in {format_duration(seconds)}"


# ---------------------------------------------------------------------- when


@dataclass(frozen=True, slots=True)
class Told:
    """What a change is told by. `event`: that of the confirmation; None if none is due."""

    event: str | None
    document: bool
    signal: bool

    @property
    def anything(self) -> bool:
        """Whether anybody is told of it."""
        return self.event is not None or self.document or self.signal


_NOTHING: Final = Told(None, document=False, signal=False)


def tells(before: Order | None, after: Order) -> Told:
    """All that the change from `before` to `after` is told by."""
    if after.status not in SIGNALLED and (before is None or before.status not in PUBLISHED):
        return _NOTHING
    return Told(
        publishes(before, after),
        document=writes_confirmation_document(before, after),
        signal=updates_signal(before, after),
    )


def publishes(before: Order | None, after: Order) -> str | None:
    """The event of the confirmation that the change from `before` to `after` publishes; None if none is due.

    Ids of the broker and `attention` alone do not publish: a consumer's figures are as they were.
    """
    if after.status not in PUBLISHED:
        return None
    if before is None:
        return FILL if after.filled_quantity else STATUS
    figures, outcome = _figures(before) != _figures(after), _outcome(before) != _outcome(after)
    if not figures and not outcome and before.commission == after.commission:
        return None
    if _is_corrected(before, after):
        return CORRECTION
    if figures:
        return FILL
    return STATUS if outcome else COMMISSION


def _is_corrected(before: Order, after: Order) -> bool:
    """Whether an execution that was known has been replaced."""
    return any(after.fills[key].correction != fill.correction for key, fill in before.fills.items())


def writes_confirmation_document(before: Order | None, after: Order) -> bool:
    """Whether the document must be written: it exists, or comes into being, and shows what has changed."""
    was_published = before is not None and before.status in PUBLISHED
    if publishes(before, after) is not None:
        return True
    if before is None or not (was_published or after.status in PUBLISHED):
        return False
    return _outcome(before) != _outcome(after) or before.broker_order_ids != after.broker_order_ids


def updates_signal(before: Order | None, after: Order) -> bool:
    """Whether `signal_store` is told of the change."""
    if after.status not in SIGNALLED:
        return False
    if before is None or before.status not in SIGNALLED:
        return True
    return (_figures(before), _outcome(before), before.broker_order_id) != (
        _figures(after),
        _outcome(after),
        after.broker_order_id,
    )


def _figures(order: Order) -> tuple[object, ...]:
    return order.filled_quantity, order.average_price, order.last_fill_time


def _outcome(order: Order) -> tuple[object, ...]:
    return order.status, order.reason_code, order.reason, order_quantity(order)


# ---------------------------------------------------------------------- the command line


def order_view(document: Mapping[str, Any]) -> Document:
    """An order's journal document as JSON values: its fields and history, without what only restores it."""
    hidden = ("_id", "schema_version", "content", "request", "state", "source")
    view = {name: json_value(name, value) for name, value in document.items() if name not in hidden}
    return {"client_order_id": document["_id"], **view}
