"""Prices on the steps that the venue trades in: checked, or rounded where the settings say so. Pure.

A step depends on the price where a market rule says so (TWS API, "Minimum Price Increment"): from a row's low edge on,
its increment counts. TWS refuses a price between two steps (error 110).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

from exec_core.errors import OrderRejected
from exec_core.money import exact

from exec_broker_ibkr.messages import PriceStep


def increment_at(price: Decimal, steps: Sequence[PriceStep]) -> Decimal | None:
    """The step that counts at `price` (of a negative one: at its amount); None where no step is told."""
    known = sorted((step for step in steps if step.increment > 0), key=lambda step: step.low_edge)
    below = [step.increment for step in known if step.low_edge <= abs(price)]
    return below[-1] if below else known[0].increment if known else None


def priced(price: Decimal, steps: Sequence[PriceStep], *, round_: bool, name: str = "price") -> Decimal:
    """`price` if it is on a step, the nearest one that is if it is to be rounded.

    :raises OrderRejected: it is between two steps, or rounding would make nothing of it.
    """
    increment = increment_at(price, steps)
    if increment is None:
        return price
    with exact():
        nearest = (price / increment).to_integral_value(ROUND_HALF_EVEN) * increment
    if nearest == price:
        return price
    if not round_:
        raise OrderRejected(
            f"{name} {price:f} is not a multiple of {increment:f}, the smallest price step there: give one, or set "
            f"IBKR_ROUND_PRICES",
            broker="ibkr",
        )
    if not nearest:
        raise OrderRejected(
            f"{name} {price:f} is less than half of the smallest price step, {increment:f}", broker="ibkr"
        )
    # Rounded up over an edge, it must be on the coarser steps beyond it.
    beyond = increment_at(nearest, steps)
    if beyond is not None and beyond != increment and abs(nearest) > abs(price):
        return priced(nearest, steps, round_=True, name=name)
    return nearest
