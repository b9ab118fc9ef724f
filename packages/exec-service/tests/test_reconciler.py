"""The broker's truth against ours, in a running service: found, told once, cleared, never traded away; and the stop."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner, Result
from exec_broker_mock.broker import PLUGIN
from exec_broker_mock.faults import Target
from exec_broker_mock.rows import OrderRow
from exec_broker_mock.settings import MockBrokerSettings
from exec_broker_mock.venue import Venue
from exec_core.clock import utc_now
from exec_core.identifiers import AccountId, SignalId
from exec_core.instruments import Instrument
from exec_core.orders import Order, OrderRequest, OrderType
from exec_core.sides import Side
from exec_service import bootstrap
from exec_service.cli import main
from exec_service.halting import Halted
from exec_service.stores import FINDINGS, Document, Write
from messages import order
from rig import Rig

RESTING = {"order_type": "LIMIT", "limit_price": 230, "price": 235}
RECONCILIATION, STOPPED = "🔎 Reconciliation", "🛑 Account Stopped"
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _often(rig: Rig) -> None:
    rig.options["reconciliation_seconds"] = 0.2
    quick = dataclasses.replace(PLUGIN, absence_view_seconds=0.1)
    rig.patch.setattr(bootstrap, "load_broker_plugin", lambda _name: quick)


def by_hand(rig: Rig, name: str, quantity: int = 10, *, side: Side = Side.BUY, limit: int | None = 200) -> str:
    """Somebody trades at the venue, past this service; without a limit it is filled. The broker's order id."""
    request = OrderRequest(
        SignalId(name),
        AccountId("acc_1"),
        "by hand",
        Instrument("SPY"),
        side,
        OrderType.MARKET if limit is None else OrderType.LIMIT,
        quantity=Decimal(quantity),
        limit_price=None if limit is None else Decimal(limit),
        reference_price=Decimal(235),
    )
    one = Order.new(request)
    target = Target("acc_1", "SPY", one.client_order_id, name)
    with rig.book.transaction():
        row: OrderRow = Venue(rig.book).accept(one, MockBrokerSettings(), target, None, rig.book.now())
        return rig.book.broker_order_id(row.number)


async def standing(rig: Rig, kind: str) -> Document | None:
    found = await rig.load(FINDINGS, {"cleared_at": None})
    return next((document for document in found if document["kind"] == kind), None)


async def appears(rig: Rig, kind: str) -> Document:
    return await rig.until(lambda: standing(rig, kind), f"{kind} is found", PATIENCE)


async def clears(rig: Rig, kind: str) -> None:
    async def gone() -> bool:
        return await standing(rig, kind) is None

    await rig.until(gone, f"{kind} is cleared", PATIENCE)


def remaining(rig: Rig) -> int:
    with rig.book.transaction(write=False):
        return int(rig.book.execute("SELECT sum(remaining) FROM faults").fetchone()[0])


async def faults_used(rig: Rig, count: int) -> None:
    """Wait until so many of the armed faults were met with."""
    armed = remaining(rig)

    async def used() -> bool:
        return remaining(rig) <= armed - count

    await rig.until(used, f"{count} faults were met with", PATIENCE)


def told(rig: Rig, title: str, word: str) -> int:
    return sum(note.title == title and word in note.text for note in rig.listener.heard)


async def is_told(rig: Rig, title: str, word: str, times: int) -> None:
    await rig.delivered()
    assert told(rig, title, word) == times, rig.listener.titles()


async def command_line(rig: Rig, *arguments: str) -> Result:
    rig.patch.setenv("EXEC_DATA_DIR", str(rig.directory / "data"))
    rig.patch.delenv("MONGODB_URI", raising=False)
    return await asyncio.to_thread(CliRunner().invoke, main, arguments)


