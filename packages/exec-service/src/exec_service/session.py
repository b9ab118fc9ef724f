"""One account's session with its broker: kept open, its reports passed on, its state told.

It does not judge reports and sends no orders; it only makes sure that there is a broker to ask.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from exec_core.broker import Availability, AvailabilityState
from exec_core.clock import Clock
from exec_core.errors import AnnouncedBreak, AuthenticationFailed, ConfigurationError, ConnectionFailed
from exec_core.guard import GuardedBroker
from exec_core.reports import Report

from exec_service.backoff import exponential

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 30.0
#: After a session that lasted this long, reconnecting starts from the shortest wait again.
STABLE_SECONDS = 10.0
#: So many reports are read from a session ahead of those that are being taken.
READ_AHEAD = 200


class AccountSession:
    """Holds a broker session for as long as the account is ours; reconnects by itself.

    `opened` runs after each connect (catch-up); `told` is called with the availability when it changes.
    """

    def __init__(
        self,
        account_id: str,
        create: Callable[[], GuardedBroker],
        take: Callable[[Sequence[Report]], Awaitable[object]],
        clock: Clock,
    ) -> None:
        self.account_id = account_id
        self._create = create
        self._take = take
        self._clock = clock
        self._broker: GuardedBroker | None = None
        self._down = Availability(AvailabilityState.DISCONNECTED, clock(), "not connected yet")
        self.connected_at: datetime | None = None
        self.attempted = asyncio.Event()
        self.opened: Callable[[], None] = lambda: None
        self.told: Callable[[Availability], None] = lambda _availability: None

    @property
    def broker(self) -> GuardedBroker:
        """The connected broker. :raises ConnectionFailed: there is none now."""
        if self._broker is None:
            raise ConnectionFailed(self._down.reason or "not connected")
        return self._broker

    def availability(self) -> Availability:
        """Whether orders can be sent now."""
        return self._down if self._broker is None else self._broker.availability()

    @property
    def linked_since(self) -> datetime | None:
        """Since when the line is up without a break; None while it is down.

        The later of our connecting and of what the adapter says: it may have mended the line by itself.
        """
        if self._broker is None or self.connected_at is None:
            return None
        availability = self._broker.availability()
        return max(self.connected_at, availability.since) if availability.is_ready else None

    async def run(self) -> None:
        """Connect, pass reports on, reconnect; until cancelled."""
        waits = exponential(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await self._session()
            except AuthenticationFailed as error:
                self._is_down(AvailabilityState.LOGIN_NEEDED, error)
            except AnnouncedBreak as error:
                self._is_down(AvailabilityState.ANNOUNCED_BREAK, error)
            except (ConnectionFailed, ConfigurationError) as error:
                self._is_down(AvailabilityState.DISCONNECTED, error)
            except Exception as error:
                logger.exception("The session of account %s failed", self.account_id)
                self._is_down(AvailabilityState.DISCONNECTED, error)
            if asyncio.get_running_loop().time() - started > STABLE_SECONDS:
                waits = exponential(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
            await asyncio.sleep(next(waits))

    async def _session(self) -> None:
        try:
            broker = self._create()
            async with broker:
                self._broker = broker
                self.connected_at = self._clock()
                self.told(broker.availability())
                logger.info("Account %s: connected to %s", self.account_id, broker.plugin.name)
                self.attempted.set()
                self.opened()
                try:
                    await self._pass_on(broker)
                finally:
                    self._broker = None
        finally:
            self.attempted.set()

    async def _pass_on(self, broker: GuardedBroker) -> None:
        """Pass the session's reports on, in order: those together that have arrived while others were taken.

        When the session ends, what it has told until then is still taken.
        """
        arrived: asyncio.Queue[Report | None] = asyncio.Queue(READ_AHEAD)
        reading = asyncio.create_task(self._read(broker, arrived), name=f"reports {self.account_id}")
        try:
            told = True
            while told:
                heard = [await arrived.get()]
                while not arrived.empty():
                    heard.append(arrived.get_nowait())
                reports = [report for report in heard if report is not None]
                told = len(reports) == len(heard)
                await self._take(reports)
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, broker: GuardedBroker, arrived: asyncio.Queue[Report | None]) -> None:
        """Queue what the broker tells, and at its end None.

        :raises ConnectionFailed: the session is over.
        """
        try:
            async for report in broker.reports():
                await arrived.put(report)
        except Exception:
            self._broker = None  # at once, whatever is still to be taken
            await arrived.put(None)
            raise

    def _is_down(self, state: AvailabilityState, error: Exception) -> None:
        if self._down.state is not state or self._down.reason != str(error) or self.connected_at is not None:
            logger.warning("Account %s: the broker is away (%s): %s", self.account_id, state, error)
            self._down = Availability(state, self._clock(), str(error))
            self.told(self._down)
        self.connected_at = None
