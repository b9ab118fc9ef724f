"""The indexes in MongoDB: which there must be, which there are, and making those that are missing.

An index is judged by what it does, not by its name. Those on combinations that are unique cover only documents that
have all the fields, and have them as we write them: what other services keep in a collection of ours is not in the way.
On `signal_store`, which belongs to others, any index that finds a ``signal_id`` will do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pymongo import ASCENDING, IndexModel
from pymongo.errors import OperationFailure

from exec_service.stores import (
    ACCOUNTS,
    COMMANDS,
    CONFIRMATIONS,
    DEAD_LETTERS,
    FILLS,
    FINDINGS,
    OPEN_POSITION,
    ORDERS,
    OUTBOX,
    POSITIONS,
    SHARING,
    SIGNALS,
    UNIQUE,
    UNMATCHED,
    StoreError,
)
from exec_service.stores.mongo_connection import Connection
from exec_service.stores.mongo_errors import DUPLICATE_KEY, text_of

logger = logging.getLogger(__name__)

_NO_SUCH_INDEX: Final = 27
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
        """What we call it. An index with other options has another name: both may stand for a while."""
        unique, partial = self.options.get("unique"), self.options.get("partialFilterExpression")
        return "_".join(self.fields) + ("_once" if unique else "_where_present" if partial else "")

    def model(self) -> IndexModel:
        """As the driver wants it."""
        return IndexModel([(name, ASCENDING) for name in self.fields], name=self.name, **self.options)

    def is_done_by(self, found: Mapping[str, Any]) -> bool:
        """Whether an index of the server's does what this one is for."""
        if list(found["key"]) != list(self.fields) or any(value not in (1, -1) for value in found["key"].values()):
            return False
        return {name: found[name] for name in _OPTIONS if found.get(name)} == dict(self.options)


def _present(name: str) -> dict[str, Any]:
    """Only documents where the field is a text, as a condition that a query for one implies."""
    return {name: {"$gt": ""}}


def _unique(fields: tuple[str, ...]) -> Index:
    """Covers what has all the fields, as we write them; a query for the first can use it, too: see `mongo_query`."""
    partial = {name: {"$gte": 0} if name == "leg_index" else {"$gt": ""} for name in fields}
    return Index(fields, {"unique": True, "partialFilterExpression": partial})


def _open_position() -> Index:
    key, closed = OPEN_POSITION
    others = [{"status": {"$lt": closed}}, {"status": {"$gt": closed}}, {"status": None}]
    return Index((key,), {"unique": True, "partialFilterExpression": {key: {"$type": "string"}, "$or": others}})


#: As few as the service's questions need: with each, the server does more for every change of a document, even one
#: that leaves the index as it is (measured on `orders`: 75 us per change with one, 210 us with seven).
WANTED: Final[Mapping[str, tuple[Index, ...]]] = {
    ORDERS: (
        *map(_unique, UNIQUE[ORDERS]),
        # Also for the newest of all: an order's status is one of a few.
        Index(("status", "sequence")),
        Index(("order_id",), {"partialFilterExpression": _present("order_id")}),
        Index(("attention",), {"partialFilterExpression": _present("attention")}),
    ),
    FILLS: (Index(("client_order_id",)),),
    POSITIONS: (_open_position(), Index(("position_key",)), Index(("account_id", "status", "residual_quantity"))),
    CONFIRMATIONS: tuple(map(_unique, UNIQUE[CONFIRMATIONS])),
    SIGNALS: (Index(("signal_id",)),),
    OUTBOX: (Index(("delivered_at",)),),
    DEAD_LETTERS: (Index(("received_at",)),),
    COMMANDS: (Index(("state",)),),
    ACCOUNTS: (Index(("worker_id",)),),
    UNMATCHED: (Index(("account_id", "broker_order_id")),),
    FINDINGS: (Index(("account_id", "cleared_at")),),
    SHARING: (),
}


#: Made by earlier releases, and of use to nobody any more: each makes every change dearer. What others may read by, in
#: the collections that are theirs as well, stays.
OBSOLETE: Final[Mapping[str, frozenset[str]]] = {
    ORDERS: frozenset({"signal_id", "status", "account_id", "sequence", "order_id", "attention"})
    | {"signal_id_leg_index_unique"},
    FILLS: frozenset({"account_id", "received_at"}),
    CONFIRMATIONS: frozenset({"signal_id_leg_index_unique"}),
    OUTBOX: frozenset({"channel", "sequence"}),
}


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


async def drop_obsolete(connection: Connection) -> None:
    """Drop the indexes that only earlier releases needed. What stands in their place is made already."""
    for collection, names in OBSOLETE.items():
        with connection.bounded(f"drop indexes of {collection}", BUILD_SECONDS):
            found = {item["name"] async for item in await connection.collection(collection).list_indexes()}
            for name in sorted(found & names):
                await _drop(connection, collection, name)


async def _drop(connection: Connection, collection: str, name: str) -> None:
    try:
        await connection.collection(collection).drop_index(name)
    except OperationFailure as error:
        if error.code != _NO_SUCH_INDEX:  # another worker was quicker
            raise
    else:
        logger.info("The index %s of %s is of no more use and was dropped", name, collection)


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
