"""How much goes into one request, and the translation of messages: pure functions.

Google's limits: 1,000 messages or ids per request, 10 MB per publish request, 512 kB per acknowledge request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, Self

from google.pubsub_v1 import types

from exec_service.buses import BusError, Message, Outgoing

MAX_PER_REQUEST: Final = 1_000
#: Below the limits, so that names and lengths have room beside them.
MAX_PUBLISH_BYTES: Final = 9_500_000
MAX_ACKNOWLEDGE_BYTES: Final = 500_000
#: What a length and a tag take at most, beside the thing itself.
_FRAME_BYTES: Final = 8

# The plain protocol buffer classes beneath Google's wrappers, which cost several times as much per message.
_PublishRequest: Final = types.PublishRequest.pb()
_PubsubMessage: Final = types.PubsubMessage.pb()


def topic_path(project_id: str, name: str) -> str:
    """The full name of a topic; one that is full already stays as it is."""
    return name if name.startswith("projects/") else f"projects/{project_id}/topics/{name}"


def subscription_path(project_id: str, name: str) -> str:
    """The full name of a subscription; one that is full already stays as it is."""
    return name if name.startswith("projects/") else f"projects/{project_id}/subscriptions/{name}"


def publish_requests(topic: str, messages: Sequence[Outgoing]) -> list[types.PublishRequest]:
    """The requests that publish these messages, in order; `topic` is a full name.

    :raises BusError: a message is larger than Pub/Sub takes, or has neither data nor attributes.
    """
    requests = []
    batch: list[Any] = []
    size = 0
    for number, message in enumerate(messages, 1):
        if not message.data and not message.attributes:
            raise BusError(f"Message {number} of {len(messages)} for {topic} is empty, which Pub/Sub does not take")
        raw = _PubsubMessage(data=message.data, attributes=dict(message.attributes), ordering_key=message.ordering_key)
        length = raw.ByteSize() + _FRAME_BYTES
        if length > MAX_PUBLISH_BYTES:
            raise BusError(
                f"Message {number} of {len(messages)} for {topic} has {length:,} bytes; "
                f"Pub/Sub takes at most {MAX_PUBLISH_BYTES:,}"
            )
        if batch and (len(batch) == MAX_PER_REQUEST or size + length > MAX_PUBLISH_BYTES):
            requests.append(types.PublishRequest.wrap(_PublishRequest(topic=topic, messages=batch)))
            batch, size = [], 0
        batch.append(raw)
        size += length
    if batch:
        requests.append(types.PublishRequest.wrap(_PublishRequest(topic=topic, messages=batch)))
    return requests


def id_batches(ack_ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids in batches that one acknowledge or modify-deadline request may carry."""
    batch: list[str] = []
    size = 0
    for ack_id in ack_ids:
        length = len(ack_id.encode()) + _FRAME_BYTES
        if batch and (len(batch) == MAX_PER_REQUEST or size + length > MAX_ACKNOWLEDGE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(ack_id)
        size += length
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a subscription delivers: seconds until what is not acknowledged comes again, and whether it keeps order."""

    ack_deadline_seconds: float
    keeps_order: bool

    @classmethod
    def of(cls, found: types.Subscription) -> Self:
        """What a subscription says of itself."""
        raw = types.Subscription.pb(found)
        return cls(float(raw.ack_deadline_seconds), bool(raw.enable_message_ordering))


def received(response: types.PullResponse, *, keeps_order: bool) -> list[Message]:
    """The messages of an answer, in its order; or, where the subscription keeps none, in that of publishing."""
    messages = [
        Message(
            message_id=item.message.message_id,
            data=item.message.data,
            publish_time=item.message.publish_time.ToDatetime(tzinfo=UTC),
            ack_id=item.ack_id,
            attributes=dict(item.message.attributes),
        )
        for item in types.PullResponse.pb(response).received_messages
    ]
    if not keeps_order:
        # What is delivered again would come after what was published later. Ids are numbers that mostly rise.
        messages.sort(key=lambda message: (message.publish_time, len(message.message_id), message.message_id))
    return messages
