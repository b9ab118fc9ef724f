"""What a document can hold, and its JSON text: exact, and readable with any SQLite tool.

A `Decimal` is written ``{"$decimal": "1.50"}``, a time ``{"$time": "2024-11-24T10:30:12.123+00:00"}``; a key of the
document's own that begins with ``$`` gets a second one. What it can hold at all, `exec_service.stores.values` says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from exec_service.stores.values import Packer

DECIMAL: Final = "$decimal"
TIME: Final = "$time"

Column = str | int | float | None


def _key(key: str) -> str:
    return f"${key}" if key.startswith("$") else key


#: `value` in the terms of JSON, see `Packer.pack`.
pack: Final = Packer(
    decimal=lambda value: {DECIMAL: str(value)},
    time=lambda value: {TIME: value.isoformat(timespec="milliseconds")},
    key=_key,
).pack


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
