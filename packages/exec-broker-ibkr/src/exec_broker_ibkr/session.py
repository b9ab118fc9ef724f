"""The session with TWS for one account: synchronised on entering, watched while it lasts, over when its line is lost.

It does not reconnect: where the line is lost, `reports` raises and the user of the session makes another, which reads
again what TWS knows. What is mended here is a line that TWS keeps to us while its own to IB is down (1100 to 1102).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from exec_core.broker import Availability, AvailabilityState, BrokerConfig
from exec_core.clock import Clock
from exec_core.errors import AnnouncedBreak, ConnectionFailed, OrderRejected
from exec_core.reports import CommissionReport, FillReport, Report

from exec_broker_ibkr.accounts import our_account
from exec_broker_ibkr.codes import Kind, kind_of, sentence
from exec_broker_ibkr.connection.line import Line, NoAnswer
from exec_broker_ibkr.following.tracking import Tracker
from exec_broker_ibkr.instruments.catalogue import Catalogue
from exec_broker_ibkr.looking import COMPLETED_ORDERS, TIME, Look, Looker
from exec_broker_ibkr.messages import NO_REQUEST, ErrorTold, Told
from exec_broker_ibkr.settings import IbkrSettings
from exec_broker_ibkr.waiting import Waiting

logger = logging.getLogger(__name__)

#: Kinds of contracts of which some are priced in hundredths (grains in cents): only their details tell.
MAGNIFIED: Final = frozenset({"FUT", "FOP"})
#: Sweeps take at most this part of the time: where the day's lists have grown long, they become rarer.
SWEEP_SHARE: Final = 0.05
#: How long what explains another message may be on its way (the execution of which a status has told, say), before
#: TWS is asked for it.
LACK_SECONDS: Final = 1.0


class Session:
    """One line, what was heard on it, and whether orders can be sent by it."""

    def __init__(self, config: BrokerConfig, settings: IbkrSettings, clock: Clock) -> None:
        self._config = config
        self._settings = settings
        self._clock = clock
        self._line = Line(
            settings.host,
            settings.port,
            settings.client_id,
            connect_seconds=settings.connect_seconds,
            answer_seconds=settings.answer_seconds,
            time_zone=settings.zone,
        )
        self._looker = Looker(self._line, clock)
        self.account = ""
        self._catalogue = Catalogue(self._line)
        self._tracker = self._new_tracker()
        self._watch: asyncio.Task[None] | None = None
        self._reports: deque[Report] = deque()
        self._told: dict[tuple[str, ...], Report] = {}
        #: What is heard before it is known what the contracts in it are worth; None once that is known.
        self._early: list[Told] | None = []
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._over: str | None = "not connected yet"
        self._ib_is_away: str | None = None
        self._outages = 0
        self._refused_request = ""
        self._must_resynchronise = False
        self._heard = 0
        self._availability = Availability(AvailabilityState.DISCONNECTED, clock(), self._over)
        self._announced = settings.announced
        self.waiting = Waiting()

    # Opening and closing

    async def open(self) -> None:
        """Connect, check the account, read what TWS knows of today.

        :raises ConnectionFailed, AnnouncedBreak: TWS cannot be reached. :raises ConfigurationError: see `our_account`.
        """
        self._over = None
        try:
            await self._line.open(self._hear, self._lost)
            self.account = our_account(self._line.accounts, self._settings.account, self._config.mode)
            self._tracker = self._new_tracker()
            await self._synchronise()
        except BaseException as error:
            self._end(str(error) or type(error).__name__)
            await self._line.close()
            if isinstance(error, ConnectionFailed):
                raise self._failure(str(error)) from error
            raise
        self._watch = asyncio.get_running_loop().create_task(self._run_watch(), name="watch of the line to TWS")

    def _new_tracker(self) -> Tracker:
        return Tracker(self.account, self._settings.client_id, self._catalogue.details_of)

    async def close(self) -> None:
        """Leave; orders stay as they are. Twice does nothing."""
        self._end("the session was left")
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        await self._line.close()

    def _lost(self, reason: str) -> None:
        logger.warning("The line to TWS is lost: %s", reason)
        self._end(reason)

    def _end(self, reason: str) -> None:
        """Nothing more can be sent or heard; whoever waits for an answer is told so."""
        if self._over is None:
            self._over = reason
        self._away(self._over)
        self.waiting.end(self._over)
        self._news.set()

    # Whether orders can be sent

    def availability(self) -> Availability:
        """Whether orders can be sent now."""
        return self._availability

    def check_ready(self) -> None:
        """:raises ConnectionFailed, AnnouncedBreak: nothing can be sent now."""
        if not self._availability.is_ready:
            raise self._failure(self._availability.reason or "not connected")

    def _check_open(self) -> None:
        if self._over is not None:
            raise self._failure(self._over)

    def _away(self, reason: str) -> None:
        announced = self._announced.now(self._clock())
        if announced is None:
            self._is_now(AvailabilityState.DISCONNECTED, reason)
        else:
            self._is_now(AvailabilityState.ANNOUNCED_BREAK, f"{announced} ({reason})")

    def _is_now(self, state: AvailabilityState, reason: str | None) -> None:
        if (self._availability.state, self._availability.reason) != (state, reason):
            self._availability = Availability(state, self._clock(), reason)

    def _failure(self, text: str) -> ConnectionFailed:
        """What keeps us from TWS: as it was announced, if this is the time for it."""
        announced = self._announced.now(self._clock())
        if announced is not None:
            return AnnouncedBreak(f"{announced} ({text})", broker="ibkr")
        return ConnectionFailed(text, broker="ibkr")

    # What everybody uses

    @property
    def line(self) -> Line:
        """The line. :raises ConnectionFailed: the session is over."""
        self._check_open()
        return self._line

    @property
    def catalogue(self) -> Catalogue:
        """Instruments. :raises ConnectionFailed: the session is over."""
        self._check_open()
        return self._catalogue

    @property
    def tracker(self) -> Tracker:
        """What is known of orders."""
        return self._tracker

    @property
    def is_cut_off(self) -> bool:
        """Whether TWS has lost its own line to IB, so that it answers from memory."""
        return self._ib_is_away is not None

    async def look(self) -> Look:
        """What TWS knows of orders now; not whole where its line to IB was down meanwhile.

        :raises ConnectionFailed: it could not be asked.
        """
        self._check_open()
        outages = self._outages
        look = await self._looker.look()
        if self._ib_is_away is not None or self._outages != outages:
            return look.without("what IB has (TWS has lost its line)")
        return look

    # Hearing

    async def reports(self) -> AsyncIterator[Report]:
        """What is heard, first what there was on entering. :raises ConnectionFailed: the session is over."""
        while True:
            while self._reports:
                yield self._reports.popleft()
            self._check_open()
            self._news.clear()
            await self._news.wait()

    def _hear(self, told: Told) -> None:
        """One message of TWS, in the order of arrival."""
        self._heard += 1
        if self._early is None:
            self._follow(told)
        else:
            self._early.append(told)
        if isinstance(told, ErrorTold):
            self._hear_of_line(told)

    def _follow(self, told: Told) -> None:
        self._tell(self._tracker.hear(told))
        self.waiting.hear(told, self._settings.client_id, self._tracker)
        if self._lacks():
            self._wake.set()

    def _tell(self, reports: tuple[Report, ...]) -> None:
        """Hand over what is new: TWS tells the whole day again whenever it is asked for what may be missing."""
        for report in reports:
            key = _subject(report)
            if self._told.get(key) != report:
                self._told[key] = report
                self._reports.append(report)
                self._news.set()

    def _hear_of_line(self, told: ErrorTold) -> None:
        match kind_of(told.code):
            case Kind.LINE_LOST:
                logger.warning("TWS has lost its line to IB: %s (%s)", told.text, told.code)
                self._outages += 1
                self._must_resynchronise = False
                self._ib_is_away = f"TWS has lost its line to IB: {told.text}"
                self._away(self._ib_is_away)
            case Kind.LINE_BACK | Kind.LINE_BACK_DATA_LOST:
                logger.info("TWS has its line to IB again: %s (%s)", told.text, told.code)
                self._ib_is_away = None
                self._must_resynchronise = True
                self._wake.set()
            case Kind.REJECT if told.request_id == NO_REQUEST:
                # Of a request without an id: a list that a read-only TWS keeps to itself, for one.
                self._refused_request = sentence(told.code, told.text)

    def _lacks(self) -> bool:
        """Whether something was told that makes sense only with something else, which has not been told."""
        tracker = self._tracker
        return tracker.lacks_executions() or tracker.lacks_legs() or tracker.lacks_reasons()

    # Watching

    async def _synchronise(self) -> None:
        """Read what TWS knows, then be ready: before that, the next order id may be one that is in use.

        :raises ConnectionFailed: the line is lost, or something that orders depend on is not told.
        """
        outages = self._outages
        look = await self._looker.look()
        vital = [what for what in look.missing if what not in (COMPLETED_ORDERS, TIME)]
        if vital:
            why = f": {self._refused_request}" if self._refused_request else ""
            raise ConnectionFailed(f"TWS does not tell the {' and the '.join(vital)}{why}", broker="ibkr")
        if self._early is not None:
            await self._learn(look)
            early, self._early = self._early, None
            for told in early:
                self._follow(told)
        self._settle(look)
        if self._over is None and self._ib_is_away is None and self._outages == outages:
            self._must_resynchronise = False
            self._is_now(AvailabilityState.READY, None)

    async def _learn(self, look: Look) -> None:
        """Ask what the futures are worth that TWS shows: what it shows of some says a hundred times too much."""
        con_ids = dict.fromkeys(one.con_id for one in look.contracts if one.sec_type in MAGNIFIED)
        try:
            async with asyncio.timeout(self._settings.answer_seconds):
                for con_id in con_ids:
                    await self._catalogue.of_con_id(con_id)
        except (TimeoutError, NoAnswer, OrderRejected) as error:
            logger.warning("TWS does not say what some contracts are, their own words must do: %s", error)

    def _settle(self, look: Look) -> None:
        """What waited for an explanation that TWS has not given is told as it is."""
        # A list of ended orders that never comes (TWS may be read-only) is no reason to keep an execution back.
        if self._ib_is_away is None and not set(look.missing) - {COMPLETED_ORDERS, TIME}:
            self._tell(self._tracker.settle())

    async def _run_watch(self) -> None:
        """Notice a line that is open and dead; read again what may have been missed. Ends with the line."""
        try:
            await self._watch_line()
        except ConnectionFailed as error:
            self._lost(str(error))
        except Exception as error:
            logger.exception("The watch of the line to TWS failed; the session ends, to be made again")
            self._lost(f"the watch of the line failed: {error}")
        finally:
            await self._line.close()

    async def _watch_line(self) -> None:
        clock, settings = asyncio.get_running_loop().time, self._settings
        beat_at, sweep_at = clock() + settings.heartbeat_seconds, clock() + settings.sweep_seconds
        patience, lack_at = LACK_SECONDS, math.inf
        while self._over is None:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(min(beat_at, sweep_at, lack_at) - clock(), 0)):
                    await self._wake.wait()
            if self._must_resynchronise:
                await self._synchronise()
            if not self._lacks():
                patience, lack_at = LACK_SECONDS, math.inf
            elif lack_at == math.inf:
                lack_at = clock() + patience
            elif clock() >= lack_at:  # it did not come by itself; if asking does not help, ask ever more rarely
                self._settle(await self._looker.look())
                patience = min(2 * patience, settings.sweep_seconds)
                lack_at = clock() + patience
            began = clock()
            if began >= sweep_at:
                await self._looker.look()
                sweep_at = clock() + max(settings.sweep_seconds, (clock() - began) / SWEEP_SHARE)
            if clock() >= beat_at:
                await self._beat()
                beat_at = clock() + settings.heartbeat_seconds

    async def _beat(self) -> None:
        """:raises ConnectionFailed: TWS has said nothing at all since it was asked."""
        heard = self._heard
        try:
            await self._line.current_time()
        except NoAnswer as error:
            if self._heard == heard:
                raise ConnectionFailed(f"TWS has stopped answering, though the line is open: {error}") from error


def _subject(report: Report) -> tuple[str, ...]:
    """What a report is about: a later one about the same replaces it."""
    match report:
        case FillReport(fill=fill):
            return ("fill", fill.execution_id, str(fill.correction))
        case CommissionReport(execution_id=execution_id):
            return ("commission", execution_id)
        case _:
            return ("order", report.broker_order_id or "", report.client_order_id or "")
