"""Documents as BSON: ours come back exactly, those of others can always be read, and go back as they came."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import bson
import pytest
from any_documents import keys, values
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from exec_service.stores.mongo_codec import decode, decode_exactly, encode, identifiers, pack
from exec_service.stores.values import MAX_DEPTH
from hypothesis import given
from store_samples import UNSTORABLE, VALUES, exactly

KEYS = keys("$ref", "$id", "$db", "$", "_id", "a.b", "")

OBJECT_ID = ObjectId("65f0c0ffee65f0c0ffee65f0")

#: What others may write, and what is seen of it.
FOREIGN: dict[str, tuple[Any, Any]] = {
    "ObjectId": (OBJECT_ID, "65f0c0ffee65f0c0ffee65f0"),
    "Int64": (Int64(5), 5),
    "bytes": (b"\x00\xff", "AP8="),
    "Binary": (Binary(b"\x00\xff", 128), "AP8="),
    "UUID": (Binary(b"\x01" * 16, 4), "01010101-0101-0101-0101-010101010101"),
    "regular expression": (Regex("^a.*", "i"), "^a.*"),
    "code": (Code("return 1", {"a": 1}), "return 1"),
    "timestamp": (Timestamp(1, 2), "Timestamp(1, 2)"),
    "smallest": (MinKey(), "MinKey()"),
    "largest": (MaxKey(), "MaxKey()"),
    "a time beyond the calendar": (DatetimeMS(2**60), None),
    "reference": (DBRef("accounts", OBJECT_ID), {"$ref": "accounts", "$id": "65f0c0ffee65f0c0ffee65f0"}),
    "no decimal": (Decimal128("NaN"), "NaN"),
    "infinite decimal": (Decimal128("-Infinity"), "-Infinity"),
    "no number": (math.nan, None),
    "infinite": (math.inf, math.inf),
    "nested": ({"a": [OBJECT_ID, {"b": math.inf}]}, {"a": ["65f0c0ffee65f0c0ffee65f0", {"b": math.inf}]}),
}


def raw(document: dict[str, Any]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode(document))


@given(values(KEYS))
def test_every_value_comes_back_exactly(value: Any) -> None:
    encoded = encode(pack({"value": value}), "it")

    assert exactly(decode(encoded)["value"]) == exactly(value)
    assert exactly(decode_exactly(encoded)["value"]) == exactly(value)


@given(KEYS)
def test_every_key_comes_back(key: str) -> None:
    assert decode(encode(pack({"nested": {key: 1}}), "it")) == {"nested": {key: 1}}


@pytest.mark.parametrize("name", UNSTORABLE)
def test_what_a_document_cannot_hold_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"it\.value"):
        pack({"value": [UNSTORABLE[name]]}, "it")


def test_a_hundred_levels_fit_and_one_more_does_not() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert decode(encode({"v": pack(deep)}, "it")) == {"v": deep}
    with pytest.raises(ValueError, match="levels"):
        pack([deep])


@pytest.mark.parametrize("name", FOREIGN)
def test_what_others_write_is_readable_and_goes_back_as_it_came(name: str) -> None:
    stored, seen = FOREIGN[name]
    before = raw({"v": stored, "list": [stored]})

    for found in (decode(before), decode_exactly(before)):
        assert isinstance(found["v"], str | int | float | dict)
        if seen is not None:
            assert found["v"] == seen
            assert found["list"] == [seen]
    if name != "Int64":  # a small one may become short
        assert encode(pack(decode_exactly(before)), "it").raw == before.raw


def test_text_that_is_not_utf8_can_be_read() -> None:
    encoded = bson.encode({"v": "abcd"}).replace(b"abcd", b"ab\xff\xfe")

    assert decode(RawBSONDocument(encoded))["v"].startswith("ab")


def test_an_object_id_is_also_looked_for_under_its_text() -> None:
    assert identifiers(str(OBJECT_ID)) == [str(OBJECT_ID), OBJECT_ID]
    assert identifiers(decode(raw({"_id": OBJECT_ID}))["_id"]) == [OBJECT_ID, str(OBJECT_ID)]
    assert identifiers("S") == ["S"]
    assert identifiers("z" * 24) == ["z" * 24]


def test_types_are_not_confused() -> None:
    document = {"one": 1, "float": 1.0, "true": True, "decimal": Decimal(1), "at": datetime(2026, 3, 2, tzinfo=UTC)}
    stored = bson.decode(encode(pack(document), "it").raw)

    assert {name: type(value) for name, value in stored.items()} == {
        "one": int,
        "float": float,
        "true": bool,
        "decimal": Decimal128,
        "at": datetime,
    }
    assert exactly(decode(encode(pack(document), "it"))) == exactly(document)


def test_samples_cover_what_others_confuse() -> None:
    for value in VALUES.values():
        assert exactly(decode(encode(pack({"v": value}), "it"))) == exactly({"v": value})


def test_a_uuid_of_ours_is_nothing_a_document_holds() -> None:
    with pytest.raises(ValueError, match="UUID"):
        pack(uuid.uuid4())
