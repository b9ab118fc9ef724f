"""The embedded store: the conformance suite, and what only SQLite and process locks can do wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from exec_service.stores import FILLS, ORDERS, Not, StoreError, StoreUnavailable, WorkerAlive, Write
from exec_service.stores.sqlite import SqliteStore
from store_samples import PATIENCE_SECONDS, assert_every_commit_is_whole, new, order, tell, worker
from store_suite import OpenStore, StoreSuite


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: SqliteStore(tmp_path / "data")


def file_of(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the database's write lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


# ---------------------------------------------------------------------- the file


async def test_the_file_is_written_ahead_and_every_commit_is_synced(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "new" / "data") as store:
        run = store._database.run
        assert await run(lambda connection: connection.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
        assert await run(lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert (tmp_path / "new" / "data" / "store.sqlite3").is_file()


async def test_a_file_of_a_newer_release_is_refused_with_a_sentence(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        await store.commit([new(ORDERS, order("A"))])
    with sqlite3.connect(file_of(tmp_path)) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    connection.close()

    with pytest.raises(StoreError, match="newer release") as caught:
        await SqliteStore(tmp_path).__aenter__()

    assert not isinstance(caught.value, StoreUnavailable)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file_of(tmp_path).write_text("this is not a database, and has never been one; " * 100)

    with pytest.raises(StoreError, match="not a database") as caught:
        await SqliteStore(tmp_path).__aenter__()

    assert not isinstance(caught.value, StoreUnavailable)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)


async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable):
        await SqliteStore(tmp_path / "file" / "data").__aenter__()


async def test_an_index_that_a_file_of_before_lacks_is_made_and_filled(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        await store.commit([new(ORDERS, order("A", status="FILLED")), new(ORDERS, order("B", status="PENDING"))])
    connection = sqlite3.connect(file_of(tmp_path))
    connection.execute("DROP INDEX orders_status")
    connection.execute("DROP INDEX orders_signal_id_leg_index")
    connection.execute("ALTER TABLE orders DROP COLUMN status")
    connection.execute("ALTER TABLE orders DROP COLUMN leg_index")
    connection.close()

    async with SqliteStore(tmp_path) as store:
        assert [document["_id"] for document in await store.load(ORDERS, {"status": "FILLED"})] == ["A"]
        assert await store.insert(ORDERS, [order("C", signal_id="signal of A")]) == {"C"}


async def test_processes_that_open_a_new_directory_at_once_all_succeed(tmp_path: Path) -> None:
    for number in range(5):
        stores = [SqliteStore(tmp_path / str(number)) for _ in range(4)]
        await asyncio.gather(*(store.__aenter__() for store in stores))
        await asyncio.gather(*(store.commit([new(ORDERS, order(f"{i}"))]) for i, store in enumerate(stores)))
        assert len(await stores[0].load(ORDERS)) == 4
        for store in stores:
            await store.__aexit__(None, None, None)


async def test_lists_longer_than_sqlite_takes_parameters_are_no_problem(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        await store.insert(FILLS, [{"_id": f"{number}", "account_id": "a"} for number in range(10)])
        await store._database.run(lambda connection: connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999))
        many = [f"{number}" for number in range(5, 2_000)]

        assert len(await store.load(FILLS, {"_id": many, "account_id": [*many, "a"]})) == 5
        assert len(await store.load(FILLS, {"_id": Not(many)})) == 5
        await store.commit([new(FILLS, {"_id": "after"})])


async def test_a_store_that_is_not_open_is_unavailable(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.load(ORDERS)
    async with store:
        await store.commit([new(ORDERS, order("A"))])
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.load(ORDERS)
    async with store:  # and it can be opened again
        assert len(await store.load(ORDERS)) == 1


# ---------------------------------------------------------------------- when the database cannot


async def test_a_lock_held_beyond_patience_is_unavailable_and_nothing_is_written(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path, busy_timeout_seconds=0.05) as store:
        lease = await store.take_lease("w", 30)
        with locked(file_of(tmp_path)):
            for call in (
                store.commit([new(ORDERS, order("A"))]),
                store.insert(ORDERS, [order("A")]),
                tell(store, [], "A", lambda _: {"a": 1}),
                store.renew_lease(lease),
                store.fence("w"),
                store.release_lease(lease),
                store.take_lease("v", 30),
            ):
                with pytest.raises(StoreUnavailable) as caught:
                    await call
                assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
            assert await store.load(ORDERS) == []  # reading goes on

        await store.commit([new(ORDERS, order("A"))], lease=lease)
        await store.take_lease("v", 30)
        assert len(await store.load(ORDERS)) == 1


async def test_a_commit_that_waits_for_a_lock_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path, busy_timeout_seconds=PATIENCE_SECONDS) as store:
        with locked(file_of(tmp_path)):
            commit = asyncio.create_task(store.commit([new(ORDERS, order("A"))]))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not commit.done()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await commit
        assert len(await store.load(ORDERS)) == 1


async def test_a_cancelled_commit_that_waits_for_a_lock_harms_no_later_one(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path, busy_timeout_seconds=PATIENCE_SECONDS) as store:
        with locked(file_of(tmp_path)):
            cancelled = asyncio.create_task(store.commit([new(ORDERS, order("A")), new(FILLS, {"_id": "A"})]))
            await asyncio.sleep(0.01)  # on its way, or not: both must do
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
            later = asyncio.create_task(store.commit([new(ORDERS, order("B")), new(FILLS, {"_id": "B"})]))
            await asyncio.sleep(0)
        await later
        written = {document["_id"] for document in await store.load(ORDERS)}
        assert "B" in written
        assert {document["_id"] for document in await store.load(FILLS)} == written


async def test_a_full_disk_is_unavailable_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        await store.commit([new(ORDERS, order("A"))])
        (pages,) = await store._database.run(lambda connection: connection.execute("PRAGMA page_count").fetchone())
        await store._database.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchone())
        writes = [
            Write(ORDERS, "A", 1, order("A", 2)),
            *(new(FILLS, {"_id": f"{i}", "x": "y" * 999}) for i in range(99)),
        ]

        with pytest.raises(StoreUnavailable, match="full") as caught:
            await store.commit(writes)

        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert await store.load(ORDERS) == [order("A")]
        assert await store.load(FILLS) == []
        await store._database.run(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone())
        await store.commit(writes)
        assert len(await store.load(FILLS)) == 99


async def test_leaving_waits_for_the_commit_under_way(tmp_path: Path) -> None:
    store = await SqliteStore(tmp_path).__aenter__()
    commit = asyncio.create_task(store.commit([new(ORDERS, order("A"))]))
    await asyncio.sleep(0)
    await store.__aexit__(None, None, None)
    await commit

    async with SqliteStore(tmp_path) as store:
        assert len(await store.load(ORDERS)) == 1


# ---------------------------------------------------------------------- life and death of processes

CHILD = """
import asyncio, sys
from pathlib import Path
from exec_service.stores import FILLS, ORDERS, Write
from exec_service.stores.sqlite import SqliteStore

