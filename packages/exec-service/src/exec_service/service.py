"""The service: takes its accounts, takes messages in, and stops in good order.

It is given everything (see `bootstrap`) and knows no concrete store, bus, broker or notifier.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, timedelta

from exec_service.claims import Claim
from exec_service.committed import LIVE_STATUSES
from exec_service.desk import AccountDesk
from exec_service.intake import Intake
from exec_service.parts import Parts
from exec_service.readiness import Phase, Readiness, StoreStatus, assess
from exec_service.records import OrderRecord
from exec_service.stores import ORDERS, LeaseLost, StoreError
from exec_service.taking import Taking

__all__ = ["Parts", "Service", "cause_of"]

logger = logging.getLogger(__name__)

#: How long a start waits for brokers that do not answer before messages flow without them.
FIRST_CONNECT_SECONDS = 10.0
#: What of SHUTDOWN_TIMEOUT_SECONDS is kept for closing sessions, giving back the lease, and disconnecting.
LEAVING_SECONDS = 5.0
#: When people are reminded of orders that need them: 07:00 UTC.
MORNING = timedelta(hours=7)
#: How often orders that other workers took in are looked for although nobody seems to have written any.
LOOK_SECONDS = 60.0
#: How often it is looked whether it is morning.
REMIND_SECONDS = 5.0


def cause_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a group of failed tasks comes down to: a lost lease before all others, however deep it lies."""
    lost = errors.subgroup(LeaseLost)
    found: BaseException = lost if lost is not None else errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


