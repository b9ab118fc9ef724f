"""The book: it keeps what was committed, whatever ends the process, and refuses what is no book."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from exec_broker_ibkr.messages import OrderShown, TwsContract, TwsLeg
from exec_broker_ibkr.simulator.book import Book
from exec_broker_ibkr.simulator.rows import contract_from_text, contract_to_text
from exec_core.errors import ConfigurationError
from ibkr_sim_hall import NOON, Client, D, Hall, stock, tws_order, words


def test_a_book_in_a_file_is_the_same_after_it_was_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "book"
    hall = Hall(path)
    hall.place(tws_order(quantity="10.5", limit_price=D("200.01")))
    hall.place(tws_order("SELL", "STP", "3"))
    hall.execute(1, "0.1", "199.98")
    before = (hall.book.orders(), hall.book.executions(), hall.exchange.holdings.positions())
    ids = [hall.book.execution_id(one) for one in hall.book.executions()]
    hall.book.close()
    again = Hall(path)
    assert (again.book.orders(), again.book.executions(), again.exchange.holdings.positions()) == before
    assert [again.book.execution_id(one) for one in again.book.executions()] == ids
    assert words(again.place(tws_order("SELL", "STP", "2"), order_id=2)) == ["Order", "PreSubmitted"], (
        "an open one is modified"
    )
    assert words(again.place(order_id=1, client_id=6)) == ["Order", "Submitted"]
    again.cancel(2)
    assert words(again.place(order_id=2)) == ["103"], "ids that were used stay used"


def test_nothing_of_an_event_that_fails_is_kept_or_told(tmp_path: Path) -> None:
    hall = Hall(tmp_path / "book")
    hall.place()
    order = hall.order(1)

    def fails(_: object) -> Decimal:
        raise RuntimeError("in the middle")

    hall.exchange.holdings.traded = fails  # type: ignore[method-assign, assignment]
    told = len(hall.told)
    with pytest.raises(RuntimeError):
        hall.exchange.execute(order.number, D(4), D(200))
    assert hall.order(1) == order
    assert hall.book.executions() == []
    assert len(hall.told) == told
    assert words(hall.cancel(1))[-1] == "202"


def test_today_is_what_is_open_and_what_has_ended_today() -> None:
    hall = Hall()
    for _ in range(3):
        hall.place(tws_order(tif="GTC"))
    hall.execute(1, "10")
    hall.cancel(2)
    assert (len(hall.book.ended_today()), len(hall.book.executions_of_today())) == (2, 1)
    before = hall.book.now
    hall.book.begin_day()
    assert (hall.book.now - before).days == 1
    assert (hall.book.ended_today(), hall.book.executions_of_today()) == ([], [])
    assert [order.order_id for order in hall.book.orders_of_today()] == [3]
    assert len(hall.book.orders()) == 3
    hall.execute(3, "10")
    assert [one.day for one in hall.book.executions_of_today()] == [2]


def test_an_order_belongs_to_the_day_on_which_it_first_ended() -> None:
    hall = Hall()
    hall.place()
    hall.cancel(1)
    hall.book.begin_day()
    hall.execute(1, "10")
    assert hall.order(1).status == "Filled"
    assert (len(hall.book.ended_today()), len(hall.book.executions_of_today())) == (0, 1)


def test_a_day_is_kept(tmp_path: Path) -> None:
    book = Book(tmp_path / "book", lambda: NOON)
    book.begin_day()
    book.begin_day()
    now = book.now
    book.close()
    again = Book(tmp_path / "book", lambda: NOON)
    assert (again.day, again.now) == (3, now)
    again.close()


def test_somebody_elses_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another SQLite database"):
        Book(path)
    assert path.read_bytes() == before
    path.write_text("no database at all, " * 100)
    with pytest.raises(ConfigurationError, match="is not a book"):
        Book(path)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        Book(tmp_path)


def test_a_book_of_another_format_is_refused(tmp_path: Path) -> None:
    Book(tmp_path / "book").close()
    connection = sqlite3.connect(tmp_path / "book")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="format 99"):
        Book(tmp_path / "book")


@pytest.mark.parametrize(
    "contract",
    [
        stock(),
        TwsContract("OPT", "SPY", 7, "20271217", D("600.5"), "C", D(100), "SMART", "", "USD", "SPY   271217C00600500"),
        TwsContract("BAG", "SPY", legs=(TwsLeg(1, 1, "BUY", "SMART"), TwsLeg(2, 2, "SELL", "CBOE"))),
    ],
)
def test_contracts_are_kept_whole(contract: TwsContract) -> None:
    assert contract_from_text(contract_to_text(contract)) == contract


def started(*arguments: str) -> tuple[subprocess.Popen[str], int]:
    """A simulator in a process of its own, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "exec_broker_ibkr.simulator", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, int(line.rpartition(":")[2])


async def test_what_was_answered_is_in_the_book_after_kill_9(tmp_path: Path) -> None:
    book = str(tmp_path / "book")
    process, port = started("--book", book, "--rest", "--account", "DU1")
    try:
        client = await Client(port).open()
        sent = [await client.place(tws_order(order_ref=f"R{number}")) for number in range(20)]
        for order_id in sent:
            await client.status(order_id, "Submitted")
        os.kill(process.pid, signal.SIGKILL)
        await client.until(lambda: client.lost)
        await client.close()
    finally:
        process.kill()
        await asyncio.to_thread(process.communicate)
    told = {one.order_ref: one.perm_id for one in client.heard if isinstance(one, OrderShown)}
    assert len(told) == 20

    process, port = started("--book", book, "--rest", "--account", "DU1")
    try:
        client = await Client(port).open()
        assert client.line.next_order_id() == max(sent) + 1
        shown = await client.line.open_orders()
        assert {one.order_ref: one.perm_id for one in shown} == told
        await client.close()
    finally:
        process.terminate()
        await asyncio.to_thread(process.communicate)
    assert process.returncode == 0

    command = [sys.executable, "-m", "exec_broker_ibkr.simulator", "book", book, "--json"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    listed = json.loads(done.stdout)["orders"]
    assert {order["order_ref"]: order["perm_id"] for order in listed} == told
