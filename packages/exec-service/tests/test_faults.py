"""What goes wrong between us and a broker, and that no answer is never taken for "no"."""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal

import pytest
from messages import order
from rig import Rig


async def test_a_lost_answer_becomes_unknown_and_is_settled_by_asking_never_by_sending_again(rig: Rig) -> None:
    """P2: the order was accepted, its answer lost."""
    rig.faults.script("lose-answer")
    rig.faults.script("lookup-fails", count=2)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "FILLED")
        await rig.delivered()
    assert len(rig.at_broker("sig_1")) == 1
    assert "UNKNOWN" in [entry["status"] for entry in document["history"]]
    assert document["attempts"] == 1 if "attempts" in document else True
    assert "❓ Outcome Unknown" in rig.listener.titles()


async def test_an_order_lost_before_the_broker_ends_not_placed_and_only_on_proof(rig: Rig) -> None:
    rig.faults.script("lose-order")
    rig.faults.script("incomplete", count=3)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "REJECTED", seconds=30)
        (confirmation,) = await rig.confirmations("sig_1")
    assert document["reason_code"] == "NOT_PLACED"
    assert confirmation["reason_code"] == "NOT_PLACED"
    assert document["history"][-1]["evidence"] == "ABSENCE"
    assert rig.at_broker() == []


async def test_views_that_are_not_complete_prove_nothing_however_many(rig: Rig) -> None:
    """P2: the broker has the order, and says each time that it could not look everywhere."""
    rig.faults.script("lose-answer")
    rig.faults.script("hidden", seconds=4)
    rig.faults.script("incomplete", count=1000)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "UNKNOWN")
        document = await rig.reaches("sig_1", "FILLED", "REJECTED")
    assert document["status"] == "FILLED"
    assert "REJECTED" not in [entry["status"] for entry in document["history"]]


async def test_an_order_that_shows_up_only_after_a_while_is_found(rig: Rig) -> None:
    rig.options["unknown_settle_seconds"] = 5
    rig.faults.script("lose-answer")
    rig.faults.script("hidden", seconds=2)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "FILLED")
    assert document["filled_quantity"] == 100
    assert len(rig.at_broker()) == 1


async def test_a_broker_that_cannot_be_reached_is_tried_again_and_then_the_order_is_rejected(rig: Rig) -> None:
    rig.faults.script("refuse", count=10)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "REJECTED", seconds=30)
        await rig.delivered()
    assert document["reason_code"] == "CONNECTION_FAILED"
    events = [entry["event"] for entry in document["history"]]
    assert events.count("about to be sent") == 4
    assert events.count("provably not sent") == 4
    sent = [entry["at"] for entry in document["history"] if entry["event"] == "about to be sent"]
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(sent)]
    assert all(gap >= wait for gap, wait in zip(gaps, (1, 2, 4), strict=True))
    assert rig.at_broker() == []
    assert {"🔌 Broker Connection Failed", "❌ Order Rejected"} <= set(rig.listener.titles())


async def test_a_broker_that_is_reached_at_the_second_try_gets_the_order_once(rig: Rig) -> None:
    rig.faults.script("refuse", count=1)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
    assert len(rig.at_broker()) == 1


async def test_a_login_that_is_needed_holds_orders_instead_of_refusing_them(rig: Rig) -> None:
    rig.faults.script("login", seconds=2)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "FILLED")
    assert [entry["event"] for entry in document["history"]].count("about to be sent") == 1


async def test_a_held_order_is_refused_when_it_grows_old(rig: Rig) -> None:
    """P6."""
    rig.options["order_max_age_seconds"] = 2
    rig.faults.script("login", seconds=60)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "REJECTED")
    assert document["reason_code"] == "STALE"
    assert rig.at_broker() == []


async def test_fills_during_a_lost_session_are_caught_up(rig: Rig) -> None:
    rig.broker(FILL_DELAY_SECONDS=1.5)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "SUBMITTED")
        rig.faults.script("disconnect", seconds=3.0)
        document = await rig.reaches("sig_1", "FILLED")
    assert document["filled_quantity"] == 100
    assert len(await rig.load("fills")) == 1


async def test_a_time_out_asks_for_a_cancel_and_the_order_ends_when_the_broker_says_so(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235, timeout_seconds=0.5))
        document = await rig.reaches("sig_1", "CANCELLED")
        (confirmation,) = await rig.confirmations("sig_1")
    assert document["reason_code"] == "TIMEOUT"
    assert (confirmation["status"], confirmation["reason_code"]) == ("CANCELLED", "TIMEOUT")
    assert "⏱ Order Timed Out" in rig.listener.titles()


async def test_the_fill_that_crosses_a_cancel_wins(rig: Rig) -> None:
    rig.broker(CANCEL_DELAY_SECONDS=30.0)  # beyond all that a busy machine needs to fill it before
    async with rig.service():
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235, timeout_seconds=0.5))
        await rig.reaches("sig_1", "SUBMITTED")

        async def asked() -> bool:
            return any(entry["event"] == "cancel asked" for entry in (await rig.order("sig_1"))["history"])

        await rig.until(asked, "the cancel is asked for")
        rig.set_price("SPY", 229)
        document = await rig.reaches("sig_1", "FILLED")
        confirmations = await rig.confirmations("sig_1")
    assert document["reason_code"] is None
    assert [message["status"] for message in confirmations] == ["FILLED"]


