"""The parameters of an order as they come in, checked as Kite checks them before its order management sees them.

What is refused here has no order id and is not in the book.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Final

from exec_broker_zerodha.simulator.catalogue import EXCHANGES, Catalogue, Listed
from exec_broker_zerodha.simulator.refusals import NO_PROTECTION, bad_input

VARIETIES: Final = ("regular", "amo")
SIDES: Final = ("BUY", "SELL")
TYPES: Final = ("MARKET", "LIMIT", "SL", "SL-M")
VALIDITIES: Final = ("DAY", "IOC", "TTL")
_CASH_EXCHANGES: Final = ("NSE", "BSE")
_CASH_PRODUCTS: Final = ("CNC", "MIS", "MTF")
_DERIVATIVE_PRODUCTS: Final = ("NRML", "MIS")
_LONGEST_TAG: Final = 20
#: What "automatic" comes to (kiteconnect-mocks, orders.json: ``mktp:2.00``).
AUTOMATIC_PROTECTION: Final = Decimal(2)
_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Terms:
    """What an order is to be worked on. `protection` is a percentage, for MARKET and SL-M only."""

    listed: Listed
    variety: str
    side: str
    product: str
    order_type: str
    validity: str
    validity_ttl: int
    quantity: int
    disclosed_quantity: int
    price: Decimal
    trigger_price: Decimal
    protection: Decimal | None
    tag: str | None


def place_terms(variety: str, form: Mapping[str, str], catalogue: Catalogue, *, checks_triggers: bool) -> Terms:
    """The terms of a new order. :raises Refusal: they cannot be."""
    if variety not in VARIETIES:
        raise bad_input("Invalid `variety`.")
    listed = _listed(form, catalogue)
    product = _word(form, "product", _CASH_PRODUCTS if listed.exchange in _CASH_EXCHANGES else _DERIVATIVE_PRODUCTS)
    order_type = _word(form, "order_type", TYPES)
    validity = _word(form, "validity", VALIDITIES, "DAY")
    if validity == "IOC" and listed.exchange == "MCX":
        raise bad_input("IOC orders are not allowed for MCX via API.")
    terms = Terms(
        listed=listed,
        variety=variety,
        side=_word(form, "transaction_type", SIDES),
        product=product,
        order_type=order_type,
        validity=validity,
        validity_ttl=_whole(form, "validity_ttl") if validity == "TTL" else 0,
        quantity=_whole(form, "quantity"),
        disclosed_quantity=_whole(form, "disclosed_quantity", 0),
        price=_figure(form, "price") if order_type in ("LIMIT", "SL") else _ZERO,
        trigger_price=_figure(form, "trigger_price") if order_type in ("SL", "SL-M") else _ZERO,
        protection=_protection(form) if order_type in ("MARKET", "SL-M") else None,
        tag=_tag(form),
    )
    check_figures(terms, checks_triggers=checks_triggers)
    return terms


def check_figures(terms: Terms, *, checks_triggers: bool) -> None:
    """Lots, ticks and what the exchange takes at most. :raises Refusal: a figure cannot be."""
    listed = terms.listed
    if terms.quantity <= 0:
        raise bad_input("Invalid `quantity`.")
    if terms.quantity % listed.step:
        raise bad_input(f"Quantity should be in multiple of the lot size {listed.step}.")
    if terms.quantity > listed.freeze:
        raise bad_input(
            f"Your order quantity of {terms.quantity} is higher than the maximum quantity of {listed.freeze} "
            f"({listed.freeze // listed.step} lots) allowed by the exchanges for a single order."
        )
    if terms.order_type in ("LIMIT", "SL"):
        _check_price(listed, "price", terms.price)
    if terms.order_type in ("SL", "SL-M"):
        _check_price(listed, "trigger_price", terms.trigger_price)
    if checks_triggers and terms.order_type == "SL":
        if terms.side == "BUY" and terms.trigger_price > terms.price:
            raise bad_input("Trigger price can't be higher than price.")
        if terms.side == "SELL" and terms.trigger_price < terms.price:
            raise bad_input("Trigger price can't be lesser than price.")


def protected_price(terms: Terms, market: Decimal) -> Decimal:
    """The limit that a protected MARKET order is worked on: so many percent beyond the market, in whole ticks."""
    away = market * (terms.protection or _ZERO) / 100
    beyond = market + away if terms.side == "BUY" else market - away
    ticks = (beyond / terms.listed.tick).to_integral_value(ROUND_FLOOR if terms.side == "BUY" else ROUND_CEILING)
    return max(ticks, Decimal(1)) * terms.listed.tick


def read_protection(text: str | None) -> Decimal:
    """The percentage that this parameter means. :raises Refusal: none, or no number."""
    if not text:
        raise bad_input(NO_PROTECTION)
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise bad_input(f"failed to decode market_protection, got: {text} (expected decimal)") from None
    if value == 0:
        raise bad_input(NO_PROTECTION)
    if value == -1:
        return AUTOMATIC_PROTECTION
    if not (value.is_finite() and 0 < value <= 100):
        raise bad_input("Invalid `market_protection`.")
    return value


def _listed(form: Mapping[str, str], catalogue: Catalogue) -> Listed:
    exchange = _word(form, "exchange", EXCHANGES)
    found = catalogue.find(exchange, form.get("tradingsymbol", ""))
    if found is None or found.is_index or (found.expiry is not None and found.expiry < catalogue.today):
        raise bad_input("The instrument you are placing an order for has either expired or does not exist.")
    return found


def _check_price(listed: Listed, name: str, price: Decimal) -> None:
    if price <= 0:
        raise bad_input(f"Invalid `{name}`.")
    if price % listed.tick:
        raise bad_input(
            f"Tick size for this script is {listed.tick:f}. "
            "Kindly enter price in the multiple of tick size for this script."
        )


def _protection(form: Mapping[str, str]) -> Decimal:
    return read_protection(form.get("market_protection"))


def _tag(form: Mapping[str, str]) -> str | None:
    tag = form.get("tag") or None
    if tag is not None and len(tag) > _LONGEST_TAG:
        raise bad_input(f"Invalid `tag`. It should be at most {_LONGEST_TAG} characters.")
    return tag


def _word(form: Mapping[str, str], name: str, words: tuple[str, ...], default: str | None = None) -> str:
    value = form.get(name) or default
    if value is None:
        raise bad_input(f"Missing `{name}`.")
    if value not in words:
        raise bad_input(f"Invalid `{name}`.")
    return value


def _whole(form: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = form.get(name)
    if text in (None, "") and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit():
        raise bad_input(f"Invalid `{name}`." if text else f"Missing `{name}`.")
    return int(text)


def _figure(form: Mapping[str, str], name: str) -> Decimal:
    text = form.get(name)
    if not text:
        raise bad_input(f"Missing `{name}`.")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise bad_input(f"Invalid `{name}`.") from None
    if not value.is_finite():
        raise bad_input(f"Invalid `{name}`.")
    return value
