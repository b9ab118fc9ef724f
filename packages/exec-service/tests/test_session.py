"""An account's session: since when its line is up, what absence is measured from; its reports, passed on in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, cast

import pytest
from exec_broker_mock.broker import PLUGIN
from exec_core.broker import Availability, AvailabilityState, Broker
from exec_core.errors import AnnouncedBreak, ConnectionFailed
from exec_core.guard import GuardedBroker
from exec_core.reports import Report
from exec_service import session as sessions
from exec_service.session import AccountSession

START = datetime(2026, 1, 5, 15, tzinfo=UTC)


class MendingBroker:
    """A broker that loses its line and mends it by itself; its reports go on meanwhile."""

    def __init__(self) -> None:
        self.now = Availability(AvailabilityState.READY, START - timedelta(seconds=1))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        return

    async def reports(self) -> AsyncIterator[Report]:
        await asyncio.Event().wait()
        yield cast(Any, None)

    def availability(self) -> Availability:
        return self.now


async def test_the_line_is_up_since_the_adapter_mended_it() -> None:
    broker = MendingBroker()
    session = AccountSession("acc", lambda: GuardedBroker(cast(Broker, broker), PLUGIN), _ignore, lambda: START)
    running = asyncio.create_task(session.run())
    try:
        assert session.linked_since is None
        await session.attempted.wait()
        assert session.linked_since == START
        broker.now = Availability(AvailabilityState.DISCONNECTED, START + timedelta(seconds=5), "the line broke")
        assert session.linked_since is None
        broker.now = Availability(AvailabilityState.READY, START + timedelta(seconds=9))
        assert session.linked_since == START + timedelta(seconds=9)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _ignore(_reports: Sequence[Report]) -> None:
    return


class ClosedBroker(MendingBroker):
    """A venue that is closed as it announced."""

    async def __aenter__(self) -> Self:
        raise AnnouncedBreak("back at 00:45")


async def test_a_venue_that_is_closed_as_announced_is_no_venue_that_cannot_be_reached() -> None:
    session = AccountSession("acc", lambda: GuardedBroker(cast(Broker, ClosedBroker()), PLUGIN), _ignore, lambda: START)
    running = asyncio.create_task(session.run())
    try:
        await session.attempted.wait()
        assert session.availability() == Availability(AvailabilityState.ANNOUNCED_BREAK, START, "back at 00:45")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class TalkingBroker(MendingBroker):
    """A broker that tells what it is given, until None: then its session is over. It counts what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: asyncio.Queue[int | None] = asyncio.Queue()
        self.read = 0

    async def reports(self) -> AsyncIterator[Report]:
        while (number := await self.told.get()) is not None:
            self.read += 1
            yield cast(Any, number)
        raise ConnectionFailed("the session is over")

    def tell(self, *numbers: int | None) -> None:
        for number in numbers:
            self.told.put_nowait(number)


class Taker:
    """Takes reports as slowly as the test likes."""

    def __init__(self) -> None:
        self.taken: list[list[int]] = []
        self.may_go_on = asyncio.Event()
        self.has_taken = asyncio.Event()

    async def __call__(self, reports: Sequence[Report]) -> None:
        self.taken.append(list(cast(Any, reports)))
        self.has_taken.set()
        await self.may_go_on.wait()

    async def until(self, count: int) -> None:
        """Wait until so many reports were taken."""
        async with asyncio.timeout(60):
            while sum(map(len, self.taken)) < count:
                self.has_taken.clear()
                await self.has_taken.wait()


async def test_reports_go_on_together_that_came_while_others_were_taken_and_none_waits_for_another() -> None:
    broker, take = TalkingBroker(), Taker()
    session = AccountSession("acc", lambda: GuardedBroker(cast(Broker, broker), PLUGIN), take, lambda: START)
    running = asyncio.create_task(session.run())
    try:
        broker.tell(1)
        await take.until(1)
        assert take.taken == [[1]], "the first waited for nobody"
        broker.tell(2, 3, 4, None)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not session.availability().is_ready, "the end is known at once, though reports are still to be taken"
        assert take.taken == [[1]]
        take.may_go_on.set()
        await take.until(4)
        assert take.taken == [[1], [2, 3, 4]], "what was told before the session ended is not lost"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_no_more_is_read_ahead_than_the_bound_and_a_stop_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "READ_AHEAD", 5)
    broker, take = TalkingBroker(), Taker()
    session = AccountSession("acc", lambda: GuardedBroker(cast(Broker, broker), PLUGIN), take, lambda: START)
    running = asyncio.create_task(session.run())
    try:
        broker.tell(0)
        await take.until(1)
        broker.tell(*range(1, 100))
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert broker.read == 1 + 5 + 1, "one is taken, five wait, and one waits for room"
        running.cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(running, return_exceptions=True)
        assert take.taken == [[0]]
    finally:
        running.cancel()
