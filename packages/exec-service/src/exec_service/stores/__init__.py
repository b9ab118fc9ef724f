"""The store: what the service needs of a database, and nothing that only one database has.

Two calls carry everything: `load`, and `commit`, which writes all of its documents or none, and only while the
worker's lease stands. Documents are dictionaries of str, int, bool, None, `Decimal`, float, aware UTC `datetime`,
list and dict; every value comes back equal and of the same type. The bounds are BSON's: int of 64 bits, `Decimal` of 34
digits, times to the millisecond (the rest is cut off), no NaN or infinity, no half surrogate pairs, keys that are text
without NUL, 100 levels. What is beyond them is a `ValueError` before anything is written; so are a collection that does
not exist and a field that is not indexed. A str enumeration, a tuple and any mapping may be written; they come back as
str, list and dict. A store that passes the conformance suite (``tests/conformance/store_suite.py``) will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self

Document = dict[str, Any]

ORDERS: Final = "orders"
FILLS: Final = "fills"
POSITIONS: Final = "positions"
CONFIRMATIONS: Final = "execution_confirmations"
SIGNALS: Final = "signal_store"
OUTBOX: Final = "outbox"
DEAD_LETTERS: Final = "dead_letters"
COMMANDS: Final = "commands"
ACCOUNTS: Final = "accounts"
UNMATCHED: Final = "unmatched_reports"
FINDINGS: Final = "findings"
SHARING: Final = "sharing"

#: Fields that `load` can select and order by, per collection, quickly where the service does so. `_id` always can.
INDEXES: Final[Mapping[str, tuple[str, ...]]] = {
    ORDERS: ("signal_id", "status", "account_id", "sequence", "order_id", "attention"),
    FILLS: ("client_order_id", "account_id", "received_at"),
    POSITIONS: ("position_key", "account_id", "status", "opened_at", "residual_quantity"),
    CONFIRMATIONS: ("signal_id", "status", "updated_at"),
    SIGNALS: ("signal_id",),
    OUTBOX: ("delivered_at", "channel", "sequence"),
    DEAD_LETTERS: ("received_at",),
    COMMANDS: ("state", "created_at"),
    ACCOUNTS: ("worker_id",),
    UNMATCHED: ("account_id", "broker_order_id", "client_order_id", "matched_at"),
    FINDINGS: ("account_id", "cleared_at"),
    SHARING: ("epoch",),
}

#: Combinations that no two documents may share.
UNIQUE: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    ORDERS: (("signal_id", "leg_index"),),
    CONFIRMATIONS: (("signal_id", "leg_index"),),
}
#: At most one position that is not CLOSED per key.
OPEN_POSITION: Final = ("position_key", "CLOSED")


class StoreError(Exception):
    """The store could not do it."""


class StoreMisconfigured(StoreError):
    """The settings name no store that could ever be opened."""


class StoreUnavailable(StoreError):
    """It cannot be reached, or is busy beyond patience; nothing is known to be written. Try again."""


class StoreNotPrepared(StoreError):
    """It was opened only to look, and no service has made anything there yet."""


class RevisionConflict(StoreError):
    """Nothing was written: these documents are not (any more) as expected. Load them again and decide anew."""

    def __init__(self, conflicts: Sequence[tuple[str, str]]) -> None:
        super().__init__("changed by somebody else: " + ", ".join(f"{name}/{key}" for name, key in conflicts))
        self.conflicts = tuple(conflicts)


class LeaseLost(StoreError):
    """Nothing was written: the worker's lease was taken over. It must stop writing and sending."""


class WorkerAlive(StoreError):
    """Another live process runs under this worker id."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Values for the end of a list field; of the list then only the last `keep` stay (None: all)."""

    values: Sequence[Any]
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """One document to write: its top-level fields are set, others that stand there stay.

    `expected_revision`: 0 = it must not exist yet; n = the stored ``revision`` is n; None = whatever it is.
    With a number above 0, `document` carries the new, higher ``revision``, and what is long need not be written anew:
    `inside` sets fields of sub-documents (by the name of the sub-document), `appended` adds to lists; what is missing
    counts as empty. No field stands in two of the three.
    """

    collection: str
    id: str
    expected_revision: int | None
    document: Mapping[str, Any]
    inside: Mapping[str, Mapping[str, Any]] | None = None
    appended: Mapping[str, Appended] | None = None


@dataclass(frozen=True, slots=True)
class Replacement:
    """A whole document to stand where another stands, if that one's ``revision`` is `expected_revision` still."""

    expected_revision: int
    document: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Which document it replaces."""
        return str(self.document["_id"])

    def check(self, name: str) -> None:
        """Whether it could be written. :raises ValueError: its revision does not rise."""
        revision = self.document.get("revision")
        if not isinstance(revision, int) or revision <= self.expected_revision:
            raise ValueError(
                f"{name}: revision {revision!r} does not follow {self.expected_revision}; a change must raise it"
            )


@dataclass(frozen=True, slots=True)
class SignalChange:
    """A change to a signal's document: found by ``_id`` in `ids`, else by ``signal_id``, else new.

    `merge` gets the document (or None) and returns the top-level fields to set, or None to leave it; it may be called
    more than once, and in another thread, and does not change whose signal it is. A new document's ``_id`` and
    ``signal_id`` are `signal_id`. What `merge` raises is raised, but for a `ValueError`, which concerns only this one.
    """

    ids: Sequence[str]
    signal_id: str
    merge: Callable[[Document | None], Document | None]


class Not:
    """A condition of `load`: anything but `value` (or the values of a list); absence is different from every value."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


