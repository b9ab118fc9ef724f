"""The composition root: a store that is away at start is waited for, and not for ever."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
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
