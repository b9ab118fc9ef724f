"""THE CONTRACT: what a broker plugin implements. Read this file first.

A plugin is a `BrokerPlugin` record, handed over by a hook (`exec_core.hookspecs`), whose `create` makes a `Broker`:
one session with one venue for one account. Everything is async on one event loop; a blocking SDK is wrapped in one
module of the adapter, with an executor of its own.

The rules that keep money safe:

* `place_order` has three outcomes: it returns (the broker has it), it raises an error that says the order is *not*
  there (`OrderRejected`, `NotSent`), or the outcome is unknown. Whatever is not recognised is unknown.
* An error is never an empty list, and "not in the list" is an answer only together with `View`.
* Reports may repeat and arrive in any order. Losing one is the only crime.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, runtime_checkable

from exec_core.capabilities import Capabilities
from exec_core.clock import check_aware
from exec_core.identifiers import AccountId, BrokerOrderId
from exec_core.instruments import Instrument, InstrumentDetails
from exec_core.orders import Order
from exec_core.reports import FillReport, OrderReport, Report, ReportStatus

if TYPE_CHECKING:
    from exec_core.settings import BrokerSettings

T_co = TypeVar("T_co", covariant=True)


class Mode(StrEnum):
    """What kind of money an account holds."""

    LIVE = "live"
    PAPER = "paper"
    MOCK = "mock"


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """Which broker serves which account, and how. `settings` overrides the plugin's variables for this account."""

    broker: str
    account_id: AccountId
    name: str | None = None
    mode: Mode | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Placed:
    """The broker has the order. `status` says whether it works already or is held (for opening or trigger)."""

    broker_order_id: BrokerOrderId
    status: ReportStatus = ReportStatus.WORKING
    details: InstrumentDetails | None = None


@dataclass(frozen=True, slots=True)
class View:
    """How much a look at the broker's book can prove.

    `complete`: every request behind it answered, on a healthy line. `covers_from`: an order that the broker accepted
    at or after this time would be in it, whatever became of it; None: nothing is proven by absence (a list of
    open orders only, say). A venue that shows the present day only says the start of that day.
    """

    as_of: datetime
    complete: bool
    covers_from: datetime | None

    def __post_init__(self) -> None:
        check_aware("View.as_of", self.as_of)
        check_aware("View.covers_from", self.covers_from)

    def proves_absence_since(self, sent_at: datetime) -> bool:
        """Whether an order sent at `sent_at` and missing here is evidence that it was never accepted."""
        return self.complete and self.covers_from is not None and self.covers_from <= sent_at <= self.as_of


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to "what do you know of this order?": its trace, or none; and how much that proves.

    `orders` is usually one report; more when the venue holds several under our id. `fills` are all of them.
    """

    view: View
    orders: tuple[OrderReport, ...] = ()
    fills: tuple[FillReport, ...] = ()

    @property
    def has_trace(self) -> bool:
        """Whether the broker knows anything of the order."""
        return bool(self.orders or self.fills)


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[T_co]):
    """A list that says how much it proves; never a bare list, and never empty because of an error."""

    items: tuple[T_co, ...]
    view: View


@dataclass(frozen=True, slots=True)
class BrokerPosition:
    """What the broker says the account holds; `quantity` is signed, negative for short.

    `also_known_as` are other names of the same instrument that an order may have used: a future's contract month in
    place of its last trading day, the venue's own symbol.
    """

    instrument: Instrument
    quantity: Decimal
    average_price: Decimal | None = None
    product: str | None = None
    also_known_as: tuple[Instrument, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """The account's money as the broker states it; None = not told."""

    currency: str
    as_of: datetime
    equity: Decimal | None = None
    cash: Decimal | None = None
    buying_power: Decimal | None = None
    initial_margin: Decimal | None = None
    maintenance_margin: Decimal | None = None


class AvailabilityState(StrEnum):
    """Whether orders can be sent now."""

    READY = "READY"
    LOGIN_NEEDED = "LOGIN_NEEDED"
    ANNOUNCED_BREAK = "ANNOUNCED_BREAK"
    DISCONNECTED = "DISCONNECTED"


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether orders can be sent now, since when that is so, and why."""

    state: AvailabilityState
    since: datetime
    reason: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether orders can be sent now."""
        return self.state is AvailabilityState.READY


@runtime_checkable
class Broker(Protocol):
    """One session with one venue, for one account. Entering connects, leaving disconnects; leaving twice is fine.

    A session is entered once; a new one is a new object. Where the link is lost for good, `reports` raises
    `ConnectionFailed` and the user of the session leaves it and makes another; an adapter may also reconnect by
    itself, saying so through `availability`, and then replays as on entering.
    """

    async def __aenter__(self) -> Self:
        """Connect, log in, check that this is the right account.

        :raises ConnectionFailed: the venue cannot be reached.
        :raises AuthenticationFailed: it wants a login that a person must make.
        :raises ConfigurationError: the account is not the one configured, or a setting is wrong.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Disconnect. Orders that work at the venue stay there."""
        ...

    async def place_order(self, order: Order) -> Placed:
        """Send the order, once, carrying `order.client_order_id` in the venue's field for it.

        :raises OrderRejected: the broker refused it.
        :raises NotSent: proven that nothing reached the venue.
        :raises OutcomeUnknown: it may be live. Any other exception is taken as this.
        """
        ...

    async def cancel_order(self, order: Order) -> None:
        """Ask for a cancel; returning means the request was taken, the outcome arrives as a report.

        :raises CancelRejected: the broker would not; the order's state is to be read again.
        """
        ...

    async def find_order(self, order: Order) -> Found:
        """Look for the order by its client order id (and its broker order ids, where known), ended or not.

        :raises ConnectionFailed: nothing could be asked. An error is not an answer: never return an empty `Found`.
        """
        ...

    def reports(self) -> AsyncIterator[Report]:
        """All that happens to this account's orders; first what the venue still knows (open orders, executions).

        :raises ConnectionFailed: the session is over.
        """
        ...

    async def open_orders(self) -> Snapshot[OrderReport]:
        """The orders that work at the venue now, also those that are not ours; each with all its `terms`."""
        ...

    async def positions(self) -> Snapshot[BrokerPosition]:
        """What the account holds now."""
        ...

    async def account(self) -> AccountSummary:
        """The account's money."""
        ...

    def availability(self) -> Availability:
        """Whether orders can be sent now. Cheap: asked before every send, and never blocks."""
        ...


@dataclass(frozen=True, slots=True)
class BrokerPlugin:
    """What a broker plugin hands over: one frozen record, and `create`.

    `name` equals the entry point's name and is the word in configuration. `settings` is the model of the plugin's
    variables; `create` gets it validated. `unknown_settle_seconds` is how long after a send without an answer, or
    after the link came back, absence begins to count; `absence_view_seconds` is how far apart two such views must be.
    `call_timeout_seconds` bounds each call of the contract.
    """

    name: str
    settings: type[BrokerSettings]
    create: Callable[[BrokerConfig, Any], Broker]
    capabilities: Capabilities
    unknown_settle_seconds: float
    absence_view_seconds: float = 30.0
    call_timeout_seconds: float = 20.0
