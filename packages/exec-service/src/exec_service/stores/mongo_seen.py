"""What a decision about somebody else's document has looked at, and the condition that it still stands as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from bson.raw_bson import RawBSONDocument

from exec_service.stores.mongo_codec import NATIVE, decode_exactly

#: These are as they stand already; whatever is nested, or may be a number that is none, takes a closer look.
_PLAIN: Final = frozenset({str, int, bool, type(None), datetime, Decimal})


class Seen(dict[str, Any]):
    """A document that notes which of its fields somebody has looked at, the absent ones included.

    What is nested in it is decoded only when it is looked at.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        super().__init__(document.items())
        self.names: set[str] = set()
        self._raw = document if isinstance(document, RawBSONDocument) else None

    def overlay(self, fields: Mapping[str, Any]) -> None:
        """From now on it shows these fields, which are not written yet, instead of its own."""
        self._decode()
        super().update(fields)

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        value = super().__getitem__(name)
        return value if type(value) in _PLAIN else self._decoded(name)

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        value = super().get(name, default)
        return value if type(value) in _PLAIN or not super().__contains__(name) else self._decoded(name)

    def __iter__(self) -> Iterator[str]:
        self._saw_all()
        return super().__iter__()

    def keys(self) -> Any:
        self._saw_all()
        return super().keys()

    def items(self) -> Any:
        self._saw_all()
        return super().items()

    def values(self) -> Any:
        self._saw_all()
        return super().values()

    def copy(self) -> dict[str, Any]:
        self._saw_all()
        return super().copy()

    def __eq__(self, other: object) -> bool:
        self._saw_all()
        return super().__eq__(other)

    __hash__ = None

    def _saw_all(self) -> None:
        self._decode()
        self.names.update(super().keys())

    def _decoded(self, name: str) -> Any:
        self._decode()
        return super().__getitem__(name)

    def _decode(self) -> None:
        if self._raw is not None:
            raw, self._raw = self._raw, None
            super().update(decode_exactly(raw))


def guard(stored: RawBSONDocument, names: set[str]) -> dict[str, Any]:
    """That these fields are what they were, compared as the server compares values, not as queries match them."""
    conditions: dict[str, Any] = {}
    others: list[dict[str, Any]] = []
    native: RawBSONDocument | None = None
    for name in sorted(names - {"_id"}):
        # A query, which costs the server less than an expression, does as well where the two cannot differ.
        is_path = not name or "." in name or name.startswith("$")
        if name in stored:
            value = stored[name]
            if not is_path and type(value) in (str, int, bool) and (type(value) is not str or "\ufffd" not in value):
                conditions[name] = {"$eq": value, "$not": {"$type": "array"}}
                continue
            native = native or RawBSONDocument(stored.raw, NATIVE)
            others.append({"$eq": [_field(name), {"$literal": native[name]}]})
        elif is_path:
            others.append({"$eq": [{"$type": _field(name)}, "missing"]})
        else:
            conditions[name] = {"$exists": False}
    return {**conditions, "$expr": {"$and": others}} if others else conditions


def _field(name: str) -> dict[str, Any]:
    return {"$getField": {"field": {"$literal": name}, "input": "$$ROOT"}}
