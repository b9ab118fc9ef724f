"""What a judged event did: the order after it, what positions must do, and what a person must hear."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from exec_core.fills import Fill
from exec_core.identifiers import ExecutionId
from exec_core.orders import Evidence, HistoryEntry, Order
from exec_core.replacing import replace

_SOURCES: Final = MappingProxyType(
    {
        Evidence.DEFINITIVE: "broker",
        Evidence.ABSENCE: "service",
        Evidence.SERVICE: "service",
        Evidence.PERSON: "person",
        Evidence.NONE: "service",
    }
)


@dataclass(frozen=True, slots=True)
class Booking:
    """What positions must do about one execution: take back `reversed`, then add `added`. Either may be None."""

    reversed: Fill | None
    added: Fill | None


@dataclass(frozen=True, slots=True)
class Change:
    """What an event did. `order` is the order after it, the very same object where nothing changed.

    `commission_of` names the execution whose commission became known apart from it.
    """

    order: Order
    entry: HistoryEntry | None = None
    booking: Booking | None = None
    commission_of: ExecutionId | None = None
    alarms: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return self.entry is not None


def change_of(
    before: Order,
    after: Order,
    event: str,
    evidence: Evidence,
    at: datetime,
    text: str | None,
    alarms: tuple[str, ...] = (),
    *,
    booking: Booking | None = None,
    record: bool = False,
) -> Change:
    """The change from `before` to `after`: the next revision and a line of history, or nothing at all.

    With `record` there is a line even where the order is as it was.
    """
    if after == before and not record:
        return Change(before)
    revision = before.revision + 1
    entry = HistoryEntry(at, event, _SOURCES[evidence], evidence, after.status, revision, text)
    order = replace(after, revision=revision, history=(*before.history, entry))
    return Change(order, entry, booking, None, alarms)
