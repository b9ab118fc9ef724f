"""What a judged event did: the order after it, what positions must do, and what a person must hear."""

from __future__ import annotations

from dataclasses import dataclass

from exec_core.fills import Fill
from exec_core.identifiers import ExecutionId
from exec_core.orders import HistoryEntry, Order


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
