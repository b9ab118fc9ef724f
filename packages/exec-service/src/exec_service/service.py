"""The service: takes its accounts, takes messages in, and stops in good order.

It is given everything (see `bootstrap`) and knows no concrete store, bus, broker or notifier.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from exec_core.broker import BrokerPlugin
from exec_core.clock import Clock

from exec_service.backoff import exponential
from exec_service.commands import Commands
from exec_service.committed import LIVE_STATUSES
from exec_service.desk import AccountDesk
from exec_service.execution import Execution
from exec_service.intake import Intake
from exec_service.ledger import Ledger
from exec_service.outbox import Outbox
from exec_service.ownership import Owner
from exec_service.projections import Projector
from exec_service.readiness import AccountStatus, Phase, Readiness, StoreStatus, assess
from exec_service.records import OrderRecord
from exec_service.settings import Account, Settings
from exec_service.stores import ORDERS, LeaseLost, Store, StoreError

logger = logging.getLogger(__name__)

#: How long a start waits for brokers that do not answer before messages flow without them.
FIRST_CONNECT_SECONDS = 10.0
#: What of SHUTDOWN_TIMEOUT_SECONDS is kept for closing sessions, giving back the lease, and disconnecting.
LEAVING_SECONDS = 5.0
#: When people are reminded of orders that need them: 07:00 UTC.
MORNING = timedelta(hours=7)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service is made of."""

    settings: Settings
    store: Store
    owner: Owner
    ledger: Ledger
    execution: Execution
    projector: Projector
    outbox: Outbox
    commands: Commands
    clock: Clock
    plugins: Callable[[str], BrokerPlugin]
    account: Callable[[str], Account | None]
    redact: Callable[[str], str]


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
        self._desks: dict[str, AccountDesk] = {}
        self._taking: dict[str, asyncio.Task[None]] = {}
        #: Accounts that we would like to have, and why we have not: None = another worker owns it.
        self._wanted: dict[str, str | None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._phase = Phase.STARTING
        self._stopping = asyncio.Event()

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
            self._account_statuses(),
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

    def _account_statuses(self) -> list[AccountStatus]:
        found = []
        for account_id in sorted({*self._parts.settings.accounts, *self._desks, *self._taking, *self._wanted}):
            if account_id in self._desks:
                found.append(self._desks[account_id].status())
            else:
                problem = self._wanted.get(account_id)
                elsewhere = account_id in self._wanted and problem is None
                found.append(AccountStatus(account_id, elsewhere=elsewhere, problem=problem))
        return found

    @property
    def desks(self) -> Mapping[str, AccountDesk]:
        """The accounts at work."""
        return self._desks

    def backlog(self) -> int:
        """How many orders wait for their broker's answer."""
        return sum(desk.dispatcher.waiting for desk in self._desks.values())

    def accept(self, record: OrderRecord) -> None:
        """A PENDING order was stored: its account's desk sends it, if the account is ours."""
        account_id = record.order.request.account_id
        desk = self._desks.get(account_id)
        if desk is not None:
            desk.accept(record)
        elif account_id not in self._taking and account_id not in self._parts.settings.accounts:
            self._take_soon(account_id)

    def notice(self, account_id: str) -> None:
        """The account has an order that nobody may have taken up: perhaps no desk of ours is there for it yet."""
        if account_id not in {*self._desks, *self._taking, *self._parts.settings.accounts}:
            self._take_soon(account_id)

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
                # What belongs to no account that somebody will take belongs to whoever comes.
                await parts.outbox.take_up(lambda account_id: account_id not in parts.settings.accounts)
                await self._take_accounts()
                core += [
                    group.create_task(parts.outbox.run(), name="outbox"),
                    group.create_task(self._watch_store(), name="store"),
                    group.create_task(self._stand_by(), name="stand-by"),
                ]
                intake = group.create_task(self._intake.run(), name="intake")
                self._tasks = [*core, intake]
                logger.info("Execution service ready: consuming %s", parts.settings.trading_orders_subscription)
                self._phase = Phase.RUNNING
                await self._stopping.wait()
                self._phase = Phase.DRAINING
                await self._drain(intake)
                self._phase = Phase.STOPPED
                for task in core:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise cause_of(errors) from errors
        finally:
            await self._let_go()
            self._phase = Phase.STOPPED

    async def _take_accounts(self) -> None:
        """Take every account that is configured, or has unfinished orders, unless another worker owns it."""
        parts = self._parts
        documents = await parts.store.load(ORDERS, {"status": LIVE_STATUSES})
        with_orders = {document["account_id"] for document in documents if document["request"] is not None}
        for account_id in sorted({*parts.settings.accounts, *with_orders}):
            if parts.account(account_id) is None:
                count = sum(document["account_id"] == account_id for document in documents)
                text = f"{count} unfinished orders of account {account_id} cannot be followed: it is not configured"
                logger.error("%s", text)
                await parts.ledger.write(*parts.projector.alarm(account_id, text, parts.clock()))
            else:
                self._take_soon(account_id)
        if self._taking:
            await asyncio.wait(self._taking.values(), timeout=FIRST_CONNECT_SECONDS)

    def _take_soon(self, account_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._take(account_id), name=f"take {account_id}")
        self._taking[account_id] = task
        task.add_done_callback(lambda _task: self._taking.pop(account_id, None))

    async def _take(self, account_id: str) -> None:
        """Make the account ours and start its desk; where that is not possible now, `_stand_by` tries again."""
        parts = self._parts
        account = parts.account(account_id)
        if account is None or account_id in self._desks:
            return
        waits = exponential(0.2, 10.0)
        while not self._stopping.is_set():
            try:
                ownership = await parts.owner.claim(account_id)
                break
            except LeaseLost:
                return  # the heartbeat meets the same, and ends this worker
            except StoreError as error:
                logger.warning("Account %s cannot be claimed, trying again: %s", account_id, error)
                await asyncio.sleep(next(waits))
        else:
            return
        if ownership is None:
            if account_id not in self._wanted:
                logger.info("Account %s is owned by another worker", account_id)
            self._wanted[account_id] = None
            return
        self._wanted.pop(account_id, None)
        try:
            # Before anything new happens in the account: what is owed comes first.
            await parts.outbox.take_up(lambda owner: owner == account_id)
            plugin = parts.plugins(account.broker)
            desk = AccountDesk(
                ownership,
                parts.settings.broker_config(account),
                plugin,
                parts.settings,
                parts.execution,
                parts.ledger,
                parts.store,
                parts.projector,
                parts.clock,
                parts.owner.may_send,
                parts.redact,
            )
            self._desks[account_id] = desk
            await desk.start()
            desk.send_waiting()
        except LeaseLost:
            raise
        except Exception as error:
            logger.exception("Account %s cannot be taken up, trying again", account_id)
            begun = self._desks.pop(account_id, None)
            if begun is not None:
                await begun.stop()
            self._wanted[account_id] = f"it cannot be taken up ({type(error).__name__}: {error})"

    async def _stand_by(self) -> None:
        """Try again for the accounts that another worker owns: it may be gone. Remind people each morning."""
        day = self._morning()
        while True:
            if self._morning() != day:
                day = self._morning()
                for desk in self._desks.values():
                    desk.remind()
            await asyncio.sleep(self._parts.settings.worker_lease_seconds / 3)
            for account_id in list(self._wanted):
                if account_id not in self._desks and account_id not in self._taking:
                    self._take_soon(account_id)

    def _morning(self) -> date:
        """The day, which begins at `MORNING`."""
        return (self._parts.clock() - MORNING).date()

    async def _watch_store(self) -> None:
        """React to what other processes write: commands, and orders that other workers took in."""
        store = self._parts.store
        while True:
            try:
                await self._parts.commands.work()
                for desk in list(self._desks.values()):
                    await desk.refresh()
                await store.wait_for_change(5.0)
            except LeaseLost:
                raise
            except StoreError as error:
                logger.warning("The store cannot be watched, trying again: %s", error)
                await asyncio.sleep(1.0)

    async def _drain(self, intake: asyncio.Task[None]) -> None:
        """Stop in good order: no intake, no new send; answers, commits and deliveries under way are finished."""
        logger.info("Stopping: orders that rest at the broker stay there")
        whole = self._parts.settings.shutdown_timeout_seconds
        seconds = max(whole - LEAVING_SECONDS, whole / 2)
        try:
            async with asyncio.timeout(seconds):
                intake.cancel()
                await asyncio.wait([intake])
                await self._intake.settled()
                await asyncio.gather(*(desk.drain() for desk in self._desks.values()))
                await self._parts.ledger.write()
                await self._parts.outbox.drained()
        except TimeoutError:
            logger.warning("Not everything was finished within %g s; the next start takes it up", seconds)
        waiting = {name: count for name, count in self._parts.outbox.waiting.items() if count}
        if waiting:
            logger.warning("Not delivered yet, the next start goes on with it: %s", waiting)

    async def _let_go(self) -> None:
        for task in list(self._taking.values()):
            task.cancel()
        await asyncio.gather(*self._taking.values(), return_exceptions=True)
        await asyncio.gather(*(desk.stop() for desk in self._desks.values()), return_exceptions=True)
        self._desks.clear()
        await self._parts.owner.stop()
