"""Commits in MongoDB: what the network, a kill, a step-down, a foreign writer and a cancelled caller do to them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import driver_sockets
import pytest
from bson.binary import Binary, UuidRepresentation
from bson.codec_options import CodecOptions
from exec_service.stores import (
    ACCOUNTS,
    CONFIRMATIONS,
    FILLS,
    ORDERS,
    OUTBOX,
    POSITIONS,
    Lease,
    LeaseLost,
    RevisionConflict,
    StoreUnavailable,
    Write,
)
from exec_service.stores.mongo import MongoStore
from impatience import grow_impatient
from mongo_proxy import Proxy, proxy_to
from mongod import Mongod
from pydantic import SecretStr
from pymongo import MongoClient
from real_servers import MongoDatabase
from store_samples import PATIENCE_SECONDS, new, only, order, position, tell


@pytest.fixture(autouse=True)
def _driver_sockets() -> Iterator[None]:
    yield
    driver_sockets.let_go()


@pytest.fixture
async def proxy(mongodb: MongoDatabase) -> AsyncIterator[Proxy]:
    async with proxy_to(mongodb.uri) as made:
        yield made


@pytest.fixture
async def store(mongodb: MongoDatabase, proxy: Proxy) -> AsyncIterator[MongoStore]:
    """A store whose connections pass through the proxy."""
    async with MongoStore(SecretStr(proxy.uri), mongodb.database) as made:
        grow_impatient(made, 5.0)
        yield made


@pytest.fixture
def client(mongodb: MongoDatabase) -> Iterator[MongoClient[dict[str, Any]]]:
    """Another program, with a connection of its own."""
    with MongoClient[dict[str, Any]](mongodb.uri) as made:
        yield made


def open_transactions(client: MongoClient[dict[str, Any]], store: MongoStore) -> list[Any]:
    """The store's transactions that stand open on the server, and are not doing anything just now."""
    ours = [Binary(session, 4).as_uuid() for session in store._transactions.session_ids()]
    pipeline: list[Any] = [
        {"$currentOp": {"allUsers": True, "idleSessions": True}},
        {"$match": {"transaction": {"$exists": True}, "type": "idleSession"}},
    ]
    options = CodecOptions[dict[str, Any]](uuid_representation=UuidRepresentation.STANDARD)
    found = client.get_database("admin", codec_options=options).aggregate(pipeline)
    return [item for item in found if item["lsid"]["id"] in ours]


def _has_come(proxy: Proxy, count: int, task: asyncio.Task[None]) -> bool:
    return task.done() or sum(proxy.seen.values()) >= count


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until it holds; only time and the server can make it."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


def typical(number: int) -> list[Write]:
    """What a filled order writes."""
    confirmation = {"signal_id": f"{number}", "leg_index": 0, "status": "FILLED"}
    return [
        Write(ORDERS, f"{number}", 1, order(f"{number}", 2)),
        new(FILLS, {"_id": f"{number}", "client_order_id": f"{number}"}),
        Write(POSITIONS, "P", number, position("P", "key", revision=number + 1)),
        Write(CONFIRMATIONS, f"exec_{number}", None, confirmation),
        new(OUTBOX, {"_id": f"{number}-1", "revision": 1, "channel": "x"}),
        new(OUTBOX, {"_id": f"{number}-2", "revision": 1, "channel": "y"}),
    ]


# ---------------------------------------------------------------------- what it costs


async def test_a_typical_commit_costs_seven_round_trips(store: MongoStore, proxy: Proxy) -> None:
    lease = await store.take_lease("w", 30)
    await store.insert(ORDERS, [order("0"), order("1")])
    await store.commit(typical(0), lease=lease)
    proxy.log.clear()

    await store.commit(typical(1), lease=lease)

    assert proxy.log.count("commitTransaction") == 1
    assert proxy.log.count("update") == 4  # the worker, orders, positions, confirmations
    assert proxy.log.count("insert") == 2  # fills, outbox
    assert len(proxy.log) == 7


