"""The schema in MongoDB: a record of its version, and the upgrades that bring a database of before up to it.

The version rises when documents of before cannot be used as they are; new collections and indexes do not need it, they
are made. Upgrades run once, by one worker, while others wait: the record carries a guard with an end, which whoever
upgrades keeps pushing ahead. One that was killed midway is run again by the next: an upgrade must bear that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from exec_service.stores import StoreError, StoreNotPrepared, StoreUnavailable
from exec_service.stores.mongo_codec import decode
from exec_service.stores.mongo_connection import Connection
from exec_service.stores.mongo_indexes import drop_obsolete, make_missing

#: Where the record is, and under which id.
META: Final = "exec_service"
RECORD: Final = "schema"

SCHEMA_VERSION: Final = 1

Upgrade = Callable[[AsyncDatabase[Any]], Awaitable[None]]
#: By the version that it starts from; it must bear being run again after it was killed midway.
UPGRADES: Final[Mapping[int, Upgrade]] = {}

GUARD_SECONDS: Final = 30.0


async def prepare(connection: Connection) -> str:
    """Bring the database up to this release; the id that it is known by comes back.

    :raises StoreError: a newer release has written it, or an index cannot be made.
    :raises StoreUnavailable: another worker is still upgrading it.
    """
    record = await _record(connection)
    if record is not None:
        _check_not_newer(connection, record)
        await _upgrade(connection)
    await make_missing(connection)
    await drop_obsolete(connection)
    if record is None:
        # Last: whoever only looks takes the record for the sign that everything is there.
        with connection.bounded("write the schema record"), contextlib.suppress(DuplicateKeyError):
            await connection.collection(META).insert_one(
                {"_id": RECORD, "version": SCHEMA_VERSION, "database_id": str(uuid.uuid4()), "guard": None}
            )
    return await look(connection)


async def look(connection: Connection) -> str:
    """The id of a database that a service has prepared; nothing is written.

    :raises StoreNotPrepared: none has.
    :raises StoreError: a newer release has written it.
    """
    record = await _record(connection)
    if record is None:
        raise StoreNotPrepared(
            f"the database {connection.name} at {connection.where} holds nothing of the execution service yet: "
            "run exec-service setup, or start the service, or correct MONGODB_DATABASE"
        )
    _check_not_newer(connection, record)
    return str(record["database_id"])


async def version(connection: Connection) -> int | None:
    """The version that the database has; None if no service has prepared it."""
    record = await _record(connection)
    return None if record is None else int(record["version"])


async def _record(connection: Connection) -> dict[str, Any] | None:
    with connection.bounded("read the schema record"):
        found = await connection.collection(META).find_one({"_id": RECORD})
    return None if found is None else decode(found)


def _check_not_newer(connection: Connection, record: Mapping[str, Any]) -> None:
    if record["version"] > SCHEMA_VERSION:
        raise StoreError(
            f"the database {connection.name} at {connection.where} is of version {record['version']}: a newer release "
            f"has written it, this one knows versions up to {SCHEMA_VERSION}. Install that release again"
        )


async def _upgrade(connection: Connection) -> None:
    """Run what is between the record's version and ours; wait while another worker does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + connection.timeout_seconds
    while (record := await _record(connection)) is not None and record["version"] < SCHEMA_VERSION:
        owner = str(uuid.uuid4())
        if await _take_guard(connection, record["version"], owner):
            async with _guard_kept(connection, owner):
                await UPGRADES[record["version"]](connection.database)
            await _finish(connection, record["version"], owner)
            deadline = loop.time() + connection.timeout_seconds
        elif loop.time() > deadline:
            raise StoreUnavailable(
                f"another worker is upgrading the database {connection.name} from version {record['version']}"
            )
        else:
            await asyncio.sleep(random.uniform(0.05, 0.15))


async def _take_guard(connection: Connection, of_version: int, owner: str) -> bool:
    """Be the one who upgrades, unless somebody is."""
    free = {"$or": [{"guard": None}, {"$expr": {"$lt": ["$guard.until", "$$NOW"]}}]}
    with connection.bounded("take the upgrade's guard"):
        done = await connection.collection(META).update_one(
            {"_id": RECORD, "version": of_version, **free}, _guarded_by(owner)
        )
    return done.modified_count == 1


async def _finish(connection: Connection, of_version: int, owner: str) -> None:
    with connection.bounded("record the upgrade"):
        done = await connection.collection(META).update_one(
            {"_id": RECORD, "version": of_version, "guard.owner": owner},
            {"$set": {"version": of_version + 1, "guard": None}},
        )
    if done.modified_count != 1:
        raise StoreUnavailable(f"the upgrade of {connection.name} was taken over by another worker")


@contextlib.asynccontextmanager
async def _guard_kept(connection: Connection, owner: str) -> AsyncIterator[None]:
    """Push the guard's end ahead until the upgrade is over."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(GUARD_SECONDS / 3)
            with contextlib.suppress(StoreUnavailable), connection.bounded("keep the upgrade's guard"):
                await connection.collection(META).update_one({"_id": RECORD, "guard.owner": owner}, _guarded_by(owner))

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


def _guarded_by(owner: str) -> list[Mapping[str, Any]]:
    until = {"$dateAdd": {"startDate": "$$NOW", "unit": "second", "amount": int(GUARD_SECONDS)}}
    return [{"$set": {"guard": {"owner": owner, "until": until}}}]
