"""Kite's figures, read into exact `Decimal`: what is no number is None, and nothing passes through binary floats."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any


def figure(value: Any) -> Decimal | None:
    """The finite number that `value` stands for; None for none, and for what is no number.

    A float can only come from a caller that did not read the wire's text; its shortest text is what was written there.
    """
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = Decimal(str(value).strip()) if isinstance(value, float | str) else Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        return None
    return number if number.is_finite() else None


def price(value: Any) -> Decimal | None:
    """A price that an order has; Kite writes 0 for "none"."""
    number = figure(value)
    return number if number else None


def text_of(number: Decimal) -> str:
    """The number as Kite reads it: digits and a point, never an exponent."""
    return format(number, "f")
