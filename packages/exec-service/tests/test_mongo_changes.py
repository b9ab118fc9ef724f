"""Changes of others in MongoDB: what wakes, what does not, and what happens when the stream is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import driver_sockets
import pytest
from exec_service.stores import FILLS, ORDERS, OUTBOX, StoreUnavailable, Write
from exec_service.stores import mongo_changes as module
from exec_service.stores.mongo import MongoStore
from impatience import grow_impatient
from mongo_proxy import proxy_to
from mongod import Mongod
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.database import Database
from pymongo.errors import OperationFailure
from real_servers import MongoDatabase
from store_samples import MOMENT_SECONDS, PATIENCE_SECONDS, new, order, tell


@pytest.fixture(autouse=True)
def _driver_sockets() -> Iterator[None]:
    yield
    driver_sockets.let_go()


@pytest.fixture
def database(mongodb: MongoDatabase) -> Iterator[Database[dict[str, Any]]]:
    """The database as another service sees it."""
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        yield client[mongodb.database]


@pytest.fixture
async def store(mongodb: MongoDatabase) -> AsyncIterator[MongoStore]:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as made:
        yield made


async def drained(store: MongoStore) -> None:
    """Nothing is unreported any more, and the stream is open."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await store.wait_for_change(MOMENT_SECONDS):
            pass


