"""The schema in MongoDB: indexes by what they do, and upgrades that run once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from exec_core.orders import OrderStatus
from exec_service.stores import (
    CONFIRMATIONS,
    FILLS,
    INDEXES,
    ORDERS,
    OUTBOX,
    POSITIONS,
    SIGNALS,
    Not,
    StoreError,
    StoreUnavailable,
    Write,
)
from exec_service.stores import mongo_schema as schema
from exec_service.stores.mongo import MongoStore
from exec_service.stores.mongo_connection import Connection
from exec_service.stores.mongo_indexes import WANTED, missing
from exec_service.stores.mongo_query import build
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.database import Database
from real_servers import MongoDatabase
from store_samples import PATIENCE_SECONDS, new, order, position


@pytest.fixture
def client(mongodb: MongoDatabase) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb.uri) as made:
        yield made


@pytest.fixture
def database(client: MongoClient[dict[str, Any]], mongodb: MongoDatabase) -> Database[dict[str, Any]]:
    """The database as another service sees it."""
    return client[mongodb.database]


@pytest.fixture
async def connection(mongodb: MongoDatabase) -> AsyncIterator[Connection]:
    made = Connection(SecretStr(mongodb.uri), mongodb.database, 5)
    await made.open()
    yield made
    await made.close()


def make_store(mongodb: MongoDatabase, **options: Any) -> MongoStore:
    return MongoStore(SecretStr(mongodb.uri), mongodb.database, **options)


async def refused(mongodb: MongoDatabase, **options: Any) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await make_store(mongodb, **options).__aenter__()
    return caught.value


# ---------------------------------------------------------------------- indexes


async def test_all_indexes_are_made_and_found_again(mongodb: MongoDatabase, connection: Connection) -> None:
    for collection in INDEXES:
        assert len(await missing(connection, collection)) == len(WANTED[collection])
    for _ in range(2):
        async with make_store(mongodb):
            for collection in INDEXES:
                assert await missing(connection, collection) == []


async def test_an_index_that_was_dropped_is_made_again(mongodb: MongoDatabase, database: Any) -> None:
    async with make_store(mongodb) as store:
        await store.insert(ORDERS, [order("A", signal_id="S")])
    database[ORDERS].drop_indexes()

    async with make_store(mongodb) as store:
        assert await store.insert(ORDERS, [order("B", signal_id="S")]) == {"B"}


async def test_workers_that_start_at_once_on_a_new_database_all_succeed(mongodb: MongoDatabase) -> None:
    stores = [make_store(mongodb, timeout_seconds=PATIENCE_SECONDS) for _ in range(4)]
    await asyncio.gather(*(store.__aenter__() for store in stores))
    await asyncio.gather(*(store.commit([new(ORDERS, order(f"{i}"))]) for i, store in enumerate(stores)))
    assert len(await stores[0].load(ORDERS)) == 4
    assert len({store._workers._database_id for store in stores}) == 1
    for store in stores:
        await store.__aexit__(None, None, None)


@pytest.mark.parametrize("options", [{"name": "theirs"}, {"unique": True}, {}])
async def test_anothers_index_on_signal_id_will_do(mongodb: MongoDatabase, database: Any, options: Any) -> None:
    database[SIGNALS].create_index("signal_id", **options)
    before = database[SIGNALS].index_information()

    async with make_store(mongodb):
        assert database[SIGNALS].index_information() == before


async def test_anothers_index_of_another_name_is_as_good_as_ours(mongodb: MongoDatabase, database: Any) -> None:
    database[OUTBOX].create_index("delivered_at", name="theirs")

    async with make_store(mongodb):
        assert set(database[OUTBOX].index_information()) == {"_id_", "theirs"}


async def test_what_only_earlier_releases_needed_is_dropped_and_what_is_anothers_stays(
    mongodb: MongoDatabase, database: Any
) -> None:
    for name in ("status", "sequence", "attention"):
        database[ORDERS].create_index(name, name=name)
    earlier = {"signal_id": {"$type": "string"}, "leg_index": {"$type": "number"}}
    database[ORDERS].create_index(
        [("signal_id", 1), ("leg_index", 1)],
        name="signal_id_leg_index_unique",
        unique=True,
        partialFilterExpression=earlier,
    )
    database[ORDERS].create_index("symbol", name="theirs")
    database[CONFIRMATIONS].create_index("status", name="status")

    async with make_store(mongodb) as store:
        assert await store.insert(ORDERS, [order("A", signal_id="S"), order("B", signal_id="S")]) == {"B"}
        assert set(database[ORDERS].index_information()) == {
            "_id_",
            "theirs",
            *(index.name for index in WANTED[ORDERS]),
        }
        assert "status" in database[CONFIRMATIONS].index_information()


async def test_nothing_is_unique_in_the_signal_store(mongodb: MongoDatabase, database: Any) -> None:
    async with make_store(mongodb):
        database[SIGNALS].insert_many([{"signal_id": "S"}, {"signal_id": "S"}])


async def test_an_index_in_the_place_of_ours_is_named_with_the_fix(mongodb: MongoDatabase, database: Any) -> None:
    database[ORDERS].create_index([("signal_id", 1), ("leg_index", 1)], name="signal_id_leg_index_once")

    error = await refused(mongodb)

    assert not isinstance(error, StoreUnavailable)
    for words in (f"{mongodb.database}.orders", "signal_id_leg_index_once", "dropIndex"):
        assert words in str(error)
    database[ORDERS].drop_index("signal_id_leg_index_once")
    async with make_store(mongodb):
        pass


async def test_documents_that_a_unique_index_forbids_are_named(mongodb: MongoDatabase, database: Any) -> None:
    database[ORDERS].insert_many([{"signal_id": "the signal", "leg_index": 0} for _ in range(2)])

    error = await refused(mongodb)

    assert not isinstance(error, StoreUnavailable)
    for words in (f"{mongodb.database}.orders", "the signal", "remove or correct"):
        assert words in str(error)
    database[ORDERS].delete_one({})
    async with make_store(mongodb):
        pass


@pytest.mark.parametrize("collection", [ORDERS, CONFIRMATIONS])
async def test_documents_of_others_without_our_fields_are_in_nobodys_way(
    mongodb: MongoDatabase, database: Any, collection: str
) -> None:
    theirs = [{}, {}, {"signal_id": "S"}, {"signal_id": "S"}, {"signal_id": None, "leg_index": None}, {"leg_index": 0}]
    database[collection].insert_many([dict(document) for document in theirs])
    async with make_store(mongodb) as store:
        database[collection].insert_many([dict(document) for document in theirs])
        assert await store.insert(collection, [order("A", signal_id="S"), order("B", signal_id="S")]) == {"B"}
        assert [document["_id"] for document in await store.load(collection, {"signal_id": "S"})] == ["A"]
        assert len(await store.load(collection)) == 13


async def test_positions_of_others_do_not_collide_and_ours_do_whatever_the_word(
    mongodb: MongoDatabase, database: Any
) -> None:
    theirs: list[dict[str, Any]] = [{"status": "OPEN"}, {"status": "OPEN"}, {"position_key": None}, {}, {}]
    database[POSITIONS].insert_many([dict(document) for document in theirs])
    async with make_store(mongodb) as store:
        database[POSITIONS].insert_many([dict(document) for document in theirs])
        for number, status in enumerate(["OPEN", "CLOSING", "A", "closed", "", "CLOSED ", None]):
            key = f"key {number}"
            await store.commit([new(POSITIONS, position(f"P{number}", key, status or "x"))])
            database[POSITIONS].update_one({"_id": f"P{number}"}, {"$set": {"status": status}})
            assert await store.insert(POSITIONS, [position(f"Q{number}", key)]) == {f"Q{number}"}
            await store.commit([Write(POSITIONS, f"P{number}", None, {"status": "CLOSED"})])
            assert await store.insert(POSITIONS, [position(f"Q{number}", key)]) == set()
        database[POSITIONS].update_one({"_id": "Q1"}, {"$unset": {"status": 1}})
        assert await store.insert(POSITIONS, [position("R", "key 1")]) == {"R"}


async def test_the_indexes_are_used(mongodb: MongoDatabase, database: Any) -> None:
    """A partial index cannot find what it does not cover: the plain ones must be there beside it."""
    async with make_store(mongodb):
        for collection, where in [
            (ORDERS, build(ORDERS, {"signal_id": "S"})),
            (ORDERS, build(ORDERS, {"order_id": "17", "account_id": "a"})),
            (ORDERS, build(ORDERS, {"attention": Not(None)})),
            (ORDERS, build(ORDERS, {"account_id": "a", "status": ["PENDING", "SUBMITTED"]})),
            (CONFIRMATIONS, build(CONFIRMATIONS, {"signal_id": "S"})),
            (FILLS, build(FILLS, {"client_order_id": ["a", "b"]})),
            (POSITIONS, build(POSITIONS, {"account_id": "a", "status": "CLOSED", "residual_quantity": Not([0.0])})),
            (POSITIONS, {"position_key": {"$eq": "k"}, "status": {"$nin": ["CLOSED"]}}),
            (OUTBOX, {"delivered_at": {"$eq": None}}),
            (SIGNALS, {"$or": [{"_id": {"$in": ["a", "S"]}}, {"signal_id": "S"}]}),
        ]:
            assert "COLLSCAN" not in str(database[collection].find(where).explain()["queryPlanner"]["winningPlan"])


async def test_the_newest_orders_are_found_without_sorting_them_all(mongodb: MongoDatabase, database: Any) -> None:
    statuses = [status.value for status in OrderStatus]
    async with make_store(mongodb) as store:
        orders = [order(f"{n}", status=statuses[n % len(statuses)], sequence=n) for n in range(500)]
        await store.insert(ORDERS, [*orders, order("archived", status="FILLED")])
        where = build(ORDERS, {"status": statuses, "sequence": Not(None)})
        plan = str(database[ORDERS].find(where).sort("sequence", -1).limit(5).explain()["queryPlanner"]["winningPlan"])
        assert "COLLSCAN" not in plan
        assert "'SORT'" not in plan
        found = await store.load(
            ORDERS, {"status": statuses, "sequence": Not(None)}, order_by="sequence", descending=True, limit=5
        )
        assert [document["_id"] for document in found] == ["499", "498", "497", "496", "495"]


# ---------------------------------------------------------------------- versions


@pytest.fixture
def as_version_3(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """This release knows version 3; what its upgrades did is in the list."""
    done: list[str] = []

    async def from_1(database: AsyncDatabase[Any]) -> None:
        done.append("from 1")
        await database["orders"].update_many({"old": {"$exists": True}}, [{"$set": {"new": "$old"}}, {"$unset": "old"}])

    async def from_2(database: AsyncDatabase[Any]) -> None:
        done.append("from 2")
        await asyncio.sleep(0.05)

    monkeypatch.setattr(schema, "UPGRADES", {1: from_1, 2: from_2})
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 3)
    return done


@pytest.fixture
async def at_version_1(mongodb: MongoDatabase, database: Any) -> None:
    async with make_store(mongodb) as store:
        await store.commit([Write(ORDERS, "A", None, {"old": 7})])
    assert database[schema.META].find_one({"_id": schema.RECORD})["version"] == 1


async def test_a_database_of_a_newer_release_is_refused_with_a_sentence(
    mongodb: MongoDatabase, database: Any, at_version_1: None
) -> None:
    database[schema.META].update_one({"_id": schema.RECORD}, {"$set": {"version": 99}})

    for prepare in (True, False):
        error = await refused(mongodb, prepare=prepare)
        assert not isinstance(error, StoreUnavailable)
        assert "newer release" in str(error)


@pytest.mark.usefixtures("at_version_1")
async def test_upgrades_run_in_order_and_once_however_many_start(
    mongodb: MongoDatabase, database: Any, as_version_3: list[str]
) -> None:
    stores = [make_store(mongodb, timeout_seconds=PATIENCE_SECONDS) for _ in range(4)]
    await asyncio.gather(*(store.__aenter__() for store in stores))

    assert as_version_3 == ["from 1", "from 2"]
    assert await stores[0].load(ORDERS) == [{"_id": "A", "new": 7}]
    assert database[schema.META].find_one({"_id": schema.RECORD})["version"] == 3
    for store in stores:
        await store.__aexit__(None, None, None)
    async with make_store(mongodb):
        assert as_version_3 == ["from 1", "from 2"]


@pytest.mark.usefixtures("at_version_1")
async def test_looking_upgrades_nothing(mongodb: MongoDatabase, as_version_3: list[str]) -> None:
    async with make_store(mongodb, prepare=False):
        assert as_version_3 == []


@pytest.mark.usefixtures("at_version_1")
async def test_an_upgrade_that_was_killed_midway_is_run_again(
    mongodb: MongoDatabase, database: Any, as_version_3: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "GUARD_SECONDS", 1)
    hanging = asyncio.Event()

    async def hang(_: AsyncDatabase[Any]) -> None:
        hanging.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(schema, "UPGRADES", {1: hang})
        killed = asyncio.create_task(make_store(mongodb).__aenter__())
        await hanging.wait()
        error = await refused(mongodb, timeout_seconds=3.0)
        assert isinstance(error, StoreUnavailable)
        assert "upgrading" in str(error)
        killed.cancel()
        await asyncio.gather(killed, return_exceptions=True)
    assert database[schema.META].find_one({"_id": schema.RECORD})["guard"] is not None

    async with make_store(mongodb, timeout_seconds=PATIENCE_SECONDS):
        assert as_version_3 == ["from 1", "from 2"]


@pytest.mark.usefixtures("at_version_1")
async def test_a_guard_is_kept_as_long_as_the_upgrade_runs(
    mongodb: MongoDatabase, as_version_3: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "GUARD_SECONDS", 1)
    long, running = asyncio.Event(), asyncio.Event()

    async def upgrade(_: AsyncDatabase[Any]) -> None:
        as_version_3.append("long")
        running.set()
        await long.wait()

    monkeypatch.setattr(schema, "UPGRADES", {1: upgrade, 2: schema.UPGRADES[2]})
    first = asyncio.create_task(make_store(mongodb).__aenter__())
    await running.wait()
    error = await refused(mongodb, timeout_seconds=2.5)  # longer than an unkept guard lasts
    long.set()
    store = await first

    assert isinstance(error, StoreUnavailable)
    assert as_version_3 == ["long", "from 2"]
    await store.__aexit__(None, None, None)


def test_there_is_an_upgrade_from_every_version_before() -> None:
    assert set(schema.UPGRADES) == set(range(1, schema.SCHEMA_VERSION))
