"""Several processes on one book, and a process that is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from exec_broker_mock.book import Book
from exec_broker_mock.reporting import fill_report
from exec_broker_mock.venue import Venue
from exec_core.clock import utc_now

PROGRAM = """
import asyncio, os, signal, sys
from decimal import Decimal
from exec_core import BrokerFactory, Instrument, Order, OrderRequest, OrderType, Side

path, account, name, count, delay, ending = sys.argv[1:]
settings = {"state_file": path, "fill_delay_seconds": float(delay), "partial_fills": 2}

async def main():
    async with BrokerFactory.create_broker({"broker": "mock", "account_id": account, "settings": settings}) as broker:
        orders = [
            Order.new(OrderRequest(f"{name}-{number}", account, "test", Instrument("SPY"), Side.BUY,
                                   OrderType.MARKET, Decimal(100), reference_price=Decimal(10)))
            for number in range(int(count))
        ]
        await asyncio.gather(*(broker.place_order(order) for order in orders))
        if ending == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def start(path: Path, account: str, name: str, count: int, delay: float = 0, ending: str = "") -> subprocess.Popen[str]:
    arguments = [str(path), account, name, str(count), str(delay), ending]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> int:
    _, errors = process.communicate(timeout=30)
    assert not errors, errors
    return process.returncode


async def test_a_session_hears_what_other_processes_do_and_nothing_is_lost_between_them(
    tmp_path, account, connect, listen
):
    path = tmp_path / "book.db"
    writers = [start(path, account, name, 40) for name in ("left", "right")]
    broker = await connect(state_file=path)
    heard = await listen(broker, lambda heard: heard.statuses.count("FILLED") >= 80, 30)
    for writer in writers:
        assert await asyncio.to_thread(finish, writer) == 0
    assert len({fill.fill.execution_id for fill in heard.fills}) == 160
    assert len({report.broker_order_id for report in heard.orders}) == 80


def test_what_was_accepted_before_a_kill_is_filled_at_its_time_while_nobody_lives(tmp_path, account):
    path = tmp_path / "book.db"
    assert finish(start(path, account, "sig", 3, delay=5, ending="kill")) == -9
    book = Book.in_file(path, lambda: utc_now() + timedelta(hours=1))
    with book.transaction(write=False):
        assert [order.filled_quantity for order in book.all_orders()] == [0, 0, 0]
    Venue(book).advance()
    with book.transaction(write=False):
        orders = {order.number: order for order in book.all_orders()}
        delays = [fill.time - orders[fill.order_number].accepted_at for fill in book.all_fills()]
        reports = [fill_report(book, orders[fill.order_number], fill) for fill in book.all_fills()]
    assert [order.status.value for order in orders.values()] == ["FILLED"] * 3
    assert sorted(delays) == [5_000_000] * 3 + [10_000_000] * 3
    assert {report.fill.quantity for report in reports} == {Decimal(50)}
    book.close()


async def test_a_session_after_a_kill_is_told_of_every_order_and_fill(tmp_path, account, connect, listen):
    path = tmp_path / "book.db"
    killed = start(path, account, "sig", 5, ending="kill")
    assert await asyncio.to_thread(finish, killed) == -9
    broker = await connect(state_file=path)
    heard = await listen(broker, lambda heard: heard.statuses.count("FILLED") == 5)
    assert len(heard.fills) == 10
