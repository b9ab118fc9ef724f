"""How an order is put to people: its amount, instrument, fills and average, from whatever is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from exec_core.instruments import AssetClass, Instrument
from exec_core.orders import Order, OrderRequest

from exec_service.fields import currency_of
from exec_service.formats import average_of, format_price, format_quantity, format_total


def instrument_name(request: OrderRequest) -> str:
    """``SPY``, ``SPX 20251219 5900 C``, ``ES 202512``, ``SPX combination of 4 legs``."""
    if request.legs:
        return f"{request.instrument.symbol} combination of {len(request.legs)} legs"
    return contract_name(request.instrument)


def contract_name(instrument: Instrument) -> str:
    """The same of an instrument alone."""
    if instrument.asset_class not in (AssetClass.OPTION, AssetClass.FUTURE):
        return instrument.symbol
    strike = None if instrument.strike is None else format_quantity(instrument.strike)
    parts = (instrument.symbol, instrument.expiry, strike, instrument.right)
    return " ".join(str(part) for part in parts if part is not None)


def asked_amount(order: Order) -> str:
    """``100``; of a cash order ``$500.00 of``."""
    request = order.request
    if request.cash_quantity is not None:
        return f"{format_total(request.cash_quantity, currency_of(order))} of"
    return format_quantity(request.quantity) if request.quantity is not None else "?"


def asked_order(order: Order) -> str:
    """``BUY 100 SPY``."""
    return f"{order.request.side} {asked_amount(order)} {instrument_name(order.request)}"


def readable_order(known: Mapping[str, Any]) -> str | None:
    """The same of a message that is no order: with ``?`` for what could not be read, None if that is everything."""
    quantity, cash = known.get("quantity"), known.get("cash_quantity")
    amount = "?"
    if isinstance(quantity, Decimal):
        amount = format_quantity(quantity)
    elif isinstance(cash, Decimal):
        amount = f"{format_price(cash, None)} of"
    side, symbol = known.get("side"), known.get("symbol")
    if side is None and symbol is None and amount == "?":
        return None
    return f"{side or '?'} {amount} {symbol or '?'}"


def filled_of(order: Order) -> str:
    """``50/100``; of a cash order, whose quantity nobody knows yet, only what is filled."""
    done = format_quantity(order.filled_quantity)
    return done if order.quantity is None else f"{done}/{format_quantity(order.quantity)}"


def average_price(order: Order) -> str:
    """``$235.15``."""
    average = average_of(order)
    return "an unknown price" if average is None else format_price(average, currency_of(order))
