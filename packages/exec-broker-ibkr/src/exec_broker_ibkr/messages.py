"""What TWS tells and is told, as frozen records of ours: TWS's own words, but `Decimal` figures and aware UTC times.

They know neither the client library (`reading` makes them from its objects) nor the core's domain. What TWS leaves
unset, in whichever of its spellings (empty, 1.797e308, 2147483647), is None here. The simulator encodes the same
records for the other end of the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

#: The request id of an error that is about no request and no order.
NO_REQUEST: Final = -1
#: The ids that TWS gives what it knows no id of: of a manual order, of a completed one.
NO_ORDER_ID: Final = 0


@dataclass(frozen=True, slots=True)
class TwsLeg:
    """One leg of a combination: `ratio` contracts of `con_id` each time the combination is bought."""

    con_id: int
    ratio: int
    action: str
    exchange: str


@dataclass(frozen=True, slots=True)
class TwsContract:
    """A contract in TWS's words. Empty text and 0 mean "not said"; a query leaves out what it does not know.

    `sec_type` is STK, OPT, FUT, CASH, CRYPTO or BAG (TWS has more); `expiry` is ``YYYYMMDD`` or ``YYYYMM``
    (``lastTradeDateOrContractMonth``); `right` is C, P or empty.
    """

    sec_type: str
    symbol: str = ""
    con_id: int = 0
    expiry: str = ""
    strike: Decimal | None = None
    right: str = ""
    multiplier: Decimal | None = None
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    trading_class: str = ""
    legs: tuple[TwsLeg, ...] = ()


@dataclass(frozen=True, slots=True)
class TwsOrder:
    """An order as it is handed to TWS. `quantity` None goes with `cash_quantity`; prices None are not sent.

    `routing` are the smart routing parameters of a combination, e.g. ``(("NonGuaranteed", "1"),)``.
    """

    action: str
    order_type: str
    account: str
    tif: str
    order_ref: str
    quantity: Decimal | None = None
    cash_quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    transmit: bool = True
    parent_id: int = 0
    oca_group: str = ""
    oca_type: int = 0
    outside_rth: bool = False
    routing: tuple[tuple[str, str], ...] = ()


# What TWS tells


@dataclass(frozen=True, slots=True)
class OrderShown:
    """``openOrder``: one order that is open, or that has just changed. `perm_id` 0: not confirmed by IB yet."""

    order_id: int
    client_id: int
    perm_id: int
    order_ref: str
    account: str
    contract: TwsContract
    action: str
    order_type: str
    tif: str
    status: str
    total_quantity: Decimal | None = None
    cash_quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    parent_id: int = 0
    warning: str = ""


@dataclass(frozen=True, slots=True)
class StatusTold:
    """``orderStatus``."""

    order_id: int
    client_id: int
    perm_id: int
    status: str
    filled: Decimal
    remaining: Decimal
    average_price: Decimal | None = None
    why_held: str = ""


@dataclass(frozen=True, slots=True)
class ExecutionTold:
    """``execDetails``. `execution_id` is TWS's whole id, with the number of the correction as its last part."""

    order_id: int
    client_id: int
    perm_id: int
    order_ref: str
    account: str
    contract: TwsContract
    execution_id: str
    side: str
    quantity: Decimal
    price: Decimal
    time: datetime
    cumulative_quantity: Decimal | None = None
    average_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CommissionTold:
    """``commissionReport``; `execution_id` is TWS's whole id. `commission` None: TWS sent one that is none."""

    execution_id: str
    commission: Decimal | None
    currency: str


@dataclass(frozen=True, slots=True)
class ErrorTold:
    """``error``: about the order or the request with that id, or about neither (`NO_REQUEST`)."""

    request_id: int
    code: int
    text: str
    advanced: str = ""


@dataclass(frozen=True, slots=True)
class CompletedShown:
    """``completedOrder``: an order of today that has ended. TWS tells neither its order id nor its client here.

    `completed_status` is TWS's sentence about how it ended, e.g. ``Cancelled by Trader``; `filled` is what it holds
    in its field for that.
    """

    perm_id: int
    order_ref: str
    account: str
    contract: TwsContract
    action: str
    order_type: str
    tif: str
    status: str
    total_quantity: Decimal | None = None
    filled: Decimal | None = None
    cash_quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    completed_time: str = ""
    completed_status: str = ""


@dataclass(frozen=True, slots=True)
class PositionTold:
    """``position``: `average_cost` is per contract, multiplier and commission included."""

    account: str
    contract: TwsContract
    quantity: Decimal
    average_cost: Decimal | None


@dataclass(frozen=True, slots=True)
class AccountValueTold:
    """``accountSummary``: one figure of one account."""

    account: str
    tag: str
    value: str
    currency: str


@dataclass(frozen=True, slots=True)
class DetailsTold:
    """``contractDetails``: one contract that fits a query.

    `market_rules` maps an exchange to its rule's number; `contract_month` is ``YYYYMM``, which for some futures is
    not the month of their last trading day.
    """

    contract: TwsContract
    min_tick: Decimal | None
    market_rules: tuple[tuple[str, int], ...] = ()
    size_increment: Decimal | None = None
    min_size: Decimal | None = None
    stock_type: str = ""
    long_name: str = ""
    contract_month: str = ""
    price_magnifier: int = 1
    under_con_id: int = 0


@dataclass(frozen=True, slots=True)
class PriceStep:
    """One row of a market rule: from `low_edge` on, prices are multiples of `increment`."""

    low_edge: Decimal
    increment: Decimal


Told = OrderShown | StatusTold | ExecutionTold | CommissionTold | ErrorTold | CompletedShown
"""What TWS tells about orders, asked or not."""
