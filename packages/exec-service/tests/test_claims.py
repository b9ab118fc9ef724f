"""An order that need not wait is stored as it is sent: in one commit, under its slot, and never twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from exec_broker_mock.broker import MockBroker
from exec_core.errors import ConnectionFailed
from exec_core.guard import GuardedBroker
from exec_service import dispatch
from exec_service.dispatch import Dispatcher
from exec_service.slots import Slots
from exec_service.stores import RevisionConflict, StoreError
from exec_service.stores.sqlite import SqliteStore
from messages import order
from rig import Rig


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """How each new order came into the store: the call, the signal, the status."""
    seen: list[tuple[str, str, str]] = []
    insert, commit = SqliteStore.insert, SqliteStore.commit

    async def watched_insert(self: Any, collection: str, documents: Any) -> Any:
        known = await insert(self, collection, documents)
        if collection == "orders":
            seen.extend(("insert", row["signal_id"], row["status"]) for row in documents if row["_id"] not in known)
        return known

    async def watched_commit(self: Any, writes: Any, **how: Any) -> None:
        await commit(self, writes, **how)
        for write in writes:
            if write.collection == "orders" and write.expected_revision == 0:
                seen.append(("commit", write.document["signal_id"], write.document["status"]))

    monkeypatch.setattr(SqliteStore, "insert", watched_insert)
    monkeypatch.setattr(SqliteStore, "commit", watched_commit)
    return seen


async def test_an_order_that_can_be_sent_is_durable_once_before_the_broker_is_called(
    rig: Rig, stored: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[Any] = []
    place = MockBroker.place_order

    async def watched(self: MockBroker, placed: Any) -> Any:
        before.append((await rig.order("sig_1"))["status"])
        return await place(self, placed)

    monkeypatch.setattr(MockBroker, "place_order", watched)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "FILLED")
    assert stored == [("commit", "sig_1", "SUBMITTING")]
    assert before == ["SUBMITTING"]
    assert next(entry["status"] for entry in document["history"]) == "SUBMITTING"
    assert len(rig.at_broker()) == 1


async def test_what_follows_in_a_symbol_waits_as_pending_and_is_sent_in_its_turn(
    rig: Rig, stored: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer, place = asyncio.Event(), MockBroker.place_order

    async def slow(self: MockBroker, placed: Any) -> Any:
        await may_answer.wait()
        return await place(self, placed)

    monkeypatch.setattr(MockBroker, "place_order", slow)
    async with rig.service():
        await rig.publish(order("sig_1"), order("sig_2"), order("sig_3", symbol="QQQ"))
        await rig.reaches("sig_2", "PENDING")
        await rig.reaches("sig_1", "SUBMITTING")
        await rig.reaches("sig_3", "SUBMITTING")
        may_answer.set()
        await rig.reaches("sig_2", "FILLED")
    assert sorted(stored) == [
        ("commit", "sig_1", "SUBMITTING"),
        ("commit", "sig_3", "SUBMITTING"),
        ("insert", "sig_2", "PENDING"),
    ]
    sent = [row["signal_id"] for row in rig.at_broker()]
    assert sent.index("sig_1") < sent.index("sig_2")


async def test_no_more_orders_are_in_doubt_than_there_are_slots(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: MockBroker, placed: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(MockBroker, "place_order", never)
    async with rig.service(crash=True):
        await rig.publish(*(order(f"sig_{number}", symbol=f"S{number}") for number in range(40)))

        async def all_stored() -> bool:
            return len(await rig.load("orders")) == 40

        await rig.until(all_stored, "all orders are stored")
        statuses = [row["status"] for row in await rig.load("orders")]
    assert statuses.count("SUBMITTING") == dispatch.DISPATCH_SLOTS
    assert statuses.count("PENDING") == 40 - dispatch.DISPATCH_SLOTS


@pytest.mark.parametrize("claimed", [True, False])
async def test_a_slot_is_free_as_soon_as_the_broker_has_answered(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, claimed: bool
) -> None:
    """What the answer writes must not keep the next order from being sent."""
    commit, place, take = SqliteStore.commit, GuardedBroker.place_order, Slots.take
    before, after, slots, answered = list[bool](), list[bool](), list[Slots](), asyncio.Event()

    async def placed(self: GuardedBroker, sent: Any) -> Any:
        answer = await place(self, sent)
        answered.set()
        return answer

    async def seen_take(self: Slots) -> Any:
        slots.append(self)
        return await take(self)

    async def seen(self: Any, writes: Any, **how: Any) -> None:
        if slots and any(write.collection == "orders" for write in writes):
            (after if answered.is_set() else before).append(slots[-1].are_taken)
        await commit(self, writes, **how)

    async def not_at_once(_self: Dispatcher, _record: Any) -> None:
        return None

    monkeypatch.setattr(dispatch, "DISPATCH_SLOTS", 1)
    monkeypatch.setattr(Slots, "take", seen_take)
    monkeypatch.setattr(GuardedBroker, "place_order", placed)
    monkeypatch.setattr(SqliteStore, "commit", seen)
    if not claimed:
        monkeypatch.setattr(Dispatcher, "claim", not_at_once)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
    assert set(before) == {True}
    assert set(after) == {False}


@pytest.mark.parametrize("there", [True, False])
async def test_whoever_else_stored_it_meanwhile_it_is_placed_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Another worker took the repeat in; or the conflict was about something else."""
    commit, disturbed = SqliteStore.commit, []

    async def overtaken(self: Any, writes: Any, **how: Any) -> None:
        new = [write for write in writes if write.collection == "orders" and write.expected_revision == 0]
        if new and not disturbed:
            disturbed.append(new)
            if there:
                document = {**new[0].document, "status": "PENDING", "revision": 1, "history": []}
                document["state"] = {**document["state"], "attempts": 0, "sent_at": None}
                assert await self.insert("orders", [document]) == set()
            raise RevisionConflict([("orders", new[0].id)])
        await commit(self, writes, **how)

    monkeypatch.setattr(SqliteStore, "commit", overtaken)
    async with rig.service():
        await rig.publish(order("sig_1"), order("sig_2"))
        # Nobody tells of what another worker has inserted here, so it is found at the next look.
        rig.patch.setattr("exec_service.service.LOOK_SECONDS", 0.1)
        await rig.reaches("sig_1", "FILLED")
        await rig.reaches("sig_2", "FILLED")
    assert disturbed
    assert len(rig.at_broker()) == 2


