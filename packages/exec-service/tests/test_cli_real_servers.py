"""The command line on a real MongoDB and a real Pub/Sub emulator: `setup`, `doctor`, and the commands that look."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result
from exec_service.cli import main
from harness import Real, World, order, until
from pymongo import MongoClient
from real_servers import MongoDatabase

SETUP = "exec-service setup"
MOCK = {"USE_MOCK_BROKER": "true"}


@pytest.fixture
def world(tmp_path: Path, mongodb: MongoDatabase, pubsub_emulator: str, pubsub_project: str) -> World:
    """Nothing is set up."""
    return World(tmp_path, dict(MOCK), Real(mongodb.uri, mongodb.database, pubsub_emulator, pubsub_project))


@pytest.fixture
def client(mongodb: MongoDatabase) -> Iterator[MongoClient[dict[str, Any]]]:
    """To look at what is really there, and to write as another service does."""
    with MongoClient[dict[str, Any]](mongodb.uri, serverSelectionTimeoutMS=20_000) as made:
        yield made


def run(world: World, *arguments: str, code: int = 0) -> Result:
    """A command line to its end, in this process: a dozen new ones would take a minute just to import everything."""
    (world.directory / "here").mkdir(exist_ok=True)
    with mock.patch.dict(os.environ, world.environment, clear=True), contextlib.chdir(world.directory / "here"):
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, f"{arguments}: {result.output}"
    assert isinstance(result.exception, SystemExit | None)
    assert "Traceback" not in result.output
    return result


def doctor(world: World, *, code: int) -> dict[tuple[str, str], dict[str, Any]]:
    """The checks of a `doctor` that ends with `code`."""
    answer = json.loads(run(world, "doctor", "--json", code=code).stdout)
    assert answer["ok"] is (code == 0)
    return {(check["component"], check["name"]): check for check in answer["checks"]}


def outcomes(checks: dict[tuple[str, str], dict[str, Any]], outcome: str) -> dict[str, str | None]:
    """The fixes of the checks that came out so, by component and name."""
    found = {key: check for key, check in checks.items() if check["outcome"] == outcome}
    return {f"{component}: {name}": check["fix"] for (component, name), check in found.items()}


def test_doctor_names_what_setup_then_makes_and_setup_may_be_run_again(world: World) -> None:
    missing = outcomes(doctor(world, code=1), "FAILED")
    assert any("trading-orders-sub" in name for name in missing)
    assert all(SETUP in (fix or "") for fix in missing.values()), missing
    first = run(world, "setup").stdout.splitlines()
    assert len(first) == 5
    assert sum(line.endswith(" was made.") for line in first) == 4
    second = json.loads(run(world, "setup", "--json").stdout)
    assert len(second) == 5
    assert not any("was made" in line for line in second)
    checks = doctor(world, code=0)
    assert {check["outcome"] for check in checks.values()} == {"OK"}
    assert {"mongodb", "Pub/Sub", "broker"} <= {component for component, _ in checks}
    assert any(name == "clock" for _, name in checks), "this machine's clock is compared with the database's"


def test_looking_at_a_database_that_nobody_has_prepared_makes_nothing(
    world: World, client: MongoClient[dict[str, Any]], mongodb: MongoDatabase
) -> None:
    for command in ("status", "orders", "positions", "dead-letters", "cancel sig_1"):
        result = run(world, *command.split(), code=1)
        assert result.stdout == ""
        assert SETUP in result.stderr
        assert mongodb.database in result.stderr
    assert client[mongodb.database].list_collection_names() == []


async def test_submit_and_cancel_reach_a_service_on_pubsub_and_mongodb(world: World) -> None:
    await asyncio.to_thread(run, world, "setup")
    resting = {"order_type": "LIMIT", "limit_price": 1, "price": 2, "time_in_force": "GTC"}
    messages = [order("sig_1", price=5), order("sig_2", account_id="acc_2", **resting), order("sig_3", quantity=0)]
    (world.directory / "here" / "orders.json").write_text(json.dumps(messages))
    submitted = await asyncio.to_thread(run, world, "submit", "orders.json")
    assert submitted.stdout.split() == ["sig_1", "sig_2", "sig_3"]
    with world.start() as service:
        await service.ready()
        await reaches(world, "sig_2", "SUBMITTED")
        cancelled = await asyncio.to_thread(run, world, "cancel", "sig_2")
        assert "CANCELLED" in cancelled.stdout
        found = await world.settled(3)
        assert service.stop() == 0
    states = {document["signal_id"]: document["status"] for document in found}
    assert states == {"sig_1": "FILLED", "sig_2": "CANCELLED", "sig_3": "REJECTED"}


async def reaches(world: World, signal_id: str, status: str) -> None:
    async def there() -> bool:
        return bool(await world.load("orders", {"signal_id": signal_id, "status": status}))

    await until(there, seconds=30, what=f"{signal_id} is {status}")


def test_status_and_positions_tell_what_others_wrote_and_where_they_looked(
    world: World, client: MongoClient[dict[str, Any]], mongodb: MongoDatabase
) -> None:
    run(world, "setup")
    foreign = {"symbol": "OLD", "status": "CLOSING", "quantity": "many", "opened_at": datetime(2020, 1, 1, tzinfo=UTC)}
    inserted = client[mongodb.database].positions.insert_one(foreign).inserted_id
    (found,) = json.loads(run(world, "positions", "--json").stdout)
    assert (found["_id"], found["symbol"], found["quantity"]) == (str(inserted), "OLD", "many")
    table = run(world, "positions").stdout
    assert "OLD" in table
    assert "many" in table
    status = json.loads(run(world, "status", "--json").stdout)
    hosts = [urlsplit(mongodb.uri).netloc.rpartition("@")[2]]
    assert (status["data_dir"], status["database"]) == (None, {"name": mongodb.database, "hosts": hosts})
    assert run(world, "status").stdout.startswith(f"Database: {mongodb.database} on {hosts[0]}\n")
    assert "There is no store in" in run(world, "status", "--embedded", code=1).stderr


async def test_a_worker_that_serves_an_account_is_asked_instead_of_the_broker(world: World) -> None:
    world.variables["ACCOUNTS"] = json.dumps({"acc_1": {"broker": "mock"}})
    await asyncio.to_thread(run, world, "setup")
    with world.start() as service:
        await service.ready()

        async def told() -> bool:
            checks = await asyncio.to_thread(doctor, world, code=0)
            detail = str(checks["broker", "acc_1"]["detail"])
            return f"(process {service.process.pid}" in detail and "READY since" in detail

        await until(told, seconds=60, what="doctor passes on what the worker says")


def test_a_standalone_mongod_is_named_with_the_fix(world: World, standalone: str) -> None:
    world.variables["MONGODB_URI"] = standalone
    (check,) = [check for (part, _), check in doctor(world, code=1).items() if part == "mongodb"]
    assert check["outcome"] == "FAILED"
    assert "replica set" in f"{check['detail']} {check['fix']}"
    for command in ("setup", "run"):
        assert "replica set" in run(world, command, code=1).stderr


#: Nobody listens there.
AWAY = {"MONGODB_URI": "mongodb://user:hunter2222@127.0.0.1:1/?replicaSet=rs0", "STARTUP_TIMEOUT_SECONDS": "1"}


def test_a_database_that_does_not_answer_hides_nothing_else_from_doctor(world: World) -> None:
    run(world, "setup")
    world.variables |= AWAY
    world.variables["ACCOUNTS"] = json.dumps({"acc_1": {"broker": "mock"}})
    checks = doctor(world, code=1)
    assert list(outcomes(checks, "FAILED")) == ["mongodb: connection"]
    assert checks["Pub/Sub", "connection"]["outcome"] == checks["broker", "acc_1"]["outcome"] == "OK"
    assert "hunter2222" not in json.dumps(list(checks.values()))


@pytest.mark.parametrize("command", ["setup", "run", "status", "cancel sig_1"])
def test_a_database_that_does_not_answer_is_a_sentence_without_a_secret(command: str, world: World) -> None:
    world.variables |= AWAY
    result = run(world, *command.split(), code=1)
    assert "127.0.0.1:1 cannot be reached" in result.stderr
    assert "hunter2222" not in result.output


@pytest.mark.parametrize("command", ["submit order.json", "run"])
def test_a_topic_that_is_missing_is_named_with_the_fix(command: str, world: World) -> None:
    (world.directory / "here").mkdir()
    (world.directory / "here" / "order.json").write_text(json.dumps(order("sig_1")))
    assert SETUP in run(world, *command.split(), code=1).stderr
