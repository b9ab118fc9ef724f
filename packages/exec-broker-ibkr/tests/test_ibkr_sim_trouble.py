"""What goes wrong at the simulated TWS on command, as a client meets it on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from exec_broker_ibkr.connection.answers import NoAnswer, RequestRefused
from exec_broker_ibkr.messages import (
    ErrorTold,
    OrderShown,
    StatusTold,
)
from exec_broker_ibkr.simulator.desk import Desk, ImpossibleAction
from exec_broker_ibkr.simulator.server import Simulator
from exec_broker_ibkr.simulator.terms import Terms
from exec_core.errors import ConnectionFailed
from ibkr_sim_hall import DEADLINE, Client, D, tws_order, words


@asynccontextmanager
async def tws(**values: Any) -> AsyncIterator[tuple[Simulator, Desk]]:
    async with Simulator(**({"rests": True, "terms": Terms(("DU1",))} | values)) as simulator:
        yield simulator, Desk(simulator)


def order_of(simulator: Simulator, order_id: int, client_id: int = 5) -> Any:
    return simulator.book.order_of_client(client_id, order_id)


@pytest.mark.parametrize("is_taken", [True, False])
async def test_the_line_breaks_at_the_next_order(is_taken: bool) -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        desk.next_order("lost-after" if is_taken else "lost")
        await client.place(tws_order())
        await client.until(lambda: client.lost)
        assert len(simulator.book.orders()) == is_taken
        assert not any(isinstance(one, OrderShown | StatusTold) for one in client.heard)
        client = await Client(simulator.port).open()
        assert len(await client.line.open_orders()) == is_taken
        await client.status(await client.place(tws_order()), "Submitted")
        await client.close()


async def test_an_order_that_hangs_is_shown_when_asked_for() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        desk.next_order("hangs")
        await client.place(tws_order(order_ref="SILENT"))
        await client.line.current_time()
        assert not any(isinstance(one, OrderShown | StatusTold) for one in client.heard)
        assert [one.order_ref for one in await client.line.open_orders()] == ["SILENT"]
        await client.close()


@pytest.mark.parametrize(("code", "is_kept"), [(201, True), (203, False)])
async def test_the_next_order_is_refused(code: int, is_kept: bool) -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        desk.refuse_next("No", code)
        order_id = await client.place(tws_order())
        refusal = await client.error(code)
        assert refusal.request_id == order_id
        assert refusal.text.endswith("No")
        assert len(simulator.book.orders()) == is_kept
        if is_kept:
            await client.status(order_id, "Inactive")
            about = [one for one in client.heard if getattr(one, "order_id", getattr(one, "request_id", 0)) == order_id]
            assert words(about) == ["201", "Order", "Inactive"]
        await client.status(await client.place(tws_order()), "Submitted")
        await client.close()


async def test_a_cancel_whose_answer_is_lost_is_done() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        order_id = await client.place(tws_order())
        await client.status(order_id, "Submitted")
        desk.lose_next_cancel()
        await client.line.cancel(order_id)
        await client.until(lambda: client.lost)
        assert order_of(simulator, order_id).status == "Cancelled"
        assert not any(isinstance(one, ErrorTold) and one.code == 202 for one in client.heard)


async def test_questions_fail_are_silent_or_are_answered_in_part() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port, answer_seconds=DEADLINE).open()
        order_id = await client.place(tws_order())
        await client.status(order_id, "Submitted")
        desk.answer("fail")
        with pytest.raises(RequestRefused, match="322"):
            await client.line.executions()
        for ask in (client.line.open_orders, client.line.completed_orders, client.line.positions):
            with pytest.raises(NoAnswer):
                await ask()
        desk.answer("part")
        await client.error(1100)
        assert await client.line.open_orders() == ()
        late = await Client(simulator.port, 6).open()
        await late.error(1100)
        desk.answer("whole")
        await client.error(1102)
        assert len(await client.line.open_orders()) == 1
        await client.close()
        await late.close()

        client = await Client(simulator.port, answer_seconds=0.05).open()
        desk.answer("silent")
        with pytest.raises(NoAnswer):
            await client.line.positions()
        await client.close()


@pytest.mark.parametrize("orders_are_lost", [True, False])
async def test_orders_sent_while_tws_is_cut_off_wait_or_vanish(orders_are_lost: bool) -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        desk.cut_off()
        await client.error(1100)
        order_id = await client.place(tws_order())
        await client.line.current_time()
        assert simulator.book.orders() == []
        desk.restore(data_lost=True, orders_lost=orders_are_lost)
        await client.error(1101)
        if not orders_are_lost:
            await client.status(order_id, "Submitted")
        assert len(await client.line.open_orders()) == (not orders_are_lost)
        await client.close()


async def test_a_half_open_line_takes_bytes_and_answers_nothing() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port, answer_seconds=0.05).open()
        desk.half_open()
        await client.place(tws_order())
        with pytest.raises(NoAnswer):
            await client.line.current_time()
        assert client.line.is_open
        with pytest.raises(ConnectionFailed):
            await Client(simulator.port, 6, connect_seconds=0.05).open()
        desk.half_open(False)
        assert simulator.book.orders() == []
        await client.close()


async def test_requests_of_one_kind_can_hang() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port, answer_seconds=0.05).open()
        desk.hang_requests("CompletedOrders")
        with pytest.raises(NoAnswer):
            await client.line.completed_orders()
        desk.answer_requests()
        await client.close()
        client = await Client(simulator.port).open()
        assert await client.line.completed_orders() == ()
        with pytest.raises(ImpossibleAction, match="CompletedOrders"):
            desk.hang_requests("Nonsense")
        await client.close()


async def test_everything_is_told_twice_or_in_reverse() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        order_id = await client.place(tws_order())
        await client.status(order_id, "Submitted")
        perm_id = order_of(simulator, order_id).perm_id
        desk.tell_twice()
        before = len(client.heard)
        desk.fill(perm_id, D(3))
        await client.until(lambda: len(client.heard) == before + 8)
        assert words(client.heard[before : before + 4]) == ["Execution", "Execution", "Order", "Order"]
        desk.tell_twice(False)
        desk.tell_in_reverse()
        before = len(client.heard)
        desk.fill(perm_id, D(3))
        await client.until(lambda: len(client.heard) == before + 4)
        assert words(client.heard[before:]) == ["Commission", "Submitted", "Order", "Execution"]
        await client.close()


async def test_a_read_only_api_refuses_orders_cancels_and_their_lists() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port, answer_seconds=0.05).open()
        order_id = await client.place(tws_order())
        await client.status(order_id, "Submitted")
        desk.read_only()
        await client.line.cancel(order_id)
        assert "Read-Only" in (await client.error(321)).text
        with pytest.raises(NoAnswer):
            await client.line.completed_orders()
        second = await client.place(tws_order())
        await client.until(lambda: any(isinstance(one, ErrorTold) and one.request_id == second for one in client.heard))
        assert order_of(simulator, order_id).is_open
        assert len(simulator.book.orders()) == 1
        await client.close()
