"""Whose report is it: an execution that comes before its order's broker id is known is kept, and booked then."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from exec_core import AccountId, BrokerOrderId, Commission, CommissionReport, ExecutionId, Fill, FillReport, Side
from exec_core.clock import utc_now
from exec_service import unmatched
from exec_service.service import Service
from exec_service.stores import FILLS, ORDERS, UNMATCHED, Document, StoreUnavailable, Write
from exec_service.stores.sqlite import SqliteStore
from messages import order
from rig import Rig

RESTING = {"order_type": "LIMIT", "limit_price": 230, "price": 235}


def fill(name: str, broker_order_id: str) -> FillReport:
    """An execution that names its order by the broker's id only."""
    executed = Fill(ExecutionId(name), Side.BUY, Decimal(100), Decimal(229), utc_now())
    return FillReport(executed, broker_order_id=BrokerOrderId(broker_order_id))


async def take(service: Service, report: FillReport | CommissionReport) -> bool:
    """Hand the report to the account's receiver; whether it was booked."""
    booked = await service.desks["acc_1"].receiver.take(report)
    if booked is not None:
        await booked
    return booked is not None


class Loads:
    """What is read from the store, by collection: the questions, and how many documents came."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: dict[str, int] = {}
        self.read: dict[str, int] = {}
        load = SqliteStore.load

        async def counted(store: SqliteStore, collection: str, *arguments: Any, **named: Any) -> list[Document]:
            found = await load(store, collection, *arguments, **named)
            self.asked[collection] = self.asked.get(collection, 0) + 1
            self.read[collection] = self.read.get(collection, 0) + len(found)
            return found

        patch.setattr(SqliteStore, "load", counted)


async def test_an_execution_before_the_answer_is_kept_and_booked_when_the_id_is_known(rig: Rig) -> None:
    rig.faults.script("delay", seconds=1.5)
    rig.faults.script("hidden", seconds=1.5)
    async with rig.service() as service:
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "SUBMITTING")
        assert not await take(service, fill("early-1", "mock-1"))
        cost = CommissionReport(
            ExecutionId("early-1"), Commission(Decimal("0.7"), "USD"), None, BrokerOrderId("mock-1")
        )
        assert not await take(service, cost)
        assert not await take(service, fill("early-1", "mock-1"))
        assert len(await rig.load("unmatched_reports")) == 2

        async def all_matched() -> bool:
            return all(report["matched_at"] for report in await rig.load("unmatched_reports"))

        document = await rig.reaches("sig_1", "FILLED")

        async def costs_known() -> bool:
            return (await rig.order("sig_1"))["commission"] == Decimal("0.7")

        # Before the service stops: what is not booked by then is so after the next start.
        await rig.until(costs_known, "the commission is booked")
        await rig.until(all_matched, "what was kept is marked as booked")
    assert document["order_id"] == "mock-1"
    assert document["filled_quantity"] == 100
    assert (await rig.position())["commission"] == 0.7


async def test_an_execution_of_somebody_elses_order_is_kept_and_changes_nothing(rig: Rig) -> None:
    async with rig.service() as service:
        assert not await take(service, fill("foreign-1", "tws-77"))
    (kept,) = await rig.load("unmatched_reports")
    assert (kept["broker_order_id"], kept["matched_at"]) == ("tws-77", None)
    assert await rig.load("fills") == []
    assert await rig.load("positions") == []


async def test_what_was_kept_is_booked_after_a_restart(rig: Rig) -> None:
    async with rig.service() as service:
        assert not await take(service, fill("early-1", "mock-1"))
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        document = await rig.reaches("sig_1", "FILLED")
    assert document["avg_fill_price"] == Decimal(229)


async def test_a_fill_that_can_neither_be_booked_nor_kept_now_is_both_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.service() as service:
        await rig.publish(order("sig_1", **RESTING))
        document = await rig.reaches("sig_1", "SUBMITTED")
        receiver = service.desks["acc_1"].receiver
        insert, away = receiver._store.insert, [StoreUnavailable("away"), StoreUnavailable("away")]

        def fails(*_: object) -> asyncio.Future[Any]:
            booked = asyncio.get_running_loop().create_future()
            booked.set_exception(ZeroDivisionError())
            return booked

        async def insert_later(*arguments: Any) -> Any:
            if away:
                raise away.pop()
            return await insert(*arguments)

        monkeypatch.setattr(receiver._store, "insert", insert_later)
        with monkeypatch.context() as broken:
            broken.setattr(receiver._execution, "receive", fails)
            with pytest.raises(ZeroDivisionError):
                await take(service, fill("f-1", document["order_id"]))
        assert (await rig.reaches("sig_1", "FILLED"))["filled_quantity"] == 100
    assert away == []


async def test_what_a_broker_repeats_of_ended_orders_is_read_with_few_questions_and_written_not_at_all(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 40
    async with rig.service():
        await rig.publish(*(order(f"sig_{number}", price=230) for number in range(count)))
        for number in range(count):
            await rig.reaches(f"sig_{number}", "FILLED")
        await rig.delivered()
    before = await rig.load(ORDERS)
    loads = Loads(monkeypatch)
    async with rig.service() as service:
        receiver, ledger = service.desks["acc_1"].receiver, service._parts.ledger

        async def all_repeated() -> bool:
            return receiver.taken >= 2 * count and not ledger.unwritten

        await rig.until(all_repeated, "every order and execution came again")
        assert loads.read[FILLS] == count, "each execution was read once"
        assert loads.asked[FILLS] <= count / 10
        assert loads.asked[ORDERS] <= count / 2, "the look-ups are shared; the rest is asked by the service itself"
    assert await rig.load(ORDERS) == before
    assert len(await rig.load(FILLS)) == count


async def test_a_repetition_is_judged_by_what_is_decided_before_it_even_if_that_is_not_durable_yet(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.service() as service:
        await rig.publish(order("sig_1", price=230))
        document = await rig.reaches("sig_1", "FILLED")
        (executed,) = await rig.load(FILLS)
        first, second = (
            CommissionReport(
                ExecutionId(executed["execution_id"]),
                Commission(Decimal(amount), "USD"),
                None,
                BrokerOrderId(document["order_id"]),
            )
            for amount in ("7.1", "7.2")
        )
        assert await take(service, first)
        ledger = service._parts.ledger
        commit, gate = ledger._store.commit, asyncio.Event()

        async def commit_later(*arguments: Any, **named: Any) -> None:
            await gate.wait()
            await commit(*arguments, **named)

        monkeypatch.setattr(ledger._store, "commit", commit_later)
        receiver = service.desks["acc_1"].receiver
        booked = [await receiver.take(report) for report in (second, first)]
        gate.set()
        for future in booked:
            assert future is not None
            await future
        # By what is durable the last report tells nothing new; by what was decided before it, it does.
        assert (await rig.order("sig_1"))["commission"] == Decimal("7.1")
        revision = (await rig.order("sig_1"))["revision"]
        assert await take(service, first)
        assert (await rig.order("sig_1"))["revision"] == revision


async def test_of_what_was_kept_only_the_unmatched_is_read_at_a_start_and_booked_if_its_order_is_known_by_now(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        document = await rig.reaches("sig_1", "SUBMITTED")
    kept = [
        unmatched.unmatched_document(AccountId("acc_1"), "mock", fill(name, broker_order_id), utc_now())
        for name, broker_order_id in [("e-1", document["order_id"]), *((f"f-{i}", f"tws-{i}") for i in range(20))]
    ]
    async with rig.store() as store:
        await store.insert(UNMATCHED, kept)
        # Those of the first ten were booked long ago, whoever's they are.
        done = [Write(UNMATCHED, one["_id"], None, {"matched_at": utc_now()}) for one in kept[1:11]]
        await store.commit(done)
    loads = Loads(monkeypatch)
    async with rig.service():
        assert (await rig.reaches("sig_1", "FILLED"))["filled_quantity"] == 100
        assert loads.read[UNMATCHED] == 11 + 1, "what is not matched, and then what is booked"
