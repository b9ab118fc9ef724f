"""The embedded bus's tables, and what happens in them; each function runs inside the database's thread.

``messages`` holds what was published, numbered per topic; ``deliveries`` one row per message that a subscription has
not acknowledged, with the consumer that leases it (or none) and until when.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from exec_service.buses import BusError, Message, Outgoing
from exec_service.embedded import transaction

SCHEMA_VERSION: Final = 1
KEPT_WITHOUT_SUBSCRIPTION: Final = 100_000

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS topics (name TEXT PRIMARY KEY, published INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS subscriptions (name TEXT PRIMARY KEY, topic TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS messages (
        topic TEXT, position INTEGER, message_id TEXT NOT NULL, published_at INTEGER NOT NULL, data BLOB NOT NULL,
        attributes TEXT NOT NULL, ordering_key TEXT NOT NULL, PRIMARY KEY (topic, position)
    )""",
    """CREATE TABLE IF NOT EXISTS deliveries (
        subscription TEXT, position INTEGER, ordering_key TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0,
        consumer TEXT, deadline REAL, PRIMARY KEY (subscription, position)
    ) WITHOUT ROWID""",
    """CREATE INDEX IF NOT EXISTS deliveries_leased ON deliveries (subscription, consumer)
        WHERE consumer IS NOT NULL""",
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Delivery:
    """What one look at a subscription leased; or, when nothing, until when a lease of somebody else runs."""

    messages: list[Message] = field(default_factory=list)
    look_again_at: float | None = None


def make_missing(connection: sqlite3.Connection, subscriptions: Mapping[str, str]) -> str | None:
    """Make the tables and the subscriptions; a sentence when one exists on another topic."""
    for statement in _SCHEMA:
        connection.execute(statement)
    for name, topic in subscriptions.items():
        known = _topic(connection, name)
        if known is None:
            connection.execute("INSERT INTO subscriptions VALUES (?, ?)", (name, topic))
            connection.execute(
                "INSERT INTO deliveries (subscription, position, ordering_key) "
                "SELECT ?, position, ordering_key FROM messages WHERE topic = ?",
                (name, topic),
            )
        elif known != topic:
            return f"the subscription {name} belongs to the topic {known}, not to {topic}"
    return None


def add_messages(connection: sqlite3.Connection, topic: str, messages: Sequence[Outgoing]) -> list[str]:
    """Append to the topic and to each of its subscriptions; the message ids."""
    row = connection.execute("SELECT published FROM topics WHERE name = ?", (topic,)).fetchone()
    first = 1 if row is None else row[0] + 1
    last = first + len(messages) - 1
    connection.execute("INSERT OR REPLACE INTO topics VALUES (?, ?)", (topic, last))
    published_at = round(time.time() * 1_000_000)
    ids = [uuid.uuid4().hex for _ in messages]
    connection.executemany(
        "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (topic, position, key, published_at, item.data, json.dumps(dict(item.attributes)), item.ordering_key)
            for position, (key, item) in enumerate(zip(ids, messages, strict=True), first)
        ],
    )
    names = [name for (name,) in connection.execute("SELECT name FROM subscriptions WHERE topic = ?", (topic,))]
    for name in names:
        connection.executemany(
            "INSERT INTO deliveries (subscription, position, ordering_key) VALUES (?, ?, ?)",
            [(name, position, item.ordering_key) for position, item in enumerate(messages, first)],
        )
    if not names:
        connection.execute(
            "DELETE FROM messages WHERE topic = ? AND position <= ?", (topic, last - KEPT_WITHOUT_SUBSCRIPTION)
        )
    return ids


