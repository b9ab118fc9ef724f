"""Between two awaits anything may happen: a cancel, old age, a store that is away, an adapter that stumbles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from exec_broker_mock.broker import MockBroker
from exec_core import BrokerOrderId, ExecutionId, Fill, FillReport, Side
from exec_core.clock import utc_now
from exec_core.errors import AnnouncedBreak
from exec_core.events import CancelAsked
from exec_core.orders import ReasonCode
from exec_service.receiving import Receiver
from exec_service.service import Service
from exec_service.stores import StoreError, StoreUnavailable
from exec_service.stores.sqlite import SqliteStore
from messages import order
from rig import Rig

RESTING = {"order_type": "LIMIT", "limit_price": 230, "price": 235}


async def all_slots_taken(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Sixteen sends that have no answer before the event is set."""
    answered, place = asyncio.Event(), MockBroker.place_order

    async def slow(self: MockBroker, placed: Any) -> Any:
        if placed.request.signal_id.startswith("block"):
            await answered.wait()
        return await place(self, placed)

    monkeypatch.setattr(MockBroker, "place_order", slow)
    await rig.publish(*(order(f"block{number}", symbol=f"S{number}") for number in range(16)))
    for number in range(16):
        await rig.reaches(f"block{number}", "SUBMITTING")
    return answered


async def cancel(service: Service, rig: Rig, signal_id: str) -> None:
    asked = CancelAsked(ReasonCode.CANCELLED_BY_USER, "changed my mind")
    await service._parts.execution.apply((await rig.order(signal_id))["_id"], asked)


def executed(name: str, quantity: int = 100, *, correction: int = 0, **ids: Any) -> FillReport:
    fill = Fill(ExecutionId(name), Side.BUY, Decimal(quantity), Decimal(229), utc_now(), correction=correction)
    return FillReport(fill, **ids)


def early(name: str = "early-1") -> FillReport:
    return executed(name, broker_order_id=BrokerOrderId("mock-1"))


def failing_once(patch: pytest.MonkeyPatch, method: str, error: Exception, when: Any) -> list[int]:
    """Make the store's `method` fail the first time that `when` says so; the list counts it."""
    real, failed = getattr(SqliteStore, method), []

    async def wrapper(self: SqliteStore, *arguments: Any, **named: Any) -> Any:
        if not failed and when(*arguments, **named):
            failed.append(1)
            raise error
        return await real(self, *arguments, **named)

    patch.setattr(SqliteStore, method, wrapper)
    return failed


async def test_a_cancel_while_the_order_waits_for_a_slot_is_heeded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig.service() as service:
        answered = await all_slots_taken(rig, monkeypatch)
        await rig.publish(order("late"))
        await rig.reaches("late", "PENDING")
        await cancel(service, rig, "late")
        answered.set()
        await rig.reaches("late", "CANCELLED")
    assert rig.at_broker("late") == []


async def test_an_order_that_grows_old_while_its_commit_waits_is_not_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P6."""
    rig.options["order_max_age_seconds"] = 1
    commit, until = SqliteStore.commit, utc_now().timestamp() + 4

    async def away(self: SqliteStore, writes: Any, **named: Any) -> Any:
        submitting = any(write.document.get("status") == "SUBMITTING" for write in writes)
        if submitting and utc_now().timestamp() < until:
            raise StoreUnavailable("fail-over")
        return await commit(self, writes, **named)

    monkeypatch.setattr(SqliteStore, "commit", away)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "REJECTED", "FILLED")
    assert document["reason_code"] == "STALE"
    assert rig.at_broker() == []


async def test_an_order_that_meets_an_announced_break_is_held_however_long_that_lasts(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, place = [], MockBroker.place_order

    async def closed(self: MockBroker, placed: Any) -> Any:
        tries.append(placed)
        if len(tries) <= 5:  # more often than an unreachable broker is tried
            raise AnnouncedBreak("back at 00:45")
        return await place(self, placed)

    monkeypatch.setattr(MockBroker, "place_order", closed)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
    assert len(tries) == 6


async def test_an_adapter_that_cancels_its_own_call_has_given_no_answer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: the order becomes UNKNOWN, and the symbol's next one goes on after it is settled."""
    place, calls = MockBroker.place_order, []

    async def cancelled(self: MockBroker, placed: Any) -> Any:
        calls.append(placed)
        if len(calls) == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        return await place(self, placed)

    monkeypatch.setattr(MockBroker, "place_order", cancelled)
    async with rig.service():
        await rig.publish(order("first"), order("second"))
        document = await rig.reaches("first", "REJECTED")
        await rig.reaches("second", "FILLED")
    assert document["reason_code"] == "NOT_PLACED"


