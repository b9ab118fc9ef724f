"""The documents' JSON: whatever a document can hold comes back exactly, whatever it cannot is refused."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from any_documents import keys, times, values
from exec_service.stores.codec import column, pack, to_text, unpack
from hypothesis import given
from hypothesis import strategies as some
from store_samples import exactly

KEYS = keys("$decimal", "$time", "$$decimal", "$", "_id")


@given(some.dictionaries(KEYS, values(KEYS), max_size=5))
def test_every_document_comes_back_exactly(document: dict[str, Any]) -> None:
    assert exactly(unpack(to_text(pack(document)))) == exactly(document)


@given(times, times)
def test_times_are_ordered_in_their_column_as_in_life(first: datetime, second: datetime) -> None:
    def sortable(time: datetime) -> Any:
        return column(pack(time), "at")

    def milliseconds(time: datetime) -> int:
        return (time - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)

    assert (sortable(first) < sortable(second)) == (milliseconds(first) < milliseconds(second))


def test_the_text_is_plain_json_in_ascii_that_sqlite_can_read() -> None:
    text = to_text(
        pack({"price": Decimal("1.50"), "at": datetime(2026, 3, 2, 12, tzinfo=UTC), "note": "₹\0\U0001f600"})
    )

    assert text.isascii()
    assert json.loads(text)["price"] == {"$decimal": "1.50"}
    connection = sqlite3.connect(":memory:")
    found = connection.execute("SELECT json_extract(?, '$.at.$time')", (text,)).fetchone()
    connection.close()
    assert found == ("2026-03-02T12:00:00.000+00:00",)


def test_other_mappings_and_tuples_are_taken_as_dicts_and_lists() -> None:
    assert unpack(to_text(pack(MappingProxyType({"a": ({"b": 1},)})))) == {"a": [{"b": 1}]}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"fill": {"at": datetime(2026, 3, 2)}}, "order.fill.at must be an aware datetime"),  # noqa: DTZ001
        ({"price": float("nan")}, "order.price is nan"),
        ({"price": Decimal("1") / Decimal(3) + Decimal("1E+20")}, None),
        ({"price": Decimal("1." + "3" * 40)}, "order.price: .* 34 digits"),
        ({"price": Decimal("1E+7000")}, "order.price"),
        ({"price": Decimal("sNaN")}, "order.price"),
        ({"tiny": Decimal("1E-6200")}, "order.tiny"),
        ({"count": -(2**63) - 1}, "order.count: .* 64 bits"),
        ({"note": ["fine", "\udc00"]}, "order.note holds half a surrogate pair"),
        ({"by": object}, "order.by is a type"),
        ({"when": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))}, "order.when"),
        ({"raw": b"bytes"}, "order.raw is a bytes"),
    ],
)
def test_a_refusal_names_the_field(value: dict[str, Any], says: str | None) -> None:
    if says is None:
        pack(value, "order")
        return
    with pytest.raises(ValueError, match=says):
        pack(value, "order")


@pytest.mark.parametrize("value", [{"a": 1}, [1], Decimal("1.5")])
def test_what_cannot_be_selected_by_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="cannot be selected by"):
        column(pack(value), "field")
