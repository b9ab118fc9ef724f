"""Frozen dataclasses to plain documents and back, without loss: one generic pair for everything that is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


def plain_document(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A document of `fields`, each made plain."""
    return {name: value if type(value) in _AS_IT_IS else plain(value) for name, value in fields.items()}


def plain(value: Any) -> Any:
    """`value` as dictionaries, lists and scalars; a `Decimal` stays what it is, a time becomes UTC."""
    kind: Any = type(value)
    return value if kind in _AS_IT_IS else _converter(kind)(value)


_AS_IT_IS: Final = frozenset({str, int, bool, float, Decimal, type(None)})


@cache
def _converter(kind: Any) -> Callable[[Any], Any]:
    """How values of `kind` become plain. :raises TypeError: there is no way to store them."""
    if issubclass(kind, datetime):
        return lambda value: value if value.tzinfo is UTC else value.astimezone(UTC)
    if issubclass(kind, Enum):
        return lambda value: value.value
    if issubclass(kind, Mapping):
        return lambda value: {name: plain(item) for name, item in value.items()}
    if issubclass(kind, list | tuple):
        return lambda value: [plain(item) for item in value]
    names = tuple(field.name for field in dataclasses.fields(kind))
    return lambda value: {name: plain(getattr(value, name)) for name in names}


def restore(kind: type[T], document: Any) -> T:
    """The `kind` that `plain` made `document` of; fields that it does not have any more are left out.

    :raises pydantic.ValidationError: the document is not of that kind.
    """
    key: Any = kind
    restored: T = _adapter(key).validate_python(document)
    return restored


def restore_optional(kind: type[T], document: Any) -> T | None:
    """The same, where there may be none."""
    return None if document is None else restore(kind, document)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made at first use, since making one takes milliseconds."""
    return TypeAdapter(kind)
