"""The far ends of the outbox: publishing confirmations, updating signals, notifying people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from exec_core.errors import NotificationRefused
from exec_core.notifier import Notification, Notifier

from exec_service import texts
from exec_service.buses import Bus, Outgoing
from exec_service.digests import digest
from exec_service.logs import order_log
from exec_service.outbox import Channel
from exec_service.outbox_rows import CONFIRMATION_CHANNEL, NOTIFIER_CHANNEL, SIGNAL_CHANNEL, Row
from exec_service.signals import merge_signal
from exec_service.stores import SignalChange, Store

logger = logging.getLogger(__name__)

#: A publish that hangs is given up and tried again after so many seconds.
PUBLISH_TIMEOUT_SECONDS = 30.0
#: Other services wait for what bus and store are told: these are tried again sooner than people.
OURS_LONGEST_WAIT_SECONDS = 5.0
#: A call costs the database two commands, however many signals it updates.
SIGNALS_EVERY_SECONDS = 0.1


def confirmations(bus: Bus, topic: str) -> Channel:
    """Publishes confirmations: of each ordering key one request at a time, those of different keys side by side."""
    #: What was published although something before it was not: it need not be published again.
    ahead: set[str] = set()

    async def publish(key: str, rows: Sequence[Row]) -> None:
        messages = [Outgoing(row["data"].encode(), row["attributes"], key) for row in rows]
        async with asyncio.timeout(PUBLISH_TIMEOUT_SECONDS):
            await bus.publish(topic, messages)
        ahead.update(row["_id"] for row in rows)
        for row in rows:
            order_log.info(texts.published(), row["signal_id"])

    async def deliver(rows: Sequence[Row]) -> int:
        ahead.intersection_update([row["_id"] for row in rows])
        by_key: dict[str, list[Row]] = {}
        for row in rows:
            if row["_id"] not in ahead:
                by_key.setdefault(row["ordering_key"], []).append(row)
        results = await asyncio.gather(*(publish(*one) for one in by_key.items()), return_exceptions=True)
        done = next((place for place, row in enumerate(rows) if row["_id"] not in ahead), len(rows))
        failures = [result for result in results if result is not None]
        if not done and failures:
            raise failures[0]
        return done

    return Channel(CONFIRMATION_CHANNEL, deliver, longest_wait_seconds=OURS_LONGEST_WAIT_SECONDS)


def signals(store: Store) -> Channel:
    """Updates `signal_store`, which belongs to others: only our fields, never an older revision over a newer.

    Of several updates of one order that wait, the newest says all; what is left is told in one call. What is told twice
    after a failure changes nothing.
    """

    async def deliver(rows: Sequence[Row]) -> int:
        newest: dict[str, Row] = {}
        for row in rows:
            update = row["update"]
            known = newest.get(update["client_order_id"])
            if known is None or int(update["revision"]) >= int(known["update"]["revision"]):
                newest[update["client_order_id"]] = row
        told = list(newest.values())
        answers = await store.update_signals([_signal_change(row) for row in told])
        for row, error in zip(told, answers, strict=True):
            if error is not None:
                # Somebody else's document that will never take it must not keep all other signals waiting.
                signal_id = row["update"]["signal_id"]
                logger.error("signal_store cannot be told of %s, given up: %s", signal_id, error)
        return len(rows)

    return Channel(
        SIGNAL_CHANNEL,
        deliver,
        longest_wait_seconds=OURS_LONGEST_WAIT_SECONDS,
        every_seconds=SIGNALS_EVERY_SECONDS,
    )


def _signal_change(row: Row) -> SignalChange:
    update = row["update"]
    return SignalChange(row["signal_ids"], update["signal_id"], lambda existing: merge_signal(existing, update))


def notifications(name: str, notifier: Notifier, timeout_seconds: float, digest_above: int | None = None) -> Channel:
    """Tells people through one notifier; what its far side will never take is logged and dropped.

    Where more than `digest_above` wait, one digest tells of all of them, or is dropped with all of them.
    """

    async def deliver(rows: Sequence[Row]) -> int:
        as_digest = digest_above is not None and len(rows) > digest_above
        told = [_notification(row) for row in (rows if as_digest else rows[:1])]
        notification = digest(told) if as_digest else told[0]
        try:
            async with asyncio.timeout(timeout_seconds):
                await notifier.send(notification)
        except NotificationRefused as error:
            ids = ", ".join(one.id for one in told)
            logger.warning("%s will not take the notification %s, dropped: %s", name, ids, error)
        else:
            if as_digest:
                logger.info("%s was told of %d notifications in one digest", name, len(told))
        return len(told)

    return Channel(f"{NOTIFIER_CHANNEL}{name}", deliver)


def _notification(row: Row) -> Notification:
    fields = tuple((str(field), str(value)) for field, value in row["fields"])
    return Notification(row["notification_id"], row["title"], fields, row["prefix"])
