"""What a broker may tell us. Reports may repeat and arrive in any order; the lifecycle sorts it out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from exec_core.clock import check_aware
from exec_core.fills import Commission, Fill
from exec_core.identifiers import BrokerOrderId, ClientOrderId, ExecutionId
from exec_core.instruments import Instrument, InstrumentDetails
from exec_core.sides import Side


class ReportStatus(StrEnum):
    """What the broker says of an order. A venue's word that is not understood maps to WORKING, never to an end."""

    HELD = "HELD"
    """The broker has it, but it does not work yet: before the opening, or its trigger has not come."""
    WORKING = "WORKING"
    """It can fill now; also while partly filled, and while a cancel is under way."""
    FILLED = "FILLED"
    """The broker calls it complete. The quantity still comes from the executions."""
    REJECTED = "REJECTED"
    """Refused, by broker or exchange: this order will not trade."""
    CANCELLED = "CANCELLED"
    """The remainder is off the market: cancelled by anybody, or what was left of an IOC."""
    EXPIRED = "EXPIRED"
    """The venue ended it at the end of its time in force."""


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """What the broker works an order on now: of the whole order, not of what remains of it. None = not told.

    Told with every report of an order that is held, works or is filled, so that a modification which somebody made at
    the broker is seen; and in `Broker.open_orders`, there with `instrument` and `side`, so that also an order which is
    not ours can be shown. What an order is not priced by is None.
    """

    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    side: Side | None = None
    instrument: Instrument | None = None


@dataclass(frozen=True, slots=True)
class OrderReport:
    """A snapshot of one order at the broker.

    At least one of the two ids is set. `filled_quantity` is the broker's cumulative figure: it never books anything,
    but tells that executions are still to come. `venue_time` is when the venue last changed the order, by its own
    clock; None where it does not say. Never when it was asked: that is our time.
    """

    status: ReportStatus
    client_order_id: ClientOrderId | None = None
    broker_order_id: BrokerOrderId | None = None
    filled_quantity: Decimal | None = None
    reason: str | None = None
    venue_time: datetime | None = None
    details: InstrumentDetails | None = None
    terms: OrderTerms | None = None

    def __post_init__(self) -> None:
        check_aware("OrderReport.venue_time", self.venue_time)
        if self.client_order_id is None and self.broker_order_id is None:
            raise ValueError("an order report must name the order, by client or by broker order id")


@dataclass(frozen=True, slots=True)
class FillReport:
    """One execution of one order."""

    fill: Fill
    client_order_id: ClientOrderId | None = None
    broker_order_id: BrokerOrderId | None = None
    details: InstrumentDetails | None = None

    def __post_init__(self) -> None:
        if self.client_order_id is None and self.broker_order_id is None:
            raise ValueError("a fill report must name the order, by client or by broker order id")


@dataclass(frozen=True, slots=True)
class CommissionReport:
    """What an execution cost, where the venue tells it apart from the execution. May come before it."""

    execution_id: ExecutionId
    commission: Commission
    client_order_id: ClientOrderId | None = None
    broker_order_id: BrokerOrderId | None = None

    def __post_init__(self) -> None:
        if self.client_order_id is None and self.broker_order_id is None:
            raise ValueError("a commission report must name the order, by client or by broker order id")


Report = OrderReport | FillReport | CommissionReport
