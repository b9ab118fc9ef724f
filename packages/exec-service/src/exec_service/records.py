"""What the service keeps of an order beside the order itself, and what a message can turn out to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from exec_core.identifiers import ClientOrderId, OrderKey
from exec_core.orders import Order, ReasonCode


@dataclass(frozen=True, slots=True)
class Source:
    """Where an order came from: the message's facts that are not the order itself.

    `content` is a digest of what is traded, the same for every repetition of the message (times and ids left out).
    `timeout_seconds`: None = the service's default for that kind of order, 0 = none. `extra` keeps the message's
    other fields, unread.
    """

    content: str
    received_at: datetime
    message_id: str | None = None
    published_at: datetime | None = None
    created_at: datetime | None = None
    timeout_seconds: Decimal | None = None
    source_order_id: str | None = None
    mathematricks_signal_id: str | None = None
    signal_type: str | None = None
    environment: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def age_from(self) -> datetime:
        """When the order began to age: the older of its creation and its publication."""
        known = [time for time in (self.created_at, self.published_at) if time is not None]
        return min(known, default=self.received_at)


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """One order as the service keeps it. `sequence` orders arrivals; `broker` is the plugin's name, if any."""

    order: Order
    source: Source
    sequence: int
    broker: str | None = None

    @property
    def id(self) -> ClientOrderId:
        """The document's id: the client order id."""
        return self.order.client_order_id


@dataclass(frozen=True, slots=True)
class Accepted:
    """The message is a well-formed order."""

    record: OrderRecord


@dataclass(frozen=True, slots=True)
class Invalid:
    """A JSON object with a usable signal id that is no order: becomes an order REJECTED / INVALID.

    `fields` are the ones that could be read, under the documents' names.
    """

    key: OrderKey
    reason: str
    source: Source
    sequence: int
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Nothing that could be an order: becomes a dead letter."""

    reason: str
    reason_code: ReasonCode = ReasonCode.INVALID
    signal_id: str | None = None


Parsed = Accepted | Invalid | Unreadable