async def test_a_partly_filled_order_that_times_out_keeps_what_was_filled(rig: Rig) -> None:
    rig.broker(PARTIAL_FILLS=2, FILL_DELAY_SECONDS=2.0)
    async with rig.service():
        await rig.publish(order("sig_1", timeout_seconds=3.0))
        document = await rig.reaches("sig_1", "CANCELLED")
    assert (document["filled_quantity"], document["remaining_quantity"]) == (50, 50)
    assert (await rig.position())["quantity"] == 50


async def test_a_late_fill_after_the_cancel_is_booked(rig: Rig) -> None:
    """P3."""
    async with rig.service():
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235, timeout_seconds=0.3))
        cancelled = await rig.reaches("sig_1", "CANCELLED")
        rig.desk.fill(cancelled["order_id"], Decimal(40), Decimal(230))

        async def booked() -> bool:
            return (await rig.order("sig_1"))["filled_quantity"] == 40

        await rig.until(booked, "the late fill is booked")
        rig.desk.fill(cancelled["order_id"], Decimal(60), Decimal(230))
        await rig.reaches("sig_1", "FILLED")
        confirmations = await rig.confirmations("sig_1")
    assert [(m["status"], m["filled_quantity"]) for m in confirmations] == [
        ("CANCELLED", 0),
        ("CANCELLED", 40),
        ("FILLED", 100),
    ]
    assert (await rig.position())["quantity"] == 100


async def test_a_cancel_that_gets_no_answer_is_asked_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exec_service.timeouts.FIRST_CANCEL_WAIT_SECONDS", 0.3)
    rig.faults.script("cancel-ignored")
    async with rig.service():
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235, timeout_seconds=0.3))
        await rig.reaches("sig_1", "CANCELLED")


async def test_an_order_cancelled_at_the_broker_by_somebody_else_is_cancelled_by_broker(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235))
        submitted = await rig.reaches("sig_1", "SUBMITTED")
        rig.desk.cancel(submitted["order_id"])
        document = await rig.reaches("sig_1", "CANCELLED")
    assert document["reason_code"] == "CANCELLED_BY_BROKER"


async def test_a_notifier_that_hangs_or_fails_delays_no_order_and_no_confirmation(rig: Rig) -> None:
    """P8."""
    rig.listener.hangs = True
    async with rig.service(crash=True):
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")

        async def confirmed() -> bool:
            rows = await rig.load("outbox", {"channel": "confirmations"})
            return bool(rows) and all(row["delivered_at"] for row in rows)

        await rig.until(confirmed, "the confirmation is published")
        assert rig.listener.heard == []
    rig.listener.hangs = False
    rig.listener.fails = ConnectionError("the far side is down")
    async with rig.service(crash=True):
        await rig.publish(order("sig_2"))
        await rig.reaches("sig_2", "FILLED")
    rig.listener.fails = None
    async with rig.service():
        await rig.delivered()
    assert rig.listener.titles() == ["✅ Order Filled", "✅ Order Filled"]


async def test_a_publisher_that_fails_delays_no_order_and_loses_no_confirmation(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8: the bus refuses everything for a while."""
    from exec_service.buses import BusUnavailable
    from exec_service.buses.sqlite import SqliteBus

    publish, broken = SqliteBus.publish, asyncio.Event()
    broken.set()

    async def failing(self: SqliteBus, topic: str, messages: object) -> object:
        if topic == "execution-confirmations" and broken.is_set():
            raise BusUnavailable("no bus")
        return await publish(self, topic, messages)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteBus, "publish", failing)
    async with rig.service():
        await rig.publish(order("sig_1"), order("sig_2"))
        await rig.reaches("sig_1", "FILLED")
        await rig.reaches("sig_2", "FILLED")
        broken.clear()
        confirmations = await rig.confirmations()
    assert sorted(message["signal_id"] for message in confirmations) == ["sig_1", "sig_2"]


async def test_a_broker_that_hangs_delays_no_order_of_another_account(rig: Rig) -> None:
    """P8."""
    rig.accounts = {"acc_1": {"broker": "mock"}, "acc_2": {"broker": "mock"}}
    rig.faults.script("hang-before", account_id="acc_1", count=20)
    async with rig.service(crash=True):
        await rig.publish(*(order(f"hang_{n}", symbol=f"S{n}") for n in range(20)), order("free", account_id="acc_2"))
        await rig.reaches("free", "FILLED")
        hung = [document["status"] for document in await rig.load("orders", {"account_id": "acc_1"})]
    # Not one of the calls that hang had to be given up for it.
    assert (hung.count("SUBMITTING"), hung.count("PENDING")) == (16, 4)


async def test_a_symbol_waits_while_the_order_before_is_unknown(rig: Rig) -> None:
    rig.faults.script("lose-order", symbol="SPY")
    rig.options["unknown_settle_seconds"] = 1.5
    async with rig.service():
        await rig.publish(order("first"), order("second", side="SELL"), order("other", symbol="QQQ"))
        await rig.reaches("other", "FILLED")
        await rig.reaches("first", "UNKNOWN")
        assert (await rig.order("second"))["status"] == "PENDING"
        await rig.reaches("second", "FILLED", seconds=30)
        assert (await rig.order("first"))["reason_code"] == "NOT_PLACED"
