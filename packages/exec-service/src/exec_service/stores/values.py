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

#: Keys that were found to be plain text: mostly they are the names of fields, the same each time.
_PLAIN_KEYS: Final[set[str]] = set()
_PLAIN_KEYS_KEPT: Final = 5_000


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
        self._scalars: dict[type, Callable[[Any], Any]] = {
            str: lambda value: _text(value, ""),
            int: _bounded_int,
            float: _finite,
            Decimal: lambda value: decimal(_bounded(value, "")),
            datetime: lambda value: time(value if value.tzinfo is UTC else _in_utc(value, "")),
        }

    def pack(self, value: object, name: str = "value", depth: int = 0) -> Any:
        """`value` in the store's terms. Enumerations of str, tuples and other mappings become str, list and dict.

        :raises ValueError: a document cannot hold it; the message names it by `name`.
        """
        try:
            return self._plainly(value, depth)
        except (ValueError, KeyError):
            # Something rarer is in it, or something wrong: taken with care, and by its name.
            return self._carefully(value, name, depth)

    def _plainly(self, value: Any, depth: int) -> Any:
        """What nearly everything is. :raises ValueError, KeyError: this is not, or it is out of bounds."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is dict:
            return self._plain_mapping(value, depth)
        if kind is list or kind is tuple:
            if depth >= MAX_DEPTH:
                raise ValueError
            return [self._plainly(item, depth + 1) for item in value]
        return self._scalars[kind](value)

    def _plain_mapping(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        if depth >= MAX_DEPTH:
            raise ValueError
        name_of, scalars = self._key, self._scalars
        packed = {}
        for key, item in value.items():
            if key not in _PLAIN_KEYS or type(key) is not str:
                key = _checked_key(key, "")
                if len(_PLAIN_KEYS) < _PLAIN_KEYS_KEPT:
                    _PLAIN_KEYS.add(key)
            kind = type(item)
            if item is None or kind is bool or (kind is str and item.isascii()):
                pass  # most fields are
            elif kind in scalars:
                item = scalars[kind](item)
            elif kind is dict:
                item = self._plain_mapping(item, depth + 1)
            else:
                item = self._plainly(item, depth + 1)
            packed[key if name_of is None else name_of(key)] = item
        return packed

    def _carefully(self, value: object, name: str, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Carried):
            return value.original
        if isinstance(value, str):
            return _text(value, name)
        if isinstance(value, int):
            return _bounded_int(int(value), name)
        if isinstance(value, Decimal):
            return self._decimal(_bounded(value, name))
        if isinstance(value, float):
            return _finite(float(value), name)
        if isinstance(value, datetime):
            return self._time(_in_utc(value, name))
        if depth >= MAX_DEPTH:
            raise ValueError(f"{name} is nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, Mapping):
            return self._mapping(value, name, depth)
        if isinstance(value, list | tuple):
            return [self._carefully(item, name, depth + 1) for item in value]
        raise ValueError(f"{name} is a {type(value).__name__}, which a document cannot hold")

    def _mapping(self, value: Mapping[Any, Any], name: str, depth: int) -> dict[str, Any]:
        packed = {}
        for key, item in value.items():
            key = _checked_key(key, name)
            packed[key if self._key is None else self._key(key)] = self._carefully(item, f"{name}.{key}", depth + 1)
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


def _bounded_int(value: int, name: str = "") -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{name}: {value} is beyond 64 bits")
    return value


def _finite(value: float, name: str = "") -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}, not a number that can be kept")
    return value


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