async def test_a_batch_costs_no_more_round_trips_than_kinds_of_change(store: MongoStore, proxy: Proxy) -> None:
    lease = await store.take_lease("w", 30)
    numbers = range(200)
    await store.insert(ORDERS, [order(f"{number}") for number in numbers])
    proxy.log.clear()

    writes = [write for number in numbers for write in typical(number) if write.collection != POSITIONS]
    await store.commit(writes, lease=lease)

    # The worker, fills, outbox, the end; orders: a look and an update; confirmations, all new: a look and an insert.
    assert sorted(proxy.log) == ["commitTransaction", "find", "find", "insert", "insert", "insert", "update", "update"]
    assert len(await store.load(CONFIRMATIONS, {"status": "FILLED"})) == 200


# ---------------------------------------------------------------------- conflicts


async def test_a_large_batch_names_every_conflict(store: MongoStore) -> None:
    """Beyond `LOOK_FIRST` the documents are looked at first; the outcome must be the same."""
    lease = await store.take_lease("w", 30)
    await store.insert(ORDERS, [order(f"{number}") for number in range(100)])
    await store.commit([Write(ORDERS, "7", 1, order("7", 2)), Write(ORDERS, "70", 1, order("70", 2))])
    writes = [Write(ORDERS, f"{number}", 1, order(f"{number}", 3)) for number in range(101)]

    with pytest.raises(RevisionConflict) as caught:
        await store.commit([*writes, new(FILLS, {"_id": "F"})], lease=lease)

    assert set(caught.value.conflicts) == {(ORDERS, "7"), (ORDERS, "70"), (ORDERS, "100")}
    assert await store.load(FILLS) == []
    assert len(await store.load(ORDERS, {"_id": "3"})) == 1
    assert (await only(store, ORDERS, "3"))["revision"] == 1


async def test_a_large_batch_of_unconditional_writes_makes_what_is_missing(store: MongoStore) -> None:
    await store.commit([Write(OUTBOX, f"{number}", None, {"channel": "old", "a": 1}) for number in range(0, 100, 2)])

    await store.commit([Write(OUTBOX, f"{number}", None, {"channel": "new"}) for number in range(100)])

    found = {document["_id"]: document for document in await store.load(OUTBOX)}
    assert len(found) == 100
    assert found["2"] == {"_id": "2", "channel": "new", "a": 1}
    assert found["3"] == {"_id": "3", "channel": "new"}


async def test_all_that_a_unique_combination_keeps_out_are_named(store: MongoStore) -> None:
    lease = await store.take_lease("w", 30)
    await store.insert(ORDERS, [order("A", signal_id="S"), order("B", signal_id="T"), order("C", signal_id="U")])
    await store.commit([new(POSITIONS, position("P", "key"))])

    with pytest.raises(RevisionConflict) as caught:
        await store.commit(
            [
                new(ORDERS, order("A2", signal_id="S")),
                new(ORDERS, order("D", signal_id="V")),
                Write(ORDERS, "C", 1, order("C", 2, signal_id="T")),
                new(POSITIONS, position("Q", "key")),
                new(POSITIONS, position("R", "key", "CLOSED")),
            ],
            lease=lease,
        )

    assert set(caught.value.conflicts) == {(ORDERS, "A2"), (ORDERS, "C"), (POSITIONS, "Q")}


async def test_two_new_documents_of_one_commit_that_exclude_each_other_are_a_conflict(store: MongoStore) -> None:
    with pytest.raises(RevisionConflict) as caught:
        await store.commit([new(ORDERS, order("A", signal_id="S")), new(ORDERS, order("B", signal_id="S"))])

    assert caught.value.conflicts == ((ORDERS, "B"),)
    assert await store.load(ORDERS) == []


