"""Orders: what was asked, and what has become of it.

Data only. What may follow what is decided in `exec_core.lifecycle` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar, Final

from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ClientOrderId, ExecutionId, OrderKey, SignalId
from exec_core.instruments import Instrument, InstrumentDetails
from exec_core.modifications import Modification, ToldTerm, modification
from exec_core.money import ZERO, exact
from exec_core.sides import Side


class OrderType(StrEnum):
    """How an order is priced."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_LIMIT = "STOP_LIMIT"

    @property
    def has_limit(self) -> bool:
        """Whether the type carries a limit price."""
        return self in (OrderType.LIMIT, OrderType.STOP_LIMIT)

    @property
    def has_stop(self) -> bool:
        """Whether the type carries a stop price."""
        return self in (OrderType.STOP, OrderType.STOP_LIMIT)


class TimeInForce(StrEnum):
    """How long an order works."""

    DAY = "DAY"
    GTC = "GTC"
    IOC = "IOC"


class OrderStatus(StrEnum):
    """Where an order stands; `exec_core.lifecycle` says how it moves."""

    PENDING = "PENDING"
    SUBMITTING = "SUBMITTING"
    UNKNOWN = "UNKNOWN"
    SUBMITTED = "SUBMITTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """We take no further action. Not: we stop listening; a fill is booked in every state."""
        return self in FINAL_STATUSES


FINAL_STATUSES = frozenset({OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.CANCELLED, OrderStatus.EXPIRED})


class ReasonCode(StrEnum):
    """Why an order is not simply filled; CONFLICT stands in dead letters only."""

    BROKER_REJECTED = "BROKER_REJECTED"
    INVALID = "INVALID"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    STALE = "STALE"
    UNSUPPORTED = "UNSUPPORTED"
    LIMIT = "LIMIT"
    HALTED = "HALTED"
    CONNECTION_FAILED = "CONNECTION_FAILED"
    NOT_PLACED = "NOT_PLACED"
    TIMEOUT = "TIMEOUT"
    CANCELLED_BY_BROKER = "CANCELLED_BY_BROKER"
    CANCELLED_BY_USER = "CANCELLED_BY_USER"
    EXPIRED = "EXPIRED"
    UNSETTLED = "UNSETTLED"
    CONFLICT = "CONFLICT"


class Evidence(StrEnum):
    """How good the proof of an event is."""

    DEFINITIVE = "DEFINITIVE"
    """The broker said so about this order."""
    ABSENCE = "ABSENCE"
    """Complete views of the broker's book, covering the send, show no trace."""
    SERVICE = "SERVICE"
    """Our own decision, about an order of which provably nothing was sent."""
    PERSON = "PERSON"
    """Somebody looked and said so."""
    NONE = "NONE"
    """No answer. It proves nothing, and ends nothing."""


class Role(StrEnum):
    """What an order is for. Informative: it never changes what is traded."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"
    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a combination; `ratio` is how many of it one combination holds."""

    instrument: Instrument
    side: Side
    ratio: Decimal


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What was asked for, in our words. Exactly one of `quantity` and `cash_quantity` is set.

    `reference_price` is what the producer saw when it decided; it is never a limit for a MARKET order. Prices are in
    the instrument's currency; a combination's are net and may be negative.
    """

    signal_id: SignalId
    account_id: AccountId
    strategy_name: str
    instrument: Instrument
    side: Side
    order_type: OrderType
    quantity: Decimal | None = None
    cash_quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    reference_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    legs: tuple[Leg, ...] = ()
    leg_index: int = 0
    total_legs: int = 1
    product: str | None = None
    variety: str | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    role: Role = Role.ENTRY

    def __post_init__(self) -> None:
        if (self.quantity is None) == (self.cash_quantity is None):
            raise ValueError("an order needs either a quantity or a cash_quantity")
        for name in ("quantity", "cash_quantity"):
            value = getattr(self, name)
            if value is not None and not (value.is_finite() and value > 0):
                raise ValueError(f"{name} must be above zero, got {value}")
        if self.order_type.has_limit != (self.limit_price is not None):
            raise ValueError(f"a {self.order_type} order {_needs(self.order_type.has_limit)} a limit_price")
        if self.order_type.has_stop != (self.stop_price is not None):
            raise ValueError(f"a {self.order_type} order {_needs(self.order_type.has_stop)} a stop_price")

    @property
    def key(self) -> OrderKey:
        """What makes this order this order."""
        return OrderKey(self.signal_id, self.leg_index)


def _needs(needed: bool) -> str:
    return "needs" if needed else "must not have"


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """That somebody wants the order cancelled, and why. A flag, not a state: fills go on meanwhile."""

    reason_code: ReasonCode
    reason: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class OrderEnd:
    """The first end that was proven for the order: remembered even while fills say otherwise."""

    status: OrderStatus
    reason_code: ReasonCode | None
    reason: str | None
    evidence: Evidence
    at: datetime


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One event in an order's life, as it was judged."""

    at: datetime
    event: str
    source: str
    evidence: Evidence
    status: OrderStatus
    revision: int
    text: str | None = None


#: What an order computes of its executions: once, and not again for those of its next states that have the same.
_OF_FILLS: Final = ("own_fills", "filled_quantity", "average_price", "last_fill_time", "commissions", "commission")


