"""One account at work: its session, its sender, its time-outs and its settling, from take-over to hand-over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from exec_core.broker import Availability, BrokerConfig, BrokerPlugin
from exec_core.clock import Clock
from exec_core.orders import OrderStatus
from exec_core.plugins import BrokerFactory

from exec_service import journal
from exec_service.claims import Claim
from exec_service.dispatch import Dispatcher
from exec_service.execution import Execution
from exec_service.ledger import Ledger
from exec_service.ownership import Ownership
from exec_service.projections import Projector
from exec_service.readiness import AccountStatus
from exec_service.receiving import Receiver
from exec_service.reconciler import Reconciler
from exec_service.records import OrderRecord
from exec_service.recovery import Settler
from exec_service.session import AccountSession
from exec_service.settings import Settings
from exec_service.stores import ACCOUNTS, ORDERS, LeaseLost, Store, Write
from exec_service.timeouts import Canceller
from exec_service.units import Entry

logger = logging.getLogger(__name__)


class AccountDesk:
    """All that is done for one account that we own."""

    def __init__(
        self,
        ownership: Ownership,
        config: BrokerConfig,
        plugin: BrokerPlugin,
        settings: Settings,
        execution: Execution,
        ledger: Ledger,
        store: Store,
        projector: Projector,
        clock: Clock,
        may_send: Callable[[], bool],
        redact: Callable[[str], str],
    ) -> None:
        self._redact = redact
        self.account_id = ownership.account_id
        self._ledger = ledger
        self._store = store
        self._projector = projector
        self._clock = clock
        self.receiver = Receiver(execution, ledger, store, clock, config.account_id, plugin.name)
        self.session = AccountSession(
            self.account_id, lambda: BrokerFactory.create_from(plugin, config), self.receiver.take_all, clock
        )
        settle_seconds = settings.unknown_settle_seconds
        self.settler = Settler(
            self.account_id,
            plugin,
            execution,
            ledger,
            self.session,
            self.receiver,
            clock,
            settle_seconds=plugin.unknown_settle_seconds if settle_seconds is None else settle_seconds,
            sender_done_after_seconds=ownership.sender_done_after_seconds,
        )
        self.canceller = Canceller(
            self.account_id,
            execution,
            ledger,
            self.session,
            clock,
            default_seconds=settings.order_timeout_seconds,
            look=self.settler.look,
        )
        self.dispatcher = Dispatcher(
            self.account_id,
            execution,
            ledger,
            self.session,
            clock,
            may_send=may_send,
            max_retries=settings.max_retry_attempts,
        )
        self.reconciler = Reconciler(
            self.account_id,
            plugin,
            execution,
            ledger,
            store,
            self.session,
            self.receiver,
            self.settler,
            projector,
            clock,
            seconds=settings.reconciliation_seconds,
        )
        self._halts = execution.halts
        self.session.opened = self._opened
        self.session.told = self._told
        self.dispatcher.alarm = self._held
        self._task: asyncio.Task[None] | None = None

    def status(self) -> AccountStatus:
        """How the account is served."""
        if self._task is not None and self._task.done():
            return AccountStatus(self.account_id, problem="the task that keeps its session has ended")
        if self._task is None or not self.session.attempted.is_set():
            return AccountStatus(
                self.account_id, problem="its orders are being taken up and its broker is being connected"
            )
        halted = self._halts.of(self.account_id)
        text = None if halted is None else halted.sentence(self.account_id)
        return AccountStatus(self.account_id, self.session.availability(), halted=text)

    async def start(self) -> None:
        """Take the account up: what is open is watched and settled, what is PENDING is sent."""
        await self._halts.take_up(self.account_id, self._store)
        entries = await self._ledger.adopt_all(self.account_id)
        if entries:
            logger.info("Account %s: %d unfinished orders are taken up", self.account_id, len(entries))
        await self.receiver.start()
        self.canceller.start()
        self.dispatcher.start()
        await self.settler.start()
        for entry in self._ledger.live(self.account_id):
            self.canceller.watch(entry)
        self.remind()
        self._remind_of_stop()
        self.reconciler.start()
        self._task = asyncio.create_task(self.session.run(), name=f"session {self.account_id}")
        await self.session.attempted.wait()
        self.send_waiting()

    def send_waiting(self) -> None:
        """Queue what the broker has not answered, oldest first."""
        for entry in self._ledger.live(self.account_id):
            self.dispatcher.add(entry)

    async def claim(self, record: OrderRecord) -> Claim | None:
        """See `Dispatcher.claim`."""
        return await self.dispatcher.claim(record) if self.session.attempted.is_set() else None

    def accept(self, record: OrderRecord) -> None:
        """Take a PENDING order that was just stored."""
        self._ledger.adopt(record)
        entry = self._ledger.get(record.id)
        if entry is not None and self.session.attempted.is_set():
            self.dispatcher.add(entry)

    async def refresh(self) -> None:
        """Find the orders that another worker's intake has stored for this account."""
        where = {"account_id": self.account_id, "status": OrderStatus.PENDING.value}
        for document in await self._store.load(ORDERS, where, order_by="sequence"):
            record = journal.order_record(document, ())
            if record is not None and self._ledger.get(record.id) is None:
                self.accept(record)

    async def drain(self) -> None:
        """Begin no further send; wait for the answers that are under way."""
        await self.dispatcher.drain()

    def resume(self) -> None:
        """Send again, after a `drain`."""
        self.dispatcher.resume()
        self.send_waiting()

    async def stop(self) -> None:
        """Let go of the account; orders that rest at the broker stay there."""
        await self.dispatcher.stop()
        await self.reconciler.stop()
        await self.canceller.stop()
        await self.settler.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.receiver.stop()
        self._halts.forget(self.account_id)

    def remind(self) -> None:
        """Alarm every order that needs a person: at each start, and each morning."""
        for entry in self._ledger.live(self.account_id):
            self._remind(entry)

    def _opened(self) -> None:
        """A session is open: ask about what is open, go on with cancels that could not be asked, and with sending."""
        self.settler.catch_up()
        self.reconciler.look_soon()
        self.send_waiting()
        self.canceller.ask_again()
        for entry in self._ledger.live(self.account_id):
            self.canceller.watch(entry)

    def _remind(self, entry: Entry) -> None:
        if entry.order.attention is not None:
            text = f"{entry.order.request.signal_id}: {entry.order.attention}"
            self._write(*self._projector.alarm(self.account_id, text, self._clock()))

    def _remind_of_stop(self) -> None:
        """Nobody is told again, but the log of each start says it."""
        halted = self._halts.of(self.account_id)
        if halted is not None:
            logger.warning("%s", halted.sentence(self.account_id))

    def _told(self, availability: Availability) -> None:
        state = {
            "availability": availability.state.value,
            "availability_since": availability.since,
            "availability_reason": self._reason(availability),
        }
        self._write(Write(ACCOUNTS, self.account_id, None, state))

    def _reason(self, availability: Availability) -> str | None:
        return None if availability.reason is None else self._redact(availability.reason)

    def _held(self, availability: Availability) -> None:
        text = (
            f"Orders are held back: {availability.state.value.lower().replace('_', ' ')}: {self._reason(availability)}"
        )
        logger.warning("Account %s: %s", self.account_id, text)
        self._write(*self._projector.alarm(self.account_id, text, self._clock()))

    def _write(self, *writes: Write) -> None:
        def seen(future: asyncio.Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            if error is not None and not isinstance(error, LeaseLost):
                logger.error("Account %s: its state could not be written", self.account_id, exc_info=error)

        self._ledger.write(*writes).add_done_callback(seen)
