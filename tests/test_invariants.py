"""The judge of the chaos runs is judged: each lie in a true story is found, and the true story passes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exec_service.stores import Document, Write
from harness import World, order
from invariants import Findings, check, may_be_lost

SENT = [f"s_{number}" for number in range(6)]
Story = tuple[World, list[dict[str, Any]]]


async def play(world: World) -> list[dict[str, Any]]:
    await world.set_up()
    with world.start() as service:
        await service.ready()
        await world.publish(*(order(name, symbol=f"S{name[-1]}", price=10) for name in SENT))
        await world.settled(len(SENT))
        assert service.stop() == 0
    return await world.confirmations()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Story:
    variables = {
        "ACCOUNTS": json.dumps({"acc_1": {"name": "A", "broker": "mock"}}),
        "MOCK_BROKER_PARTIAL_FILLS": "2",
        "MOCK_BROKER_FILL_DELAY_SECONDS": "0.6",  # so that each execution is confirmed apart
    }
    world = World(tmp_path_factory.mktemp("story"), variables)
    return world, asyncio.run(play(world))


@pytest.fixture
def story(told: Story, tmp_path: Path) -> Story:
    """A copy, to lie in."""
    world, confirmations = told
    shutil.copytree(world.directory, tmp_path / "copy")
    return World(tmp_path / "copy", world.variables), json.loads(json.dumps(confirmations))


async def judge(story: Story, **options: Any) -> Findings:
    return await check(story[0], SENT, story[1], **options)


async def test_the_truth_passes(story: Story) -> None:
    found = await judge(story)
    assert found.wrong == []
    assert (found.orders, found.at_broker, found.fills) == (6, 6, 12)
    assert found.lost == []


def signal(document: Document) -> bool:
    return document["signal_id"] == "s_3"


def first(_document: Document) -> bool:
    return True


@pytest.mark.parametrize(
    ("collection", "which", "change", "sentence"),
    [
        ("orders", signal, {"filled_quantity": Decimal(99)}, "s_3: filled 99, executions 100"),
        ("orders", signal, {"status": "CANCELLED"}, "s_3: status is CANCELLED in the order, FILLED in the document"),
        ("orders", signal, {"reason_code": "NOT_PLACED"}, "s_3: FILLED/NOT_PLACED, but 1 at the broker"),
        ("orders", signal, {"signal_id": "s_9"}, "s_3: no order in the journal"),
        ("orders", signal, {"signal_id": "s_9"}, "s_9: an order that nobody sent"),
        ("orders", signal, {"client_order_id": "X" * 20}, "at the broker without an order of ours"),
        ("orders", signal, {"commission": Decimal(7)}, "s_3: commission 7, the venue charged 1.0"),
        ("orders", signal, {"history": []}, "s_3: FILLED/None, but 1 at the broker"),
        ("orders", signal, {"avg_fill_price": Decimal(11)}, "avg_fill_price is 11 in the order, 10.0 in signal_store"),
        ("execution_confirmations", signal, {"commission": 7.0}, "commission is"),
        ("execution_confirmations", signal, {"client_order_id": "X"}, "s_3: no document"),
        ("signal_store", signal, {"execution_status": "SUBMITTED"}, "SUBMITTED in signal_store"),
        ("signal_store", signal, {"filled_quantity": 50.0}, "filled_quantity is 100 in the order, 50.0 in signal"),
        ("signal_store", signal, {"signal_id": "s_4"}, "s_3: 0 documents in signal_store"),
        ("signal_store", signal, {"signal_id": "s_4"}, "s_4: 2 documents in signal_store"),
        ("signal_store", signal, {"signal_id": "other"}, "other: a signal without an order"),
        ("outbox", signal, {"channel": "elsewhere"}, "published without a row in the outbox"),
        ("outbox", signal, {"data": "{}"}, "promised {}"),
        ("fills", first, {"price": Decimal(11)}, "@ 11 is not"),
        ("positions", first, {"status": "CLOSED"}, None),
    ],
)
async def test_a_lie_in_the_documents_is_found(
    story: Story, collection: str, which: Callable[[Document], bool], change: dict[str, Any], sentence: str | None
) -> None:
    world, _ = story
    async with world.store() as store:
        documents = await store.load(collection)
        if collection == "outbox":
            documents = [document for document in documents if document["channel"] == "confirmations"]
            chosen = next(document for document in documents if any(which(row) for row in document["rows"]))
            if "channel" not in change:
                change = {"rows": [{**row, **change} if which(row) else row for row in chosen["rows"]]}
        else:
            chosen = next(document for document in documents if which(document))
        if collection == "positions":  # the exact figures are what is summed
            key = (chosen["strategy_name"], chosen["account_id"], chosen["symbol"])
            change, sentence = {"exact": {**chosen["exact"], "quantity": Decimal(1)}}, f"position {key}: holds 1"
        await store.commit([Write(collection, chosen["_id"], None, change)])
    found = await judge(story)
    assert sentence is not None
    assert any(sentence in line for line in found.wrong), found.wrong


async def test_an_execution_that_was_booked_under_another_id_is_found_twice(story: Story) -> None:
    world, _ = story
    async with world.store() as store:
        (fill, *_) = await store.load("fills")
        copy = {**fill, "_id": f"{fill['_id']}x"}
        await store.insert("fills", [copy])
    assert any("the venue does not know it" in line for line in (await judge(story)).wrong)


async def test_a_confirmation_that_never_came_is_found_unless_the_bus_lost_it(story: Story) -> None:
    world, confirmations = story
    gone = [message for message in confirmations if message["signal_id"] == "s_3"]
    story = world, [message for message in confirmations if message["signal_id"] != "s_3"]
    names = {message["confirmation_id"] for message in gone}
    found = await judge(story)
    assert {line.split(":")[0].removeprefix("confirmation ") for line in found.wrong if "never heard" in line} == names
    now, hour = datetime.now(UTC), timedelta(hours=1)
    for period in ((now - 2 * hour, now - hour), (now, now + hour)):
        assert (await judge(story, bus_lost=[period])).wrong == found.wrong
    excused = await judge(story, bus_lost=[(now - hour, now)])
    assert excused.wrong == []
    assert set(excused.lost) == names


def test_what_is_marked_together_may_have_been_published_and_lost_long_before() -> None:
    now, minute = datetime.now(UTC), timedelta(minutes=1)
    outage = [(now - 2 * minute, now - minute)]

    def row(name: str, document: str, created_at: datetime, delivered_at: datetime | None) -> dict[str, Any]:
        return {"_id": name, "document_id": document, "created_at": created_at, "delivered_at": delivered_at}

    first, second = (row(name, "1", now - 3 * minute, now) for name in ("1", "2"))
    later = [row(name, "3", now, now) for name in ("3", "4")]
    alone, waiting = row("5", "5", now - 3 * minute, now), row("6", "6", now - 3 * minute, None)
    rows = [first, second, *later, alone, waiting]
    assert may_be_lost(rows, outage) == [first, second]


async def test_a_confirmation_that_is_not_what_was_promised_is_found(story: Story) -> None:
    story[1][0]["filled_quantity"] = 7
    found = await judge(story)
    assert any("promised" in line for line in found.wrong)
    story[1].append({**story[1][0], "filled_quantity": 8})
    assert any("came twice, and differed" in line for line in (await judge(story)).wrong)


async def test_an_older_revision_after_a_newer_one_is_found_unless_it_is_a_repetition(story: Story) -> None:
    world, confirmations = story
    one = [message for message in confirmations if message["signal_id"] == "s_3"]
    assert len(one) >= 2
    others = [message for message in confirmations if message["signal_id"] != "s_3"]
    assert any("came after" in line for line in (await judge((world, [*others, *reversed(one)]))).wrong)
    assert (await judge((world, [*confirmations, one[0]]))).wrong == []
