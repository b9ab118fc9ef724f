"""The outbox's channels: marks that ride together, stops that wait for nobody, and signals told in one call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from exec_core.clock import utc_now
from exec_service import delivery
from exec_service.ledger import Ledger
from exec_service.outbox import QUICK_TRIES, Channel, Outbox, Row
from exec_service.stores import OUTBOX, SIGNALS, Document, SignalChange, StoreError, StoreUnavailable
from exec_service.stores.sqlite import SqliteStore

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@asynccontextmanager
async def running(channel: Channel, mark: Callable[[Sequence[Row]], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(channel.run(mark))
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # `running` bounds it
        await asyncio.sleep(0.005)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"_id": f"row-{number}", "created_at": NOW} for number in range(count)]


async def test_what_is_delivered_while_a_mark_is_under_way_is_marked_together() -> None:
    first_mark, marked = asyncio.Event(), list[list[str]]()

    async def one_by_one(_rows: Sequence[Row]) -> int:
        await asyncio.sleep(0)  # as every far side gives way
        return 1

    async def mark(done: Sequence[Row]) -> None:
        marked.append([row["_id"] for row in done])
        if len(marked) == 1:
            await first_mark.wait()

    channel = Channel("test", one_by_one)
    for row in rows(50):
        channel.add(row)
    async with running(channel, mark):
        await until(lambda: bool(marked) and not channel.waiting)
        assert len(marked) == 1  # all are delivered although the first mark is not durable yet
        draining = asyncio.create_task(channel.drained())
        await asyncio.sleep(0)
        assert not draining.done()
        first_mark.set()
        await draining
    assert [name for names in marked for name in names] == [row["_id"] for row in rows(50)]
    assert len(marked) == 2


async def test_a_stop_does_not_wait_for_a_far_side_that_takes_nothing() -> None:
    tries = 0

    async def refuse(_rows: Sequence[Row]) -> int:
        nonlocal tries
        tries += 1
        raise OSError("away")

    async def mark(_rows: Sequence[Row]) -> None:
        raise AssertionError("nothing was delivered")

    channel = Channel("test", refuse)
    channel.add(rows(1)[0])
    async with running(channel, mark):
        await channel.drained()
    assert tries == QUICK_TRIES
    assert channel.waiting == 1


class WatchedStore(SqliteStore):
    """The real store; it remembers who was told what, and refuses what it is told to."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.told: list[tuple[str, int]] = []
        self.refuses: dict[str, StoreError | ValueError] = {}
        self.calls = 0

    async def update_signals(self, changes: Sequence[SignalChange]) -> list[StoreError | ValueError | None]:
        self.calls += 1
        answers: list[StoreError | ValueError | None] = []
        for change in changes:
            error = self.refuses.get(change.signal_id)
            if isinstance(error, StoreUnavailable):
                raise error  # what came before it is done
            answers.append(error)
            if error is None:
                answers[-1:] = await super().update_signals([self._watched(change)])
        return answers

    def _watched(self, change: SignalChange) -> SignalChange:
        def merge(existing: Document | None) -> Document | None:
            fields = change.merge(existing)
            if fields is not None:
                self.told.append((change.signal_id, fields["execution_revision"]))
            return fields

        return replace(change, merge=merge)


def signal_row(signal_id: str, revision: int, status: str = "SUBMITTED") -> dict[str, Any]:
    update = {
        "signal_id": signal_id,
        "client_order_id": f"order of {signal_id}",
        "leg_index": 0,
        "total_legs": 1,
        "revision": revision,
        "updated_at": NOW,
        "order_id": "b1",
        "execution_status": status,
        "filled_quantity": 0.0,
        "avg_fill_price": None,
        "filled_at": None,
        "reason_code": None,
        "reason": None,
    }
    return {"_id": f"{signal_id}-{revision}", "created_at": NOW, "signal_ids": [], "update": update}


async def no_mark(_rows: Sequence[Row]) -> None:
    """They are delivered; that is enough here."""


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "by a clock that was set back"])
async def test_of_several_updates_of_one_order_the_newest_is_told(tmp_path: Path, backwards: bool) -> None:
    async with WatchedStore(tmp_path) as store:
        channel = delivery.signals(store)
        updates = [(2, "SUBMITTED"), (3, "PARTIALLY_FILLED"), (4, "FILLED")]
        for revision, status in reversed(updates) if backwards else updates:
            channel.add(signal_row("sig_1", revision, status))
            channel.add(signal_row("sig_2", revision, status))
        async with running(channel, no_mark):
            await channel.drained()
        assert sorted(store.told) == [("sig_1", 4), ("sig_2", 4)]
        assert store.calls == 1
        assert {document["execution_status"] for document in await store.load(SIGNALS)} == {"FILLED"}


@pytest.mark.parametrize("error", [StoreError("the document is too large"), ValueError("no such value")])
async def test_a_document_that_will_never_take_it_keeps_no_other_signal_waiting(
    tmp_path: Path, error: StoreError | ValueError, caplog: pytest.LogCaptureFixture
) -> None:
    async with WatchedStore(tmp_path) as store:
        store.refuses["sig_2"] = error
        channel = delivery.signals(store)
        for name in ("sig_1", "sig_2", "sig_3"):
            channel.add(signal_row(name, 2))
        async with running(channel, no_mark):
            await channel.drained()
        assert channel.waiting == 0
        assert {name for name, _ in store.told} == {"sig_1", "sig_3"}
    assert "sig_2, given up" in caplog.text