@dataclass(frozen=True, slots=True)
class Within:
    """A condition of `load`: a number or a time, from `at_least` on and before `below`; None: no bound on that side.

    It is for fields whose values are all of one of the two kinds. Absence is within nothing.
    """

    at_least: int | datetime | None = None
    below: int | datetime | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to write, under an epoch: whoever takes over raises it, and the old holder is fenced.

    `sender_done_after_seconds`: how long an earlier process under the same id, which was silent and is not known to
    have ended, may still be sending what it began.
    """

    worker_id: str
    epoch: int
    seconds: float
    sender_done_after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as the store knows it. `proven_dead`: its process is known to have ended, not merely silent."""

    worker_id: str
    epoch: int
    heartbeat_age_seconds: float
    lease_seconds: float
    released: bool
    proven_dead: bool
    host: str
    process_id: int
    started_at: datetime

    @property
    def is_gone(self) -> bool:
        """Whether its accounts may be taken over: it said good-bye, is known dead, or let its lease run out."""
        return self.released or self.proven_dead or self.heartbeat_age_seconds > self.lease_seconds

    @property
    def sender_done_after_seconds(self) -> float:
        """How long it may still be sending what it began: one that is merely silent, until twice its lease is over."""
        if self.released or self.proven_dead:
            return 0.0
        return max(0.0, 2 * self.lease_seconds - self.heartbeat_age_seconds)


class Store(Protocol):
    """Durable documents. Every call raises `StoreUnavailable` when the database cannot answer."""

    async def __aenter__(self) -> Self:
        """Connect, and make what is missing (collections, indexes)."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Disconnect."""
        ...

    async def load(
        self,
        collection: str,
        where: Mapping[str, Any] | None = None,
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Document]:
        """The documents that fulfil all conditions: field = value, one of a list, `Not`, `Within`; None is absence.

        Without `order_by` in no particular order; absent values are the smallest, text is compared by code points.
        """
        ...

    async def count(self, collection: str, where: Mapping[str, Any] | None = None) -> int:
        """How many documents `load` would find, without reading them."""
        ...

    async def commit(self, writes: Sequence[Write], *, lease: Lease | None = None) -> None:
        """Write all or nothing, durably, in this order, and only while `lease` stands (its heartbeat is touched).

        The order matters for what must be unique: close a position before its successor is opened. A cancelled commit
        has happened, or not, or does so within moments: `load` tells.

        :raises RevisionConflict: a document is not as expected, or a unique combination is taken.
        :raises LeaseLost: the lease's epoch was raised, or it was released.
        :raises ValueError: two writes to one document, or one that can never be written.
        """
        ...

    async def insert(self, collection: str, documents: Sequence[Document]) -> set[str]:
        """Insert those whose ``_id`` (and unique combination) is new, durably; the ids of the others come back.

        Of two in one call that exclude each other the second is such another.
        """
        ...

    async def replace(self, collection: str, replacements: Sequence[Replacement]) -> set[str]:
        """Replace those documents that stand at the expected revision, durably; the ids of the others come back.

        Each is a change of its own: of a call that fails, or is cancelled, some may be done, and `load` tells which. No
        lease is asked for, so it is only for what no worker changes any more.
        """
        ...

    async def remove(self, collection: str, ids: Sequence[str]) -> None:
        """Remove the documents of these ids that are there, durably; of a call that fails, some may be gone."""
        ...

    async def update_signals(self, changes: Sequence[SignalChange]) -> list[StoreError | ValueError | None]:
        """Make all of these changes, in the order given where they concern one document; each for itself, durably.

        The answer tells of each change what keeps it from ever being made, as of a document that others own and that
        will not take it; the other changes are made all the same. None: it is made, or `merge` wants none.

        :raises StoreUnavailable: any of them may be made, or not. Ask for all of them again: whatever is made already,
            its `merge` must know, and return None or the same fields.
        """
        ...

    async def take_lease(self, worker_id: str, seconds: float) -> Lease:
        """Become the worker `worker_id`, under a new, higher epoch; a store may take its own worker's again.

        :raises WorkerAlive: a live process holds it.
        """
        ...

    async def renew_lease(self, lease: Lease) -> None:
        """Heartbeat. :raises LeaseLost: it was taken over, or released."""
        ...

    async def release_lease(self, lease: Lease) -> None:
        """Say good-bye, so that nobody waits for it to run out; nothing happens to a lease that was taken over."""
        ...

    async def workers(self) -> list[WorkerState]:
        """All workers ever seen, by the database's clock."""
        ...

    async def fence(self, worker_id: str, *, seen: WorkerState | None = None) -> bool:
        """Raise a gone worker's epoch: from now on it cannot write. An unknown worker needs no fence.

        With `seen` only if it is still as it was seen, and still gone; False when it has come back.
        """
        ...

    async def wait_for_change(self, timeout_seconds: float) -> bool:
        """Wait until somebody else has written something since this last returned True (at first: since entering).

        False when the time is over. This store's own writes do not count, nor does what is written to `signal_store`;
        a wake-up for nothing of interest may happen.
        """
        ...
