"""Engines that are broken on purpose where several workers share the accounts: leases, take-over and hand-over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from exec_service import handover
from exec_service.outbox import Channel
from exec_service.ownership import Owner
from exec_service.stores import ACCOUNTS, Lease, LeaseLost, WorkerState, Write
from exec_service.stores.sqlite import SqliteStore

from crash.engines import Catalogue, Patch, instead
from crash.seams import Variant
from crash.wrapped import SeamStore

ENGINES = Catalogue()
broken = ENGINES.add

STALLED = (Variant.STALLED_BEFORE,)
PAUSED = (Variant.PAUSED_BEFORE, Variant.PAUSED_AFTER)


@broken("commits without looking at its lease's epoch", "market", workers=2, hint="commit accounts", first=PAUSED)
def writes_unfenced() -> Patch:
    original = SqliteStore.commit

    async def commit(self: Any, writes: Sequence[Write], *, lease: Lease | None = None) -> None:
        await original(self, writes)

    return instead(SqliteStore, "commit", commit)


@broken("sends however old its last heartbeat is", "market", workers=2, hint="SUBMITTING", first=PAUSED[1:])
def sends_unsure() -> Patch:
    return instead(Owner, "may_send", lambda self: True)


@broken("takes accounts over without fencing their owner", "market", workers=2, hint="send", first=PAUSED)
def takes_unfenced() -> Patch:
    async def fence(self: Any, worker_id: str, *, seen: WorkerState | None = None) -> bool:
        return True

    return instead(SeamStore, "fence", fence)


@broken("takes accounts over before their owner's lease is over", "idle", workers=2, first=PAUSED)
def takes_early() -> Patch:
    def is_gone(self: WorkerState) -> bool:
        return self.released or self.proven_dead or self.heartbeat_age_seconds > self.lease_seconds / 10

    return mock.patch.object(WorkerState, "is_gone", property(is_gone))


@broken("counts absence as soon as it has taken over", "market", workers=2, hint="send", first=STALLED)
def absent_early() -> Patch:
    return mock.patch.object(WorkerState, "sender_done_after_seconds", property(lambda self: 0.0))


@broken("delivers without looking at its lease", "market", workers=2, hint="signal", first=PAUSED)
def tells_unfenced() -> Patch:
    original = Channel.run

    async def run(self: Any, mark: Callable[[Any], Any], *_: Any) -> None:
        await original(self, mark)

    return instead(Channel, "run", run)


@broken("takes an account that another worker was quicker to take", "market", workers=2, hint="claim", first=STALLED)
def claims_anyway() -> Patch:
    original = SeamStore.commit

    async def commit(self: Any, writes: Sequence[Write], *, lease: Lease | None = None) -> None:
        forced = [
            replace(write, expected_revision=None)
            if write.collection == ACCOUNTS and write.document.get("worker_id") is not None
            else write
            for write in writes
        ]
        await original(self, forced, lease=lease)

    return instead(SeamStore, "commit", commit)


@broken("goes on with a heartbeat that was refused", "idle", workers=2, hint="heartbeat", first=PAUSED)
def renews_lost() -> Patch:
    original = Owner.renew

    async def renew(self: Any) -> None:
        try:
            await original(self)
        except LeaseLost:
            return

    return instead(Owner, "renew", renew)


@broken("frees an account without closing its desk", "joins", workers=2)
def keeps_working() -> Patch:
    async def close(parts: Any, desk: Any) -> None:
        parts.owner.leave(desk.account_id)

    return mock.patch.object(handover, "close", close)
