"""Workers in MongoDB: life, death and other machines, and the locks that a killed one leaves behind."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from exec_service.stores import (
    ORDERS,
    LeaseLost,
    StoreUnavailable,
    WorkerAlive,
    Write,
)
from exec_service.stores import mongo_workers as module
from exec_service.stores.mongo import MongoStore
from impatience import grow_impatient
from mongod import Mongod
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure
from real_servers import MongoDatabase
from store_samples import PATIENCE_SECONDS, assert_every_commit_is_whole, new, only, order, worker

CHILD = """
import asyncio, sys
from pydantic import SecretStr
from exec_service.stores import FILLS, ORDERS, Write
from exec_service.stores.mongo import MongoStore

async def main():
    uri, database, what = sys.argv[1:]
    async with MongoStore(SecretStr(uri), database) as store:
        lease = await store.take_lease("w", 3600)
        if what == "hang in a transaction":
            # As if it was killed between two statements of a commit.
            session = store._transactions._worker_session
            await session.start_transaction()
            orders = store._connection.collection(ORDERS)
            await orders.update_one({"_id": "A"}, {"$set": {"by": "child"}}, session=session)
            print("ready", flush=True)
            await asyncio.Event().wait()
        print("ready", flush=True)
        number = 0
        while what == "commit":
            number += 1
            writes = [Write(ORDERS, f"{number}", 0, {"revision": 1, "signal_id": f"{number}", "leg_index": 0})]
            writes += [Write(FILLS, f"{number}-{part}", 0, {"client_order_id": f"{number}"}) for part in range(10)]
            writes.append(Write("accounts", "a", None, {"newest": number}))
            await store.commit(writes, lease=lease)
            print(number, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def child(mongodb: MongoDatabase, what: str) -> Iterator[subprocess.Popen[str]]:
    """A worker `w` in a process of its own; it has taken its lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, mongodb.uri, mongodb.database, what], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()
        end_sessions(mongodb)


def end_sessions(mongodb: MongoDatabase) -> None:
    """What the killed child has left open would keep the database from being dropped."""
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        row = client[mongodb.database]["workers"].find_one({"_id": "w"}) or {}
        client.admin.command({"killSessions": [{"id": item} for item in row.get("sessions", ())]})


def stop(process: subprocess.Popen[str]) -> None:
    """SIGSTOP, and wait until it has stopped."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def kill_unnoticed(process: subprocess.Popen[str]) -> None:
    """SIGKILL, and wait until it has ended; its parent has not looked yet."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
async def store(mongodb: MongoDatabase) -> AsyncIterator[MongoStore]:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as made:
        yield made


@pytest.fixture
def database(mongodb: MongoDatabase) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        yield client[mongodb.database]


def elsewhere(database: Database[dict[str, Any]], **fields: Any) -> None:
    """The worker `w` seems to run on another machine."""
    database["workers"].update_one({"_id": "w"}, {"$set": {"machine": "another", "host": "far-away", **fields}})


# ---------------------------------------------------------------------- life and death of processes


@pytest.mark.parametrize("kill_after", [1, 7, 25])
async def test_kill_9_loses_no_acknowledged_commit_and_leaves_none_half_done(
    mongodb: MongoDatabase, kill_after: int
) -> None:
    with child(mongodb, "commit") as process:
        assert process.stdout is not None
        for _ in range(kill_after):
            process.stdout.readline()
        process.kill()
        rest = process.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else kill_after

        async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
            lease = await store.take_lease("w", 30)
            await store.commit([], lease=lease)
            await assert_every_commit_is_whole(store, acknowledged)


async def test_a_killed_worker_is_proven_dead_and_its_id_can_be_taken_at_once(
    mongodb: MongoDatabase, store: MongoStore
) -> None:
    with child(mongodb, "wait") as process:
        alive = await worker(store, "w")
        with pytest.raises(WorkerAlive, match=str(process.pid)):
            await store.take_lease("w", 30)
        kill_unnoticed(process)
        dead = await worker(store, "w")
        async with asyncio.timeout(PATIENCE_SECONDS):
            lease = await store.take_lease("w", 30)

    assert alive.process_id == process.pid
    assert not alive.proven_dead
    assert not alive.is_gone
    assert dead.proven_dead
    assert dead.is_gone
    assert lease.epoch == alive.epoch + 1


async def test_a_stopped_worker_is_silent_but_alive_even_when_its_lease_ran_out(
    mongodb: MongoDatabase, store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    with child(mongodb, "wait") as process:
        stop(process)
        database["workers"].update_one({"_id": "w"}, {"$set": {"lease_seconds": 0.0}})
        state = await worker(store, "w")
        with pytest.raises(WorkerAlive, match=str(process.pid)):
            await store.take_lease("w", 30)

    assert not state.proven_dead
    assert state.is_gone  # its accounts may be taken over, its id not


async def test_the_locks_of_a_worker_that_was_killed_in_a_transaction_are_freed(
    mongodb: MongoDatabase, store: MongoStore
) -> None:
    """Left alone they last until the server reaps the session, more than a minute."""
    await store.insert(ORDERS, [order("A")])
    with child(mongodb, "hang in a transaction") as process:
        process.kill()
        process.wait()
        async with asyncio.timeout(PATIENCE_SECONDS):
            lease = await store.take_lease("w", 30)
            await store.commit([Write(ORDERS, "A", 1, order("A", 2))], lease=lease)

    assert "by" not in await only(store, ORDERS, "A")


async def test_the_locks_are_freed_by_a_fence_and_by_any_worker_that_starts(own_mongod: Mongod) -> None:
    """On a server that no other test cleans up meanwhile: that ends the transactions of everybody who died there."""
    own = MongoDatabase(own_mongod.uri, "locks")
    async with MongoStore(SecretStr(own.uri), own.database) as store:
        for step in ("fence", "start"):
            await store.commit([Write(ORDERS, "A", None, {"by": step, "signal_id": "S", "leg_index": 0})])
            with child(own, "hang in a transaction") as process:
                process.kill()
                process.wait()
                # Without help the document stays locked: that is what the help is for.
                async with MongoStore(SecretStr(own.uri), own.database) as impatient:
                    grow_impatient(impatient, 0.5)
                    with pytest.raises(StoreUnavailable):
                        await impatient.commit([Write(ORDERS, "A", None, {"by": "nobody"})])
                if step == "fence":
                    await store.fence("w")
                else:
                    await store.take_lease("another", 30)

                async with asyncio.timeout(PATIENCE_SECONDS):
                    await store.commit([Write(ORDERS, "A", None, {"by": "store"})])

            assert (await only(store, ORDERS, "A"))["by"] == "store"


async def test_a_worker_that_lives_is_not_disturbed_by_others_that_start(
    mongodb: MongoDatabase, store: MongoStore
) -> None:
    """Its transactions go on while others take leases and look at the workers."""
    with child(mongodb, "commit") as process:
        for number in range(10):
            lease = await store.take_lease(f"{number}", 30)
            await store.release_lease(lease)
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline)
        assert process.poll() is None
        assert not (await worker(store, "w")).is_gone


async def test_the_transaction_of_a_worker_that_lives_is_left_alone(mongodb: MongoDatabase, store: MongoStore) -> None:
    await store.insert(ORDERS, [order("A")])
    with child(mongodb, "hang in a transaction"):
        await store.take_lease("another", 30)

        async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as impatient:
            grow_impatient(impatient, 0.5)
            with pytest.raises(StoreUnavailable):
                await impatient.commit([Write(ORDERS, "A", 1, order("A", 2))])


async def test_leaving_the_store_frees_its_workers(mongodb: MongoDatabase) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
        await store.take_lease("w", 30)
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
        assert (await worker(store, "w")).proven_dead
        await store.take_lease("w", 30)


async def test_the_same_id_in_another_database_is_another_worker(mongodb: MongoDatabase, store: MongoStore) -> None:
    await store.take_lease("w", 30)
    name = f"{mongodb.database}_2"
    async with MongoStore(SecretStr(mongodb.uri), name) as other:
        try:
            lease = await other.take_lease("w", 30)
            assert lease.epoch == 1
        finally:
            await other._connection.client.drop_database(name)


# ---------------------------------------------------------------------- other machines


async def test_of_another_machine_nothing_is_proven_and_its_silence_is_watched_to_the_end_of_its_lease(
    mongodb: MongoDatabase, store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    with child(mongodb, "wait") as process:
        process.kill()
        process.wait()
    elsewhere(database, lease_seconds=2.0)
    began = time.monotonic()
    database["workers"].update_one({"_id": "w"}, [{"$set": {"heartbeat": "$$NOW"}}])
    assert not (await worker(store, "w")).proven_dead

    async with asyncio.timeout(PATIENCE_SECONDS):
        lease = await store.take_lease("w", 30)

    assert lease.epoch == 2
    assert time.monotonic() - began > 1.9
    assert (await worker(store, "w")).process_id == os.getpid()


async def test_a_worker_on_another_machine_that_is_heard_is_alive_and_named(
    mongodb: MongoDatabase, store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as other:
        lease = await other.take_lease("w", 60)
        elsewhere(database)
        taking = asyncio.create_task(store.take_lease("w", 30))
        while not taking.done():
            await other.renew_lease(lease)
            await asyncio.sleep(0.05)

        with pytest.raises(WorkerAlive, match="far-away"):
            await taking
        await other.commit([new(ORDERS, order("A"))], lease=lease)


async def test_a_worker_that_says_good_bye_while_it_is_watched_can_be_followed_at_once(
    mongodb: MongoDatabase, store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as other:
        lease = await other.take_lease("w", 3600)
        elsewhere(database)
        taking = asyncio.create_task(store.take_lease("w", 30))
        await asyncio.sleep(0)
        await other.release_lease(lease)

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await taking).epoch == lease.epoch + 1


async def test_a_silent_worker_on_another_machine_loses_its_lease_to_who_follows(
    mongodb: MongoDatabase, store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as other:
        old = await other.take_lease("w", 0.2)
        elsewhere(database)
        async with asyncio.timeout(PATIENCE_SECONDS):
            new_lease = await store.take_lease("w", 30)

        with pytest.raises(LeaseLost):
            await other.commit([new(ORDERS, order("A"))], lease=old)
        await store.commit([new(ORDERS, order("B"))], lease=new_lease)
        assert [document["_id"] for document in await store.load(ORDERS)] == ["B"]


async def test_of_two_who_come_at_once_one_becomes_the_worker(mongodb: MongoDatabase, store: MongoStore) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as other:
        for number in range(100):
            outcomes = await asyncio.gather(
                store.take_lease(f"{number}", 30), other.take_lease(f"{number}", 30), return_exceptions=True
            )
            assert sorted(isinstance(outcome, WorkerAlive) for outcome in outcomes) == [False, True]


async def test_where_the_kernel_tells_nothing_a_store_still_takes_its_own_lease_again(
    mongodb: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exec_service.stores.mongo_processes._machine", lambda: None)
    async with (
        MongoStore(SecretStr(mongodb.uri), mongodb.database) as store,
        MongoStore(SecretStr(mongodb.uri), mongodb.database) as other,
    ):
        first = await store.take_lease("w", 30)
        with pytest.raises(WorkerAlive):
            await other.take_lease("w", 30)
        assert (await store.take_lease("w", 30)).epoch == first.epoch + 1
        assert not (await worker(other, "w")).proven_dead


async def test_a_worker_that_may_not_end_sessions_goes_on(
    mongodb: MongoDatabase, store: MongoStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pymongo.asynchronous.database import AsyncDatabase

    command = AsyncDatabase.command

    async def refuse(self: Any, what: Any, *arguments: Any, **options: Any) -> Any:
        if "killSessions" in what:
            raise OperationFailure("not authorized on admin to execute command {...}", 13)
        return await command(self, what, *arguments, **options)

    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as other:
        await other.take_lease("w", 30)
    monkeypatch.setattr(AsyncDatabase, "command", refuse)
    with caplog.at_level(logging.WARNING):
        lease = await store.take_lease("w", 30)

    assert lease.epoch == 2
    assert "killed worker" in caplog.text


async def test_heartbeats_go_by_the_databases_clock(
    store: MongoStore, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await store.take_lease("w", 30)
    theirs = database.client.admin.command("hello")["localTime"]
    row = database["workers"].find_one({"_id": "w"}) or {}
    assert abs((row["heartbeat"] - theirs).total_seconds()) < PATIENCE_SECONDS
    database["workers"].update_one({"_id": "w"}, [{"$set": {"heartbeat": {"$subtract": ["$$NOW", 20_000]}}}])

    assert 19 < (await worker(store, "w")).heartbeat_age_seconds < 20 + PATIENCE_SECONDS
    await store.commit([], lease=lease)
    assert (await worker(store, "w")).heartbeat_age_seconds < PATIENCE_SECONDS


def test_no_leases_are_left_behind() -> None:
    assert module._held_here == {}