@dataclass(frozen=True)
class Order:
    """An order and its state. `quantity` is None for a cash order until the venue says what it bought.

    `request` stays what was asked for; where somebody modified the order at the broker, `quantity` follows (see
    `exec_core.modifications`) and `modified` says what differs. `told_terms` is what that is known from.

    `fills` holds the effective execution per execution id (a correction has replaced what it corrects).
    `late_commissions` holds those that came apart from their execution, even before it.

    Every event makes new ones of it: `exec_core.replacing` does so cheaply, and hands on what was computed.
    """

    COMPUTED_FROM: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"fills": _OF_FILLS, "late_commissions": ("commissions", "commission")}
    )

    client_order_id: ClientOrderId
    request: OrderRequest
    quantity: Decimal | None
    status: OrderStatus = OrderStatus.PENDING
    revision: int = 1
    broker_order_ids: tuple[BrokerOrderId, ...] = ()
    fills: Mapping[ExecutionId, Fill] = field(default_factory=lambda: MappingProxyType({}))
    late_commissions: Mapping[ExecutionId, Commission] = field(default_factory=lambda: MappingProxyType({}))
    details: InstrumentDetails | None = None
    attempts: int = 0
    sent_at: datetime | None = None
    acknowledged_at: datetime | None = None
    working_since: datetime | None = None
    reported_filled_quantity: Decimal | None = None
    told_terms: tuple[ToldTerm, ...] = ()
    cancel: CancelRequest | None = None
    end: OrderEnd | None = None
    attention: str | None = None
    history: tuple[HistoryEntry, ...] = ()

    @classmethod
    def new(cls, request: OrderRequest) -> Order:
        """The order for `request`, PENDING, under its derived client order id."""
        return cls(request.key.client_order_id(), request, request.quantity)

    @property
    def broker_order_id(self) -> BrokerOrderId | None:
        """The broker's first id for it: once set it never changes. The others are in `broker_order_ids`."""
        return self.broker_order_ids[0] if self.broker_order_ids else None

    @property
    def asked_quantity(self) -> Decimal | None:
        """The quantity that was asked for, whatever somebody made of it at the broker; None for a cash order."""
        return self.request.quantity

    @property
    def modified(self) -> Modification | None:
        """What the broker works it on that differs from what was asked; None as far as nothing is known to differ."""
        if not self.told_terms or self.has_several_ids:
            return None
        return modification(self.request, self.told_terms)

    @property
    def has_several_ids(self) -> bool:
        """Whether the broker has it under several ids, so that none of them tells of the whole order."""
        return len(self.broker_order_ids) > 1

    @cached_property
    def filled_quantity(self) -> Decimal:
        """The sum of its executions: never taken from a status."""
        with exact():  # whoever asks first: the answer is kept
            return sum((fill.quantity for fill in self.own_fills), ZERO)

    @cached_property
    def own_fills(self) -> tuple[Fill, ...]:
        """The executions that count towards the order's quantity: not those of a combination's legs."""
        return tuple(fill for fill in self.fills.values() if fill.leg is None)

    @property
    def remaining_quantity(self) -> Decimal | None:
        """What is still to be filled; None while a cash order's quantity is not known."""
        return None if self.quantity is None else max(self.quantity - self.filled_quantity, ZERO)

    @cached_property
    def average_price(self) -> Decimal | None:
        """The quantity-weighted price of its executions; None without one."""
        with exact():
            filled = self.filled_quantity
            if not filled:
                return None
            return sum((fill.quantity * fill.price for fill in self.own_fills), ZERO) / filled

    @cached_property
    def last_fill_time(self) -> datetime | None:
        """The venue's time of its last execution."""
        return max((fill.time for fill in self.own_fills if fill.quantity), default=None)

    @cached_property
    def commissions(self) -> Mapping[ExecutionId, Commission]:
        """What is known of the cost of each execution that counts."""
        known = {key: self.commission_of(key) for key in self.fills}
        return {key: commission for key, commission in known.items() if commission is not None}

    def commission_of(self, execution_id: ExecutionId) -> Commission | None:
        """What is known of one execution's cost, told with it or apart: what was billed goes before an estimate."""
        fill, late = self.fills.get(execution_id), self.late_commissions.get(execution_id)
        own = fill.commission if fill is not None else None
        if late is None or (late.estimated and own is not None and not own.estimated):
            return own
        return late

    @cached_property
    def commission(self) -> Commission | None:
        """The total so far; None while nothing is known, or where currencies differ (they are not added up)."""
        known = list(self.commissions.values())
        currencies = {commission.currency for commission in known}
        if len(currencies) != 1:
            return None
        amount = sum((commission.amount for commission in known), ZERO)
        return Commission(amount, currencies.pop(), any(commission.estimated for commission in known))

    @property
    def multiplier(self) -> Decimal:
        """The contract multiplier: the message's, else the venue's, else 100 for options, else 1."""
        return self.request.instrument.multiplier_or_default(self.details)

    @property
    def reason_code(self) -> ReasonCode | None:
        """Why it ended as it did; None while nothing went wrong."""
        return self.end.reason_code if self.end and self.status is self.end.status else None

    @property
    def reason(self) -> str | None:
        """The sentence that goes with `reason_code`."""
        return self.end.reason if self.end and self.status is self.end.status else None

    @property
    def rejected_by(self) -> str | None:
        """``broker`` or ``service`` for a REJECTED order, else None."""
        if self.status is not OrderStatus.REJECTED or self.end is None:
            return None
        return "broker" if self.end.evidence is Evidence.DEFINITIVE else "service"