async def test_many_flips_at_once_close_before_they_open(store: MongoStore) -> None:
    await store.commit([new(POSITIONS, position(f"P{n}", f"key{n}")) for n in range(40)])

    await store.commit(
        [
            write
            for n in range(40)
            for write in (
                Write(POSITIONS, f"P{n}", 1, {"revision": 2, "status": "CLOSED"}),
                new(POSITIONS, position(f"Q{n}", f"key{n}")),
            )
        ]
    )

    assert len(await store.load(POSITIONS, {"status": "OPEN"})) == 40


async def test_top_level_names_may_be_anything(store: MongoStore) -> None:
    odd = {"a.b": 1, "$set": {"$x": 2}, "": 3, "$$ROOT": "text", "0": "$status", "plain": "$$NOW"}
    await store.commit([Write(OUTBOX, "A", None, {"kept": True, "a": {"b": 9}})])
    await store.commit([Write(OUTBOX, "A", None, odd), new(OUTBOX, {"_id": "B", **odd})])

    assert await only(store, OUTBOX, "A") == {"_id": "A", "kept": True, "a": {"b": 9}, **odd}
    assert await only(store, OUTBOX, "B") == {"_id": "B", **odd}


async def test_a_document_beyond_16_megabytes_is_refused_before_anything_is_written(store: MongoStore) -> None:
    with pytest.raises(ValueError, match="outbox/A"):
        await store.commit([new(FILLS, {"_id": "F"}), new(OUTBOX, {"_id": "A", "text": "x" * 17_000_000})])
    with pytest.raises(ValueError):
        await store.insert(OUTBOX, [{"_id": "A", "text": "x" * 17_000_000}])

    assert await store.load(FILLS) == []


