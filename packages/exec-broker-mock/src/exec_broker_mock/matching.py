"""The rules of the market: pure decisions about one order at one price. It knows no book and no clock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from functools import lru_cache
from typing import Final

from exec_core.instruments import AssetClass, Instrument, InstrumentDetails
from exec_core.money import ZERO, exact
from exec_core.orders import OrderRequest, OrderType, TimeInForce
from exec_core.reports import ReportStatus
from exec_core.sides import Side

from exec_broker_mock.rows import OrderRow

ONE: Final = Decimal(1)
DEFAULT_PRICE: Final = Decimal(100)
PRICE_INCREMENT: Final = Decimal("0.01")
CASH_INCREMENT: Final = Decimal("0.00000001")
QUANTITY_INCREMENTS: Final[Mapping[AssetClass, Decimal]] = {
    AssetClass.STOCK: ONE,
    AssetClass.ETF: ONE,
    AssetClass.OPTION: ONE,
    AssetClass.FUTURE: ONE,
    AssetClass.FOREX: Decimal("0.01"),
    AssetClass.CRYPTO: CASH_INCREMENT,
}
REJECTIONS: Final = (
    "Insufficient margin",
    "Market closed",
    "Invalid symbol",
    "No trading permission for this instrument",
    "Price outside of the allowed band",
    "Order size exceeds the allowed maximum",
    "Instrument is halted",
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the venue refuses an order; `late` = it accepts it first and reports the rejection afterwards."""

    reason: str
    late: bool


def rejection(seed: int, client_order_id: str, probability: float) -> Rejection | None:
    """Whether the order is refused: a digest of seed and id decides, so that neither order nor restarts matter."""
    digest = hashlib.sha256(f"{seed}:{client_order_id}".encode()).digest()
    if int.from_bytes(digest[:8], "big") / 2**64 >= probability:
        return None
    reason = REJECTIONS[int.from_bytes(digest[8:12], "big") % len(REJECTIONS)]
    return Rejection(reason, late=bool(digest[12] % 2))


def arrival_price(request: OrderRequest, quote: Decimal | None, configured: Mapping[str, Decimal]) -> Decimal:
    """The price for an order that comes now; `quote` is what was last set for its symbol at the venue."""
    seen = request.reference_price
    candidates = (
        seen if seen is not None and seen > 0 else None,
        quote,
        configured.get(request.instrument.symbol),
        request.limit_price,
        request.stop_price,
    )
    return next((price for price in candidates if price is not None), DEFAULT_PRICE)


def first_status(request: OrderRequest, price: Decimal) -> ReportStatus:
    """HELD for an order whose trigger has not come, else WORKING."""
    if request.stop_price is None or _reached(request.side, request.stop_price, price):
        return ReportStatus.WORKING
    return ReportStatus.HELD


def is_triggered(order: OrderRow, price: Decimal) -> bool:
    """Whether `price` is at or through the stop."""
    return order.stop_price is None or _reached(order.side, order.stop_price, price)


def _reached(side: Side, stop: Decimal, price: Decimal) -> bool:
    return price >= stop if side is Side.BUY else price <= stop


def is_fillable(order: OrderRow, price: Decimal) -> bool:
    """Whether an order that works can trade at `price`: never worse than its limit."""
    if order.status is not ReportStatus.WORKING or order.doom is not None:
        return False
    if order.limit_price is None:
        return True
    return price <= order.limit_price if order.side is Side.BUY else price >= order.limit_price


def bought_for(cash: Decimal, price: Decimal) -> Decimal:
    """How much an amount of money buys, rounded down; nothing where the price makes no sense."""
    if price <= 0:
        return ZERO
    with exact():
        return (cash / price).quantize(CASH_INCREMENT, ROUND_DOWN)


def next_slice(order: OrderRow, price: Decimal) -> Decimal:
    """The quantity of the order's next fill; zero where nothing is left to fill. Never a slice of zero before that."""
    slices = max(order.slices - order.fill_count, 1)
    with exact():
        if order.cash_quantity is not None:
            left = order.cash_quantity - order.spent
            return bought_for(left / slices, price) or bought_for(left, price)
        remaining = order.remaining_quantity or ZERO
        unit = _unit(remaining, order.instrument.asset_class)
        part = (remaining / slices).quantize(unit, ROUND_DOWN)
        return part or min(unit, remaining)


def is_last_slice(order: OrderRow) -> bool:
    """Whether the order, as it stands after a fill, is complete."""
    if order.cash_quantity is not None:
        return order.fill_count >= order.slices
    return not order.remaining_quantity


def _unit(quantity: Decimal, asset_class: AssetClass) -> Decimal:
    """The step in which `quantity` is divided: whole where it is whole."""
    if quantity == quantity.to_integral_value():
        return ONE
    increment = QUANTITY_INCREMENTS[asset_class]
    if quantity % increment == 0:
        return increment
    return Decimal((0, (1,), int(quantity.as_tuple().exponent)))


def unfilled_reason(order: OrderRow) -> str | None:
    """Why an immediate-or-cancel order ends now, if it is one."""
    if order.time_in_force is not TimeInForce.IOC:
        return None
    if order.status is ReportStatus.HELD:
        return "Immediate-or-cancel: its stop was not reached at once"
    if order.remaining_quantity is None:
        return "Immediate-or-cancel: not all of the amount could be spent at once"
    return f"Immediate-or-cancel: {order.remaining_quantity} of {order.quantity} could not be filled at once"


@lru_cache(maxsize=4096)
def instrument_details(instrument: Instrument, currency: str) -> InstrumentDetails:
    """What this venue's contract says of the instrument."""
    return InstrumentDetails(
        multiplier=instrument.multiplier_or_default(),
        price_increment=PRICE_INCREMENT,
        quantity_increment=QUANTITY_INCREMENTS[instrument.asset_class],
        currency=currency,
    )


def validity_problem(request: OrderRequest, price: Decimal) -> str | None:
    """Why no venue could execute the order at all; None if it can."""
    if not price.is_finite() or (price <= 0 and request.cash_quantity is not None):
        return f"Invalid price: {price}"
    if request.cash_quantity is not None and request.order_type is OrderType.MARKET:
        if not bought_for(request.cash_quantity, price):
            return f"The amount {request.cash_quantity} buys less than the smallest quantity at {price}"
    return None
