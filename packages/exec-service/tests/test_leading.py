"""What the parent of several workers does before it starts them."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from exec_core.errors import ConfigurationError
from exec_service import leading
from exec_service.settings import Settings
from exec_service.workforce import Workforce
from harness import PATIENCE, until

LOOPBACK = "127.0.0.1"


def settings(data: Path, port: int) -> Settings:
    return Settings(embedded=True, use_mock_broker=True, exec_data_dir=data, health_port=port)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Workforce]:
    """The workforces that would have been started; none is."""
    found: list[Workforce] = []

    async def run(self: Workforce) -> int:
        found.append(self)
        return 0

    monkeypatch.setattr(Workforce, "run", run)
    monkeypatch.setattr(leading, "PORT_CHECK_SECONDS", 0.01)
    return found


async def test_a_port_that_stays_taken_is_told_and_nobody_is_started(
    tmp_path: Path, started: list[Workforce], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "stop_takes_seconds", lambda _settings: -1.0)
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        # The first worker's port is the one before, which may be taken too: by whoever, not by us.
        with pytest.raises(
            ConfigurationError, match=f"{LOOPBACK} port ({port}|{port - 1}) cannot be listened on: address already"
        ):
            await leading.lead(settings(tmp_path, port - 1), 2, [])
    assert started == []


async def test_a_port_that_a_worker_of_an_earlier_start_holds_is_waited_for(
    tmp_path: Path, started: list[Workforce], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        chosen = settings(tmp_path, other.getsockname()[1])
        starting = asyncio.create_task(leading.lead(chosen, 1, []))

        async def told() -> bool:
            return "a worker of an earlier start may be about to end" in caplog.text

        await until(told, seconds=PATIENCE, what="it says that it waits")
        assert started == []
    assert await asyncio.wait_for(starting, 60) == 0
    assert len(started) == 1


async def test_each_worker_is_told_its_number_its_id_and_the_options(tmp_path: Path, started: list[Workforce]) -> None:
    chosen = Settings(embedded=True, use_mock_broker=True, exec_data_dir=tmp_path, worker_id="w")
    await leading.lead(chosen, 3, ["--embedded", "--use-mock-broker"])
    (force,) = started
    command = " ".join(force.command(2, 9))
    assert command.endswith("-m exec_service run --embedded --use-mock-broker --workers 3 --as-worker 2 w-2 9")
    assert [force.name(number) for number in (1, 2, 3)] == ["w-1", "w-2", "w-3"]
    assert force.patience_seconds > chosen.shutdown_timeout_seconds + 1


def test_workers_started_meanwhile_meet_at_one_mock_venue_that_ends_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(leading.MOCK_VENUE, raising=False)
    assert leading.MOCK_VENUE not in os.environ
    with leading.one_mock_venue():
        file = Path(os.environ[leading.MOCK_VENUE])
        assert file.parent.is_dir()
    assert leading.MOCK_VENUE not in os.environ
    assert not file.parent.exists()
