"""The message bus: at least once, acknowledged explicitly.

A bus that passes the conformance suite (``tests/conformance/bus_suite.py``) will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self


class BusError(Exception):
    """The bus could not do it."""


class BusUnavailable(BusError):
    """It cannot be reached; a publish may or may not have happened. Try again."""


#: How often a pull that waits for messages hears from its server, at least.
HEARD_EVERY_SECONDS: Final = 100.0


@dataclass(frozen=True, slots=True)
class Message:
    """A message as delivered. `publish_time` is aware, UTC, the bus's clock. `ack_id` names this delivery of it."""

    message_id: str
    data: bytes
    publish_time: datetime
    ack_id: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish; those with one ordering key are delivered in the order of publishing."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    ordering_key: str = ""


class Bus(Protocol):
    """Publish to a topic; pull from a subscription. Every call raises `BusUnavailable` when the bus cannot answer."""

    @property
    def heard_at(self) -> float | None:
        """The `time.monotonic()` of the last answer to a pull, one without messages included; None before the first.

        A pull that waits renews it every `HEARD_EVERY_SECONDS` or more often: so waiting can be told from hanging.
        """
        ...

    async def __aenter__(self) -> Self:
        """Connect."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Disconnect; what was pulled and not acknowledged will be delivered again."""
        ...

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> list[str]:
        """Publish all of them, durably when this returns; their message ids.

        :raises ValueError: they do not share one ordering key.
        """
        ...

    async def pull(self, subscription: str, max_messages: int) -> list[Message]:
        """What is waiting, at most `max_messages`, in the order of publishing; waits for the first. A message that is
        not acknowledged within the subscription's ack deadline, or whose consumer died, is delivered again.

        :raises BusError: there is no such subscription.
        """
        ...

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """These are durable on our side: do not deliver them again. Unknown and late ids are ignored."""
        ...
