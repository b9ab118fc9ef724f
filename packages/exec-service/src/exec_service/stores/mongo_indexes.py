"""The indexes in MongoDB: which there must be, which there are, and making those that are missing.

An index is judged by what it does, not by its name. Those on combinations that are unique cover only documents that
have all the fields, and have them as we write them: what other services keep in a collection of ours is not in the way.
On `signal_store`, which belongs to others, any index that finds a ``signal_id`` will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pymongo import ASCENDING, IndexModel
from pymongo.errors import OperationFailure

from exec_service.stores import INDEXES, OPEN_POSITION, POSITIONS, SIGNALS, UNIQUE, StoreError
from exec_service.stores.mongo_connection import Connection
from exec_service.stores.mongo_errors import DUPLICATE_KEY, text_of

_OPTIONS_CONFLICT: Final = 85
_SPECS_CONFLICT: Final = 86
#: What makes an index another than its keys say.
_OPTIONS: Final = ("unique", "partialFilterExpression", "sparse", "collation", "expireAfterSeconds", "hidden")
#: How long building them may take: an index on a collection that is large already.
BUILD_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Index:
    """One index that must be there."""

    fields: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What we call it."""
        return "_".join(self.fields) + ("_unique" if self.options.get("unique") else "")

    def model(self) -> IndexModel:
        """As the driver wants it."""
        return IndexModel([(name, ASCENDING) for name in self.fields], name=self.name, **self.options)

    def is_done_by(self, found: Mapping[str, Any]) -> bool:
        """Whether an index of the server's does what this one is for."""
        if list(found["key"]) != list(self.fields) or any(value not in (1, -1) for value in found["key"].values()):
            return False
        return {name: found[name] for name in _OPTIONS if found.get(name)} == dict(self.options)


def _of(collection: str) -> tuple[Index, ...]:
    found = [Index((name,)) for name in INDEXES[collection]]
    for fields in UNIQUE.get(collection, ()):
        found.append(Index(fields, {"unique": True, "partialFilterExpression": _as_we_write_them(fields)}))
    if collection == POSITIONS:
        key, closed = OPEN_POSITION
        others = [{"status": {"$lt": closed}}, {"status": {"$gt": closed}}, {"status": None}]
        partial = {key: {"$type": "string"}, "$or": others}
        found.append(Index((key,), {"unique": True, "partialFilterExpression": partial}))
    return tuple(found)


def _as_we_write_them(fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: {"$type": "number" if name == "leg_index" else "string"} for name in fields}


WANTED: Final[Mapping[str, tuple[Index, ...]]] = {name: _of(name) for name in INDEXES}


async def missing(connection: Connection, collection: str) -> list[Index]:
    """Which of the collection's indexes are not there. :raises StoreError: it cannot be asked."""
    with connection.bounded(f"list the indexes of {collection}"):
        found = [dict(item) async for item in await connection.collection(collection).list_indexes()]
    return [index for index in WANTED[collection] if not any(_does(index, item, collection) for item in found)]


async def make_missing(connection: Connection) -> None:
    """Make indexes that are missing, and with them their collections; several workers may do it at once.

    Ahead of time: a transaction that makes its collections meets others that do.

    :raises StoreError: an index cannot be had, because of another in its place or of documents that it forbids.
    """
    for collection in WANTED:
        wanted = await missing(connection, collection)
        if wanted:
            await _make(connection, collection, wanted)


async def _make(connection: Connection, collection: str, wanted: list[Index]) -> None:
    with connection.bounded(f"make indexes on {collection}", BUILD_SECONDS):
        try:
            await connection.collection(collection).create_indexes([index.model() for index in wanted])
        except OperationFailure as error:
            problem = _problem(connection.name, collection, wanted, error)
            if problem is None:
                raise
            raise StoreError(problem) from error


def _problem(database: str, collection: str, wanted: list[Index], error: OperationFailure) -> str | None:
    names = ", ".join(index.name for index in wanted)
    if error.code == DUPLICATE_KEY:
        return (
            f"{database}.{collection}: the unique index cannot be made, because documents there share what must be "
            f"unique ({text_of(error)}): remove or correct all but one of them, and start again"
        )
    if error.code in (_OPTIONS_CONFLICT, _SPECS_CONFLICT):
        return (
            f"{database}.{collection}: an index with other options stands where one of {names} must be "
            f'({text_of(error)}): drop it with db.{collection}.dropIndex("<its name>"), and start again'
        )
    return None


def _does(wanted: Index, found: Mapping[str, Any], collection: str) -> bool:
    if collection == SIGNALS and next(iter(found["key"])) in wanted.fields:
        return not (found.get("partialFilterExpression") or found.get("sparse") or found.get("hidden"))
    return wanted.is_done_by(found)
