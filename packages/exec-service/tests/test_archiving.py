"""Archiving: whatever it is killed at nothing is lost, and an order that is archived is known for ever."""

from __future__ import annotations

import asyncio
import errno
import gzip
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exec_core import AccountId, BrokerOrderId, Commission, CommissionReport, ExecutionId, Fill, FillReport, Side
from exec_core.clock import utc_now
from exec_service import archiving
from exec_service.archive_files import ArchiveFiles
from exec_service.archiving import Archiving
from exec_service.journal import fill_from_document
from exec_service.stores import COMMANDS, DEAD_LETTERS, FILLS, ORDERS, OUTBOX, UNMATCHED, Document, Store, Write
from exec_service.stores.codec import unpack
from exec_service.stores.mongo import MongoStore
from exec_service.stores.sqlite import SqliteStore
from exec_service.tombstones import is_tombstone
from messages import order
from pydantic import SecretStr
from rig import Rig
from store_samples import exactly, only

RESTING = {"order_type": "LIMIT", "limit_price": 230, "price": 235}
KEPT = ("positions", "execution_confirmations", "signal_store", DEAD_LETTERS)
ENDED = {"sig_1": "FILLED", "sig_2": "FILLED", "sig_3": "REJECTED", "sig_4": "REJECTED"}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Document]]:
    """All documents of a day: two orders that were filled, an invalid one, one of no account, and one that rests."""
    with pytest.MonkeyPatch.context() as patch:
        rig = Rig(tmp_path_factory.mktemp("day"), patch)
        found = asyncio.run(_day(rig))
        rig.book.close()
    return found


async def _day(rig: Rig) -> dict[str, list[Document]]:
    rig.broker(PARTIAL_FILLS=3)
    async with rig.service():
        await rig.publish(
            order("sig_1"), order("sig_2", side="SELL"), order("sig_3", quantity=-1),
            order("sig_4", account_id="nobody's"), order("sig_5", **RESTING), b"not an order",
        )  # fmt: skip
        for signal_id, status in {**ENDED, "sig_5": "SUBMITTED"}.items():
            await rig.reaches(signal_id, status)
        await rig.delivered()
    now = utc_now()
    commands = [
        {"_id": "old", "state": "DONE", "created_at": now, "answered_at": now},
        {"_id": "open", "state": "OPEN", "created_at": now, "answered_at": None},
        {"_id": "late", "state": "DONE", "created_at": now, "answered_at": now + timedelta(days=2)},
    ]
    return {COMMANDS: commands, **{name: await rig.load(name) for name in (ORDERS, FILLS, OUTBOX, *KEPT)}}


