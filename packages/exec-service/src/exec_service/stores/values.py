"""What a document can hold: the checks that every store makes before it writes anything.

The bounds are BSON's, so that what one store takes the others take too: whole numbers of 64 bits, decimals of 34
digits, times to the millisecond, text that is Unicode, keys without NUL, 100 levels. How a decimal, a time and a key
are written is each store's own.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

MAX_DEPTH: Final = 100

_INT_64: Final = range(-(2**63), 2**63)


class Packer:
    """Turns values into a store's own terms. `decimal` and `time` get what is within the bounds, times in UTC."""

    def __init__(
        self,
        *,
        decimal: Callable[[Decimal], Any],
        time: Callable[[datetime], Any],
        key: Callable[[str], str] | None = None,
    ) -> None:
        self._decimal = decimal
        self._time = time
        self._key = key

    def pack(self, value: object, name: str = "value", depth: int = 0) -> Any:
        """`value` in the store's terms. Enumerations of str, tuples and other mappings become str, list and dict.

        :raises ValueError: a document cannot hold it; the message names it by `name`.
        """
        kind = type(value)
        if kind is str and value.isascii():  # type: ignore[attr-defined]  # str, by its type
            return value
        if value is None or kind is bool:
            return value
        if isinstance(value, Carried):
            return value.original
        if isinstance(value, str):
            return _text(value, name)
        if isinstance(value, int):
            if value not in _INT_64:
                raise ValueError(f"{name}: {value} is beyond 64 bits")
            return int(value)
        if isinstance(value, Decimal):
            return self._decimal(_bounded(value, name))
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value}, not a number that can be kept")
            return float(value)
        if isinstance(value, datetime):
            return self._time(_in_utc(value, name))
        if depth >= MAX_DEPTH:
            raise ValueError(f"{name} is nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, Mapping):
            return self._mapping(value, name, depth)
        if isinstance(value, list | tuple):
            return [self.pack(item, name, depth + 1) for item in value]
        raise ValueError(f"{name} is a {kind.__name__}, which a document cannot hold")

    def _mapping(self, value: Mapping[Any, Any], name: str, depth: int) -> dict[str, Any]:
        # Most of what is written are such fields: plain ones are not worth a call, nor the making of their full name.
        packed = {}
        for key, item in value.items():
            if not (type(key) is str and key.isascii() and "\0" not in key):
                key = _checked_key(key, name)
            kind = type(item)
            if not (item is None or kind is bool or (kind is str and item.isascii())):
                item = self.pack(item, f"{name}.{key}", depth + 1)
            packed[key if self._key is None else self._key(key)] = item
        return packed


class Carried:
    """A value that somebody else has written and that we can only show: packing it gives back the `original`."""

    original: Any


def _checked_key(key: object, name: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{name} has a key {key!r} that is not text")
    if "\0" in key:
        raise ValueError(f"{name} has a key with a NUL character")
    return _text(key, name)


def _text(value: str, name: str) -> str:
    try:
        return value.encode().decode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a surrogate pair, which is no text") from error


def _bounded(value: Decimal, name: str) -> Decimal:
    if len(str(value)) <= 34 and value.is_finite() and abs(value.adjusted()) < 6_000:
        return value  # so short that it cannot be beyond anything
    try:
        # A context each time: it notes what it has seen, and threads must not share that.
        bounds = decimal.Context(prec=34, Emin=-6143, Emax=6144, clamp=1)
        exact = value.is_finite() and bounds.create_decimal(value) == value
    except decimal.DecimalException:
        exact = False
    if not exact:
        raise ValueError(f"{name}: {value} is not a number of at most 34 digits")
    return value


def _in_utc(value: datetime, name: str) -> datetime:
    if value.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime, got the naive {value.isoformat()}")
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{name}: {value.isoformat()} cannot be told in UTC") from error
