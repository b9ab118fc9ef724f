"""What the benchmarks say must be so: the checks find wrong results, copies are whole, and the reference is honest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import memory
import pytest
import workers
from bench import checks, page, reference, seeding
from bench.load import PRICE, QUANTITY, Heard, Producer
from bench.subjects import ReferenceSubject, set_up_bus
from bench.wire import clients
from bson import Decimal128
from bson.int64 import Int64
from google.pubsub_v1.types import PubsubMessage
from harness import ORDERS_TOPIC, Real, encode, order, until
from pymongo import MongoClient
from pymongo.asynchronous.mongo_client import AsyncMongoClient
from real_servers import MongoDatabase

Change = Callable[[Any], object]

# ---------------------------------------------------------------------- the checks


PUBLISHED = {f"s{number}": (f"acc_{number % 2}", "SPY") for number in range(4)}


@pytest.fixture
def right(mongodb: MongoDatabase) -> Real:
    """A database in which all is as it should be; with an order besides that was not published by the run."""
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        database = client[mongodb.database]
        everything = {**PUBLISHED, "other": ("acc_0", "QQQ")}
        rows = [{"_id": name, "signal_id": name, "status": "FILLED"} for name in everything]
        database["orders"].insert_many(rows)
        database["execution_confirmations"].insert_many(rows)
        for name, (account, symbol) in everything.items():
            place = {"account_id": account, "symbol": symbol}
            database["fills"].insert_one({"signal_id": name, "quantity": Decimal128(str(QUANTITY)), **place})
            database["positions"].update_one(place, {"$inc": {"quantity": float(QUANTITY)}}, upsert=True)
    return Real(mongodb.uri, mongodb.database, "", "")


def test_a_right_result_passes(right: Real) -> None:
    checks.check(right, PUBLISHED)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda db: db["orders"].delete_one({"_id": "s1"}), "1 orders have no order, such as s1"),
        (lambda db: db["orders"].insert_one({"signal_id": "s1", "status": "FILLED"}), "1 orders are too many"),
        (
            lambda db: db["orders"].update_one({"_id": "s1"}, {"$set": {"status": "SUBMITTED"}}),
            "1 orders are not FILLED, such as s1",
        ),
        (lambda db: db["fills"].delete_one({"signal_id": "s1"}), "1 orders have no execution, such as s1"),
        (
            lambda db: db["fills"].insert_one(db["fills"].find_one({"signal_id": "s1"}, {"_id": 0})),
            "1 executions are too many, such as one of s1",
        ),
        (
            lambda db: db["fills"].update_one({"signal_id": "s1"}, {"$set": {"quantity": Decimal128("99")}}),
            "SPY in acc_1: 200 were ordered, 199 executed, and the position is 200",
        ),
        (
            lambda db: db["positions"].update_one({"account_id": "acc_1"}, {"$inc": {"quantity": 100}}),
            "SPY in acc_1: 200 were ordered, 200 executed, and the position is 300",
        ),
        (
            lambda db: db["execution_confirmations"].delete_one({"_id": "s1"}),
            "1 orders have no confirmation document, such as s1",
        ),
        (
            lambda db: db["execution_confirmations"].update_one({"_id": "s1"}, {"$set": {"status": "PENDING"}}),
            "1 confirmation documents do not say FILLED, such as that of s1",
        ),
    ],
)
def test_a_wrong_result_is_told(right: Real, change: Change, sentence: str) -> None:
    with MongoClient[dict[str, Any]](right.mongodb_uri) as client:
        change(client[right.database])
    with pytest.raises(checks.Wrong) as error:
        checks.check(right, PUBLISHED)
    assert sentence in str(error.value)


def test_an_order_that_a_kill_may_have_cost_is_not_missed(right: Real) -> None:
    with MongoClient[dict[str, Any]](right.mongodb_uri) as client:
        database = client[right.database]
        database["orders"].update_one({"_id": "s1"}, {"$set": {"status": "REJECTED"}})
        database["execution_confirmations"].update_one({"_id": "s1"}, {"$set": {"status": "REJECTED"}})
        database["fills"].delete_one({"signal_id": "s1"})
        database["positions"].update_one({"account_id": "acc_1"}, {"$inc": {"quantity": -QUANTITY}})
    checks.check(right, PUBLISHED, may_be_refused=1)
    with pytest.raises(checks.Wrong, match="1 orders are not FILLED"):
        checks.check(right, PUBLISHED)


# ---------------------------------------------------------------------- copies


AT = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)


def _template() -> tuple[seeding.Template, dict[str, Any]]:
    """One whose times lie as far apart as copies do: replaced one after the other, one would become the other."""
    own = {
        "_id": seeding.client_order_id(0),
        "signal_id": seeding.signal_name(0),
        "account_id": "acc_0",
        "order_id": "mock-AB12CD34-1",
        "price": Decimal128("100.25"),
        "sequence": Int64(1_763_640_000_250_000),
        "received_at": AT,
        "history": [{"at": AT - seeding.APART * 10, "text": "BUY (AB12CD34-1)"}, {"at": AT, "text": "x"}],
    }
    times = frozenset({AT, AT - seeding.APART * 10})
    template = seeding.Template(
        0, {"orders": [bson.encode(own)]}, "AB12CD34-1", times, frozenset({int(own["sequence"])})
    )
    return template, own


def test_a_copy_is_the_same_but_for_names_and_times() -> None:
    template, own = _template()
    (raw,) = template.copies("orders", range(12, 13), 22)
    options = bson.codec_options.CodecOptions(tz_aware=True)
    copy = bson.decode(raw.raw, options)
    ago = 10 * seeding.APART
    assert copy == {
        **own,
        "_id": seeding.client_order_id(12),
        "signal_id": "seed_0000000012",
        "account_id": "acc_0",
        "order_id": "mock-0000000012",
        "sequence": own["sequence"] - ago // timedelta(microseconds=1),
        "received_at": AT - ago,
        "history": [{"at": AT - 2 * ago, "text": "BUY (0000000012)"}, {"at": AT - ago, "text": "x"}],
    }
    assert copy["price"].to_decimal() == Decimal("100.25")


def test_no_two_copies_have_a_name_or_an_arrival_number_in_common() -> None:
    template, _ = _template()
    copies = [bson.decode(raw.raw) for raw in template.copies("orders", range(2, 500, 2), 500)]
    for name in ("_id", "signal_id", "order_id", "sequence"):
        assert len({copy[name] for copy in copies}) == len(copies)
    assert {copy["account_id"] for copy in copies} == {"acc_0", "acc_1", "acc_2"}


# ---------------------------------------------------------------------- what is told


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n<!-- y: begin -->\nother\n<!-- y: end -->\n"
    once = page.replaced(text, "x", "new\n")
    assert once == text.replace("old", "new")
    assert page.replaced(once, "x", "new") == once
    with pytest.raises(ValueError, match="must have the lines"):
        page.replaced(text, "z", "new")
    with pytest.raises(ValueError, match="once each"):
        page.replaced(text + text, "x", "new")


@pytest.mark.parametrize("name", sorted(page.SECTIONS))
def test_the_page_has_a_place_for_every_result(name: str) -> None:
    assert page.replaced(page.PAGE.read_text(), name, "new") != page.PAGE.read_text()


def _phase(per_second: float, p50: float, own: str) -> dict[str, Any]:
    cpu = {"mongod": 0.4, "emulator": 0.3, own: 2.0, "load": 0.1}
    latency = {"p50_ms": p50, "p99_ms": 2 * p50, "called_p50_ms": 9.0, "called_p99_ms": 20.0}
    return {"carried": True, "orders": 10, "per_second": per_second, "cpu_per_thousand": cpu, **latency}


def _pipeline() -> dict[str, Any]:
    found: dict[str, Any] = {
        name: {"saturated": _phase(rate, 100, name), "peak_mb": 90.0, "rates": {"50": _phase(50, p50, name)}}
        for name, rate, p50 in (("service", 600.0, 60.0), ("reference", 1200.0, 40.0))
    }
    found["service"]["rates"]["1000"] = {"carried": False}
    found["reference"]["rates"]["1000"] = _phase(1000, 80, "reference")
    where = {"date": "2026-11-23", "processor": "X", "python": "3", "mongod": "6", "emulator": "1"}
    return {**found, "machine": where, "commit_ms": 6.5}


def test_the_pipelines_ratios_stand_on_the_page() -> None:
    before = json.loads(json.dumps(_pipeline()))
    before["service"]["saturated"]["per_second"] = 60.0
    text = page.pipeline(_pipeline(), before)
    assert "| orders/s | 600 | 1,200 | 0.50 | 60 | 0.05 |" in text
    assert "| 50 | 60 / 120 | 40 / 80 | 1.50 | 9 / 20 | 9 / 20 | 2.5 | 2.00 |" in text
    assert "| 1000 | not carried | 80 / 160 |  | not carried | 9 / 20 |  |  |" in text
    assert "| orders/s | 600 | 1,200 | 0.50 |  |  |" in page.pipeline(_pipeline(), None)


@pytest.mark.parametrize(
    ("points", "flat", "growth"),
    [
        ([(0, 60.0), (100, 100.0), (200, 104.0), (300, 103.0)], True, 4.0),
        ([(0, 60.0), (100, 100.0), (200, 104.0), (300, 108.0)], False, 8.0),
        ([(0, 60.0), (100, 100.0)], None, None),
    ],
)
def test_memory_that_grows_is_not_flat(
    points: list[tuple[int, float]], flat: bool | None, growth: float | None
) -> None:
    assert memory.verdict(points, warm_up=100) == {"growth_mb": growth, "flat": flat}


def test_a_machine_that_is_busy_is_the_limit() -> None:
    row: Mapping[str, Any] = {"workers": 2, "per_second": 500, "processors_used": 1.2, "others_processors": 0.1}
    assert "waiting is the limit" in workers.limit([dict(row)], 2)
    assert "the machine is the limit" in workers.limit([{**row, "others_processors": 0.6}], 2)


def test_latencies_are_those_of_what_came_back() -> None:
    heard = Heard({"a": 1.0, "b": 1.0, "c": 2.0}, {"a": 1.5, "b": 2.0})
    assert (heard.missing, heard.percentile(0.5), heard.percentile(0.99), heard.per_second) == (1, 500.0, 1000.0, 2.0)


# ---------------------------------------------------------------------- the reference


async def test_the_reference_books_every_order_once_whatever_is_repeated(real: Real, tmp_path: Path) -> None:
    await set_up_bus(real.project)
    subject = ReferenceSubject(real, tmp_path / "reference")
    try:
        await subject.start()
        async with clients(real.emulator, real.project) as bus, Producer(bus, accounts=3) as producer:
            heard = await producer.burst("first", 300)
            assert heard.missing == 0
            again = [
                order(f"first_{number:07d}", symbol=symbol, account_id=account, price=PRICE, quantity=QUANTITY)
                for number, (account, symbol) in enumerate(producer.published.values())
            ]
            await bus.publish(ORDERS_TOPIC, [PubsubMessage(data=encode(message)) for message in again])
            await producer.burst("second", 200)
        async with AsyncMongoClient[dict[str, Any]](real.mongodb_uri) as client:
            database = client[real.database]
            await until(lambda: _all_told(database, 500), seconds=60, what="every signal is told")
            states = await database["signal_store"].distinct("execution_status")
        subject.stop()
    finally:
        subject.kill()
    assert states == ["FILLED"]
    checks.check(real, producer.published)
    times = subject.times()
    assert times.keys() == producer.published.keys()
    assert all(received <= called for received, called in times.values())
    with pytest.raises(checks.Wrong):
        checks.check(replace(real), {**producer.published, "never": ("acc_0", "SYM0")})


def test_the_reference_moves_a_position_once_by_all_its_executions() -> None:
    orders = [
        reference.intent(order(f"s{number}", symbol=symbol, side=side, price=10.0), 1.0)
        for number, (symbol, side) in enumerate((("SPY", "BUY"), ("QQQ", "BUY"), ("SPY", "BUY"), ("SPY", "SELL")))
    ]
    batch = [(one, {"quantity": one["quantity"], "price": one["price"], "commission": 1.0}) for one in orders]
    spy, qqq = sorted(reference.moves(batch, AT), key=lambda move: str(move._filter), reverse=True)
    assert spy._doc["$inc"] == {"quantity": 100.0, "cost": 1000.0, "commission": 3.0, "order_count": 3}
    assert qqq._doc["$inc"] == {"quantity": 100.0, "cost": 1000.0, "commission": 1.0, "order_count": 1}


async def _all_told(database: Any, count: int) -> bool:
    return bool(await database["signal_store"].count_documents({}) == count)