async def test_where_broker_and_service_agree_there_is_nothing_to_find(rig: Rig) -> None:
    """Also of what is cancelled at the venue while nobody watches, of fills, and of an option."""
    async with rig.service():
        option = {"symbol": "SPX", "instrument_type": "OPTION", "expiry": "20301220", "strike": 5900, "right": "C"}
        await rig.publish(order("sig_1"), order("sig_2", **RESTING), order("sig_3", quantity=2, price=9.5, **option))
        await rig.reaches("sig_1", "FILLED")
        submitted = await rig.reaches("sig_2", "SUBMITTED")
        await rig.reaches("sig_3", "FILLED")
    rig.desk.fill(submitted["order_id"], Decimal(30), Decimal(229))
    rig.desk.cancel(submitted["order_id"])
    rig.faults.script("list-incomplete", count=1000)
    async with rig.service():
        await faults_used(rig, 4)
        rig.faults.clear()
        await rig.reaches("sig_2", "CANCELLED")
        by_hand(rig, "somebody's")
        await appears(rig, "EXTERNAL_ORDER")  # so it has looked at everything
    assert [document["kind"] for document in await rig.load(FINDINGS)] == ["EXTERNAL_ORDER"]


async def test_an_execution_whose_report_is_late_is_no_difference(rig: Rig) -> None:
    async with rig.service() as service:
        await rig.publish(order("sig_1", **RESTING))
        name = (await rig.reaches("sig_1", "SUBMITTED"))["order_id"]
        session: Any = service.desks["acc_1"].session
        held, take = asyncio.Event(), session._take

        async def late(report: Any) -> Any:
            await held.wait()
            return await take(report)

        session._take = late
        rig.desk.fill(name, Decimal(30), Decimal(229))

        async def booked() -> bool:
            return (await rig.order("sig_1"))["filled_quantity"] == 30

        await rig.until(booked, "the execution is asked for and booked", PATIENCE)
        await seen_again(rig, service)
        held.set()
    assert await rig.load(FINDINGS) == []


async def test_an_external_order_is_told_once_and_never_touched(rig: Rig) -> None:
    name = by_hand(rig, "somebody's")
    async with rig.service():
        found = await appears(rig, "EXTERNAL_ORDER")
        await rig.delivered()
    assert (found["severity"], found["subject"]) == ("INFORMATION", name)
    long_ago = utc_now() - timedelta(hours=1)
    async with rig.store() as store:
        await store.commit([Write(FINDINGS, found["_id"], None, {"last_seen_at": long_ago})])
    async with rig.service():

        async def refreshed() -> bool:
            return (await appears(rig, "EXTERNAL_ORDER"))["last_seen_at"] > long_ago + timedelta(minutes=1)

        await rig.until(refreshed, "it is seen again", PATIENCE)
        another = by_hand(rig, "another")

        async def both() -> bool:
            return len(await rig.load(FINDINGS, {"cleared_at": None})) == 2

        await rig.until(both, "the second one is found", PATIENCE)
        await is_told(rig, RECONCILIATION, f"order id {name})", 1)
        assert [row["status"] for row in rig.at_broker()] == ["WORKING", "WORKING"]
        rig.desk.cancel(name)
        rig.desk.cancel(another)
        await clears(rig, "EXTERNAL_ORDER")
        await is_told(rig, RECONCILIATION, "No longer so", 0)  # that an order of somebody's ended is no news
    assert await rig.load("orders") == []