def take_messages(
    connection: sqlite3.Connection,
    subscription: str,
    max_messages: int,
    *,
    consumer: str,
    is_dead: Callable[[str], bool],
    now: float,
    deadline_seconds: float,
    into: Delivery,
) -> None:
    """Lease the oldest messages that wait, after freeing those whose lease has run out or whose consumer is dead.

    :raises BusError: there is no such subscription.
    """
    topic = _topic(connection, subscription)
    if topic is None:
        raise BusError(f"there is no subscription {subscription}")
    leases = _leases(connection, subscription)
    gone = {name for name, deadline in leases.items() if deadline <= now or is_dead(name)}
    if not gone and not _anything_waits(connection, subscription):
        # Only looked, nothing locked: this is what an idle consumer does all day.
        into.look_again_at = min(leases.values(), default=None)
        return
    with transaction(connection, durable=False):
        for name in gone:
            connection.execute(
                "UPDATE deliveries SET consumer = NULL, deadline = NULL "
                "WHERE subscription = ? AND consumer = ? AND (deadline <= ? OR ?)",
                (subscription, name, now, is_dead(name)),
            )
        leases = _leases(connection, subscription)
        taken = []
        rows = connection.execute(
            """SELECT d.position, d.attempt + 1, m.message_id, m.data, m.published_at, m.attributes
               FROM deliveries AS d JOIN messages AS m ON m.topic = ? AND m.position = d.position
               WHERE d.subscription = ? AND d.consumer IS NULL AND d.ordering_key NOT IN (
                   SELECT ordering_key FROM deliveries INDEXED BY deliveries_leased
                   WHERE subscription = ? AND consumer IS NOT NULL AND consumer != ? AND ordering_key != ''
               )
               ORDER BY d.position LIMIT ?""",
            (topic, subscription, subscription, consumer, max_messages),
        ).fetchall()
        for position, attempt, message_id, data, published_at, attributes in rows:
            taken.append(
                Message(
                    message_id=message_id,
                    data=data,
                    publish_time=_EPOCH + timedelta(microseconds=published_at),
                    ack_id=f"{position}.{attempt}",
                    attributes=json.loads(attributes),
                )
            )
        connection.executemany(
            "UPDATE deliveries SET consumer = ?, deadline = ?, attempt = ? WHERE subscription = ? AND position = ?",
            [(consumer, now + deadline_seconds, attempt, subscription, position) for position, attempt, *_ in rows],
        )
    into.messages = taken
    into.look_again_at = min(leases.values(), default=None)


def acknowledge(connection: sqlite3.Connection, subscription: str, ack_ids: Iterable[str]) -> None:
    """Forget these deliveries, and the messages that no subscription waits for any more."""
    topic = _topic(connection, subscription)
    for ack_id in ack_ids:
        position, attempt = _parsed(ack_id)
        done = connection.execute(
            "DELETE FROM deliveries WHERE subscription = ? AND position = ? AND attempt = ?",
            (subscription, position, attempt),
        ).rowcount
        if done:
            connection.execute(
                """DELETE FROM messages WHERE topic = ? AND position = ? AND NOT EXISTS (
                       SELECT 1 FROM subscriptions AS s JOIN deliveries AS d ON d.subscription = s.name
                       WHERE s.topic = messages.topic AND d.position = messages.position
                   )""",
                (topic, position),
            )


def give_back(connection: sqlite3.Connection, subscription: str, messages: Iterable[Message]) -> None:
    """End these leases now, so that the messages are delivered again."""
    for message in messages:
        connection.execute(
            "UPDATE deliveries SET consumer = NULL, deadline = NULL "
            "WHERE subscription = ? AND position = ? AND attempt = ?",
            (subscription, *_parsed(message.ack_id)),
        )


def _topic(connection: sqlite3.Connection, subscription: str) -> str | None:
    row = connection.execute("SELECT topic FROM subscriptions WHERE name = ?", (subscription,)).fetchone()
    return None if row is None else str(row[0])


def _leases(connection: sqlite3.Connection, subscription: str) -> dict[str, float]:
    """Who leases messages of the subscription, and when the first of those leases runs out."""
    return dict(
        connection.execute(
            "SELECT consumer, min(deadline) FROM deliveries WHERE subscription = ? AND consumer IS NOT NULL "
            "GROUP BY consumer",
            (subscription,),
        )
    )


def _anything_waits(connection: sqlite3.Connection, subscription: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM deliveries WHERE subscription = ? AND consumer IS NULL LIMIT 1", (subscription,)
    ).fetchone()
    return row is not None


def _parsed(ack_id: str) -> tuple[int, int]:
    """Position and attempt of a delivery; of what is no ack id of ours, a delivery that never was."""
    position, _, attempt = ack_id.partition(".")
    if position.isdecimal() and attempt.isdecimal() and max(len(position), len(attempt)) < 19:
        return int(position), int(attempt)
    return 0, 0