@pytest.fixture(params=["embedded", "mongodb"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, day: dict[str, list[Document]]) -> AsyncIterator[Store]:
    """A store with the documents of the day."""
    if request.param == "embedded":
        made: Any = SqliteStore(tmp_path / "data")
    else:
        server = request.getfixturevalue("mongodb")
        made = MongoStore(SecretStr(server.uri), server.database)
    async with made:
        for collection, documents in day.items():
            await made.insert(collection, documents)
        yield made


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[ArchiveFiles]:
    async with AsyncExitStack() as stack:
        made = ArchiveFiles(tmp_path / "archive" / "of the day", utc_now())
        stack.callback(made.close)
        yield made


def soon() -> datetime:
    """A time by which the day is over."""
    return utc_now() + timedelta(days=1)


async def archive(store: Store, files: ArchiveFiles | None, before: datetime | None = None) -> dict[str, int]:
    run = Archiving(store, files, before or soon(), utc_now)
    await run.run()
    return {name: done.documents for name, done in run.done.items()}


def archived(directory: Path, collection: str) -> dict[str, Document]:
    """What the files say of the collection; the same document twice says the same."""
    found: dict[str, Document] = {}
    for path in sorted(directory.rglob(f"{collection}-*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="ascii") as lines:
            for document in map(unpack, lines):
                assert exactly(found.setdefault(document["_id"], document)) == exactly(document)
    return found


def by_id(documents: list[Document]) -> dict[str, Document]:
    return {document["_id"]: document for document in documents}


def same(found: dict[str, Document], wanted: list[Document]) -> bool:
    return {key: exactly(value) for key, value in found.items()} == {
        key: exactly(value) for key, value in by_id(wanted).items()
    }


async def everything(store: Store, day: dict[str, list[Document]]) -> dict[str, Any]:
    return {name: {key: exactly(value) for key, value in by_id(await store.load(name)).items()} for name in day}


def ended(day: dict[str, list[Document]]) -> list[Document]:
    return [document for document in day[ORDERS] if document["signal_id"] in ENDED]


async def assert_is_archived(store: Store, directory: Path, day: dict[str, list[Document]]) -> None:
    """Every ended order is a tombstone and in the files, exactly; the one that rests, and what stays, is unchanged."""
    assert same(archived(directory, ORDERS), ended(day))
    assert same(archived(directory, FILLS), day[FILLS])
    assert same(archived(directory, OUTBOX), day[OUTBOX])
    assert archived(directory, COMMANDS).keys() == {"old"}
    assert await store.load(FILLS) == await store.load(OUTBOX) == []
    assert by_id(await store.load(COMMANDS)).keys() == {"open", "late"}
    for document in day[ORDERS]:
        stored = await only(store, ORDERS, document["_id"])
        if document["signal_id"] not in ENDED:
            assert exactly(stored) == exactly(document)
            continue
        assert stored.keys() == {
            "_id", "schema_version", "revision", "signal_id", "leg_index", "account_id", "content", "status",
            "order_id", "broker_order_ids", "executions", "commissions", "archived_at", "request", "state", "source",
            "history",
        }  # fmt: skip
        for name in ("signal_id", "leg_index", "account_id", "content", "status", "order_id", "broker_order_ids"):
            assert exactly(stored[name]) == exactly(document[name])
        assert stored["revision"] == document["revision"] + 2
        own = {fill["_id"] for fill in day[FILLS] if fill["client_order_id"] == document["_id"]}
        assert set(stored["executions"]) == own
        assert stored["request"] is stored["state"] is stored["source"] is None
    for name in KEPT:
        assert same(by_id(await store.load(name)), day[name])


async def test_what_has_ended_goes_into_files_exactly_and_what_has_not_stays(
    store: Store, files: ArchiveFiles, day: dict[str, list[Document]]
) -> None:
    done = await archive(store, files)

    assert done == {ORDERS: 4, FILLS: len(day[FILLS]), OUTBOX: len(day[OUTBOX]), COMMANDS: 1}
    assert len(day[FILLS]) == 6
    await assert_is_archived(store, files.directory, day)
    assert {path.stat().st_mode & 0o777 for path in files.directory.iterdir()} == {0o600}

    assert set((await archive(store, files)).values()) == {0}
    await assert_is_archived(store, files.directory, day)


async def test_a_dry_run_counts_and_changes_nothing(store: Store, day: dict[str, list[Document]]) -> None:
    before = await everything(store, day)

    assert await archive(store, None) == {ORDERS: 4, FILLS: 6, OUTBOX: len(day[OUTBOX]), COMMANDS: 1}

    assert await everything(store, day) == before


async def test_what_is_too_young_or_needs_a_person_stays(
    store: Store, files: ArchiveFiles, day: dict[str, list[Document]]
) -> None:
    first, second, third, fourth = (document["_id"] for document in ended(day))
    later = soon() + timedelta(days=1)
    await store.commit(
        [
            Write(ORDERS, first, None, {"attention": "look at it"}),
            Write(ORDERS, second, None, {"updated_at": later}),
            Write(ORDERS, third, None, {"sequence": int(later.timestamp() * 1_000_000)}),
            Write(OUTBOX, day[OUTBOX][0]["_id"], None, {"delivered_at": None}),
            Write(OUTBOX, day[OUTBOX][1]["_id"], None, {"delivered_at": later}),
        ]
    )

    done = await archive(store, files)

    assert (done[ORDERS], done[FILLS], done[OUTBOX]) == (1, 0, len(day[OUTBOX]) - 2)
    assert {document["_id"] for document in await store.load(ORDERS) if is_tombstone(document)} == {fourth}
    assert len(await store.load(FILLS)) == 6
    assert by_id(await store.load(OUTBOX)).keys() == {row["_id"] for row in day[OUTBOX][:2]}


class Killed(BaseException):
    """The end of the program."""


class Dying:
    """A store on which the program dies when it is asked for the `number`th change; before it, or just after."""

    def __init__(self, store: Store, number: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, number, after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)
        if name not in ("replace", "remove"):
            return call

        async def change(*arguments: Any) -> Any:
            self._left -= 1
            if not self._left and not self._after:
                raise Killed
            done = await call(*arguments)
            if not self._left:
                raise Killed
            return done

        return change


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_change_nothing_is_lost_and_the_next_run_goes_on(
    store: Store, tmp_path: Path, day: dict[str, list[Document]], after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "BATCH", 3)
    directory, kills = tmp_path / "archive", 0
    # Each run gets one change further than the last, until one ends by itself; what a run has done stays done.
    for number in range(1, 100):
        files = ArchiveFiles(directory, utc_now())
        try:
            await archive(Dying(store, number, after=after), files)  # type: ignore[arg-type]  # a store, but for dying
            break
        except Killed:
            kills += 1
        finally:
            files.close()
        for collection in (ORDERS, FILLS, OUTBOX):
            in_files = archived(directory, collection)
            stored = by_id(await store.load(collection))
            for document in day[collection]:
                found = stored.get(document["_id"])
                gone = found is None or is_tombstone(found)
                assert exactly(in_files[document["_id"]] if gone else found) == exactly(document)
        for fill_document in day[FILLS]:
            owner = await only(store, ORDERS, fill_document["client_order_id"])
            assert is_tombstone(owner) or await store.count(FILLS, {"_id": fill_document["_id"]})
    assert kills >= 4
    await assert_is_archived(store, directory, day)


async def test_an_order_that_changes_meanwhile_is_left_with_its_executions(
    store: Store, files: ArchiveFiles, day: dict[str, list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ended(day)[0]
    late = {"_id": "late", "client_order_id": chosen["_id"]}
    replace = store.replace

    async def a_late_fill_then_replace(collection: str, replacements: Any) -> set[str]:
        if replacements and replacements[0].expected_revision == chosen["revision"]:
            change = {"revision": chosen["revision"] + 1, "status": "FILLED"}
            await store.commit(
                [Write(ORDERS, chosen["_id"], chosen["revision"], change), Write(FILLS, "late", 0, late)]
            )
        return await replace(collection, replacements)

    monkeypatch.setattr(store, "replace", a_late_fill_then_replace)
    run = Archiving(store, files, soon(), utc_now)
    await run.run()

    assert (run.done[ORDERS].documents, run.done[ORDERS].left) == (3, 1)
    assert exactly(await only(store, ORDERS, chosen["_id"])) == exactly(
        {**chosen, "revision": chosen["revision"] + 1, "status": "FILLED"}
    )
    own = [fill for fill in day[FILLS] if fill["client_order_id"] == chosen["_id"]]
    assert same(by_id(await store.load(FILLS)), [*own, late])


async def test_orders_that_bear_one_number_are_all_archived_however_they_fall_into_batches(
    store: Store, files: ArchiveFiles, day: dict[str, list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "BATCH", 3)
    numbers = [10, 20, 20, 20, 20, 20, 30, 30, 40]
    template = {name: value for name, value in ended(day)[3].items() if name != "_id"}
    made = [
        {"_id": f"{place}", **template, "signal_id": f"s{place}", "sequence": number}
        for place, number in enumerate(numbers)
    ]
    await store.insert(ORDERS, made)

    assert (await archive(store, None))[ORDERS] == 4 + len(made)
    assert (await archive(store, files))[ORDERS] == 4 + len(made)

    assert await store.count(ORDERS, {"sequence": numbers}) == 0


async def test_what_does_not_reach_the_disk_is_not_removed(
    store: Store, files: ArchiveFiles, day: dict[str, list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "BATCH", 2)
    write, room = os.write, [2]

    def full(descriptor: int, data: Any) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= 1
        return write(descriptor, data if room[0] else data[:20])  # the last one is cut short

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            await archive(store, files)

    assert same(by_id(await store.load(ORDERS)), day[ORDERS])
    assert same(by_id(await store.load(FILLS)), day[FILLS])
    assert archived(files.directory, FILLS) == {}

    await archive(store, files)
    await assert_is_archived(store, files.directory, day)


async def test_what_only_others_can_have_written_does_not_stop_it(
    tmp_path: Path, files: ArchiveFiles, mongodb: Any
) -> None:
    from bson import ObjectId
    from pymongo import MongoClient

    at = utc_now() - timedelta(days=3)
    theirs = ObjectId()
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        odd = {"_id": "A", "delivered_at": at, "note": theirs, "far": [float("inf"), b"\x00"], "a$": {"$b": 1}}
        client[mongodb.database][OUTBOX].insert_many([odd, {"_id": theirs, "delivered_at": at}])
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
        assert (await archive(store, files))[OUTBOX] == 2
        assert await store.count(OUTBOX) == 0

    found = archived(files.directory, OUTBOX)
    assert found.keys() == {"A", str(theirs)}
    assert (found["A"]["note"], found["A"]["far"][0], found["A"]["a$"]) == (str(theirs), "inf", {"$b": 1})


# ---------------------------------------------------------------------- beside a service


def execution(name: str, broker_order_id: str) -> FillReport:
    """An execution that names its order by the broker's id only."""
    fill = Fill(ExecutionId(name), Side.BUY, Decimal(100), Decimal(229), utc_now())
    return FillReport(fill, broker_order_id=BrokerOrderId(broker_order_id))


async def test_a_repeated_message_of_an_archived_order_is_known_and_one_with_other_content_is_told(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1"), order("sig_2", quantity=0))
        await rig.reaches("sig_1", "FILLED")
        await rig.reaches("sig_2", "REJECTED")
        await rig.delivered()
        async with rig.store() as store:
            await archive(store, ArchiveFiles(rig.directory / "archive", utc_now()))
        before = await rig.load(ORDERS)
        assert all(is_tombstone(document) for document in before)

        async def refused() -> bool:
            return len(await rig.load(DEAD_LETTERS)) == 2

        await rig.publish(
            order("sig_1"), order("sig_2", quantity=0), order("sig_1", quantity=7), order("sig_2", quantity=8)
        )
        await rig.until(refused, "the two with other content are dead letters")
    async with rig.service():
        await rig.publish(order("sig_1"), order("sig_2", quantity=0), order("sig_3"))
        await rig.reaches("sig_3", "FILLED")
        assert [document for document in await rig.load(ORDERS) if document["signal_id"] != "sig_3"] == before
    assert {letter["reason_code"] for letter in await rig.load(DEAD_LETTERS)} == {"CONFLICT"}
    assert len(await rig.load(DEAD_LETTERS)) == 2
    assert len(rig.at_broker("sig_1")) == 1
    assert rig.at_broker("sig_2") == []


@pytest.mark.parametrize("restarted", [False, True], ids=["in memory", "after a restart"])
async def test_a_late_execution_of_an_archived_order_is_kept_and_one_that_was_booked_is_known(
    rig: Rig, restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(rig.service())
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "FILLED")
        await rig.delivered()
        (booked,) = await rig.load(FILLS)
        position = await rig.position()
        async with rig.store() as store:
            await archive(store, ArchiveFiles(rig.directory / "archive", utc_now()))
        if restarted:
            await stack.aclose()
            service = await stack.enter_async_context(rig.service())

        name, told = document["order_id"], fill_from_document(booked)
        cost = told.commission
        assert cost is not None
        known = FillReport(told, broker_order_id=BrokerOrderId(name))
        billed = CommissionReport(ExecutionId(booked["execution_id"]), cost, None, BrokerOrderId(name))
        take = service.desks["acc_1"].receiver.take
        for report in (known, billed):
            booking = await take(report)
            if booking is not None:  # it is in memory still, and nothing is written
                await booking
        assert await rig.load(UNMATCHED) == []

        late, other = (
            execution("late-1", name),
            CommissionReport(
                ExecutionId(booked["execution_id"]), Commission(cost.amount + 1, "USD"), None, BrokerOrderId(name)
            ),
        )
        for report in (late, other, late):
            booking = await take(report)
            if booking is not None:  # it is in memory still, until the store says otherwise
                await asyncio.wait([booking])

        async def kept() -> bool:
            return len(await rig.load(UNMATCHED)) == 2

        await rig.until(kept, "the late execution and the other cost are kept")
        await rig.publish(order("sig_2"))
        await rig.reaches("sig_2", "FILLED")
        ledger = service.desks["acc_1"].receiver._ledger
        if restarted:
            assert await ledger.find_by_broker_id(AccountId("acc_1"), BrokerOrderId(name)) is None
    async with rig.service():
        pass
    # It is not looked for again and again either.
    assert "it is tried again" not in caplog.text
    assert {report["matched_at"] for report in await rig.load(UNMATCHED)} == {None}
    assert {found["client_order_id"] for found in await rig.load(FILLS)} == {(await rig.order("sig_2"))["_id"]}
    assert is_tombstone(await rig.order("sig_1"))
    assert (await rig.position())["quantity"] == position["quantity"] + 100