class Service:
    """One worker, from its lease to its good-bye."""

    def __init__(self, parts: Parts, make_intake: Callable[[Service], Intake]) -> None:
        self._parts = parts
        self._intake = make_intake(self)
        self._taking = Taking(parts)
        self._tasks: list[asyncio.Task[None]] = []
        self._phase = Phase.STARTING
        self._stopping = asyncio.Event()
        #: Orders may be stored of which no desk was told.
        self._look_again = False
        #: Set when messages flow for the first time.
        self.opened = asyncio.Event()

    def stop(self) -> None:
        """Ask for a stop in good order; `run` returns when it is done."""
        self._stopping.set()

    @property
    def ready(self) -> bool:
        """Whether messages flow: accounts are taken up, and no stop was asked for."""
        return self._phase is Phase.RUNNING

    def readiness(self) -> Readiness:
        """Whether intake, store and the accounts of this worker really work, and if not, why."""
        parts = self._parts
        store = StoreStatus(
            parts.settings.worker_lease_seconds, parts.owner.heartbeat_age_seconds, parts.ledger.asking_since
        )
        return assess(
            self._phase,
            self.ended_tasks(),
            store,
            self._intake.status(),
            self._taking.statuses(),
            parts.outbox.status(),
            parts.clock(),
            parts.redact,
        )

    def ended_tasks(self) -> list[str]:
        """The tasks that the service cannot do without and that have ended although nobody stopped them."""
        if self._phase is Phase.STOPPED:
            return []
        expected = self._tasks if self._phase is not Phase.DRAINING else self._tasks[:-1]  # the intake ends first
        return [task.get_name() for task in expected if task.done()]

    @property
    def desks(self) -> Mapping[str, AccountDesk]:
        """The accounts at work."""
        return self._taking.desks

    def backlog(self) -> int:
        """How many orders wait for their broker's answer."""
        return sum(desk.dispatcher.waiting for desk in self.desks.values())

    async def claim(self, record: OrderRecord) -> Claim | None:
        """Have an order that is not stored yet sent at once, if its account's desk is ours and can."""
        desk = self.desks.get(record.order.request.account_id)
        return None if desk is None else await desk.claim(record)

    def accept(self, record: OrderRecord) -> None:
        """A PENDING order was stored: its account's desk sends it, if the account is ours."""
        account_id = record.order.request.account_id
        desk = self.desks.get(account_id)
        if desk is not None:
            desk.accept(record)
        else:
            self.notice(account_id)

    def notice(self, account_id: str) -> None:
        """The account has an order that nobody may have taken up: perhaps no desk of ours is there for it yet."""
        self._look_again = True  # it may be one of ours that we do not know to be stored
        if not self._taking.is_known(account_id):
            self._taking.offer(account_id)

    async def run(self) -> None:
        """Work until `stop`.

        :raises LeaseLost: another worker took over; everything is stopped, and a new service may be started.
        """
        parts = self._parts
        parts.ledger.lease = await parts.owner.start()
        try:
            async with asyncio.TaskGroup() as group:
                core = self._tasks = [
                    group.create_task(parts.ledger.run(), name="ledger"),
                    group.create_task(parts.owner.run(), name="heartbeat"),
                ]
                await self._take_accounts()
                core += [
                    group.create_task(parts.outbox.run(), name="outbox"),
                    group.create_task(self._watch_store(), name="store"),
                    group.create_task(self._taking.run(), name="sharing"),
                    group.create_task(self._remind(), name="reminders"),
                ]
                intake = group.create_task(self._intake.run(), name="intake")
                self._tasks = [*core, intake]
                logger.info("Execution service ready: consuming %s", parts.settings.trading_orders_subscription)
                self._phase = Phase.RUNNING
                self.opened.set()
                await self._stopping.wait()
                self._phase = Phase.DRAINING
                if await self._drain(intake):
                    await self._hand_back()
                self._phase = Phase.STOPPED
                for task in core:
                    task.cancel()
        except BaseExceptionGroup as errors:
            cause = cause_of(errors)
            raise await self._without_lease() if isinstance(cause, LeaseLost) else cause from errors
        finally:
            await self._let_go()
            self._phase = Phase.STOPPED

    async def _take_accounts(self) -> None:
        """Take our share of the accounts that are configured, or have unfinished orders."""
        parts = self._parts
        documents = await parts.store.load(ORDERS, {"status": LIVE_STATUSES})
        with_orders = Counter(document["account_id"] for document in documents if document["request"] is not None)
        for account_id, count in sorted(with_orders.items()):
            if parts.account(account_id) is None:
                text = f"{count} unfinished orders of account {account_id} cannot be followed: it is not configured"
                logger.error("%s", text)
                await parts.ledger.write(*parts.projector.alarm(account_id, text, parts.clock()))
        await self._taking.begin([key for key in with_orders if parts.account(key) is not None], self._stopping)
        await self._taking.started(FIRST_CONNECT_SECONDS)

    async def _remind(self) -> None:
        """Remind people each morning of what needs them."""
        day = self._morning()
        while True:
            await asyncio.sleep(REMIND_SECONDS)
            if self._morning() != day:
                day = self._morning()
                for desk in self.desks.values():
                    desk.remind()

    def _morning(self) -> date:
        """The day, which begins at `MORNING`."""
        return (self._parts.clock() - MORNING).date()

    async def _watch_store(self) -> None:
        """React to what other processes write: commands, and orders that other workers took in."""
        store = self._parts.store
        looked_at, changed = 0.0, True
        while True:
            try:
                self._taking.kick()
                await self._parts.commands.work()
                now = asyncio.get_running_loop().time()
                # All that is PENDING is read: not without a reason, though now and then all the same.
                if changed or self._look_again or now > looked_at + LOOK_SECONDS:
                    looked_at, self._look_again = now, False
                    for desk in list(self.desks.values()):
                        await desk.refresh()
                changed = await store.wait_for_change(5.0)
            except LeaseLost:
                raise
            except StoreError as error:
                logger.warning("The store cannot be watched, trying again: %s", error)
                await asyncio.sleep(1.0)

    async def _drain(self, intake: asyncio.Task[None]) -> bool:
        """Stop in good order: no intake, no new send; answers, commits and deliveries under way are finished.

        Whether that was done in time.
        """
        logger.info("Stopping: orders that rest at the broker stay there")
        whole = self._parts.settings.shutdown_timeout_seconds
        seconds = max(whole - LEAVING_SECONDS, whole / 2)
        done = False
        try:
            async with asyncio.timeout(seconds):
                intake.cancel()
                await asyncio.wait([intake])
                await self._intake.settled()
                await self._taking.withdraw()
                await self._taking.drain()
                await self._parts.ledger.write()
                await self._parts.outbox.drained()
                done = True
        except TimeoutError:
            logger.warning("Not everything was finished within %g s; the next start takes it up", seconds)
        waiting = {name: count for name, count in self._parts.outbox.waiting.items() if count}
        if waiting:
            logger.warning("Not delivered yet, the next start goes on with it: %s", waiting)
        return done

    async def _hand_back(self) -> None:
        """Free the accounts, so that others take them up at once; what is not freed waits for the end of the lease."""
        try:
            async with asyncio.timeout(LEAVING_SECONDS / 2):
                await self._taking.hand_back()
        except (TimeoutError, StoreError) as error:
            logger.warning("The accounts could not be freed: %s", str(error) or "it took too long")

    async def _without_lease(self) -> LeaseLost:
        """What to say of a lease that was lost: who took over, and what was not done any more."""
        parts = self._parts
        unsent = sum(desk.dispatcher.unsent for desk in self.desks.values())
        unwritten, undelivered = parts.ledger.unwritten, sum(parts.outbox.waiting.values())
        epoch = None if parts.ledger.lease is None else parts.ledger.lease.epoch
        try:
            async with asyncio.timeout(LEAVING_SECONDS):
                by = ", ".join(await parts.owner.successors()) or "another worker"
        except (TimeoutError, StoreError):
            by = "another worker"
        return LeaseLost(
            f"Lost its lease (epoch {epoch}, taken over by {by}): {unsent} orders not sent, "
            f"{unwritten} changes not written, {undelivered} deliveries not begun"
        )

    async def _let_go(self) -> None:
        await self._taking.stop()
        await self._parts.owner.stop()
