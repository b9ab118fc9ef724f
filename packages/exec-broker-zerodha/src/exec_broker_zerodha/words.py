"""Our words and Kite's: tables, and pure functions over them. The only place that knows Kite's spellings of an order.

Sources: the interface's documentation (kite.trade/docs/connect/v3/orders), and the forum where named.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import Any, Final

from exec_core.instruments import AssetClass
from exec_core.money import exact
from exec_core.orders import OrderType, TimeInForce
from exec_core.reports import ReportStatus
from exec_core.sides import Side

from exec_broker_zerodha.figures import text_of

logger = logging.getLogger(__name__)

SHARE_EXCHANGES: Final = ("NSE", "BSE")
#: In the order in which an underlying without an exchange is looked for.
DERIVATIVE_EXCHANGES: Final = ("NFO", "BFO", "MCX", "CDS")
EXCHANGES: Final = (*SHARE_EXCHANGES, *DERIVATIVE_EXCHANGES)
#: There a quantity counts lots, and the list of instruments does not say how much a lot is.
COUNTED_IN_LOTS: Final = frozenset({"MCX", "CDS"})

PRODUCTS: Final = frozenset({"CNC", "MIS", "NRML", "MTF"})
#: Delivery of shares; derivatives are carried forward by NRML.
DELIVERY: Final = frozenset({"CNC", "MTF"})
USUAL_PRODUCTS: Final = MappingProxyType(
    {
        AssetClass.STOCK: "CNC",
        AssetClass.ETF: "CNC",
        AssetClass.OPTION: "NRML",
        AssetClass.FUTURE: "NRML",
    }
)
REGULAR: Final = "regular"
AFTER_MARKET: Final = "amo"
VARIETIES: Final = (REGULAR, AFTER_MARKET)

VALIDITIES: Final = MappingProxyType({TimeInForce.DAY: "DAY", TimeInForce.IOC: "IOC"})
SIDES: Final = MappingProxyType({Side.BUY: "BUY", Side.SELL: "SELL"})
SIDE_OF: Final = MappingProxyType({word: side for side, word in SIDES.items()})

#: No stop-market orders: BSE's segments since 2023-10-09, options on NSE since 2021-09-27.
_NO_STOP_MARKET: Final = frozenset({"BSE", "BFO"})
#: Kite's interface takes no immediate-or-cancel orders there (forum discussion 52316).
_NO_IOC: Final = frozenset({"MCX"})

_STATUSES: Final = MappingProxyType(
    {
        "COMPLETE": ReportStatus.FILLED,
        "REJECTED": ReportStatus.REJECTED,
        "CANCELLED": ReportStatus.CANCELLED,
        "CANCEL": ReportStatus.CANCELLED,  # so in the documentation of postbacks
        "TRIGGER PENDING": ReportStatus.HELD,
        "AMO REQ RECEIVED": ReportStatus.HELD,
    }
)
#: On its way, resting, being modified or cancelled: all of them can still trade.
_LIVE: Final = frozenset(
    {
        "OPEN",
        "PUT ORDER REQ RECEIVED",
        "VALIDATION PENDING",
        "OPEN PENDING",
        "MODIFY VALIDATION PENDING",
        "MODIFY PENDING",
        "MODIFIED",
        "NOT MODIFIED",
        "CANCEL PENDING",
        "NOT CANCELLED",
        "UPDATE",
    }
)
ENDED: Final = frozenset({ReportStatus.FILLED, ReportStatus.REJECTED, ReportStatus.CANCELLED, ReportStatus.EXPIRED})


def status_of(word: Any) -> ReportStatus:
    """What Kite's word means; "there may be other values as well", and those never mean an end."""
    known = str(word).strip().upper()
    status = _STATUSES.get(known)
    if status is None:
        if known not in _LIVE:
            logger.warning("Kite says %r of an order, which is not documented: it counts as working", known)
        return ReportStatus.WORKING
    return status


def has_stop_market(exchange: str, asset_class: AssetClass) -> bool:
    """Whether the exchange takes SL-M orders for this kind of instrument."""
    return exchange not in _NO_STOP_MARKET and not (exchange == "NFO" and asset_class is AssetClass.OPTION)


def has_ioc(exchange: str) -> bool:
    """Whether the exchange takes immediate-or-cancel orders from Kite's interface."""
    return exchange not in _NO_IOC


def fits(product: str, exchange: str) -> bool:
    """Whether the product exists for what is traded on the exchange."""
    if product == "MIS":
        return True
    return (product in DELIVERY) == (exchange in SHARE_EXCHANGES)


@dataclass(frozen=True, slots=True)
class Priced:
    """An order's type and prices in Kite's words."""

    order_type: str
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    needs_protection: bool = False


def priced(
    order_type: OrderType,
    side: Side,
    limit: Decimal | None,
    stop: Decimal | None,
    *,
    stop_market: bool,
    offset: Decimal,
    tick: Decimal,
) -> Priced:
    """Kite's type and prices for ours. MARKET and SL-M need a protection, without which they are refused since
    2026-04-01 (forum discussion 52316); a stop where there is no SL-M becomes SL with a limit beyond its trigger."""
    match order_type:
        case OrderType.MARKET:
            return Priced("MARKET", needs_protection=True)
        case OrderType.LIMIT:
            return Priced("LIMIT", limit)
        case OrderType.STOP_LIMIT:
            return Priced("SL", limit, stop)
        case OrderType.STOP:
            if stop is None:
                raise ValueError("a stop order needs a stop price")
            if stop_market:
                return Priced("SL-M", None, stop, needs_protection=True)
            return Priced("SL", beyond(stop, side, offset, tick), stop)


def beyond(stop: Decimal, side: Side, offset: Decimal, tick: Decimal) -> Decimal:
    """The limit that lies a fraction beyond the trigger, on a tick, at least one away, and above zero."""
    with exact():
        away = max(stop * offset, tick)
        rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
        limit = ((stop + side.sign * away) / tick).to_integral_value(rounding) * tick
        return max(limit, tick)


@dataclass(frozen=True, slots=True)
class KiteOrder:
    """One order as it goes over the wire; `parameters` are the fields of Kite's form."""

    variety: str
    exchange: str
    tradingsymbol: str
    transaction_type: str
    quantity: int
    product: str
    validity: str
    tag: str
    terms: Priced
    market_protection: Decimal

    @property
    def parameters(self) -> dict[str, Any]:
        """What the library's `place_order` is called with: figures as text, so that nothing becomes a float."""
        found: dict[str, Any] = {
            "variety": self.variety,
            "exchange": self.exchange,
            "tradingsymbol": self.tradingsymbol,
            "transaction_type": self.transaction_type,
            "quantity": self.quantity,
            "product": self.product,
            "order_type": self.terms.order_type,
            "validity": self.validity,
            "tag": self.tag,
        }
        if self.terms.price is not None:
            found["price"] = text_of(self.terms.price)
        if self.terms.trigger_price is not None:
            found["trigger_price"] = text_of(self.terms.trigger_price)
        if self.terms.needs_protection:
            found["market_protection"] = text_of(self.market_protection)
        return found