async def test_reports_that_are_cancelled_inside_the_adapter_are_taken_up_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports, calls = MockBroker.reports, []

    async def cancelled(self: MockBroker) -> AsyncIterator[Any]:
        calls.append(1)
        if len(calls) == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        async for report in reports(self):
            yield report

    monkeypatch.setattr(MockBroker, "reports", cancelled)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
    assert len(calls) == 2


async def test_an_answer_that_cannot_be_stored_leaves_the_order_unknown_not_submitting(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.faults.script("lose-order")

    def unknown(writes: Any, **_: Any) -> bool:
        return any(write.document.get("status") == "UNKNOWN" for write in writes)

    failed = failing_once(monkeypatch, "commit", StoreError("disk I/O error"), unknown)
    async with rig.service():
        await rig.publish(order("sig_1"))
        document = await rig.reaches("sig_1", "REJECTED")
    assert failed
    assert document["reason_code"] == "NOT_PLACED"


async def test_an_account_whose_take_up_failed_is_tried_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.options["worker_lease_seconds"] = 3
    failed = failing_once(
        monkeypatch, "load", StoreUnavailable("fail-over"), lambda name, *_, **__: name == "positions"
    )
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
    assert failed


async def test_a_kept_execution_is_booked_after_a_kill_between_its_id_and_its_booking(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3."""

    async def killed(*_: Any) -> None:
        """The process ends here."""

    rig.faults.script("delay", seconds=1)
    rig.faults.script("hidden", seconds=1)
    with monkeypatch.context() as patch:
        patch.setattr(Receiver, "_match", killed)
        async with rig.service(crash=True) as service:
            await rig.publish(order("sig_1", **RESTING))
            await rig.reaches("sig_1", "SUBMITTING")
            await service.desks["acc_1"].receiver.take(early())
            await rig.reaches("sig_1", "SUBMITTED")
    async with rig.service():
        await rig.reaches("sig_1", "FILLED")


async def test_a_kept_execution_is_booked_when_the_store_was_away_at_first(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.faults.script("delay", seconds=1)
    rig.faults.script("hidden", seconds=1)

    def matching(name: str, where: Any = None, **_: Any) -> bool:
        return name == "unmatched_reports" and "broker_order_id" in (where or {})

    failed = failing_once(monkeypatch, "load", StoreUnavailable("fail-over"), matching)
    async with rig.service() as service:
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "SUBMITTING")
        await service.desks["acc_1"].receiver.take(early())
        await rig.reaches("sig_1", "FILLED")
    assert failed


async def test_an_order_that_waits_behind_one_in_doubt_can_be_cancelled_and_grows_stale(rig: Rig) -> None:
    rig.faults.script("lose-answer")
    rig.faults.script("hidden", seconds=60)
    rig.faults.script("incomplete", count=1000)
    rig.options["order_max_age_seconds"] = 3
    async with rig.service(crash=True) as service:
        await rig.publish(order("doubtful"), order("unwanted"), order("old"))
        await rig.reaches("doubtful", "UNKNOWN")
        await cancel(service, rig, "unwanted")
        await rig.reaches("unwanted", "CANCELLED")
        document = await rig.reaches("old", "REJECTED")
    assert document["reason_code"] == "STALE"


async def test_a_mark_that_cannot_be_stored_is_repeated(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def marks(writes: Any, **_: Any) -> bool:
        return {write.collection for write in writes} == {"outbox"}

    failed = failing_once(monkeypatch, "commit", StoreError("disk full"), marks)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
        await rig.delivered()
        await rig.publish(order("sig_2"))
        await rig.reaches("sig_2", "FILLED")
    assert failed


async def test_executions_of_one_order_go_into_one_position_whatever_the_venue_tells_later(rig: Rig) -> None:
    rig.faults.script("delay", seconds=1)
    rig.faults.script("hidden", seconds=1)
    async with rig.service(crash=True) as service:
        await rig.publish(order("sig_1", **RESTING))
        order_id = (await rig.reaches("sig_1", "SUBMITTING"))["_id"]

        async def take(report: FillReport) -> None:
            booked = await service.desks["acc_1"].receiver.take(report)
            assert booked is not None
            await booked

        await take(executed("e1", 40, client_order_id=order_id))
        await rig.until(lambda: _currency_known(rig), "the venue has told the currency")
        await take(executed("e2", 60, client_order_id=order_id))
        await take(executed("e1", 0, correction=1, client_order_id=order_id))
    assert (await rig.position())["quantity"] == 60


async def _currency_known(rig: Rig) -> bool:
    document = await rig.order("sig_1")
    return document["state"]["details"] is not None
