"""What a changed order writes besides itself: the specification's documents, and what is to be delivered.

A pure comparison of the order before and after a commit: fills that came together share one confirmation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from exec_core.broker import Mode
from exec_core.notifier import Notification
from exec_core.orders import Order, OrderStatus, ReasonCode

from exec_service import documents, journal, notices, signals
from exec_service.fields import Subject, order_fields
from exec_service.outbox_rows import CONFIRMATION_CHANNEL, NOTIFIER_CHANNEL, SIGNAL_CHANNEL
from exec_service.records import Invalid, OrderRecord
from exec_service.settings import Account
from exec_service.stores import CONFIRMATIONS, ORDERS, OUTBOX, Write
from exec_service.units import Entry

PREFIXES: Mapping[Mode | None, str] = {Mode.PAPER: "[PAPER]", Mode.MOCK: "[MOCK]", Mode.LIVE: "", None: ""}
#: A burst of partial fills of one order is told at most this often.
PARTIAL_FILL_INTERVAL = timedelta(seconds=1)


class Projector:
    """Makes the writes; `notifiers` are the names of those that are switched on.

    `mode` is the whole run's, for what belongs to no account: live if any account is.
    """

    def __init__(
        self, account: Callable[[str], Account | None], notifiers: Sequence[str], mode: Mode | None = None
    ) -> None:
        self._account = account
        self._mode = mode
        self._notifiers = tuple(notifiers)
        self._sequence = 0
        self._partial_told: dict[str, datetime] = {}

    def __call__(self, before: Order | None, after: Entry, alarms: Sequence[str], at: datetime) -> list[Write]:
        """The writes that go with `after`, in the same transaction."""
        record = after.record
        writes: list[Write] = []
        told = documents.tells(before, after.order)
        if told.anything:
            fields = order_fields(record)
            if told.document:
                document = documents.execution_confirmation_document(record, at, fields)
                writes.append(Write(CONFIRMATIONS, document["_id"], None, document))
            if told.event is not None:
                writes.append(self._confirmation(documents.confirmation(record, told.event, at, fields), at))
            if told.signal:
                writes.append(self._signal(record, at, fields))
        for notification in self._notifications(before, record, alarms, at) if self._notifiers else ():
            writes += self._notify(notification, record.order.request.account_id, at)
        return writes

    def invalid(self, invalid: Invalid, at: datetime) -> list[Write]:
        """All that an order that could not be read becomes: stored, confirmed, told."""
        order = journal.invalid_document(invalid, at)
        document = documents.execution_confirmation_document(invalid, at)
        account_id = account_of(invalid)
        notification = notices.order_rejected_invalid(
            invalid, account=self._name(account_id) or None, prefix=self._prefix(account_id)
        )
        return [
            Write(ORDERS, order["_id"], 0, order),
            Write(CONFIRMATIONS, document["_id"], None, document),
            self._confirmation(documents.confirmation(invalid, documents.STATUS, at), at),
            self._signal(invalid, at),
            *self._notify(notification, account_id, at),
        ]

    def dead_letter(
        self, letter_id: str, code: ReasonCode, reason: str, signal_id: str | None, at: datetime
    ) -> list[Write]:
        """The alert about a message that was kept as a dead letter."""
        refused = notices.message_refused(letter_id, code, reason, signal_id, prefix=self._prefix(""))
        return self._notify(refused, "", at)

    def alarm(self, account_id: str, text: str, at: datetime) -> list[Write]:
        """Something about an account that a person must hear."""
        notification = notices.needs_attention(
            f"alarm-{account_id}-{at.timestamp():.6f}",
            text,
            account=self._name(account_id),
            prefix=self._prefix(account_id),
        )
        return self._notify(notification, account_id, at)

    def tell(self, account_id: str, make: Callable[..., Notification], at: datetime) -> list[Write]:
        """Tell people something about an account: `make` is given its name and the prefix of its mode."""
        notification = make(account=self._name(account_id), prefix=self._prefix(account_id))
        return self._notify(notification, account_id, at)

    def _notifications(
        self, before: Order | None, record: OrderRecord, alarms: Sequence[str], at: datetime
    ) -> list[Notification]:
        order = record.order
        prefix, name = self._prefix(order.request.account_id), self._name(order.request.account_id)
        was = None if before is None else before.status
        found: list[Notification] = []
        if order.status is OrderStatus.FILLED and was is not OrderStatus.FILLED:
            found.append(notices.order_filled(record, prefix=prefix))
        elif order.status is OrderStatus.REJECTED and was is not OrderStatus.REJECTED:
            if order.reason_code is ReasonCode.CONNECTION_FAILED:
                found.append(notices.broker_connection_failed(record, account=name, prefix=prefix))
            found.append(notices.order_rejected(record, account=name, prefix=prefix))
        elif order.status is OrderStatus.UNKNOWN and was is not OrderStatus.UNKNOWN:
            found.append(notices.outcome_unknown(record, account=name, prefix=prefix))
        elif order.status is OrderStatus.PARTIALLY_FILLED and self._tell_partial(before, order, at):
            found.append(notices.partial_fill(record, prefix=prefix))
        if order.cancel is not None and order.cancel.reason_code is ReasonCode.TIMEOUT:
            if before is not None and before.cancel is None:
                found.append(notices.order_timed_out(record, account=name, prefix=prefix))
        for number, alarm in enumerate(alarms):
            key = f"{record.id}-{order.revision}-alarm-{number}"
            found.append(
                notices.needs_attention(key, alarm, account=name, prefix=prefix, signal_id=order.request.signal_id)
            )
        return found

    def _tell_partial(self, before: Order | None, order: Order, at: datetime) -> bool:
        if before is not None and order.filled_quantity == before.filled_quantity:
            return False
        told = self._partial_told.get(order.client_order_id)
        if told is not None and at - told < PARTIAL_FILL_INTERVAL:
            return False
        if len(self._partial_told) > 10_000:
            self._partial_told.clear()
        self._partial_told[order.client_order_id] = at
        return True

    def _prefix(self, account_id: str) -> str:
        account = self._account(account_id) if account_id else None
        return PREFIXES[account.mode if account is not None else self._mode]

    def _name(self, account_id: str) -> str:
        account = self._account(account_id)
        return account_id if account is None else account.name

    def _confirmation(self, payload: Mapping[str, Any], at: datetime) -> Write:
        row = {
            "data": documents.encode(payload).decode("utf-8"),
            "attributes": documents.confirmation_attributes(payload),
            "ordering_key": documents.ordering_key(payload),
            "signal_id": payload["signal_id"],
            "account_id": payload["account_id"] or "",
            "client_order_id": payload["client_order_id"],
            "order_revision": payload["revision"],
        }
        return self._row(f"{payload['confirmation_id']}-confirmation", CONFIRMATION_CHANNEL, row, at)

    def _signal(self, subject: Subject, at: datetime, fields: Mapping[str, Any] | None = None) -> Write:
        update = signals.signal_update(subject, at, fields)
        row = {
            "update": update,
            "signal_ids": signals.signal_ids(subject),
            "account_id": account_of(subject),
            "client_order_id": update["client_order_id"],
            "order_revision": update["revision"],
        }
        return self._row(f"{update['client_order_id']}-{update['revision']}-signal", SIGNAL_CHANNEL, row, at)

    def _notify(self, notification: Notification, account_id: str, at: datetime) -> list[Write]:
        row = {
            "notification_id": notification.id,
            "title": notification.title,
            "fields": [list(field) for field in notification.fields],
            "prefix": notification.prefix,
            "account_id": account_id,
        }
        return [
            self._row(f"{notification.id}-{name}", f"{NOTIFIER_CHANNEL}{name}", row, at) for name in self._notifiers
        ]

    def _row(self, row_id: str, channel: str, payload: Mapping[str, Any], at: datetime) -> Write:
        # Rises within a run and, by the clock, from run to run: rows are delivered in this order after a restart.
        self._sequence = max(self._sequence + 1, int(at.timestamp() * 1_000_000))
        document = {
            "_id": row_id,
            "revision": 1,
            "schema_version": journal.SCHEMA_VERSION,
            "channel": channel,
            "sequence": self._sequence,
            "created_at": at,
            "delivered_at": None,
            **payload,
        }
        return Write(OUTBOX, row_id, 0, document)


def account_of(subject: Subject) -> str:
    """The account's id; empty where it could not be read."""
    if isinstance(subject, Invalid):
        return str(subject.fields.get("account_id") or "")
    return subject.order.request.account_id