async def test_a_broker_that_cannot_be_reached_is_tried_as_often_as_for_any_order(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    async def away(self: MockBroker, placed: Any) -> Any:
        tries.append(placed.request.signal_id)
        raise ConnectionFailed("the line is cut")

    monkeypatch.setattr(MockBroker, "place_order", away)
    monkeypatch.setattr(dispatch, "RETRY_SECONDS", (0.01, 0.01, 0.01))
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "REJECTED")
    assert len(tries) == 4
    assert (document["reason_code"], document["state"]["attempts"]) == ("CONNECTION_FAILED", 4)


async def test_an_adapter_that_stumbles_over_the_question_keeps_no_order_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, availability, stumbled = Dispatcher.claim, MockBroker.availability, [False]

    async def claimed(self: Dispatcher, record: Any) -> Any:
        stumbled[0] = True
        try:
            return await claim(self, record)
        finally:
            stumbled[0] = False

    def stumbling(self: MockBroker) -> Any:
        if stumbled[0]:
            raise RuntimeError("a bug of the adapter's")
        return availability(self)

    monkeypatch.setattr(Dispatcher, "claim", claimed)
    monkeypatch.setattr(MockBroker, "availability", stumbling)
    async with rig.service():
        await rig.publish(order("sig_1"), order("sig_2", symbol="QQQ"))
        await rig.reaches("sig_1", "FILLED")
        await rig.reaches("sig_2", "FILLED")
    assert await rig.load("dead_letters") == []
    assert len(rig.at_broker()) == 2


async def test_what_is_being_stored_is_sent_although_its_neighbour_could_not_be(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second order's insert fails while the first one's commit is under way: it must not be taken for lost."""
    insert, commit, failed = SqliteStore.insert, SqliteStore.commit, asyncio.Event()

    async def failing(self: Any, collection: str, documents: Any) -> Any:
        if collection == "orders" and documents and not failed.is_set():
            failed.set()
            raise StoreError("user writes are blocked")
        return await insert(self, collection, documents)

    async def slow(self: Any, writes: Any, **how: Any) -> None:
        if any(write.collection == "orders" and write.expected_revision == 0 for write in writes):
            await failed.wait()
            for _ in range(50):  # whoever is told of the failure acts on it before the commit is done
                await asyncio.sleep(0)
        await commit(self, writes, **how)

    monkeypatch.setattr(SqliteStore, "insert", failing)
    monkeypatch.setattr(SqliteStore, "commit", slow)
    async with rig.service():
        await rig.publish(order("sig_1"), order("sig_2"))
        await rig.reaches("sig_1", "FILLED")
    assert failed.is_set()
    assert [row["signal_id"] for row in rig.at_broker()].count("sig_1") == 1
