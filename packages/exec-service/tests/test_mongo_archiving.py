"""Making room in MongoDB: answers that get lost, and indexes that are used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from exec_service.stores import ORDERS, OUTBOX, Replacement, StoreUnavailable, Within, Write
from exec_service.stores.mongo import MongoStore
from exec_service.stores.mongo_query import build
from mongo_proxy import Proxy, proxy_to
from pydantic import SecretStr
from pymongo import MongoClient
from real_servers import MongoDatabase
from store_samples import NOON, VALUES, ids, order


@pytest.fixture
async def proxy(mongodb: MongoDatabase) -> AsyncIterator[Proxy]:
    async with proxy_to(mongodb.uri) as made:
        yield made


@pytest.fixture
async def store(mongodb: MongoDatabase, proxy: Proxy) -> AsyncIterator[MongoStore]:
    """A store whose connections pass through the proxy."""
    async with MongoStore(SecretStr(proxy.uri), mongodb.database) as made:
        yield made


@pytest.mark.parametrize("lost", [1, 3, 4])
@pytest.mark.parametrize("what", ["lose_questions", "lose_answers"])
async def test_a_replacement_whose_answer_is_lost_is_done_and_told_as_done(
    store: MongoStore, proxy: Proxy, what: str, lost: int
) -> None:
    """The driver asks again once; what we ask again then must not take its own work for somebody else's."""
    await store.insert(ORDERS, [order(key, 7) for key in "ABC"] + [order("D", 8)])
    small = [order(key, 8, values=list(VALUES.values())) for key in "ABCD"]
    proxy.command = b"update"
    setattr(proxy, what, lost)

    left = await store.replace(ORDERS, [Replacement(7, document) for document in small])

    assert proxy.lost.is_set()
    assert left == {"D"}
    assert [document["revision"] for document in await store.load(ORDERS)] == [8] * 4
    assert ids(await store.load(ORDERS, {"_id": "A"})) == ["A"]


@pytest.mark.parametrize("what", ["lose_questions", "lose_answers"])
async def test_a_removal_whose_answer_is_lost_is_done(store: MongoStore, proxy: Proxy, what: str) -> None:
    await store.insert(OUTBOX, [{"_id": key} for key in "ABC"])
    proxy.command = b"delete"
    setattr(proxy, what, 3)

    await store.remove(OUTBOX, ["A", "B"])

    assert proxy.lost.is_set()
    assert ids(await store.load(OUTBOX)) == ["C"]


async def test_a_server_that_stays_away_is_an_error(mongodb: MongoDatabase, proxy: Proxy) -> None:
    async with MongoStore(SecretStr(proxy.uri), mongodb.database, timeout_seconds=2.0) as store:
        await store.insert(ORDERS, [order("A", 1)])
        proxy.command, proxy.lose_questions = b"update", 1_000_000
        with pytest.raises(StoreUnavailable):
            await store.replace(ORDERS, [Replacement(1, order("A", 2))])
        proxy.lose_questions = 0
        await store.commit([Write(ORDERS, "A", 1, {"revision": 2})])


async def test_what_is_archived_is_found_by_an_index_and_not_sorted(mongodb: MongoDatabase) -> None:
    """However much is stored: a batch costs what is in the batch."""
    final = ["CANCELLED", "EXPIRED", "FILLED", "REJECTED"]
    chosen: list[tuple[str, dict[str, Any], str]] = [
        (ORDERS, {"status": final, "sequence": Within(10, 900)}, "sequence"),
        (OUTBOX, {"delivered_at": Within(below=NOON)}, "delivered_at"),
    ]
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
        await store.insert(ORDERS, [order(f"{n}", status=final[n % 4], sequence=n) for n in range(1_000)])
        await store.insert(OUTBOX, [{"_id": f"{n}", "delivered_at": _at(n)} for n in range(1_000)])
        with MongoClient[dict[str, Any]](mongodb.uri) as client:
            for collection, where, order_by in chosen:
                found = client[mongodb.database][collection].find(build(collection, where))
                plan = found.sort(order_by, 1).limit(10).explain()
                assert plan["executionStats"]["totalDocsExamined"] <= 20
                assert "'SORT'" not in str(plan["queryPlanner"]["winningPlan"])


def _at(number: int) -> datetime | None:
    return NOON.replace(year=2000 + number % 20) if number % 2 else None
