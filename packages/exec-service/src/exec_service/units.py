"""A unit of work: what one job sees and changes, layered over its batch and over what is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from exec_core.identifiers import ClientOrderId, ExecutionId
from exec_core.orders import Order
from exec_core.positions import Position, Share

from exec_service.records import OrderRecord
from exec_service.stores import Write


@dataclass(frozen=True, slots=True)
class Entry:
    """An order in the ledger: the record, and which positions each of its executions went into."""

    record: OrderRecord
    shares: Mapping[ExecutionId, tuple[Share, ...]] = field(default_factory=dict)

    @property
    def order(self) -> Order:
        """The order itself."""
        return self.record.order


@dataclass(frozen=True, slots=True)
class HeldPosition:
    """A position in the ledger; `revision` is that of the stored document (0: none yet).

    `order_ids` are the newest broker order ids behind it, newest last; `order_count` counts all.
    """

    position: Position
    revision: int
    order_ids: tuple[str, ...] = ()
    order_count: int = 0


class NotLoaded(Exception):
    """A job asked for something that is not in memory: the ledger loads it and runs the job again."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"{kind} {key}")
        self.kind = kind
        self.key = key


class OrderMissing(Exception):
    """There is no such order."""


class Committed(Protocol):
    """The committed state, as far as it is in memory; each raises `NotLoaded` where it is not."""

    def cached_entry(self, order_id: ClientOrderId) -> Entry: ...

    def cached_open_position(self, position_key: str, account_id: str) -> HeldPosition | None: ...

    def cached_position(self, position_id: str) -> HeldPosition: ...


@dataclass(slots=True)
class Changes:
    """What a unit has changed; layered over the ledger's committed state."""

    entries: dict[ClientOrderId, Entry] = field(default_factory=dict)
    positions: dict[str, HeldPosition] = field(default_factory=dict)
    open_positions: dict[str, str | None] = field(default_factory=dict)
    alarms: dict[ClientOrderId, list[str]] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    afterwards: list[Callable[[], None]] = field(default_factory=list)


class Unit:
    """One job's view and changes. Nothing of it counts before the batch is durable."""

    def __init__(self, ledger: Committed, batch: Changes, now: datetime) -> None:
        self._ledger = ledger
        self._batch = batch
        self._own = Changes()
        self.now = now

    def entry(self, order_id: ClientOrderId) -> Entry:
        """The order, as decided so far.

        :raises OrderMissing: the store has none of that id.
        """
        for state in (self._own, self._batch):
            if order_id in state.entries:
                return state.entries[order_id]
        return self._ledger.cached_entry(order_id)

    def held(self, position_key: str, account_id: str) -> HeldPosition | None:
        """The account's position under `position_key` that is not closed."""
        for state in (self._own, self._batch):
            if position_key in state.open_positions:
                found = state.open_positions[position_key]
                return None if found is None else self.position(found)
        return self._ledger.cached_open_position(position_key, account_id)

    def position(self, position_id: str) -> HeldPosition:
        """The position of that id, closed or not."""
        for state in (self._own, self._batch):
            if position_id in state.positions:
                return state.positions[position_id]
        return self._ledger.cached_position(position_id)

    def put(self, entry: Entry, alarms: Iterable[str] = ()) -> None:
        """The order is now this."""
        self._own.entries[entry.record.id] = entry
        self._own.alarms.setdefault(entry.record.id, []).extend(alarms)

    def put_position(self, position_key: str, held: HeldPosition) -> None:
        """The position is now this."""
        position = held.position
        self._own.positions[position.id] = held
        if position.is_closed:
            other = self.held(position_key, position.key.account_id)
            if other is None or other.position.id == position.id:
                self._own.open_positions[position_key] = None
        else:
            self._own.open_positions[position_key] = position.id

    def write(self, *writes: Write) -> None:
        """Write these as well."""
        self._own.writes.extend(writes)

    def afterwards(self, action: Callable[[], None]) -> None:
        """Do this once it is durable: log lines, wake-ups. It must not fail and must not block."""
        self._own.afterwards.append(action)

    def merge(self) -> None:
        """Add the job's changes to its batch."""
        own, batch = self._own, self._batch
        batch.entries.update(own.entries)
        batch.positions.update(own.positions)
        batch.open_positions.update(own.open_positions)
        for order_id, alarms in own.alarms.items():
            batch.alarms.setdefault(order_id, []).extend(alarms)
        batch.writes.extend(own.writes)
        batch.afterwards.extend(own.afterwards)


def merged(writes: Sequence[Write]) -> list[Write]:
    """One write per document: later plain writes are folded into the earlier one of the same document."""
    found: dict[tuple[str, str], Write] = {}
    for write in writes:
        key = (write.collection, write.id)
        first = found.get(key)
        if first is None:
            found[key] = write
        elif write.expected_revision is None:
            found[key] = replace(first, document={**first.document, **write.document})
        else:
            raise ValueError(f"two decisions of one batch write {write.collection}/{write.id}")
    return list(found.values())