async def test_a_foreign_service_wakes_by_every_kind_of_write(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    orders = database[ORDERS]
    for write in (
        lambda: orders.insert_one({"_id": "A"}),
        lambda: orders.update_one({"_id": "A"}, {"$set": {"x": 1}}),
        lambda: orders.replace_one({"_id": "A"}, {"x": 2}),
        lambda: orders.delete_one({"_id": "A"}),
    ):
        await drained(store)
        waiting = asyncio.create_task(store.wait_for_change(PATIENCE_SECONDS))
        await asyncio.to_thread(write)
        assert await waiting


async def test_workers_and_collections_of_others_wake_nobody(
    store: MongoStore, mongodb: MongoDatabase, database: Database[dict[str, Any]]
) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as other:
        await drained(store)
        lease = await other.take_lease("w", 30)
        await other.renew_lease(lease)
        await other.commit([], lease=lease)
        await other.fence("w")
        database["prices"].insert_one({"_id": "A"})

        assert not await store.wait_for_change(MOMENT_SECONDS)


async def test_our_own_writes_of_every_kind_are_no_change(store: MongoStore) -> None:
    lease = await store.take_lease("w", 30)
    await drained(store)
    for number in range(3):
        await store.commit([new(ORDERS, order(f"{number}")), new(FILLS, {"_id": f"{number}"})], lease=lease)
        await store.commit([Write(OUTBOX, "A", None, {"number": number})])
        await store.insert(OUTBOX, [{"_id": f"{number}"}, {"_id": "repeat"}])
        await tell(store, [], "S", lambda _, number=number: {"number": number})  # type: ignore[misc]
        await tell(store, [], "S", lambda _: None)
        await tell(store, [], "S", lambda found: {"number": found and found["number"]})

    assert not await store.wait_for_change(2 * MOMENT_SECONDS)
    assert not store._changes._own


async def test_a_foreign_write_beside_ours_is_not_taken_for_it(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    """A repeat must not hide what somebody else did to the document."""
    await drained(store)
    database[ORDERS].insert_one({"_id": "A", "signal_id": "S", "leg_index": 0})
    assert await store.insert(ORDERS, [order("A")]) == {"A"}
    assert await store.wait_for_change(PATIENCE_SECONDS)


async def test_what_is_remembered_of_our_own_writes_is_bounded(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 10)
    await store.insert(OUTBOX, [{"_id": f"{number}"} for number in range(50)])

    assert len(store._changes._own) == 10
    await drained(store)  # what was forgotten counts, and comes to an end


async def test_who_is_cancelled_at_the_wrong_moment_takes_no_change_with_him(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    await drained(store)
    waiting = asyncio.create_task(store.wait_for_change(PATIENCE_SECONDS))
    await asyncio.sleep(0)
    store._changes._changed()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert await store.wait_for_change(0)
    assert not await store.wait_for_change(0)


async def test_nobody_waits_and_nothing_is_asked(mongodb: MongoDatabase) -> None:
    async with proxy_to(mongodb.uri) as proxy, MongoStore(SecretStr(proxy.uri), mongodb.database) as store:
        await store.commit([new(ORDERS, order("A"))])
        assert proxy.seen["getMore"] == 0
        await drained(store)
        reader = store._changes._reader
        assert reader is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            await reader  # it ends by itself when nobody waits any more
        asked = proxy.seen["getMore"]
        for number in range(5):
            await store.commit([new(FILLS, {"_id": f"{number}"})])
        assert proxy.seen["getMore"] == asked


async def test_a_lost_connection_is_a_change_and_misses_nothing(
    mongodb: MongoDatabase, database: Database[dict[str, Any]]
) -> None:
    async with (
        proxy_to(mongodb.uri) as proxy,
        MongoStore(SecretStr(proxy.uri), mongodb.database) as store,
    ):
        grow_impatient(store, 2.0)
        await drained(store)
        proxy.refusing = True
        proxy.cut()
        assert not await store.wait_for_change(MOMENT_SECONDS)  # away, but no error
        database[ORDERS].insert_one({"_id": "A"})
        proxy.refusing = False

        assert await store.wait_for_change(PATIENCE_SECONDS)
        await drained(store)
        database[ORDERS].insert_one({"_id": "B"})
        assert await store.wait_for_change(PATIENCE_SECONDS)


async def test_what_was_missed_between_two_streams_counts_as_a_change(
    store: MongoStore, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    await drained(store)
    stream, reader = store._changes._stream, store._changes._reader
    assert stream is not None
    assert reader is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        await reader

    async def broken() -> None:
        raise OperationFailure("the history is lost", 286)

    monkeypatch.setattr(stream, "try_next", broken)
    await asyncio.to_thread(database[ORDERS].insert_one, {"_id": "A"})

    assert await store.wait_for_change(PATIENCE_SECONDS)
    await drained(store)


async def test_a_step_down_is_survived(own_mongod: Mongod) -> None:
    async with (
        MongoStore(SecretStr(own_mongod.uri), "exec_test") as store,
        MongoStore(SecretStr(own_mongod.uri), "exec_test", timeout_seconds=PATIENCE_SECONDS) as other,
    ):
        await drained(store)
        waiting = asyncio.create_task(store.wait_for_change(2 * PATIENCE_SECONDS))
        await asyncio.to_thread(own_mongod.step_down, 1)
        await asyncio.to_thread(own_mongod.wait_until_primary)
        await other.commit([new(ORDERS, order("A"))])

        assert await waiting


async def test_history_that_is_not_kept_any_more_is_a_change(
    store: MongoStore, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = AsyncDatabase.watch

    async def forgetful(self: Any, *arguments: Any, **options: Any) -> Any:
        if options["start_at_operation_time"] is not None:
            raise OperationFailure("Resume of change stream was not possible", 286)
        return await watch(self, *arguments, **options)

    monkeypatch.setattr(AsyncDatabase, "watch", forgetful)

    assert await store.wait_for_change(PATIENCE_SECONDS)
    await drained(store)
    database[ORDERS].insert_one({"_id": "A"})
    assert await store.wait_for_change(PATIENCE_SECONDS)


async def test_a_dropped_database_is_a_change_and_the_stream_goes_on(
    store: MongoStore, mongodb: MongoDatabase, database: Database[dict[str, Any]]
) -> None:
    await drained(store)
    waiting = asyncio.create_task(store.wait_for_change(PATIENCE_SECONDS))
    await asyncio.to_thread(database.client.drop_database, mongodb.database)
    assert await waiting
    await drained(store)
    database[ORDERS].insert_one({"_id": "A"})
    assert await store.wait_for_change(PATIENCE_SECONDS)


async def test_without_change_streams_everybody_polls_and_it_is_said_once(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def watch(*_: Any, **__: Any) -> Any:
        raise OperationFailure("not authorized on exec_test to execute command {secret stuff}", 13)

    monkeypatch.setattr(AsyncDatabase, "watch", watch)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)

    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert await store.wait_for_change(PATIENCE_SECONDS)
        assert not await store.wait_for_change(0.01)

    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "readWrite" in told[0]
    assert "secret stuff" not in told[0]


async def test_who_still_waits_when_the_store_is_left_is_told(mongodb: MongoDatabase) -> None:
    store = await MongoStore(SecretStr(mongodb.uri), mongodb.database).__aenter__()
    waiting = [asyncio.create_task(store.wait_for_change(PATIENCE_SECONDS)) for _ in range(2)]
    await asyncio.sleep(0)
    await store.__aexit__(None, None, None)

    for task in waiting:
        with pytest.raises(StoreUnavailable):
            await task


async def test_waiting_costs_the_server_nothing_for_our_own_transactions(mongodb: MongoDatabase) -> None:
    """They are left out by the server: nothing but empty answers comes while we commit."""
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
        lease = await store.take_lease("w", 30)
        await drained(store)
        noted: list[Any] = []
        store._changes._note = noted.append  # type: ignore[method-assign]
        waiting = asyncio.create_task(store.wait_for_change(3 * MOMENT_SECONDS))
        for number in range(10):
            await store.commit([new(ORDERS, order(f"{number}"))], lease=lease)
            await store.commit([new(FILLS, {"_id": f"{number}"})])
        assert not await waiting
        assert noted == []
