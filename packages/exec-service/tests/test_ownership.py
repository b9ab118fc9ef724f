"""Claiming and freeing accounts, on both stores: one owner at a time, whatever gets lost on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from exec_service.ownership import Owner
from exec_service.stores import ACCOUNTS, LeaseLost, Store, StoreUnavailable, Write
from exec_service.stores import sqlite_workers as sqlite_workers_module
from exec_service.stores.mongo import MongoStore
from exec_service.stores.sqlite import SqliteStore
from pydantic import SecretStr
from store_samples import PATIENCE_SECONDS

LEASE = 3600.0

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(params=["sqlite", "mongo"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path)
    mongodb = request.getfixturevalue("mongodb")
    return lambda: MongoStore(SecretStr(mongodb.uri), mongodb.database)


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[Store]:
    async with open_store() as opened:
        yield opened


@pytest.fixture
async def other(open_store: OpenStore, store: Store) -> AsyncIterator[Store]:
    async with open_store() as opened:
        yield opened


async def started(store: Any, name: str, lease_seconds: float = LEASE) -> Owner:
    owner = Owner(store, name, lease_seconds)
    await owner.start()
    return owner


async def row(store: Store, account_id: str = "acc") -> dict[str, Any]:
    (found,) = await store.load(ACCOUNTS, {"_id": account_id})
    return found


class Unheard:
    """A store whose next commit takes place, but is not answered; `meanwhile` happens before that is noticed."""

    def __init__(self, store: Store, meanwhile: Callable[[], Any] | None = None) -> None:
        self._store = store
        self._meanwhile = meanwhile
        self.armed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, writes: Any, **named: Any) -> None:
        await self._store.commit(writes, **named)
        if self.armed:
            self.armed = False
            if self._meanwhile is not None:
                await self._meanwhile()
            raise StoreUnavailable("no answer came")


async def test_of_two_who_claim_at_once_one_wins(store: Store, other: Store) -> None:
    first, second = await started(store, "w1"), await started(other, "w2")
    for number in range(10):
        won = await asyncio.gather(first.claim(f"acc_{number}"), second.claim(f"acc_{number}"))
        owner = (await row(store, f"acc_{number}"))["worker_id"]
        assert [result is not None for result in won] == [owner == "w1", owner == "w2"]
        assert (first.owns(f"acc_{number}"), second.owns(f"acc_{number}")) == (owner == "w1", owner == "w2")


async def test_what_is_free_is_had_at_once_and_nobody_is_waited_for(store: Store, other: Store) -> None:
    first, second = await started(store, "w1"), await started(other, "w2")
    await first.claim("acc")
    assert await second.claim("acc") is None

    await first.free(["acc"])

    assert not first.owns("acc")
    claimed = await second.claim("acc")
    assert claimed is not None
    assert claimed.sender_done_after_seconds == 0
    assert await first.claim("acc") is None


async def test_a_freed_account_an_announcement_and_an_offer_wake_the_others(store: Store, other: Store) -> None:
    first = await started(store, "w1")
    await started(other, "w2")
    await first.claim("acc")
    for tell in (lambda: first.free(["acc"]), lambda: first.announce({"acc"}), lambda: first.offer("new")):
        while await other.wait_for_change(0.2):
            pass
        waiting = asyncio.create_task(other.wait_for_change(PATIENCE_SECONDS))
        await asyncio.sleep(0)
        await tell()
        assert await waiting is True


async def test_a_claim_that_got_no_answer_is_ours(store: Store, other: Store) -> None:
    unheard = Unheard(store)
    first, second = await started(unheard, "w1"), await started(other, "w2")
    unheard.armed = True
    with pytest.raises(StoreUnavailable):
        await first.claim("acc")
    assert await second.claim("acc") is None
    claimed = await first.claim("acc")
    assert claimed is not None
    assert claimed.sender_done_after_seconds == 0
    assert first.owns("acc")


async def test_an_account_that_was_freed_without_an_answer_is_not_taken_from_who_has_it_now(
    store: Store, other: Store
) -> None:
    second = await started(other, "w2")
    unheard = Unheard(store, lambda: second.claim("acc"))
    first = await started(unheard, "w1")
    await first.claim("acc")
    unheard.armed = True

    await first.free(["acc"])

    assert (await row(store))["worker_id"] == "w2"
    assert second.owns("acc")


async def test_a_store_that_is_away_frees_nothing_before_it_is_back(store: Store) -> None:
    calls: list[int] = []

    class Away(Unheard):
        async def commit(self, writes: Any, **named: Any) -> None:
            if self.armed and len(calls) < 2:
                calls.append(1)
                raise StoreUnavailable("away")
            await self._store.commit(writes, **named)

    away = Away(store)
    owner = await started(away, "w1")
    await owner.claim("acc")
    away.armed = True
    await owner.free(["acc"])
    assert len(calls) == 2
    assert (await row(store))["worker_id"] is None


async def test_who_lost_its_lease_frees_and_claims_nothing(store: Store, other: Store) -> None:
    owner = await started(store, "w1")
    await owner.claim("acc")
    before = await row(store)
    await other.fence("w1")
    with pytest.raises(LeaseLost):
        await owner.free(["acc"])
    with pytest.raises(LeaseLost):
        await owner.claim("another")
    with pytest.raises(LeaseLost):
        await owner.announce({"acc"})
    assert await row(other) == before
    assert await other.load(ACCOUNTS, {"_id": "another"}) == []


async def test_who_frees_what_it_never_had_harms_nobody(store: Store, other: Store) -> None:
    first, second = await started(store, "w1"), await started(other, "w2")
    await second.claim("acc")
    await first.free(["acc", "nobody's"])
    assert (await row(store))["worker_id"] == "w2"


async def test_a_halt_and_other_fields_outlive_a_change_of_owner(store: Store, other: Store) -> None:
    first, second = await started(store, "w1"), await started(other, "w2")
    await first.claim("acc")
    await store.commit([Write(ACCOUNTS, "acc", None, {"kept": "as it was"})])
    await first.free(["acc"])
    await second.claim("acc")
    assert (await row(store))["kept"] == "as it was"


async def test_who_takes_part_is_seen_with_what_it_serves(store: Store, other: Store) -> None:
    first, second = await started(store, "w1"), await started(other, "w2")
    assert (await first.look()).workers == {}
    await first.announce({"a", "b"})
    await second.announce(None)
    await first.claim("a")
    await second.claim("b")
    await second.offer("c")
    await second.offer("a")  # it is there already

    table = await second.look()

    assert table.workers == {"w1": {"a", "b"}, "w2": None}
    assert table.owners == {"a": "w1", "b": "w2", "c": None}

    await first.announce({"a", "b"}, leaving=True)
    table = await second.look()
    assert table.workers == {"w2": None}
    assert table.owners == {"a": "w1", "b": "w2", "c": None}

    await first.stop()
    table = await second.look()
    assert table.owners == {"a": None, "b": "w2", "c": None}
    assert table.gone == {"w1"}

    again = await started(store, "w1")
    assert (await again.look()).workers == {"w2": None}, "what an earlier process under this id said counts no more"


async def test_the_successors_of_who_lost_its_lease_are_known_by_name(store: Store, other: Store) -> None:
    first, second = await started(store, "w1"), await started(other, "w2")
    await first.claim("a")
    await first.claim("b")
    assert await first.successors() == []
    await first.free(["b"])
    await second.claim("b")
    first.accounts.add("b")
    assert await first.successors() == ["w2"]


# ---------------------------------------------------------------------- clocks


class Clocks:
    """Stands in for the module `time`, with clocks that can be moved."""

    def __init__(self) -> None:
        self.wall = self.running = 0.0

    def time(self) -> float:
        return time.time() + self.wall

    def monotonic(self) -> float:
        return time.monotonic() + self.running


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(sqlite_workers_module, "time", made)
    return made


@pytest.fixture
async def two(tmp_path: Path, clocks: Clocks) -> AsyncIterator[tuple[SqliteStore, SqliteStore]]:
    async with SqliteStore(tmp_path) as store, SqliteStore(tmp_path) as other:
        yield store, other


@pytest.mark.parametrize("jump", [3600.0, -3600.0], ids=["forward", "back"])
async def test_a_wall_clock_that_jumps_takes_no_living_worker_for_dead(
    two: tuple[SqliteStore, SqliteStore], clocks: Clocks, jump: float
) -> None:
    first, second = await started(two[0], "w1", 60), await started(two[1], "w2", 60)
    await first.claim("acc")
    clocks.wall += jump
    for _ in range(2):
        assert await second.claim("acc") is None
        states = await two[1].workers()
        assert [state.is_gone for state in states] == [False, False]
        assert max(state.heartbeat_age_seconds for state in states) < 60
        await first.renew()
        assert first.may_send()


async def test_who_is_silent_is_taken_over_from_although_the_wall_clock_was_set_back(
    two: tuple[SqliteStore, SqliteStore], clocks: Clocks
) -> None:
    first, second = await started(two[0], "w1", 60), await started(two[1], "w2", 60)
    await first.claim("acc")
    clocks.wall -= 3600
    clocks.running += 61
    claimed = await second.claim("acc")
    assert claimed is not None
    assert 0 < claimed.sender_done_after_seconds <= 60
    with pytest.raises(LeaseLost):
        await first.renew()


async def test_how_long_a_silent_owner_may_still_send_is_known_to_whoever_claims_after_it(
    two: tuple[SqliteStore, SqliteStore], clocks: Clocks, tmp_path: Path
) -> None:
    """P1: absence at the broker proves nothing before, not after a lost answer, a restart, or a hand-over either."""
    silent = await started(two[0], "silent", 60)
    await silent.claim("acc")
    clocks.running += 61
    unheard = Unheard(two[1])
    second = await started(unheard, "w2", 60)
    unheard.armed = True
    with pytest.raises(StoreUnavailable):
        await second.claim("acc")
    claimed = await second.claim("acc")
    assert claimed is not None
    assert 0 < claimed.sender_done_after_seconds <= 60
    restarted = await started(two[1], "w2", 60)
    claimed = await restarted.claim("acc")
    assert claimed is not None
    assert 0 < claimed.sender_done_after_seconds <= 60
    await restarted.free(["acc"])
    async with SqliteStore(tmp_path) as third_store:
        third = await started(third_store, "w3", 60)
        claimed = await third.claim("acc")
        assert claimed is not None
        assert 0 < claimed.sender_done_after_seconds <= 60
        clocks.running += 60
        await third.renew()
        await third.free(["acc"])
        claimed = await third.claim("acc")
        assert claimed is not None
        assert claimed.sender_done_after_seconds == 0


async def test_a_file_of_an_earlier_release_says_how_old_its_heartbeats_are(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path) as store:
        await started(store, "w1", 60)
        await store._database.run(lambda connection: connection.execute("ALTER TABLE workers DROP COLUMN boot"))
        await store._database.run(lambda connection: connection.execute("ALTER TABLE workers DROP COLUMN beat"))
    async with SqliteStore(tmp_path) as store:
        (state,) = await store.workers()
        assert 0 <= state.heartbeat_age_seconds < 60
        owner = await started(store, "w1", 60)
        await owner.renew()
