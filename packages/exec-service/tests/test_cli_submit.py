"""`submit` puts orders on the bus exactly as they were written, whether or not a service runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from exec_service.buses.sqlite import SqliteBus
from exec_service.cli import main

FIRST = '{"signal_id": "sig_1", "symbol": "SPY", "quantity": 100.10}'
SECOND = '{"signal_id": "sig_2", "symbol": "QQQ", "quantity": 1e2}'


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EXEC_DATA_DIR", "EXEC_CONFIG", "TRADING_ORDERS_TOPIC", "TRADING_ORDERS_SUBSCRIPTION", "ACCOUNTS"):
        monkeypatch.delenv(name, raising=False)


def submit(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["submit", *arguments], input=given)


def waiting(count: int) -> list[tuple[str, bytes]]:
    """The messages that a service would get now."""

    async def pull() -> list[tuple[str, bytes]]:
        bus = SqliteBus(Path("exec-data"), "test", {"trading-orders-sub": "trading-orders"})
        async with bus, asyncio.timeout(10):
            return [(item.message_id, item.data) for item in await bus.pull("trading-orders-sub", count + 1)]

    return asyncio.run(pull())


def test_the_messages_wait_for_a_service_exactly_as_they_were_written() -> None:
    Path("one.json").write_text(FIRST)
    Path("two.jsonl").write_text(f"{SECOND}\n")
    result = submit("one.json", "two.jsonl")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "sig_1\nsig_2\n", "")
    assert [data for _, data in waiting(2)] == [FIRST.encode(), SECOND.encode()]


def test_with_json_the_message_ids_are_told_and_nothing_else() -> None:
    result = submit("--json", "-", given=f"[{FIRST}, {SECOND}]".encode())
    rows = json.loads(result.stdout)
    assert [row["signal_id"] for row in rows] == ["sig_1", "sig_2"]
    assert [row["message_id"] for row in rows] == [message_id for message_id, _ in waiting(2)]


def test_one_bad_file_stops_all_of_them() -> None:
    Path("good.json").write_text(FIRST)
    Path("bad.jsonl").write_text(f"{SECOND}\n{{oops}}\n")
    result = submit("good.json", "bad.jsonl")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "bad.jsonl, line 2" in result.stderr
    assert "Nothing was published" in result.stderr
    assert not Path("exec-data").exists()


def test_raw_sends_the_bytes_of_a_file_whatever_they_are() -> None:
    Path("bad").write_bytes(b"\xff{not json")
    result = submit("--raw", "bad")
    assert (result.exit_code, result.stdout) == (0, "-\n")
    assert [data for _, data in waiting(1)] == [b"\xff{not json"]


def test_an_object_without_a_signal_id_is_published_and_the_user_is_warned() -> None:
    result = submit("-", given=b'{"symbol": "SPY"}')
    assert (result.exit_code, result.stdout) == (0, "-\n")
    assert "dead letter" in result.stderr
    assert len(waiting(1)) == 1


def test_an_empty_array_publishes_nothing() -> None:
    assert submit("--json", "-", given=b"[]").stdout == "[]\n"
    assert not Path("exec-data").exists()


def test_a_file_that_is_missing_is_wrong_usage() -> None:
    result = submit("missing.json")
    assert result.exit_code == 2
    assert "missing.json" in result.stderr


def test_settings_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_TIMEOUT_SECONDS", "soon")
    result = submit("-", given=FIRST.encode())
    assert result.exit_code == 2
    assert "ORDER_TIMEOUT_SECONDS" in result.stderr
    assert "Traceback" not in result.stderr
