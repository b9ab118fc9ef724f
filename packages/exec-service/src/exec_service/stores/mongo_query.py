"""The conditions of `Store.load` as a MongoDB filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exec_service.stores import INDEXES, ORDERS, UNIQUE, Not, Within
from exec_service.stores.mongo_codec import identifiers, pack

#: Texts where there is anything; their indexes cover nothing else.
TEXTS: Final = frozenset({(ORDERS, "order_id"), (ORDERS, "attention")})


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
    found: dict[str, dict[str, Any]] = {}
    for field, value in (where or {}).items():
        check_field(collection, field)
        if (collection, field) in TEXTS and isinstance(value, Not) and value.value is None:
            found[field] = {"$gt": ""}
        else:
            found[field] = _condition(field, value)
    for first, *others in UNIQUE.get(collection, ()):
        if first in found:
            # What has one has all, and it is only such documents that the index covers.
            found = {**{other: {"$gte": 0} for other in others}, **found}
    return found


def _condition(field: str, value: object) -> dict[str, Any]:
    if isinstance(value, Not):
        if isinstance(value.value, Within):
            return {"$not": _bounds(field, value.value)}
        # Here, too, absence differs from every value, and equals None.
        return {"$nin": _values(field, value.value)}
    if isinstance(value, Within):
        return _bounds(field, value)
    values = _values(field, value)
    return {"$eq": values[0]} if len(values) == 1 else {"$in": values}


def _bounds(field: str, within: Within) -> dict[str, Any]:
    bounds = {"$gte": within.at_least, "$lt": within.below}
    found = {name: pack(bound, field) for name, bound in bounds.items() if bound is not None}
    # A comparison finds only values of the bound's kind, hence no absent ones.
    return found or {"$ne": None}


def _values(field: str, value: object) -> list[Any]:
    wanted = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    if field == "_id":
        return [form for item in wanted for form in identifiers(item)]
    packed = [pack(item, field) for item in wanted]
    for item in packed:
        check_selectable(item, field)
    return packed