async def main():
    async with SqliteStore(Path(sys.argv[1])) as store:
        lease = await store.take_lease("w", 3600)
        print("ready", flush=True)
        number = 0
        while True:
            number += 1
            writes = [Write(ORDERS, f"{number}", 0, {"revision": 1, "signal_id": f"{number}", "leg_index": 0})]
            writes += [Write(FILLS, f"{number}-{part}", 0, {"client_order_id": f"{number}"}) for part in range(10)]
            writes.append(Write("accounts", "a", None, {"newest": number}))
            await store.commit(writes, lease=lease)
            print(number, flush=True)

asyncio.run(main())
"""


@contextmanager
def child(data_dir: Path, code: str = CHILD) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", code, str(data_dir)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_line(process: subprocess.Popen[str]) -> str:
    """The child's next line; the test's own time limit is the deadline."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the child has ended"
    return line.strip()


def stop(process: subprocess.Popen[str]) -> None:
    """SIGSTOP, and wait until it has stopped."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


@pytest.mark.parametrize("kill_after", [1, 7, 40])
async def test_kill_9_loses_no_acknowledged_commit_and_leaves_none_half_done(tmp_path: Path, kill_after: int) -> None:
    with child(tmp_path) as process:
        assert read_line(process) == "ready"
        assert process.stdout is not None
        for _ in range(kill_after):
            process.stdout.readline()
        process.kill()
        rest = process.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else kill_after

        async with SqliteStore(tmp_path) as store:
            await assert_every_commit_is_whole(store, acknowledged)


async def test_a_killed_worker_is_proven_dead_and_its_id_can_be_taken_at_once(tmp_path: Path) -> None:
    with child(tmp_path) as process:
        assert read_line(process) == "ready"
        async with SqliteStore(tmp_path) as store:
            alive = await worker(store, "w")
            with pytest.raises(WorkerAlive, match=str(process.pid)):
                await store.take_lease("w", 30)
            process.kill()
            process.wait()
            dead = await worker(store, "w")
            lease = await store.take_lease("w", 30)

    assert alive.process_id == process.pid
    assert not alive.proven_dead
    assert not alive.is_gone
    assert dead.proven_dead
    assert dead.is_gone
    assert lease.epoch == alive.epoch + 1


async def test_a_stopped_worker_is_silent_but_not_proven_dead(tmp_path: Path) -> None:
    with child(tmp_path) as process:
        assert read_line(process) == "ready"
        async with SqliteStore(tmp_path) as store:
            await asyncio.to_thread(stop, process)
            state = await worker(store, "w")
            with pytest.raises(WorkerAlive):
                await store.take_lease("w", 30)

    assert not state.proven_dead


async def test_a_worker_of_another_host_is_not_proven_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with child(tmp_path) as process:
        assert read_line(process) == "ready"
    async with SqliteStore(tmp_path) as store:
        assert (await worker(store, "w")).proven_dead
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    async with SqliteStore(tmp_path) as store:
        assert not (await worker(store, "w")).proven_dead


async def test_leaving_the_store_frees_its_workers(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        await store.take_lease("w", 30)
    async with SqliteStore(tmp_path) as store:
        assert (await worker(store, "w")).proven_dead
        await store.take_lease("w", 30)


async def test_those_who_look_whether_a_worker_lives_do_not_keep_it_from_starting(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store, SqliteStore(tmp_path) as watcher:
        for _ in range(30):
            lease = await store.take_lease("w", 30)
            await store.fence("w")
            _, _, state = await asyncio.gather(store.release_lease(lease), watcher.workers(), watcher.workers())
            assert state[0].worker_id == "w"


async def test_the_lock_files_of_workers_that_said_good_bye_are_gone(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        for number in range(3):
            await store.release_lease(await store.take_lease(f"{number}", 30))
        assert list((tmp_path / "locks").iterdir()) == []
        states: list[Any] = await store.workers()
        assert [state.released for state in states] == [True, True, True]
        assert [state.proven_dead for state in states] == [False, False, False]
