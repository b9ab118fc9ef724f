"""Frozen dataclasses to plain documents and back, without loss: one generic pair for everything that is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


def plain_document(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A document of `fields`, each made plain."""
    return {name: plain(value) for name, value in fields.items()}


def plain(value: Any) -> Any:
    """`value` as dictionaries, lists and scalars; a `Decimal` stays what it is, a time becomes UTC."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def restore(kind: type[T], document: Any) -> T:
    """The `kind` that `plain` made `document` of; fields that it does not have any more are left out.

    :raises pydantic.ValidationError: the document is not of that kind.
    """
    restored: T = _adapter(kind).validate_python(document)
    return restored


def restore_optional(kind: type[T], document: Any) -> T | None:
    """The same, where there may be none."""
    return None if document is None else restore(kind, document)


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made at first use, since making one takes milliseconds."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


_ADAPTERS: Final[dict[Any, TypeAdapter[Any]]] = {}
