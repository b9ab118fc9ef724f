"""The simulated TWS on the wire: its connections and its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from exec_broker_ibkr.connection.answers import RequestRefused
from exec_broker_ibkr.messages import (
    AccountValueTold,
    CommissionTold,
    ExecutionTold,
    OrderShown,
    StatusTold,
    TwsContract,
    TwsLeg,
)
from exec_broker_ibkr.simulator import wire
from exec_broker_ibkr.simulator.desk import Desk, ImpossibleAction
from exec_broker_ibkr.simulator.server import Simulator
from exec_broker_ibkr.simulator.terms import Terms
from exec_core.errors import ConnectionFailed
from ibkr_sim_hall import DEADLINE, Client, D, stock, tws_order


@asynccontextmanager
async def tws(**values: Any) -> AsyncIterator[tuple[Simulator, Desk]]:
    async with Simulator(**({"rests": True, "terms": Terms(("DU1",))} | values)) as simulator:
        yield simulator, Desk(simulator)


def order_of(simulator: Simulator, order_id: int, client_id: int = 5) -> Any:
    return simulator.book.order_of_client(client_id, order_id)


# Connecting


async def test_a_client_id_serves_one_client() -> None:
    async with tws() as (simulator, _):
        first = await Client(simulator.port).open()
        with pytest.raises(ConnectionFailed, match="is in use"):
            await Client(simulator.port).open()
        other = await Client(simulator.port, 6).open()
        await first.close()
        again = await Client(simulator.port).open()
        assert set(simulator.client_ids) == {5, 6}
        await other.close()
        await again.close()


async def test_the_id_of_a_dead_client_can_stay_in_use() -> None:
    async with tws() as (simulator, desk):
        desk.keep_client_ids()
        client = await Client(simulator.port).open()
        desk.cut_lines()
        await client.until(lambda: client.lost)
        with pytest.raises(ConnectionFailed, match="is in use"):
            await Client(simulator.port).open()
        desk.keep_client_ids(False)
        await (await Client(simulator.port).open()).close()


async def test_connections_are_refused_at_a_port_that_stays_ours() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        desk.refuse_connections()
        await client.until(lambda: client.lost)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", simulator.port)
        await desk.accept_connections()
        await (await Client(simulator.port).open()).close()


async def test_the_next_order_id_is_kept_for_each_client_and_can_roll_back() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        for _ in range(3):
            await client.status(await client.place(tws_order()), "Submitted")
        await client.close()
        client = await Client(simulator.port).open()
        assert client.line.next_order_id() == 4
        desk.cancel(order_of(simulator, 3).perm_id)
        desk.restart(2)
        client = await Client(simulator.port).open()
        assert client.line.next_order_id() == 2
        # Order 3 has ended, and its id is issued again; 2 is open, and would be modified.
        await client.line.place(3, stock(), tws_order(order_ref="AGAIN"))
        await client.status(3, "Submitted")
        assert order_of(simulator, 3).order_ref == "AGAIN"
        assert len(simulator.book.orders()) == 4
        await client.close()


async def test_what_is_no_client_is_dropped_and_what_is_not_known_is_counted() -> None:
    async with tws() as (simulator, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(DEADLINE):
            assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        writer.write(b"API\0" + b"\0\0\0\x09v157..176")
        writer.write(wire.frame(["71", "2", "9", ""]) + wire.frame(["1", "11", "1"]) + wire.frame(["49", "1"]))
        async with asyncio.timeout(DEADLINE):
            kinds = []
            while not kinds or kinds[-1] != "49":
                fields = await wire.read_message(reader)
                assert fields is not None
                kinds.append(fields[0])
        assert kinds == ["176", "15", "9", "4", "4", "4", "49"]
        assert simulator.not_understood == 1
        writer.write(wire.frame(["4", "1", "no number", ""]))
        async with asyncio.timeout(DEADLINE):
            fields = await wire.read_message(reader)
        assert fields is not None
        assert fields[:4] == ["4", "2", "-1", "320"]
        writer.close()


# Answers


async def test_what_is_asked_is_answered() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        assert client.line.accounts == ("DU1",)
        details = await client.line.contract_details(stock())
        assert [(one.contract.con_id, one.min_tick, one.stock_type) for one in details] == [
            (265598, Decimal("0.01"), "COMMON")
        ]
        assert len(await client.line.contract_details(stock("TWIN"))) == 2
        with pytest.raises(RequestRefused, match="200"):
            await client.line.contract_details(stock("NOSUCH"))
        with pytest.raises(RequestRefused, match="321"):
            await client.line.contract_details(TwsContract("BAG", "SPY", exchange="SMART", currency="USD"))
        assert [step.increment for step in await client.line.market_rule(239)] == [D("0.01"), D("0.05")]
        assert abs(await client.line.current_time() - simulator.book.now) < timedelta(hours=1)
        assert await client.line.positions() == ()
        order_id = await client.place(tws_order())
        await client.status(order_id, "Submitted")
        desk.fill(order_of(simulator, order_id).perm_id, D(4), D("199.5"))
        position = (await client.line.positions())[0]
        assert (position.account, position.quantity, position.average_cost) == ("DU1", 4, D("199.5"))
        values = await client.line.account_summary(("NetLiquidation", "TotalCashValue"))
        assert AccountValueTold("DU1", "TotalCashValue", "999201.00", "USD") in values
        assert len(values) == 2
        await client.close()


async def test_a_client_hears_of_its_own_orders_and_can_ask_for_all() -> None:
    async with tws() as (simulator, desk):
        mine, other = await Client(simulator.port).open(), await Client(simulator.port, 6).open()
        order_id = await mine.place(tws_order(order_ref="MINE"))
        await mine.status(order_id, "Submitted")
        desk.trade_by_hand(stock(), "BUY", D(3), D(200))
        desk.fill(order_of(simulator, order_id).perm_id, D(4))
        await mine.until(lambda: any(isinstance(one, CommissionTold) for one in mine.heard))
        assert await other.line.open_orders() == ()
        shown = await other.line.all_open_orders()
        assert [(one.client_id, one.order_id, one.order_ref) for one in shown] == [(5, order_id, "MINE"), (0, 0, "")]
        assert all(one.perm_id for one in shown)
        told = [one for one in other.heard if isinstance(one, ExecutionTold)]
        assert told == []
        executions = await other.line.executions()
        assert [(one.order_ref, one.client_id, one.quantity) for one in executions] == [("MINE", 5, 4)]
        assert any(isinstance(one, CommissionTold) for one in other.heard), "it comes again with the execution"
        await mine.close()
        await other.close()


async def test_completed_orders_tell_neither_ids_nor_quantity_and_only_those_of_today() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        ends = ("filled", "cancelled", "expired", "rejected")
        for name in ends:
            await client.status(await client.place(tws_order(order_ref=name)), "Submitted")
        perm_ids = [order.perm_id for order in simulator.book.orders()]
        desk.fill(perm_ids[0])
        desk.cancel(perm_ids[1])
        desk.expire(perm_ids[2])
        desk.reject(perm_ids[3], "Too bad")
        completed = await client.line.completed_orders()
        assert [(one.order_ref, one.status, one.filled, one.completed_status) for one in completed] == [
            ("filled", "Filled", 10, "Filled Size: 10"),
            ("cancelled", "Cancelled", 0, "Cancelled by Trader"),
            ("expired", "Cancelled", 0, "Order expired"),
            ("rejected", "Inactive", 0, "Order rejected - reason:Too bad"),
        ]
        assert {one.total_quantity for one in completed} <= {None, Decimal(0)}
        assert [one.perm_id for one in completed] == perm_ids
        desk.begin_day()
        assert await client.line.completed_orders() == ()
        assert await client.line.executions() == ()
        await client.close()


async def test_a_new_day_ends_what_is_not_good_till_cancelled() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        day, gtc = await client.place(tws_order()), await client.place(tws_order(tif="GTC"))
        await client.status(gtc, "Submitted")
        desk.begin_day()
        await client.status(day, "Cancelled")
        assert "expired" in (await client.error(202)).text
        assert [one.order_id for one in await client.line.open_orders()] == [gtc]
        assert await client.line.current_time() - simulator.book.now < timedelta(hours=1)
        await client.close()


# Orders


@pytest.mark.parametrize("style", ["zone", "utc", "unknown-zone"])
async def test_times_are_spelled_in_several_ways(style: str) -> None:
    async with tws() as (simulator, desk):
        desk.spell_times(style)
        client = await Client(simulator.port).open()
        order_id = await client.place(tws_order())
        await client.status(order_id, "Submitted")
        desk.fill(order_of(simulator, order_id).perm_id, D(3))
        told = await client.until(lambda: next((one for one in client.heard if isinstance(one, ExecutionTold)), None))
        assert abs(told.time - simulator.book.now) < timedelta(minutes=10)
        await client.close()


async def test_a_person_modifies_an_order_and_says_what_nobody_knows() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        order_id = await client.place(tws_order())
        await client.status(order_id, "Submitted")
        perm_id = order_of(simulator, order_id).perm_id
        desk.modify(perm_id, quantity=D(8), limit_price=D("201.5"))
        desk.say(perm_id, "Pondering")
        await client.status(order_id, "Pondering")
        shown = [one for one in client.heard if isinstance(one, OrderShown)][-1]
        assert (shown.total_quantity, shown.limit_price, shown.status) == (8, D("201.5"), "Pondering")
        for wrong in ({"quantity": D(0)}, {"stop_price": D(1)}, {"limit_price": D("NaN")}):
            with pytest.raises(ImpossibleAction):
                desk.modify(perm_id, **wrong)
        desk.fill(perm_id)
        await client.status(order_id, "Filled")
        for act in (desk.cancel, desk.expire, desk.release):
            with pytest.raises(ImpossibleAction, match="has ended"):
                act(perm_id)
        with pytest.raises(ImpossibleAction, match="no order"):
            desk.fill(1)
        with pytest.raises(ImpossibleAction, match="no execution"):
            desk.bust("0000.00.01")
        await client.close()


async def test_a_bracket_over_the_wire() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        parent = await client.place(tws_order(transmit=False))
        target = await client.place(tws_order("SELL", limit_price=D(220), parent_id=parent, transmit=False))
        await client.line.current_time()
        assert not any(isinstance(one, OrderShown | StatusTold) for one in client.heard)
        stop = await client.place(tws_order("SELL", "STP", stop_price=D(190), parent_id=parent))
        assert (await client.status(stop, "PreSubmitted")).why_held == "child"
        desk.fill(order_of(simulator, parent).perm_id)
        await client.status(target, "Submitted")
        desk.fill(order_of(simulator, target).perm_id)
        await client.status(stop, "Cancelled")
        await client.close()


async def test_a_combination_over_the_wire() -> None:
    async with tws() as (simulator, desk):
        client = await Client(simulator.port).open()
        found = [
            (await client.line.contract_details(TwsContract("OPT", con_id=con_id, exchange="SMART")))[0].contract
            for con_id in (700000001, 700000002)
        ]
        bag = replace(
            TwsContract("BAG", "SPY", exchange="SMART", currency="USD"),
            legs=tuple(TwsLeg(one.con_id, 1, "BUY", "SMART") for one in found),
        )
        order_id = await client.place(tws_order(limit_price=D("23.44")), bag)
        await client.status(order_id, "Submitted")
        desk.fill(order_of(simulator, order_id).perm_id)
        await client.until(lambda: sum(isinstance(one, CommissionTold) for one in client.heard) == 2)
        told = [one for one in client.heard if isinstance(one, ExecutionTold)]
        assert [one.contract.sec_type for one in told] == ["BAG", "OPT", "OPT"]
        assert [one.con_id for one in (await client.line.completed_orders())[0].contract.legs] == [700000001, 700000002]
        await client.close()
