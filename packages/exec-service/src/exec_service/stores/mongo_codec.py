"""Documents as BSON and back: exact for what we write, and readable for whatever others have written.

Documents of other services hold things that ours never do: ObjectIds, binary, regular expressions, times beyond the
year 9999, numbers that are none. Each becomes a text (an ObjectId its hexadecimal digits) that remembers the value it
stands for, so that writing it back, alone or inside a list, changes nothing.
"""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import bson
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UUID_SUBTYPE, UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.raw_bson import RawBSONDocument

from exec_service.stores.values import Carried, Packer

#: The largest document that MongoDB keeps, less what a command adds around it.
MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024 - 16 * 1024


class CarriedText(Carried, str):
    """A foreign value as text."""

    __slots__ = ("original",)

    def __new__(cls, text: str, original: Any) -> CarriedText:
        """`text` to show, `original` to write."""
        made = super().__new__(cls, text)
        made.original = original
        return made


class CarriedFloat(Carried, float):
    """A number that is none, such as infinity; it goes back as it came."""

    __slots__ = ()

    @property
    def original(self) -> float:
        """The plain float."""
        return float(self)


def _text_of(value: Any) -> str:
    if isinstance(value, Binary) and value.subtype == UUID_SUBTYPE:
        return str(uuid.UUID(bytes=bytes(value)))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Regex):
        return str(value.pattern)
    return str(value)


def _carried(value: Any) -> CarriedText:
    return CarriedText(_text_of(value), value)


def _decimal(value: Decimal128) -> Decimal | CarriedText:
    found = _to_decimal(value.bid)
    return found if found.is_finite() else _carried(value)


@lru_cache(maxsize=10_000)
def _to_decimal(encoded: bytes) -> Decimal:
    """Reading one is slow, and the same numbers come again and again."""
    return Decimal128.from_bid(encoded).to_decimal()


class _Decoder(TypeDecoder):
    """Reads values of one BSON type as something of ours."""

    bson_type: Any = None

    def __init__(self, bson_type: type, transform: Callable[[Any], Any]) -> None:
        self.bson_type = bson_type
        self._transform = transform

    def transform_bson(self, value: Any) -> Any:
        return self._transform(value)


_FOREIGN: Final = (Binary, bytes, Code, DatetimeMS, DBRef, MaxKey, MinKey, ObjectId, Regex, Timestamp)
_DECODERS: Final = [_Decoder(Int64, int), _Decoder(Decimal128, _decimal)]
_DECODERS.extend(_Decoder(kind, _carried) for kind in _FOREIGN)

#: How everything is read: aware times in UTC, and no value whatever that cannot be.
OPTIONS: Final = CodecOptions[dict[str, Any]](
    tz_aware=True,
    tzinfo=UTC,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    type_registry=TypeRegistry(_DECODERS),
)
#: For cursors: documents come as bytes, and one that is odd spoils only itself.
RAW: Final = OPTIONS.with_options(document_class=RawBSONDocument)
#: Every value as it stands, to be sent back.
NATIVE: Final = CodecOptions[RawBSONDocument](
    document_class=RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_MS
)


@lru_cache(maxsize=10_000)
def _decimal128(text: str) -> Decimal128:
    return Decimal128(text)


# Making one is slow, and the same numbers come again and again. Their text is exact, and tells 1.0 from 1.00.
pack: Final = Packer(decimal=lambda value: _decimal128(str(value)), time=lambda value: value).pack


def decode(raw: RawBSONDocument) -> dict[str, Any]:
    """The document. What looks like a reference to another document is a plain dict, as it was written."""
    if b"$ref" in raw.raw:
        return decode_exactly(raw)
    return bson.decode(raw.raw, OPTIONS)


def decode_exactly(raw: RawBSONDocument) -> dict[str, Any]:
    """The document, slowly, with everything in it as it can be written back."""
    return {key: _plain(value) for key, value in RawBSONDocument(raw.raw, RAW).items()}


def encode(document: Mapping[str, Any], name: str) -> RawBSONDocument:
    """A packed document or command as bytes, encoded once for as often as it is sent.

    :raises ValueError: it is larger than a document can be.
    """
    encoded = bson.encode(document)
    if len(encoded) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"{name} is {len(encoded)} bytes long, more than the 16 MB that a document can hold")
    return RawBSONDocument(encoded)


def identifiers(value: object) -> list[Any]:
    """What a loaded or configured ``_id`` may be in the database: itself, and the ObjectId that it may stand for."""
    packed = pack(value, "_id")
    if isinstance(packed, str) and len(packed) == 24 and ObjectId.is_valid(packed):
        return [packed, ObjectId(packed)]
    if isinstance(packed, ObjectId):
        return [packed, str(packed)]
    return [packed]


def _plain(value: Any) -> Any:
    if isinstance(value, RawBSONDocument):
        return decode_exactly(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if type(value) is float and not math.isfinite(value):
        return CarriedFloat(value)
    return value
