"""The bare generated clients of Pub/Sub, as a producer and a consumer would have them, without the wrappers' cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from google.pubsub_v1.types import PubsubMessage, PullResponse

#: As many as one PublishRequest, or one answer, may carry.
MOST = 1_000
LONG_POLL_SECONDS = 30.0
CALL_SECONDS = 30.0


@dataclass(frozen=True)
class Clients:
    """One connection to the emulator, and the names of one project there."""

    publisher: PublisherAsyncClient
    subscriber: SubscriberAsyncClient
    project: str

    def topic(self, name: str) -> str:
        """Its full name."""
        return f"projects/{self.project}/topics/{name}"

    def subscription(self, name: str) -> str:
        """Its full name."""
        return f"projects/{self.project}/subscriptions/{name}"

    async def publish(self, topic: str, messages: Sequence[PubsubMessage]) -> None:
        """Publish, in as many requests as it takes; all of one ordering key."""
        for start in range(0, len(messages), MOST):
            await self.publisher.publish(
                topic=self.topic(topic), messages=messages[start : start + MOST], retry=None, timeout=CALL_SECONDS
            )

    async def pull(self, subscription: str) -> list[Any]:
        """What one long poll brings (bare protobuf messages), not acknowledged; nothing when its time is over."""
        try:
            answer = await self.subscriber.pull(
                subscription=self.subscription(subscription), max_messages=MOST, retry=None, timeout=LONG_POLL_SECONDS
            )
        except DeadlineExceeded:
            return []
        return list(PullResponse.pb(answer).received_messages)

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """These need not come again."""
        await self.subscriber.acknowledge(
            subscription=self.subscription(subscription), ack_ids=ack_ids, retry=None, timeout=CALL_SECONDS
        )


@asynccontextmanager
async def clients(host: str, project: str) -> AsyncIterator[Clients]:
    """Clients of the emulator at "host:port"."""
    async with grpc.aio.insecure_channel(host) as channel:
        publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))
        subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        yield Clients(publisher, subscriber, project)


class Background:
    """Calls that nobody waits for one by one; the first failure is raised by `settled`, or the next `start`."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None

    def start(self, work: Any) -> None:
        """Run a coroutine. :raises Exception: an earlier one failed."""
        self._check()
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed = self._failed or task.exception()

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed

    async def settled(self) -> None:
        """Wait for all. :raises Exception: one failed."""
        while self._running:
            await asyncio.wait(list(self._running))
        self._check()
