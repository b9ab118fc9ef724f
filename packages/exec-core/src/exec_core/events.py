"""What we ourselves do to an order; with the broker's reports, everything that `exec_core.lifecycle` judges."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from exec_core.orders import ReasonCode
from exec_core.reports import CommissionReport, FillReport, OrderReport


@dataclass(frozen=True, slots=True)
class Refused:
    """The service will not send it (too old, unsupported, unreachable broker, …)."""

    reason_code: ReasonCode
    reason: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Cancelled before anything was sent."""

    reason_code: ReasonCode
    reason: str


@dataclass(frozen=True, slots=True)
class Dispatched:
    """About to be sent: durable before the bytes leave."""


@dataclass(frozen=True, slots=True)
class SendFailed:
    """The attempt provably did not reach the venue (`NotSent`)."""

    reason: str


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """It may have been sent, and no usable answer came (`OutcomeUnknown`, or a crash while sending)."""

    reason: str


@dataclass(frozen=True, slots=True)
class ProvenAbsent:
    """Complete views of the broker's book, covering the send and late enough, show no trace."""

    reason: str


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody, or a time-out, wants the rest of it cancelled."""

    reason_code: ReasonCode
    reason: str


@dataclass(frozen=True, slots=True)
class NeedsAttention:
    """A person must look at it, and why; None: no longer."""

    text: str | None


class Resolution(StrEnum):
    """What a person found out about an order."""

    FILLED = "filled"
    CANCELLED = "cancelled"
    PLACED = "placed"
    NOT_PLACED = "not-placed"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A person says how it ended. `quantity` and `price` are needed for FILLED."""

    resolution: Resolution
    who: str
    evidence: str
    quantity: Decimal | None = None
    price: Decimal | None = None


Event = (
    OrderReport
    | FillReport
    | CommissionReport
    | Refused
    | Withdrawn
    | Dispatched
    | SendFailed
    | AnswerLost
    | ProvenAbsent
    | CancelAsked
    | NeedsAttention
    | Resolved
)
