"""Whose report is it: an execution that comes before its order's broker id is known is kept, and booked then."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from exec_core import BrokerOrderId, Commission, CommissionReport, ExecutionId, Fill, FillReport, Side
from exec_core.clock import utc_now
from exec_service.service import Service
from exec_service.stores import StoreUnavailable
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