async def test_a_commit_larger_than_a_command_is_split_and_still_whole(
    store: MongoStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exec_service.stores.mongo_writes.MAX_BYTES", 100_000)
    await store.commit([new(OUTBOX, {"_id": f"{number}", "text": "x" * 40_000}) for number in range(10)])
    changed = [Write(OUTBOX, f"{number}", None, {"text": "y" * 40_000}) for number in range(10)]

    with pytest.raises(RevisionConflict) as caught:
        await store.commit([*changed, new(OUTBOX, {"_id": "9x", "text": ""}), Write(ORDERS, "A", 1, order("A", 2))])
    assert caught.value.conflicts == ((ORDERS, "A"),)
    assert {document["text"][0] for document in await store.load(OUTBOX)} == {"x"}
    proxy.log.clear()
    await store.commit(changed)

    assert proxy.log == ["update"] * 5 + ["commitTransaction"]
    assert {document["text"][0] for document in await store.load(OUTBOX)} == {"y"}


# ---------------------------------------------------------------------- answers that get lost


@pytest.mark.parametrize("lost", [1, 2, 5])
@pytest.mark.parametrize("what", ["lose_questions", "lose_answers"])
async def test_a_workers_commit_whose_answer_is_lost_took_place_once(
    store: MongoStore, proxy: Proxy, what: str, lost: int
) -> None:
    """Neither a conflict with itself, nor "try again" although it took place."""
    lease = await store.take_lease("w", 30)
    await store.commit([new(ORDERS, order("A"))], lease=lease)
    for number in range(1, 4):
        setattr(proxy, what, lost)
        writes = [Write(ORDERS, "A", number, order("A", number + 1)), new(FILLS, {"_id": f"{number}"})]

        await store.commit(writes, lease=lease)

        assert proxy.lost.is_set()
        assert (await only(store, ORDERS, "A"))["revision"] == number + 1
        assert len(await store.load(FILLS)) == number
    with pytest.raises(RevisionConflict):
        await store.commit(writes, lease=lease)


@pytest.mark.parametrize("what", ["lose_questions", "lose_answers"])
async def test_where_repeating_does_not_help_the_workers_row_tells_the_outcome(
    mongodb: MongoDatabase, proxy: Proxy, what: str
) -> None:
    """The driver repeats commitTransaction for as long as it may; here that never gets an answer."""
    async with MongoStore(SecretStr(proxy.uri), mongodb.database) as store:
        lease = await store.take_lease("w", 30)
        await store.commit([new(ORDERS, order("A"))], lease=lease)
        grow_impatient(store, 1.0)
        for number in range(1, 3):
            proxy.until = "findAndModify"
            setattr(proxy, what, 1_000_000)
            writes = [Write(ORDERS, "A", number, order("A", number + 1)), new(FILLS, {"_id": f"{number}"})]

            async with asyncio.timeout(PATIENCE_SECONDS):
                await store.commit(writes, lease=lease)

            assert proxy.seen["findAndModify"] >= number
            assert (await only(store, ORDERS, "A"))["revision"] == number + 1
            assert len(await store.load(FILLS)) == number


@pytest.mark.parametrize("what", ["lose_questions", "lose_answers"])
async def test_a_commit_without_lease_survives_a_lost_answer_too(store: MongoStore, proxy: Proxy, what: str) -> None:
    setattr(proxy, what, 1)

    await store.commit([new(ORDERS, order("A"))])

    assert len(await store.load(ORDERS)) == 1


async def test_a_worker_waits_for_the_outcome_as_long_as_the_server_is_away(
    mongodb: MongoDatabase, proxy: Proxy
) -> None:
    async with MongoStore(SecretStr(proxy.uri), mongodb.database) as store:
        lease = await store.take_lease("w", 30)
        await store.commit([], lease=lease)
        grow_impatient(store, 0.5)
        proxy.lose_answers = 1
        commit = asyncio.create_task(store.commit([new(ORDERS, order("A"))], lease=lease))
        await proxy.lost.wait()
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(StoreUnavailable):  # meanwhile others are told
            await store.renew_lease(lease)
        with pytest.raises(StoreUnavailable):
            await store.load(ORDERS)
        with pytest.raises(StoreUnavailable):
            await store.commit([new(ORDERS, order("B"))])
        assert not commit.done()
        proxy.refusing = False

        async with asyncio.timeout(PATIENCE_SECONDS):
            await commit

        assert [document["_id"] for document in await store.load(ORDERS)] == ["A"]


async def test_a_commit_that_never_reached_the_server_is_unavailable_within_bounds(
    mongodb: MongoDatabase, proxy: Proxy
) -> None:
    async with MongoStore(SecretStr(proxy.uri), mongodb.database) as store:
        lease = await store.take_lease("w", 30)
        grow_impatient(store, 0.5)
        proxy.refusing = True
        proxy.cut()
        began = time.monotonic()

        with pytest.raises(StoreUnavailable):
            await store.commit([new(ORDERS, order("A"))], lease=lease)

        assert time.monotonic() - began < PATIENCE_SECONDS
        proxy.refusing = False
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(StoreUnavailable):
                    await store.commit([new(ORDERS, order("A"))], lease=lease)
                    break
        assert len(await store.load(ORDERS)) == 1


async def test_who_was_fenced_while_the_outcome_was_unknown_has_lost_its_lease(
    mongodb: MongoDatabase, proxy: Proxy
) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as other:
        async with MongoStore(SecretStr(proxy.uri), mongodb.database) as store:
            lease = await store.take_lease("w", 30)
            grow_impatient(store, 1.0)
            proxy.lose_questions = 1
            proxy.refusing = False
            commit = asyncio.create_task(store.commit([new(ORDERS, order("A"))], lease=lease))
            await proxy.lost.wait()
            proxy.refusing = True
            proxy.cut()
            await other.fence("w")
            proxy.refusing = False

            with pytest.raises(LeaseLost):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await commit

        assert await other.load(ORDERS) == []


# ---------------------------------------------------------------------- foreign writers


async def test_a_foreign_transaction_on_our_document_only_delays(
    store: MongoStore, client: MongoClient[dict[str, Any]], mongodb: MongoDatabase
) -> None:
    lease = await store.take_lease("w", 30)
    await store.commit([new(POSITIONS, position("P", "key"))], lease=lease)
    foreign = client[mongodb.database][POSITIONS]
    with client.start_session() as session:
        session.start_transaction()
        foreign.update_one({"_id": "P"}, {"$set": {"status": "CLOSING"}}, session=session)
        commit = asyncio.create_task(store.commit([Write(POSITIONS, "P", 1, {"revision": 2})], lease=lease))
        done, _ = await asyncio.wait({commit}, timeout=0.3)
        assert not done
        await asyncio.to_thread(session.commit_transaction)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await commit

    assert await only(store, POSITIONS, "P") == position("P", "key", "CLOSING", revision=2)


async def test_a_foreign_transaction_that_never_ends_makes_the_store_unavailable(
    mongodb: MongoDatabase, client: MongoClient[dict[str, Any]]
) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
        await store.commit([new(POSITIONS, position("P", "key"))])
        grow_impatient(store, 0.5)
        with client.start_session() as session:
            session.start_transaction()
            client[mongodb.database][POSITIONS].update_one({"_id": "P"}, {"$set": {"x": 1}}, session=session)
            with pytest.raises(StoreUnavailable):
                await store.commit([Write(POSITIONS, "P", 1, {"revision": 2})])
            session.abort_transaction()
        await store.commit([Write(POSITIONS, "P", 1, {"revision": 2})])


async def test_busy_foreign_writers_do_not_starve_a_commit(
    store: MongoStore, client: MongoClient[dict[str, Any]], mongodb: MongoDatabase
) -> None:
    lease = await store.take_lease("w", 30)
    await store.commit([new(POSITIONS, position("P", "key"))], lease=lease)
    stop = asyncio.Event()

    def write() -> int:
        count = 0
        while not stop.is_set():
            client[mongodb.database][POSITIONS].update_one({"_id": "P"}, {"$inc": {"theirs": 1}})
            count += 1
        return count

    writing = asyncio.create_task(asyncio.to_thread(write))
    async with asyncio.timeout(PATIENCE_SECONDS):
        for revision in range(1, 20):
            await store.commit([Write(POSITIONS, "P", revision, {"revision": revision + 1})], lease=lease)
    stop.set()
    written = await writing

    found = await only(store, POSITIONS, "P")
    assert (found["theirs"], found["revision"]) == (written, 20)


# ---------------------------------------------------------------------- callers who are cancelled


@pytest.mark.parametrize("leased", [True, False])
async def test_a_cancelled_commit_leaves_no_transaction_open(
    store: MongoStore, client: MongoClient[dict[str, Any]], proxy: Proxy, leased: bool
) -> None:
    lease: Lease | None = await store.take_lease("w", 30) if leased else None
    await store.insert(ORDERS, [order("A")])
    for number in range(25):
        before = sum(proxy.seen.values())
        task = asyncio.create_task(
            store.commit(
                [
                    Write(ORDERS, "A", None, {"by": number}),
                    new(FILLS, {"_id": f"{number}"}),
                    Write(ACCOUNTS, "a", None, {}),
                ],
                lease=lease,
            )
        )
        await until(partial(_has_come, proxy, before + number % 5, task))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    # Another program can write it at once, and the store goes on.
    foreign = client[store._connection.name][ORDERS]
    await asyncio.to_thread(foreign.update_one, {"_id": "A"}, {"$set": {"theirs": 1}})
    await store.commit([Write(ORDERS, "A", 1, order("A", 2))], lease=lease)
    await until(lambda: not open_transactions(client, store))
    assert (await only(store, ORDERS, "A"))["theirs"] == 1


async def test_a_commit_cancelled_while_its_outcome_is_unknown_harms_nothing(store: MongoStore, proxy: Proxy) -> None:
    lease = await store.take_lease("w", 30)
    proxy.lose_answers = 3
    commit = asyncio.create_task(store.commit([new(ORDERS, order("A"))], lease=lease))
    await proxy.lost.wait()
    commit.cancel()
    await asyncio.gather(commit, return_exceptions=True)
    proxy.lose_answers = 0

    await store.commit([new(ORDERS, order("B"))], lease=lease)

    assert [document["_id"] for document in await store.load(ORDERS, order_by="_id")] in (["A", "B"], ["B"])


async def test_leaving_waits_for_the_commit_under_way(mongodb: MongoDatabase) -> None:
    store = await MongoStore(SecretStr(mongodb.uri), mongodb.database).__aenter__()
    commit = asyncio.create_task(store.commit([new(ORDERS, order("A"))]))
    await asyncio.sleep(0)
    await store.__aexit__(None, None, None)
    await commit

    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as again:
        assert len(await again.load(ORDERS)) == 1


async def test_a_store_that_is_not_open_is_unavailable(mongodb: MongoDatabase) -> None:
    store = MongoStore(SecretStr(mongodb.uri), mongodb.database)
    for _ in range(2):
        for call in (
            store.load(ORDERS),
            store.commit([new(ORDERS, order("A"))]),
            store.commit([], lease=Lease("w", 1, 30)),
            store.insert(ORDERS, [order("A")]),
            tell(store, [], "A", lambda _: {}),
            store.take_lease("w", 30),
            store.workers(),
        ):
            with pytest.raises(StoreUnavailable, match="not open"):
                await call
        async with store:
            await store.load(ORDERS)


# ---------------------------------------------------------------------- a server that dies, or gives way


async def commit_in_a_row(store: MongoStore, lease: Lease, acknowledged: list[int], stop: asyncio.Event) -> None:
    """Numbered commits, each repeated for as long as it is to be, as the ledger does it."""
    number = 0
    while not stop.is_set():
        writes = [
            Write(ORDERS, "counter", number, {"revision": number + 1, "signal_id": "S", "leg_index": 0}),
            new(FILLS, {"_id": f"{number}", "client_order_id": "counter"}),
            Write(CONFIRMATIONS, "exec", None, {"signal_id": "S", "leg_index": 0, "number": number}),
        ]
        while True:
            try:
                await store.commit(writes, lease=lease)
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                break
        acknowledged.append(number)
        number += 1


async def check_all_there_once(store: MongoStore, acknowledged: list[int]) -> None:
    fills = sorted(int(document["_id"]) for document in await store.load(FILLS))
    counter = await only(store, ORDERS, "counter")
    assert acknowledged == list(range(len(acknowledged)))
    assert fills == acknowledged
    assert counter["revision"] == len(acknowledged)
    assert (await only(store, CONFIRMATIONS, "exec"))["number"] == len(acknowledged) - 1


def _got_on(acknowledged: list[int], count: int, running: asyncio.Task[None]) -> bool:
    return running.done() or len(acknowledged) >= count


async def disturbed(own_mongod: Mongod, disturb: Any, times: int) -> None:
    stop = asyncio.Event()
    acknowledged: list[int] = []
    async with MongoStore(SecretStr(own_mongod.uri), "exec_test", timeout_seconds=2) as store:
        lease = await store.take_lease("w", 600)
        running = asyncio.create_task(commit_in_a_row(store, lease, acknowledged, stop))
        async with asyncio.timeout(50):
            for _ in range(times):
                seen = len(acknowledged)
                await until(partial(_got_on, acknowledged, seen + 7, running), 40)
                if running.done():
                    break
                await asyncio.to_thread(disturb)
            await until(partial(_got_on, acknowledged, seen + 10, running), 40)
            stop.set()
            await running
            await check_all_there_once(store, acknowledged)


@pytest.mark.timeout(300)
async def test_a_server_killed_again_and_again_loses_and_doubles_no_commit(own_mongod: Mongod) -> None:
    def kill_and_start() -> None:
        own_mongod.kill()
        own_mongod.start()

    await disturbed(own_mongod, kill_and_start, 6)


@pytest.mark.timeout(300)
async def test_a_primary_that_steps_down_again_and_again_loses_and_doubles_no_commit(own_mongod: Mongod) -> None:
    def step_down() -> None:
        own_mongod.step_down(1)
        own_mongod.wait_until_primary()

    await disturbed(own_mongod, step_down, 4)
