"""What every `Store` must pass: leases that fence, and changes that wake."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from exec_service.stores import (
    FILLS,
    ORDERS,
    LeaseLost,
    Store,
    WorkerAlive,
    Write,
)
from store_samples import MOMENT_SECONDS, PATIENCE_SECONDS, StoreFixtures, ids, new, order, until, worker


class WorkerSuite(StoreFixtures):
    """Leases, and waiting for changes."""

    # ------------------------------------------------------------------ leases

    async def test_a_worker_that_holds_its_lease_can_write(self, store: Store, other: Store) -> None:
        lease = await store.take_lease("w", 30)

        await store.commit([new(ORDERS, order("A"))], lease=lease)
        await store.renew_lease(lease)

        assert (lease.worker_id, lease.seconds) == ("w", 30)
        assert len(await other.load(ORDERS)) == 1

    async def test_workers_tells_what_a_worker_is(self, store: Store, other: Store) -> None:
        assert await store.workers() == []
        lease = await store.take_lease("w/1 ä", 30)

        state = await worker(other, "w/1 ä")

        assert (state.epoch, state.lease_seconds) == (lease.epoch, 30)
        assert not state.released
        assert not state.proven_dead
        assert not state.is_gone
        assert state.heartbeat_age_seconds >= 0
        assert state.host
        assert state.process_id > 0
        assert state.started_at.utcoffset() == timedelta(0)

    async def test_two_live_processes_cannot_be_one_worker(self, store: Store, other: Store) -> None:
        lease = await store.take_lease("w", 30)

        with pytest.raises(WorkerAlive, match="w"):
            await other.take_lease("w", 30)

        await store.commit([new(ORDERS, order("A"))], lease=lease)  # the refusal harmed nobody

    async def test_workers_with_different_ids_do_not_meet(self, store: Store, other: Store) -> None:
        first, second = await store.take_lease("w1", 30), await other.take_lease("w2", 30)
        await store.fence("w2")

        await store.commit([new(ORDERS, order("A"))], lease=first)
        with pytest.raises(LeaseLost):
            await other.renew_lease(second)
        assert [state.worker_id for state in await store.workers()] == ["w1", "w2"]

    async def test_a_fenced_worker_writes_nothing(self, store: Store, other: Store) -> None:
        lease = await store.take_lease("w", 30)
        await other.fence("w")

        with pytest.raises(LeaseLost):
            await store.commit([new(ORDERS, order("A")), new(FILLS, {"_id": "F"})], lease=lease)
        with pytest.raises(LeaseLost):
            await store.renew_lease(lease)
        with pytest.raises(LeaseLost):
            await store.commit([], lease=lease)

        assert await other.load(ORDERS) == await other.load(FILLS) == []

    async def test_a_lost_lease_tells_more_than_a_conflict(self, store: Store, other: Store) -> None:
        lease = await store.take_lease("w", 30)
        await store.commit([new(ORDERS, order("A"))])
        await other.fence("w")

        with pytest.raises(LeaseLost):
            await store.commit([Write(ORDERS, "A", 7, order("A", 8))], lease=lease)

    async def test_a_heartbeat_of_a_fenced_worker_does_not_bring_it_back(self, store: Store, other: Store) -> None:
        lease = await store.take_lease("w", 0.05)
        await other.fence("w")
        await until(other, "w", lambda state: state.heartbeat_age_seconds > state.lease_seconds)

        with pytest.raises(LeaseLost):
            await store.renew_lease(lease)

        assert (await worker(other, "w")).is_gone

    async def test_a_fenced_worker_may_become_a_worker_again_under_a_higher_epoch(
        self, store: Store, other: Store
    ) -> None:
        old = await store.take_lease("w", 30)
        await other.fence("w")

        lease = await store.take_lease("w", 30)

        assert lease.epoch > old.epoch
        await store.commit([new(ORDERS, order("A"))], lease=lease)
        with pytest.raises(LeaseLost):
            await store.commit([new(ORDERS, order("B"))], lease=old)
        assert ids(await store.load(ORDERS)) == ["A"]

    async def test_a_fence_spares_a_worker_that_has_come_back(self, store: Store, other: Store) -> None:
        lease = await store.take_lease("w", 1.5)
        gone = await until(other, "w", lambda state: state.is_gone)
        await store.renew_lease(lease)

        assert await other.fence("w", seen=gone) is False
        await store.commit([new(ORDERS, order("A"))], lease=lease)

        gone = await until(other, "w", lambda state: state.is_gone)
        assert await other.fence("w", seen=gone) is True
        with pytest.raises(LeaseLost):
            await store.renew_lease(lease)
        assert await other.fence("w", seen=gone) is False

    async def test_fencing_nobody_is_harmless(self, store: Store) -> None:
        await store.fence("nobody")

        assert await store.workers() == []

    async def test_a_released_worker_is_gone_and_another_process_can_be_it_at_once(
        self, store: Store, other: Store
    ) -> None:
        old = await store.take_lease("w", 30)
        await store.release_lease(old)
        state = await worker(other, "w")

        lease = await other.take_lease("w", 30)

        assert state.released
        assert state.is_gone
        assert lease.epoch > old.epoch
        assert not (await worker(store, "w")).is_gone

    async def test_a_released_lease_does_not_write(self, store: Store) -> None:
        lease = await store.take_lease("w", 30)
        await store.release_lease(lease)

        with pytest.raises(LeaseLost):
            await store.commit([new(ORDERS, order("A"))], lease=lease)
        with pytest.raises(LeaseLost):
            await store.renew_lease(lease)

        assert await store.load(ORDERS) == []

    async def test_the_good_bye_of_a_fenced_worker_does_not_end_its_successor(self, store: Store, other: Store) -> None:
        old = await store.take_lease("w", 30)
        await other.fence("w")
        lease = await store.take_lease("w", 30)

        await store.release_lease(old)

        await store.commit([new(ORDERS, order("A"))], lease=lease)
        assert not (await worker(other, "w")).released
        with pytest.raises(WorkerAlive):
            await other.take_lease("w", 30)

    async def test_a_worker_that_stays_silent_longer_than_its_lease_is_gone_until_it_is_heard(
        self, store: Store, other: Store
    ) -> None:
        lease = await store.take_lease("w", 0.05)
        await until(other, "w", lambda state: state.is_gone)
        long = await store.take_lease("v", 30)
        await store.renew_lease(lease)

        state = await worker(other, "w")

        assert not state.released
        assert not state.proven_dead
        # A heartbeat, and a commit, count from now again.
        assert state.heartbeat_age_seconds < (await worker(other, "v")).heartbeat_age_seconds
        await store.commit([], lease=long)
        assert (await worker(other, "v")).heartbeat_age_seconds < (await worker(other, "w")).heartbeat_age_seconds

    async def test_a_lease_that_ran_out_but_was_not_taken_over_still_stands(self, store: Store, other: Store) -> None:
        lease = await store.take_lease("w", 0.05)
        await until(other, "w", lambda state: state.is_gone)

        await store.commit([new(ORDERS, order("A"))], lease=lease)

        assert len(await other.load(ORDERS)) == 1

    async def test_the_fence_holds_against_a_commit_under_way(self, store: Store, other: Store) -> None:
        """Whatever is committed under the old epoch is there when `fence` returns, and nothing comes after it."""
        for number in range(10):
            lease = await store.take_lease("w", 30)
            task = asyncio.create_task(store.commit([new(ORDERS, order(f"{number}"))], lease=lease))
            await asyncio.sleep(0)
            await other.fence("w")
            seen = await other.load(ORDERS, {"_id": f"{number}"})
            (outcome,) = await asyncio.gather(task, return_exceptions=True)

            assert isinstance(outcome, LeaseLost | None)
            assert len(seen) == (0 if outcome else 1)
            assert await other.load(ORDERS, {"_id": f"{number}"}) == seen

    # ------------------------------------------------------------------ changes

    @pytest.mark.parametrize("write", ["commit", "insert"])
    async def test_a_write_of_another_store_wakes_who_waits(self, store: Store, other: Store, write: str) -> None:
        waiting = asyncio.create_task(store.wait_for_change(PATIENCE_SECONDS))
        await asyncio.sleep(0)
        if write == "commit":
            await other.commit([new(ORDERS, order("A"))])
        else:
            await other.insert(ORDERS, [order("A")])

        assert await waiting is True

    async def test_a_write_between_two_waits_is_not_missed(self, store: Store, other: Store) -> None:
        for number in range(3):
            await other.commit([new(ORDERS, order(f"{number}"))])

            assert await store.wait_for_change(PATIENCE_SECONDS) is True
            assert len(await store.load(ORDERS)) == number + 1

    async def test_everybody_who_waits_is_woken(self, store: Store, other: Store) -> None:
        waiting = [asyncio.create_task(store.wait_for_change(PATIENCE_SECONDS)) for _ in range(3)]
        await asyncio.sleep(0)
        await other.commit([new(ORDERS, order("A"))])

        assert await asyncio.gather(*waiting) == [True, True, True]

    async def test_the_stores_own_writes_are_no_change(self, store: Store) -> None:
        await store.commit([new(ORDERS, order("A"))])
        lease = await store.take_lease("w", 30)
        await store.renew_lease(lease)
        await store.insert(ORDERS, [order("B")])

        assert await store.wait_for_change(MOMENT_SECONDS) is False

    async def test_a_change_is_reported_once(self, store: Store, other: Store) -> None:
        await other.commit([new(ORDERS, order("A"))])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await store.wait_for_change(MOMENT_SECONDS):
                pass  # one commit may be told in several parts, but must come to an end

        await other.load(ORDERS)
        assert await store.wait_for_change(0) is False

    async def test_the_store_works_while_somebody_waits(self, store: Store) -> None:
        waiting = asyncio.create_task(store.wait_for_change(PATIENCE_SECONDS))
        await asyncio.sleep(0)

        await store.commit([new(ORDERS, order("A"))])

        assert len(await store.load(ORDERS)) == 1
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
