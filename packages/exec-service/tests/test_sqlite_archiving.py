"""Making room in the embedded store: a batch costs what is in the batch, however much is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exec_service.stores import ORDERS, OUTBOX, Within
from exec_service.stores.sqlite import SqliteStore
from exec_service.stores.sqlite_query import build
from exec_service.stores.sqlite_schema import table
from store_samples import NOON


@pytest.mark.parametrize(
    ("collection", "where", "order_by"),
    [
        (ORDERS, {"status": ["FILLED", "REJECTED"], "sequence": Within(10, 900)}, "sequence"),
        (OUTBOX, {"delivered_at": Within(below=NOON)}, "delivered_at"),
    ],
)
async def test_what_is_archived_is_found_by_an_index_and_not_sorted(
    tmp_path: Path, collection: str, where: dict[str, Any], order_by: str
) -> None:
    query = build(table(collection), where, order_by, False, 10)
    async with SqliteStore(tmp_path) as store:
        plan = await store._database.run(
            lambda connection: connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.parameters).fetchall()
        )

    assert [row[3].split("(")[0] for row in plan] == [f"SEARCH {collection} USING INDEX {collection}_{order_by} "]
