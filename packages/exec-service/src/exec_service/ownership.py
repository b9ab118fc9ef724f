"""Which accounts this worker owns: the lease, its heartbeat, and taking over from workers that are gone.

One worker owns an account: it alone holds the broker session, sends, books reports and keeps positions. The lease is
fenced by an epoch that every commit checks, so that a worker which lost it writes nothing; and whoever is about to send
asks `may_send`, so that a worker which may have lost it sends nothing.

An account's row names its owner, and workers that may still be sending what they began there: those that were silent
when they were taken over from. Claiming and freeing are commits of their own; after one that got no answer the row
tells what became of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from exec_service import journal
from exec_service.backoff import exponential
from exec_service.sharing import Served
from exec_service.stores import (
    ACCOUNTS,
    SHARING,
    Document,
    Lease,
    LeaseLost,
    RevisionConflict,
    Store,
    StoreError,
    StoreUnavailable,
    WorkerState,
    Write,
)

logger = logging.getLogger(__name__)

#: A heartbeat is sent so many times per lease.
HEARTBEATS_PER_LEASE = 5


@dataclass(frozen=True, slots=True)
class Ownership:
    """An account that is ours now. `sender_done_after_seconds`: how long an earlier owner, if it is not known to have
    ended, might still be sending: until then absence at the broker proves nothing."""

    account_id: str
    sender_done_after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Table:
    """Who is there and who owns what, as the store had it a moment ago.

    `workers`: those that live and take part in the sharing, with the accounts they serve. `owners`: the accounts that
    somebody has owned, each with its owner if that one lives. `gone`: the workers that live no more.
    """

    workers: Mapping[str, Served]
    owners: Mapping[str, str | None]
    gone: frozenset[str]


class Owner:
    """This worker: its lease and its accounts."""

    def __init__(self, store: Store, worker_id: str, lease_seconds: float) -> None:
        self._store = store
        self.worker_id = worker_id
        self._seconds = lease_seconds
        self.lease: Lease | None = None
        self._confirmed_at = 0.0
        self._predecessor_done_at = 0.0
        self.accounts: set[str] = set()

    async def start(self) -> Lease:
        """Take the lease. :raises WorkerAlive: another live process runs under this worker id."""
        self.lease = await self._store.take_lease(self.worker_id, self._seconds)
        self._confirmed_at = time.monotonic()
        self._predecessor_done_at = self._confirmed_at + self.lease.sender_done_after_seconds
        return self.lease

    async def run(self) -> None:
        """Keep the lease alive. :raises LeaseLost: somebody took over."""
        while True:
            await asyncio.sleep(self._seconds / HEARTBEATS_PER_LEASE)
            await self.renew()

    async def renew(self) -> None:
        """One heartbeat; a store that is away, or refuses, is survived: `may_send` tells the rest."""
        lease = self._standing()
        asked_at = time.monotonic()
        try:
            await self._store.renew_lease(lease)
        except LeaseLost:
            raise
        except StoreError as error:
            logger.warning("The heartbeat could not be written: %s", error)
        else:
            self._confirmed_at = asked_at

    def owns(self, account_id: str) -> bool:
        """Whether the account is ours."""
        return account_id in self.accounts

    def may_send(self) -> bool:
        """Whether the last confirmed heartbeat is young enough to begin a send: less than half a lease old."""
        age = self.heartbeat_age_seconds
        return age is not None and age < self._seconds / 2

    @property
    def heartbeat_age_seconds(self) -> float | None:
        """How old the last confirmed heartbeat is; None without a lease."""
        return None if self.lease is None else time.monotonic() - self._confirmed_at

    async def announce(self, accounts: Collection[str] | None, *, leaving: bool = False) -> None:
        """Tell the others which accounts we serve (None: any there is), or that we take none any more.

        :raises LeaseLost: we are not a worker any more.
        """
        lease = self._standing()
        document = {
            "schema_version": journal.SCHEMA_VERSION,
            "epoch": lease.epoch,
            "accounts": None if accounts is None else sorted(accounts),
            "leaving": leaving,
        }
        await self._store.commit([Write(SHARING, self.worker_id, None, document)], lease=lease)

    async def look(self) -> Table:
        """Who lives, and who owns what. We count as living, whatever our heartbeat says: else `LeaseLost` will tell."""
        states = {state.worker_id: state for state in await self._store.workers()}
        live = {name for name, state in states.items() if name == self.worker_id or not state.is_gone}
        workers: dict[str, Served] = {}
        for row in await self._store.load(SHARING, {"_id": sorted(live)}):
            if row["epoch"] == states[row["_id"]].epoch and not row["leaving"]:
                workers[row["_id"]] = None if row["accounts"] is None else frozenset(row["accounts"])
        holders = {row["_id"]: row.get("worker_id") for row in await self._store.load(ACCOUNTS)}
        owners = {account_id: holder if holder in live else None for account_id, holder in holders.items()}
        return Table(workers, owners, frozenset(states) - live)

    async def offer(self, account_id: str) -> None:
        """Let everybody know that there is such an account; it is free if nobody has owned it."""
        await self._store.insert(ACCOUNTS, [{"_id": account_id, "revision": 1, "worker_id": None}])

    async def claim(self, account_id: str) -> Ownership | None:
        """Make the account ours, unless a worker that is not gone owns it. It does no harm where it is ours already.

        :raises StoreUnavailable: perhaps it is ours now; claiming it again tells.
        :raises LeaseLost: we are not a worker any more.
        """
        lease = self._standing()
        row = next(iter(await self._store.load(ACCOUNTS, {"_id": account_id})), None) or {}
        states = {state.worker_id: state for state in await self._store.workers()}
        holder, senders = row.get("worker_id"), set(row.get("may_still_send") or ())
        if holder is not None and holder != self.worker_id:
            state = states.get(holder)
            if state is not None:
                if not state.is_gone or not await self._store.fence(holder, seen=state):
                    return None
                senders.add(holder)
        waits = {name: self._still_sending(name, states) for name in senders}
        if holder == self.worker_id and row["epoch"] != lease.epoch:
            # A process before us under our own id may have been past its last check, as any other that is silent.
            waits[self.worker_id] = self._still_sending(self.worker_id, states)
        document = {
            "revision": row.get("revision", 0) + 1,
            "worker_id": self.worker_id,
            "epoch": lease.epoch,
            "may_still_send": sorted(name for name, wait in waits.items() if wait),
            "served_last_by": None,
        }
        try:
            await self._store.commit([Write(ACCOUNTS, account_id, row.get("revision", 0), document)], lease=lease)
        except RevisionConflict:
            return None  # another worker was quicker, or we were, without hearing of it: the next look tells
        self.accounts.add(account_id)
        return Ownership(account_id, max(waits.values(), default=0.0))

    def _still_sending(self, worker_id: str, states: Mapping[str, WorkerState]) -> float:
        """How long a process of that worker before this moment may still be sending."""
        if worker_id == self.worker_id:
            return max(0.0, self._predecessor_done_at - time.monotonic())
        return states[worker_id].sender_done_after_seconds if worker_id in states else 0.0

    def leave(self, account_id: str) -> None:
        """We still own the account, but do nothing more for it: it is about to be freed."""
        self.accounts.discard(account_id)

    async def free(self, account_ids: Iterable[str]) -> None:
        """Let anybody have the accounts, at once: we write and send nothing more there. It is tried until it is known.

        :raises LeaseLost: somebody took over from us.
        """
        wanted = set(account_ids)
        self.accounts -= wanted
        waits = exponential(0.1, 5.0)
        while wanted:
            lease = self._standing()
            try:
                rows = await self._store.load(ACCOUNTS, {"_id": sorted(wanted)})
                ours = [row for row in rows if row.get("worker_id") == self.worker_id]
                if ours:
                    await self._store.commit([self._freed(row) for row in ours], lease=lease)
                return
            except (StoreUnavailable, RevisionConflict) as error:
                # Written or not: the rows tell.
                logger.warning("Not known yet whether %s is free: %s", ", ".join(sorted(wanted)), error)
                await asyncio.sleep(next(waits))

    def _freed(self, row: Document) -> Write:
        document = {
            "revision": row["revision"] + 1,
            "worker_id": None,
            "epoch": None,
            "served_last_by": self.worker_id,
            "availability": None,
            "availability_since": None,
            "availability_reason": None,
        }
        return Write(ACCOUNTS, row["_id"], row["revision"], document)

    async def owned(self) -> list[str]:
        """The accounts that are ours by their rows."""
        return sorted(row["_id"] for row in await self._store.load(ACCOUNTS, {"worker_id": self.worker_id}))

    async def successors(self) -> list[str]:
        """The workers that own accounts of ours now: for the log of who lost its lease."""
        rows = await self._store.load(ACCOUNTS, {"_id": sorted(self.accounts)}) if self.accounts else []
        return sorted({row["worker_id"] for row in rows if row.get("worker_id") not in (None, self.worker_id)})

    def _standing(self) -> Lease:
        if self.lease is None:
            raise LeaseLost("this worker has no lease")
        return self.lease

    async def stop(self) -> None:
        """Say good-bye, so that nobody waits for the lease to run out."""
        lease, self.lease = self.lease, None
        self.accounts.clear()
        if lease is not None:
            try:
                await self._store.release_lease(lease)
            except StoreError as error:
                logger.warning("The lease could not be given back: %s", error)
