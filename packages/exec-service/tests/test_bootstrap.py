"""The composition root: a store that is away at start is waited for, and not for ever; what several workers need."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from exec_core.errors import ConfigurationError
from exec_service import bootstrap
from exec_service.redaction import Redactor
from exec_service.settings import Settings
from exec_service.stores import StoreUnavailable


def settings(data: Path, seconds: float) -> Settings:
    return Settings(embedded=True, use_mock_broker=True, exec_data_dir=data, startup_timeout_seconds=seconds)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sqlite3.Connection:
    """Somebody holds the store's file, and nobody is patient."""
    monkeypatch.setattr(
        "exec_service.stores.sqlite.SqliteStore.__init__.__kwdefaults__", {"busy_timeout_seconds": 0.05}
    )
    connection = sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE held (x)")
    connection.execute("BEGIN EXCLUSIVE")
    return connection


async def test_a_store_that_is_locked_at_start_is_waited_for(tmp_path: Path, lock: sqlite3.Connection) -> None:
    opening = asyncio.create_task(_open(settings(tmp_path, 30)))
    done, _ = await asyncio.wait([opening], timeout=0.5)
    assert not done
    lock.execute("COMMIT")
    await asyncio.wait_for(opening, 20)
    lock.close()


async def test_a_store_that_stays_locked_ends_the_start(tmp_path: Path, lock: sqlite3.Connection) -> None:
    with pytest.raises(StoreUnavailable):
        await _open(settings(tmp_path, 0.3))
    lock.close()


async def _open(chosen: Settings) -> None:
    async with bootstrap.open_service(chosen, Redactor().redact):
        pass


# ---------------------------------------------------------------------- several workers

BOOK = {"broker": "mock", "settings": {"state_file": "book.sqlite3"}}
MEMORY = {"broker": "mock"}


def told(workers: int, **fields: object) -> tuple[str, ...]:
    """What the check says against so many workers with these settings."""
    chosen = Settings(**{"embedded": True, "accounts": {"a": BOOK}, **fields})
    try:
        bootstrap.check(chosen, workers=workers)
    except ConfigurationError as error:
        return error.problems
    return ()


def test_it_is_known_whether_a_mock_venue_is_one_process_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_memory(**fields: object) -> bool:
        return bootstrap.has_mock_in_memory(Settings(**{"embedded": True, "accounts": {"a": BOOK}, **fields}))

    monkeypatch.delenv("MOCK_BROKER_STATE_FILE", raising=False)
    assert not in_memory()
    assert in_memory(accounts={"a": BOOK, "b": MEMORY})
    assert in_memory(accounts={}, use_mock_broker=True)
    monkeypatch.setenv("MOCK_BROKER_STATE_FILE", "book.sqlite3")
    assert not in_memory(accounts={"a": MEMORY})


def test_each_worker_needs_an_id_and_a_port_of_its_own() -> None:
    assert told(10, worker_id="w" * 125, health_port=65_526) == ()
    assert told(1, worker_id="w" * 128, health_port=65_535) == ()
    assert [problem.partition(" with")[0] for problem in told(10, worker_id="w" * 126, health_port=65_527)] == [
        "WORKER_ID: must be at most 125 characters",
        "HEALTH_PORT: must be at most 65526",
    ]
