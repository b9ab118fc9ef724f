"""What a client of TWS asks for, as frozen records: what `inbound` makes of its messages. Figures are `Decimal`."""

from __future__ import annotations

from dataclasses import dataclass

from exec_broker_ibkr.messages import TwsContract, TwsOrder


@dataclass(frozen=True, slots=True)
class StartApi:
    """The client says who it is."""

    client_id: int


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """Place an order, or modify the open one that this client has under that id."""

    order_id: int
    contract: TwsContract
    order: TwsOrder


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Cancel this client's order."""

    order_id: int


@dataclass(frozen=True, slots=True)
class GlobalCancel:
    """Cancel everything."""


@dataclass(frozen=True, slots=True)
class OpenOrders:
    """The open orders of this client."""


@dataclass(frozen=True, slots=True)
class AllOpenOrders:
    """The open orders of all clients, and those entered by hand."""


@dataclass(frozen=True, slots=True)
class AutoOpenOrders:
    """Bind orders entered by hand to client 0."""

    bind: bool


@dataclass(frozen=True, slots=True)
class CompletedOrders:
    """Today's orders that have ended."""

    api_only: bool


@dataclass(frozen=True, slots=True)
class Executions:
    """Today's executions that fit the filter; empty and 0 fit all."""

    request_id: int
    client_id: int = 0
    account: str = ""
    time: str = ""
    symbol: str = ""
    sec_type: str = ""
    exchange: str = ""
    side: str = ""


@dataclass(frozen=True, slots=True)
class ContractDetails:
    """The contracts that fit a query."""

    request_id: int
    contract: TwsContract


@dataclass(frozen=True, slots=True)
class MarketRule:
    """The rows of a market rule."""

    rule_id: int


@dataclass(frozen=True, slots=True)
class CurrentTime:
    """What time it is."""


@dataclass(frozen=True, slots=True)
class NextIds:
    """The next valid order id."""


@dataclass(frozen=True, slots=True)
class ManagedAccounts:
    """The accounts."""


@dataclass(frozen=True, slots=True)
class Positions:
    """All positions, and their changes from then on until `CancelPositions`."""


@dataclass(frozen=True, slots=True)
class CancelPositions:
    """No more changes of positions."""


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """Figures of the accounts, and their changes until `CancelAccountSummary`."""

    request_id: int
    group: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CancelAccountSummary:
    """No more changes of that summary."""

    request_id: int


@dataclass(frozen=True, slots=True)
class AccountUpdates:
    """Subscribe to one account's figures and portfolio (what the libraries' own ``connectAsync`` asks for)."""

    subscribe: bool
    account: str


@dataclass(frozen=True, slots=True)
class AccountUpdatesMulti:
    """The same for several accounts."""

    request_id: int
    account: str


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A message that this simulator does not know: it answers nothing, and counts it."""

    fields: tuple[str, ...]


Request = (
    StartApi
    | PlaceOrder
    | CancelOrder
    | GlobalCancel
    | OpenOrders
    | AllOpenOrders
    | AutoOpenOrders
    | CompletedOrders
    | Executions
    | ContractDetails
    | MarketRule
    | CurrentTime
    | NextIds
    | ManagedAccounts
    | Positions
    | CancelPositions
    | AccountSummary
    | CancelAccountSummary
    | AccountUpdates
    | AccountUpdatesMulti
    | NotUnderstood
)
