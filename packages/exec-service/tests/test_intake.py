"""Messages: repeated, contradictory, old, bad. Each costs one answer, and the next one is processed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from messages import ago, order
from rig import Rig

HUGE = json.dumps(order("huge", note="x" * 1_000_000)).encode()

#: Messages that become an order REJECTED / INVALID, and a word that the reason must have.
INVALID: dict[str, tuple[Any, str]] = {
    "a missing field": (order("bad", symbol=None), "symbol"),
    "an empty field": (order("bad", strategy_name=""), "strategy_name"),
    "a wrongly typed field": (order("bad", side=5), "side"),
    "quantity zero": (order("bad", quantity=0), "quantity"),
    "a negative quantity": (order("bad", quantity=-5), "quantity"),
    "a quantity as a string": (order("bad", quantity="65.0"), "quantity"),
    "a quantity beyond reason": (order("bad", quantity=1e30), "quantity"),
    "a quantity beyond arithmetic": (
        json.dumps(order("bad", quantity=1)).replace('"quantity": 1', '"quantity": 1e400000000').encode(),
        "quantity",
    ),
    "a symbol of 10 kB": (order("bad", symbol="S" * 10_240), "symbol"),
    "an unknown order type": (order("bad", order_type="ICEBERG"), "order_type"),
    "a limit order without a price": (order("bad", order_type="LIMIT", price=None), "limit_price"),
    "a contradictory side": (order("bad", side="BUY", action="SELL"), "side"),
    "a time in the future": (order("bad", created_at=ago(-3600)), "created_at"),
    "a cancel": (order("bad", signal_type="CANCEL"), "exec-service cancel"),
}
#: Messages that nothing can be made of.
UNREADABLE: dict[str, bytes] = {
    "not JSON": b"{signal_id: sig_1",
    "not an object": b"[1, 2]",
    "NaN": json.dumps(order("bad", quantity=float("nan"))).encode(),
    "no signal id": json.dumps({"symbol": "SPY"}).encode(),
    "a megabyte": HUGE,
    "not text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("what", INVALID)
async def test_an_invalid_order_is_rejected_once_with_its_reason_and_the_next_is_processed(rig: Rig, what: str) -> None:
    message, word = INVALID[what]
    async with rig.service():
        await rig.publish(message, order("next"))
        document = await rig.reaches("bad", "REJECTED")
        await rig.reaches("next", "FILLED")
        (confirmation,) = await rig.confirmations("bad")
    assert document["reason_code"] == "INVALID"
    assert word in document["reason"]
    assert confirmation["status"] == "REJECTED"
    assert confirmation["rejection_reason"] == document["reason"]
    assert "❌ Order Rejected" in rig.listener.titles()
    assert rig.at_broker("bad") == []
    (stored,) = await rig.load("execution_confirmations", {"signal_id": "bad"})
    assert stored["reason_code"] == "INVALID"


@pytest.mark.parametrize("what", UNREADABLE)
async def test_an_unreadable_message_is_kept_and_told_and_the_next_is_processed(rig: Rig, what: str) -> None:
    async with rig.service():
        await rig.publish(UNREADABLE[what], order("next"))
        await rig.reaches("next", "FILLED")
        await rig.delivered()
    (letter,) = await rig.load("dead_letters")
    assert letter["reason_code"] == "INVALID"
    assert letter["reason"]
    assert (letter["body"] is None) != (letter["body_b64"] is None)
    assert rig.listener.titles().count("⚠️ Message Refused") == 1
    assert len(await rig.load("orders")) == 1


async def test_the_same_message_again_changes_nothing(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", quantity=100))
        first = await rig.reaches("sig_1", "FILLED")
        await rig.publish(order("sig_1", quantity=100.0, timestamp=ago(5)), order("next"))
        await rig.reaches("next", "FILLED")
        assert len(await rig.confirmations("sig_1")) == 1
    assert await rig.order("sig_1") == first
    assert len(rig.at_broker("sig_1")) == 1
    assert await rig.load("dead_letters") == []


async def test_the_same_message_twice_in_one_batch_is_one_order(rig: Rig) -> None:
    await rig.publish(order("sig_1"), order("sig_1"), order("sig_1"))
    async with rig.service():
        await rig.reaches("sig_1", "FILLED")
    assert len(rig.at_broker()) == 1


async def test_the_same_id_with_other_content_is_a_conflict_and_the_first_order_stands(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1"))
        first = await rig.reaches("sig_1", "FILLED")
        await rig.publish(order("sig_1", quantity=200))

        async def kept() -> list[Any]:
            return await rig.load("dead_letters")

        (letter,) = await rig.until(kept, "the conflict is kept")
        await rig.delivered()
    assert letter["reason_code"] == "CONFLICT"
    assert letter["signal_id"] == "sig_1"
    assert await rig.order("sig_1") == first
    assert "⚠️ Conflicting Order" in rig.listener.titles()


async def test_a_refused_id_is_used_up(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", quantity=0))
        await rig.reaches("sig_1", "REJECTED")
        await rig.publish(order("sig_1"), order("next"))
        await rig.reaches("next", "FILLED")
    (letter,) = await rig.load("dead_letters")
    assert letter["reason_code"] == "CONFLICT"
    assert rig.at_broker("sig_1") == []


async def test_an_old_message_is_refused_as_stale(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", created_at=ago(3600)))
        document = await rig.reaches("sig_1", "REJECTED")
        (confirmation,) = await rig.confirmations("sig_1")
    assert (document["reason_code"], confirmation["reason_code"]) == ("STALE", "STALE")
    assert rig.at_broker() == []


async def test_an_unknown_account_is_refused(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", account_id="acc_other"), order("next"))
        document = await rig.reaches("sig_1", "REJECTED")
        await rig.reaches("next", "FILLED")
    assert document["reason_code"] == "UNKNOWN_ACCOUNT"
    assert "acc_other" in document["reason"]


async def test_the_mock_serves_any_account_where_none_is_configured(rig: Rig) -> None:
    rig.accounts = {}
    async with rig.service():
        await rig.publish(order("sig_1", account_id="whatever"), order("sig_2", account_id="another"))
        await rig.reaches("sig_1", "FILLED")
        await rig.reaches("sig_2", "FILLED")


async def test_a_message_is_acknowledged_only_once_it_is_durable(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """P4: whatever fails before the insert, the bus delivers the message again."""
    from exec_service.buses.sqlite import SqliteBus
    from exec_service.stores.sqlite import SqliteStore

    steps: list[str] = []
    insert, commit, acknowledge = SqliteStore.insert, SqliteStore.commit, SqliteBus.acknowledge

    async def watched_insert(self: Any, collection: str, documents: Any) -> Any:
        found = await insert(self, collection, documents)
        steps.extend(f"durable {document['signal_id']}" for document in documents if collection == "orders")
        return found

    async def watched_commit(self: Any, writes: Any, **how: Any) -> None:
        await commit(self, writes, **how)
        new = [write for write in writes if write.collection == "orders" and write.expected_revision == 0]
        steps.extend(f"durable {write.document['signal_id']}" for write in new)

    async def watched_acknowledge(self: Any, subscription: str, ack_ids: Any) -> None:
        if subscription == "trading-orders-sub":
            steps.append("acknowledged")
        await acknowledge(self, subscription, ack_ids)

    monkeypatch.setattr(SqliteStore, "insert", watched_insert)
    monkeypatch.setattr(SqliteStore, "commit", watched_commit)
    monkeypatch.setattr(SqliteBus, "acknowledge", watched_acknowledge)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
    assert steps[:2] == ["durable sig_1", "acknowledged"]


async def test_a_store_that_refuses_for_a_while_says_nothing_of_the_message(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: a good order must not become a dead letter because a database is being moved."""
    from exec_service.stores import StoreError
    from exec_service.stores.sqlite import SqliteStore

    insert, commit, refusals = SqliteStore.insert, SqliteStore.commit, 3

    async def refusing_commit(self: Any, writes: Any, **how: Any) -> Any:
        nonlocal refusals
        if refusals and any(write.collection == "orders" for write in writes):
            refusals -= 1
            raise StoreError("user writes are blocked")
        return await commit(self, writes, **how)

    async def refusing(self: Any, collection: str, documents: Any) -> Any:
        nonlocal refusals
        if documents and refusals:
            refusals -= 1
            raise StoreError("user writes are blocked")
        return await insert(self, collection, documents)

    monkeypatch.setattr(SqliteStore, "insert", refusing)
    monkeypatch.setattr(SqliteStore, "commit", refusing_commit)
    monkeypatch.setattr("exec_service.buses.sqlite.SqliteBus.__init__.__kwdefaults__", _soon_again())
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED", seconds=30)
    assert refusals == 0
    assert await rig.load("dead_letters") == []


def _soon_again() -> dict[str, Any]:
    """What was pulled and not acknowledged comes again soon."""
    from exec_service.buses.sqlite import SqliteBus

    return {**(SqliteBus.__init__.__kwdefaults__ or {}), "ack_deadline_seconds": 0.5}


async def test_a_message_that_makes_us_stumble_is_kept_and_stops_nobody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: a fault of ours, not of the message."""
    from exec_service import wire

    parse = wire.parse

    def stumbling(data: bytes, **named: Any) -> Any:
        if b"poison" in data:
            raise RuntimeError("a fault of ours")
        return parse(data, **named)

    monkeypatch.setattr(wire, "parse", stumbling)
    await rig.publish(order("sig_1"), order("poison"), order("sig_2"))
    async with rig.service():
        await rig.reaches("sig_1", "FILLED")
        await rig.reaches("sig_2", "FILLED")
    (letter,) = await rig.load("dead_letters")
    assert "RuntimeError" in letter["reason"]
    assert "poison" in letter["body"]
    assert len(rig.at_broker()) == 2
