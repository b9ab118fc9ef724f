"""Rows of the outbox that stand together: written as one document, marked when all are delivered, told anew if not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from exec_core.clock import utc_now
from exec_service.ledger import Ledger
from exec_service.outbox import Channel, Outbox
from exec_service.outbox_rows import CONFIRMATION_CHANNEL, NOTIFIER_CHANNEL, SIGNAL_CHANNEL, Row, rows_of, together
from exec_service.stores import ORDERS, OUTBOX, Write
from exec_service.stores.sqlite import SqliteStore

NOW = datetime(2026, 1, 3, 12, 52, tzinfo=UTC)


def new(name: str, channel: str = CONFIRMATION_CHANNEL, account_id: str = "acc_1", sequence: int = 1) -> Write:
    document = {
        "_id": name,
        "revision": 1,
        "schema_version": 1,
        "channel": channel,
        "account_id": account_id,
        "sequence": sequence,
        "created_at": NOW,
        "delivered_at": None,
        "data": f"of {name}",
    }
    return Write(OUTBOX, name, 0, document)


def _sequence(row: Any) -> int:
    return int(row["sequence"])


def test_what_one_commit_owes_to_a_channel_for_an_account_is_one_document() -> None:
    writes = [
        new("c", sequence=3),
        Write(ORDERS, "order", 1, {"revision": 2}),
        new("b", SIGNAL_CHANNEL, sequence=2),
        new("a", sequence=1),
        new("d", account_id="acc_2", sequence=4),
        new("e", f"{NOTIFIER_CHANNEL}x", sequence=5),
        new("f", f"{NOTIFIER_CHANNEL}x", sequence=6),
        Write(OUTBOX, "old", None, {"delivered_at": NOW}),
    ]

    found = together(writes)

    assert [(write.collection, write.id) for write in found] == [
        (ORDERS, "order"),
        (OUTBOX, "e"),
        (OUTBOX, "f"),
        (OUTBOX, "old"),
        (OUTBOX, "a"),
        (OUTBOX, "b"),
        (OUTBOX, "d"),
    ]
    documents = [write.document for write in found if write.expected_revision == 0]
    rows = sorted((row for document in documents for row in rows_of(document)), key=_sequence)
    assert [row["_id"] for row in rows_of(documents[2])] == ["a", "c"]
    expected = sorted((write.document for write in writes if write.expected_revision == 0), key=_sequence)
    assert [{name: row[name] for name in one} for row, one in zip(rows, expected, strict=True)] == expected


def test_a_row_of_an_earlier_release_is_one() -> None:
    (row,) = rows_of(new("a").document)
    assert row["data"] == "of a"


@pytest.mark.parametrize("taken", [1, 2])
async def test_a_document_is_marked_when_all_of_it_is_delivered_and_else_told_anew(tmp_path: Path, taken: int) -> None:
    """A stop between two rows: whoever goes on tells both, which the consumer knows by their ids."""
    told: list[str] = []
    halfway = asyncio.Event()

    async def deliver(rows: Sequence[Row]) -> int:
        if len(told) == 1 and taken == 1:
            halfway.set()
            await asyncio.Event().wait()
        told.append(rows[0]["data"])
        return 1

    async def serve(store: SqliteStore, until: Any, *writes: Write) -> None:
        ledger = Ledger(store, lambda *_: [], utc_now)
        ledger.lease = await store.take_lease("w", 15)
        outbox = Outbox(store, ledger, utc_now, [Channel(CONFIRMATION_CHANNEL, deliver)])
        tasks = [asyncio.create_task(ledger.run()), asyncio.create_task(outbox.run())]
        async with asyncio.timeout(60):
            await outbox.take_up(lambda _account: True)
            await ledger.write(*writes)
            await until(outbox)
            for _ in range(50):  # what would be marked now is on its way to a commit
                await asyncio.sleep(0)
            await ledger.write()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async with SqliteStore(tmp_path) as store:
        if taken == 1:
            await serve(store, lambda _outbox: halfway.wait(), new("a", sequence=1), new("b", sequence=2))
            assert [row["delivered_at"] for row in await store.load(OUTBOX)] == [None]
            told[:] = ["again:"] * 2
            await serve(store, lambda outbox: outbox.drained())
            assert told[2:] == ["of a", "of b"]
        else:
            await serve(store, lambda outbox: outbox.drained(), new("a", sequence=1), new("b", sequence=2))
            assert told == ["of a", "of b"]
        (document,) = await store.load(OUTBOX)
        assert document["delivered_at"] is not None
