"""What can go wrong with one request to the Pub/Sub of the tests (see `pubsub_server`)."""

from __future__ import annotations

from dataclasses import dataclass

from grpc import StatusCode


@dataclass(frozen=True)
class Fail:
    """Answer with an error; `applied` does what was asked first, so that only the answer is lost."""

    code: StatusCode
    details: str = "scripted"
    applied: bool = False


@dataclass(frozen=True)
class Late:
    """Do it, but answer only after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Stall:
    """Never answer, until `PubSubServer.release` or the client gives up; `applied` does what was asked first."""

    applied: bool = False


@dataclass(frozen=True)
class Empty:
    """A pull: answer at once, with nothing."""


@dataclass(frozen=True)
class Reversed:
    """A pull: the messages in the wrong order."""


@dataclass(frozen=True)
class Repeated:
    """A pull: each message twice."""


@dataclass(frozen=True)
class Surplus:
    """A pull: everything there is, more than was asked for."""


@dataclass(frozen=True)
class Half:
    """A publish: keep the first half of the messages, then fail as if nothing had happened."""

    code: StatusCode = StatusCode.UNAVAILABLE


@dataclass(frozen=True)
class Normal:
    """No fault: keeps the place of a request that is to go well before a later one that is not."""


Fault = Fail | Late | Stall | Empty | Reversed | Repeated | Surplus | Half | Normal
