"""The ledger: group commit, decisions that fail or conflict, a store that is away, a lease that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from exec_core.clock import utc_now
from exec_service import ledger as ledger_module
from exec_service.ledger import Ledger
from exec_service.stores import ACCOUNTS, OUTBOX, POSITIONS, LeaseLost, RevisionConflict, StoreUnavailable, Write
from exec_service.stores.sqlite import SqliteStore
from exec_service.units import NotLoaded


class WatchedStore(SqliteStore):
    """The real store; it counts commits, and fails on command."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.commits: list[int] = []
        self.away = 0
        self.unheard = 0

    async def commit(self, writes: Any, *, lease: Any = None) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")
        await super().commit(writes, lease=lease)
        self.commits.append(len(writes))
        if self.unheard:
            self.unheard -= 1
            raise StoreUnavailable("written, but no answer came")


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[tuple[Ledger, WatchedStore]]:
    async with WatchedStore(tmp_path) as store:
        ledger = Ledger(store, lambda *_: [], utc_now)
        ledger.lease = await store.take_lease("w", 15)
        task = asyncio.create_task(ledger.run())
        yield ledger, store
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def row(name: str, revision: int | None = 0, **fields: Any) -> Write:
    return Write(OUTBOX, name, revision, {"revision": 1, "channel": "c", **fields})


async def test_what_arrives_during_a_commit_goes_into_the_next_one_together(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        first = ledger.write(row("first"))
        await asyncio.sleep(0)
        rest = [ledger.write(row(f"r{number}")) for number in range(50)]
        await asyncio.gather(first, *rest)
        assert sum(store.commits) == 51
        assert len(store.commits) <= 3
        assert len(await store.load(OUTBOX)) == 51


async def test_a_lone_job_waits_for_nobody(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        await ledger.write(row("only"))
        assert store.commits == [1]


async def test_a_decision_that_fails_fails_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):

        def bad(unit: Any) -> None:
            unit.write(row("never"))
            raise ZeroDivisionError

        good, failing, other = ledger.write(row("a")), ledger.submit(bad), ledger.write(row("b"))
        await asyncio.gather(good, other)
        with pytest.raises(ZeroDivisionError):
            await failing
        assert {document["_id"] for document in await store.load(OUTBOX)} == {"a", "b"}


async def test_a_write_that_conflicts_for_ever_fails_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        await ledger.write(row("taken"))
        good, doomed, other = ledger.write(row("a")), ledger.write(row("taken")), ledger.write(row("b"))
        await asyncio.gather(good, other)
        with pytest.raises(RevisionConflict):
            await doomed
        assert len(await store.load(OUTBOX)) == 3


async def test_a_write_that_cannot_be_stored_fails_alone_and_the_loop_lives(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        good, doomed = ledger.write(row("a")), ledger.write(row("b", payload=object()))
        await good
        with pytest.raises((TypeError, ValueError)):
            await doomed
        await ledger.write(row("c"))
        assert {document["_id"] for document in await store.load(OUTBOX)} == {"a", "c"}


async def test_two_plain_writes_of_one_document_in_one_batch_are_one(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        first = ledger.write(Write(ACCOUNTS, "acc_1", None, {"availability": "READY", "worker_id": "w"}))
        second = ledger.write(Write(ACCOUNTS, "acc_1", None, {"availability": "DISCONNECTED"}))
        await asyncio.gather(first, second)
        (document,) = await store.load(ACCOUNTS)
        assert (document["availability"], document["worker_id"]) == ("DISCONNECTED", "w")


async def test_nothing_that_was_decided_is_given_up_while_the_store_is_away(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        store.away = 3
        await ledger.write(row("a"))
        assert len(await store.load(OUTBOX)) == 1


async def test_a_commit_whose_answer_was_lost_is_recognised_as_ours(tmp_path: Path) -> None:
    """Else what it promised would be told only after the next start, and who waits for it would wait until then."""
    async with running(tmp_path) as (ledger, store):
        told: list[str] = []
        ledger.delivered = lambda writes: told.extend(write.id for write in writes)
        store.unheard = 1
        decided: list[str] = []

        def decide(unit: Any) -> None:
            decided.append("once")
            unit.write(row("a", sequence=7, created_at=utc_now()))

        await ledger.submit(decide)
        assert decided == ["once"]
        assert told == ["a"]
        assert len(await store.load(OUTBOX)) == 1


async def test_what_somebody_else_wrote_while_the_store_was_away_is_not_taken_for_ours(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        told: list[str] = []
        ledger.delivered = lambda writes: told.extend(write.id for write in writes)
        await store.insert(OUTBOX, [{"_id": "a", "revision": 1, "channel": "c", "sequence": 8}])
        store.away = 1
        with pytest.raises(RevisionConflict):
            await ledger.write(row("a", sequence=7))
        assert told == []


async def test_a_worker_that_lost_its_lease_writes_nothing_more(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        await ledger.write(row("before"))
        async with SqliteStore(tmp_path) as other:
            await other.fence("w")
        doomed = [ledger.write(row(f"after{number}")) for number in range(3)]
        for future in doomed:
            with pytest.raises(LeaseLost):
                await future
        assert [document["_id"] for document in await store.load(OUTBOX)] == ["before"]


async def test_after_a_conflict_about_a_position_nothing_is_taken_for_known(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        await store.commit([Write(POSITIONS, "p", 0, {"revision": 1, "position_key": "key", "status": "OPEN"})])
        await ledger.adopt_all("acc_1")
        with pytest.raises(RevisionConflict):
            await ledger.write(Write(POSITIONS, "q", 0, {"revision": 1, "position_key": "key", "status": "OPEN"}))
        with pytest.raises(NotLoaded):
            ledger.cached_open_position("key", "acc_1")


async def test_what_rides_along_costs_no_commit_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "GATHERED_SECONDS", 0.0)
    async with running(tmp_path) as (ledger, store):
        along = ledger.write_along(row("mark"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not along.done()
        await ledger.write(row("other"))
        await along
        assert store.commits == [2]


async def test_what_has_just_come_rides_in_no_commit_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "GATHERED_SECONDS", 600.0)
    async with running(tmp_path) as (ledger, store):
        along = [ledger.write_along(row("a"))]
        await ledger.write(row("other"))
        along.append(ledger.write_along(row("b")))
        assert store.commits == [1]
        ledger._along_from = 0.0  # time has passed
        await ledger.write(row("later"))
        await asyncio.gather(*along)
        assert store.commits == [1, 3]


async def test_what_rides_along_is_written_soon_although_nobody_else_comes(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        async with asyncio.timeout(60):
            await asyncio.gather(ledger.write_along(row("a")), ledger.write_along(row("b")))
        assert store.commits == [2]
        assert {document["_id"] for document in await store.load(OUTBOX)} == {"a", "b"}


async def test_what_rides_along_fails_with_the_lease(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        await store.fence("w")
        along = ledger.write_along(row("mark"))
        with pytest.raises(LeaseLost):
            await ledger.write(row("other"))
        with pytest.raises(LeaseLost):
            await along


async def test_what_is_on_its_way_goes_along(tmp_path: Path) -> None:
    async with running(tmp_path) as (ledger, store):
        second: asyncio.Future[None] | None = None

        async def a_turn_later() -> None:
            nonlocal second
            await asyncio.sleep(0)
            second = ledger.write(row("second"))

        task = asyncio.create_task(a_turn_later())
        await ledger.write(row("first"))
        await task
        assert second is not None
        await second
        assert store.commits == [2]