async def test_a_position_that_differs_is_told_again_when_it_comes_back(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
        for times in (1, 2):
            by_hand(rig, f"buys {times}", limit=None)
            found = await appears(rig, "POSITION_DIFFERS")
            assert (found["figures"], found["severity"]) == ({"ours": 100, "broker": 110}, "WARNING")
            await is_told(rig, RECONCILIATION, "the broker holds 110", 2 * times - 1)
            by_hand(rig, f"sells {times}", side=Side.SELL, limit=None)
            await clears(rig, "POSITION_DIFFERS")
            await is_told(rig, RECONCILIATION, "No longer so", times)
        assert (await rig.position())["quantity"] == 100
    assert len([row for row in rig.at_broker() if row["strategy_name"] != "by hand"]) == 1


@pytest.mark.parametrize("fault", ["list-incomplete", "list-fails"])
async def test_without_a_whole_answer_nothing_is_found_and_nothing_cleared(rig: Rig, fault: str) -> None:
    name = by_hand(rig, "somebody's")
    async with rig.service():
        await appears(rig, "EXTERNAL_ORDER")
        rig.faults.script(fault, count=1000)
        await faults_used(rig, 2)
        rig.desk.cancel(name)
        by_hand(rig, "buys", limit=None)
        await faults_used(rig, 4)
        found = await rig.load(FINDINGS)
        assert [(one["kind"], one["cleared_at"]) for one in found] == [("EXTERNAL_ORDER", None)]
        rig.faults.clear()
        await clears(rig, "EXTERNAL_ORDER")
        await appears(rig, "POSITION_DIFFERS")


async def test_an_order_that_the_broker_does_not_know_is_told_by_its_own_alarm_only(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "SUBMITTED")
    rig.broker(STATE_FILE=rig.directory / "another-book.sqlite3")
    async with rig.service():
        found = await appears(rig, "UNKNOWN_TO_BROKER")
        await is_told(rig, "🚨 Needs Attention", "no trace", 1)
        await is_told(rig, RECONCILIATION, "", 0)
    assert (found["signal_id"], found["severity"]) == ("sig_1", "WARNING")
    rig.broker(STATE_FILE=rig.directory / "book.sqlite3")
    async with rig.service():
        await clears(rig, "UNKNOWN_TO_BROKER")
    assert (await rig.order("sig_1"))["status"] == "SUBMITTED"


async def test_a_second_order_under_one_id_stops_the_account_until_a_person_has_looked(rig: Rig) -> None:
    async with rig.service() as service:
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "SUBMITTED")
        second = by_hand(rig, "sig_1", 100)
        found = await appears(rig, "BEYOND_ASKED")
        assert (found["figures"], found["signal_id"]) == ({"asked": 100, "total": 200}, "sig_1")
        await rig.publish(order("sig_2", symbol="QQQ"))
        refused = await rig.reaches("sig_2", "REJECTED")
        assert refused["reason_code"] == "HALTED"
        assert "Account acc_1 is stopped: BUY 100 SPY: 100 was asked, 200 filled or working" in refused["reason"]
        await is_told(rig, STOPPED, "Account acc_1 is stopped", 1)
        readiness = service.readiness()
        assert readiness.ready
        assert any("Account acc_1 is stopped" in warning for warning in readiness.warnings)
    status = json.loads((await command_line(rig, "status", "--json")).stdout)
    assert [finding["kind"] for finding in status["findings"]] == ["BEYOND_ASKED"]
    assert "200 filled or working" in status["accounts"][0]["halted"]["reason"]
    shown = await command_line(rig, "status")
    assert "exec-service resume acc_1" in shown.stdout
    assert "Differences from the broker" in shown.stdout
    async with rig.service() as service:
        await rig.publish(order("sig_3", symbol="QQQ"))
        assert (await rig.reaches("sig_3", "REJECTED"))["reason_code"] == "HALTED"
        done = await command_line(rig, "resume", "acc_1", "--reason", "looked", "--wait", "60")
        assert (done.exit_code, "The account acc_1 trades again.\n" in done.output) == (0, True), done.output
        await is_told(rig, "▶️ Account Resumed", "Reason: looked", 1)
        await is_told(rig, STOPPED, "", 1)
        (account,) = await rig.load("accounts")
        assert (account["halted"], account["resumed"]["reason"]) == (None, "looked")
        again = await command_line(rig, "resume", "acc_1")
        assert (again.exit_code, "is not stopped" in again.output) == (1, True)
        await seen_again(rig, service)
        await rig.publish(order("sig_4", symbol="QQQ"))
        await rig.reaches("sig_4", "FILLED")  # what stands was accepted, and stops nothing
        by_hand(rig, "sig_1", 50)

        async def stopped() -> bool:
            return bool((await rig.load("accounts"))[0]["halted"])

        await rig.until(stopped, "it is stopped again, for it is more than was accepted", PATIENCE)
        await is_told(rig, STOPPED, "250 filled or working", 1)
        rig.desk.cancel(second)
    assert {row["signal_id"] for row in rig.at_broker()} == {"sig_1", "sig_4"}


async def seen_again(rig: Rig, service: Any) -> None:
    """Wait until a whole look was taken after this."""
    before = looks(service)

    async def looked() -> bool:
        return looks(service) > before + 1

    await rig.until(looked, "it was looked at again", PATIENCE)


def looks(service: Any) -> int:
    return int(service.desks["acc_1"].reconciler.looks)


