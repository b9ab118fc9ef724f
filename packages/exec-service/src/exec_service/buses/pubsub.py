"""The bus of production: Google Cloud Pub/Sub, through Google's async generated clients; no threads, no streams.

At most so many messages are leased to this process at a time (`MAX_OUTSTANDING`); what it does not acknowledge comes
again after the subscription's ack deadline, or at once when the bus is left. The clients' own retries are off: only
we know which request may be repeated, and what a repetition costs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from google.api_core import exceptions as api

from exec_service.backoff import exponential
from exec_service.buses import BusError, BusUnavailable, Message, Outgoing
from exec_service.buses.pubsub_connection import Connection, connect
from exec_service.buses.pubsub_errors import subscription_target, told, topic_target
from exec_service.buses.pubsub_pulling import Puller
from exec_service.buses.pubsub_requests import Delivery, id_batches, publish_requests, topic_path
from exec_service.buses.pubsub_verifying import verified

logger = logging.getLogger(__name__)

#: How many messages of one subscription may be pulled and not yet acknowledged.
MAX_OUTSTANDING: Final = 1_000
ACKNOWLEDGE_TRIES: Final = 3
FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 1.0


class PubSubBus:
    """A `Bus` in the Google Cloud project `project_id`.

    Entering checks that `topics` exist, and that `subscriptions` (name -> topic) are as the service needs them. Other
    topics and subscriptions can be used as well; they are looked at when they are. `timeout_seconds` is the time-out of
    each request but a pull.
    """

    def __init__(
        self,
        project_id: str,
        *,
        topics: Sequence[str] = (),
        subscriptions: Mapping[str, str] | None = None,
        timeout_seconds: float = 10.0,
        max_outstanding: int = MAX_OUTSTANDING,
    ) -> None:
        self._project_id = project_id
        self._topics = tuple(topics)
        self._subscriptions = dict(subscriptions or {})
        self._timeout = timeout_seconds
        self._max_outstanding = max_outstanding
        self._connection: Connection | None = None
        self._pullers: dict[str, Puller] = {}

    async def __aenter__(self) -> Self:
        """Connect, and check.

        :raises BusError: something is missing or set up in a way that would lose orders; the sentence names the fix.
        """
        connection = await connect(self._timeout)
        try:
            deliveries = await verified(connection, self._project_id, self._topics, self._subscriptions, self._timeout)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        for name, delivery in deliveries.items():
            self._puller(name, delivery)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Give back what was pulled and not acknowledged, so that others get it at once, and disconnect."""
        connection, self._connection = self._connection, None
        pullers, self._pullers = list(self._pullers.values()), {}
        if connection is not None:
            await asyncio.gather(*(puller.close() for puller in pullers))
            await connection.close()

    @property
    def heard_at(self) -> float | None:
        """See `Bus.heard_at`."""
        return max((puller.heard_at for puller in self._pullers.values() if puller.heard_at is not None), default=None)

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> list[str]:
        """See `Bus.publish`. After a failure the caller repeats all: consumers may get some of them twice.

        :raises BusError: there is no such topic, no permission, or a message that Pub/Sub does not take.
        """
        if len({message.ordering_key for message in messages}) > 1:
            raise ValueError("the messages of one publish share one ordering key")
        if not messages:
            return []
        publisher = self._opened().publisher
        target = topic_target(self._project_id, topic)
        ids: list[str] = []
        for request in publish_requests(topic_path(self._project_id, topic), messages):
            with told("publishing to", target):
                response = await publisher.publish(request=request, retry=None, timeout=self._timeout)
            ids += response.message_ids
        if len(ids) != len(messages):
            raise BusUnavailable(f"Pub/Sub answered with {len(ids)} ids for {len(messages)} messages to {target}")
        return ids

    async def pull(self, subscription: str, max_messages: int) -> list[Message]:
        """See `Bus.pull`. While `max_outstanding` messages are not acknowledged, it waits for that, or for their ack
        deadline."""
        if max_messages < 1:
            raise ValueError(f"max_messages must be positive, got {max_messages}")
        self._opened()
        return await self._puller(subscription).pull(max_messages)

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """See `Bus.acknowledge`. A short failure is bridged; after a longer one the messages come again."""
        subscriber = self._opened().subscriber
        puller = self._puller(subscription)
        target = subscription_target(self._project_id, subscription)

        async def send(batch: list[str]) -> None:
            waits = exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
            for attempt in range(1, ACKNOWLEDGE_TRIES + 1):
                try:
                    with told("acknowledging to", target):
                        await subscriber.acknowledge(
                            subscription=puller.path,
                            ack_ids=batch,
                            retry=None,
                            timeout=self._timeout / ACKNOWLEDGE_TRIES,
                        )
                    return
                except BusUnavailable as error:
                    if attempt == ACKNOWLEDGE_TRIES:
                        raise
                    logger.info("%s; trying again", error)
                    await asyncio.sleep(next(waits))

        async def send_all(batch: list[str]) -> None:
            """One id that Pub/Sub does not know may refuse its whole request: halve until it stands alone."""
            try:
                await send(batch)
            except BusError as error:
                if not isinstance(error.__cause__, api.BadRequest):
                    raise
                if len(batch) == 1:
                    logger.info("An acknowledgement was refused, its message may come again: %s", error)
                    return
                await send_all(batch[: len(batch) // 2])
                await send_all(batch[len(batch) // 2 :])

        for batch in id_batches(ack_ids):
            await send_all(batch)
            puller.acknowledged(batch)

    # ------------------------------------------------------------------ inside

    def _opened(self) -> Connection:
        if self._connection is None:
            raise BusUnavailable(f"The bus of the project {self._project_id} is not connected")
        return self._connection

    def _puller(self, subscription: str, delivery: Delivery | None = None) -> Puller:
        if subscription not in self._pullers:
            self._pullers[subscription] = Puller(
                self._opened(),
                self._project_id,
                subscription,
                limit=self._max_outstanding,
                timeout_seconds=self._timeout,
                delivery=delivery,
            )
        return self._pullers[subscription]
