"""``exec-service archive`` on both stores: what it does, what it says, and what the other commands say of it then."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from exec_core.clock import utc_now
from exec_service.cli import main
from exec_service.cli.archive import age
from exec_service.stores import FILLS, ORDERS, OUTBOX, Document, Store, Write
from exec_service.stores.codec import unpack
from exec_service.stores.mongo import MongoStore
from exec_service.stores.sqlite import SqliteStore
from messages import order
from pydantic import SecretStr
from rig import Rig

RESTING = {"order_type": "LIMIT", "limit_price": 230, "price": 235}
LONG_AGO = timedelta(days=40)


async def _play(rig: Rig) -> None:
    """Two orders were filled, and what they left is forty days old; so is one that rests, and one is of today."""
    async with rig.service():
        await rig.publish(order("sig_1"), order("sig_2"), order("sig_3", **RESTING), order("sig_4"))
        for signal_id, status in {
            "sig_1": "FILLED",
            "sig_2": "FILLED",
            "sig_3": "SUBMITTED",
            "sig_4": "FILLED",
        }.items():
            await rig.reaches(signal_id, status)
        await rig.delivered()
    async with rig.store() as store:
        old = [document for document in await store.load(ORDERS) if document["signal_id"] != "sig_4"]
        rows = (await store.load(OUTBOX))[:3]
        ago = utc_now() - LONG_AGO
        times = {"updated_at": ago, "sequence": int(ago.timestamp() * 1_000_000)}
        await store.commit(
            [
                *(Write(ORDERS, document["_id"], None, times) for document in old),
                *(Write(OUTBOX, row["_id"], None, {"delivered_at": ago}) for row in rows),
            ]
        )


@pytest.fixture(params=["embedded", "mongodb"])
def look(
    request: pytest.FixtureRequest, rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], list[Document]]:
    """The environment of the commands is set; what a collection holds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXEC_DATA_DIR", str(rig.directory / "data"))
    monkeypatch.delenv("MONGODB_URI", raising=False)
    if request.param == "mongodb":
        server = request.getfixturevalue("mongodb")
        monkeypatch.setenv("MONGODB_URI", server.uri)
        monkeypatch.setenv("MONGODB_DATABASE", server.database)

    def store() -> Any:
        if request.param == "mongodb":
            return MongoStore(SecretStr(server.uri), server.database)
        return SqliteStore(rig.directory / "data")

    async def copy() -> None:
        async with rig.store() as source, store() as target:
            for name in (ORDERS, FILLS, OUTBOX):
                await target.insert(name, await source.load(name))

    async def load(collection: str) -> list[Document]:
        opened: Store
        async with store() as opened:
            return await opened.load(collection)

    asyncio.run(_play(rig))
    if request.param == "mongodb":
        asyncio.run(copy())
    return lambda collection: asyncio.run(load(collection))


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit | None)
    return result


def listed(*arguments: str) -> list[str]:
    return [row["signal_id"] for row in json.loads(run("orders", "--json", *arguments).stdout)]


def test_what_is_old_is_archived_and_the_commands_say_so(
    look: Callable[[str], list[Document]], rig: Rig, tmp_path: Path
) -> None:
    before = {name: look(name) for name in (ORDERS, FILLS, OUTBOX)}
    assert (
        "Would archive 0 orders, 0 executions, 0 outbox rows and 0 commands."
        in run("archive", "--older-than", "6w", "--dry-run").stdout
    )
    dry = run("archive", "--older-than", "30d", "--dry-run").stdout
    assert dry.startswith("Would archive 2 orders, 2 executions, ")
    assert {name: look(name) for name in before} == before
    assert not (rig.directory / "data" / "archive").exists()

    rows = {row["collection"]: row for row in json.loads(run("archive", "--older-than", "30d", "--json").stdout)}

    assert {name: row["documents"] for name, row in rows.items() if name != OUTBOX} == {
        "orders": 2, "fills": 2, "commands": 0,
    }  # fmt: skip
    assert rows["outbox"]["documents"] == 3
    assert {row["left"] for row in rows.values()} == {0}
    assert rows["commands"]["file"] is None
    path = Path(rows["orders"]["file"])
    assert path.parent == rig.directory / "data" / "archive"
    with gzip.open(path, "rt", encoding="ascii") as lines:
        found = {document["_id"]: document for document in map(unpack, lines)}
    assert found == {item["_id"]: item for item in before[ORDERS] if item["signal_id"] in ("sig_1", "sig_2")}

    assert listed() == ["sig_3", "sig_4"]
    assert listed("--limit", "3") == ["sig_3", "sig_4"]
    assert "sig_1" not in run("orders").stdout
    (one,) = json.loads(run("orders", "sig_1", "--json").stdout)
    assert (one["status"], one["archived_at"] is not None) == ("FILLED", True)
    text = run("orders", "sig_1").stdout
    assert "sig_1 leg 0 was archived on " in text
    assert "FILLED" in text
    assert "already" in run("cancel", "sig_1", code=1).stderr

    text = run("archive", "--older-than", "1d", "--to", "somewhere/else").stdout
    assert text == "Archived 0 orders, 0 executions, 0 outbox rows and 0 commands.\n"
    assert not (tmp_path / "somewhere").exists()


@pytest.mark.parametrize("value", ["0d", "0w", "12h", "d", "-3d", "1.5d", "30", ""])
def test_an_age_of_less_than_a_day_and_what_is_none_is_refused_with_a_sentence(value: str) -> None:
    result = run("archive", "--older-than", value, code=2)

    assert "Traceback" not in result.output
    assert "1d is the least" in result.stderr or "write 30d for days" in result.stderr


def test_ages() -> None:
    assert age("1d") == timedelta(days=1)
    assert age("30d") == timedelta(days=30)
    assert age("2w") == timedelta(weeks=2)
    with pytest.raises(click.BadParameter):
        age("0d")


def test_a_directory_that_cannot_be_written_to_is_a_sentence_and_nothing_is_removed(
    look: Callable[[str], list[Document]], tmp_path: Path
) -> None:
    before = look(ORDERS)
    (tmp_path / "file").write_text("")

    result = run("archive", "--older-than", "30d", "--to", "file/below", code=1)

    assert result.stderr.startswith("Error: ")
    assert "file/below" in result.stderr
    assert look(ORDERS) == before
