"""The far ends of the outbox: publishing confirmations, updating signals, notifying people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import groupby

from exec_core.errors import NotificationRefused
from exec_core.notifier import Notification, Notifier

from exec_service import texts
from exec_service.buses import Bus, Outgoing
from exec_service.logs import order_log
from exec_service.outbox import CONFIRMATION_CHANNEL, NOTIFIER_CHANNEL, SIGNAL_CHANNEL, Channel, Row
from exec_service.signals import merge_signal
from exec_service.stores import Document, Store

logger = logging.getLogger(__name__)

#: A publish that hangs is given up and tried again after so many seconds.
PUBLISH_TIMEOUT_SECONDS = 30.0


def confirmations(bus: Bus, topic: str) -> Channel:
    """Publishes confirmations: one request per ordering key, the next only after success."""

    async def deliver(rows: Sequence[Row]) -> int:
        key, group = next(groupby(rows, key=lambda row: row["ordering_key"]))
        batch = list(group)
        messages = [Outgoing(row["data"].encode(), row["attributes"], key) for row in batch]
        async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS):
            await bus.publish(topic, messages)
        for row in batch:
            order_log.info(texts.published(), row["signal_id"])
        return len(batch)

    return Channel(CONFIRMATION_CHANNEL, deliver)


def signals(store: Store) -> Channel:
    """Updates `signal_store`, which belongs to others: only our fields, never an older revision over a newer."""

    async def deliver(rows: Sequence[Row]) -> int:
        update = rows[0]["update"]

        def merge(existing: Document | None) -> Document | None:
            return merge_signal(existing, update)

        await store.update_signal(rows[0]["signal_ids"], update["signal_id"], merge)
        return 1

    return Channel(SIGNAL_CHANNEL, deliver)


def notifications(name: str, notifier: Notifier, timeout_seconds: float) -> Channel:
    """Tells people through one notifier; what its far side will never take is logged and dropped."""

    async def deliver(rows: Sequence[Row]) -> int:
        row = rows[0]
        fields = tuple((str(field), str(value)) for field, value in row["fields"])
        notification = Notification(row["notification_id"], row["title"], fields, row["prefix"])
        try:
            async with asyncio.timeout(timeout_seconds):
                await notifier.send(notification)
        except NotificationRefused as error:
            logger.warning("%s will not take the notification %s, dropped: %s", name, notification.id, error)
        return 1

    return Channel(f"{NOTIFIER_CHANNEL}{name}", deliver)