async def test_a_store_that_is_away_loses_no_signal(tmp_path: Path) -> None:
    async with WatchedStore(tmp_path) as store:
        store.refuses["sig_2"] = StoreUnavailable("away")
        channel = delivery.signals(store)
        for name in ("sig_1", "sig_2"):
            channel.add(signal_row(name, 2))
        async with running(channel, no_mark):
            await channel.drained()  # it gave up waiting, not telling
            assert channel.waiting == 2
            store.refuses.clear()
            await until(lambda: not channel.waiting)
        assert sorted(store.told) == [("sig_1", 2), ("sig_2", 2)]


async def test_who_may_have_lost_its_lease_delivers_nothing() -> None:
    allowed, delivered = False, list[str]()

    async def deliver(batch: Sequence[Row]) -> int:
        delivered.extend(row["_id"] for row in batch)
        return len(batch)

    channel = Channel("test", deliver)
    channel.add(rows(1)[0])
    task = asyncio.create_task(channel.run(no_mark, lambda: allowed))
    async with asyncio.timeout(60):
        await channel.drained()  # a stop does not wait for it
        assert delivered == []
        allowed = True
        await until(lambda: bool(delivered))
    task.cancel()
    await asyncio.wait([task])


def owed(name: str, account_id: str, order: str, revision: int, sequence: int) -> dict[str, Any]:
    return {
        "_id": name,
        "revision": 1,
        "channel": "test",
        "sequence": sequence,
        "created_at": NOW,
        "delivered_at": None,
        "account_id": account_id,
        "client_order_id": order,
        "order_revision": revision,
    }


async def test_what_a_dead_worker_owed_is_told_by_whoever_takes_its_account_and_by_nobody_else(tmp_path: Path) -> None:
    told: list[str] = []

    async def deliver(batch: Sequence[Row]) -> int:
        told.extend(row["_id"] for row in batch)
        return len(batch)

    async with SqliteStore(tmp_path) as store:
        # The clock was set back between the two: the order's own revisions say what came first.
        documents = [
            owed("new", "acc_1", "A", 4, 1),
            owed("old", "acc_1", "A", 3, 2),
            owed("other", "acc_2", "B", 1, 3),
        ]
        await store.insert(OUTBOX, documents)
        ledger = Ledger(store, lambda *_: [], utc_now)
        ledger.lease = await store.take_lease("w", 15)
        outbox = Outbox(store, ledger, utc_now, [Channel("test", deliver)])
        tasks = [asyncio.create_task(ledger.run()), asyncio.create_task(outbox.run())]
        async with asyncio.timeout(60):
            await outbox.take_up(lambda account_id: account_id == "acc_1")
            await outbox.take_up(lambda account_id: account_id == "acc_1")
            await outbox.drained()
            assert told == ["old", "new"]
            assert [row["_id"] for row in await store.load(OUTBOX, {"delivered_at": None})] == ["other"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_let_go_of_is_delivered_no_more_and_what_is_under_way_is_finished_and_marked() -> None:
    begun, may_end, delivered, marked = asyncio.Event(), asyncio.Event(), list[str](), list[str]()

    async def deliver(batch: Sequence[Row]) -> int:
        begun.set()
        await may_end.wait()
        delivered.append(batch[0]["_id"])
        return 1

    async def mark(done: Sequence[Row]) -> None:
        marked.extend(row["_id"] for row in done)

    channel = Channel("test", deliver)
    for row in rows(6):
        channel.add({**row, "account_id": "mine" if row["_id"] in ("row-0", "row-1", "row-4") else "other"})
    async with running(channel, mark):
        await begun.wait()  # all six are at hand, and the first is on its way
        letting_go = asyncio.create_task(channel.let_go(lambda row: row["account_id"] == "mine"))
        await asyncio.sleep(0)
        assert not letting_go.done()
        may_end.set()
        await letting_go
        assert "row-0" in marked
        await channel.drained()
    assert delivered == ["row-0", "row-2", "row-3", "row-5"]
    assert channel.holds() == set()


async def test_what_was_let_go_of_half_way_is_delivered_in_its_order_all_the_same(tmp_path: Path) -> None:
    begun, may_end, told = asyncio.Event(), asyncio.Event(), list[str]()

    async def deliver(batch: Sequence[Row]) -> int:
        begun.set()
        await may_end.wait()
        told.append(batch[0]["_id"])
        return 1

    async with SqliteStore(tmp_path) as store:
        await store.insert(OUTBOX, [owed(f"r{number}", "acc_1", "A", number, number) for number in range(3)])
        ledger = Ledger(store, lambda *_: [], utc_now)
        ledger.lease = await store.take_lease("w", 15)
        outbox = Outbox(store, ledger, utc_now, [Channel("test", deliver)])
        tasks = [asyncio.create_task(ledger.run()), asyncio.create_task(outbox.run())]
        async with asyncio.timeout(60):
            await outbox.take_up(lambda account_id: account_id == "acc_1")
            await begun.wait()
            letting_go = asyncio.create_task(outbox.let_go("acc_1"))
            await asyncio.sleep(0)
            letting_go.cancel()
            await asyncio.gather(letting_go, return_exceptions=True)
            await outbox.take_up(lambda account_id: account_id == "acc_1")
            may_end.set()
            await outbox.drained()
        assert told == ["r0", "r1", "r2"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
