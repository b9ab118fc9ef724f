"""Who serves which account: looks who is there, takes its share, and hands over what is another worker's.

Every worker looks at the same tables and follows the same rule (`sharing`). It looks when somebody has written
something, and once a second in any case: that a process has ended is written by nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from exec_service import handover
from exec_service.backoff import exponential
from exec_service.desk import AccountDesk
from exec_service.ownership import Ownership, Table
from exec_service.parts import Parts
from exec_service.readiness import AccountStatus
from exec_service.sharing import Served, plan
from exec_service.stores import LeaseLost, StoreError

logger = logging.getLogger(__name__)

#: How often the tables are looked at, at least and at most.
LOOK_SECONDS = 1.0
QUIET_SECONDS = 0.2
#: An account that another worker should have taken, and did not, is kept for so many leases before that is tried again.
LEFT_OVER_LEASES = 10.0


class Taking:
    """This worker's accounts, from claiming to freeing them."""

    def __init__(self, parts: Parts, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._monotonic = monotonic
        self._lease_seconds = parts.settings.worker_lease_seconds
        self._began = 0.0
        #: The accounts at work.
        self.desks: dict[str, AccountDesk] = {}
        self._taking: dict[str, asyncio.Task[None]] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._elsewhere: frozenset[str] = frozenset()
        #: Desks that are being closed.
        self._closing: set[AccountDesk] = set()
        #: What keeps accounts from being served, and when they are tried again; those that are kept for a while.
        self._problems: dict[str, str] = {}
        self._not_before: dict[str, float] = {}
        self._kept_until: dict[str, float] = {}
        self._free_since: dict[str, float] = {}
        self._gone: frozenset[str] | None = None
        self._offered: set[str] = set()
        self._withdrawn = False
        self._kicked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------ what others ask

    def statuses(self) -> list[AccountStatus]:
        """How each account that is known here is served."""
        found = []
        known = {*self._parts.settings.accounts, *self.desks, *self._taking, *self._problems}
        if self._parts.settings.serves_any_account:
            known |= self._elsewhere
        for account_id in sorted(known):
            if account_id in self.desks:
                found.append(self.desks[account_id].status())
            else:
                elsewhere = account_id in self._elsewhere and account_id not in self._taking
                found.append(AccountStatus(account_id, elsewhere=elsewhere, problem=self._problems.get(account_id)))
        return found

    def is_known(self, account_id: str) -> bool:
        """Whether somebody is sure to see to the account: it is configured, at work, or another worker's."""
        known = account_id in self._parts.settings.accounts or account_id in self.desks
        return known or account_id in self._taking or account_id in self._elsewhere

    def kick(self) -> None:
        """Look at the tables soon: something may have changed."""
        self._kicked.set()

    def offer(self, account_id: str) -> None:
        """There is an order for an account that was not known: somebody must take it."""
        if self._parts.account(account_id) is not None and account_id not in self._offered:
            self._offered.add(account_id)
            self._spawn(self._offer(account_id))

    async def _offer(self, account_id: str) -> None:
        try:
            await self._parts.owner.offer(account_id)
        except StoreError as error:
            logger.warning("Account %s cannot be made known yet: %s", account_id, error)
        finally:
            self._offered.discard(account_id)
        self.kick()

    # ------------------------------------------------------------------ looking

    async def begin(self, with_orders: Iterable[str], stopping: asyncio.Event) -> None:
        """Tell the others that we are there, and of the accounts that have orders; take the first share."""
        self._began = self._monotonic()
        unfinished = [account_id for account_id in with_orders if account_id not in self._parts.settings.accounts]
        waits = exponential(0.2, 10.0)
        while not stopping.is_set():
            try:
                await self._parts.owner.announce(self._serves)
                for account_id in unfinished:
                    await self._parts.owner.offer(account_id)
                await self.look()
                return
            except LeaseLost:
                raise
            except StoreError as error:
                logger.warning("The accounts cannot be shared out yet, trying again: %s", error)
                await asyncio.sleep(next(waits))

    async def run(self) -> None:
        """Look, again and again. :raises LeaseLost: another worker took over."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._kicked.wait()
            except TimeoutError:
                pass  # nobody has written anything; but a worker may have ended
            self._kicked.clear()
            try:
                await self.look()
            except LeaseLost:
                raise
            except StoreError as error:
                logger.warning("The accounts cannot be looked at, trying again: %s", error)
            await asyncio.sleep(QUIET_SECONDS)

    async def started(self, seconds: float) -> None:
        """Wait for the accounts that are being taken up, but not for ever."""
        if self._taking:
            await asyncio.wait(self._taking.values(), timeout=seconds)

    async def look(self) -> None:
        """Look who is there and who owns what; take what is meant for us, hand over what is not."""
        if self._withdrawn:
            return
        parts, me = self._parts, self._parts.owner.worker_id
        table = await parts.owner.look()
        now = self._monotonic()
        workers: dict[str, Served] = {**table.workers, me: self._serves}
        owners = self._to_be_served(table, workers)
        self._note(owners, now)
        await self._see_to_deliveries(table)
        # Those who were started with us are about to come: what is theirs is not taken, only to be moved at once.
        starting = now - self._began < self._lease_seconds
        expected = max(0, parts.expected_workers - len(workers)) if starting else 0
        wanted = plan(me, workers, owners, expected=expected)
        ours = [account_id for account_id, owner in owners.items() if owner == me]
        # A worker that takes nothing although it lives must not keep an account from being served.
        left_over = [key for key, since in self._free_since.items() if now - since > self._lease_seconds]
        for account_id in dict.fromkeys([*ours, *wanted.claim, *left_over]):
            if parts.account(account_id) is not None and self._is_idle(account_id, now):
                self._take_soon(account_id)
                if account_id in left_over:
                    self._kept_until[account_id] = now + LEFT_OVER_LEASES * self._lease_seconds
        for account_id in wanted.release:
            if self._may_leave(account_id, now):
                self._leave_soon(account_id, len(workers), len(owners))

    @property
    def _serves(self) -> Served:
        settings = self._parts.settings
        return None if settings.serves_any_account else frozenset(settings.accounts)

    def _to_be_served(self, table: Table, workers: Mapping[str, Served]) -> dict[str, str | None]:
        """The accounts that any worker here can serve, with their owners."""
        configured = [account_id for served in workers.values() for account_id in served or ()]
        found = {**dict.fromkeys(configured), **table.owners}
        # What nobody is configured for has been once, and is nobody's now.
        any_account = None in workers.values()
        return {key: owner for key, owner in found.items() if any_account or key in configured or owner is not None}

    def _note(self, owners: Mapping[str, str | None], now: float) -> None:
        """Remember what was seen."""
        me = self._parts.owner.worker_id
        elsewhere = frozenset(key for key, owner in owners.items() if owner is not None and owner != me)
        for account_id in sorted(elsewhere - self._elsewhere):
            if self._parts.account(account_id) is not None:
                logger.info("Account %s is owned by another worker", account_id)
            self._problems.pop(account_id, None)
        self._elsewhere = elsewhere
        free = {key for key, owner in owners.items() if owner is None}
        self._free_since = {key: self._free_since.get(key, now) for key in free}

    async def _see_to_deliveries(self, table: Table) -> None:
        """Take up deliveries that come with no account that we take: answers to messages that nobody could use.

        What belongs to no account that somebody will take belongs to whoever comes. When a worker goes, what it has not
        delivered belongs to the owner of the account.
        """
        before, self._gone = self._gone, table.gone
        configured = self._parts.settings.accounts
        if before is None:
            await self._parts.outbox.take_up(lambda key: key not in configured and key not in self._elsewhere)
        elif table.gone - before:
            first = self._parts.owner.worker_id == min([*table.workers, self._parts.owner.worker_id])
            await self._parts.outbox.take_up(
                lambda key: key in self.desks or (first and self._parts.account(key) is None)
            )

    # ------------------------------------------------------------------ taking

    def _is_idle(self, account_id: str, now: float) -> bool:
        """Whether nothing is done about the account here."""
        busy = account_id in self.desks or account_id in self._taking or account_id in self._leaving
        return not busy and now >= self._not_before.get(account_id, now)

    def _take_soon(self, account_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._take(account_id), name=f"take {account_id}")
        self._taking[account_id] = task
        task.add_done_callback(lambda _task: self._taking.pop(account_id, None))

    async def _take(self, account_id: str) -> None:
        """Make the account ours and start its desk; where that is not possible now, a later look tries again."""
        waits = exponential(0.2, 10.0)
        while not self._withdrawn:
            try:
                ownership = await self._parts.owner.claim(account_id)
                break
            except LeaseLost:
                return  # the heartbeat meets the same, and ends this worker
            except StoreError as error:
                logger.warning("Account %s cannot be claimed, trying again: %s", account_id, error)
                await asyncio.sleep(next(waits))
        else:
            return
        if ownership is None:
            return  # another worker was quicker
        try:
            await self._start(ownership)
        except LeaseLost:
            return
        except Exception as error:
            logger.exception("Account %s cannot be taken up, trying again", account_id)
            self._problems[account_id] = f"it cannot be taken up ({type(error).__name__}: {error})"
            self._not_before[account_id] = self._monotonic() + self._lease_seconds / 3
            begun = self.desks.pop(account_id, None)
            if begun is not None:
                await begun.stop()

    async def _start(self, ownership: Ownership) -> None:
        parts, account_id = self._parts, ownership.account_id
        account = parts.account(account_id)
        if account is None:
            return
        # Before anything new happens in the account: what is owed comes first.
        await parts.outbox.take_up(lambda owner: owner == account_id)
        desk = AccountDesk(
            ownership,
            parts.settings.broker_config(account),
            parts.plugins(account.broker),
            parts.settings,
            parts.execution,
            parts.ledger,
            parts.store,
            parts.projector,
            parts.clock,
            parts.owner.may_send,
            parts.redact,
        )
        self.desks[account_id] = desk
        self._problems.pop(account_id, None)
        await desk.start()
        desk.send_waiting()

    # ------------------------------------------------------------------ leaving

    def _may_leave(self, account_id: str, now: float) -> bool:
        ready = account_id not in self._taking and account_id not in self._leaving
        return ready and now >= self._kept_until.get(account_id, now)

    def _leave_soon(self, account_id: str, workers: int, accounts: int) -> None:
        logger.info("Account %s is handed over: %d workers share %d accounts", account_id, workers, accounts)
        task = asyncio.get_running_loop().create_task(self._leave(account_id), name=f"leave {account_id}")
        self._leaving[account_id] = task
        task.add_done_callback(lambda _task: self._leaving.pop(account_id, None))

    async def _leave(self, account_id: str) -> None:
        """Hand the account over. What cannot be handed over now is ours: a later look goes on with it, for a lease."""
        self._kept_until[account_id] = self._monotonic() + self._lease_seconds
        desk = self.desks.get(account_id)
        try:
            if desk is not None:
                if not await handover.answered(desk):
                    return
                await self._close(desk)
                if not await handover.give_up_deliveries(self._parts, account_id):
                    return
            await handover.free(self._parts, [account_id])
            self._kept_until.pop(account_id)
            logger.info("Account %s is free for another worker", account_id)
        except LeaseLost:
            return  # the heartbeat meets the same, and ends this worker
        except Exception:
            logger.exception("Account %s could not be handed over, and is kept", account_id)
        finally:
            self.kick()

    async def _close(self, desk: AccountDesk) -> None:
        del self.desks[desk.account_id]
        self._closing.add(desk)
        await handover.close(self._parts, desk)
        self._closing.discard(desk)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------------ the end

    async def withdraw(self) -> None:
        """Take nothing more, and tell the others, who share what we leave."""
        self._withdrawn = True
        await self._cancel(self._taking.values())
        try:
            await self._parts.owner.announce(self._serves, leaving=True)
        except StoreError as error:
            logger.warning("The other workers could not be told that this one stops: %s", error)

    async def drain(self) -> None:
        """Begin no further send, wait for the answers that are under way, and close every desk."""
        await asyncio.gather(*(desk.drain() for desk in self.desks.values()), *self._leaving.values())
        await asyncio.gather(*(self._close(desk) for desk in list(self.desks.values())))

    async def hand_back(self) -> None:
        """Free what is ours still, after `drain`."""
        mine = await self._parts.owner.owned()
        if all(await asyncio.gather(*(handover.give_up_deliveries(self._parts, account_id) for account_id in mine))):
            await handover.free(self._parts, mine)

    async def stop(self) -> None:
        """Stop at once whatever is going on; what is not free by now is taken over."""
        await self._cancel([*self._taking.values(), *self._leaving.values(), *self._tasks])
        desks = [*self.desks.values(), *self._closing]
        await asyncio.gather(*(desk.stop() for desk in desks), return_exceptions=True)
        self.desks.clear()
        self._closing.clear()

    async def _cancel(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        cancelled = list(tasks)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
