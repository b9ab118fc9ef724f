"""Restart needs nobody: every order that is not final is taken up again, in each state that a crash can leave."""

from __future__ import annotations

from decimal import Decimal

from messages import ago, order
from rig import Rig


async def test_pending_and_fresh_is_sent(rig: Rig) -> None:
    rig.faults.script("login", seconds=5)
    async with rig.service(crash=True):
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "PENDING")
    async with rig.service():
        await rig.reaches("sig_1", "FILLED")
    assert len(rig.at_broker()) == 1


async def test_pending_and_stale_is_refused(rig: Rig) -> None:
    """P6: it grew old while nobody looked."""
    rig.options["order_max_age_seconds"] = 1000
    rig.faults.script("login", seconds=4)
    async with rig.service(crash=True):
        await rig.publish(order("sig_1", created_at=ago(900)))
        await rig.reaches("sig_1", "PENDING")
    rig.options["order_max_age_seconds"] = 300
    async with rig.service():
        document = await rig.reaches("sig_1", "REJECTED")
    assert document["reason_code"] == "STALE"
    assert rig.at_broker() == []


async def test_submitting_that_reached_the_broker_is_found_not_sent_again(rig: Rig) -> None:
    """P1: the crash came after the broker accepted, before its answer was written."""
    rig.options["unknown_settle_seconds"] = 10
    rig.faults.script("hang")
    rig.faults.script("hidden", seconds=1.5)
    async with rig.service(crash=True):
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "SUBMITTING")
        await rig.until(lambda: _accepted(rig), "the broker has it")
    assert (await rig.order("sig_1"))["status"] == "SUBMITTING"
    async with rig.service():
        await rig.reaches("sig_1", "FILLED")
    assert len(rig.at_broker()) == 1


async def _accepted(rig: Rig) -> bool:
    return bool(rig.at_broker())


async def test_submitting_that_never_left_ends_not_placed(rig: Rig) -> None:
    """P1, P5: the crash came between SUBMITTING and the wire."""
    rig.faults.script("hang-before")
    async with rig.service(crash=True):
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "SUBMITTING")
    async with rig.service():
        document = await rig.reaches("sig_1", "REJECTED", seconds=30)
        (confirmation,) = await rig.confirmations("sig_1")
    assert document["reason_code"] == confirmation["reason_code"] == "NOT_PLACED"
    assert rig.at_broker() == []


async def test_unknown_is_settled_after_the_restart(rig: Rig) -> None:
    rig.faults.script("lose-answer")
    rig.faults.script("lookup-fails", count=1000)
    async with rig.service(crash=True):
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235))
        await rig.reaches("sig_1", "UNKNOWN", "SUBMITTED")
    rig.faults.clear()
    async with rig.service():
        await rig.reaches("sig_1", "SUBMITTED")
        rig.set_price("SPY", 229)
        await rig.reaches("sig_1", "FILLED")
    assert len(rig.at_broker()) == 1


async def test_fills_that_happened_while_nobody_watched_are_caught_up(rig: Rig) -> None:
    async with rig.service(crash=True):
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235))
        submitted = await rig.reaches("sig_1", "SUBMITTED")
    rig.desk.fill(submitted["order_id"], Decimal(30), Decimal(229))
    rig.desk.cancel(submitted["order_id"])
    async with rig.service():
        document = await rig.reaches("sig_1", "CANCELLED")

        async def booked() -> bool:
            return (await rig.order("sig_1"))["filled_quantity"] == 30

        await rig.until(booked, "the fill is booked")
    assert document["reason_code"] == "CANCELLED_BY_BROKER"
    assert (await rig.position())["quantity"] == 30


async def test_the_clock_of_a_time_out_goes_on_while_the_service_is_down(rig: Rig) -> None:
    async with rig.service(crash=True):
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235, timeout_seconds=1))
        await rig.reaches("sig_1", "SUBMITTED", "CANCELLED")
    async with rig.service():
        document = await rig.reaches("sig_1", "CANCELLED")
    assert document["reason_code"] == "TIMEOUT"


async def test_a_restart_with_nothing_new_writes_and_publishes_nothing(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1"), order("sig_2", order_type="LIMIT", limit_price=230, price=235))
        await rig.reaches("sig_1", "FILLED")
        await rig.reaches("sig_2", "SUBMITTED")
        await rig.confirmations()
    before = {document["_id"]: document for document in await rig.load("orders")}
    async with rig.service() as service:
        await rig.publish(order("sig_3", symbol="QQQ"))
        await rig.reaches("sig_3", "FILLED")
        assert service.backlog() == 0
        assert [message["signal_id"] for message in await rig.confirmations()] == ["sig_3"]
    after = {document["_id"]: document for document in await rig.load("orders")}
    assert {key: after[key] for key in before} == before
    assert len(rig.at_broker()) == 3


async def test_an_accepted_order_that_the_broker_does_not_show_keeps_its_state_and_needs_attention(rig: Rig) -> None:
    """P5: or it says exactly which one needs a person and why."""
    async with rig.service():
        await rig.publish(order("sig_1", order_type="LIMIT", limit_price=230, price=235))
        await rig.reaches("sig_1", "SUBMITTED")
    rig.broker(STATE_FILE=rig.directory / "another-book.sqlite3")
    async with rig.service():

        async def marked() -> bool:
            return (await rig.order("sig_1"))["attention"] is not None

        await rig.until(marked, "it is marked")
        document = await rig.order("sig_1")
        await rig.delivered()
    assert document["status"] == "SUBMITTED"
    assert any("no trace" in value for note in rig.listener.heard for _, value in note.fields)


async def test_a_drained_service_leaves_nothing_behind(rig: Rig) -> None:
    rig.faults.script("delay", seconds=0.5)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "SUBMITTING", "FILLED")
    assert (await rig.order("sig_1"))["status"] in ("SUBMITTED", "FILLED")
    async with rig.store() as store:
        assert all(worker.released for worker in await store.workers())
