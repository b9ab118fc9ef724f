"""What TWS is told, out of our records into the client library's objects. Pure, and the same for both libraries.

Quantities and prices are handed over as plain text: both libraries write text as it is, while a float would lose
digits and a `Decimal` may be written with an exponent. What is not set stays at the library's own default, which it
writes as "not set".
"""

from __future__ import annotations

from decimal import Decimal
from types import ModuleType
from typing import Any

from exec_broker_ibkr.figures import plain
from exec_broker_ibkr.messages import TwsContract, TwsLeg, TwsOrder


def contract(sdk: ModuleType, told: TwsContract) -> Any:
    """The library's contract.

    :raises ValueError: a text in it contains NUL, which would shift all later fields of the message.
    """
    made = sdk.Contract(
        secType=_clean(told.sec_type),
        symbol=_clean(told.symbol),
        conId=told.con_id,
        lastTradeDateOrContractMonth=_clean(told.expiry),
        strike=plain(told.strike, "0"),
        right=_clean(told.right),
        multiplier=plain(told.multiplier),
        exchange=_clean(told.exchange),
        primaryExchange=_clean(told.primary_exchange),
        currency=_clean(told.currency),
        localSymbol=_clean(told.local_symbol),
        tradingClass=_clean(told.trading_class),
    )
    made.comboLegs = [_leg(sdk, leg) for leg in told.legs]
    return made


def order(sdk: ModuleType, told: TwsOrder) -> Any:
    """The library's order.

    :raises ValueError: it has neither a quantity nor an amount of cash, a figure in it is not finite, or a text in it
        contains NUL.
    """
    if told.quantity is None and told.cash_quantity is None:
        raise ValueError("an order needs a quantity or an amount of cash")
    made = sdk.Order(
        action=_clean(told.action),
        orderType=_clean(told.order_type),
        account=_clean(told.account),
        tif=_clean(told.tif),
        orderRef=_clean(told.order_ref),
        # Orders by cash carry 0 here; TWS refuses those that carry both figures (code 10293).
        totalQuantity=_finite(told.quantity if told.quantity is not None else Decimal(0)),
        transmit=told.transmit,
        parentId=told.parent_id,
        ocaGroup=_clean(told.oca_group),
        ocaType=told.oca_type,
        outsideRth=told.outside_rth,
    )
    if told.cash_quantity is not None:
        made.cashQty = _finite(told.cash_quantity)
    if told.limit_price is not None:
        made.lmtPrice = _finite(told.limit_price)
    if told.stop_price is not None:
        made.auxPrice = _finite(told.stop_price)
    made.smartComboRoutingParams = [sdk.TagValue(_clean(tag), _clean(value)) for tag, value in told.routing]
    return made


def _leg(sdk: ModuleType, leg: TwsLeg) -> Any:
    return sdk.ComboLeg(conId=leg.con_id, ratio=leg.ratio, action=_clean(leg.action), exchange=_clean(leg.exchange))


def _finite(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} is no figure for an order")
    return plain(value)


def _clean(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{text!r} contains NUL")
    return text
