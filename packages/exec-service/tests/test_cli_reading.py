"""`status`, `orders`, `positions` and `dead-letters` show what a day of the service has left, and change nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from exec_service.cli import main
from exec_service.stores import ORDERS, OUTBOX, Write
from exec_service.stores.sqlite import SqliteStore
from harness import FINAL, World, order, until

ACCOUNTS = {"acc_1": {"name": "Main Account", "broker": "mock"}, "acc_2": {"name": "Idle Account", "broker": "mock"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A service has filled, closed, left working and refused orders, and was stopped."""
    made = World(tmp_path_factory.mktemp("day"), {"ACCOUNTS": json.dumps(ACCOUNTS)})
    asyncio.run(play(made))
    return made


async def play(world: World) -> None:
    await world.publish(
        order("sig_1", price=235.15),
        order("sig_2", symbol="QQQ", quantity=10, price=500.5),
        order("sig_3", quantity=0),
        order("sig_4", symbol="AAPL", order_type="LIMIT", limit_price=1, price=2, time_in_force="GTC"),
        order("sig_5", symbol="SPX", instrument_type="OPTION", expiry="20301220", strike=5900, right="C", price=9.5),
        b"not json",
    )
    with world.start() as service:
        await service.ready()
        await all_but_sig_4_have_ended(world, 5)
        await world.publish(order("sig_6", side="SELL", price=236.15))
        await all_but_sig_4_have_ended(world, 6)
        assert service.stop() == 0


async def all_but_sig_4_have_ended(world: World, expected: int) -> None:
    async def condition() -> bool:
        orders = await world.load(ORDERS)
        working = [row["signal_id"] for row in orders if row["status"] not in FINAL]
        return len(orders) == expected and working == ["sig_4"] and not await world.load(OUTBOX, {"delivered_at": None})

    await until(condition, seconds=40, what="the orders have ended")


@pytest.fixture(autouse=True)
def _settings(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def rows(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def change(world: World, signal_id: str, **fields: Any) -> None:
    """Write into an order's document."""

    async def work() -> None:
        async with SqliteStore(world.data) as store:
            (document,) = await store.load(ORDERS, {"signal_id": signal_id})
            await store.commit([Write(ORDERS, document["_id"], None, fields)])

    asyncio.run(work())


def test_orders_come_as_one_array_under_the_documents_names_the_oldest_first() -> None:
    found = rows("orders")
    assert [row["signal_id"] for row in found] == [f"sig_{number}" for number in (1, 2, 3, 4, 5, 6)]
    first = found[0]
    assert (first["status"], first["filled_quantity"], first["avg_fill_price"]) == ("FILLED", 100, 235.15)
    assert first["client_order_id"]
    assert first["revision"] >= 3
    assert first["role"] == "ENTRY"
    assert [entry["status"] for entry in first["history"]][-1] == "FILLED"
    assert "_id" not in first


def test_a_limit_gives_the_newest() -> None:
    assert [row["signal_id"] for row in rows("orders", "--limit", "2")] == ["sig_5", "sig_6"]
    table = run("orders", "--limit", "1").stdout
    assert "sig_6" in table
    assert "sig_5" not in table


def test_one_order_is_shown_with_its_history_and_executions() -> None:
    assert [row["signal_id"] for row in rows("orders", "sig_2")] == ["sig_2"]
    text = run("orders", "sig_2").stdout
    assert "BUY 10 QQQ MARKET" in text
    assert "$500.50" in text
    assert "SUBMITTING" in text
    assert "Executions" in text


def test_an_unknown_order_is_exit_code_1_and_a_sentence() -> None:
    for options in ([], ["--json"]):
        result = run("orders", "sig_99", *options)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "Error: There is no order with the signal_id sig_99.\n"


def test_an_order_that_could_not_be_read_is_listed_with_its_reason() -> None:
    text = run("orders").stdout
    assert "quantity must be above zero" in text
    assert "BUY 100 SPX 20301220 5900 C MARKET" in text
    assert "BUY 100 AAPL LIMIT $1.00" in text


def test_positions_are_the_open_ones_unless_all_are_asked_for() -> None:
    assert {row["symbol"] for row in rows("positions")} == {"QQQ", "SPX"}
    every = rows("positions", "--all")
    (closed,) = [row for row in every if row["symbol"] == "SPY"]
    assert (closed["status"], closed["realized_pnl"], closed["quantity"]) == ("CLOSED", 100.0, 0)
    assert closed["_id"].startswith("pos_")
    assert all("exact" not in row for row in every)
    assert "SPY" not in run("positions").stdout
    assert "$100.00" in run("positions", "--all").stdout


def test_dead_letters_are_listed_with_what_came() -> None:
    (letter,) = rows("dead-letters")
    assert (letter["reason_code"], letter["body"]) == ("INVALID", "not json")
    assert "not json" in run("dead-letters").stdout


def test_status_counts_orders_and_dead_letters_and_names_the_accounts() -> None:
    found = rows("status")
    assert {name: count for name, count in found["orders"].items() if count} == {
        "FILLED": 4, "REJECTED": 1, "SUBMITTED": 1,
    }  # fmt: skip
    assert found["dead_letters"] == 1
    assert (found["unknown"], found["attention"], found["outbox"], found["open_commands"]) == ([], [], [], [])
    main_account, idle = found["accounts"]
    assert (main_account["name"], main_account["broker"], main_account["owner_alive"]) == (
        "Main Account", "mock", False,
    )  # fmt: skip
    assert main_account["availability"] is None, "what a stopped worker said counts no more"
    assert idle["account_id"] == "acc_2"
    (worker,) = found["workers"]
    assert (worker["state"], worker["alive"]) == ("stopped", False)


def test_status_lists_what_needs_a_person_and_what_waits(world: World) -> None:
    change(world, "sig_4", attention="Look it up at the broker", status="UNKNOWN")

    async def add_row() -> None:
        async with SqliteStore(world.data) as store:
            (row,) = await store.load(OUTBOX, limit=1)
            await store.commit([Write(OUTBOX, row["_id"], None, {"delivered_at": None})])

    asyncio.run(add_row())
    found = rows("status")
    assert [row["signal_id"] for row in found["unknown"]] == ["sig_4"]
    assert [row["attention"] for row in found["attention"]] == ["Look it up at the broker"]
    assert [row["waiting"] for row in found["outbox"]] == [1]
    assert found["outbox"][0]["oldest_age_seconds"] >= 0
    text = run("status").stdout
    assert "Unknown outcome" in text
    assert "Look it up at the broker" in text
    change(world, "sig_4", attention=None, status="SUBMITTED")


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "orders",
        "orders sig_1",
        "positions",
        "dead-letters",
        "cancel sig_1",
        "resolve sig_1 --as placed --evidence seen",
    ],
)
def test_without_a_store_it_says_so_and_creates_none(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXEC_DATA_DIR", "nowhere")
    result = run(*command.split())
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no store in" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_looking_takes_no_lease_and_writes_nothing(world: World) -> None:
    def state() -> tuple[set[str], list[Any]]:
        async def workers() -> list[Any]:
            async with SqliteStore(world.data) as store:
                return [(worker.worker_id, worker.epoch) for worker in await store.workers()]

        return {str(path) for path in world.data.rglob("*")}, asyncio.run(workers())

    before = state()
    for command in ("status", "orders", "positions", "dead-letters"):
        assert run(command).exit_code == 0
    assert state() == before
