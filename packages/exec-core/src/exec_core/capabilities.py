"""What a broker plugin declares it can do. What is not declared is refused before the adapter sees it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Final

from exec_core.instruments import AssetClass
from exec_core.money import exact
from exec_core.orders import OrderRequest, OrderType, TimeInForce
from exec_core.sides import Side

_CENT: Final = Decimal("0.01")


class Idempotency(StrEnum):
    """What the venue does with a client order id that it has seen before."""

    DEDUPLICATES = "DEDUPLICATES"
    """It answers with the first order."""
    CORRELATES = "CORRELATES"
    """It keeps the id, so that the order can be found; a second send is a second order."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Declared data, checked by `refusal` for each order and by the conformance kit for each plugin.

    `cash_only_buys` are the kinds of which the venue sells at the market only for an amount of money; they are among
    those of `cash_quantity`.
    """

    order_types: frozenset[OrderType]
    times_in_force: frozenset[TimeInForce]
    asset_classes: frozenset[AssetClass]
    default_time_in_force: TimeInForce = TimeInForce.DAY
    fractional_quantity: frozenset[AssetClass] = field(default_factory=frozenset)
    cash_quantity: frozenset[AssetClass] = field(default_factory=frozenset)
    cash_only_buys: frozenset[AssetClass] = field(default_factory=frozenset)
    combinations: bool = False
    native_brackets: bool = False
    idempotency: Idempotency = Idempotency.CORRELATES

    def as_taken(self, request: OrderRequest) -> OrderRequest:
        """The request as the venue takes it: a quantity that it sells for money only becomes quantity x price.

        Rounded to cents. Without a reference price it stays as it is, for `refusal` to refuse.
        """
        if not self._lacks_money(request) or request.quantity is None or request.reference_price is None:
            return request
        with exact():
            money = (request.quantity * request.reference_price).quantize(_CENT, ROUND_HALF_UP)
        return replace(request, quantity=None, cash_quantity=money) if money > 0 else request

    def _lacks_money(self, request: OrderRequest) -> bool:
        return (
            request.instrument.asset_class in self.cash_only_buys
            and request.order_type is OrderType.MARKET
            and request.side is Side.BUY
            and request.cash_quantity is None
            and not request.legs
        )

    def refusal(self, request: OrderRequest) -> str | None:
        """Why the plugin cannot take `request`, in one sentence that names the field; None if it can."""
        asset_class = request.instrument.asset_class
        if request.order_type not in self.order_types:
            return f"order_type {request.order_type} is not supported; supported: {_names(self.order_types)}"
        if request.time_in_force is not None and request.time_in_force not in self.times_in_force:
            return f"time_in_force {request.time_in_force} is not supported; supported: {_names(self.times_in_force)}"
        if asset_class not in self.asset_classes:
            return f"instrument_type {asset_class} is not supported; supported: {_names(self.asset_classes)}"
        if request.legs and not self.combinations:
            return "legs are not supported: combinations cannot be sent as one order"
        if request.cash_quantity is not None and asset_class not in self.cash_quantity:
            return f"cash_quantity is not supported for {asset_class}; give a quantity"
        if self._lacks_money(request):
            return (
                f"quantity is not possible for a {request.order_type} order that buys {asset_class}: give a "
                "cash_quantity, or a price from which quantity x price is taken"
            )
        quantity = request.quantity
        if quantity is not None and quantity != quantity.to_integral_value():
            if asset_class not in self.fractional_quantity:
                return f"quantity {quantity} must be a whole number for {asset_class}"
        return None


def _names(values: frozenset[OrderType] | frozenset[TimeInForce] | frozenset[AssetClass]) -> str:
    return ", ".join(sorted(value.value for value in values))
