"""Our part of `signal_store`, beside services that write the same documents all the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import bson
import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, ObjectId, Regex
from bson.raw_bson import RawBSONDocument
from exec_core.money import Decimal
from exec_service.signals import merge_signal
from exec_service.stores import SIGNALS, StoreUnavailable
from exec_service.stores.mongo import MongoStore
from exec_service.stores.mongo_codec import RAW, pack
from exec_service.stores.mongo_seen import Seen
from impatience import grow_impatient
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.collection import Collection
from real_servers import MongoDatabase
from store_samples import PATIENCE_SECONDS, tell

KEY = ObjectId("65f0c0ffee65f0c0ffee65f0")
FOREIGN = {
    "account": ObjectId("75f0c0ffee65f0c0ffee65f0"),
    "blob": Binary(b"\x01", 128),
    "pattern": Regex("a+", 2),
    "long": Int64(5),
    "far": DatetimeMS(2**60),
    "none": float("nan"),
    "ref": {"$ref": "accounts", "$id": ObjectId("75f0c0ffee65f0c0ffee65f0")},
    "a.b": {"$c": 1},
}


@pytest.fixture
def signals(mongodb: MongoDatabase) -> Iterator[Collection[dict[str, Any]]]:
    """The collection as its owner sees it."""
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        yield client[mongodb.database][SIGNALS]


@pytest.fixture
async def store(mongodb: MongoDatabase) -> AsyncIterator[MongoStore]:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as made:
        yield made


def update(revision: int, leg: int = 0, total_legs: int = 1, **fields: Any) -> dict[str, Any]:
    told = dict.fromkeys(
        ("order_id", "execution_status", "filled_quantity", "avg_fill_price", "filled_at", "reason_code", "reason")
    )
    return {
        "signal_id": "S",
        "client_order_id": f"C{leg}",
        "leg_index": leg,
        "total_legs": total_legs,
        "revision": revision,
        "updated_at": None,
        **told,
        **fields,
    }


def merging(change: dict[str, Any]) -> Callable[[dict[str, Any] | None], dict[str, Any] | None]:
    return lambda existing: merge_signal(existing, change)


def raw(signals: Collection[dict[str, Any]], key: Any) -> dict[str, Any]:
    """The document with nothing made nicer."""
    from bson.codec_options import CodecOptions, DatetimeConversion

    options = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_MS)
    found = signals.with_options(options).find_one({"_id": key})
    assert found is not None
    return found


@pytest.mark.parametrize("ids", [[str(KEY)], ["nobody", str(KEY)], []])
async def test_a_document_with_an_object_id_is_found_and_only_our_fields_change(
    store: MongoStore, signals: Collection[dict[str, Any]], ids: list[str]
) -> None:
    signals.insert_one({"_id": KEY, "signal_id": "S", **FOREIGN})
    before = raw(signals, KEY)

    await tell(store, ids, "S", merging(update(3, execution_status="FILLED")))

    after = raw(signals, KEY)
    assert after["execution_status"] == "FILLED"
    assert repr({name: after[name] for name in before}) == repr(before)
    assert signals.count_documents({}) == 1


async def test_an_id_that_looks_like_an_object_id_may_be_a_text(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    signals.insert_one({"_id": str(KEY)})

    await tell(store, [str(KEY)], "S", lambda _: {"ours": 1})

    assert list(signals.find()) == [{"_id": str(KEY), "ours": 1}]


async def test_every_foreign_document_can_be_loaded(store: MongoStore, signals: Collection[dict[str, Any]]) -> None:
    signals.insert_one({"_id": KEY, "signal_id": "S", **FOREIGN})

    (found,) = await store.load(SIGNALS, {"signal_id": "S"})

    assert found["_id"] == str(KEY)
    assert found["account"] == "75f0c0ffee65f0c0ffee65f0"
    assert found["ref"] == {"$ref": "accounts", "$id": "75f0c0ffee65f0c0ffee65f0"}
    for key in (str(KEY), found["_id"], [found["_id"], "nobody"]):
        assert [document["account"] for document in await store.load(SIGNALS, {"_id": key})] == [found["account"]]


async def test_what_others_keep_in_our_legs_goes_back_as_it_came(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    leg = {"leg_index": 1, **{name: value for name, value in FOREIGN.items() if name != "long"}}
    signals.insert_one({"_id": KEY, "signal_id": "S", "legs": [leg]})

    await tell(store, [], "S", merging(update(2, leg=1, total_legs=2, execution_status="SUBMITTED")))

    (stored,) = raw(signals, KEY)["legs"]
    assert stored["execution_status"] == "SUBMITTED"
    assert repr({name: stored[name] for name in leg if name != "ref"}) == repr(
        {name: value for name, value in leg.items() if name != "ref"}
    )


async def test_several_documents_of_one_signal_are_told_in_one_place(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    signals.insert_many([{"_id": f"{n}", "signal_id": "S"} for n in (2, 1, 3)])

    for revision in (1, 2, 3):
        await tell(store, [], "S", merging(update(revision)))

    told = [document for document in signals.find() if "execution_revision" in document]
    assert len(told) == 1
    assert told[0]["execution_revision"] == 3


async def test_many_foreign_writers_neither_lose_anything_nor_stop_us(
    store: MongoStore, mongodb: MongoDatabase, signals: Collection[dict[str, Any]]
) -> None:
    """They write other fields, without end; one writes `legs` too, which we must not lose either."""
    signals.insert_one({"_id": KEY, "signal_id": "S", "count": 0})
    stop = asyncio.Event()

    def write(name: str) -> int:
        count = 0
        while not stop.is_set():
            signals.update_one({"_id": KEY}, {"$inc": {name: 1}, "$set": {"updated_at": count}})
            count += 1
        return count

    names = ["first", "second", "third"]
    writing = [asyncio.create_task(asyncio.to_thread(write, name)) for name in names]
    async with asyncio.timeout(PATIENCE_SECONDS):
        for revision in range(1, 30):
            await tell(store, [str(KEY)], "S", merging(update(revision, execution_status="SUBMITTED")))
    stop.set()
    counts = await asyncio.gather(*writing)

    found = signals.find_one({"_id": KEY})
    assert found is not None
    assert [found[name] for name in names] == counts
    assert found["execution_revision"] == 29
    assert all(counts)


async def test_legs_that_are_told_from_several_sides_are_all_there(
    store: MongoStore, mongodb: MongoDatabase, signals: Collection[dict[str, Any]]
) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as other:
        for _ in range(3):
            signals.delete_many({})
            await asyncio.gather(
                *(
                    tell(by, [], "S", merging(update(1, leg, 6, execution_status="FILLED")))
                    for leg, by in enumerate([store, other] * 3)
                )
            )
            (found,) = signals.find()
            assert [leg["leg_index"] for leg in found["legs"]] == list(range(6))
            assert found["execution_status"] == "FILLED"


async def test_a_change_to_what_was_looked_at_means_deciding_again(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    signals.insert_one({"_id": "A", "signal_id": "S", "state": 1, "other": 1})
    seen = []

    def merge(found: dict[str, Any] | None) -> dict[str, Any]:
        assert found is not None
        seen.append(found["state"])
        if len(seen) == 1:
            signals.update_one({"_id": "A"}, {"$set": {"state": 2, "other": 2}})
        return {"decided_on": found["state"]}

    await tell(store, [], "S", merge)

    assert seen == [1, 2]
    assert signals.find_one() == {"_id": "A", "signal_id": "S", "state": 2, "other": 2, "decided_on": 2}


async def test_a_change_to_something_else_does_not(store: MongoStore, signals: Collection[dict[str, Any]]) -> None:
    signals.insert_one({"_id": "A", "signal_id": "S", "state": 1})
    calls = []

    def merge(found: dict[str, Any] | None) -> dict[str, Any]:
        assert found is not None
        calls.append(found.get("state"))
        signals.update_one({"_id": "A"}, {"$set": {"theirs": len(calls)}})
        return {"ours": 1}

    await tell(store, [], "S", merge)

    assert calls == [1]
    assert signals.find_one() == {"_id": "A", "signal_id": "S", "state": 1, "theirs": 1, "ours": 1}


@pytest.mark.parametrize("value", [None, 1, 1.5, "text", [1, [2]], {"a": {"b": 1}}, True, [], {}, Decimal("1.50")])
async def test_what_was_looked_at_is_recognised_whatever_it_is(store: MongoStore, value: Any) -> None:
    await store.insert(SIGNALS, [{"_id": "A", "signal_id": "S", "state": value, "none": None}])

    def merge(found: dict[str, Any] | None) -> dict[str, Any]:
        assert found is not None
        assert found["state"] == value
        assert found["none"] is None
        assert "absent" not in found
        return {"seen": True}

    async with asyncio.timeout(PATIENCE_SECONDS):
        await tell(store, [], "S", merge)

    assert (await store.load(SIGNALS))[0]["seen"] is True


async def test_absent_and_none_are_told_apart(store: MongoStore, signals: Collection[dict[str, Any]]) -> None:
    signals.insert_one({"_id": "A", "signal_id": "S"})
    calls = []

    def merge(found: dict[str, Any] | None) -> dict[str, Any]:
        assert found is not None
        calls.append("state" in found)
        if len(calls) == 1:
            signals.update_one({"_id": "A"}, {"$set": {"state": None}})
        return {"ours": 1}

    await tell(store, [], "S", merge)

    assert calls == [False, True]


async def test_a_document_that_is_deleted_meanwhile_is_made_anew(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    signals.insert_one({"_id": "A", "signal_id": "S", "state": 1})

    def merge(found: dict[str, Any] | None) -> dict[str, Any]:
        signals.delete_many({})
        return {"found": found is not None}

    await tell(store, [], "S", merge)

    assert list(signals.find()) == [{"_id": "S", "signal_id": "S", "found": False}]


async def test_who_inserts_at_the_same_time_is_found(store: MongoStore, signals: Collection[dict[str, Any]]) -> None:
    calls = []

    def merge(found: dict[str, Any] | None) -> dict[str, Any]:
        calls.append(found)
        if found is None:
            signals.insert_one({"_id": "S", "theirs": 1})
        return {"ours": 1}

    await tell(store, [], "S", merge)

    assert len(calls) == 2
    assert list(signals.find()) == [{"_id": "S", "theirs": 1, "ours": 1}]


async def test_one_who_is_always_quicker_makes_it_unavailable_within_bounds(
    mongodb: MongoDatabase, signals: Collection[dict[str, Any]]
) -> None:
    signals.insert_one({"_id": "A", "signal_id": "S", "state": 0})

    def merge(found: dict[str, Any] | None) -> dict[str, Any]:
        assert found is not None
        signals.update_one({"_id": "A"}, {"$inc": {"state": 1}})
        return {"ours": found["state"]}

    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
        grow_impatient(store, 0.5)
        with pytest.raises(StoreUnavailable, match="S"):
            await tell(store, [], "S", merge)

    assert "ours" not in (signals.find_one() or {})


async def test_a_foreign_transaction_on_the_document_only_delays(
    store: MongoStore, signals: Collection[dict[str, Any]]
) -> None:
    signals.insert_one({"_id": "A", "signal_id": "S"})
    with signals.database.client.start_session() as session:
        session.start_transaction()
        signals.update_one({"_id": "A"}, {"$set": {"theirs": 1}}, session=session)
        updating = asyncio.create_task(tell(store, [], "S", merging(update(1))))
        done, _ = await asyncio.wait({updating}, timeout=0.2)
        assert not done
        await asyncio.to_thread(session.commit_transaction)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await updating

    found = signals.find_one() or {}
    assert (found["theirs"], found["execution_revision"]) == (1, 1)


def test_seen_notes_every_way_of_looking() -> None:
    def looked(look: Callable[[Seen], Any]) -> set[str]:
        seen = Seen({"a": 1, "b": 2})
        look(seen)
        return seen.names

    assert looked(lambda seen: seen["a"]) == {"a"}
    assert looked(lambda seen: seen.get("c")) == {"c"}
    assert looked(lambda seen: "b" in seen) == {"b"}
    assert looked(bool) == set()
    for look in (
        list,
        dict,
        Seen.keys,
        Seen.values,
        Seen.items,
        Seen.copy,
        lambda seen: {**seen},
        lambda seen: seen == {},
    ):
        assert looked(look) == {"a", "b"}
    assert looked(lambda seen: seen | {"x": 1}) == {"a", "b"}


def test_seen_decodes_what_is_nested_when_it_is_looked_at() -> None:
    document = {"a": 1, "legs": [{"price": Decimal128("1.50")}], "ref": {"$ref": "a", "$id": 1}, "none": float("inf")}
    seen = Seen(RawBSONDocument(bson.encode(document), RAW))

    assert seen["legs"] == [{"price": Decimal("1.50")}]
    assert type(seen["legs"][0]) is dict
    assert seen.get("ref") == {"$ref": "a", "$id": 1}
    assert repr(pack(seen["none"])) == "inf"
    assert seen.names == {"legs", "ref", "none"}

    seen.overlay({"a": 2, "more": [1]})
    assert (seen["a"], seen["more"], seen["legs"]) == (2, [1], [{"price": Decimal("1.50")}])
    seen = Seen(RawBSONDocument(bson.encode(document), RAW))
    seen.overlay({"legs": []})
    assert seen["legs"] == []
