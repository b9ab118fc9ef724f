"""Exact values to JSON's: numbers by the name of their field, times as text in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

#: Always written as a number with a fraction; every other number is whole where it can be.
_MONEY: Final = frozenset(
    {
        "avg_fill_price",
        "commission",
        "total_value",
        "cash_quantity",
        "limit_price",
        "stop_price",
        "reference_price",
        "stop_loss",
        "take_profit",
        "strike",
    }
)
_AS_IT_IS: Final = frozenset({str, int, bool, float, type(None)})


def utc_text(moment: datetime) -> str:
    """``2024-11-24T10:30:12Z``, with milliseconds where there are some."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='milliseconds' if utc.microsecond >= 1000 else 'seconds')}Z"


def json_number(name: str, value: Any) -> Any:
    """A `Decimal` as a JSON number, by the name of its field; anything else stays."""
    if not isinstance(value, Decimal):
        return value
    if name not in _MONEY and value == value.to_integral_value():
        return int(value)
    return float(value)


def double(value: Any) -> Any:
    """A `Decimal` as a double, as the specification's documents have every number; anything else stays."""
    return float(value) if isinstance(value, Decimal) else value


def json_value(name: str, value: Any) -> Any:
    """`value` as JSON has it."""
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, Mapping):
        return {key: json_value(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(name, item) for item in value]
    return json_number(name, value)
