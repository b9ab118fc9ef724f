"""The conditions of `Store.load` as a MongoDB filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exec_service.stores import INDEXES, Not
from exec_service.stores.mongo_codec import identifiers, pack


def check_collection(collection: str) -> None:
    """:raises ValueError: there is no such collection."""
    if collection not in INDEXES:
        raise ValueError(f"there is no collection {collection!r}, only {', '.join(INDEXES)}")


def check_field(collection: str, field: str) -> None:
    """:raises ValueError: the field is none to select or order by."""
    check_collection(collection)
    if field != "_id" and field not in INDEXES[collection]:
        raise ValueError(f"{collection} cannot be selected or ordered by {field}, only by {INDEXES[collection]}")


def check_selectable(value: object, name: str) -> None:
    """:raises ValueError: a packed value that no index of ours can hold."""
    if isinstance(value, Mapping | list):
        raise ValueError(f"{name} holds something that cannot be selected by")


def build(collection: str, where: Mapping[str, Any] | None) -> dict[str, Any]:
    """The filter for `where`. :raises ValueError: a field or value that cannot be selected by."""
    check_collection(collection)
    found = {}
    for field, value in (where or {}).items():
        check_field(collection, field)
        found[field] = _condition(field, value)
    return found


def _condition(field: str, value: object) -> dict[str, Any]:
    if isinstance(value, Not):
        # Here, too, absence differs from every value, and equals None.
        return {"$nin": _values(field, value.value)}
    values = _values(field, value)
    return {"$eq": values[0]} if len(values) == 1 else {"$in": values}


def _values(field: str, value: object) -> list[Any]:
    wanted = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    if field == "_id":
        return [form for item in wanted for form in identifiers(item)]
    packed = [pack(item, field) for item in wanted]
    for item in packed:
        check_selectable(item, field)
    return packed