async def test_a_modification_by_hand_is_found_and_cleared_when_it_is_taken_back(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        name = (await rig.reaches("sig_1", "SUBMITTED"))["order_id"]
        rig.desk.modify(name, quantity=Decimal(60), limit_price=Decimal(229))
        found = await appears(rig, "MODIFIED")
        assert found["figures"] == {"quantity": 60, "limit_price": 229}
        rig.desk.modify(name, quantity=Decimal(100), limit_price=Decimal(230))
        await clears(rig, "MODIFIED")
        await is_told(rig, RECONCILIATION, "Finding: ", 0)  # the order's own alarm has told it
        await is_told(rig, RECONCILIATION, "No longer so", 1)
    assert (await rig.load("accounts"))[0].get("halted") is None


async def test_a_quantity_that_somebody_raises_stops_the_account_without_waiting_for_the_next_time(rig: Rig) -> None:
    rig.options["reconciliation_seconds"] = 3600.0
    async with rig.service() as service:
        await rig.publish(order("sig_1", **RESTING))
        name = (await rig.reaches("sig_1", "SUBMITTED"))["order_id"]

        async def has_looked() -> bool:
            return service.desks["acc_1"].reconciler.looks > 0

        await rig.until(has_looked, "the look after the connect is over", seconds=PATIENCE)
        rig.desk.modify(name, quantity=Decimal(150))
        assert (await appears(rig, "BEYOND_ASKED"))["figures"] == {"asked": 100, "total": 150}
        await is_told(rig, STOPPED, "150 filled or working", 1)


async def test_cancels_pass_while_the_account_is_stopped(rig: Rig) -> None:
    async with rig.service() as service:
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "SUBMITTED")
        stop(service)
        done = await command_line(rig, "cancel", "sig_1", "--wait", "60")
        assert done.exit_code == 0, done.output
        await rig.reaches("sig_1", "CANCELLED")
    assert [row["status"] for row in rig.at_broker()] == ["CANCELLED"]


async def test_executions_beyond_what_was_asked_stop_the_account_though_no_list_answers(rig: Rig) -> None:
    rig.faults.script("list-fails", count=100_000)
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        submitted = await rig.reaches("sig_1", "SUBMITTED")
        rig.desk.fill(submitted["order_id"], Decimal(101), Decimal(229))
        found = await appears(rig, "BEYOND_ASKED")
        assert found["figures"] == {"asked": 100, "total": 101}
        await rig.publish(order("sig_2"))
        assert (await rig.reaches("sig_2", "REJECTED"))["reason_code"] == "HALTED"
        await is_told(rig, STOPPED, "101 filled or working", 1)


async def test_an_order_that_is_caught_by_the_stop_on_its_way_out_is_not_sent(rig: Rig) -> None:
    """The stop came after SUBMITTING was durable, and before the bytes left."""
    async with rig.service() as service:
        dispatcher: Any = service.desks["acc_1"].dispatcher
        may_send: Callable[[], bool] = dispatcher._may_send

        def stopped_now() -> bool:
            stop(service)
            return may_send()

        dispatcher._may_send = stopped_now
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "REJECTED")
    assert document["reason_code"] == "HALTED"
    assert [entry["status"] for entry in document["history"]] == ["SUBMITTING", "PENDING", "REJECTED"]
    assert rig.at_broker() == []


def stop(service: Any) -> None:
    """As a finding does, in memory."""
    service._parts.execution.halts._halted["acc_1"] = Halted(utc_now(), "a test wants it")


async def test_a_resume_waits_for_the_service_and_is_carried_out_at_its_start(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "SUBMITTED")
        by_hand(rig, "sig_1", 100)
        await appears(rig, "BEYOND_ASKED")
    unknown = await command_line(rig, "resume", "acc_7")
    assert (unknown.exit_code, "There is no account acc_7" in unknown.output) == (1, True)
    done = await command_line(rig, "resume", "acc_1", "--json")
    (row,) = json.loads(done.stdout)
    assert (row["account_id"], row["state"], "next start" in row["answer"]) == ("acc_1", "OPEN", True)
    async with rig.service():
        await rig.publish(order("sig_2", symbol="QQQ"))

        async def resumed() -> bool:
            return (await rig.load("commands"))[0]["state"] == "DONE"

        await rig.until(resumed, "it is resumed", PATIENCE)
        await rig.publish(order("sig_3", symbol="IWM"))
        await rig.reaches("sig_3", "FILLED")
    finding = await standing(rig, "BEYOND_ASKED")
    assert finding is not None
    assert finding["accepted"]["total"] == 200
