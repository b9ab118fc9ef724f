"""One session with the venue: the only module that calls it, and that waits for its news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from exec_core.broker import AccountSummary, Availability, AvailabilityState, BrokerPosition, Found, Snapshot
from exec_core.clock import Clock
from exec_core.errors import ConnectionFailed
from exec_core.orders import Order
from exec_core.reports import OrderReport, Report

from exec_broker_mock import faults, reporting
from exec_broker_mock.book import Book
from exec_broker_mock.books import close_book, open_book
from exec_broker_mock.faults import Fault, FaultKind, Line
from exec_broker_mock.reporting import Batch
from exec_broker_mock.rows import span
from exec_broker_mock.settings import MockBrokerSettings
from exec_broker_mock.statements import Statements
from exec_broker_mock.venue import Answer, Link, Venue
from exec_broker_mock.worker import Inline, Worker

T = TypeVar("T")

#: How often other processes' writes to the file are looked for.
POLL_SECONDS: Final = 0.05
_RESET: Final = "The mock venue reset the connection"


@dataclass(slots=True)
class _Far:
    """What an open session holds of the venue."""

    book: Book
    venue: Venue
    statements: Statements
    link: Link
    connected_at: int
    line: Line


@dataclass(slots=True)
class _Seen:
    """Up to where the watcher has looked."""

    version: tuple[int, int] | None = None
    sequence: int = -1
    faults: int = -1
    next_due: int | None = None


@dataclass(slots=True, eq=False)
class Session:
    """Entered once. Its calls reach the venue in the order in which they were made.

    A file is read and written in a thread; a book in memory is so quick that they are made at once.
    """

    account_id: str
    settings: MockBrokerSettings
    clock: Clock | None = None
    _far: _Far | None = None
    _failure: Exception | None = None
    _watcher: asyncio.Task[None] | None = None
    _worker: Worker | Inline | None = None
    _is_roused: bool = False
    _seen: _Seen = field(default_factory=_Seen)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: asyncio.Event = field(default_factory=asyncio.Event)
    _notify: Callable[[], None] | None = None

    async def open(self) -> None:
        """Open the book, and begin to watch it.

        :raises ConnectionFailed: the venue is disconnected, or the session was used before.
        :raises AuthenticationFailed: a login is needed.
        :raises ConfigurationError: the state file is something else.
        """
        if self._worker is not None or self._closed.is_set():
            raise ConnectionFailed("a session with the mock venue is entered once", broker="mock")
        if self.settings.state_file is None:
            worker: Worker | Inline = Inline(self._rouse_if_written)
        else:
            worker = Worker(f"mock-{self.account_id}", self._rouse_if_written)
        self._worker = worker
        loop = asyncio.get_running_loop()
        try:
            far = await worker.run(self._connect)
        except BaseException:
            self._closed.set()
            worker.stop()
            raise

        def notify() -> None:
            if self._is_roused:
                return
            self._is_roused = True
            if worker.is_inside:
                return  # a call of our own, after which the worker wakes whom it concerns: once for many calls
            # A book in memory may outlive this session's loop: then there is nobody left to wake.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._rouse)

        self._far, self._notify = far, notify
        far.book.listeners.add(notify)
        self._watcher = asyncio.create_task(self._watch(far), name=f"mock-{self.account_id}-watch")

    def _connect(self) -> _Far:
        book = open_book(self.account_id, self.settings.state_file, self.clock)
        try:
            with book.transaction(write=False):
                marker, now = faults.line_marker(book), book.now()
                faults.check_line(book, self.account_id, marker, now)
                line = faults.line(book, self.account_id, marker, now, now)
        except BaseException:
            close_book(book)
            raise
        venue = Venue(book)
        return _Far(book, venue, Statements(venue), Link(self.account_id, marker), now, line)

    async def close(self) -> None:
        """Leave. Calls under way finish; twice is fine."""
        if self._closed.is_set():
            return
        self._closed.set()
        far, worker = self._far, self._worker
        if far is None or worker is None:
            return
        if self._notify is not None:
            far.book.listeners.discard(self._notify)
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._rouse()
        await worker.run(lambda: close_book(far.book))
        worker.stop()

    def availability(self) -> Availability:
        """How the line stood when it was last looked at, by the present time."""
        if self._far is None or self._closed.is_set():
            return Availability(AvailabilityState.DISCONNECTED, datetime.now(UTC), "Not connected")
        if self._failure is not None:
            since = self._far.line.availability.since
            return Availability(AvailabilityState.DISCONNECTED, since, str(self._failure))
        return self._far.line.at(self._far.book.now())

    async def place(self, order: Order) -> Answer:
        """Send an order; the answer may be lost, late, or never come, where a fault wants it."""
        far = self._connected()
        answer = await self._run(lambda: far.venue.place(order, self.settings, far.link))
        if answer.fault is not None:
            await self._suffer(far, answer.fault, answer.order.accepted_at if answer.order else 0)
        return answer

    async def cancel(self, order: Order) -> None:
        """Ask for a cancel."""
        far = self._connected()
        fault = await self._run(lambda: far.venue.cancel(order, self.settings, far.link))
        if fault is not None and fault.kind is FaultKind.CANCEL_LOST:
            raise ConnectionResetError(_RESET)

    async def find(self, order: Order) -> Found:
        """Ask for an order's trace."""
        far = self._connected()
        return await self._run(lambda: far.statements.find(order, far.link))

    async def open_orders(self) -> Snapshot[OrderReport]:
        """Ask for what can still trade."""
        far = self._connected()
        return await self._run(lambda: far.statements.open_orders(far.link))

    async def positions(self) -> Snapshot[BrokerPosition]:
        """Ask for what is held."""
        far = self._connected()
        return await self._run(lambda: far.statements.positions(far.link))

    async def account(self) -> AccountSummary:
        """Ask for the money."""
        far = self._connected()
        return await self._run(lambda: far.statements.account(far.link, self.settings))

    async def reports(self) -> AsyncIterator[Report]:
        """The present state, then everything as it happens. :raises ConnectionFailed: the session is over."""
        far = self._connected()
        reached: int | None = None
        while True:
            self._news.clear()  # before looking: what happens from now on is told by looking again
            look = partial(self._collect, far, reached)
            batch = await (self._working().aside(look) if reached is None else self._run(look))
            for report in batch.reports:
                yield report
            reached = batch.sequence
            if not batch.is_cut:
                await self._news.wait()

    def _connected(self) -> _Far:
        if self._far is None or self._closed.is_set():
            raise ConnectionFailed("not connected to the mock venue", broker="mock")
        if self._failure is not None:
            raise ConnectionFailed(f"the mock venue's book cannot be read: {self._failure}", broker="mock")
        return self._far

    async def _run(self, call: Callable[[], T]) -> T:
        """The call, made where the session makes them."""
        return await self._working().run(call)

    def _working(self) -> Worker | Inline:
        self._connected()
        if self._worker is None:
            raise ConnectionFailed("not connected to the mock venue", broker="mock")
        return self._worker

    def _collect(self, far: _Far, after: int | None) -> Batch:
        """What is to be reported after that event; None: the present state first."""
        with far.book.transaction(write=False):
            now = far.book.now()
            faults.check_line_is_up(far.book, self.account_id, far.link.marker, now)
            due = far.book.next_due()
            if due is None or due > now:
                told = self._told(far, after, now)
                # Writing is news itself: only where there is something that a fault could disturb.
                if not told.reports or not faults.are_armed(far.book, FaultKind.DUPLICATE, FaultKind.REORDER):
                    return told
        with far.book.transaction():
            far.venue.bring_up(now)
            return reporting.disturbed(far.book, self.account_id, self._told(far, after, now))

    def _told(self, far: _Far, after: int | None, now: int) -> Batch:
        if after is None:
            return reporting.present_state(far.book, self.account_id, now)
        return reporting.news(far.book, self.account_id, after)

    def _rouse_if_written(self) -> None:
        if self._is_roused:
            self._rouse()

    def _rouse(self) -> None:
        self._is_roused = False
        self._wake.set()
        self._news.set()

    async def _watch(self, far: _Far) -> None:
        """Notice what becomes due, and what other processes write; keep the line's state."""
        try:
            while True:
                self._wake.clear()
                if await self._run(lambda: self._look(far)):
                    self._news.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._patience(far)):
                        await self._wake.wait()
        except Exception as error:  # noqa: BLE001  # whatever it is, whoever uses the session must hear of it
            self._failure = error
            self._news.set()

    def _patience(self, far: _Far) -> float | None:
        """How long nothing needs to be looked at: a book in memory changes only through this process."""
        poll = None if far.book.path is None else POLL_SECONDS
        if self._seen.next_due is None:
            return poll
        until_due = max(self._seen.next_due - far.book.now(), 0) / 1_000_000
        return until_due if poll is None else min(poll, until_due)

    def _look(self, far: _Far) -> bool:
        """Whether there is something to report."""
        seen, now = self._seen, far.book.now()
        version = far.book.version()
        if version == seen.version and (seen.next_due is None or seen.next_due > now):
            return False
        with far.book.transaction(write=False):
            due = far.book.next_due()
            is_due = due is not None and due <= now
            if not is_due:
                return self._note(far, version, now)
        far.venue.advance()
        with far.book.transaction(write=False):
            return self._note(far, version, now)

    def _note(self, far: _Far, version: tuple[int, int], now: int) -> bool:
        """Remember up to where the book was looked at; whether there is something to report."""
        seen = self._seen
        sequence, marker = reporting.last_event(far.book), faults.line_marker(far.book)
        seen.next_due = far.book.next_due()
        far.line = faults.line(far.book, self.account_id, far.link.marker, far.connected_at, now)
        is_news = (sequence, marker) != (seen.sequence, seen.faults)
        seen.version, seen.sequence, seen.faults = version, sequence, marker
        return is_news

    async def _suffer(self, far: _Far, fault: Fault, accepted_at: int) -> None:
        """What the sender sees of a fault."""
        if fault.kind in (FaultKind.LOSE_ANSWER, FaultKind.LOSE_ORDER):
            raise ConnectionResetError(_RESET)
        if fault.kind in (FaultKind.HANG, FaultKind.HANG_BEFORE):
            await self._closed.wait()
            raise ConnectionResetError(_RESET)
        if fault.kind is FaultKind.DELAY:
            due = accepted_at + span(fault.seconds)
            while (left := due - far.book.now()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left / 1_000_000, POLL_SECONDS)):
                        await self._closed.wait()
                        raise ConnectionResetError(_RESET)
