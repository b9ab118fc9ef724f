"""Pub/Sub without the network: topics, subscriptions, leases and ordering keys, in memory.

It does what Pub/Sub promises and refuses what Pub/Sub refuses, limits and all, except that it takes any ack deadline
from a second up, so that tests need not wait for ten. `pubsub_server` serves it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from google.pubsub_v1 import types
from grpc import StatusCode

#: Google's limits.
MAX_PER_REQUEST = 1_000
MAX_PUBLISH_BYTES = 10_000_000
MAX_ACKNOWLEDGE_BYTES = 524_288
DELETED_TOPIC = "_deleted-topic_"
#: How long the client waits for the answer to the request that is being worked on, in seconds; None: without end.
TIME_REMAINING: ContextVar[float | None] = ContextVar("TIME_REMAINING", default=None)
#: A pull ends so long before that, as at the emulator, so that it takes no message which its client does not get.
EARLY_SECONDS = 1.0


@dataclass(eq=False)
class Entry:
    """A message that a subscription has not got rid of; leased while it has an `ack_id`."""

    message: Any
    number: int
    ack_id: str | None = None
    ends: float = 0.0
    deliveries: int = 0


@dataclass
class Subscription:
    """A subscription: its settings as the client sees them, and what it has to deliver, oldest first."""

    settings: Any
    entries: list[Entry] = field(default_factory=list)
    acknowledged: list[Any] = field(default_factory=list)

    def available(self, now: float) -> list[Entry]:
        """What may be delivered now: ended leases are over, and of one ordering key one batch is out at a time."""
        for entry in self.entries:
            if entry.ack_id is not None and entry.ends <= now:
                self.end_lease(entry)
        ordered = self.settings.enable_message_ordering
        out = {entry.message.ordering_key for entry in self.entries if entry.ack_id is not None} if ordered else set()
        return [
            entry
            for entry in self.entries
            if entry.ack_id is None and not (entry.message.ordering_key and entry.message.ordering_key in out)
        ]

    def end_lease(self, entry: Entry) -> None:
        """It waits again; where order is kept, so does what follows it under its key."""
        entry.ack_id = None
        if self.settings.enable_message_ordering and entry.message.ordering_key:
            for other in self.entries:
                if other.number > entry.number and other.message.ordering_key == entry.message.ordering_key:
                    other.ack_id = None

    def next_end(self) -> float | None:
        """When the first lease ends."""
        return min((entry.ends for entry in self.entries if entry.ack_id is not None), default=None)


class Refusal(Exception):
    """A request that Pub/Sub would refuse, with its status."""

    def __init__(self, code: StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code


class PubSubMemory:
    """What the server remembers; the methods that take a `request` answer it as Pub/Sub would."""

    def __init__(self, long_poll_seconds: float) -> None:
        self.long_poll_seconds = long_poll_seconds
        self.topics: dict[str, Any] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self._numbers = itertools.count(1)
        self._deliveries = itertools.count(1)
        self._news = asyncio.Event()

    # ------------------------------------------------------------------ for the test

    def forget(self) -> None:
        """Lose everything, as Google's emulator does when it is killed."""
        self.topics.clear()
        self.subscriptions.clear()
        self.announce()

    def add_topic(self, project: str, name: str) -> None:
        """Make a topic, unless it is there."""
        path = f"projects/{project}/topics/{name}"
        self.topics.setdefault(path, types.Topic.pb()(name=path))

    def add_subscription(self, project: str, name: str, topic: str, **settings: Any) -> Subscription:
        """Make a subscription, or change the settings of one that is there."""
        path = f"projects/{project}/subscriptions/{name}"
        wanted = types.Subscription.pb()(
            **{
                "name": path,
                "topic": topic if topic == DELETED_TOPIC else f"projects/{project}/topics/{topic}",
                "ack_deadline_seconds": 10,
                "enable_message_ordering": True,
                **settings,
            }
        )
        if path in self.subscriptions:
            self.subscriptions[path].settings = wanted
        else:
            self.subscriptions[path] = Subscription(wanted)
        return self.subscriptions[path]

    def published(self, project: str, topic: str, *data: bytes, ordering_key: str = "") -> list[str]:
        """Publish without a client; the message ids."""
        messages = [types.PubsubMessage.pb()(data=item, ordering_key=ordering_key) for item in data]
        return self.publish(f"projects/{project}/topics/{topic}", messages)

    def waiting(self, project: str, subscription: str) -> list[bytes]:
        """The data of what the subscription has not got rid of."""
        return [entry.message.data for entry in self._subscription(project, subscription).entries]

    def leased(self, project: str, subscription: str) -> list[bytes]:
        """The data of what is leased to somebody now."""
        now = asyncio.get_running_loop().time()
        entries = self._subscription(project, subscription).entries
        return [entry.message.data for entry in entries if entry.ack_id is not None and entry.ends > now]

    def acknowledged(self, project: str, subscription: str) -> list[bytes]:
        """The data of what was acknowledged, in that order."""
        return [message.data for message in self._subscription(project, subscription).acknowledged]

    def redeliver(self, project: str, subscription: str) -> None:
        """Deliver everything again that was ever acknowledged or is leased: at least once is all that is promised."""
        found = self._subscription(project, subscription)
        known = {entry.message.message_id for entry in found.entries}
        for message in found.acknowledged:
            if message.message_id not in known:
                known.add(message.message_id)
                found.entries.append(Entry(message, int(message.message_id)))
        found.acknowledged.clear()
        found.entries.sort(key=lambda entry: entry.number)
        for entry in found.entries:
            entry.ack_id = None
        self.announce()

    def _subscription(self, project: str, name: str) -> Subscription:
        return self.subscriptions[f"projects/{project}/subscriptions/{name}"]

    # ------------------------------------------------------------------ requests

    def create_topic(self, request: Any) -> Any:
        if request.name in self.topics:
            raise Refusal(StatusCode.ALREADY_EXISTS, f"Resource already exists (resource={request.name})")
        self.topics[request.name] = request
        return request

    def get_topic(self, request: Any) -> Any:
        return self._found(self.topics, request.topic)

    def delete_topic(self, request: Any) -> None:
        del self.topics[self._found(self.topics, request.topic).name]
        for subscription in self.subscriptions.values():
            if subscription.settings.topic == request.topic:
                subscription.settings.topic = DELETED_TOPIC

    def publish_request(self, request: Any) -> Any:
        if len(request.messages) > MAX_PER_REQUEST or request.ByteSize() > MAX_PUBLISH_BYTES:
            raise Refusal(StatusCode.INVALID_ARGUMENT, "The request is too large")
        if not all(message.data or message.attributes for message in request.messages):
            raise Refusal(StatusCode.INVALID_ARGUMENT, "Some messages are empty")
        if len({message.ordering_key for message in request.messages}) > 1:
            raise Refusal(StatusCode.INVALID_ARGUMENT, "One request carries one ordering key")
        return types.PublishResponse.pb()(message_ids=self.publish(request.topic, request.messages))

    def publish(self, topic: str, messages: Iterable[Any]) -> list[str]:
        self._found(self.topics, topic)
        ids = []
        for message in messages:
            number = next(self._numbers)
            stored = types.PubsubMessage.pb()()
            stored.CopyFrom(message)
            stored.message_id = str(number)
            stored.publish_time.GetCurrentTime()
            ids.append(stored.message_id)
            for subscription in self.subscriptions.values():
                if subscription.settings.topic == topic:
                    subscription.entries.append(Entry(stored, number))
        self.announce()
        return ids

    def create_subscription(self, request: Any) -> Any:
        self._found(self.topics, request.topic)
        if request.name in self.subscriptions:
            raise Refusal(StatusCode.ALREADY_EXISTS, f"Resource already exists (resource={request.name})")
        request.ack_deadline_seconds = request.ack_deadline_seconds or 10
        if not request.HasField("expiration_policy"):
            request.expiration_policy.ttl.seconds = 31 * 86_400
        request.message_retention_duration.seconds = request.message_retention_duration.seconds or 7 * 86_400
        self.subscriptions[request.name] = Subscription(request)
        return request

    def get_subscription(self, request: Any) -> Any:
        return self._found(self.subscriptions, request.subscription).settings

    def update_subscription(self, request: Any) -> Any:
        found = self._found(self.subscriptions, request.subscription.name)
        changeable = {"ack_deadline_seconds", "dead_letter_policy", "expiration_policy", "message_retention_duration"}
        for path in request.update_mask.paths:
            if path not in changeable:
                raise Refusal(StatusCode.INVALID_ARGUMENT, f"the {path} field in the Subscription is not mutable")
            found.settings.ClearField(path)
            if path == "ack_deadline_seconds":
                found.settings.ack_deadline_seconds = request.subscription.ack_deadline_seconds
            elif request.subscription.HasField(path):
                getattr(found.settings, path).CopyFrom(getattr(request.subscription, path))
        return found.settings

    def delete_subscription(self, request: Any) -> None:
        del self.subscriptions[self._found(self.subscriptions, request.subscription).settings.name]

    def acknowledge(self, request: Any) -> None:
        self._check_ids(request)
        found = self._found(self.subscriptions, request.subscription)
        now = asyncio.get_running_loop().time()
        ids = set(request.ack_ids)
        done = [entry for entry in found.entries if entry.ack_id in ids and entry.ends > now]
        numbers = {entry.number for entry in done}
        found.entries = [entry for entry in found.entries if entry.number not in numbers]
        found.acknowledged += [entry.message for entry in done]
        self.announce()

    def modify_ack_deadline(self, request: Any) -> None:
        self._check_ids(request)
        found = self._found(self.subscriptions, request.subscription)
        now = asyncio.get_running_loop().time()
        for entry in found.entries:
            if entry.ack_id in request.ack_ids and entry.ends > now:
                entry.ends = now + request.ack_deadline_seconds
                if request.ack_deadline_seconds == 0:
                    found.end_lease(entry)
        self.announce()

    def _check_ids(self, request: Any) -> None:
        if request.ByteSize() > MAX_ACKNOWLEDGE_BYTES or len(request.ack_ids) > MAX_PER_REQUEST:
            raise Refusal(StatusCode.INVALID_ARGUMENT, "The request is too large")
        for ack_id in request.ack_ids:
            if not ack_id.startswith("delivery-"):
                raise Refusal(
                    StatusCode.INVALID_ARGUMENT, f"You have passed an invalid ack ID to the service ({ack_id})"
                )

    async def pull(self, request: Any) -> Any:
        loop = asyncio.get_running_loop()
        remaining = TIME_REMAINING.get()
        patience = self.long_poll_seconds if remaining is None else remaining - EARLY_SECONDS
        until = loop.time() + min(self.long_poll_seconds, patience)
        while True:
            found: Subscription = self._found(self.subscriptions, request.subscription)
            now = loop.time()
            entries = found.available(now)[: request.max_messages]
            if entries or now >= until:
                break
            await self.changed(min(until, found.next_end() or until) - now)
        answer = types.PullResponse.pb()()
        for entry in entries:
            entry.ack_id = f"delivery-{next(self._deliveries)}"
            entry.ends = now + found.settings.ack_deadline_seconds
            entry.deliveries += 1
            answer.received_messages.add(ack_id=entry.ack_id, message=entry.message)
        return answer

    # ------------------------------------------------------------------ inside

    def _found(self, things: dict[str, Any], path: str) -> Any:
        if path not in things:
            raise Refusal(StatusCode.NOT_FOUND, f"Resource not found (resource={path})")
        return things[path]

    def announce(self) -> None:
        """Wake those who wait for a change."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def changed(self, seconds: float | None) -> None:
        """Wait for a change, at most so many seconds."""
        news = self._news
        try:
            async with asyncio.timeout(None if seconds is None else max(0.0, seconds)):
                await news.wait()
        except TimeoutError:
            return
