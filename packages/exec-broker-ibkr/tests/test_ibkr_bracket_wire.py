"""A bracket over the wire: three messages, of which TWS acts on none before the last."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from exec_broker_ibkr.brackets import bracket
from exec_broker_ibkr.connection.line import Line
from exec_broker_ibkr.messages import OrderShown, Told, TwsContract, TwsOrder
from exec_broker_ibkr.simulator.desk import Desk
from exec_broker_ibkr.simulator.server import HOST, Simulator

ACCOUNT = "DU1234567"
REF = "ABCDEFGHIJKLMNOPQRST"
DEADLINE = 60.0
ENTRY = TwsOrder("BUY", "LMT", ACCOUNT, "DAY", REF, quantity=Decimal(10), limit_price=Decimal(235))


async def test_stop_and_target_work_once_the_entry_is_filled_and_one_ends_the_other() -> None:
    heard: list[Told] = []
    news = asyncio.Event()

    def hear(told: Told) -> None:
        heard.append(told)
        news.set()

    async def until_shown(*refs: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while not set(refs) <= {told.order_ref for told in heard if isinstance(told, OrderShown)}:
                news.clear()
                await news.wait()

    async with Simulator(rests=True) as simulator:
        desk, line = Desk(simulator), Line(HOST, simulator.port, 1)
        await line.open(hear, lambda _reason: None)
        try:
            (apple,) = await line.contract_details(TwsContract("STK", "AAPL", exchange="SMART", currency="USD"))
            ids = (line.next_order_id(), line.next_order_id(), line.next_order_id())
            *others, last = bracket(ENTRY, ids, stop=Decimal(230), target=Decimal(240)).orders
            for order_id, order in others:
                await line.place(order_id, apple.contract, order)
            assert await line.open_orders() == ()  # TWS has them, and shows none
            await line.place(last[0], apple.contract, last[1])
            await until_shown(REF, f"{REF}-sl", f"{REF}-tp")
            by_ref = {row.order_ref: row for row in simulator.book.orders()}
            entry, stop, target = (by_ref[f"{REF}{suffix}"] for suffix in ("", "-sl", "-tp"))
            assert [(row.status, row.why_held) for row in (stop, target)] == [("PreSubmitted", "child")] * 2
            desk.fill(entry.perm_id, Decimal(10), Decimal(235))
            assert desk.order(target.perm_id).status == "Submitted"
            desk.fill(target.perm_id, Decimal(10), Decimal(240))
            assert desk.order(stop.perm_id).status == "Cancelled"
            assert [desk.order(row.perm_id).filled for row in (entry, target, stop)] == [10, 10, 0]
        finally:
            await line.close()
