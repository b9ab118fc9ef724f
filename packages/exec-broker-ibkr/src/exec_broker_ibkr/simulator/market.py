"""The market that trades by itself: what contracts cost, and what trades at that price. It knows no book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Final

from exec_core.money import ZERO, exact

from exec_broker_ibkr.messages import TwsContract
from exec_broker_ibkr.simulator.listing import Listing
from exec_broker_ibkr.simulator.rows import OrderRow

_CASH_STEP: Final = Decimal("0.00000001")
_LEG_STEP: Final = Decimal("0.0001")


@dataclass(slots=True)
class Market:
    """What it costs to trade now. `rests`: nothing trades until somebody says so.

    `fill_after_seconds` is the time before each execution, `parts` into how many an order is split.
    """

    listing: Listing
    rests: bool = False
    fill_after_seconds: float = 0.0
    parts: int = 1
    prices: dict[int, Decimal] = field(default_factory=dict)

    def price(self, contract: TwsContract) -> Decimal | None:
        """The price of a contract: as it was set, else its reference; of a combination, that of its legs together."""
        if contract.sec_type == "BAG":
            known = [(leg, self._price(leg.con_id)) for leg in contract.legs]
            if any(price is None for _, price in known):
                return None
            return sum(((price or ZERO) * leg.ratio * _sign(leg.action) for leg, price in known), ZERO)
        return self._price(contract.con_id)

    def _price(self, con_id: int) -> Decimal | None:
        listed = self.listing.of_con_id(con_id)
        return self.prices.get(con_id, None if listed is None else listed.reference)

    def is_triggered(self, order: OrderRow) -> bool:
        """Whether the market has reached the stop price of an order that waits for it."""
        price = self.price(order.contract)
        return price is not None and order.stop_price is not None and _reaches(price, order.stop_price, order.sign)

    def trades_at(self, order: OrderRow) -> Decimal | None:
        """The price at which an order trades now; None where its limit is not reached."""
        price = self.price(order.contract)
        if price is None or order.order_type in ("MKT", "STP"):
            return price
        if order.limit_price is None or not _reaches(order.limit_price, price, order.sign):
            return None
        return price

    def next_part(self, order: OrderRow, price: Decimal) -> tuple[Decimal, bool]:
        """How much of an order trades next, and whether that is all of it."""
        if order.total_quantity is None:
            with exact():
                return ((order.cash_quantity or ZERO) / price).quantize(_CASH_STEP, ROUND_DOWN), True
        rest = order.remaining
        listed = self.listing.of_con_id(order.contract.con_id)
        step = (listed.details.size_increment if listed else None) or Decimal(1)
        if order.total_quantity == int(order.total_quantity):
            step = max(step, Decimal(1))
        part = max((order.total_quantity / self.parts / step).to_integral_value(ROUND_DOWN) * step, step)
        # The last part takes what the others left: whatever is less than two parts.
        return (rest, True) if rest < 2 * part else (part, False)


def leg_prices(contract: TwsContract, net: Decimal) -> Mapping[int, Decimal]:
    """Prices of a combination's legs, by their place, that come to `net`; none is below zero where that can be."""
    bought = sum(leg.ratio for leg in contract.legs if leg.action == "BUY")
    sold = sum(leg.ratio for leg in contract.legs if leg.action != "BUY")
    with exact():
        if not bought:
            paid, got = ZERO, -net / sold
        elif not sold:
            paid, got = net / bought, ZERO
        else:
            got = Decimal(1) if net + sold > 0 else abs(net) + 1
            paid = (net + got * sold) / bought
        return {
            place: (paid if leg.action == "BUY" else got).quantize(_LEG_STEP, ROUND_HALF_EVEN).normalize() + ZERO
            for place, leg in enumerate(contract.legs)
        }


def _sign(action: str) -> int:
    return 1 if action == "BUY" else -1


def _reaches(price: Decimal, level: Decimal, sign: int) -> bool:
    """Whether `price` is at `level` or beyond it: above to buy, below to sell."""
    return (price - level) * sign >= 0
