"""Which accounts this worker owns: the lease, its heartbeat, and taking over from workers that are gone.

One worker owns an account: it alone holds the broker session, sends, books reports and keeps positions. The lease is
fenced by an epoch that every commit checks, so that a worker which lost it writes nothing; and whoever is about to send
asks `may_send`, so that a worker which may have lost it sends nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from exec_service.stores import ACCOUNTS, Lease, LeaseLost, RevisionConflict, Store, StoreError, Write

logger = logging.getLogger(__name__)

#: A heartbeat is sent so many times per lease.
HEARTBEATS_PER_LEASE = 5


@dataclass(frozen=True, slots=True)
class Ownership:
    """An account that is ours now. `sender_done_after_seconds`: how long an earlier owner, if it is not known to have
    ended, might still be sending: until then absence at the broker proves nothing."""

    account_id: str
    sender_done_after_seconds: float = 0.0


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
        if self.lease is None:
            raise LeaseLost("this worker has no lease")
        asked_at = time.monotonic()
        try:
            await self._store.renew_lease(self.lease)
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

    async def claim(self, account_id: str) -> Ownership | None:
        """Make the account ours, unless a worker that is not gone owns it.

        :raises LeaseLost: we are not a worker any more.
        """
        if self.lease is None:
            raise LeaseLost("this worker has no lease")
        documents = await self._store.load(ACCOUNTS, {"_id": account_id})
        revision = documents[0]["revision"] if documents else 0
        holder = documents[0]["worker_id"] if documents else None
        # A process before us under our own id may have been past its last check, as any other that is merely silent.
        wait = max(0.0, self._predecessor_done_at - time.monotonic()) if holder == self.worker_id else 0.0
        if holder is not None and holder != self.worker_id:
            state = next((worker for worker in await self._store.workers() if worker.worker_id == holder), None)
            if state is not None:
                if not state.is_gone or not await self._store.fence(holder, seen=state):
                    return None
                wait = state.sender_done_after_seconds
        document = {
            "_id": account_id,
            "revision": revision + 1,
            "worker_id": self.worker_id,
            "epoch": self.lease.epoch,
        }
        try:
            await self._store.commit([Write(ACCOUNTS, account_id, revision, document)], lease=self.lease)
        except RevisionConflict:
            return None  # another worker was quicker
        self.accounts.add(account_id)
        return Ownership(account_id, wait)

    async def stop(self) -> None:
        """Say good-bye, so that nobody waits for the lease to run out."""
        lease, self.lease = self.lease, None
        self.accounts.clear()
        if lease is not None:
            try:
                await self._store.release_lease(lease)
            except StoreError as error:
                logger.warning("The lease could not be given back: %s", error)
