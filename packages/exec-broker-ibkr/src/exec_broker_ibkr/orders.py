"""An order in TWS's words, and what of it IB would not take. Pure.

Crypto currencies have rules of their own (TWS API, "Cryptocurrency"): a market purchase is for an amount of money, a
sale and a limit order for a quantity, all are immediate-or-cancel, and there are no stops.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType
from typing import Final

from exec_core.capabilities import Capabilities, Idempotency
from exec_core.errors import OrderRejected, OrderUnsupported
from exec_core.instruments import AssetClass
from exec_core.money import exact
from exec_core.orders import OrderRequest, OrderType, TimeInForce
from exec_core.sides import Side

from exec_broker_ibkr.messages import TwsOrder
from exec_broker_ibkr.settings import IbkrSettings

TYPES: Final = MappingProxyType(
    {OrderType.MARKET: "MKT", OrderType.LIMIT: "LMT", OrderType.STOP: "STP", OrderType.STOP_LIMIT: "STP LMT"}
)
#: A stock combination that TWS may fill leg by leg must say that this is known.
NON_GUARANTEED: Final = (("NonGuaranteed", "1"),)
#: What has no trading hours of which "outside" would mean something.
_ALWAYS_OPEN: Final = frozenset({AssetClass.FOREX, AssetClass.CRYPTO})
_SHARES: Final = frozenset({AssetClass.STOCK, AssetClass.ETF})
_CENT: Final = Decimal("0.01")


def capabilities() -> Capabilities:
    """What the plugin declares.

    The default time in force is DAY, and IOC for crypto currencies, which know no other.
    """
    return Capabilities(
        order_types=frozenset(OrderType),
        times_in_force=frozenset(TimeInForce),
        asset_classes=frozenset(AssetClass),
        default_time_in_force=TimeInForce.DAY,
        fractional_quantity=frozenset({AssetClass.CRYPTO}),
        cash_quantity=frozenset({AssetClass.CRYPTO, AssetClass.FOREX}),
        cash_only_buys=frozenset({AssetClass.CRYPTO}),
        combinations=True,
        native_brackets=True,
        idempotency=Idempotency.CORRELATES,
    )


def tws_order(request: OrderRequest, ref: str, account: str, settings: IbkrSettings) -> TwsOrder:
    """`request` as TWS gets it, under `ref`; its prices as they are asked for.

    :raises OrderUnsupported: the plugin does not declare it. :raises OrderRejected: IB would refuse it.
    """
    refusal = capabilities().refusal(request)
    if refusal is not None:
        raise OrderUnsupported(refusal, broker="ibkr", client_order_id=ref)
    is_crypto = request.instrument.asset_class is AssetClass.CRYPTO
    if request.legs and request.cash_quantity is not None:
        raise _rejected("a combination is ordered by quantity: cash_quantity has no meaning for it", ref)
    quantity, cash = _crypto_amounts(request, ref) if is_crypto else (request.quantity, request.cash_quantity)
    if cash is not None:
        _check_cents(cash, ref)
    return TwsOrder(
        action=request.side.value,
        order_type=TYPES[request.order_type],
        account=account,
        tif=(request.time_in_force or (TimeInForce.IOC if is_crypto else TimeInForce.DAY)).value,
        order_ref=ref,
        quantity=quantity,
        cash_quantity=cash,
        limit_price=request.limit_price,
        stop_price=request.stop_price,
        outside_rth=settings.outside_rth and request.instrument.asset_class not in _ALWAYS_OPEN,
        routing=NON_GUARANTEED if _is_of_shares(request) else (),
    )


def _is_of_shares(request: OrderRequest) -> bool:
    return bool(request.legs) and all(leg.instrument.asset_class in _SHARES for leg in request.legs)


def _crypto_amounts(request: OrderRequest, ref: str) -> tuple[Decimal | None, Decimal | None]:
    """The quantity and the amount of money that TWS is to get: one of the two."""
    if request.order_type.has_stop:
        raise _rejected(f"IBKR has no {request.order_type} orders for crypto currencies: MARKET and LIMIT only", ref)
    if request.time_in_force not in (None, TimeInForce.IOC):
        raise _rejected(
            f"time_in_force {request.time_in_force} is not possible for crypto currencies at IBKR: say IOC, or "
            f"nothing, which is the same",
            ref,
        )
    if request.side is Side.SELL or request.order_type is OrderType.LIMIT:
        if request.cash_quantity is not None:
            what = "sold" if request.side is Side.SELL else "bought at a limit"
            raise _rejected(f"crypto currencies are {what} by quantity at IBKR: cash_quantity is not possible", ref)
        return request.quantity, None
    return None, request.cash_quantity  # a quantity is refused by the capabilities


def _check_cents(cash: Decimal, ref: str) -> None:
    with exact():
        if cash != cash.quantize(_CENT, ROUND_HALF_UP):
            raise _rejected(f"cash_quantity {cash:f} has more than the two decimals that IBKR takes", ref)


def _rejected(text: str, ref: str) -> OrderRejected:
    return OrderRejected(text, broker="ibkr", client_order_id=ref)
