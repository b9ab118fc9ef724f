"""`status`, `orders`, `positions` and `dead-letters` show what a day of the service has left, and change nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from exec_service.cli import main
from exec_service.cli.brief import NEW_OBJECTS
from exec_service.cli.listing import position_row
from exec_service.cli.output import print_json
from exec_service.cli.reading import database_hosts
from exec_service.stores import DEAD_LETTERS, ORDERS, OUTBOX, StoreUnavailable, Write
from exec_service.stores.mongo import MongoStore
from exec_service.stores.sqlite import SqliteStore
from harness import FINAL, World, order, until
from pydantic import SecretStr
from real_servers import MongoDatabase

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
    monkeypatch.delenv("MONGODB_URI", raising=False)
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


def test_status_reads_no_more_of_what_has_ended_however_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any, Any]] = []
    load = SqliteStore.load

    async def seen(store: SqliteStore, collection: str, where: Any = None, **named: Any) -> Any:
        asked.append((collection, where, named.get("limit")))
        return await load(store, collection, where, **named)

    monkeypatch.setattr(SqliteStore, "load", seen)
    assert run("status").exit_code == 0
    whole = {collection for collection, where, limit in asked if not where and limit is None}
    assert whole <= {"accounts"}
    assert not any(collection == DEAD_LETTERS for collection, _, _ in asked)
    assert all(where == {"delivered_at": None} for collection, where, _ in asked if collection == OUTBOX)
    asked.clear()
    assert run("orders", "--limit", "2").exit_code == 0
    assert [(collection, limit) for collection, _, limit in asked] == [(ORDERS, 2)]


NOT_NEEDED = (
    "exec_service.service", "exec_service.ledger", "exec_service.intake", "exec_service.execution",
    "exec_service.delivery", "exec_service.buses.sqlite", "exec_service.buses.pubsub", "exec_core.lifecycle",
    "exec_broker_mock", "exec_broker_ibkr", "exec_broker_zerodha",
    "google.pubsub_v1", "grpc", "aiohttp", "pydantic_settings", "dotenv", "exec_core.settings",
)  # fmt: skip


@pytest.mark.parametrize(
    ("command", "besides"),
    [
        ("status", ("pymongo",)),
        ("orders --limit 1", ("pymongo",)),
        ("positions", ("pymongo",)),
        ("dead-letters", ("pymongo",)),
        ("status --json", ("pymongo", "rich")),
        ("orders --json", ("pymongo", "rich")),
        ("--help", ("pymongo", "pydantic", "exec_core", "rich", "asyncio")),
    ],
)
def test_a_command_that_looks_loads_nothing_that_only_a_service_needs(
    command: str, besides: tuple[str, ...], world: World
) -> None:
    loaded = loaded_by(command, world.directory, world.environment)
    assert "exec_service.cli.status" in loaded
    assert loaded & {*NOT_NEEDED, *besides} == set()


@pytest.mark.parametrize("command", ["status", "orders --limit 1", "orders --json"])
async def test_nor_does_it_on_mongodb(command: str, mongodb: MongoDatabase, tmp_path: Path) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database):
        pass  # it is prepared now
    environment = {**os.environ, "MONGODB_URI": mongodb.uri, "MONGODB_DATABASE": mongodb.database}
    loaded = await asyncio.to_thread(loaded_by, command, tmp_path, environment)
    assert "pymongo" in loaded
    assert loaded & {*NOT_NEEDED, "sqlite3"} == set()


def loaded_by(command: str, directory: Path, environment: Mapping[str, str]) -> set[str]:
    """The modules that are loaded when the command has ended."""
    code = (
        "import sys; from exec_service.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('MODULES', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        cwd=directory,
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    )
    return set(done.stdout.rpartition("MODULES")[2].split())


@pytest.mark.parametrize("command", ["status", "orders", "orders sig_4", "positions", "dead-letters"])
def test_a_command_that_looks_lets_python_look_for_cycles_seldom_and_only_meanwhile(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, meanwhile = gc.get_threshold(), []
    load = SqliteStore.load

    async def seen(store: SqliteStore, *arguments: Any, **named: Any) -> Any:
        meanwhile.append(gc.get_threshold())
        return await load(store, *arguments, **named)

    monkeypatch.setattr(SqliteStore, "load", seen)
    assert run(*command.split()).exit_code == 0
    assert {threshold[0] for threshold in meanwhile} == {NEW_OBJECTS}
    assert gc.get_threshold() == usual


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


def test_status_names_the_directory_that_it_looked_at(world: World) -> None:
    found = rows("status")
    assert (found["data_dir"], found["database"]) == (str(world.data.resolve()), None)
    assert run("status").stdout.startswith(f"Data directory: {world.data.resolve()}\n")


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
        "submit -",
    ],
)
@pytest.mark.parametrize("source", ["environment", ".env", "exec.toml"])
def test_the_store_of_mongodb_uri_is_looked_at_unless_the_embedded_one_is_asked_for(
    command: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def make(settings: Any, **options: Any) -> Any:
        if "submit" not in command:
            assert options == {"prepare": False}, "looking makes nothing"
        asked.append(settings.embedded)
        raise StoreUnavailable("not today")

    monkeypatch.setattr("exec_service.bootstrap.make_store", make)
    monkeypatch.setattr("exec_service.bootstrap.make_bus", make)
    if source == "environment":
        monkeypatch.setenv("MONGODB_URI", "mongodb://localhost/")
    elif source == ".env":
        (tmp_path / ".env").write_text("MONGODB_URI=mongodb://localhost/\n")
    else:
        (tmp_path / "exec.toml").write_text('mongodb_uri = "mongodb://localhost/"\n')
    for option in ([], ["--embedded"]):
        result = CliRunner().invoke(main, [*command.split(), *option], input='{"signal_id": "sig_7"}')
        assert (result.exit_code, result.stderr) == (1, "Error: not today\n")
    assert asked == [False, True]


@pytest.mark.parametrize(
    ("uri", "hosts"),
    [
        ("mongodb://host", ["host"]),
        ("mongodb://host:27018/", ["host:27018"]),
        ("mongodb://a.example:1,b.example:2/base?replicaSet=rs0", ["a.example:1", "b.example:2"]),
        ("mongodb://user:secret@host:27017/?authSource=admin", ["host:27017"]),
        ("mongodb+srv://user:se%40cret@cluster0.example.net/?retryWrites=true", ["cluster0.example.net"]),
        ("mongodb://user:se@cret@host/", ["host"]),
        ("mongodb://[::1]:27017,127.0.0.1/", ["[::1]:27017", "127.0.0.1"]),
        ("mongodb://user@%2Ftmp%2Fmongodb-27017.sock/", ["/tmp/mongodb-27017.sock"]),
        ("mongodb://user:12345/secret@host/", []),
        ("mongodb://user:sec?ret@host/", []),
        ("mongodb://host,/", ["host"]),
        ("mongodb://us er:sec ret/", []),
    ],
)
def test_the_hosts_of_an_address_are_told_without_its_password(uri: str, hosts: list[str]) -> None:
    assert database_hosts(uri) == hosts


def test_positions_of_other_services_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    foreign = {
        "_id": "65f0c0ffee65f0c0ffee65f0",
        "strategy_id": "old",
        "quantity": "a lot",
        "avg_entry_price": {"x": 1},
    }
    row = position_row(foreign)
    assert row[4:6] == ("a lot", "{'x': 1}")
    assert position_row({"quantity": float("nan"), "realized_pnl": 10**400, "status": "CLOSING"})[8] == "CLOSING"
    print_json([{**foreign, "realized_pnl": float("inf"), "tags": [float("nan"), Decimal("sNaN")], "raw": b"x"}])
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["realized_pnl"], told["tags"], told["quantity"]) == (None, [None, None], "a lot")
