"""Many signals told in one call: what it costs, and that none of them suffers from what is the matter with another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from exec_service.stores import SIGNALS, Document, SignalChange, StoreError, mongo_signals
from exec_service.stores.mongo import MongoStore
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.collection import Collection
from real_servers import MongoDatabase
from store_samples import MOMENT_SECONDS, PATIENCE_SECONDS


@pytest.fixture
def signals(mongodb: MongoDatabase) -> Iterator[Collection[dict[str, Any]]]:
    """The collection as its owner sees it."""
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        yield client[mongodb.database][SIGNALS]


@pytest.fixture
async def store(mongodb: MongoDatabase) -> AsyncIterator[MongoStore]:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as made:
        yield made


def setting(**fields: Any) -> Callable[[Document | None], Document | None]:
    return lambda _: fields


async def test_however_many_they_are_they_cost_one_question_one_insert_and_one_update(
    store: MongoStore, signals: Collection[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: Counter[str] = Counter()
    calls = ("find", "insert_many", "bulk_write", "insert_one", "update_one", "find_one")
    kind = type(store._connection.collection(SIGNALS))
    for name in calls:
        made = getattr(kind, name)

        def counted(*args: Any, made: Any = made, name: str = name, **more: Any) -> Any:
            sent[name] += 1
            return made(*args, **more)

        monkeypatch.setattr(kind, name, counted)
    signals.insert_many([{"_id": f"old-{n}", "signal_id": f"S{n}"} for n in range(150)])

    answers = await store.update_signals([SignalChange([], f"S{n}", setting(ours=n)) for n in range(300)])

    assert answers == [None] * 300
    assert signals.count_documents({"ours": {"$exists": True}}) == 300
    assert sent == {"find": 1, "insert_many": 1, "bulk_write": 1}


async def test_more_than_are_decided_on_at_once_are_all_made_in_their_order(
    store: MongoStore, signals: Collection[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_signals, "AT_ONCE", 3)

    def merge(number: int) -> Callable[[Document | None], Document | None]:
        return lambda found: {"seen": [*(found["seen"] if found else []), number]}

    changes = [SignalChange([], f"S{n % 4}", merge(n)) for n in range(11)]
    changes[5] = SignalChange([], "S1", setting(bad=object()))
    answers = await store.update_signals(changes)

    assert [type(answer) for answer in answers] == [ValueError if n == 5 else type(None) for n in range(11)]
    found = {document["_id"]: document["seen"] for document in signals.find()}
    assert found == {"S0": [0, 4, 8], "S1": [1, 9], "S2": [2, 6, 10], "S3": [3, 7]}


async def test_only_what_somebody_else_has_changed_meanwhile_is_decided_differently(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    signals.insert_many([{"_id": f"{n}", "signal_id": f"S{n}", "state": 0} for n in range(6)])
    interfered: list[str] = []

    def merge(found: Document | None) -> Document | None:
        assert found is not None
        if "decided_on" in found:
            return None
        if not interfered:  # of the ones that are decided on with it
            interfered.extend(["2", "4"])
            signals.update_many({"_id": {"$in": interfered}}, {"$set": {"state": 1}})
        return {"decided_on": found["state"]}

    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await store.update_signals([SignalChange([], f"S{n}", merge) for n in range(6)]) == [None] * 6

    assert {document["_id"]: (document["state"], document["decided_on"]) for document in signals.find()} == {
        f"{n}": (1, 1) if n in (2, 4) else (0, 0) for n in range(6)
    }


async def test_who_makes_some_of_them_at_the_same_time_is_found(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    done: list[bool] = []

    def merge(found: Document | None) -> Document | None:
        if not done:
            done.append(True)
            signals.insert_many([{"_id": "S1", "theirs": 1}, {"_id": ObjectId(), "signal_id": "S2"}])
            signals.create_index("signal_id", unique=True, sparse=True, name="of their own")
        return {"saw": found is not None}

    signals.drop_indexes()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await store.update_signals([SignalChange([], f"S{n}", merge) for n in range(4)]) == [None] * 4

    found = {document.get("signal_id", document["_id"]): document["saw"] for document in signals.find()}
    assert found == {"S0": False, "S1": True, "S2": True, "S3": False}


@pytest.mark.parametrize("exists", [False, True])
async def test_a_document_that_its_owners_rules_refuse_keeps_no_other_back(
    store: MongoStore, signals: Collection[dict[str, Any]], exists: bool
) -> None:
    rule = {"quantity": {"$not": {"$gt": 100}}}
    signals.database.command({"collMod": SIGNALS, "validator": rule})
    if exists:
        signals.insert_many([{"_id": f"S{n}"} for n in range(3)])
    changes = [SignalChange([], f"S{n}", setting(quantity=n * 100)) for n in range(3)]

    first, second, third = await store.update_signals(changes)

    assert first is second is None
    assert isinstance(third, StoreError)
    assert "update signal_store" in str(third)
    assert {document["_id"] for document in signals.find({"quantity": {"$exists": True}})} == {"S0", "S1"}


async def test_what_relied_on_a_refused_change_is_not_taken_for_made(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    signals.database.command({"collMod": SIGNALS, "validator": {"quantity": {"$not": {"$gt": 100}}}})

    def unless_known(found: Document | None) -> Document | None:
        return None if found is not None and found.get("quantity") else {"quantity": 200}

    answers = await store.update_signals([SignalChange([], "S", unless_known) for _ in range(2)])

    assert [type(answer) for answer in answers] == [StoreError, StoreError]
    assert list(signals.find()) == []


@pytest.mark.parametrize("exists", [False, True])
async def test_a_value_that_its_owners_want_only_once_keeps_no_other_back(
    store: MongoStore, signals: Collection[dict[str, Any]], exists: bool
) -> None:
    """Waiting does not help: what keeps it out is not found by the signal."""
    signals.create_index("order_id", unique=True, sparse=True)
    if exists:
        signals.insert_many([{"_id": f"S{n}"} for n in range(3)])
    changes = [SignalChange([], f"S{n}", setting(order_id=max(1, n))) for n in range(3)]

    answers = await store.update_signals(changes)

    assert sorted(str(type(answer).__name__) for answer in answers) == ["NoneType", "NoneType", "StoreError"]
    assert answers[2] is None
    assert signals.count_documents({"order_id": {"$exists": True}}) == 2


async def test_a_document_that_would_grow_too_large_keeps_no_other_back(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    signals.insert_many([{"_id": "S0", "theirs": "x" * (15 * 1024 * 1024)}, {"_id": "S1"}])
    changes = [SignalChange([], f"S{n}", setting(reason="y" * (2 * 1024 * 1024))) for n in range(3)]

    first, *others = await store.update_signals(changes)

    assert isinstance(first, ValueError)
    assert "16 MB" in str(first)
    assert others == [None, None]
    assert {document["_id"] for document in signals.find({"reason": {"$exists": True}}, {"_id": 1})} == {"S1", "S2"}


async def test_a_document_that_cannot_be_read_keeps_no_other_back(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    broken = bson.encode({"_id": "theirs", "signal_id": "S1", "state": "\u00e9"}).replace(b"\xc3\xa9", b"\xe9\xe9")
    signals.with_options(bson.CodecOptions(document_class=RawBSONDocument)).insert_one(RawBSONDocument(broken))

    def merge(found: Document | None) -> Document | None:
        return {"saw": None if found is None else found.get("state")}

    first, second, third = await store.update_signals([SignalChange([], f"S{n}", merge) for n in range(3)])

    assert first is third is None
    assert isinstance(second, StoreError)
    assert {document["_id"] for document in signals.find({"saw": {"$exists": True}}, {"_id": 1})} == {"S0", "S2"}


async def test_any_id_that_a_document_of_theirs_may_have_will_do(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    keys = [{"desk": 1, "number": 2}, 7, 2.5, ObjectId(), b"bytes"]
    signals.insert_many([{"_id": key, "signal_id": f"S{n}"} for n, key in enumerate(keys)])

    assert await store.update_signals([SignalChange([], f"S{n}", setting(ours=n)) for n in range(5)]) == [None] * 5

    assert [document["_id"] for document in signals.find().sort("ours")] == keys


async def test_what_is_written_there_by_us_or_by_others_wakes_nobody(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    while await store.wait_for_change(MOMENT_SECONDS):
        pass

    await store.update_signals([SignalChange([], f"S{n}", setting(value=1)) for n in range(20)])
    signals.update_many({}, {"$set": {"theirs": 1}})

    assert not await store.wait_for_change(2 * MOMENT_SECONDS)


async def test_whatever_was_looked_at_no_change_of_it_is_overlooked(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    alike = [(1, [1]), ("x", ["x"]), (1, 2), (1, "1"), (True, 1), (None, []), ([], [1]), ({"a": 1}, {"a": 2})]
    changed = [(name, *values) for name in ("state", "a.b", "$c", "", "a b") for values in [*alike, ("absent", None)]]
    saw: dict[int, list[Any]] = {number: [] for number in range(len(changed))}

    def merge(number: int) -> Callable[[Document | None], Document | None]:
        name, _, after = changed[number]

        def decide(found: Document | None) -> Document | None:
            assert found is not None
            saw[number].append(found.get(name, "absent"))
            if len(saw[number]) == 1:
                signals.delete_one({"_id": f"S{number}"})
                signals.insert_one({"_id": f"S{number}", name: after})
            return {"ours": 1}

        return decide

    signals.insert_many(
        {"_id": f"S{n}"} if before == "absent" else {"_id": f"S{n}", name: before}
        for n, (name, before, _) in enumerate(changed)
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number in range(len(changed)):  # each alone: one that is overlooked is not looked at again with others
            await store.update_signals([SignalChange([], f"S{number}", merge(number))])

    for number, (name, before, after) in enumerate(changed):
        assert saw[number] == [before, after], changed[number]
        assert signals.find_one({"_id": f"S{number}"}) == {"_id": f"S{number}", name: after, "ours": 1}
