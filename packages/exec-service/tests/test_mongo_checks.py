"""What `doctor` says about MongoDB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import driver_sockets
import pytest
from exec_service.checks import Check, Outcome
from exec_service.stores import ORDERS, POSITIONS
from exec_service.stores.mongo import MongoStore
from exec_service.stores.mongo_checks import clock_check, examine
from exec_service.stores.mongo_schema import META, RECORD
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database
from real_servers import MongoDatabase
from server import free_port

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _driver_sockets() -> Iterator[None]:
    yield
    driver_sockets.let_go()


@pytest.fixture
def database(mongodb: MongoDatabase) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        yield client[mongodb.database]


async def checks_of(mongodb: MongoDatabase) -> dict[str, Check]:
    found = await examine(SecretStr(mongodb.uri), mongodb.database)
    for check in found:
        assert check.component == "mongodb"
        assert check.detail
        assert (check.fix is None) == (check.outcome is Outcome.OK)
    return {check.name: check for check in found}


async def test_a_new_database_is_fine_but_not_prepared(
    mongodb: MongoDatabase, database: Database[dict[str, Any]]
) -> None:
    found = await checks_of(mongodb)

    assert {name for name, check in found.items() if check.outcome is not Outcome.OK} == {"schema"}
    assert found["schema"].outcome is Outcome.WARNING
    assert "setup" in (found["schema"].fix or "")
    assert database[META].count_documents({}) == 0  # its scratch documents are gone
    assert set(database.list_collection_names()) <= {META}


async def test_a_prepared_database_is_all_right(mongodb: MongoDatabase, database: Database[dict[str, Any]]) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database):
        found = await checks_of(mongodb)

    assert [check for check in found.values() if check.outcome is not Outcome.OK] == []
    assert set(found) >= {
        "connection",
        "replica set",
        "clock",
        "majority writes",
        "transactions",
        "change streams",
        "killSessions",
        "schema",
        "indexes",
    }
    assert "rs0" in found["replica set"].detail
    assert [document["_id"] for document in database[META].find()] == [RECORD]


async def test_indexes_that_are_missing_or_other_are_named(
    mongodb: MongoDatabase, database: Database[dict[str, Any]]
) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database):
        pass
    database[ORDERS].drop_index("status_sequence")
    found = (await checks_of(mongodb))["indexes"]
    assert found.outcome is Outcome.WARNING
    assert "orders.status_sequence" in found.detail

    database[POSITIONS].drop_index("position_key_once")
    database[POSITIONS].create_index("position_key", name="position_key_once", sparse=True)
    found = (await checks_of(mongodb))["indexes"]
    assert found.outcome is Outcome.FAILED
    assert "positions.position_key_once" in found.detail


async def test_versions_of_other_releases(mongodb: MongoDatabase, database: Database[dict[str, Any]]) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database):
        pass
    for version, outcome in ((0, Outcome.WARNING), (99, Outcome.FAILED)):
        database[META].update_one({"_id": RECORD}, {"$set": {"version": version}})
        found = (await checks_of(mongodb))["schema"]
        assert found.outcome is outcome
        assert str(version) in found.detail


async def test_a_server_that_is_away_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exec_service.stores.mongo_checks.TIMEOUT_SECONDS", 0.5)
    port = free_port()
    (found,) = await examine(SecretStr(f"mongodb://user:hunter2@127.0.0.1:{port}/"), "exec_test")

    assert (found.name, found.outcome) == ("connection", Outcome.FAILED)
    assert f"127.0.0.1:{port}" in found.detail
    assert "hunter2" not in f"{found}"


async def test_a_step_that_breaks_does_not_hide_the_others(
    mongodb: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret stuff")

    monkeypatch.setattr("exec_service.stores.mongo_checks.clock_check", broken)
    found = await checks_of(mongodb)

    assert found["clock"].outcome is Outcome.FAILED
    assert "secret stuff" not in found["clock"].detail
    assert found["transactions"].outcome is Outcome.OK


@pytest.mark.parametrize(
    ("seconds", "outcome", "words"),
    [
        (0, Outcome.OK, "agree"),
        (0.9, Outcome.OK, "agree"),
        (1.6, Outcome.WARNING, "1.1 s behind"),
        (-1.6, Outcome.WARNING, "1.6 s ahead of"),
        (11, Outcome.FAILED, "10.5 s behind"),
        (-3600, Outcome.FAILED, "3600.0 s ahead of"),
    ],
)
def test_clocks_that_differ(seconds: float, outcome: Outcome, words: str) -> None:
    """The database answered somewhere within the half second that the question took."""
    found = clock_check(NOON + timedelta(seconds=seconds), NOON, NOON + timedelta(seconds=0.5))

    assert found.outcome is outcome
    assert words in found.detail
    assert (found.fix is None) == (outcome is Outcome.OK)
