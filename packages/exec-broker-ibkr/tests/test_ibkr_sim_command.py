"""The simulated TWS on the command line, and its desk behind a port."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from exec_broker_ibkr.simulator.__main__ import main
from exec_broker_ibkr.simulator.desk_port import COMMANDS, DeskPort
from exec_broker_ibkr.simulator.server import Simulator
from exec_broker_ibkr.simulator.terms import Terms
from ibkr_sim_hall import DEADLINE, Client, D, tws_order

COMMAND = [sys.executable, "-m", "exec_broker_ibkr.simulator"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[int, int, Path]]:
    """A simulator in a process of its own: its port, its desk's, its book."""
    book = tmp_path / "book"
    options = ["--account", "DU1", "--book", str(book), "--price", "AAPL=201.5", "--partial-fills", "2"]
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        assert first.startswith("TWS simulator: listening on 127.0.0.1:")
        assert second.startswith("TWS simulator: desk on 127.0.0.1:")
        yield int(first.rpartition(":")[2]), int(second.rpartition(":")[2]), book
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


def run(*arguments: str) -> Any:
    """A command in this process; its output, as JSON."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_it_runs_is_told_what_to_do_and_shows_its_book(running: tuple[int, int, Path]) -> None:
    port, desk, book = running
    client = await Client(port).open()
    order_id = await client.place(tws_order("BUY", "MKT", order_ref="FIRST"))
    told = await client.status(order_id, "Filled")
    assert (told.filled, told.average_price) == (10, D("201.5"))
    resting = await client.place(tws_order(order_ref="SECOND"))
    shown = await client.status(resting, "Submitted")
    assert await asyncio.to_thread(run, "tell", str(desk), "price", "symbol=AAPL", "price=199.5") is None
    await client.status(resting, "Filled")
    found = await asyncio.to_thread(run, "tell", str(desk), json.dumps({"do": "order", "perm_id": shown.perm_id}))
    assert (found["order_ref"], found["status"], found["average_price"]) == ("SECOND", "Filled", 199.5)
    await client.close()
    data = run("book", str(book), "--json")
    assert [order["order_ref"] for order in data["orders"]] == ["FIRST", "SECOND"]
    assert [one["quantity"] for one in data["executions"]] == [5, 5, 5, 5]
    assert {one["commission"] for one in data["executions"]} == {1}
    text = CliRunner().invoke(main, ["book", str(book)]).output
    assert "FIRST" in text
    assert "201.5" in text


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "--price", "NOSUCH=1"], 2, "NOSUCH is not listed"),
        (["--price", "AAPL=much"], 2, "much is not a number"),
        (["book", "no/such/file"], 1, "there is no book"),
        (["tell", "1", "bill"], 1, "there is no desk"),
        (["tell", "1", "price", "AAPL"], 2, "NAME=VALUE"),
        (["tell", "1", "{no"], 2, "no JSON"),
    ],
)
def test_mistakes_are_told(arguments: list[str], code: int, says: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, says in result.output) == (code, True), result.output


def test_the_commands_can_be_listed() -> None:
    result = CliRunner().invoke(main, ["tell", "1"])
    assert result.exit_code == 0
    assert all(name in result.output for name in COMMANDS)


class Desk:
    """A connection to a desk."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, line: str | dict[str, Any]) -> Any:
        self.writer.write((line if isinstance(line, str) else json.dumps(line)).encode() + b"\n")
        async with asyncio.timeout(DEADLINE):
            return json.loads(await self.reader.readline())


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(rests=True, terms=Terms(("DU1",))) as running:
        yield running


@pytest.fixture
async def desk(simulator: Simulator) -> AsyncIterator[Desk]:
    async with DeskPort(simulator) as opened:
        reader, writer = await asyncio.open_connection("127.0.0.1", opened.port)
        yield Desk(reader, writer)
        writer.close()
        await writer.wait_closed()


async def test_an_order_is_worked_from_entry_to_bust(desk: Desk) -> None:
    entered = await desk.ask(
        {"do": "trade_by_hand", "contract": "ESZ7", "action": "BUY", "quantity": 3, "limit_price": "6000.25"}
    )
    order = entered["done"]
    assert (order["symbol"], order["local_symbol"], order["status"]) == ("ES", "ESZ7", "Submitted")
    perm_id = order["perm_id"]
    done = (await desk.ask({"do": "fill", "perm_id": perm_id, "quantity": "2", "price": 6000.25}))["done"]
    assert (done["quantity"], done["price"], done["commission"]) == (2, 6000.25, 4.5)
    assert await desk.ask({"do": "modify", "perm_id": perm_id, "quantity": 2}) == {"done": None}
    assert (await desk.ask({"do": "order", "perm_id": perm_id}))["done"]["status"] == "Filled"
    busted = (await desk.ask({"do": "bust", "execution_id": done["execution_id"]}))["done"]
    assert (busted["quantity"], busted["correction"]) == (0, 1)
    assert [one["quantity"] for one in (await desk.ask({"do": "executions", "perm_id": perm_id}))["done"]] == [0]


async def test_contracts_can_be_given_by_their_fields(desk: Desk) -> None:
    fields = {
        "sec_type": "OPT",
        "symbol": "SPY",
        "exchange": "SMART",
        "expiry": "20271217",
        "strike": 600,
        "right": "P",
    }
    asked = {"do": "trade_by_hand", "contract": fields, "action": "SELL", "quantity": 1}
    assert (await desk.ask(asked))["done"]["con_id"] == 700000002


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "JSON"),
        ("[1]", "JSON object"),
        ('{"do": "dance"}', "no command 'dance'"),
        ('{"do": "_order", "perm_id": 1}', "no command"),
        ('{"do": "fill"}', "perm_id"),
        ('{"do": "fill", "perm_id": 1}', "no order 1"),
        ('{"do": "fill", "perm_id": "x"}', "perm_id: 'x'"),
        ('{"do": "bill", "much": 1}', "takes no much"),
        ('{"do": "next_order", "what": "explodes"}', "hangs"),
        ('{"do": "hold_cancels", "is_on": "perhaps"}', "is_on"),
        ('{"do": "trade_by_hand", "contract": "NOSUCH", "action": "BUY", "quantity": 1}', "not listed"),
        ('{"do": "trade_by_hand", "contract": {"colour": 1}, "action": "BUY", "quantity": 1}', "contract"),
        ('{"do": "trade_by_hand", "contract": "AAPL", "action": "BUY", "quantity": 0}', "434"),
    ],
)
async def test_what_cannot_be_done_is_told(desk: Desk, line: str, says: str) -> None:
    assert says in (await desk.ask(line))["failed"]
    assert await desk.ask({"do": "bill"}) == {"done": None}, "the desk goes on"


async def test_connections_and_lines(desk: Desk, simulator: Simulator) -> None:
    client = await Client(simulator.port).open()
    assert await desk.ask({"do": "notify", "code": 2103, "text": "A farm is broken"}) == {"done": None}
    await client.error(2103)
    assert await desk.ask({"do": "refuse_connections"}) == {"done": None}
    await client.until(lambda: client.lost)
    assert await desk.ask({"do": "accept_connections"}) == {"done": None}
    await (await Client(simulator.port).open()).close()
    assert await desk.ask({"do": "cash", "amount": "12345.67"}) == {"done": None}
    assert simulator.exchange.terms.cash == D("12345.67")
