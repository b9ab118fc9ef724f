"""What really stands in MongoDB and in Pub/Sub, read and written with the drivers alone: none of our code is asked.

This is how the other services see us, and how they act on the collections that they share with us.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from bson.codec_options import CodecOptions
from bson.decimal128 import Decimal128
from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1 import SubscriberClient
from harness import CONFIRMATIONS_SUBSCRIPTION, Failed, Real
from pymongo import MongoClient
from pymongo.database import Database

Row = dict[str, Any]


@contextmanager
def raw_database(real: Real) -> Iterator[Database[Row]]:
    """The world's database. Times come with their zone; every other value as the driver has it."""
    options = CodecOptions[Row](tz_aware=True, tzinfo=UTC)
    with MongoClient[Row](real.mongodb_uri, serverSelectionTimeoutMS=20_000) as client:
        yield client.get_database(real.database, codec_options=options)


def everything(real: Real) -> dict[str, list[Row]]:
    """All documents of all collections."""
    with raw_database(real) as database:
        return {name: list(database[name].find()) for name in database.list_collection_names()}


def unique_indexes(real: Real) -> dict[str, list[tuple[str, ...]]]:
    """By collection: the fields of each index that forbids something, besides that of ``_id``."""
    with raw_database(real) as database:
        return {
            name: [
                tuple(field for field, _ in index["key"])
                for index in database[name].index_information().values()
                if index.get("unique")
            ]
            for name in database.list_collection_names()
        }


@dataclass(frozen=True)
class Published:
    """A message as it stands in Pub/Sub."""

    data: bytes
    attributes: Mapping[str, str]
    ordering_key: str

    @property
    def body(self) -> Row:
        """The JSON in it."""
        found = json.loads(self.data)
        assert isinstance(found, dict)
        return found


def published(real: Real, confirmation_ids: set[str], seconds: float = 30) -> list[Published]:
    """The confirmations that wait in their subscription: these at least. They are acknowledged.

    PUBSUB_EMULATOR_HOST says where, as Google's client expects. :raises Failed: some never came.
    """
    found: list[Published] = []
    deadline = time.monotonic() + seconds
    with SubscriberClient() as client:
        path = client.subscription_path(real.project, CONFIRMATIONS_SUBSCRIPTION)
        while True:
            missing = confirmation_ids - {message.attributes["confirmation_id"] for message in found}
            try:
                # What must come is waited for; what comes besides (a repetition, a surprise) does so soon.
                answer = client.pull(subscription=path, max_messages=1000, timeout=5 if missing else 1, retry=None)
            except DeadlineExceeded:
                answer = None
            received = [] if answer is None else list(answer.received_messages)
            if received:
                client.acknowledge(subscription=path, ack_ids=[item.ack_id for item in received])
                found += [
                    Published(item.message.data, dict(item.message.attributes), item.message.ordering_key)
                    for item in received
                ]
            elif not missing:
                return found
            elif time.monotonic() > deadline:
                raise Failed(f"{len(missing)} confirmations never came, such as {min(missing)}")


def bson_type(value: object) -> str:
    """BSON's name for the type of a value that the driver has read."""
    kinds: dict[type, str] = {
        bool: "bool",
        float: "double",
        str: "string",
        datetime: "date",
        Decimal128: "decimal",
        ObjectId: "objectId",
        bytes: "binData",
        list: "array",
        dict: "object",
        type(None): "null",
    }
    return "int" if isinstance(value, int) and not isinstance(value, bool) else kinds[type(value)]


def bson_types(document: Mapping[str, Any]) -> dict[str, str]:
    """The types of a document's fields."""
    return {name: bson_type(value) for name, value in document.items()}


def as_json(value: Any) -> Any:
    """A document as people write it down: times and ids as text, exact numbers as such."""
    if isinstance(value, datetime):
        text = value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
        return f"{text.removesuffix('.000')}Z"
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, ObjectId | Decimal128) else value
