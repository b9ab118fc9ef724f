"""An order with its stop and target as IB attaches them: the parent, and children that work once it is filled. Pure.

(TWS API, "Bracket Orders".) TWS holds back everything until the last of them, which alone says "transmit". Children
are of the other side, for the same quantity, and stay until they are cancelled: one that ended with the day would
leave the position without its stop. TWS makes the two cancel each other by itself.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from exec_core.errors import OrderRejected, OrderUnsupported
from exec_core.orders import TimeInForce

from exec_broker_ibkr.messages import TwsOrder

STOP_SUFFIX: Final = "-sl"
TARGET_SUFFIX: Final = "-tp"
_OPPOSITE: Final = {"BUY": "SELL", "SELL": "BUY"}


@dataclass(frozen=True, slots=True)
class Bracket:
    """What is to be sent, in this order, each under its order id: first the parent, last the one that transmits."""

    parent: tuple[int, TwsOrder]
    stop: tuple[int, TwsOrder] | None
    target: tuple[int, TwsOrder] | None

    @property
    def orders(self) -> tuple[tuple[int, TwsOrder], ...]:
        """All of it."""
        return tuple(one for one in (self.parent, self.stop, self.target) if one is not None)


def bracket(
    parent: TwsOrder, order_ids: tuple[int, ...], *, stop: Decimal | None = None, target: Decimal | None = None
) -> Bracket:
    """`parent` with a stop at `stop` and a target at `target` (one of them may be None), on the venue's price steps.

    `order_ids`: the parent's, then the stop's, then the target's; each must be above the one before.

    :raises OrderRejected: stop and target are on the wrong sides of each other or of the limit.
    :raises OrderUnsupported: there is no quantity that children could have.
    :raises ValueError: the order ids do not fit.
    """
    wanted = [("STP", STOP_SUFFIX, stop)] if stop is not None else []
    wanted += [("LMT", TARGET_SUFFIX, target)] if target is not None else []
    if len(order_ids) != len(wanted) + 1 or list(order_ids) != sorted(set(order_ids)):
        raise ValueError(f"{len(wanted) + 1} rising order ids are needed, got {order_ids}")
    if not wanted:
        raise ValueError("a bracket needs a stop or a target")
    if parent.quantity is None:
        raise OrderUnsupported(
            "stop_loss and take_profit need an order for a quantity: of an amount of money it is not known what they "
            "are for",
            broker="ibkr",
            client_order_id=parent.order_ref,
        )
    _check_sides(parent, stop, target)
    children: dict[str, tuple[int, TwsOrder]] = {}
    for number, (order_type, suffix, price) in enumerate(wanted, start=1):
        child = TwsOrder(
            action=_OPPOSITE[parent.action],
            order_type=order_type,
            account=parent.account,
            tif=TimeInForce.GTC.value,
            order_ref=f"{parent.order_ref}{suffix}",
            quantity=parent.quantity,
            limit_price=price if order_type == "LMT" else None,
            stop_price=price if order_type == "STP" else None,
            transmit=number == len(wanted),
            parent_id=order_ids[0],
            outside_rth=parent.outside_rth,
            routing=parent.routing,
        )
        children[suffix] = (order_ids[number], child)
    first = (order_ids[0], replace(parent, transmit=False))
    return Bracket(first, children.get(STOP_SUFFIX), children.get(TARGET_SUFFIX))


def _check_sides(parent: TwsOrder, stop: Decimal | None, target: Decimal | None) -> None:
    """A purchase has its stop below and its target above; a sale the reverse. Else they would fill at once."""
    rising = [("stop_loss", stop), ("limit_price", parent.limit_price), ("take_profit", target)]
    known = [(name, price) for name, price in rising if price is not None]
    if parent.action == "SELL":
        known.reverse()
    for (lower, low), (higher, high) in itertools.pairwise(known):
        if low >= high:
            raise OrderRejected(
                f"{lower} {low:f} must be below {higher} {high:f} for a {parent.action}",
                broker="ibkr",
                client_order_id=parent.order_ref,
            )
