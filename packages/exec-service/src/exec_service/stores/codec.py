"""What a document can hold, and its JSON text: exact, and readable with any SQLite tool.

A `Decimal` is written ``{"$decimal": "1.50"}``, a time ``{"$time": "2024-11-24T10:30:12.123+00:00"}``; a key of the
document's own that begins with ``$`` gets a second one. The bounds are BSON's, so that what one store takes the others
take too: whole numbers of 64 bits, decimals of 34 digits, times to the millisecond, text that is Unicode, 100 levels.
"""

from __future__ import annotations

import decimal
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

DECIMAL: Final = "$decimal"
TIME: Final = "$time"
MAX_DEPTH: Final = 100

_INT_64: Final = range(-(2**63), 2**63)

Column = str | int | float | None


def pack(value: object, name: str = "value", depth: int = 0) -> Any:
    """`value` in the terms of JSON. Enumerations of str, tuples and other mappings come back as str, list and dict.

    :raises ValueError: a document cannot hold it; the message names it by `name`.
    """
    kind = type(value)
    if kind is str and value.isascii():  # type: ignore[attr-defined]  # str, by its type
        return value
    if value is None or kind is bool:
        return value
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, int):
        if value not in _INT_64:
            raise ValueError(f"{name}: {value} is beyond 64 bits")
        return int(value)
    if isinstance(value, Decimal):
        return {DECIMAL: _decimal(value, name)}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, not a number that can be kept")
        return float(value)
    if isinstance(value, datetime):
        return {TIME: _time(value, name)}
    if depth >= MAX_DEPTH:
        raise ValueError(f"{name} is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {_key(key, name): pack(item, f"{name}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, name, depth + 1) for item in value]
    raise ValueError(f"{name} is a {kind.__name__}, which a document cannot hold")


def column(packed: Any, name: str) -> Column:
    """A packed value as an indexed column holds it.

    :raises ValueError: it is none that can be selected by.
    """
    if isinstance(packed, dict) and packed.keys() == {TIME}:
        return str(packed[TIME])
    if isinstance(packed, dict | list):
        raise ValueError(f"{name} holds something that cannot be selected by")
    return packed  # type: ignore[no-any-return]  # what JSON has beside the two


def to_text(packed: Mapping[str, Any]) -> str:
    """The JSON text of a packed document, in ASCII."""
    return json.dumps(packed, separators=(",", ":"), allow_nan=False)


def from_text(text: str) -> Any:
    """The packed document."""
    return json.loads(text)


def unpack(text: str) -> dict[str, Any]:
    """The document that `to_text` wrote."""
    document: dict[str, Any] = json.loads(text, object_hook=_unpacked)
    return document


def _unpacked(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        if DECIMAL in found:
            return Decimal(found[DECIMAL])
        if TIME in found:
            return datetime.fromisoformat(found[TIME])
    if any(key.startswith("$") for key in found):
        return {key.removeprefix("$"): value for key, value in found.items()}
    return found


def _key(key: object, name: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{name} has a key {key!r} that is not text")
    if "\0" in key:
        raise ValueError(f"{name} has a key with a NUL character")
    text = _text(key, name)
    return f"${text}" if text.startswith("$") else text


def _text(value: str, name: str) -> str:
    try:
        return value.encode().decode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a surrogate pair, which is no text") from error


def _decimal(value: Decimal, name: str) -> str:
    try:
        # A context each time: it notes what it has seen, and threads must not share that.
        bounds = decimal.Context(prec=34, Emin=-6143, Emax=6144, clamp=1)
        exact = value.is_finite() and bounds.create_decimal(value) == value
    except decimal.DecimalException:
        exact = False
    if not exact:
        raise ValueError(f"{name}: {value} is not a number of at most 34 digits")
    return str(value)


def _time(value: datetime, name: str) -> str:
    if value.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime, got the naive {value.isoformat()}")
    try:
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    except OverflowError as error:
        raise ValueError(f"{name}: {value.isoformat()} cannot be told in UTC") from error
