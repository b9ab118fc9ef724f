"""Numbers and durations for people's eyes."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from exec_core.orders import Order

_SYMBOLS: Final = {"USD": "$", "INR": "₹"}
_CONTEXT_DIGITS: Final = 60
_LEAST_PLACES: Final = 4
_MOST_PLACES: Final = 12


def format_quantity(value: Decimal) -> str:
    """Without trailing zeros, without exponent."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def format_price(value: Decimal, currency: str | None) -> str:
    """At least two decimals, and as many as it needs: ``$235.15``, ``₹1.0525``, ``EUR 235.15``."""
    return _money(value, currency, "f")


def format_total(value: Decimal, currency: str | None) -> str:
    """An amount of money, rounded to cents: ``$23,515.00``."""
    return _money(_rounded(value, 2), currency, ",f")


def format_commission(value: Decimal, currency: str | None) -> str:
    """An amount of money with at most four decimals: ``$1.00``, ``$0.3512``."""
    return _money(_rounded(value, _LEAST_PLACES), currency, ",f")


def average_of(order: Order) -> Decimal | None:
    """The order's average price for display: as fine as its executions' prices, four decimals at least."""
    average = order.average_price
    if average is None:
        return None
    finest = max((-_exponent(fill.price) for fill in order.own_fills if fill.quantity), default=0)
    return _rounded(average, min(max(finest, _LEAST_PLACES), _MOST_PLACES))


def format_duration(seconds: float) -> str:
    """``0.4 seconds``, ``1 second``, ``2 seconds``, ``12 seconds``: one decimal below ten, where it matters."""
    if round(seconds, 1) >= 10:
        return f"{round(seconds)} seconds"
    text = format_quantity(_rounded(Decimal(str(seconds)), 1))
    return "1 second" if text == "1" else f"{text} seconds"


def _money(value: Decimal, currency: str | None, style: str) -> str:
    """With the currency's symbol, else its code; the specification's dollar where nobody said which."""
    code = currency or "USD"
    symbol = _SYMBOLS.get(code, f"{code} ")
    with localcontext() as context:
        context.prec = _CONTEXT_DIGITS
        shown = abs(value)
        if -_exponent(shown) < 2:
            shown = shown.quantize(Decimal("0.01"))
        text = format(shown, style)
    whole, _, decimals = text.partition(".")
    decimals = decimals.rstrip("0").ljust(2, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{symbol}{whole}.{decimals}"


def _rounded(value: Decimal, places: int) -> Decimal:
    with localcontext() as context:
        context.prec = _CONTEXT_DIGITS
        return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
